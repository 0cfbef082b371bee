"""Local scores with one more image in the release, many times over: planted copies, each judged alone. Pure.

The affinity to a release is a mean over its images, so that one more image changes it by its own kernel only:
f' = (m f + k(., g)) / (m + 1). Prediction and residual are linear in f: the costly inverse is made once for each
position and serves all plants. The scores are those of ``local_scores`` with the plant appended to the release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.local import (
    SCORE_DECIMALS,
    Matching,
    affinity,
    check_descriptors,
    checked_groups,
    content_order,
    dealt,
    inverse_kernel,
    kernel,
    part_of,
    standardise_residuals,
    standardised,
)

if TYPE_CHECKING:
    from provenance.detection.checks import Groups
    from provenance.detection.local import Descriptors, Floats, Progress, Rows

PLANT_BLOCK = 256


def scores_with_each_plant(
    pool: Descriptors,
    release: Descriptors,
    plants: Descriptors,
    groups: Groups | None = None,
    *,
    matching: Matching | None = None,
    progress: Progress | None = None,
) -> Floats:
    """Scores of the whole pool for each plant, as if it alone had been added to the release.

    Args:
        pool: ``(n, parts, dim)`` as in ``local_scores``.
        release: ``(m, parts, dim)`` without any plant.
        plants: ``(p, parts, dim)`` descriptors of the planted images, passed through the release's format.
        groups: As in ``local_scores``.
        matching: Parameters; the defaults if ``None``.
        progress: Called with positions done and positions in all.

    Returns:
        ``(p, n)`` float64, rounded to 6 decimals: row i is the score of every pool image with plant i in the release.
        Whether a plant is found is a question to its target's score among the calibration scores of the same row.

    Raises:
        UsageError: As ``local_scores``, or if plants are of another space.
    """
    matching = matching or Matching()
    check_descriptors(pool, "pool")
    check_descriptors(release, "release", like=pool)
    check_descriptors(plants, "plants", like=pool)
    codes = checked_groups(groups, len(pool))
    order, release_order = content_order(pool), content_order(release)
    blocks = dealt(codes, groups, order, matching)
    total = np.zeros((len(plants), len(pool)))
    for part in range(pool.shape[1]):
        generated = part_of(release, release_order, part)
        planted = part_of(plants, np.arange(len(plants)), part)
        for rows in blocks:
            raw = _residuals(part_of(pool, rows, part), generated, planted, codes[rows], matching)
            total[:, rows] += standardised(raw).T
        if progress:
            progress(part + 1, pool.shape[1])
    scores: Floats = np.round(total / pool.shape[1], SCORE_DECIMALS) + 0.0
    return scores


def _residuals(
    real: Descriptors, generated: Descriptors, planted: Descriptors, codes: Rows, matching: Matching
) -> Floats:
    """``(n, p)`` standardised residuals at one position, one column for each plant."""
    inverse = inverse_kernel(real, matching)
    size = len(generated)
    weights = inverse @ affinity(real, generated, matching.tau)
    out = np.empty((len(real), len(planted)))
    for start in range(0, len(planted), PLANT_BLOCK):
        columns = slice(start, start + PLANT_BLOCK)
        added = inverse @ kernel(real, planted[columns], matching.tau)
        out[:, columns] = standardise_residuals(inverse, (size * weights[:, None] + added) / (size + 1), codes)
    return out
