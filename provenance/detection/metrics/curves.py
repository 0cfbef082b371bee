"""Values behind figures: ROC points and histogram counts; frozen, without NaN or infinity. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import both_classes, checked_flags, checked_scores
from provenance.errors import UsageError
from provenance.findings import JsonValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.detection.checks import FlagsLike, Numbers


@dataclass(frozen=True, slots=True)
class RocCurve(JsonValue):
    """Points of an ROC curve from (0, 0) to (1, 1); points on a straight line are left out.

    Attributes:
        fpr: Share of the not-used images with a score at or above the threshold.
        tpr: The same share of the used images.
        thresholds: Descending; the first is ``None``: above every score.
    """

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    thresholds: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Histogram(JsonValue):
    """Counts over common bins.

    Attributes:
        edges: bins + 1 ascending edges; a bin holds its left edge, the last one both.
        counts: Name of a sample -> one count for each bin; every value is counted.
    """

    edges: tuple[float, ...]
    counts: Mapping[str, tuple[int, ...]]


def roc_points(truth: FlagsLike, scores: Numbers) -> RocCurve:
    """ROC curve (seed paper, figure 3) from scikit-learn's ``roc_curve``.

    Raises:
        UsageError: If there are no images, one class only, lengths differ, or a score is not finite.
    """
    from sklearn.metrics import roc_curve

    known = checked_flags(truth, "truth")
    values = checked_scores(scores, "scores", len(known))
    both_classes(known)
    fpr, tpr, thresholds = roc_curve(known, values)
    return RocCurve(
        tuple(fpr.tolist()),
        tuple(tpr.tolist()),
        tuple(value if math.isfinite(value) else None for value in thresholds.tolist()),
    )


def histogram(samples: Mapping[str, Numbers], bins: int = 40) -> Histogram:
    """Counts of several samples over the same equal bins from the least to the greatest value (figure 2).

    Args:
        samples: Name -> values, such as the S_u and the S_n of an audit; without unit.
        bins: How many; where all values are equal they lie in one bin of width 0.002 around it.

    Raises:
        UsageError: If there is no sample, one is empty, a value is not finite, or ``bins`` is below 1.
    """
    if bins < 1:
        raise UsageError(f"a histogram needs one bin or more, not {bins}")
    if not samples:
        raise UsageError("no samples to count")
    arrays = {name: checked_scores(values, name) for name, values in samples.items()}
    low = min(float(values.min()) for values in arrays.values())
    high = max(float(values.max()) for values in arrays.values())
    if low == high:
        low, high, bins = low - 0.001, high + 0.001, 1
    edges = np.linspace(low, high, bins + 1)
    counts = {name: tuple(np.histogram(values, edges)[0].tolist()) for name, values in arrays.items()}
    return Histogram(tuple(edges.tolist()), counts)
