"""Commands about audits: audit, audits list|show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.cli.app import JsonOption, SpaceOption, app, open_workspace
from provenance.cli.output import answer, message, print_facts, print_json, print_table, print_words, short, warn
from provenance.cli.sensitivity_command import measured, print_recorded, print_sensitivity
from provenance.vocabulary import Answer, Evidence, Population, RuleName, Subject

if TYPE_CHECKING:
    from provenance.documents.audits import Drift
    from provenance.service import AuditRecord, AuditReport, Change, RecordedAudit, Workspace

audits_app = typer.Typer(help="Look at recorded audits.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(audits_app, name="audits")

RowsOption = Annotated[int, typer.Option("--rows", min=0, help="How many verdicts to print.")]
UsedOption = Annotated[list[str] | None, typer.Option("--used", help="Set known to have been used (repeatable).")]
NotUsedOption = Annotated[
    list[str] | None, typer.Option("--not-used", help="Set known not to have been used (repeatable).")
]
AgainstOption = Annotated[list[str] | None, typer.Option("--against", help="Set of which it is unknown (repeatable).")]
ExcludeOverlapOption = Annotated[
    bool, typer.Option("--exclude-overlap", help="Leave out images that are claimed used and not used.")
]
ExcludeTwinsOption = Annotated[
    bool, typer.Option("--exclude-twins", help="Leave out not-used images with near-twins among the used ones.")
]
TwinHashDistanceOption = Annotated[
    int | None, typer.Option("--twin-hash-distance", help="Most bits (of 64) between twins; 4 by default.")
]
TwinMinSimilarityOption = Annotated[
    float | None, typer.Option("--twin-min-similarity", help="Least cosine between twins; 0.65 by default.")
]
TwinEvidenceOption = Annotated[
    Evidence, typer.Option("--twin-evidence", help="Whether hash and embedding must agree, or either is enough.")
]


@app.command()
def audit(
    release: Annotated[str, typer.Argument(help="Name of the release.")],
    used: UsedOption = None,
    not_used: NotUsedOption = None,
    against: AgainstOption = None,
    subject: Annotated[
        Subject | None, typer.Option("--subject", help="Which images are judged.", show_default="generated")
    ] = None,
    rule: Annotated[
        RuleName | None,
        typer.Option(
            "--rule", help="The decision rule.", show_default="calibrated with a not-used set, else mu-alpha-sigma"
        ),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(
            "--score",
            metavar="NAME",
            help="Membership score of real images.",
            show_default="local; relative in a whole-image --space",
        ),
    ] = None,
    fdr: Annotated[
        float | None,
        typer.Option("--fdr", help="Share of false discoveries allowed (calibrated).", show_default="0.05"),
    ] = None,
    reference_release: Annotated[
        str | None,
        typer.Option("--reference-release", metavar="NAME", help="Release of a generator trained on other images."),
    ] = None,
    alpha: Annotated[float | None, typer.Option("--alpha", help="T = mu + alpha * sigma.", show_default="0.5")] = None,
    population: Annotated[
        Population | None,
        typer.Option("--population", help="mu and sigma over the maxima or over all pairs.", show_default="maxima"),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Neighbors to keep per subject.", show_default="10")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="FILE|ID", help="Policy of `provenance fit`, or one on record (policy:...)."),
    ] = None,
    space: SpaceOption = None,
    exclude_overlap: ExcludeOverlapOption = False,
    exclude_twins: ExcludeTwinsOption = False,
    twin_hash_distance: TwinHashDistanceOption = None,
    twin_min_similarity: TwinMinSimilarityOption = None,
    twin_evidence: TwinEvidenceOption = Evidence.BOTH,
    match_resolution: Annotated[
        bool, typer.Option("--match-resolution", help="Bring every image to the release's native resolution first.")
    ] = False,
    only: Annotated[
        str | None, typer.Option("--only", metavar="ANSWERS", help="Of copies,membership,baseline: those wanted.")
    ] = None,
    compare: Annotated[str | None, typer.Option("--compare", help="List what changed since this audit (id).")] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Then plant known copies: would it have seen them?")
    ] = False,
    rows: RowsOption = 10,
    json: JsonOption = False,
) -> None:
    """Judge a release against real sets.

    Every verdict is recorded with its evidence.

    Without --used, --not-used and --against every set takes part by its own membership. --match-resolution embeds
    what is missing at the release's resolution from the recorded sources.

    With images known not used the rule is `calibrated`: p-values against them, error control, and an outcome for the
    release. The published baseline stays one flag away: --rule mu-alpha-sigma.

    \b
    Example:
      provenance audit gan-v1 --used cohort-2024 --not-used cohort-2019
      provenance audit gan-v1 --against hospital-b --not-used cohort-2019 --subject real --json
      provenance audit gan-v2 --rule logistic --policy policy.json
    """
    from provenance.documents.audits import NewAudit

    with open_workspace() as workspace:
        if compare is not None:
            compare = workspace.catalog.audit(compare).audit_id
        report = workspace.audit(
            release,
            used=used,
            not_used=not_used,
            against=against,
            subject=subject,
            rule=rule,
            alpha=alpha,
            population=population,
            top_k=top_k,
            score=score,
            fdr=fdr,
            reference_release=reference_release,
            policy=policy,
            space=space,
            exclude_overlap=exclude_overlap,
            exclude_twins=exclude_twins,
            twin_evidence=twin_evidence,
            twin_hash_distance=twin_hash_distance,
            twin_min_similarity=twin_min_similarity,
            match_resolution=match_resolution,
            only=[word.strip() for word in (only or "").split(",") if word.strip()],
            on_step=None if json else message,
        )
        more: dict[str, Any] = {}
        if compare is not None:
            more |= {"compared_with": compare, "changes": workspace.find_changes(compare, report)}
        if not json:
            print_audit(workspace, report, rows)
            warn(*report.notes)
            message(f"next: provenance export {report.audit.audit_id[:8]} --format csv -o verdicts.csv")
            if compare is not None:
                _print_changes(compare, more["changes"])
        if sensitivity:
            message(f"audit {report.audit.audit_id[:8]} is recorded; planting known copies")
            found = measured(workspace, report.audit.audit_id, quiet=json)
            more["sensitivity"] = found.report.document()
            if not json:
                print_sensitivity(found)
    if json:
        print_json(NewAudit.of_record(report, **more))


QUESTIONS = {
    Answer.COPIES: "which generated images are copies of real ones?",
    Answer.MEMBERSHIP: "which real images were used, and does the release leak?",
    Answer.BASELINE: "what the published rule mu + alpha * sigma says; it controls no error",
}


def print_audit(workspace: Workspace, found: AuditReport | RecordedAudit, rows: int) -> None:
    """The outcome first; then what each answer rests on, with its closest subjects."""
    audit = found.audit
    if audit.findings.outcome is not None:
        print_words(f"{audit.findings.outcome.replace('_', ' ').upper()}: {workspace.outcome_of(audit.audit_id)}")
    print_facts(
        {**_about(found), **({} if found.answers else _figures(audit)), **_identity(audit)}, title=_title(audit)
    )
    if not found.answers:
        _print_verdicts(workspace, audit, rows)
    for name, part in found.answers.items():
        outcome = part.audit.findings.outcome
        words = workspace.outcome_of(part.audit.audit_id)
        said = {"outcome": f"{outcome.replace('_', ' ')}: {words}"} if outcome else {}
        title = f"{name.upper()}: {QUESTIONS[name]}"
        print_facts({**said, **_figures(part.audit), **_identity(part.audit)}, title=f"\n{title}")
        _print_verdicts(workspace, part.audit, rows)
    for absent, why in found.missing.items():
        print_words(f"\n{absent.upper()}: not answered: {why}")


def _title(audit: AuditRecord) -> str:
    return f"\naudit {audit.audit_id}" if audit.findings.outcome else f"audit {audit.audit_id}"


def _about(found: AuditReport | RecordedAudit) -> dict[str, Any]:
    names: dict[str, list[str]] = {row.role.value: [] for row in found.datasets}
    for row in found.datasets:
        names[row.role.value].append(f"{row.name} ({row.image_count:,})")
    facts: dict[str, Any] = {role: ", ".join(listed) for role, listed in names.items()}
    return facts | {"rejected": f"{found.audit.counts['rejected']:,} inputs could not be read"}


def _figures(audit: AuditRecord) -> dict[str, Any]:
    from provenance.service import rule_of

    rule = rule_of(audit)
    facts: dict[str, Any] = {
        "judged": f"{audit.counts['subjects']:,} {audit.subject.value} images by {audit.rule}",
        "labels": _labels_text(audit),
        **rule.facts(audit),
    }
    if audit.threshold is not None:
        facts["threshold"] = rule.threshold_words(audit)
    if audit.findings.euclidean and audit.findings.euclidean.sentence:
        facts["euclidean"] = audit.findings.euclidean.sentence
    return facts


def _identity(audit: AuditRecord) -> dict[str, Any]:
    facts = {"verdict digest": audit.verdict_digest, "policy": audit.policy_id, "space": audit.space_id}
    return facts | {"audited at": audit.audited_at}


def _labels_text(audit: AuditRecord) -> str:
    from provenance.service import rule_of

    if audit.subject is Subject.RELEASE:
        known = ("copy", "part_copy", "established", "used")
        return ", ".join(f"{audit.counts[name]:,} {name}" for name in known if name in audit.counts)
    return ", ".join(f"{audit.counts.get(name, 0):,} {name}" for name in rule_of(audit).labels)


def _print_verdicts(workspace: Workspace, audit: AuditRecord, rows: int) -> None:
    if rows == 0:
        return
    generated, calibrated = audit.subject is Subject.GENERATED, audit.findings.outcome is not None
    # calibrated verdicts: images of unknown use first, as of the others it is claimed already
    ranked = sorted(
        workspace.verdict_rows(audit), key=lambda row: (calibrated and row["role"] == "used", -(row["score"] or 0))
    )[:rows]
    columns = {"subject": "subject_id", "name": "name", "label": "label", "score": "score"}
    columns |= {"p": "p_value", "q": "q_value"} if calibrated else {}
    columns |= {"S_u": "s_used", "S_n": "s_not_used", "S_unknown": "s_against"} if generated else {"claimed": "role"}
    columns |= {"nearest": "nearest_id", "nearest name": "nearest_name"}
    what = "greatest scores, unknown use first:" if calibrated else "closest"
    for row in ranked:
        row |= {name: short(row[name]) for name in ("subject_id", "nearest_id")}
        row |= {name: row[name] or "" for name in ("name", "nearest_name")}
    print_table(
        tuple(columns),
        [[row[name] for name in columns.values()] for row in ranked],
        title=f"{what} {len(ranked)} of {audit.counts['subjects']:,}",
    )


def _print_changes(before: str, changes: list[Change]) -> None:
    message(f"{len(changes)} verdicts differ from audit {before[:8]}")
    if changes:
        print_table(
            ("subject", "change", "label before", "label after", "score before", "score after"),
            [
                (short(c.image_id), c.change, c.label_before, c.label_after, c.score_before, c.score_after)
                for c in changes
            ],
        )


@audits_app.command("list")
def audits_list(json: JsonOption = False) -> None:
    """All audits, the newest first.

    \b
    Example:
      provenance audits list
    """
    from provenance.documents.audits import Audit

    with open_workspace() as workspace:
        audits = workspace.list_audits()
    if answer([Audit.of_record(each) for each in audits], json=json):
        return
    columns = ("audit", "audited at", "release", "subject", "rule", "outcome", "labels", "rejected")
    print_table(columns, map(_row, audits))


def _row(found: RecordedAudit) -> tuple[Any, ...]:
    audit, outcome = found.audit, (found.audit.findings.outcome or "").replace("_", " ")
    about = (audit.audit_id[:8], audit.audited_at, found.release_name, audit.subject, audit.rule)
    return (*about, outcome, _labels_text(audit), audit.counts["rejected"])


@audits_app.command("show")
def audits_show(
    audit_id: Annotated[str, typer.Argument(help="Audit id (prefix).")],
    rows: RowsOption = 10,
    json: JsonOption = False,
) -> None:
    """One audit, and whether its sets changed since.

    Figures, closest subjects, rejected inputs.

    \b
    Example:
      provenance audits show 1f3c9a2b
    """
    from provenance.documents.audits import AuditInFull

    with open_workspace() as workspace:
        found = workspace.show_audit(audit_id)
        beside = {"rejects": found.rejects, "sensitivities": found.sensitivities, "drift": found.drift}
        document = AuditInFull.of_record(found, **beside)
        if answer(document, json=json):
            return
        print_audit(workspace, found, rows)
        print_recorded(found.latest_sensitivities, len(found.sensitivities))
    if found.rejects:
        print_table(
            ("rejected", "reason", "detail"),
            [("(erased)" if r.name is None else r.name, r.reason, r.detail or "") for r in found.rejects],
        )
    warn(*(_drift_text(entry) for entry in document.drift if entry.changed))


def _drift_text(drift: Drift) -> str:
    """A sentence on a dataset that is not what the audit saw."""
    before, now = drift.image_count_then, drift.image_count_now
    if now is None:
        return f"{drift.name} was removed since this audit (it had {before:,} images)."
    how = f"grown by {now - before:,}" if now > before else f"shrunk by {before - now:,}" if now < before else "changed"
    return (
        f"{drift.name} has {how} since this audit: {before:,} images then, {now:,} now. "
        "Audit again to judge by what it holds now."
    )
