"""The command evaluate: audits against known truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.cli.app import JsonOption, RawOption, app, workspace_of_call
from provenance.cli.output import answer, message, print_facts, print_table, warn
from provenance.vocabulary import DEFAULT_RESAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.service import ComparedAudits, EvaluatedAudit, EvaluatedPart, EvaluationReport

# Names of figures as they stand in JSON -> as people read them.
_WORDS = {
    "f1": "F1",
    "kappa": "Cohen's kappa",
    "auc": "AUC",
    "tpr@0.01": "TPR at 1 % FPR",
    "tpr@0.001": "TPR at 0.1 % FPR",
}

_BARE = ("precision", "recall", "f1", "kappa")
_PART_COLUMNS = (
    *("by", "value", "n", "used", "TP/FP/FN/TN", "accuracy", "chance"),
    *("prec.", "recall", "F1", "kappa", "AUC", "TPR@1%FPR"),
)


@app.command()
def evaluate(
    audits: Annotated[list[str], typer.Argument(metavar="AUDIT", help="Audit ids (prefixes); several: one table.")],
    labels: Annotated[
        list[Path] | None, typer.Option("--labels", help="CSV with name or image_id, and label or used (see above).")
    ] = None,
    against: Annotated[str | None, typer.Option("--against", help="Another audit to compare with (id).")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for tables and figures; -: a tar to stdout.")
    ] = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=100, max=100_000, help="Resamples behind every interval.")
    ] = DEFAULT_RESAMPLES,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the resamples.")] = 0,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out labels of images that the audit does not know.")
    ] = False,
    raw: RawOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are in the folder.")] = False,
    json: JsonOption = False,
) -> None:
    """Compare an audit's labels and scores with the truth.

    Accuracy with its chance band, precision, recall, F1, kappa, AUC, and TPR at low FPR, with 95 % intervals by
    group; the same per generator, architecture and modality.

    Labels are a CSV with the columns name (or image_id) and used (or label): 1 or 0, used or not_used. One file
    serves all audits, or each has its own, in their order. Without labels the truth is what an audit of real images
    claims: its used and not-used sets. Not-used images that calibrate have scores and a best guess, and no label.

    \b
    Example:
      provenance evaluate 1f3c9a2b --labels real_unknown_truth.csv -o evaluation
      provenance evaluate 1f3c9a2b --against 77ab0c1d --json
    """
    from provenance.documents.measures import Evaluation

    with workspace_of_call() as workspace:
        evaluated = workspace.evaluate(
            audits,
            labels=labels,
            against=against,
            bootstrap=bootstrap,
            seed=seed,
            skip_unknown=skip_unknown,
            on_step=None if json else message,
        )
    report = evaluated.report
    files = () if output is None else evaluated.write(output, overwrite=force, raw=raw)
    if not answer(Evaluation.of(report, files=files), json=json):
        _print_report(report)
        message(*(f"written: {file}" for file in files))


def _print_report(report: EvaluationReport) -> None:
    for audit in report.audits:
        _print_audit(audit)
    if report.parts and report.parts[0].by == "all":
        _print_figures(report.parts[0], report.resampling.level, "All images with known truth")
    for part in report.parts:
        if part.is_guess:
            title = f"Best guess of audit {part.value}: a bet, not a finding (its labels, and its probability as score)"
            _print_figures(part, report.resampling.level, title)
    print_table(
        _PART_COLUMNS, [_part_cells(part) for part in report.parts], title="By generator, architecture, modality"
    )
    if report.comparison is not None:
        _print_comparison(report.comparison)
    warn(*report.notes)


def _print_audit(audit: EvaluatedAudit) -> None:
    judged, metrics = audit.judged, audit.evaluation.metrics
    claims = "labels" if audit.truth.source == "labels" else "the audit's claims"
    facts: dict[str, Any] = {
        "judged": f"{len(judged.images):,} {judged.audit.subject.value} images by {judged.audit.rule}, "
        f"release {judged.release_name}",
        "truth": f"{metrics.n:,} images by {claims}: {metrics.positives:,} used, "
        f"{metrics.n - metrics.positives:,} not used",
        "groups": f"{audit.evaluation.groups:,}",
    }
    if audit.calibration is not None:
        found = audit.calibration
        facts["p-values"] = (
            f"{found.n:,} of not-used groups against uniform: D = {found.distance:.3f}, p = {found.p_value:.3f}; "
            f"too small: D+ = {found.excess:.3f}, p = {found.p_value_excess:.3f}"
        )
    print_facts(facts, title=f"audit {judged.audit.audit_id}")


def _print_figures(part: EvaluatedPart, level: float, title: str) -> None:
    evaluation = part.evaluation
    rows = [
        (_WORDS.get(name, name), _number(each.value), _ends(each.low, each.high), each.reason)
        for name, each in evaluation.estimates.items()
    ]
    if evaluation.chance is not None:
        chance = evaluation.chance
        band = f"a guesser's accuracy; P(as good by chance) = {chance.p_value:.4f}"
        rows.insert(1, ("  chance", _number(chance.chance), _ends(chance.low, chance.high), band))
    print_table(("figure", "value", f"{level:.0%} interval", "remark"), rows, title=title)
    counts = part.confusion
    print_table(
        ("", "labelled used", "not labelled used"),
        [
            ("used", counts["true_positives"], counts["false_negatives"]),
            ("not used", counts["false_positives"], counts["true_negatives"]),
        ],
        title="Counts" + (f" ({part.inconclusive} inconclusive, as not labelled used)" if part.inconclusive else ""),
    )


def _part_cells(part: EvaluatedPart) -> Sequence[str]:
    evaluation, metrics = part.evaluation, part.evaluation.metrics
    chance, estimates = evaluation.chance, evaluation.estimates
    order = ("true_positives", "false_positives", "false_negatives", "true_negatives")
    counts = ("-" if (count := part.confusion[name]) is None else str(count) for name in order)
    return (
        part.by,
        part.value,
        str(metrics.n),
        str(metrics.positives),
        "/".join(counts),
        _short(estimates["accuracy"]),
        "n/e" if chance is None else f"{chance.low:.2f}-{chance.high:.2f}",
        *("n/e" if (value := estimates[name].value) is None else f"{value:.3f}" for name in _BARE),
        _short(estimates["auc"]),
        _short(estimates["tpr@0.01"]),
    )


def _print_comparison(compared: ComparedAudits) -> None:
    first, second = (side.judged.short_id for side in compared.sides)
    found = compared.comparison
    differences = {"accuracy": found.accuracy_difference, "AUC": found.auc_difference}
    one, two = (side.evaluation.estimates for side in compared.sides)
    facts: dict[str, Any] = {"images": f"{found.n:,} that both judged, {found.groups:,} groups"}
    for name, each in differences.items():
        key = name.lower()
        facts[name] = f"{_short(one[key])} and {_short(two[key])}; difference {_number(each.value)}"
        facts[name] += f" {_ends(each.low, each.high)}" if each.low is not None else f" ({each.reason})"
    test = found.mcnemar
    facts["McNemar"] = (
        f"right only in {first}: {test.first_only}, only in {second}: {test.second_only}; exact p = {test.p_value:.4f}"
    )
    print_facts(facts, title=f"audit {first} against audit {second}")


def _number(value: float | None) -> str:
    return "not estimable" if value is None else f"{value:.3f}"


def _ends(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def _short(estimate: Any) -> str:
    if estimate.value is None:
        return "n/e"
    return f"{estimate.value:.3f}" + ("" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]")
