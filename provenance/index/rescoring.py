"""Similarities that depend on nothing but the stored vectors: exact products, correctly rounded sums.

The product of two float32 numbers is exact in float64. Their sum is taken as ``math.fsum`` takes it: the float64
nearest to the true sum. So the result is the same whatever the engine, the batch, the order or the machine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import VectorStoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from provenance.arrays import Float32s, Float64s, Int64s


_BLOCK_VALUES = 2**15  # products held at a time: a few arrays of this size stay in the processor's cache
_HUGE = 2.0**1000  # sums of absolute terms from here on could overflow on the way


def similarities(a: Float32s, b: Float32s) -> Float64s:
    """The cosine similarity of row i of ``a`` with row i of ``b``, for unit vectors, both float32 ``(n, d)``.

    They are float64 ``(n,)``: the dot products, correctly rounded, clipped to [-1, 1].

    Raises:
        VectorStoreError: If shapes or types differ, or a value is not finite.
    """
    clipped: Float64s = np.clip(dot_products(a, b), -1.0, 1.0)
    return clipped


def dot_products(a: Float32s, b: Float32s) -> Float64s:
    """As ``similarities`` without the clipping: equal to ``math.fsum`` of the products bit for bit."""
    if a.shape != b.shape or a.ndim != 2:
        raise VectorStoreError(f"similarities need two arrays of one shape (n, d), not {a.shape} and {b.shape}")
    rows = np.arange(len(a), dtype=np.int64)
    return _dots(a, rows, b, rows)


def similarities_of_pairs(a: Float32s, a_rows: Int64s, b: Float32s, b_rows: Int64s) -> Float64s:
    """``similarities`` of ``a[a_rows]`` and ``b[b_rows]``, which are never held as a whole.

    Raises:
        VectorStoreError: If shapes or types don't fit, or a value is not finite.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or a_rows.shape != b_rows.shape:
        raise VectorStoreError(f"no pairs between arrays of shapes {a.shape} and {b.shape}")
    clipped: Float64s = np.clip(_dots(a, a_rows, b, b_rows), -1.0, 1.0)
    return clipped


class PartialSums:
    """Sums of rows of terms in two parts, the first exact, the second with a known bound of its error.

    After Rump, Ogita and Oishi (2008, AccSum): with 2^e above the sum of the absolute terms, adding and subtracting
    3 * 2^e rounds a term to a multiple of 2^(e-51). The sum of the rounded terms is below 2^(e+1), so that every
    partial sum of them is exact in whatever order they are added. The rests are exact too, each at most 2^(e-52),
    and the error of their float64 sum is below m^2 2^(e-105).
    """

    def __init__(self, rows: int) -> None:
        self._high = np.zeros(rows)
        self._low = np.zeros(rows)
        self._absolute = np.zeros(rows)

    def add(self, first: int, terms: Float64s, scratch: Float64s) -> None:
        """Takes the rows from ``first`` on; ``scratch``, of the shape of ``terms``, is overwritten."""
        block = slice(first, first + len(terms))
        absolute = np.abs(terms, out=scratch).sum(axis=1)
        if not np.isfinite(absolute).all():
            raise VectorStoreError("similarities of vectors that hold NaN or infinite values")
        self._absolute[block] = absolute
        splitter = np.ldexp(3.0, _exponents(absolute))[:, None]
        np.add(terms, splitter, out=scratch)
        np.subtract(scratch, splitter, out=scratch)
        self._high[block] = scratch.sum(axis=1)
        np.subtract(terms, scratch, out=scratch)
        self._low[block] = scratch.sum(axis=1)

    def rounded(self, terms_of: Callable[[int], Float64s], count: int) -> Float64s:
        """The correctly rounded sums.

        Where the second part leaves open to which float64 the sum rounds, ``math.fsum`` adds up ``terms_of(row)``.
        """
        total, rest = _two_sum(self._high, self._low)
        slack = np.ldexp(2.0 * count**2, _exponents(self._absolute) - 105)
        magnitude = np.abs(total)
        half_gap = 0.5 * (magnitude - np.nextafter(magnitude, 0.0))  # the smaller of the two at a power of two
        settled = (np.abs(rest) + slack < half_gap) & (self._absolute < _HUGE)
        for row in np.flatnonzero(~settled):
            total[row] = math.fsum(terms_of(int(row)).tolist())
        return total


def _dots(a: Float32s, a_rows: Int64s, b: Float32s, b_rows: Int64s) -> Float64s:
    if a.dtype != np.float32 or b.dtype != np.float32:
        raise VectorStoreError(f"similarities need float32 arrays, not {a.dtype} and {b.dtype}")
    dimension = a.shape[1]
    most = max(1, min(len(a_rows), _BLOCK_VALUES // max(1, dimension)))
    left, right = (np.empty((most, dimension), dtype=np.float32) for _ in range(2))
    terms, scratch = (np.empty((most, dimension), dtype=np.float64) for _ in range(2))
    parts = PartialSums(len(a_rows))
    for start in range(0, len(a_rows), most):
        block = slice(start, start + most)
        size = len(a_rows[block])
        # "clip" never clips here: it is the mode that writes into ``out`` without a copy on the way
        np.take(a, a_rows[block], axis=0, out=left[:size], mode="clip")
        np.take(b, b_rows[block], axis=0, out=right[:size], mode="clip")
        np.multiply(left[:size], right[:size], out=terms[:size], dtype=np.float64)
        parts.add(start, terms[:size], scratch[:size])
    return parts.rounded(lambda row: np.multiply(a[a_rows[row]], b[b_rows[row]], dtype=np.float64), dimension)


def _exponents(absolute: Float64s) -> npt.NDArray[np.int32]:
    """An e per number with 2^e above it, with room for its own rounding; below the overflow of what is made of it."""
    exponents: npt.NDArray[np.int32] = np.minimum(np.frexp(absolute)[1] + 1, 1002)
    return exponents


def _two_sum(x: Float64s, y: Float64s) -> tuple[Float64s, Float64s]:
    """The rounded sum and its exact error (Knuth, TAOCP 2, 4.2.2, theorem B)."""
    total = x + y
    y_part = total - x
    return total, (x - (total - y_part)) + (y - y_part)
