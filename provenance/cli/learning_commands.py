"""Commands that learn from images with known truth: fit, sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.cli.app import JsonOption, SpaceOption, TopKOption, app, workspace_of_call
from provenance.cli.audit_commands import (
    AgainstOption,
    ExcludeOverlapOption,
    ExcludeTwinsOption,
    NotUsedOption,
    UsedOption,
)
from provenance.cli.output import answer, message, print_facts, print_table, warn
from provenance.errors import UsageError
from provenance.text import pasted
from provenance.vocabulary import PAPER_ALPHAS, TOP_K, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.documents.measures import Sweep
    from provenance.service import FitReport

ANOTHER_NAME = "give another name, or --force to replace it"
METRICS = ("precision", "recall", "f1", "accuracy", "kappa", "auc")
_WORDS = {"f1": "F1 score", "kappa": "Cohen's kappa", "auc": "AUC"}
PAPER_GRID = ",".join(map(str, PAPER_ALPHAS))

LabelsOption = Annotated[
    Path | None, typer.Option("--labels", help="CSV with the truth: name (or image_id) and label (or used).")
]
SkipUnknownOption = Annotated[
    bool, typer.Option("--skip-unknown", help="Leave out labels of images that were not judged.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


@app.command()
def fit(
    what: Annotated[list[str], typer.Argument(metavar="AUDIT_OR_RELEASE...", help="Audit ids, or releases to audit.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Policy file to write (JSON); - for standard output.")],
    control: Annotated[
        list[str] | None,
        typer.Option("--control", help="Audit or release of a generator that did not use the used sets (repeatable)."),
    ] = None,
    labels: LabelsOption = None,
    skip_unknown: SkipUnknownOption = False,
    feature: Annotated[
        list[str] | None, typer.Option("--feature", help="Score to fit on (repeatable); all that there are by default.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the split.")] = 0,
    held_out: Annotated[float, typer.Option("--held-out", help="Share of images to hold out.")] = 0.2,
    c: Annotated[float, typer.Option("--C", help="Inverse strength of the penalty.")] = 1.0,
    standardise: Annotated[
        bool, typer.Option("--standardise", help="Bring scores to mean 0 and deviation 1 first; not in the paper.")
    ] = False,
    cutoff: Annotated[float, typer.Option("--cutoff", help="Used above this probability.")] = 0.5,
    subject: Annotated[Subject, typer.Option("--subject", help="Of releases: which images to judge.")] = (
        Subject.GENERATED
    ),
    used: UsedOption = None,
    not_used: NotUsedOption = None,
    against: AgainstOption = None,
    exclude_overlap: ExcludeOverlapOption = False,
    exclude_twins: ExcludeTwinsOption = False,
    top_k: TopKOption = TOP_K,
    space: SpaceOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Fit the logistic rule on images with known truth.

    Of real images the sets of the audit claim it. Of generated ones it is known where a control release, whose
    generator did not use these sets, is audited against the same sets; or from --labels. A release is audited by the
    seed rule first, with --used, --not-used, --against, --subject, --top-k and --space.

    The policy file is what `provenance audit --policy` takes. Its metrics are those of the part it was fitted on and
    of the held-out part.

    \b
    Example:
      provenance fit 1f3c9a2b --control 77ab01c2 -o policy.json
      provenance fit gan-v1 --subject real --standardise -o policy.json
    """
    from provenance.documents.measures import Fit
    from provenance.service import require_free

    require_free(output, replace=force, hint=ANOTHER_NAME)
    _require_labels(labels, skip_unknown=skip_unknown)
    with workspace_of_call() as workspace:
        fitted = workspace.fit(
            what,
            control=control,
            labels=labels,
            skip_unknown=skip_unknown,
            features=feature,
            seed=seed,
            held_out=held_out,
            c=c,
            standardise=standardise,
            cutoff=cutoff,
            subject=subject,
            used=used,
            not_used=not_used,
            against=against,
            top_k=top_k,
            space=space,
            exclude_overlap=exclude_overlap,
            exclude_twins=exclude_twins,
            on_step=None if json else message,
        )
    report = fitted.report
    fitted.save(output, overwrite=True)
    if answer(Fit.of(report, file=output.resolve()), json=json):
        return
    _print_fit(report)
    warn(*report.notes)
    message(f"{output}: {report.policy.policy_id}")
    message(f"next: provenance audit RELEASE --rule logistic --policy {pasted([str(output)])}")


def _print_fit(report: FitReport) -> None:
    fit, model, labelled = report.fit, report.fit.model, report.known.labelled
    used = report.known.used_count
    facts = {
        "images": f"{len(labelled):,} {report.known.subject.value}: {used:,} used, {len(labelled) - used:,} not used",
        "truth": report.known.source,
        "split": f"{fit.training.n:,} to fit on, {fit.held_out.n:,} held out"
        + (", groups kept together" if fit.grouped else ", stratified"),
        "intercept": f"{model.intercept:.6f}",
    }
    for name, weight, mean, scale in zip(model.features, model.coefficients, model.mean, model.scale, strict=True):
        scaled = f" per {scale:.6f} from {mean:.6f}" if model.settings.standardise else ""
        facts[name] = f"{weight:+.6f}{scaled}"
    print_facts(facts, title="logistic regression")
    training, held_out = fit.training.to_json(), fit.held_out.to_json()
    rows = [(_WORDS.get(name, name), training[name], held_out[name]) for name in METRICS]
    print_table(("metric", "training", "held out"), rows)


@app.command()
def sweep(
    audit_id: Annotated[str, typer.Argument(metavar="AUDIT", help="Audit id (prefix).")],
    alphas: Annotated[
        str, typer.Option("--alphas", metavar="NUMBERS", help="The grid: numbers with commas between.")
    ] = PAPER_GRID,
    adaptive: Annotated[bool, typer.Option("--adaptive", help="Choose alpha by cross-validation, too.")] = False,
    folds: Annotated[int, typer.Option("--folds", help="Of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the cross-validation.")] = 0,
    labels: LabelsOption = None,
    skip_unknown: SkipUnknownOption = False,
    control: Annotated[
        list[str] | None,
        typer.Option("--control", help="Audit of a generator that did not use the used sets (repeatable)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV file to write; - for standard output.")
    ] = None,
    figure: Annotated[Path | None, typer.Option("--figure", help="Figure to write (.png or .svg).")] = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Judge an audit again at every alpha, against truth.

    Of real images the audit's sets claim the truth; of generated ones --labels say it, or an audit of a control release
    against the same sets. Negative alphas are T below the mean. The last row calls every image used: an alpha that
    does not beat its F1 is worth nothing.

    \b
    Example:
      provenance sweep 1f3c9a2b
      provenance sweep 1f3c9a2b --alphas=-1,0,0.5,1 --adaptive -o sweep.csv --figure sweep.png
      provenance sweep 1f3c9a2b --control 77ab01c2 --json
    """
    from provenance.documents.measures import Sweep
    from provenance.service import figure_format, require_free

    require_free(output, figure, replace=force, hint=ANOTHER_NAME)
    if figure is not None:
        figure_format(figure)
    _require_labels(labels, skip_unknown=skip_unknown)
    with workspace_of_call() as workspace:
        swept = workspace.sweep(
            audit_id,
            alphas=_grid(alphas),
            adaptive=adaptive,
            folds=folds,
            seed=seed,
            labels=labels,
            skip_unknown=skip_unknown,
            control=control,
        )
    report = swept.report
    swept.write(output, figure, overwrite=True)
    file, drawn = (None if path is None else path.resolve() for path in (output, figure))
    document = Sweep.of(report, file=file, figure=drawn)
    if answer(document, json=json):
        return
    _print_sweep(document)
    warn(*report.notes)
    message(*(f"written: {written}" for written in (output, figure) if written is not None))


def _print_sweep(swept: Sweep) -> None:
    print_table(
        ("alpha", "T", "precision", "recall", "F1", "accuracy", "kappa", "AUC", "best F1"),
        [
            (
                "all used" if row.alpha is None else f"{row.alpha:g}",
                *(getattr(row, name) for name in ("threshold", *METRICS)),
                "best" if row.best_f1 else "",
            )
            for row in swept.rows
        ],
        title=f"{swept.images:,} {swept.subject.value} images, {swept.used:,} of them used",
    )
    print_facts({"conclusion": swept.conclusion} | ({} if swept.adaptive is None else _adaptive_facts(swept.adaptive)))


def _adaptive_facts(found: Any) -> dict[str, Any]:
    if found.alpha is None:
        return {"adaptive": "no alpha has an F1 above 0 on held-out images"}
    nested = found.nested
    chosen = ", ".join(f"{fold.alpha:g}" for fold in found.folds)
    best, f1 = max(found.held_out_f1), nested.f1 or 0.0
    return {
        "adaptive": f"alpha {found.alpha:g}: the best F1, {best:.3f}, over {len(found.folds)} held-out folds",
        "folds": f"would have chosen {chosen}" + ("; groups kept together" if found.grouped else ""),
        "with its choice": f"F1 {f1:.3f}, accuracy {nested.accuracy:.3f} on images that had no part in it",
    }


def _grid(text: str) -> Iterator[float]:
    try:
        yield from (float(word) for word in text.split(",") if word.strip())
    except ValueError as error:
        raise UsageError(f"--alphas {text!r}: not numbers with commas between", hint=f"such as {PAPER_GRID}") from error


def _require_labels(labels: Path | None, *, skip_unknown: bool) -> None:
    if skip_unknown and labels is None:
        raise UsageError("--skip-unknown goes with --labels")
