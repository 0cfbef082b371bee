"""Learning from images with known truth, from Python: fit the logistic rule, sweep alpha."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from provenance.files import require_free
from provenance.service import frames
from provenance.service.questions import Questions, names_of_call
from provenance.service.words import ANOTHER_FILE
from provenance.vocabulary import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

    from provenance.audit import Policy
    from provenance.service.questions import Audit, Names, Place
    from provenance.truth import FitReport, SweepReport, TruthRequest

    Labels: TypeAlias = "str | Path | Mapping[str, object]"
    Audits: TypeAlias = "Audit | Iterable[Audit]"

METRICS = ("precision", "recall", "f1", "accuracy", "kappa", "auc")


class FitResult:
    """What ``Workspace.fit`` gives.

    Attributes:
        report: Everything as values (``provenance.truth.FitReport``).
    """

    def __init__(self, report: FitReport) -> None:
        self.report = report

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

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, in plain language."""
        return self.report.notes

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


class SweepResult:
    """What ``Workspace.sweep`` gives.

    Attributes:
        report: Everything as values (``provenance.truth.SweepReport``), with ``adaptive`` where it was asked for.
    """

    def __init__(self, report: SweepReport) -> None:
        self.report = report

    @property
    def rows(self) -> pd.DataFrame:
        """One row for each alpha, ascending, and last the row of calling every image used.

        Columns ``rule`` (category), ``alpha``, ``threshold``, ``precision``, ``recall``, ``f1``, ``accuracy``,
        ``kappa``, ``auc``, ``auc_of_labels`` (float64; NaN: undefined), ``true_positives``, ``false_positives``,
        ``false_negatives``, ``true_negatives`` (int64), ``best_f1`` (bool).
        """
        from provenance.truth import sweep_rows

        return frames.frame(frames.SWEEP, sweep_rows(self.report))

    @property
    def best_alpha(self) -> float | None:
        """The alpha with the greatest F1; ``None`` where no alpha labels a used image as used."""
        return None if self.report.sweep.best is None else self.report.sweep.best.alpha

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

        for target, write in ((csv, write_sweep_csv), (figure, write_sweep_figure)):
            if target is not None:
                require_free(Path(target), replace=overwrite, hint=ANOTHER_FILE)
                write(self.report, Path(target))


class Learning(Questions):
    """A workspace whose audits can be learnt from."""

    def fit(
        self,
        what: Audits,
        *,
        control: Audits = (),
        labels: Labels | None = None,
        skip_unknown: bool = False,
        features: Names = (),
        seed: int = 0,
        held_out: float = 0.2,
        c: float = 1.0,
        standardise: bool = False,
        cutoff: float = 0.5,
        subject: str | Subject = Subject.GENERATED,
        used: Names = (),
        not_used: Names = (),
        against: Names = (),
        top_k: int = 10,
        space: str | None = None,
        exclude_overlap: bool = False,
        exclude_twins: bool = False,
        on_step: Callable[[str], None] | None = None,
    ) -> FitResult:
        """Fit the logistic rule on images with known truth (seed paper, 4.5 and table 1).

        Args:
            what: Audits, or names of releases, which are audited first; one or several.
            control: The same of generators that did not use the used sets: their images are the not used ones.
            labels: CSV file with the columns name (or image_id) and label (or used), or a mapping to truth.
            skip_unknown: Leave out labels of images that were not judged; otherwise they are an error.
            features: Scores to fit on: ``s_used``, ``s_not_used`` of generated images, ``nearest``, ``nearest_mean`` of
                real ones; empty: all of these.
            seed: Of the stratified split.
            held_out: Share of the images to hold out.
            c: Inverse strength of the penalty (scikit-learn's ``C``).
            standardise: Bring scores to mean 0 and deviation 1 on the training part first.
            cutoff: Used above this probability.
            subject: Of releases: which images to judge; likewise the sets, ``top_k``, ``space`` and exclusions.
            used: As in ``audit``.
            not_used: As in ``audit``.
            against: As in ``audit``.
            top_k: As in ``audit``.
            space: As in ``audit``.
            exclude_overlap: As in ``audit``.
            exclude_twins: As in ``audit``.
            on_step: Called with a line of text at each step.

        Returns:
            ``.policy``, ``.metrics`` (a DataFrame), ``.notes``, ``.save(file)``.

        Raises:
            UsageError: If truth is not known, there is one class only, or too few images or groups.
            ConflictError: If a control was audited against other sets.
            NotFoundError: If an audit, release or labelled image is unknown.
        """
        from provenance.audit import AuditRequest, Policy
        from provenance.service.words import word_of
        from provenance.truth import FitRequest, FitSettings, run_fit

        sets = (names_of_call(used), names_of_call(not_used), names_of_call(against))
        policy = Policy(subject=word_of(Subject, subject), top_k=top_k)
        request = FitRequest(
            what=self._names(what),
            control=self._names(control),
            truth=_truth((), labels, skip_unknown=skip_unknown),
            features=names_of_call(features),
            settings=FitSettings(c=c, standardise=standardise, held_out_share=held_out, seed=seed, cutoff=cutoff),
            template=AuditRequest("", *sets, policy, space, exclude_overlap, exclude_twins),
        )
        return FitResult(run_fit(self, request, on_step))

    def sweep(
        self,
        audit: Audit,
        *,
        alphas: Iterable[float] | None = None,
        adaptive: bool = False,
        folds: int = 5,
        seed: int = 0,
        labels: Labels | None = None,
        skip_unknown: bool = False,
        control: Audits = (),
    ) -> SweepResult:
        """Judge an audit again at every alpha, against truth (seed paper, 4.4).

        Args:
            audit: Audit id or a unique beginning of it, or what ``audit`` gave.
            alphas: The grid; ``None``: the paper's, 0.1, 0.3, 0.5, 0.7, 1.0.
            adaptive: Choose alpha by stratified cross-validation too, groups kept together.
            folds: Of the cross-validation.
            seed: Of its shuffle.
            labels: As in ``fit``; without labels and control truth is what the audit's sets claim of real images.
            skip_unknown: As in ``fit``.
            control: Audits of generators that did not use the used sets.

        Returns:
            ``.rows`` (a DataFrame), ``.best_alpha``, ``.conclusion``, ``.report``, ``.write(csv, figure)``.

        Raises:
            UsageError: If the grid is wrong, truth is not known or of one class, or there are too few images or groups.
            NotFoundError: If an audit or labelled image is unknown.
        """
        from provenance.truth import PAPER_ALPHAS, SweepRequest, run_sweep

        request = SweepRequest(
            audit=self._audit(audit).audit_id,
            truth=_truth(self._names(control), labels, skip_unknown=skip_unknown),
            alphas=PAPER_ALPHAS if alphas is None else tuple(alphas),
            adaptive=adaptive,
            folds=folds,
            seed=seed,
        )
        return SweepResult(run_sweep(self, request))

    def _names(self, given: Audits) -> tuple[str, ...]:
        """Ids of audits; a text is taken as it is, because it may name a release."""
        from provenance.audit import AuditReport
        from provenance.records import AuditRecord

        several = [given] if isinstance(given, str | AuditRecord | AuditReport) else list(given)
        return tuple(each if isinstance(each, str) else self._audit(each).audit_id for each in several)


def _truth(control: tuple[str, ...], labels: Labels | None, *, skip_unknown: bool) -> TruthRequest:
    from provenance.truth import TruthRequest, read_truth, truth_of_mapping

    rows = None
    if labels is not None:
        rows = truth_of_mapping(labels) if isinstance(labels, Mapping) else read_truth(Path(labels))
    return TruthRequest(control, rows, skip_unknown)
