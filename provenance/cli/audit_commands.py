"""Commands about audits: audit, audits list|show."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.cli.app import App, JsonOption, SpaceOption, app, open_workspace
from provenance.cli.interrupt import end
from provenance.cli.output import (
    answer,
    explaining,
    message,
    not_printed,
    print_facts,
    print_json,
    print_rejects,
    print_table,
    print_words,
    short,
    warn,
)
from provenance.cli.sensitivity_command import measured, print_recorded, print_sensitivity
from provenance.text import pasted
from provenance.vocabulary import (
    Answer,
    Evidence,
    Gate,
    GroupScore,
    Label,
    Outcome,
    Population,
    Role,
    RuleName,
    Search,
    Subject,
    counted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provenance.documents.audits import Drift
    from provenance.service import AuditRecord, AuditReport, Change, DeclaredPolicy, RecordedAudit, Workspace

audits_app = App(help="Look at recorded audits.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(audits_app, name="audits")

RowsOption = Annotated[
    int | None,
    typer.Option(
        "--rows", min=0, help="How many verdicts to print.", show_default="10; copies up to 50, differences 20"
    ),
]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Then what every printed name means, with its unit.")]
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
        Subject | None, typer.Option("--subject", help="What is judged.", show_default="release: every answer")
    ] = None,
    rule: Annotated[
        RuleName | None,
        typer.Option("--rule", help="Judge by this rule alone.", show_default="every answer that the sets allow"),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(
            "--score",
            metavar="NAME",
            help="Membership score of real images.",
            show_default="learnt where enough is known; else local, or relative in a whole-image --space",
        ),
    ] = None,
    fdr: Annotated[
        float | None,
        typer.Option("--fdr", help="Share of false discoveries allowed (copies, membership).", show_default="0.05"),
    ] = None,
    prior: Annotated[
        float | None,
        typer.Option("--prior", help="Best guess: share of the unknown images taken for used.", show_default="0.5"),
    ] = None,
    group_score: Annotated[
        GroupScore | None,
        typer.Option("--group-score", help="What stands for a patient: of its images' scores.", show_default="mean"),
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
        int | None, typer.Option("--top-k", min=1, max=10_000, help="Neighbors to keep per subject.", show_default="10")
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
    override_membership: Annotated[
        bool, typer.Option("--override-membership", help="Let flags contradict the membership on record, this once.")
    ] = False,
    mix_modalities: Annotated[
        bool, typer.Option("--mix-modalities", help="Let named sets of several modalities act together.")
    ] = False,
    only: Annotated[
        str | None, typer.Option("--only", metavar="ANSWERS", help="Of copies,membership,baseline: those wanted.")
    ] = None,
    predeclared: Annotated[
        str | None,
        typer.Option("--predeclared", metavar="FILE|ID", help="As --policy, of one that was put on record beforehand."),
    ] = None,
    declare: Annotated[
        Path | None,
        typer.Option("--declare", metavar="FILE", help="Write the policy, put it on record, and judge nothing."),
    ] = None,
    fail_on: Annotated[
        list[Gate] | None,
        typer.Option("--fail-on", help="Exit with 10 on a leak or a copy, 11 where inconclusive (repeatable)."),
    ] = None,
    compare: Annotated[str | None, typer.Option("--compare", help="List what changed since this audit (id).")] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Then plant known copies: would it have seen them?")
    ] = False,
    search: Annotated[
        Search | None,
        typer.Option("--search", help="Where vectors of a Qdrant server are searched.", show_default="auto"),
    ] = None,
    rows: RowsOption = None,
    explain: ExplainOption = False,
    json: JsonOption = False,
) -> None:
    """Judge a release against real sets.

    Every answer that the sets allow: copies, membership, and the published baseline.

    Every verdict is recorded with its evidence. --fail-on ends with exit code 10 where a leak is established (leak) or
    an image is a copy or holds a part of one (copy), and with 11 where the audit can't tell (inconclusive); everything
    is printed and recorded first.

    Without --used, --not-used and --against every set takes part by its own membership that is not of another modality
    than the release. --match-resolution embeds what is missing at the release's resolution from the recorded sources.

    Vectors on a Qdrant server are copied once into verified files and searched here (--search file), or searched by the
    server (--search server); auto takes files where they fit the setting vector_cache_bytes and half the free disk. The
    record says which it was; verdicts and digests are the same.

    A flag that contradicts the membership on record is refused, and so are sets of several modalities, unless
    --override-membership and --mix-modalities ask for it.

    Copies need any real set; membership needs images known not used beside others. What the sets lack is said, and
    --only restricts. --subject generated|real, --rule and --policy judge by one rule alone.

    \b
    Example:
      provenance audit gan-v1 --used cohort-2024 --not-used cohort-2019
      provenance audit gan-v1 --against hospital-b --not-used cohort-2019 --subject real --json
      provenance audit gan-v2 --rule logistic --policy policy.json
    """
    from provenance.documents.audits import NewAudit

    asked: dict[str, Any] = {
        "used": used,
        "not_used": not_used,
        "against": against,
        "subject": subject,
        "rule": rule,
        "alpha": alpha,
        "population": population,
        "top_k": top_k,
        "score": score,
        "fdr": fdr,
        "prior": prior,
        "group_score": group_score,
        "reference_release": reference_release,
        "policy": policy,
        "space": space,
        "exclude_overlap": exclude_overlap,
        "exclude_twins": exclude_twins,
        "twin_evidence": twin_evidence,
        "twin_hash_distance": twin_hash_distance,
        "twin_min_similarity": twin_min_similarity,
        "match_resolution": match_resolution,
        "override_membership": override_membership,
        "mix_modalities": mix_modalities,
        "only": [word.strip() for word in (only or "").split(",") if word.strip()],
        "predeclared": predeclared,
        "fail_on": fail_on or (),
        "on_step": None if json else message,
    }
    if declare is not None:
        _declare(release, declare, asked, json=json)
        return
    with open_workspace(search=search) as workspace, explaining(wanted=explain and not json):
        if compare is not None:
            compare = workspace.catalog.audit(compare).audit_id
        try:
            report = workspace.audit(release, **asked)
        except KeyboardInterrupt:
            end("nothing is recorded; vectors that were made are kept for the next audit")
        more: dict[str, Any] = {}
        if compare is not None:
            more |= {"compared_with": compare, "changes": workspace.find_changes(compare, report)}
        if not json:
            print_audit(workspace, report, rows)
            warn(*not_printed(report.notes))
            message(_next(report, measured=sensitivity))
            if compare is not None:
                _print_changes(compare, more["changes"], rows)
        if sensitivity:
            message(f"audit {report.audit.audit_id[:8]} is recorded; planting known copies")
            found = measured(workspace, report.audit.audit_id, quiet=json)
            more["sensitivity"] = found.report.document()
            if not json:
                print_sensitivity(found)
    if json:
        print_json(NewAudit.of_record(report, **more))
    _fail(report.audit, fail_on or ())


def _next(report: AuditReport, *, measured: bool) -> str:
    """What shows most of what was found: the pictures of a finding, how small a leak could be seen, or the labels."""
    audit_id = report.audit.audit_id[:8]
    found = any(report.audit.counts.get(label) for label in _FOUND)
    if report.audit.findings.outcome is None and not found:
        return f"next: provenance export {audit_id} --format csv -o verdicts.csv"
    if report.audit.findings.outcome == Outcome.LEAK_NOT_ESTABLISHED and not measured:
        return f"next: provenance sensitivity {audit_id}  (how small a leak it would have seen)"
    return f"next: provenance report {audit_id} -o report.html"


def _declare(release: str, file: Path, asked: dict[str, Any], *, json: bool) -> None:
    from provenance.documents.audits import DeclaredPolicy

    with open_workspace() as workspace:
        found = workspace.declare(release, file, **asked)
    if not answer(DeclaredPolicy.of(found), json=json):
        message(
            f"{file}: {found.policy_id[:19]}, on record since {found.on_record_since:%Y-%m-%d %H:%M:%SZ}",
            f"next: {_as_declared(release, found, asked)}",
        )


_FLAGS = {Role.USED: "--used", Role.NOT_USED: "--not-used", Role.AGAINST: "--against"}
_BESIDE = ("space", "reference_release", "twin_hash_distance", "twin_min_similarity")
_SWITCHES = ("exclude_overlap", "exclude_twins", "match_resolution", "override_membership", "mix_modalities")


def _as_declared(release: str, found: DeclaredPolicy, asked: Mapping[str, Any]) -> str:
    """The call that judges as it was declared: all that the policy does not say for itself."""
    words = ["provenance", "audit", release]
    words += [word for role, names in found.sets.items() for name in names for word in (_FLAGS[role], name)]
    words += [word for name in _BESIDE if asked[name] is not None for word in (_flag(name), str(asked[name]))]
    if asked["twin_evidence"] is not Evidence.BOTH:
        words += ["--twin-evidence", asked["twin_evidence"].value]
    words += [_flag(name) for name in _SWITCHES if asked[name]]
    return pasted([*words, "--predeclared", str(found.file)])


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _fail(audit: AuditRecord, gates: Sequence[Gate]) -> None:
    """The exit codes of gates: 10 for a finding, 11 for none; a finding goes before."""
    tripped = [gate for gate in Gate if gate in gates and audit.trips(gate)]
    if tripped:
        message(f"--fail-on: {', '.join(tripped)}")
        raise typer.Exit(11 if tripped == [Gate.INCONCLUSIVE] else 10)


QUESTIONS = {
    Answer.COPIES: "which generated images are copies of real ones?",
    Answer.MEMBERSHIP: "which real images were used, and does the release leak?",
    Answer.BASELINE: "what the published rule mu + alpha * sigma says; it controls no error",
}


def print_audit(workspace: Workspace, found: AuditReport | RecordedAudit, rows: int | None = None) -> None:
    """The outcome first; then what each answer rests on, with its closest subjects (10, and all copies up to 50)."""
    audit = found.audit
    print_words(_first_line(workspace, audit))
    print_facts(
        {**_about(found), **({} if found.answers else _figures(audit)), **_identity(audit)}, title=_title(found)
    )
    if not found.answers:
        _print_verdicts(workspace, audit, rows)
    for name, part in found.answers.items():
        outcome = part.audit.findings.outcome
        words = workspace.outcome_of(part.audit.audit_id)
        said = {"outcome": _with_outcome(outcome.replace("_", " "), words)} if outcome else {}
        title = f"{name.upper()}: {QUESTIONS[name]}"
        copied = workspace.copied_of(part.audit) if name is Answer.MEMBERSHIP else ""
        said |= _figures(part.audit) | ({"copied": copied} if copied else {})
        own = {"audit": f"{part.audit.audit_id[:8]}, an answer of {audit.audit_id[:8]}"}
        print_facts({**said, **own, **_identity(part.audit)}, title=f"\n{title}")
        _print_verdicts(workspace, part.audit, rows)
    for absent, why in found.missing.items():
        print_words(f"\n{absent.upper()}: not answered: {why}")


def _first_line(workspace: Workspace, audit: AuditRecord) -> str:
    """What was found, in plain language."""
    from provenance.service import rule_of

    if audit.findings.outcome is not None:
        outcome = audit.findings.outcome.replace("_", " ").upper()
        return _with_outcome(outcome, workspace.outcome_of(audit.audit_id))
    if audit.subject is Subject.RELEASE:
        return (
            "NO OUTCOME: the baseline alone was asked, which states no error rate: its labels are leads, not findings."
        )
    label, total = rule_of(audit).labels[0], audit.counts["subjects"]
    return (
        f"NO OUTCOME: {audit.counts.get(label, 0):,} of {total:,} {audit.subject} images are labelled {label} by "
        f"the rule {audit.rule}, which states no error rate: leads, not findings."
    )


def _with_outcome(outcome: str, words: str) -> str:
    said, mark, reason = words.partition(": ")
    return f"{outcome}: {reason if mark and said.upper() == outcome.upper() else words}"


def _title(found: AuditReport | RecordedAudit) -> str:
    whole: tuple[str, Answer] | None = getattr(found, "part_of", None)
    return f"\naudit {found.audit.audit_id}" + (f" ({whole[1]} of audit {whole[0][:8]})" if whole else "")


def _about(found: AuditReport | RecordedAudit) -> dict[str, Any]:
    played = {row.role for row in found.datasets}
    names: dict[str, list[str]] = {role.value: [] for role in Role if role in played}
    for row in found.datasets:
        names[row.role.value].append(f"{row.name} ({row.image_count:,})")
    facts: dict[str, Any] = {role: ", ".join(listed) for role, listed in names.items()}
    if (own := found.audit.findings.joint) is not None:
        told = "; the policy was declared before the first" if own.predeclared else ""
        over = f", {own.looks_elsewhere:,} of them over other sets or images" if own.looks_elsewhere else ""
        facts["looks"] = f"{own.looks:,} at this release, with this one{over}{told}"
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
    if (place := audit.findings.searched_in) is not None:
        facts["searched in"] = place
    return facts | {"audited at": audit.audited_at}


def _labels_text(audit: AuditRecord) -> str:
    from provenance.service import rule_of

    if audit.subject is Subject.RELEASE:
        known = ("copy", "part_copy", "established", "used")
        return ", ".join(f"{audit.counts[name]:,} {name}" for name in known if name in audit.counts)
    return ", ".join(f"{audit.counts.get(name, 0):,} {name}" for name in rule_of(audit).labels)


_ROWS, _COPIES, _CHANGES = 10, 50, 20
_FOUND = (Label.COPY, Label.PART_COPY)


def _print_verdicts(workspace: Workspace, audit: AuditRecord, rows: int | None) -> None:
    """The most suspicious subjects, in columns that a screen has room for, and how many more are to be looked at."""
    if rows == 0:
        return
    if audit.rule == RuleName.COPIES:
        what, columns, everyone = _copies_table(workspace.copy_rows(audit))
    else:
        what, columns, everyone = _verdicts_table(audit, workspace.verdict_rows(audit, ranked=True))
    if rows is None:
        rows = max(_ROWS, min(_COPIES, sum(row["label"] in _FOUND for row in everyone)))
    ranked, others = everyone[:rows], Counter(row["label"] for row in everyone[rows:])
    known = {title: name for title, name in columns.items() if any(row[name] is not None for row in ranked)}
    print_table(
        tuple(known),
        [[_figure(row[name]) if title in ("p", "q") else row[name] for title, name in known.items()] for row in ranked],
        title=f"{what} {len(ranked)} of {audit.counts['subjects']:,}",
        names=("image", "nearest", "source"),
    )
    if audit.rule == RuleName.COPIES:
        _print_left_out(audit, others, len(everyone))


def _print_left_out(audit: AuditRecord, others: Counter[str], total: int) -> None:
    if copies := sum(others[label] for label in _FOUND):
        words = "copy or part copy" if copies == 1 else "copies and part copies"
        print_words(f"{copies:,} more {words}: provenance export {audit.audit_id[:8]} --format csv -o copies.csv")
    if unclear := others[Label.INCONCLUSIVE]:
        print_words(f"{unclear:,} more inconclusive: --rows {total}, or the export of all")


_Table = tuple[str, dict[str, str], list[dict[str, Any]]]


def _copies_table(rows: Iterable[dict[str, Any]]) -> _Table:
    """Each image with its best source."""
    ranked = [row for row in rows if row["label"] is not None]  # the first row of its image
    for row in ranked:
        row["image"] = row["name"] or short(row["image_id"])
        row["source"] = row["source_name"] or _short(row["source_id"])
        row["evidence"] = None if row["evidence"] is None else f"{row['evidence']:.2f}"
    columns = {"image": "image", "label": "label", "by": "established_by", "evidence": "evidence"}
    columns |= {"p": "p_value", "q": "q_value", "source": "source"}
    return "copies first, identical ones before others, then by evidence:", columns, ranked


def _verdicts_table(audit: AuditRecord, rows: Iterable[dict[str, Any]]) -> _Table:
    generated, calibrated = audit.subject is Subject.GENERATED, audit.findings.outcome is not None
    ranked = list(rows)
    for row in ranked:
        row["image"] = row["name"] or short(row["subject_id"])
        row["nearest"] = row["nearest_name"] or _short(row["nearest_id"])
    columns = {"image": "image", "label": "label", "score": "score"}
    columns |= {"p": "p_value", "q": "q_value"} if calibrated else {}
    # of a calibrated generated image the score is S_u
    similarities = {} if calibrated else {"S_u": "s_used"}
    columns |= similarities | {"S_n": "s_not_used", "S_unknown": "s_against"} if generated else {"claimed": "role"}
    what = "greatest scores, unknown use first:" if calibrated else "closest"
    return what, columns | {"nearest": "nearest"}, ranked


def _short(identity: str | None) -> str | None:
    return None if identity is None else short(identity)


def _figure(value: float | None) -> str | None:
    """A p- or q-value: three digits, however small it is."""
    return None if value is None else f"{value:.3g}"


def _print_changes(before: str, changes: list[Change], most: int | None) -> None:
    message(f"{counted(len(changes), 'verdict')} differ{'s' * (len(changes) == 1)} from audit {before[:8]}")
    shown = changes[: _CHANGES if most is None else most]
    if shown:
        columns = ("subject", "change", "label before", "label after", "score before", "score after")
        rows = [
            (short(c.image_id), c.change, c.label_before, c.label_after, c.score_before, c.score_after, c.answer)
            for c in shown
        ]
        width = len(columns) + any(c.answer for c in shown)
        print_table((*columns, "answer")[:width], [row[:width] for row in rows])
    if more := len(changes) - len(shown):
        message(f"{more:,} more: --rows {len(changes)} prints all, --json has them")


@audits_app.command("list")
def audits_list(
    parts: Annotated[bool, typer.Option("--parts", help="Also the answers, each an audit with an id.")] = False,
    json: JsonOption = False,
) -> None:
    """All audits, the newest first.

    With sets in their roles (against: of which it is unknown whether they were used), outcome, AUC of the release test
    and labels; an AUC in parentheses is of an inconclusive outcome, and shows nothing by itself. An audit of several
    answers stands for all of them; --parts lists these below it.

    \b
    Example:
      provenance audits list
    """
    from provenance.documents.audits import listed

    with open_workspace() as workspace:
        audits = workspace.list_audits(parts=parts)
    if answer([listed(each) for each in audits], json=json):
        return
    print_table(("audit", "audited at", "release and sets", "outcome", "AUC", "labels"), map(_row, audits))
    _explain_list(audits)


def _explain_list(audits: Sequence[RecordedAudit]) -> None:
    """A line for each of the table's words that does not explain itself."""
    if any(map(_shows_nothing, audits)):
        message("(AUC): of an inconclusive outcome; it shows nothing by itself")
    if any(each.sets_by_role().get(Role.AGAINST) for each in audits):
        message("against: sets of which it is unknown whether they were used")


def _shows_nothing(found: RecordedAudit) -> bool:
    return found.auc is not None and found.outcome == Outcome.INCONCLUSIVE


def _row(found: RecordedAudit) -> tuple[Any, ...]:
    audit, outcome = found.audit, (found.outcome or "").replace("_", " ")
    at = f"{audit.audited_at.astimezone(UTC):%Y-%m-%d %H:%M}"
    judged = "" if found.answers else f"{audit.subject} by {audit.rule}: "
    if found.part_of is not None:
        judged = f"{found.part_of[1]} of {found.part_of[0][:8]}: "
    said = _labels_text(audit).split(", ")
    if audit.subject is Subject.RELEASE:  # "used" is the baseline's: a lead, which has no place among findings
        said = [each for each in said if not each.endswith(" used")]
    labels = ", ".join(each for each in said if not each.startswith("0 "))
    played = {role.replace("_", " "): ", ".join(names) for role, names in found.sets_by_role().items() if names}
    about = f"{found.release_name}: " + "; ".join(f"{role} {names}" for role, names in played.items())
    auc = None if found.auc is None else f"{found.auc:.3f}"
    if _shows_nothing(found):
        auc = f"({auc})"
    return (audit.audit_id[:8], at, about, outcome, auc, judged + (labels or "none"))


@audits_app.command("show")
def audits_show(
    audit_id: Annotated[str, typer.Argument(help="Audit id (prefix).")],
    rows: RowsOption = None,
    explain: ExplainOption = False,
    json: JsonOption = False,
) -> None:
    """One audit, and whether its sets changed since.

    Figures, closest subjects, the notes that were said when it was made, rejected inputs.

    \b
    Example:
      provenance audits show 1f3c9a2b
    """
    from provenance.documents.audits import AuditInFull, part_of

    with open_workspace() as workspace, explaining(wanted=explain and not json):
        found = workspace.show_audit(audit_id)
        beside = {"rejects": found.rejects, "sensitivities": found.sensitivities, "drift": found.drift}
        document = AuditInFull.of_record(found, **beside, **part_of(found))
        if answer(document, json=json):
            return
        print_audit(workspace, found, rows)
        print_recorded(found.latest_sensitivities, len(found.sensitivities))
        if notes := not_printed(found.notes):
            print_words("\nnotes of the time it was made")
            for note in notes:
                print_words(f"- {note}")
    print_rejects([("(erased)" if r.name is None else r.name, r.reason, r.detail or "") for r in found.rejects])
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
