"""A sweep as rows, as CSV and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.errors import UsageError
from provenance.files import write_bytes, write_csv
from provenance.report import SweepCurves, draw_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.detection import Metrics
    from provenance.truth.sweeping import SweepReport

SWEEP_COLUMNS = (
    "rule",
    "alpha",
    "threshold",
    "precision",
    "recall",
    "f1",
    "accuracy",
    "kappa",
    "auc",
    "auc_of_labels",
    "true_positives",
    "false_positives",
    "false_negatives",
    "true_negatives",
    "best_f1",
)
ALL_USED = "all-used"
FIGURE_FORMATS = ("png", "svg")


def sweep_rows(report: SweepReport) -> list[dict[str, Any]]:
    """One row for each alpha, ascending, and last the row of calling every image used; columns ``SWEEP_COLUMNS``."""
    rule = "mu-alpha-sigma"
    rows = [
        {
            "rule": rule,
            "alpha": row.alpha,
            "threshold": row.threshold.value,
            **_of_metrics(row.metrics),
            "auc": row.metrics.auc,
            "auc_of_labels": row.auc_of_labels,
            "best_f1": row is report.sweep.best,
        }
        for row in report.sweep.rows
    ]
    everything = {**_of_metrics(report.all_used), "auc": None, "auc_of_labels": 0.5}
    rows.append({"rule": ALL_USED, "alpha": None, "threshold": None, **everything, "best_f1": False})
    return [{name: row[name] for name in SWEEP_COLUMNS} for row in rows]


def _of_metrics(metrics: Metrics) -> dict[str, Any]:
    return {name: value for name, value in metrics.to_json().items() if name in SWEEP_COLUMNS}


def write_sweep_csv(report: SweepReport, target: Path) -> int:
    """Write ``sweep_rows`` as CSV (see ``write_csv``); gives the number of rows."""
    return write_csv(target, SWEEP_COLUMNS, sweep_rows(report))


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
