"""The command demo: the main job from end to end on phantoms."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provenance.cli.app import BackboneOption, JsonOption, app
from provenance.cli.interrupt import end
from provenance.cli.output import answer, message, print_facts, print_table, print_words, progress_bar, warn

if TYPE_CHECKING:
    from provenance.demo import DemoReport
    from provenance.documents.demo import CopyTotals, Demo, KindResult
    from provenance.documents.measures import EvaluatedPart

CAVEAT = (
    "These are phantoms: computed slices of nobody, and a generator that is known to put pieces of its training images "
    "together. The figures show what the audit does and where it errs; they say nothing about how well it finds what "
    "real generators leak."
)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where to make it; a new or an empty folder.")] = Path(
        "provenance-demo"
    ),
    backbone: BackboneOption = None,
    patients: Annotated[
        int, typer.Option("--patients", min=20, max=100_000, help="Phantom patients, of one or two slices each.")
    ] = 400,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, help="Decides every phantom and every generated image.")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Audit made-up slices: the main job, shown whole.

    Makes CT-like phantoms, trains a generator on a part of them (the optimal local denoiser, which puts pieces of its
    training images together), plants copies among its images, ingests and audits all of it, and shows truth against
    verdict for each of the three answers and for the published baseline. Writes the report of the audit.

    Without --backbone it takes efficientnet-lite0, whose weights come as a package (extra offline), and downloads
    nothing. It makes a workspace inside the folder and touches no other.

    \b
    Example:
      provenance demo
      provenance demo --folder /tmp/demo --patients 100
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
    outcome = report.audit.audit.findings.outcome or "no outcome"
    print_words(f"{outcome.replace('_', ' ').upper()}: {report.outcome_words}")
    _print_made(document)
    if document.copies_in_all is not None:
        _print_copies(document.copies, document.copies_in_all)
    if document.membership is not None:
        _print_membership(document.membership, document.guess)
    if document.baseline is not None:
        _print_baseline(document.baseline)
    print_facts(
        {
            "audit": document.audit.audit_id,
            "verdict digest": document.audit.verdict_digest,
            "time": f"{document.duration_seconds:.0f} s in all, with making phantoms and generated images",
        },
        title="\nOn record",
    )
    warn(*report.audit.notes, CAVEAT)
    message(f"images, their truth and the workspace: {report.folder}")
    message("", "next, with your own folders:", *(f"  {command}" for command in document.next))
    message("", f"the report, for a browser: {report.page}")


def _print_made(demo: Demo) -> None:
    made = demo.made
    reals = (
        f"{made.used:,} used, {made.not_used:,} not used, {made.unknown:,} of which the audit is not told "
        f"({made.unknown_used:,} of them were used): {made.reals:,} phantoms of {demo.patients:,} patients"
    )
    release = (
        f"{made.generated:,} images: {made.by_generator:,} by a generator that saw all {made.training:,} used images, "
        f"{made.planted:,} planted copies, {made.controls:,} controls (phantoms of nobody)"
    )
    print_facts({"real images": reals, "release": release}, title="\nWhat was made, so that the truth is known")


def _print_copies(kinds: tuple[KindResult, ...], total: CopyTotals) -> None:
    from provenance.demo import LARGE_KINDS

    ways = ", ".join(f"{count:,} by {way}" for way, count in total.established_by.items()) or "none"
    large = [kind for kind in kinds if kind.kind in LARGE_KINDS]
    first, true, parts, images = (
        sum(getattr(kind, name) for kind in large)
        for name in ("largest_source_first", "true_source_first", "part_copy", "images")
    )
    parts += sum(kind.copy for kind in large)
    facts = {
        "planted copies": f"{total.planted_found:,} of {total.planted:,} found (called copy), "
        f"{total.planted - total.planted_found:,} missed",
        "called copy": f"{total.called_copy:,} images: {total.called_copy_rightly:,} are one (planted, or 90 % of the "
        f"body from one used image), {total.called_copy_mostly:,} have more than half of the body from one used image, "
        f"{total.called_copy_wrongly:,} are none; the source named first is true for {total.source_right:,}",
        "known by": ways,
        "controls": f"{total.controls_called_copy:,} of {total.controls:,} called copy, "
        f"{total.controls_called_part_copy:,} called part_copy: each is an error",
        "pieces": f"of {images:,} generated images with one used image on 25 % of the body or more, that one is named "
        f"first for {first:,}, one that it came from for {true:,}; {parts:,} are called "
        "part_copy or copy with an error rate, the others are leads",
    }
    print_facts(facts, title="\nCOPIES: which generated image shows a real one again?")
    columns = ("kind of image", "images", "copy", "part_copy", "inconclusive", "no_copy_seen", "source true")
    rows = [
        (each.kind, each.images, each.copy, each.part_copy, each.inconclusive, each.no_copy_seen, _true_source(each))
        for each in kinds
    ]
    print_table(columns, rows)


def _true_source(kind: KindResult) -> str | None:
    return None if kind.true_source_first is None else f"{kind.true_source_first:,}/{kind.images:,}"


def _print_membership(part: EvaluatedPart, guess: EvaluatedPart | None) -> None:
    right, wrong = part.confusion.true_positives, part.confusion.false_positives or 0
    facts = {
        "established": f"{right + wrong:,} of {part.n:,} unknown images: {right:,} were used, {wrong:,} were not; "
        f"{part.positives - right:,} used ones were not found",
        **_figures(part, "a used image scores higher than one not used"),
    }
    if part.inconclusive:
        facts["inconclusive"] = f"{part.inconclusive:,} images: the audit could not have shown it"
    if guess is not None:
        right = guess.confusion.true_positives + (guess.confusion.true_negatives or 0)
        kappa = guess.estimates["kappa"].value
        facts["best guess"] = f"a bet, no finding: {right:,} of {guess.n:,} right" + (
            "" if kappa is None else f", kappa {kappa:.2f} (0 is chance)"
        )
    print_facts(facts, title="\nMEMBERSHIP: which real images of unknown use were used?")


def _print_baseline(part: EvaluatedPart) -> None:
    said = part.confusion.true_positives + (part.confusion.false_positives or 0)
    facts = {
        "labelled used": f"{said:,} of {part.n:,} generated images; {part.positives:,} came from used ones, it labels "
        f"{part.confusion.true_positives:,}; of the {part.negatives:,} controls "
        f"{part.confusion.false_positives:,}",
        **_figures(part, "an image made of used ones scores higher than a control"),
    }
    print_facts(facts, title="\nBASELINE: the published rule mu-alpha-sigma, leads and no findings")


def _figures(part: EvaluatedPart, meaning: str) -> dict[str, str]:
    def text(name: str, means: str) -> str:
        figure = part.estimates[name]
        if figure.value is None:
            return figure.reason or "not estimable"
        interval = "" if figure.low is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
        return f"{figure.value:.3f}{interval}: {means}"

    return {
        "AUC": text("auc", f"how often {meaning}; 0.5 is chance"),
        "kappa": text("kappa", "agreement of labels with the truth beyond chance; 0 is none, 1 is full"),
    }


def _next_commands(report: DemoReport) -> list[str]:
    """The commands from the user's own folders to a first audit."""
    name, value = report.backbone.setting
    choice = "" if report.backbone.is_default else f" --{name.replace('_', '-')} {shlex.quote(value)}"
    return [
        f"provenance ingest ./my-training-images --set my-cohort --membership used{choice}",
        f"provenance ingest ./my-generated-images --release my-release --generator my-gan{choice}",
        f"provenance ingest ./my-other-images --set my-others --membership not-used{choice}",
        "provenance audit my-release --used my-cohort --not-used my-others",
    ]
