"""The threshold of the published baseline and what it decides (seed paper, eqs. 2-4). Pure.

All similarities are cosines in [-1, 1], higher = closer. A score equal to a threshold is not above it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.detection.decision import DECIMALS, SIMILARITY_TOLERANCE, Decision
from provenance.errors import UsageError
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Threshold:
    """T = mu + alpha * sigma over ``n`` similarities (seed paper, eq. 3); rounded to ``DECIMALS`` decimals."""

    mu: float
    sigma: float
    alpha: float
    n: int
    value: float


def threshold_of_scores(scores: Iterable[float], alpha: float) -> Threshold:
    """T over a population of scores (seed paper, eq. 3): mean and standard deviation with ddof = 0.

    Sums are exact (``math.fsum``), so that the order of the scores does not matter. Alpha is 0.5 in the paper.

    Raises:
        UsageError: If there is no score.
    """
    values = list(scores)
    if not values:
        raise UsageError("no scores: mu and sigma of an empty population are undefined")
    mu = math.fsum(values) / len(values)
    variance = math.fsum((value - mu) ** 2 for value in values) / len(values)
    return threshold_of_moments(mu, math.sqrt(variance), len(values), alpha)


def threshold_of_moments(mu: float, sigma: float, n: int, alpha: float) -> Threshold:
    """T from a known mean and standard deviation of ``n`` similarities (seed paper, eq. 3)."""
    return Threshold(round(mu, DECIMALS), round(sigma, DECIMALS), alpha, n, round(mu + alpha * sigma, DECIMALS))


def near_rounding_boundary(mu: float, sigma: float, alpha: float, error: float = 1e-12) -> bool:
    """Whether an error of ``error`` in mu, sigma or T could change its ``DECIMALS`` decimals."""
    return any(
        round(value - error, DECIMALS) != round(value + error, DECIMALS) for value in (mu, sigma, mu + alpha * sigma)
    )


def decide_generated(s_candidate: float | None, s_not_used: float | None, threshold: Threshold) -> Decision:
    """Label of a generated image: ``used`` iff S_u > S_n and S_u > T (seed paper, eq. 4).

    S_u is the greatest similarity to a candidate source: an image that was used, or that may have been used (the
    paper's inference puts the unknown images in this place); S_n that to an image known not to be used; ``None``
    without any. Without candidates S_u is the maximum over nothing, minus infinity: the label is ``not_used`` and the
    recorded score is S_n. T is compared with the score rounded to the same number of decimals.

    Raises:
        UsageError: If there is neither.
    """
    if s_candidate is None:
        if s_not_used is None:
            raise UsageError("a generated image can't be judged against no real image")
        return Decision(Label.NOT_USED, s_not_used, near_threshold=False)
    margin, above = s_candidate - threshold.value, round(s_candidate, DECIMALS) > threshold.value
    if s_not_used is not None:
        margin, above = min(margin, s_candidate - s_not_used), above and s_candidate > s_not_used
    # The label is "used" iff every margin is positive: it turns when the smallest one changes its sign.
    return Decision(Label.USED if above else Label.NOT_USED, s_candidate, abs(margin) <= SIMILARITY_TOLERANCE)


def decide_real(score: float, threshold: Threshold) -> Decision:
    """Label of a real image: ``used`` iff S(r) > T, with S(r) its greatest similarity to a generated image."""
    return decide_generated(score, None, threshold)


def population_of_maxima(s_candidate: Sequence[float | None], s_not_used: Sequence[float | None]) -> list[float]:
    """The paper's histogram: all S_u and all S_n of one audit; 2m scores with both kinds of set, m with one."""
    return [score for score in (*s_candidate, *s_not_used) if score is not None]
