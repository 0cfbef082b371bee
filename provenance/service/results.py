"""What the verbs that measure give: the report as values, its tables as DataFrames, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.brief import Brief
from provenance.files import figure_format, made_together, require_free
from provenance.service import frames
from provenance.service.words import ANOTHER_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from provenance.audit import Policy
    from provenance.sensitivity import Measured
    from provenance.service.words import Place
    from provenance.truth import EvaluationReport, FitReport, SweepReport

METRICS = ("precision", "recall", "f1", "accuracy", "kappa", "auc")


class _Result(Brief):
    def __init__(self, report: Any) -> None:
        self.report = report

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, in plain language."""
        return tuple(self.report.notes)

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        return self.report.told()  # type: ignore[no-any-return]


class EvaluationResult(_Result):
    """What ``Workspace.evaluate`` gives; ``report`` is everything as values."""

    report: EvaluationReport

    @property
    def auc(self) -> float | None:
        """How often a used image scores higher than one not used, of all images with truth; ``None``: not estimable."""
        estimates = self.report.figures
        return None if estimates is None else estimates["auc"].value

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
        return self.to_json()["comparison"]  # type: ignore[no-any-return]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values, as ``--json`` prints it."""
        return self.report.to_json()

    def write(self, folder: Place, *, overwrite: bool = False, raw: bool = False) -> list[Path]:
        """Write tables and figures (SVG and PNG) into a folder; gives the files.

        Cells that a spreadsheet would run as formulas have an apostrophe before them, unless they are wanted ``raw``.

        Raises:
            ConflictError: If one is there.
            SourceError: If they can't be written.
        """
        from provenance.truth import write_evaluation

        return list(write_evaluation(self.report, Path(folder), replace=overwrite, raw=raw))


class SensitivityResult(_Result):
    """What ``Workspace.sensitivity`` gives; ``report`` is everything as values."""

    report: Measured

    @property
    def rows(self) -> pd.DataFrame:
        """One row for each kind and strength, closest to the originals first; of several answers, one after the other.

        Columns ``answer`` (category; where there are several), ``kind`` (category), ``strength`` (float64; 0: none),
        ``plants``, ``groups``, ``found`` (int64), ``share``, ``low``, ``high`` (float64, 95 % Wilson interval),
        ``similarity`` (float64, median cosine to the originals), ``outranking`` and its share with interval (float64;
        NaN for rules without p-values): plants with the smallest p-value that there can be.
        """
        rows = self.report.table()
        columns = {"answer": frames.SENSITIVITY["kind"]} if "answer" in rows[0] else {}
        return frames.frame(columns | frames.SENSITIVITY, rows)

    @property
    def sentence(self) -> str:
        """The claim, or why there is none."""
        return self.report.sentence

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values, as ``--json`` prints it."""
        return self.report.to_json()

    def write(self, folder: Place, *, overwrite: bool = False) -> list[Path]:
        """Write table (CSV, JSON) and figure (SVG, PNG) into a folder; gives the files.

        Raises:
            ConflictError: If one is there.
            SourceError: If they can't be written.
        """
        from provenance.sensitivity import write_sensitivity

        return list(write_sensitivity(self.report, Path(folder), replace=overwrite))

    @staticmethod
    def require_free(folder: Place, *, overwrite: bool = False) -> None:
        """Refuse a folder that holds such files, before anything long is begun.

        Raises:
            ConflictError: If one is there and may not be replaced.
        """
        from provenance.sensitivity import require_free

        require_free(Path(folder), replace=overwrite)


class FitResult(_Result):
    """What ``Workspace.fit`` gives; ``report`` is everything as values."""

    report: FitReport

    @property
    def policy(self) -> Policy:
        """The fitted policy, for ``Workspace.audit(..., policy=...)``."""
        return self.report.policy

    @property
    def metrics(self) -> pd.DataFrame:
        """The paper's table 1: columns ``metric`` (category), ``training``, ``held_out`` (float64; NaN: undefined)."""
        training, held_out = self.report.fit.training.to_json(), self.report.fit.held_out.to_json()
        rows = ({"metric": name, "training": training[name], "held_out": held_out[name]} for name in METRICS)
        return frames.frame(frames.FIT_METRICS, rows)

    def save(self, file: Place, *, overwrite: bool = False) -> Path:
        """Write the policy file; gives the file.

        Raises:
            ConflictError: If it is there.
            SourceError: If it can't be written.
        """
        from provenance.truth import write_policy

        target = Path(file)
        require_free(target, replace=overwrite, hint=ANOTHER_FILE)
        write_policy(self.report, target)
        return target


class SweepResult(_Result):
    """What ``Workspace.sweep`` gives; ``report`` is everything as values, with ``adaptive`` where it was asked for."""

    report: SweepReport

    @property
    def rows(self) -> pd.DataFrame:
        """One row for each alpha, ascending, and last the row of calling every image used.

        Columns ``rule`` (category), ``alpha``, ``threshold``, ``precision``, ``recall``, ``f1``, ``accuracy``,
        ``kappa``, ``auc``, ``auc_of_labels`` (float64; NaN: undefined), ``true_positives``, ``false_positives``,
        ``false_negatives``, ``true_negatives`` (int64), ``best_f1`` (bool).
        """
        return frames.frame(frames.SWEEP, self.report.rows)

    @property
    def best_alpha(self) -> float | None:
        """The alpha with the greatest F1; ``None`` where no alpha labels a used image as used."""
        return self.report.best_alpha

    @property
    def conclusion(self) -> str:
        """The best F1 beside that of calling every image used, in a sentence."""
        return self.report.conclusion

    def write(self, csv: Place | None = None, figure: Place | None = None, *, overwrite: bool = False) -> None:
        """Write the rows as CSV, and the metrics over alpha as a figure (.png or .svg).

        Raises:
            ConflictError: If a file is there.
            UsageError: If the figure is called otherwise.
            SourceError: If a file can't be written.
        """
        from provenance.truth import write_sweep_csv, write_sweep_figure

        table, drawing = (None if place is None else Path(place) for place in (csv, figure))
        require_free(table, drawing, replace=overwrite, hint=ANOTHER_FILE)
        if drawing is not None:
            figure_format(drawing)
        with made_together(table, drawing):
            for target, write in ((table, write_sweep_csv), (drawing, write_sweep_figure)):
                if target is not None:
                    write(self.report, target)
