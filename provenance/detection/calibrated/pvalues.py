"""Calibration of p-values: are those of images known not used uniform, as they must be under the null? Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import checked_scores
from provenance.errors import UsageError
from provenance.findings import JsonValue

if TYPE_CHECKING:
    from provenance.arrays import Float64s, Int64s
    from provenance.detection.checks import Numbers


ON_GRID = 1e-9
CHUNK_NUMBERS = 2_000_000


@dataclass(frozen=True, slots=True)
class Calibration(JsonValue):
    """P-values of images known not used against the uniform law.

    Attributes:
        n: P-values.
        steps: They take the values 1/steps ... 1; ``None``: any value in (0, 1].
        rounded_up: How many lay between two steps and were rounded up, which only makes them more cautious.
        shared: Whether the null law allows for one calibration sample behind all p-values.
        distance: Kolmogorov-Smirnov distance: the greatest difference of shares.
        excess: The greatest excess of small p-values over the uniform law, 0 or more: the dangerous direction.
        p_value: Two-sided, for ``distance``.
        p_value_excess: One-sided, for ``excess``; small: the p-values promise too much.
        ecdf_p: Ascending distinct p-values, for the figure; ``ecdf_share`` of them lie at or below each.
    """

    n: int
    steps: int | None
    rounded_up: int
    shared: bool
    distance: float
    excess: float
    p_value: float
    p_value_excess: float
    ecdf_p: tuple[float, ...]
    ecdf_share: tuple[float, ...]


def calibration_of_p_values(
    p_values: Numbers,
    *,
    steps: int | None = None,
    shared: bool = True,
    simulations: int = 2000,
    seed: int = 0,
) -> Calibration:
    """Kolmogorov-Smirnov test against the uniform law on {1/steps, ..., 1}, or on (0, 1].

        D = max over j of |F_n(j / steps) - j / steps|        D+ the same without the bars, 0 at least

    F_n is the share of p-values at or below. The textbook law of D is for continuous values: on a grid it is too
    cautious. And p-values that share a calibration sample are not independent: it is not cautious enough (the
    variance of F_n grows from t(1-t)/n to about t(1-t)(1/n + 1/G)). So, with ``steps``, the law of D is simulated:
    ``shared``: steps - 1 calibration scores and n scores of one continuous law, p-values by rank; otherwise n
    independent values of the grid; p = (1 + simulations with D or more) / (1 + simulations). Without
    ``steps``: independent values, scipy's exact ``kstest``.

    Args:
        p_values: In (0, 1], of images known not used, one for each group; shape (n,).
        steps: G + 1 for a conformal p-value over G calibration groups, B + 1 for B permutations.
        shared: Whether one calibration sample stands behind all p-values; plays no part without ``steps``.
        simulations: How many; the smallest p is 1 / (1 + simulations).
        seed: Of the simulation.

    Raises:
        UsageError: If there is no p-value, one is not in (0, 1] (or, rounded, below 1/steps), or ``steps`` or
            ``simulations`` is below 1.
    """
    values = checked_scores(p_values, "p-values")
    if (values <= 0).any() or (values > 1).any():
        raise UsageError("a p-value lies above 0 and not above 1")
    if simulations < 1 or (steps is not None and steps < 1):
        raise UsageError("steps and simulations must be 1 or more")
    rounded_up = 0
    if steps is None:
        found = _continuous(values)
    else:
        ranks = np.ceil(values * steps - ON_GRID * steps).astype(np.int64).clip(1, steps)
        rounded_up = int((np.abs(ranks / steps - values) > ON_GRID).sum())
        values = ranks / steps
        found = _discrete(ranks, steps, shared, simulations, seed)
    points, counts = np.unique(values, return_counts=True)
    shares = np.cumsum(counts) / len(values)
    return Calibration(
        len(values),
        steps,
        rounded_up,
        shared and steps is not None,
        *found,
        ecdf_p=tuple(points.tolist()),
        ecdf_share=tuple(shares.tolist()),
    )


def _continuous(values: Float64s) -> tuple[float, float, float, float]:
    from scipy.stats import kstest

    both, above = kstest(values, "uniform"), kstest(values, "uniform", alternative="greater")
    return float(both.statistic), float(above.statistic), float(both.pvalue), float(above.pvalue)


def _discrete(
    ranks: Int64s, steps: int, shared: bool, simulations: int, seed: int
) -> tuple[float, float, float, float]:
    distance, excess = (float(value[0]) for value in _distances(ranks[None, :], steps))
    rng = np.random.default_rng(seed)
    n = len(ranks)
    chunk = max(1, CHUNK_NUMBERS // (n + steps))
    as_far = as_high = 0
    for start in range(0, simulations, chunk):
        size = min(chunk, simulations - start)
        simulated = _shared_ranks(rng, size, n, steps) if shared else rng.integers(1, steps + 1, size=(size, n))
        distances, excesses = _distances(simulated, steps)
        # Shares that are equal in exact arithmetic may differ in the last bit.
        as_far += int((distances >= distance - ON_GRID).sum())
        as_high += int((excesses >= excess - ON_GRID).sum())
    return distance, excess, (1 + as_far) / (1 + simulations), (1 + as_high) / (1 + simulations)


def _shared_ranks(rng: np.random.Generator, size: int, n: int, steps: int) -> Int64s:
    # Conformal ranks 1 + #(calibration >= score) of n scores against one sample of steps - 1, size times over.
    order = rng.random((size, n + steps - 1)).argsort(axis=1)
    is_calibration = order >= n
    greater = np.cumsum(is_calibration, axis=1)
    return 1 + greater[~is_calibration].reshape(size, n)


def _distances(ranks: Int64s, steps: int) -> tuple[Float64s, Float64s]:
    size, n = ranks.shape
    places = (ranks - 1) + np.arange(size)[:, None] * steps
    counts = np.bincount(places.ravel(), minlength=size * steps).reshape(size, steps)
    gap = np.cumsum(counts, axis=1) / n - np.arange(1, steps + 1) / steps
    return np.abs(gap).max(axis=1), np.maximum(gap.max(axis=1), 0)
