"""All pairs of vectors from a similarity on: blocked products, nothing of the size of all pairs is ever held.

Sieved as in ``search``: float32 scores within their error bound of the limit, then the exact similarity decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import VectorStoreError
from provenance.index.rescoring import similarities_of_pairs
from provenance.index.search import score_margin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.arrays import Float32s, Float64s, Int64s


PAIR_BLOCK = 1024


def pairs_in_file(
    left: Float32s, right: Float32s | None, min_similarity: float, *, block: int = PAIR_BLOCK
) -> Iterator[tuple[Int64s, Int64s, Float64s]]:
    """Every pair whose similarity is at least ``min_similarity``, block by block.

    Args:
        left: float32 ``(n, 1, d)``, unit length; a memory map is read block by block.
        right: float32 ``(m, 1, d)`` likewise; ``None``: pairs within ``left``, each once (first row < second row).
        min_similarity: In [-1, 1]; a similarity equal to it is in.
        block: Rows at a time; no influence on what is found.

    Yields:
        Rows of the left, rows of the right (int64) and similarities (float64, correctly rounded) of a block's pairs,
        sorted by row; blocks without a pair are left out.

    Raises:
        VectorStoreError: If shapes or types don't fit, or a value is not finite.
    """
    if not -1.0 <= min_similarity <= 1.0:
        raise VectorStoreError(f"no search for similarities from {min_similarity} on")
    first, second = _flat(left), _flat(left if right is None else right)
    if first.shape[1] != second.shape[1]:
        raise VectorStoreError(f"no pairs of vectors of {first.shape[1]} and of {second.shape[1]} numbers")
    floor = np.nextafter(np.float32(min_similarity - score_margin(first.shape[1])), np.float32(-np.inf))
    for start in range(0, len(first), block):
        rows = first[start : start + block]
        for offset in range(start if right is None else 0, len(second), block):
            scores = rows @ second[offset : offset + block].T
            if not np.isfinite(scores).all():
                raise VectorStoreError("similarities of vectors that hold NaN or infinite values")
            hits = np.argwhere(scores >= floor).astype(np.int64)
            a, b = hits[:, 0] + start, hits[:, 1] + offset
            if right is None and offset < start + block:
                a, b = a[a < b], b[a < b]
            exact = similarities_of_pairs(first, a, second, b)
            keep = exact >= min_similarity
            if keep.any():
                yield a[keep], b[keep], exact[keep]


def _flat(vectors: Float32s) -> Float32s:
    if vectors.ndim != 3 or vectors.shape[1] != 1 or vectors.dtype != np.float32:
        raise VectorStoreError(f"vectors must be float32 (n, 1, d), not {vectors.dtype} {vectors.shape}")
    return np.asarray(vectors)[:, 0]
