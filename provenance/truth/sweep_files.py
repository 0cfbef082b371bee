"""A sweep as rows, as CSV and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.documents.rows import SweepRow
from provenance.files import figure_format, write_bytes, write_csv
from provenance.report import SweepCurves, draw_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.truth.sweeping import SweepReport


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
            words: tuple(getattr(row.metrics, words.lower()) for row in rows)
            for words in ("precision", "recall", "F1", "accuracy")
        },
        best_alpha=report.sweep.best.alpha if report.sweep.best else None,
        f1_of_all_used=report.sweep.f1_of_all_used,
        images=report.all_used.n,
    )
    write_bytes(target, draw_sweep(curves, figure_format(target)))
