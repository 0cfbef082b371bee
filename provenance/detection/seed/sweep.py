"""The alpha grid of the seed rule (seed paper, 4.4), and alpha by cross-validation (its future work). Pure.

Both subjects: with S_n the rule is eq. 4 (generated images); without it, S > T (real images, or the paper's
inference against unknown images).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from provenance.detection.checks import both_classes, checked_flags, checked_scores, group_codes
from provenance.detection.decision import DECIMALS
from provenance.detection.metrics.classification import Metrics, metrics_of
from provenance.detection.metrics.folds import folds_of
from provenance.detection.seed.threshold import threshold_of_scores
from provenance.errors import UsageError
from provenance.findings import JsonValue
from provenance.vocabulary import PAPER_ALPHAS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.detection.checks import FlagsLike, Groups, Numbers
    from provenance.detection.seed.threshold import Threshold

ThresholdAt: TypeAlias = Callable[[float], "Threshold"]
"""T at a given alpha, over a population that the caller has: all pairs, or a whole audit's scores."""


@dataclass(frozen=True, slots=True)
class SweepRow(JsonValue):
    """The seed rule at one alpha, with T = mu + alpha * sigma, against truth.

    ``metrics.auc`` is the AUC of the score S_u or S(r): the same at every alpha. ``auc_of_labels`` is that of the
    labels themselves, (TPR + TNR) / 2, and changes with alpha.
    """

    alpha: float
    threshold: Threshold
    metrics: Metrics
    auc_of_labels: float


@dataclass(frozen=True, slots=True)
class Sweep(JsonValue):
    """The seed rule over a grid.

    Attributes:
        rows: One for each alpha, ascending.
        best: The row with the greatest F1, of equals the one with the smaller alpha; ``None`` where no alpha
            labels a single used image as used. Chosen on the images it is measured on, so it flatters.
        f1_of_all_used: F1 of calling every image used, 2 share / (1 + share): the mark to beat.
    """

    rows: tuple[SweepRow, ...]
    best: SweepRow | None
    f1_of_all_used: float


@dataclass(frozen=True, slots=True)
class AlphaFold:
    """One fold: alpha chosen on the training part, F1 on the held-out part (``None`` where undefined)."""

    training: int
    held_out: int
    alpha: float
    f1: float | None


@dataclass(frozen=True, slots=True)
class AdaptiveAlpha(JsonValue):
    """Alpha by stratified cross-validation.

    Attributes:
        alpha: Greatest held-out F1, of equals the smaller alpha; ``None`` where every F1 is 0.
        alphas: The grid, ascending.
        held_out_f1: F1 over the held-out parts together, one for each alpha of the grid.
        folds: What each fold would have chosen by itself.
        nested: Metrics over the held-out parts with each fold's own alpha: the choice of alpha is part of
            what is measured, so this one does not flatter. Its AUC is that of the scores.
        grouped: Whether some images share a group; each group is then in one fold.
        seed: Of the split.
    """

    alpha: float | None
    alphas: tuple[float, ...]
    held_out_f1: tuple[float, ...]
    folds: tuple[AlphaFold, ...]
    nested: Metrics
    grouped: bool
    seed: int


def checked_alphas(alphas: Iterable[float]) -> tuple[float, ...]:
    """A grid in ascending order.

    Raises:
        UsageError: If it is empty, or holds NaN, infinity, or a value twice.
    """
    grid = [float(alpha) for alpha in alphas]
    if not grid:
        raise UsageError("the grid of alphas is empty", hint="for example 0.1,0.3,0.5,0.7,1.0")
    if not all(math.isfinite(alpha) for alpha in grid):
        raise UsageError("every alpha must be a finite number")
    if len(set(grid)) < len(grid):
        raise UsageError("an alpha stands in the grid twice")
    return tuple(sorted(grid))


def sweep_alphas(
    scores: Numbers,
    truth: FlagsLike,
    alphas: Iterable[float] = PAPER_ALPHAS,
    *,
    s_not_used: Numbers | None = None,
    threshold_at: ThresholdAt | None = None,
) -> Sweep:
    """Eqs. 3 and 4 at every alpha of a grid, measured against truth (seed paper, 4.4).

    Args:
        scores: S_u of generated images or S(r) of real ones: cosines, shape (n,).
        truth: Whether each was used.
        alphas: The grid.
        s_not_used: S_n in the same order; ``None`` where the rule has none.
        threshold_at: T at an alpha, where mu and sigma are over something else than these scores.

    Raises:
        UsageError: If the grid is wrong, lengths differ, a score is not finite, all scores are equal, or there
            is one class only.
    """
    grid = checked_alphas(alphas)
    given = _checked(scores, truth, s_not_used)
    known, rows = given.truth, []
    for alpha in grid:
        threshold = threshold_at(alpha) if threshold_at else given.threshold(alpha)
        labels = given.labels(threshold)
        auc_of_labels = (labels[known].mean() + (~labels[~known]).mean()) / 2
        rows.append(SweepRow(alpha, threshold, metrics_of(known, labels, given.values), float(auc_of_labels)))
    share = float(known.mean())
    best = max(rows, key=lambda row: (row.metrics.f1 or 0.0, -row.alpha))
    return Sweep(tuple(rows), best if best.metrics.f1 else None, 2 * share / (1 + share))


def adaptive_alpha(
    scores: Numbers,
    truth: FlagsLike,
    alphas: Iterable[float] = PAPER_ALPHAS,
    *,
    s_not_used: Numbers | None = None,
    groups: Groups | None = None,
    folds: int = 5,
    seed: int = 0,
    threshold_at: ThresholdAt | None = None,
) -> AdaptiveAlpha:
    """The alpha with the best F1 on images that had no part in T.

    Stratified k-fold cross-validation (scikit-learn's ``StratifiedKFold``; ``StratifiedGroupKFold`` where groups
    are given, so that no patient is on both sides). In each fold mu and sigma are those of the training part,
    and the labels those of the held-out part. F1 is taken over the held-out parts together, not averaged over
    folds: an average is biased where a fold holds few positives (Forman & Scholz 2010).

    What is not told here is as in ``sweep_alphas``; ``threshold_at`` is then the same in every fold. ``groups`` are
    patients or studies (``None`` in a place: a group of its own); ``folds`` are 2 or more, shuffled by ``seed``.

    Raises:
        UsageError: As in ``sweep_alphas``; and if there are fewer groups, or images of a class, than folds.
    """
    grid = checked_alphas(alphas)
    given = _checked(scores, truth, s_not_used)
    known = given.truth
    splits = folds_of(known, groups, folds, seed)
    held_out = np.zeros((len(grid), len(known)), dtype=np.bool_)
    nested, chosen = np.zeros(len(known), dtype=np.bool_), []
    for training, test in splits:
        thresholds = [threshold_at(alpha) if threshold_at else given.threshold(alpha, training) for alpha in grid]
        labels = np.stack([given.labels(threshold) for threshold in thresholds])
        best = _best(grid, [_f1(known[training], row[training]) for row in labels])
        held_out[:, test], nested[test] = labels[:, test], labels[best, test]
        chosen.append(AlphaFold(len(training), len(test), grid[best], metrics_of(known[test], nested[test]).f1))
    f1 = [_f1(known, row) for row in held_out]
    return AdaptiveAlpha(
        alpha=grid[_best(grid, f1)] if max(f1) > 0 else None,
        alphas=grid,
        held_out_f1=tuple(f1),
        folds=tuple(chosen),
        nested=metrics_of(known, nested, given.values),
        grouped=group_codes(groups, len(known))[1] < len(known),
        seed=seed,
    )


@dataclass(frozen=True, slots=True)
class _Scores:
    truth: Flags
    values: Float64s
    rounded: Float64s
    others: Float64s | None

    def threshold(self, alpha: float, rows: Int64s | None = None) -> Threshold:
        parts = [self.values] if self.others is None else [self.values, self.others]
        population = np.concatenate(parts if rows is None else [part[rows] for part in parts])
        return threshold_of_scores(population.tolist(), alpha)

    def labels(self, threshold: Threshold) -> Flags:
        above: Flags = self.rounded > threshold.value
        return above if self.others is None else above & (self.values > self.others)


def _checked(scores: Numbers, truth: FlagsLike, s_not_used: Numbers | None) -> _Scores:
    known = checked_flags(truth, "truth")
    values = checked_scores(scores, "scores", len(known))
    others = None if s_not_used is None else checked_scores(s_not_used, "S_n", len(known))
    both_classes(known)
    if values.min() == values.max():
        raise UsageError("all scores are equal: no alpha can be told from another")
    # Python's round, as in threshold.py: NumPy's scales and divides, and differs from it in rare last decimals.
    return _Scores(known, values, np.array([round(value, DECIMALS) for value in values.tolist()]), others)


def _f1(truth: Flags, labels: Flags) -> float:
    hits = int((truth & labels).sum())
    total = int(truth.sum() + labels.sum())
    return 2 * hits / total if total else 0.0


def _best(grid: Sequence[float], f1: Sequence[float]) -> int:
    return max(range(len(grid)), key=lambda place: (f1[place], -grid[place]))
