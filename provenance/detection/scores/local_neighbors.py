"""Local scores by nearest neighbors, and which generated parts speak for an image. Pure.

The score ``local-nearest`` at one position, for a real x: the mean cosine to its k nearest of the release minus the
mean cosine to its k nearest of the pool's other groups; z-scored over the pool and averaged over positions. It is the
plain form of a local score, and the one that ``matching`` (local.py) is measured against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.scores.local import (
    LocalScores,
    check_descriptors,
    checked_pool,
    part_of,
    scores_of,
    standardised,
)
from provenance.detection.scores.positions import each_position
from provenance.errors import UsageError

if TYPE_CHECKING:
    from provenance.arrays import Float32s, Float64s, Int64s
    from provenance.detection.checks import Groups
    from provenance.detection.scores.local import Progress

SUBJECT_BLOCK = 1024
SIMILARITY_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class SpeakingParts:
    """The generated part most like an image's own at each position, for a heat map.

    Attributes:
        release_row: ``(s, parts)`` row of the release; of equally similar ones the first.
        similarity: ``(s, parts)`` its cosine, rounded to 6 decimals.
    """

    release_row: Int64s
    similarity: Float64s


def local_nearest_scores(
    pool: Float32s,
    release: Float32s,
    groups: Groups | None = None,
    *,
    k: int = 30,
    threads: int = 1,
    progress: Progress | None = None,
) -> LocalScores:
    """The score ``local-nearest`` of every image of the pool (module docstring).

    Similarities are rounded to 6 decimals before the k nearest are taken, and summed in float64: blocks and order
    change nothing beyond that, and the number of threads nothing at all.

    Raises:
        UsageError: As ``matching_scores``, or if k is below 1 or beyond the release or an image's references.
    """
    codes, order, release_order = checked_pool(pool, release, groups)
    largest = len(pool) - int(np.bincount(codes).max())
    if not 1 <= k <= min(len(release), largest):
        raise UsageError(
            f"k is {k}; there are {len(release)} generated images and {largest} references of other groups",
            hint=f"give a k from 1 to {min(len(release), largest)}",
        )

    def column(part: int) -> Float64s:
        real, generated = part_of(pool, order, part), part_of(release, release_order, part)
        raw = nearest_generated(real, generated, k) - nearest_references(real, codes[order], k)
        found = np.empty(len(pool))
        found[order] = standardised(raw)
        return found

    columns = each_position(column, pool.shape[1], threads=threads, progress=progress)
    return scores_of(np.stack(list(columns), axis=1))


def speaking_parts(pool: Float32s, release: Float32s, rows: Int64s) -> SpeakingParts:
    """For some rows of the pool, the most similar generated part at each position; arrays as in ``matching_scores``.

    Raises:
        UsageError: If a row is not in the pool, or an array is not what ``matching_scores`` takes.
    """
    check_descriptors(release, "release", like=pool)
    rows = np.asarray(rows, dtype=np.int64)
    if rows.ndim != 1 or rows.size == 0 or rows.min() < 0 or rows.max() >= len(pool):
        raise UsageError(f"the rows to explain must be among the pool's {len(pool)} images")
    chosen = pool[rows]
    check_descriptors(chosen, "pool")
    best = np.empty((len(rows), pool.shape[1]), dtype=np.int64)
    similarity = np.empty(best.shape)
    for part in range(pool.shape[1]):
        subject, generated = (part_of(each, np.arange(len(each)), part) for each in (chosen, release))
        for start in range(0, len(rows), SUBJECT_BLOCK):
            block = slice(start, start + SUBJECT_BLOCK)
            found = cosines(subject[block], generated)
            best[block, part] = found.argmax(axis=1)
            similarity[block, part] = found.max(axis=1)
    return SpeakingParts(release_row=best, similarity=similarity)


def nearest_references(real: Float32s, codes: Int64s, k: int) -> Float64s:
    """``(n,)`` mean cosine of each real to its k nearest of other groups, at one position."""
    means = []
    for start in range(0, len(real), SUBJECT_BLOCK):
        block = slice(start, start + SUBJECT_BLOCK)
        others = cosines(real[block], real)
        others[codes[block, None] == codes[None, :]] = -np.inf
        means.append(_mean_of_top(others, k))
    return np.concatenate(means)


def nearest_generated(real: Float32s, generated: Float32s, k: int) -> Float64s:
    """``(n,)`` mean cosine of each real to its k nearest of the release, at one position."""
    blocks = range(0, len(real), SUBJECT_BLOCK)
    return np.concatenate([_mean_of_top(cosines(real[at : at + SUBJECT_BLOCK], generated), k) for at in blocks])


def cosines(left: Float32s, right: Float32s) -> Float64s:
    """Cosines of all pairs, rounded to 6 decimals."""
    return rounded_cosines((left @ right.T).astype(np.float64))


def rounded_cosines(similarity: Float64s) -> Float64s:
    """Cosines rounded to 6 decimals, within [-1, 1]; an array of their own."""
    rounded = np.round(similarity, SIMILARITY_DECIMALS)
    return np.clip(rounded, -1.0, 1.0, out=rounded)


def _mean_of_top(values: Float64s, k: int) -> Float64s:
    if k == 1:
        nearest: Float64s = values.max(axis=1)
        return nearest
    top = np.sort(np.partition(values, values.shape[1] - k, axis=1)[:, -k:], axis=1)
    means: Float64s = top.mean(axis=1)
    return means
