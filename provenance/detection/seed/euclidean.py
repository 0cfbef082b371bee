"""Euclidean distance beside cosine, as a validation metric (seed paper, section 3).

For vectors of unit length d(a, b)^2 = |a|^2 + |b|^2 - 2 a.b = 2 - 2 cos(a, b): the distance is a strictly falling
function of the cosine. Nearest neighbors, S_u > S_n, ROC curve and AUC are the same by either. What may differ
is the threshold: mean and standard deviation do not pass through the square root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import checked_scores
from provenance.detection.seed.threshold import decide_generated, population_of_maxima, threshold_of_scores
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.arrays import Float64s
    from provenance.detection.checks import Numbers
    from provenance.detection.seed.threshold import Threshold


def distance_of_cosine(cosines: Numbers) -> Float64s:
    """Euclidean distance sqrt(2 - 2 cos) of two vectors of unit length, in [0, 2].

    Near cos = 1 digits cancel: a cosine known to 1e-16 gives a distance known to 1.5e-8.

    Raises:
        UsageError: If a value is not finite or not in [-1, 1].
    """
    values = checked_scores(cosines, "cosines")
    if (np.abs(values) > 1).any():
        raise UsageError("a cosine lies in [-1, 1]")
    return np.sqrt(2 - 2 * values)


CERTAIN_GAP = 1e-6
"""A greater cosine by this is a smaller distance, whatever float32 rounding makes of two unit vectors.

With norms of r and r' that are 1 within e, d(x, r)^2 - d(x, r')^2 = |r|^2 - |r'|^2 - 2 (cos - cos') < 4e - 2 gap; e is
below 1.2e-7 for unit vectors rounded to float32.
"""


def same_nearest(closest: Sequence[float], second: Sequence[float]) -> int:
    """In how many of n cases the nearest neighbor by cosine is so by Euclidean distance too, for certain.

    Given are the cosines to the nearest neighbor and to the second. In the other cases the two are so near to each
    other that rounding decides by either metric (see ``CERTAIN_GAP``).
    """
    return sum(first - other > CERTAIN_GAP for first, other in zip(closest, second, strict=True))


@dataclass(frozen=True, slots=True)
class DistanceCheck:
    """The seed rule by cosine and by Euclidean distance on the same n images, ``agreeing`` labelled alike by both.

    ``cosine`` is T over the cosines, ``distance`` T over the NEGATED distances, so that higher = closer there too.
    """

    n: int
    agreeing: int
    used_by_cosine: int
    used_by_distance: int
    cosine: Threshold
    distance: Threshold


def check_by_distance(scores: Numbers, s_not_used: Numbers | None = None, alpha: float = 0.5) -> DistanceCheck:
    """Apply eqs. 3 and 4 to negated distances (mu - alpha * sigma as an upper limit of the distance) and compare.

    Args:
        scores: S_u of generated images, or S(r) of real ones; cosines in [-1, 1], shape (n,).
        s_not_used: S_n in the same order, where the rule has one.
        alpha: The tunable factor.

    Raises:
        UsageError: If lengths differ or a value is no cosine.
    """
    by_cosine, cosine = _labels(scores, s_not_used, alpha)
    negated = None if s_not_used is None else -distance_of_cosine(s_not_used)
    by_distance, distance = _labels(-distance_of_cosine(scores), negated, alpha)
    return DistanceCheck(
        n=len(by_cosine),
        agreeing=sum(a == b for a, b in zip(by_cosine, by_distance, strict=True)),
        used_by_cosine=sum(by_cosine),
        used_by_distance=sum(by_distance),
        cosine=cosine,
        distance=distance,
    )


def _labels(scores: Numbers, s_not_used: Numbers | None, alpha: float) -> tuple[list[bool], Threshold]:
    first = checked_scores(scores, "scores").tolist()
    others = [None] * len(first) if s_not_used is None else checked_scores(s_not_used, "S_n", len(first)).tolist()
    threshold = threshold_of_scores(population_of_maxima(first, others), alpha)
    decisions = [decide_generated(s, other, threshold) for s, other in zip(first, others, strict=True)]
    return [decision.label.value == "used" for decision in decisions], threshold
