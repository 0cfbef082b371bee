"""Evaluation against truth: metrics with intervals, chance beside accuracy, and values for figures. Pure.

"Used" is the positive class. What can't be said is an ``Estimate`` without a value and with a reason, never NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import checked_flags, checked_scores, group_codes, same_length
from provenance.detection.metrics.bootstrap import Judgement, estimate, resample
from provenance.detection.metrics.classification import Metrics, metrics_of, true_positive_rate_at
from provenance.errors import UsageError
from provenance.findings import ChanceBand, Estimate, JsonValue, Resampling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.detection.checks import FlagsLike, Groups, Numbers

FPR_LEVELS = (0.01, 0.001)
"""False-positive rates at which the true-positive rate is reported."""

ONE_CLASS = "not estimable: one class only"
ALL_EQUAL = "not estimable: all scores are equal"
NOTHING_TO_COUNT = {
    "precision": "nothing is labelled used",
    "recall": "no image was used",
    "f1": "nothing was used and nothing is labelled used",
}


@dataclass(frozen=True, slots=True)
class Evaluation(JsonValue):
    """One audit against truth.

    Attributes:
        metrics: Counts and figures without intervals.
        groups: How many groups the images belong to.
        estimates: With intervals, by name, in the order of a table: accuracy, precision, recall, f1, kappa, auc, and
            ``tpr@LEVEL``, the share of the used images found where at most LEVEL of the not-used are called used.
        chance: Beside the accuracy; ``None`` with one class only.
        resampling: Resamples, level and seed of the intervals.
        one_class_resamples: Resamples without a used, or without a not-used image: left out of the intervals
            that need both.
    """

    metrics: Metrics
    groups: int
    estimates: Mapping[str, Estimate]
    chance: ChanceBand | None
    resampling: Resampling
    one_class_resamples: int


def evaluate(
    truth: FlagsLike,
    labels: FlagsLike,
    scores: Numbers,
    *,
    groups: Groups | None = None,
    fpr_levels: Sequence[float] = FPR_LEVELS,
    resampling: Resampling | None = None,
) -> Evaluation:
    """Accuracy, precision, recall, F1, kappa, AUC and TPR at low FPR, each with a bootstrap interval by group.

    Point figures are scikit-learn's. An interval needs two groups or more that bear on the figure: with one, every
    resample says the same. TPR at an FPR below 1 / (not-used images) is not estimable. At low FPR it rests on
    a handful of not-used images, and its interval is rough.

    Args:
        truth: Whether each image was used, shape (n,).
        labels: Whether each was labelled used (of a three-valued rule: ``established``).
        scores: The score behind each label, higher = more likely used.
        groups: Patient or study of each image; ``None`` in a place: a group of its own.
        fpr_levels: In (0, 1).
        resampling: How the bootstrap is run.

    Raises:
        UsageError: If there are no images, lengths differ, a score is not finite, or a level is not in (0, 1).
    """
    resampling = resampling or Resampling()
    known, judgement = checked_judgement(truth, labels, scores)
    if not all(0 < level < 1 for level in fpr_levels) or len(set(fpr_levels)) < len(fpr_levels):
        raise UsageError("every false-positive rate lies between 0 and 1 and stands once")
    codes, count = group_codes(groups, len(known))
    metrics = metrics_of(known, judgement.labels, judgement.scores)
    values = {name: getattr(metrics, name) for name in ("accuracy", "precision", "recall", "f1", "kappa", "auc")}
    values |= {f"tpr@{level:g}": true_positive_rate_at(known, judgement.scores, level) for level in fpr_levels}
    resampled = resample(known, [judgement], codes, resampling, fpr_levels)[0]
    supports = supporting_groups(known, judgement.labels, codes)
    estimates = {
        name: estimate(value, resampled[name], resampling.level, supports.get(name, supports["auc"]))
        if value is not None
        else Estimate(None, reason=_why_undefined(name, metrics, judgement.scores))
        for name, value in values.items()
    }
    return Evaluation(
        metrics=metrics,
        groups=count,
        estimates=estimates,
        chance=_chance_of(metrics, resampling.level, independent=count == metrics.n),
        resampling=resampling,
        one_class_resamples=int(np.isnan(resampled["auc"]).sum()),
    )


def chance_band(correct: int, n: int, chance: float, *, level: float = 0.95, independent: bool = True) -> ChanceBand:
    """Exact binomial band of a guesser's accuracy, and P(X >= correct) for X ~ Binomial(n, chance); from scipy.

    Raises:
        UsageError: If ``correct`` is not in 0..n, n is 0, or ``chance`` or ``level`` is not in (0, 1).
    """
    from scipy import stats

    if not (0 <= correct <= n and n > 0):
        raise UsageError(f"{correct} of {n} images can't be right")
    if not (0 < chance < 1 and 0 < level < 1):
        raise UsageError("chance and level lie between 0 and 1")
    low, high = stats.binom.interval(level, n, chance)
    p_value = stats.binomtest(correct, n, chance, alternative="greater").pvalue
    return ChanceBand(chance, float(low) / n, float(high) / n, float(p_value), independent)


def checked_judgement(truth: FlagsLike, labels: FlagsLike, scores: Numbers) -> tuple[Flags, Judgement]:
    """Truth and what an audit said, checked, as arrays of one length."""
    known, said = checked_flags(truth, "truth"), checked_flags(labels, "labels")
    same_length(said, len(known), "labels")
    return known, Judgement(said, checked_scores(scores, "scores", len(known)))


def supporting_groups(truth: Flags, labels: Flags, codes: Int64s) -> dict[str, int]:
    """How many groups bear on each figure: for kappa and AUC, the class that has fewer."""
    figures = {"accuracy": truth | ~truth, "precision": labels, "recall": truth, "f1": truth | labels, "rest": ~truth}
    supports = {name: len(np.unique(codes[rows])) for name, rows in figures.items()}
    both = min(supports["recall"], supports.pop("rest"))
    return supports | {"kappa": both, "auc": both}


def _why_undefined(name: str, metrics: Metrics, scores: Float64s) -> str:
    if name in NOTHING_TO_COUNT:
        return f"not estimable: {NOTHING_TO_COUNT[name]}"
    if metrics.positives in (0, metrics.n):
        return ONE_CLASS
    if scores.min() == scores.max():
        return ALL_EQUAL
    return f"not estimable: {metrics.negatives} not-used images can't show a false-positive rate this low"


def _chance_of(metrics: Metrics, level: float, *, independent: bool) -> ChanceBand | None:
    share = metrics.positives / metrics.n
    if share in (0, 1):
        return None
    correct = metrics.true_positives + metrics.true_negatives
    return chance_band(correct, metrics.n, max(share, 1 - share), level=level, independent=independent)
