"""The default local score: memory that is spread over a release, and single copies in it. Pure.

    score(x) = r(matching)(x) + 4 max(0, r(nearest)(x) - 2)
    r(s)     = (s - median(s)) / (1.4826 median |s - median(s)|)

``matching`` (local.py) sees what a GAN remembers: a little of an image in many generated ones. Its kernel is broad, and
a single exact copy among a thousand generated images is lost in it. ``nearest``, the local score with k = 1, sees
that copy at once and next to nothing else. So nearest counts only where it stands out: more than two robust standard
deviations above the pool's median, where none of the real releases at hand has any image (docs/method.md).

Plants: the affinity to a release is a mean over its images, so that one more image changes it by its own kernel only,
f' = (m f + k(., g)) / (m + 1), and prediction and residual are linear in f; the nearest is a maximum. The costly
inverse is made once for each position and serves all plants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.scores.local import (
    RELEASE_BLOCK,
    SCORE_DECIMALS,
    LocalScores,
    Matching,
    check_descriptors,
    checked_pool,
    cholesky_of_kernel,
    dealt,
    groups_of_many,
    kernel,
    kernel_of,
    matching_scores,
    part_of,
    scores_of,
    standardised,
)
from provenance.detection.scores.local_neighbors import (
    local_nearest_scores,
    nearest_references,
    rounded_cosines,
)
from provenance.detection.scores.positions import each_position
from provenance.errors import UsageError

if TYPE_CHECKING:
    from provenance.arrays import Float32s, Float64s, Int64s
    from provenance.detection.checks import Groups
    from provenance.detection.scores.local import Progress

COPY_FROM = 2.0
COPY_WEIGHT = 4.0
MAD_OF_NORMAL = 1.4826
SPREAD, SINGLE = "matching", "nearest"
"""The two terms of the score, by name."""


def local_scores(
    pool: Float32s,
    release: Float32s,
    groups: Groups | None = None,
    *,
    matching: Matching | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> LocalScores:
    """The default local score of every image of the pool against a release (module docstring).

    What it takes, gives and refuses is as in ``matching_scores``; progress is told of both scores together.
    """
    spread = matching_scores(pool, release, groups, matching=matching, threads=threads, progress=_share(progress, 0))
    single = local_nearest_scores(pool, release, groups, k=1, threads=threads, progress=_share(progress, 1))
    copy = copy_bonus(single.score)
    score = np.round(robust(spread.score) + copy, SCORE_DECIMALS) + 0.0
    return LocalScores(score=score, contributions=spread.contributions, copy=copy)


def scores_with_each_plant(
    pool: Float32s,
    release: Float32s,
    plants: Float32s,
    groups: Groups | None = None,
    *,
    matching: Matching | None = None,
    terms: tuple[str, ...] = (SPREAD, SINGLE),
    threads: int = 1,
    progress: Progress | None = None,
) -> Float64s:
    """Scores of the whole pool for each plant, as if it alone had been added to the release.

    What is not told here is as in ``matching_scores``. ``plants`` are descriptors ``(p, parts, dim)`` of the planted
    images, passed through the release's format; the release has none of them. ``terms`` are both for the default
    score, ``SPREAD`` alone for ``matching``, ``SINGLE`` alone for ``nearest`` (k = 1).

    Returns:
        ``(p, n)``: row i is ``local_scores(pool, release and plant i).score``, to within 1e-5. Whether a plant is
        found is a question to its target's score among the calibration scores of the same row.

    Raises:
        UsageError: As ``matching_scores``, or if plants are of another space.
    """
    matching = matching or Matching()
    codes, order, release_order = checked_pool(pool, release, groups)
    check_descriptors(plants, "plants", like=pool)
    blocks = dealt(codes, groups, order, matching)

    def contributions(part: int) -> dict[str, Float64s]:
        generated = part_of(release, release_order, part)
        planted = part_of(plants, np.arange(len(plants)), part)
        found = {term: np.empty((len(pool), len(plants))) for term in terms}
        for rows in blocks:
            real = part_of(pool, rows, part)
            similarity = (real @ planted.T).astype(np.float64)
            closest, affinities = _to_release(real, generated, matching.tau)
            if SINGLE in terms:
                found[SINGLE][rows] = np.maximum(closest[:, None], rounded_cosines(similarity))
            if SPREAD in terms:
                planted_kernel = kernel_of(similarity, matching.tau)
                gram = kernel(real, real, matching.tau)
                raw = residuals_of_each(gram, affinities, len(generated), planted_kernel, codes[rows], matching.ridge)
                found[SPREAD][rows] = standardised(raw)
        if SINGLE in terms:
            found[SINGLE][order] -= nearest_references(part_of(pool, order, part), codes[order], 1)[:, None]
            found[SINGLE] = standardised(found[SINGLE])
        return found

    totals = {term: np.zeros((len(pool), len(plants))) for term in terms}
    for found in each_position(contributions, pool.shape[1], threads=threads, progress=progress):
        for term in terms:
            totals[term] += found[term]
    means = {term: np.round(total / pool.shape[1], SCORE_DECIMALS) + 0.0 for term, total in totals.items()}
    if len(terms) == 1:
        return np.ascontiguousarray(means[terms[0]].T)
    scores: Float64s = np.round(robust(means[SPREAD]) + copy_bonus(means[SINGLE]), SCORE_DECIMALS) + 0.0
    return np.ascontiguousarray(scores.T)


def referenced(scores: LocalScores, reference: LocalScores) -> LocalScores:
    """Scores against a release minus the same against a reference release: a generator trained on other images.

    What all generators of a kind do to such images cancels (Chen 2020, calibrated attack). It adds the noise of the
    reference: a second opinion rather than a better score.

    Raises:
        UsageError: If the two are not about the same number of images and positions, or do not differ.
    """
    if scores.contributions.shape != reference.contributions.shape:
        raise UsageError(
            f"scores of shape {scores.contributions.shape} against a reference of {reference.contributions.shape}",
            hint="score the same pool in the same space against both releases",
        )
    apart = scores_of(standardised(scores.contributions - reference.contributions))
    copy = scores.copy - reference.copy
    score = np.round(robust(apart.score) + copy, SCORE_DECIMALS) + 0.0
    return LocalScores(score=score, contributions=apart.contributions, copy=copy)


def copy_bonus(nearest: Float64s) -> Float64s:
    """``4 max(0, r(nearest) - 2)`` over the first axis: 0 for all but images that have a copy in the release."""
    bonus: Float64s = COPY_WEIGHT * np.maximum(0.0, robust(nearest) - COPY_FROM)
    return bonus


def robust(scores: Float64s) -> Float64s:
    """Scores minus their median, over 1.4826 times the median absolute deviation: a normal law's standard deviation.

    Over the first axis. Where more than half of the scores are equal, the standard deviation takes its place; where
    all are, they become 0.
    """
    centred = scores - np.median(scores, axis=0)
    spread = MAD_OF_NORMAL * np.median(np.abs(centred), axis=0)
    spread = np.where(spread > 0, spread, centred.std(axis=0))
    return np.where(spread > 0, centred / np.where(spread > 0, spread, 1.0), 0.0)


def _to_release(real: Float32s, generated: Float32s, tau: float) -> tuple[Float64s, Float64s]:
    """``(n,)`` ``nearest_generated`` with k = 1 and ``affinity``, of the same products."""
    closest, total = np.full(len(real), -np.inf), np.zeros(len(real))
    for start in range(0, len(generated), RELEASE_BLOCK):
        similarity = (real @ generated[start : start + RELEASE_BLOCK].T).astype(np.float64)
        np.maximum(closest, similarity.max(axis=1), out=closest)
        total += kernel_of(similarity, tau).sum(axis=1)
    return rounded_cosines(closest), total / len(generated)


def residuals_of_each(
    gram: Float64s, affinities: Float64s, size: int, planted: Float64s, codes: Int64s, ridge: float
) -> Float64s:
    """``(n, p)`` standardised residuals at one position, one column for each plant; both kernels are overwritten.

    As ``residuals_of_kernel`` in local.py, with the inverse itself in place of its root: it serves many columns.
    ``affinities`` are to a release of ``size`` images, ``planted`` the kernel of reals and plants.
    """
    from scipy.linalg.blas import dsymm, dsymv
    from scipy.linalg.lapack import dpotri

    # what is above the diagonal means nothing
    lower = np.asarray(dpotri(cholesky_of_kernel(gram, ridge), lower=1, overwrite_c=1)[0], dtype=np.float64)
    # rows of a C-ordered array are columns to BLAS: H times it, by the lower half of H alone and without a copy
    added = dsymm(1 / (size + 1), lower, planted.T, side=1, lower=1).T
    added += dsymv(size / (size + 1), lower, affinities, lower=1)[:, None]
    out: Float64s = added / np.sqrt(np.diag(lower))[:, None]
    for rows in groups_of_many(codes):
        ordered = np.sort(rows)
        half = np.tril(lower[np.ix_(ordered, ordered)])
        covariance = np.linalg.inv(half + np.tril(half, -1).T)
        out[ordered] = covariance @ added[ordered] / np.sqrt(np.diag(covariance))[:, None]
    return out


def _share(progress: Progress | None, which: int) -> Progress | None:
    """Progress of the first or second of two passes as progress of both."""
    if progress is None:
        return None
    told = progress
    return lambda done, total: told(done + which * total, 2 * total)
