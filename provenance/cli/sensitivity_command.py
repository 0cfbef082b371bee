"""The command sensitivity, and what ``audit --sensitivity`` shares with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.cli.app import BackboneFileOption, JsonOption, TrustOption, WeightsOption, app, workspace_of_call
from provenance.cli.interrupt import EXIT_CODE, stop_on_interrupt
from provenance.cli.output import answer, message, print_facts, print_table, progress_bar, warn
from provenance.vocabulary import DEFAULT_PLANTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.service import SensitivityRecord, SensitivityReport, SensitivityResult, Workspace


@app.command()
def sensitivity(
    audit_id: Annotated[str, typer.Argument(metavar="AUDIT", help="Audit id (prefix).")],
    plants: Annotated[
        int,
        typer.Option("--plants", min=1, max=100_000, help="Copies of each kind; a claim of 95 % needs 73, all found."),
    ] = DEFAULT_PLANTS,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kinds", help="Kinds with commas between, such as exact,jpeg,blend:0.6 (repeatable)."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of originals, blends and noise.")] = 0,
    backbone_file: BackboneFileOption = None,
    trust_backbone_file: TrustOption = False,
    weights: WeightsOption = None,
    answers: Annotated[
        list[str] | None,
        typer.Option("--answer", help="Of several: copies, membership, baseline, with commas between (repeatable)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for table and figure; -: a tar to stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are in the folder.")] = False,
    json: JsonOption = False,
) -> None:
    """Plant known copies, and see what an audit finds of them.

    Used images are read again from their recorded places, altered (exact, JPEG, resized, cropped, flipped, rotated,
    blurred, noisy, gamma, contrast, shifted, blended with a generated image), brought to the release's resolution
    and format, and judged one at a time by the audit's own policy. Of an audit of several answers, each that can be
    measured is, and the release test tells what share of the used images it would take. The planted images are
    stored nowhere; the figures go with the audit.

    \b
    Example:
      provenance sensitivity 1f3c9a2b -o sensitivity
      provenance sensitivity 1f3c9a2b --plants 80 --kinds exact,blend:0.6 --json
    """
    from provenance.service import SensitivityResult

    if output is not None:
        SensitivityResult.require_free(output, overwrite=force)
    with workspace_of_call() as workspace:
        choice = {"backbone_file": backbone_file, "weights": weights, "trust_backbone_file": trust_backbone_file}
        asked = {"plants": plants, "kinds": kinds, "seed": seed, "answers": answers, **choice}
        found = measured(workspace, audit_id, **asked, quiet=json)
    files = () if output is None else found.write(output, overwrite=force)
    if not answer(found.report.document(files=files), json=json):
        print_sensitivity(found)
        message(*(f"written: {file}" for file in files))


def measured(workspace: Workspace, audit_id: str, *, quiet: bool = False, **asked: Any) -> SensitivityResult:
    """The sensitivity, with progress bars; Ctrl-C ends it with nothing recorded."""
    on_step = None if quiet else message
    try:
        with stop_on_interrupt() as stop, progress_bar("plants") as on_progress:
            return workspace.sensitivity(audit_id, **asked, on_progress=on_progress, on_step=on_step, stop=stop)
    except KeyboardInterrupt:
        message("interrupted: nothing was recorded")
        raise typer.Exit(EXIT_CODE) from None


def print_recorded(recorded: Mapping[str, SensitivityRecord], times: int) -> None:
    """What was measured of an audit, of each answer the latest measurement of so many; nothing where it never was."""
    for answered, latest in recorded.items():
        found = latest.result
        rows = (
            (f"{row['kind']} {row['strength']:g}" if row["strength"] else row["kind"], row) for row in found["rows"]
        )
        facts = {
            "measured": latest.measured_at,
            "in all": found["sentence"],
            "shares": ", ".join(f"{name}: {row['share']:.2f}" for name, row in rows),
        }
        if power := found.get("power"):  # not in older records
            facts["release test"] = power["sentence"]
        of = f" of {answered}" if answered else ""
        print_facts(facts, title=f"sensitivity{of} ({times:,} measured)")


def print_sensitivity(found: SensitivityResult) -> None:
    """Tables, sentences and notes, answer by answer."""
    for of, report in found.report.of_answers.items():
        _print_one(report, f" ({of})" if of else "")
    warn(*found.notes)


def _print_one(report: SensitivityReport, of: str) -> None:
    ranked = report.outranking is not None
    columns = ("kind", "cosine", "plants", "groups", "found", "share", "95 % interval")
    print_table(
        columns + (("outrank all calibration", "95 % interval") if ranked else ()),
        [_cells(row, ranked=ranked) for row in report.table()],
        title=f"plants judged alone by audit {report.audit_id[:8]}{of}, closest to their originals first",
    )
    reach = report.reach
    facts: dict[str, Any] = {
        "judged": f"{report.subject} images of {report.release_name} by {report.rule}, in {report.backbone}",
        "planted": f"{report.originals:,} of {report.available:,} images, as {report.form}",
        "in all": report.sentence,
    }
    if reach is not None:
        facts["k_min"] = (
            f"{reach.k_min:,} of {reach.subject_groups:,} subject groups, with {reach.calibration_groups:,} "
            f"calibration groups; {reach.sufficient_groups:,} would show a single copy"
        )
    if report.power is not None:
        facts["release test"] = report.power.sentence
    print_facts(facts, title=f"sensitivity{of}")
    if report.power is not None and report.power.curves:
        print_table(
            ("as strongly as", "scores", "groups", "least share"),
            [(c.like, c.images, c.groups, _least(c.least_share)) for c in report.power.curves],
            title=f"share of used images with which a leak is called in {report.power.target:.0%} of cases",
        )


def _least(share: float | None) -> str:
    return "not even all" if share is None else f"{100 * share:.3g} %"


def _cells(row: dict[str, Any], *, ranked: bool) -> tuple[str, ...]:
    name = f"{row['kind']} {row['strength']:g}" if row["strength"] else row["kind"]
    counts = (str(row[column]) for column in ("plants", "groups", "found"))
    cells = (name, f"{row['similarity']:.3f}", *counts, f"{row['share']:.3f}", f"{row['low']:.3f}-{row['high']:.3f}")
    if not ranked:
        return cells
    return (*cells, str(row["outranking"]), f"{row['outranking_low']:.3f}-{row['outranking_high']:.3f}")
