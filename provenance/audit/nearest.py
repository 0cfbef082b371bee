"""Nearest neighbors by parts: the cosine of two images is the mean of the cosines of their parts. Exact.

That mean is the cosine of the concatenated parts over sqrt(parts), so that the search of ``index`` serves local spaces
too, and its result does not depend on blocks, threads or order. Memory is one block of queries and one of references.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.scoring import one_thread
from provenance.detection.scores.local_neighbors import rounded_cosines
from provenance.index import neighbors_in_file

if TYPE_CHECKING:
    from provenance.arrays import Float32s, Float64s, Int64s


BLOCK_NUMBERS = 12_000_000
"""Numbers of one block of references: 48 MB."""


def concatenated(vectors: Float32s) -> Float32s:
    """Unit vectors (n, 1, parts * dim) of images whose parts are unit vectors (n, parts, dim); float32."""
    n, parts, dimension = vectors.shape
    if parts == 1:
        return np.asarray(vectors)
    flat = np.asarray(vectors, dtype=np.float32).reshape(n, 1, parts * dimension)
    return flat * np.float32(1 / math.sqrt(parts))


def nearest_by_parts(
    queries: Float32s, references: Float32s, k: int, *, threads: int | None = None
) -> tuple[Int64s, Float64s]:
    """The k nearest references of each query: rows and cosines (n, k), by falling cosine, then by row.

    Where there are fewer than k references: -1 and NaN.

    Raises:
        VectorStoreError: As ``neighbors_in_file``.
    """
    if queries.shape[1] == 1:
        return neighbors_in_file(queries, references, k, threads=threads)
    step = max(64, BLOCK_NUMBERS // (queries.shape[1] * queries.shape[2]))
    found = [_among(queries[at : at + step], references, k, step, threads) for at in range(0, len(queries), step)]
    rows, similarities = zip(*found, strict=True)
    return np.concatenate(rows), np.concatenate(similarities)


def _among(queries: Float32s, references: Float32s, k: int, step: int, threads: int | None) -> tuple[Int64s, Float64s]:
    asking = concatenated(queries)
    rows = np.full((len(queries), 0), -1, dtype=np.int64)
    similarities = np.zeros((len(queries), 0))
    for start in range(0, len(references), step):
        asked = concatenated(references[start : start + step])
        new, values = neighbors_in_file(asking, asked, min(k, len(asked)), threads=threads)
        rows = np.concatenate([rows, new + start], axis=1)
        similarities = np.concatenate([similarities, values], axis=1)
        order = np.lexsort((rows, -similarities), axis=1)[:, :k]
        rows, similarities = np.take_along_axis(rows, order, 1), np.take_along_axis(similarities, order, 1)
    short = k - rows.shape[1]
    if short > 0:
        rows = np.pad(rows, ((0, 0), (0, short)), constant_values=-1)
        similarities = np.pad(similarities, ((0, 0), (0, short)), constant_values=np.nan)
    return rows, similarities


def nearest_of_other_groups(
    queries: Float32s,
    references: Float32s,
    k: int,
    query_codes: Int64s,
    reference_codes: Int64s,
    *,
    threads: int | None = None,
) -> tuple[Int64s, Float64s]:
    """As ``nearest_by_parts``, with the references of a query's own group left out (codes that are equal).

    Args:
        queries: float32 (n, parts, dim).
        references: float32 (m, parts, dim).
        k: As far as there are so many of other groups.
        query_codes: Group of each query; one that no reference has leaves nothing out.
        reference_codes: Of each reference.
        threads: No influence on the result.
    """
    own = np.bincount(reference_codes, minlength=int(query_codes.max()) + 1)[query_codes]
    most = min(len(references), k + int(own.max()))
    rows, similarities = nearest_by_parts(queries, references, most, threads=threads)
    excluded = reference_codes[rows] == query_codes[:, None]
    k = min(k, int((~excluded).sum(axis=1).min()))
    order = np.argsort(excluded, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(similarities, order, 1)


def rounded_neighbors(
    queries: Float32s,
    references: Float32s,
    k: int,
    query_codes: Int64s | None = None,
    reference_codes: Int64s | None = None,
) -> tuple[Int64s, Float64s]:
    """As ``nearest_of_other_groups`` by float32 products rounded to 6 decimals: for statistics, not for evidence.

    Ten times as fast in spaces of many numbers. On one thread and in fixed blocks it is the same on each call.
    """
    step = max(64, BLOCK_NUMBERS // (queries.shape[1] * queries.shape[2]))
    own = (query_codes, reference_codes) if query_codes is not None and reference_codes is not None else None
    if own is not None:
        k = min(k, len(references) - int(np.bincount(own[1], minlength=int(own[0].max()) + 1)[own[0]].max()))
    rows, nearest = [], []
    with one_thread():
        for start in range(0, len(queries), step):
            asking = concatenated(queries[start : start + step])[:, 0]
            parts = [
                asking @ concatenated(references[at : at + step])[:, 0].T for at in range(0, len(references), step)
            ]
            similarities = rounded_cosines(np.concatenate(parts, axis=1).astype(np.float64))
            if own is not None:
                similarities[own[0][start : start + step, None] == own[1][None, :]] = -np.inf
            order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
            rows.append(order)
            nearest.append(np.take_along_axis(similarities, order, axis=1))
    return np.concatenate(rows), np.concatenate(nearest)
