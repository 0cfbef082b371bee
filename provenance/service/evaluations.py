"""Audits against truth, from Python: one call, and a result whose table is a DataFrame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from provenance.errors import UsageError
from provenance.service import frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from provenance.truth import EvaluationReport, TruthRow

    Labels: TypeAlias = "str | Path | Mapping[str, object]"


class EvaluationResult:
    """What ``Workspace.evaluate`` gives.

    Attributes:
        report: Everything as values (``provenance.truth.EvaluationReport``).
    """

    def __init__(self, report: EvaluationReport) -> None:
        self.report = report

    @property
    def metrics(self) -> pd.DataFrame:
        """One row for each figure of each part.

        Columns ``by`` (category: all, audit, generator, architecture, modality), ``value`` (string), ``rule``,
        ``metric`` (category: accuracy, precision, recall, f1, kappa, auc, tpr@0.01, tpr@0.001, chance_accuracy,
        chance_p_value, positives, negatives, true_positives, false_positives, false_negatives, true_negatives,
        inconclusive), ``n``, ``groups`` (int64), ``estimate``, ``low``, ``high`` (float64; NaN, the frame's missing
        value, where it is not estimable) and ``reason`` (string: why not). ``low`` and ``high`` of
        ``chance_accuracy`` are the chance band.
        """
        return frames.frame(frames.METRICS, self.report.metric_rows())

    @property
    def comparison(self) -> dict[str, Any] | None:
        """McNemar's test and the differences, as JSON values; ``None`` without ``against``."""
        return None if self.report.comparison is None else self.report.comparison.to_json()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, in plain language."""
        return self.report.notes

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values, as ``--json`` prints it."""
        return self.report.to_json()

    def write(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write tables and figures (SVG and PNG) into a folder; gives the files.

        Raises:
            ConflictError: If one is there.
            SourceError: If they can't be written.
        """
        from provenance.truth import write_evaluation

        return list(write_evaluation(self.report, Path(folder), replace=overwrite))


def truth_of(labels: Labels | Sequence[Labels] | None) -> tuple[tuple[TruthRow, ...], ...]:
    """Rows of truth from what a call gave: a CSV file, a mapping, or one of these for each audit.

    Raises:
        UsageError: If it is anything else.
        SourceError: If a file can't be read or understood.
    """
    from provenance.truth import read_truth, truth_of_mapping

    if labels is None:
        return ()
    several = [labels] if isinstance(labels, str | Path | Mapping) or not isinstance(labels, Iterable) else labels
    rows = []
    for each in several:
        if not isinstance(each, str | Path | Mapping):
            raise UsageError(
                f"labels can't be {type(each).__name__}", hint="give a CSV file, or a mapping from name or id to truth"
            )
        rows.append(truth_of_mapping(each) if isinstance(each, Mapping) else read_truth(Path(each)))
    return tuple(rows)
