"""Metrics of labels and scores against truth, from scikit-learn; what is undefined is ``None``, never NaN."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import checked_flags, checked_scores, same_length
from provenance.findings import JsonValue

if TYPE_CHECKING:
    from provenance.arrays import Flags, Float64s
    from provenance.detection.checks import FlagsLike, Numbers


@dataclass(frozen=True, slots=True)
class Metrics(JsonValue):
    """Agreement of labels and scores with truth; "used" is the positive class; shares in [0, 1].

    Attributes:
        n: Images; ``positives`` of them were used.
        true_positives: Used and labelled so; the other three counts likewise.
        accuracy: (TP + TN) / n.
        precision: TP / (TP + FP); ``None`` where nothing is labelled used.
        recall: TP / (TP + FN); ``None`` where nothing was used.
        f1: 2 TP / (2 TP + FP + FN); ``None`` where there is nothing to count.
        kappa: Cohen's kappa (1960), (p_o - p_e) / (1 - p_e), in [-1, 1]; ``None`` with one class.
        auc: P(score of a used > score of a not used image) + P(equal) / 2; ``None`` with one class, without
            scores, or where all scores are equal.
    """

    n: int
    positives: int
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    accuracy: float
    precision: float | None
    recall: float | None
    f1: float | None
    kappa: float | None
    auc: float | None

    @property
    def negatives(self) -> int:
        """Images that were not used."""
        return self.n - self.positives


def metrics_of(truth: FlagsLike, labels: FlagsLike, scores: Numbers | None = None) -> Metrics:
    """The metrics of the seed paper's table 1, and kappa and AUC, computed by scikit-learn.

    Args:
        truth: Per image, whether it was used.
        labels: Per image, whether it was labelled used.
        scores: Per image, the score behind the label, higher = more likely used; for the AUC alone.

    Raises:
        UsageError: If there are no images, lengths differ, or a score is not finite.
    """
    from sklearn.metrics import (
        accuracy_score,
        cohen_kappa_score,
        confusion_matrix,
        f1_score,
        precision_score,
        recall_score,
        roc_auc_score,
    )

    known, said = checked_flags(truth, "truth"), checked_flags(labels, "labels")
    same_length(said, len(known), "labels")
    values = None if scores is None else checked_scores(scores, "scores", len(known))
    tn, fp, fn, tp = (int(cell) for cell in confusion_matrix(known, said, labels=[False, True]).ravel())
    return Metrics(
        n=len(known),
        positives=tp + fn,
        true_positives=tp,
        false_positives=fp,
        false_negatives=fn,
        true_negatives=tn,
        accuracy=float(accuracy_score(known, said)),
        precision=_defined(precision_score(known, said, zero_division=np.nan)),
        recall=_defined(recall_score(known, said, zero_division=np.nan)),
        f1=_defined(f1_score(known, said, zero_division=np.nan)),
        kappa=_defined(cohen_kappa_score(known, said)) if 0 < tp + fn < len(known) else None,
        auc=float(roc_auc_score(known, values)) if values is not None and rankable(known, values) else None,
    )


def true_positive_rate_at(truth: FlagsLike, scores: Numbers, fpr_level: float) -> float | None:
    """Greatest share of used images above a threshold that at most ``fpr_level`` of the not-used ones exceed.

    Points of the ROC curve only, nothing interpolated (Carlini 2022, "Membership inference attacks from first
    principles"). ``None`` ("not estimable") where ``fpr_level`` < 1 / number of not-used images, where there is
    one class only, or where all scores are equal.

    Raises:
        UsageError: If there are no images, lengths differ, or a score is not finite.
    """
    from sklearn.metrics import roc_curve

    known = checked_flags(truth, "truth")
    values = checked_scores(scores, "scores", len(known))
    negatives = int((~known).sum())
    if not rankable(known, values) or fpr_level < 1 / negatives:
        return None
    fpr, tpr, _ = roc_curve(known, values, drop_intermediate=False)
    return float(tpr[fpr <= fpr_level].max())


def rankable(truth: Flags, scores: Float64s) -> bool:
    """Whether a ranking by these scores can be judged: two classes, and scores that differ."""
    return bool(truth.any() and not truth.all() and scores.min() != scores.max())


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
