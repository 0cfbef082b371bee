"""What membership scores are made of: similarities of a pool of reals to a release and to one another. Pure.

Blocked matrix products: memory grows with the pool, never with pairs. They are exact, so that no block size,
order or number of threads shows in a result: every component is rounded to a whole multiple of 2^-26, hence every
product of two vectors is a whole multiple of 2^-52 of at most about 1, and so is every partial sum (Cauchy-Schwarz
on the absolute values): all of them are float64 numbers. At the end they are clipped to [-1, 1]. Against the cosine
of the vectors as given the rounding costs about 1e-8, as much as float32 itself, and never more than
sqrt(dimension) * 2^-26.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import group_codes
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.arrays import Float32s, Float64s, Int64s
    from provenance.detection.checks import Groups


SCALE = 2.0**26
NORM_TOLERANCE = 1e-4
BLOCK_NUMBERS = 4_000_000
"""Similarities that are in memory at a time: 32 MB."""


@dataclass(frozen=True, slots=True)
class Neighborhoods:
    """Similarities of n pool images to a release and to the pool's images of other groups.

    Attributes:
        to_release: The k greatest cosines to generated images, descending; float64 (n, k).
        to_pool: The k greatest cosines to reals of other groups, descending; float64 (n, k).
        rivals: How many reals of other groups each has; (n,).
        release_size: Generated images.
        dimension: Of the vectors.
        radius_similarity: The cosine at eps, the median distance from a real to its nearest generated image.
        within_radius: How many generated images lie at eps or closer; (n,).
        retrieved: For how many generated images no real of another group is closer; (n,).
        rank_sum: Sum over generated images of 1 + the number of reals of other groups that are closer; (n,).
    """

    to_release: Float64s
    to_pool: Float64s
    rivals: Int64s
    release_size: int
    dimension: int
    radius_similarity: float
    within_radius: Int64s
    retrieved: Int64s
    rank_sum: Int64s

    def with_planted(self, similarities: Float64s, groups: Groups | None = None) -> Neighborhoods:
        """The same after one more generated image, from its cosines to the pool alone: O(n k).

        The radius eps stays the one of the release without it, so that nothing else is computed again. Similarities
        are in the pool's order, shape (n,), by ``fixed_point``; groups as they were given for the pool.

        Raises:
            UsageError: If the lengths differ.
        """
        n, k = self.to_release.shape
        if similarities.shape != (n,):
            raise UsageError(f"a planted image needs {n} similarities, one for each real of the pool")
        merged = np.sort(np.column_stack([self.to_release, similarities]), axis=1)[:, ::-1][:, :k]
        ranks = _ranks(similarities[:, None], group_codes(groups, n)[0])[:, 0]
        return replace(
            self,
            to_release=merged,
            release_size=self.release_size + 1,
            within_radius=self.within_radius + (similarities >= self.radius_similarity),
            retrieved=self.retrieved + (ranks == 1),
            rank_sum=self.rank_sum + ranks,
        )


@dataclass(frozen=True, slots=True)
class NearestLists:
    """The k nearest references of each query: ``index`` int64 (n, k), ``similarity`` float64 (n, k), descending.

    Equal similarities stand in the order of the references.
    """

    index: Int64s
    similarity: Float64s

    def __post_init__(self) -> None:
        if self.index.ndim != 2 or self.index.shape != self.similarity.shape or 0 in self.index.shape:
            raise UsageError(
                "nearest lists need one index and one similarity for each query and place, and one or more"
            )
        if not np.isfinite(self.similarity).all() or (np.diff(self.similarity, axis=1) > 0).any():
            raise UsageError("the similarities of a nearest list must be finite and descending")


def neighborhoods(
    pool: Float32s, release: Float32s, groups: Groups | None = None, *, k: int = 10, block_numbers: int = BLOCK_NUMBERS
) -> Neighborhoods:
    """Compare every real of a pool with a release and with the pool's reals of other groups.

    The pool is calibration and subjects together: each sees the same references, so that swapping a calibration
    image for a subject swaps their scores and nothing else (AdaDetect, Marandon et al. 2024).

    Args:
        pool: Unit vectors of reals, float32 (n, dimension).
        release: Unit vectors of generated images, float32 (g, dimension).
        groups: Patient or study of each real; ``None`` in a place: a group of its own.
        k: Neighbors that are kept, 1 or more.
        block_numbers: Similarities in memory at a time; plays no part in the result.

    Raises:
        UsageError: If an array is empty, not of unit vectors, or of another dimension; if k is greater than the
            release or than the reals of other groups that an image has; or the lengths differ.
    """
    reals, generated = fixed_point(pool, "pool"), fixed_point(release, "release")
    if reals.shape[1] != generated.shape[1]:
        raise UsageError(f"vectors of {reals.shape[1]} and of {generated.shape[1]} numbers can't be compared")
    codes, _ = group_codes(groups, len(reals))
    rivals = len(reals) - np.bincount(codes)[codes]
    _checked_k(k, len(generated), "generated images")
    _checked_k(k, int(rivals.min()), "reals of other groups")
    to_release = np.concatenate([_greatest(part, k) for _, part in cosine_blocks(reals, generated, block_numbers)])
    to_pool = _to_pool(reals, codes, k, block_numbers)
    # The median of distances, so that eps is Hilprecht's; with an odd pool it is the median cosine as well.
    radius = float(np.median(np.sqrt(np.maximum(2 - 2 * to_release[:, 0], 0))))
    radius_similarity = 1 - radius**2 / 2 - 1e-12
    within = np.zeros(len(reals), dtype=np.int64)
    retrieved, rank_sum = within.copy(), within.copy()
    for _, part in cosine_blocks(generated, reals, block_numbers):
        within += (part >= radius_similarity).sum(axis=0)
        ranks = _ranks(part.T, codes)
        retrieved += (ranks == 1).sum(axis=1)
        rank_sum += ranks.sum(axis=1)
    return Neighborhoods(
        to_release, to_pool, rivals, len(generated), reals.shape[1], radius_similarity, within, retrieved, rank_sum
    )


def fixed_point(vectors: Float32s, name: str) -> Float64s:
    """Unit vectors rounded to whole multiples of 2^-26, as float64; see the module.

    Raises:
        UsageError: If there is none, a number is not finite, or a norm is not 1 (within 1e-4).
    """
    array = np.asarray(vectors, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise UsageError(f"{name}: an array of vectors (n, dimension) is needed, one vector or more")
    if not np.isfinite(array).all():
        raise UsageError(f"{name} holds a number that is not finite")
    if (np.abs(np.linalg.norm(array, axis=1) - 1) > NORM_TOLERANCE).any():
        raise UsageError(f"{name} holds a vector that is not of unit length")
    return np.rint(array * SCALE) / SCALE


def cosine_blocks(
    rows: Float64s, columns: Float64s, block_numbers: int = BLOCK_NUMBERS
) -> Iterator[tuple[int, Float64s]]:
    """Cosines of all rows to all columns, each as ``fixed_point`` gives them: first row of a block, and its cosines."""
    step = max(1, block_numbers // len(columns))
    for start in range(0, len(rows), step):
        yield start, np.clip(rows[start : start + step] @ columns.T, -1, 1)


def _greatest(similarities: Float64s, k: int) -> Float64s:
    kept = np.partition(similarities, similarities.shape[1] - k, axis=1)[:, -k:]
    descending: Float64s = np.sort(kept, axis=1)[:, ::-1]
    return descending


def _to_pool(reals: Float64s, codes: Int64s, k: int, block_numbers: int) -> Float64s:
    parts = []
    for start, part in cosine_blocks(reals, reals, block_numbers):
        part[codes[start : start + len(part), None] == codes[None, :]] = -np.inf
        parts.append(_greatest(part, k))
    return np.concatenate(parts)


def _ranks(similarities: Float64s, codes: Int64s) -> Int64s:
    # 1 + the number of reals of other groups that are closer, in every column: rank in all less rank in the group.
    ranks = _ranks_within(similarities, np.zeros(len(codes), dtype=np.int64))
    rows = np.flatnonzero(np.bincount(codes)[codes] > 1)
    if len(rows):
        ranks[rows] -= _ranks_within(similarities[rows], codes[rows]) - 1
    return ranks


def _ranks_within(similarities: Float64s, codes: Int64s) -> Int64s:
    # Rank 1 = greatest of the own group in each column; equal ones share the better rank. All groups at once.
    order = np.argsort(-similarities, axis=0, kind="stable")
    order = np.take_along_axis(order, np.argsort(codes[order], axis=0, kind="stable"), axis=0)
    values = np.take_along_axis(similarities, order, axis=0)
    is_first = np.r_[True, np.diff(np.sort(codes)) > 0]
    fresh = np.repeat(is_first[:, None], values.shape[1], axis=1)
    fresh[1:] |= values[1:] != values[:-1]
    places = np.where(fresh, np.arange(len(codes))[:, None], 0)
    np.maximum.accumulate(places, axis=0, out=places)
    starts = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    ranks = np.empty(values.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, 1 + places - starts[:, None], axis=0)
    return ranks


def _checked_k(k: int, available: int, what: str) -> None:
    if k < 1:
        raise UsageError(f"k must be 1 or more, not {k}")
    if k > available:
        raise UsageError(
            f"k = {k}, but there are only {available} {what}", hint=f"use k of {max(available, 1)} or less"
        )
