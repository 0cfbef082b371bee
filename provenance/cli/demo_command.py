"""The command demo: the main job from end to end on phantoms."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provenance.cli.app import BackboneOption, JsonOption, app
from provenance.cli.data_commands import print_report
from provenance.cli.interrupt import end
from provenance.cli.output import answer, message, print_facts, print_table, progress_bar, warn

if TYPE_CHECKING:
    from provenance.demo import DemoReport
    from provenance.documents.demo import Demo

CAVEAT = (
    "These are phantoms with planted copies: the figures show that the system works, and say nothing about how well "
    "this rule finds leaks of real generators."
)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where to make it; a new or an empty folder.")] = Path(
        "provenance-demo"
    ),
    backbone: BackboneOption = None,
    patients: Annotated[int, typer.Option("--patients", min=6, help="Phantom patients, three slices each.")] = 60,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides every phantom and every copy.")] = 0,
    json: JsonOption = False,
) -> None:
    """Audit made-up slices: the main job, shown whole.

    Makes CT-like phantoms and a release with planted copies, ingests and audits them, shows truth against verdict,
    and writes the report of the audit.

    Without --backbone it takes resnet50, or efficientnet-lite0 (extra offline) where the weights of resnet50 can't
    be had. It makes a workspace inside the folder and touches no other.

    \b
    Example:
      provenance demo
      provenance demo --folder /tmp/demo --backbone efficientnet-lite0 --patients 20
    """
    from provenance.demo import DemoRequest, run_demo
    from provenance.documents.audits import Audit
    from provenance.documents.demo import Demo

    request = DemoRequest(folder, patients, seed, backbone)
    try:
        report = run_demo(request, None if json else message, progress_bar)
    except KeyboardInterrupt:
        end("what was made is kept; the same command goes on with it")
    audit, commands = report.audit, _next_commands(report)
    told = Audit.of_record(audit)
    facts = {"audit": told, "caveat": CAVEAT, "next": commands}
    document = Demo.of(report, patients=patients, seed=seed, **facts)
    if not answer(document, json=json):
        _print_demo(report, document)


def _print_demo(report: DemoReport, document: Demo) -> None:
    for ingest in document.ingests:
        print_report(ingest)
    _print_summary(report)
    _print_truth(document)
    warn(*report.audit.notes, CAVEAT)
    message(f"images, truth.csv and the workspace: {report.folder}")
    message("\nnext, with your own folders:", *(f"  {command}" for command in document.next))
    message(f"\nthe report, for a browser: {report.page}")


def _print_summary(report: DemoReport) -> None:
    audit, counts = report.audit.audit, report.audit.audit.counts
    sizes = {row.role.value: row.image_count for row in report.audit.datasets}
    threshold = f"T = {audit.threshold:.6f} = mu {audit.mu:.6f} + {audit.alpha:g} x sigma {audit.sigma:.6f}"
    rows = [
        ("real images", f"{sizes['used']:,} used, {sizes['not_used']:,} not_used"),
        ("release", f"{sizes['release']:,} images, half of them copies of used ones"),
        ("backbone", report.backbone.name),
        ("threshold", threshold),
        ("labels", f"{counts['used']:,} used, {counts['not_used']:,} not_used, {counts['rejected']:,} rejected"),
        ("verdict digest", audit.verdict_digest),
        ("time", f"{report.duration_seconds:.0f} s"),
    ]
    print_table(("audit", audit.audit_id), rows)


def _print_truth(demo: Demo) -> None:
    from provenance.demo import FRESH

    rows = [
        (
            kind.kind,
            "no copy" if kind.kind == FRESH else "copy",
            f"{kind.labelled_used}/{kind.total}",
            None if kind.source_named is None else f"{kind.source_named}/{kind.total}",
            kind.median_score,
        )
        for kind in demo.truth
    ]
    columns = ("kind", "truth", "labelled used", "nearest is its source", "median S_u")
    print_table(columns, rows, title="truth against verdict")
    figures = demo.figures
    precision = "-" if figures.precision is None else f"{figures.precision:.3f}"
    print_facts(
        {
            "precision": f"{precision} of the images labelled used are copies",
            "recall": f"{figures.recall:.3f} of the copies are labelled used",
            "accuracy": f"{figures.accuracy:.3f} ({figures.correct} of {figures.total} right)",
            "chance": f"{figures.chance_low:.3f} to {figures.chance_high:.3f}: what a coin gives in 95 of 100 cases "
            f"(exact binomial; p = {figures.p_value:.2g})",
        }
    )


def _next_commands(report: DemoReport) -> list[str]:
    """Three commands from the user's own folders to a first audit."""
    name, value = report.backbone.setting
    choice = "" if report.backbone.is_default else f" --{name.replace('_', '-')} {shlex.quote(value)}"
    return [
        f"provenance ingest ./my-training-images --set my-cohort --membership used{choice}",
        f"provenance ingest ./my-generated-images --release my-release --generator my-gan{choice}",
        "provenance audit my-release --used my-cohort",
    ]
