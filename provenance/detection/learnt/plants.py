"""Learnt scores with one more image in the release, for many such images, each alone. Pure.

Features are those of a release that holds the plant, up to rounding: affinities are means over the release, nearest
cosines are maxima, and residuals are linear in the affinities, so that one inverse serves all plants. What was learnt
stays as it was without the plant: it is not learnt again. One image among hundreds hardly moves it, and labels say
nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.learnt.features import (
    FIXED_SIZE,
    FIXED_WEIGHT,
    FIXED_WIDTH,
    GREATEST,
    NEAREST_CAP,
    RIDGE,
    SIZES,
    WIDTHS,
    Pool,
    cosines,
    kernels,
    normal_scores,
)
from provenance.detection.learnt.learner import BONUS
from provenance.detection.scores.local import SCORE_DECIMALS, standardised
from provenance.detection.scores.local_memory import copy_bonus, residuals_of_each
from provenance.detection.scores.local_neighbors import rounded_cosines
from provenance.detection.scores.positions import each_position

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.arrays import Float32s, Float64s
    from provenance.detection.learnt.features import Images
    from provenance.detection.learnt.learner import Learner
    from provenance.detection.scores.local import Progress

_NUMBERS_AT_ONCE = 120_000
"""Of images times plants: some hundred times as many bytes for each size and width."""


def scores_with_each_plant(
    learner: Learner, pool: Pool, plants: Images, *, progress: Progress | None = None
) -> Iterator[Float64s]:
    """For each plant the cross-fitted scores (n,) of the pool, as if it alone had been added to the release.

    Args:
        learner: Of the release without any plant.
        pool: The same pool, which has seen all of the release.
        plants: Grey levels of the planted images.
        progress: Called with plants done and plants in all, while blocks of them are under way.
    """
    step = max(1, _NUMBERS_AT_ONCE // len(pool.real))
    weights = learner.weights_of_each
    for start in range(0, len(plants), step):
        block = plants[np.arange(start, min(start + step, len(plants)))]

        def told(done: int, total: int, start: int = start, size: int = len(block)) -> None:
            if progress is not None:
                progress(start + size * done // total, len(plants))

        yield from _scores(weights, pool, block, told).T


def _scores(weights: Float64s, pool: Pool, planted: Float32s, progress: Progress) -> Float64s:
    found = np.zeros((len(pool.real), len(planted)))
    numbers = {size: [n for n, place in enumerate(pool.places) if place.size == size] for size in SIZES}
    done = 0
    for which, size in enumerate(SIZES):
        sums = np.zeros((len(WIDTHS), *found.shape))
        nearest = np.zeros((len(numbers[size]), *found.shape), dtype=np.float32)
        margins = np.zeros(found.shape)

        def at(step: int, size: int = size) -> tuple[Float64s, Float64s, Float64s]:
            return _at_place(pool, numbers[size][step], planted)

        for step, (residuals, closest, margin) in enumerate(
            each_position(at, len(numbers[size]), threads=pool.threads)
        ):
            sums += residuals
            nearest[step] = np.arctanh(np.minimum(closest, NEAREST_CAP))
            margins += margin
            done += 1
            progress(done, len(pool.places))
        sums /= len(numbers[size])
        for column, values in enumerate(sums):
            scores, place = normal_scores(values), which * len(WIDTHS) + column
            found += weights[:, place, None] * scores
            if (size, WIDTHS[column]) == (FIXED_SIZE, FIXED_WIDTH):
                found += FIXED_WEIGHT * weights[:, -1, None] * scores
        nearest.sort(axis=0)
        greatest = nearest[-GREATEST:].mean(axis=0, dtype=np.float64)
        place = len(SIZES) * len(WIDTHS) + which
        found += weights[:, place, None] * normal_scores(greatest)
        if size == FIXED_SIZE:
            found += BONUS * copy_bonus(margins / len(numbers[size]))
    rounded: Float64s = np.round(found, SCORE_DECIMALS) + 0.0
    return rounded


def _at_place(pool: Pool, number: int, planted: Float32s) -> tuple[Float64s, Float64s, Float64s]:
    """At one place: standardised residuals (widths, n, p), greatest cosines (n, p) and standardised margins (n, p)."""
    place, shape = pool.places[number], (len(pool.real), len(planted))
    residuals, closest, margin = np.empty((len(WIDTHS), *shape)), np.empty(shape), np.zeros(shape)
    added = place.cut(planted)
    for rows in pool.blocks:
        real, own = place.cut(pool.real[rows]), pool.codes[rows]
        among, across = cosines(real, real), cosines(real, added)
        closest[rows] = np.maximum(pool.closest[number, rows, None], across)
        for (column, kernel), (_, plant_kernel) in zip(kernels(among), kernels(across), strict=True):
            affinities = pool.total[number, rows, column] / pool.count
            raw = residuals_of_each(kernel, affinities, pool.count, plant_kernel, own, RIDGE)
            residuals[column, rows] = standardised(raw)
        if place.size == FIXED_SIZE:
            among[own[:, None] == own[None, :]] = -1.0
            margin[rows] = rounded_cosines(closest[rows]) - rounded_cosines(among.max(axis=1))[:, None]
    return residuals, closest, standardised(margin) if place.size == FIXED_SIZE else margin
