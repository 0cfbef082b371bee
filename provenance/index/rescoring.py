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
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    DoubleArray = npt.NDArray[np.float64]

_BLOCK_VALUES = 2**16  # products held at a time: a few arrays of this size stay in the processor's cache


def similarities(a: FloatArray, b: FloatArray) -> DoubleArray:
    """The cosine similarity of row i of ``a`` with row i of ``b``, for unit vectors.

    Args:
        a: float32, ``(n, d)``.
        b: float32, ``(n, d)``.

    Returns:
        float64 ``(n,)``: the dot products, correctly rounded, clipped to [-1, 1].

    Raises:
        VectorStoreError: If shapes or types differ, or a value is not finite.
    """
    clipped: DoubleArray = np.clip(dot_products(a, b), -1.0, 1.0)
    return clipped


def dot_products(a: FloatArray, b: FloatArray) -> DoubleArray:
    """As ``similarities`` without the clipping: equal to ``math.fsum`` of the products bit for bit."""
    if a.shape != b.shape or a.ndim != 2 or a.dtype != np.float32 or b.dtype != np.float32:
        raise VectorStoreError(f"similarities need two float32 arrays of one shape (n, d), not {a.shape} and {b.shape}")
    rows = max(1, _BLOCK_VALUES // max(1, a.shape[1]))
    sums = np.zeros(len(a), dtype=np.float64)
    for start in range(0, len(a), rows):
        block = slice(start, start + rows)
        sums[block] = exact_sums(np.multiply(a[block], b[block], dtype=np.float64))
    return sums


def exact_sums(terms: DoubleArray) -> DoubleArray:
    """The correctly rounded sum of each row of ``(n, m)`` float64 terms; equal to ``math.fsum`` bit for bit.

    Rows are halved again and again by TwoSum (Knuth), which gives the rounded sum and its error exactly; the errors
    are summed beside it (double-double). With L levels the error of that second sum is below ``4 L^2 u^2`` times the
    sum of absolute terms, u = 2^-53. Where this leaves open to which float64 the sum rounds, the row is summed by
    ``math.fsum``.

    Raises:
        VectorStoreError: If a term is not finite.
    """
    absolute = np.abs(terms).sum(axis=1)
    if not np.isfinite(absolute).all():
        raise VectorStoreError("similarities of vectors that hold NaN or infinite values")
    if terms.shape[1] == 0:
        return np.zeros(len(terms), dtype=np.float64)
    high, low, levels = _halved(terms)
    total, rest = _two_sum(high, low)
    slack = 4.0 * (levels + 1) ** 2 * 2.0**-106 * absolute
    above = np.nextafter(total, np.inf) - total
    below = total - np.nextafter(total, -np.inf)
    half_gap = 0.5 * np.where(rest > 0, above, below)
    for row in np.flatnonzero(~(np.abs(rest) + slack < half_gap)):
        total[row] = math.fsum(terms[row].tolist())
    return total


def _halved(terms: DoubleArray) -> tuple[DoubleArray, DoubleArray, int]:
    """High and low parts of each row's sum, and the number of levels it took."""
    high, low = terms, np.zeros_like(terms)
    levels = 0
    while high.shape[1] > 1:
        half = high.shape[1] // 2
        first, second = slice(0, half), slice(half, 2 * half)
        total, error = _two_sum(high[:, first], high[:, second])
        if levels:
            error += low[:, first] + low[:, second]
        if high.shape[1] % 2:
            total = np.concatenate([total, high[:, -1:]], axis=1)
            error = np.concatenate([error, low[:, -1:]], axis=1)
        high, low = total, error
        levels += 1
    return high[:, 0], low[:, 0], levels


def _two_sum(x: DoubleArray, y: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """The rounded sum and its exact error (Knuth, TAOCP 2, 4.2.2, theorem B)."""
    total = x + y
    y_part = total - x
    error = total - y_part
    np.subtract(x, error, out=error)
    np.subtract(y, y_part, out=y_part)
    error += y_part
    return total, error
