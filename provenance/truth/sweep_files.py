"""A sweep as rows, as CSV and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.documents.rows import SweepRow
from provenance.errors import UsageError
from provenance.files import write_bytes, write_csv
from provenance.report import SweepCurves, draw_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.truth.sweeping import SweepReport

FIGURE_FORMATS = ("png", "svg")


def write_sweep_csv(report: SweepReport, target: Path) -> int:
    """Write the rows as CSV (see ``write_csv``); gives their number."""
    return write_csv(target, tuple(SweepRow.model_fields), report.rows)


def write_sweep_figure(report: SweepReport, target: Path) -> None:
    """Draw precision, recall, F1 and accuracy over alpha; PNG or SVG, as the file is called.

    Raises:
        UsageError: If the file is called otherwise.
        SourceError: If it can't be written.
    """
    rows = report.sweep.rows
    curves = SweepCurves(
        alphas=tuple(row.alpha for row in rows),
        metrics={
            "precision": tuple(row.metrics.precision for row in rows),
            "recall": tuple(row.metrics.recall for row in rows),
            "F1": tuple(row.metrics.f1 for row in rows),
            "accuracy": tuple(row.metrics.accuracy for row in rows),
        },
        best_alpha=report.sweep.best.alpha if report.sweep.best else None,
        f1_of_all_used=report.sweep.f1_of_all_used,
        images=report.all_used.n,
    )
    image = draw_sweep(curves, figure_format(target))
    write_bytes(target, image)


def figure_format(target: Path) -> str:
    """``png`` or ``svg``, by the ending of a file's name.

    Raises:
        UsageError: If it is neither.
    """
    ending = target.suffix.lower().removeprefix(".")
    if ending not in FIGURE_FORMATS:
        raise UsageError(f"{target} is no name of a figure", hint="end it in .png or .svg")
    return ending
