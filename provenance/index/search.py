"""Exact nearest neighbors: over a vector file, or by asking an engine. Both give the same answer to the last bit.

Two sieves, the first with a stated error bound, so that nothing that belongs to the answer falls through:

1. float32 scores (matrix products, or the engine's own). A float32 dot product of unit vectors is off by at most
   ``gamma = (d + 2) u / (1 - (d + 2) u)``, u = 2^-24, in whatever order it is summed (Higham 2002, 3.5). All within
   ``2 gamma`` of the k-th best score are kept, ties included.
2. ``rescoring``: correctly rounded, clipped to [-1, 1].

Then the order is (-similarity, row), cut at k. Rows follow the image ids, so equal similarities go by image id.
A file is searched by threads that take a share of the queries each, so that no step waits for another thread.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import VectorStoreError
from provenance.index.ahead import ahead
from provenance.index.contract import NORM_TOLERANCE, CollectionSpec, checked_vectors
from provenance.index.rescoring import similarities_of_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from threadpoolctl import ThreadpoolController

    from provenance.arrays import Float32s, Float64s, Int64s
    from provenance.index.contract import VectorIndex

    Locate = Callable[[Int64s], Int64s]
    FetchRows = Callable[[Int64s], Float32s]

QUERY_BLOCK = 1024
REFERENCE_BLOCK = 2048
ENGINE_QUERY_BLOCK = 64
ENGINE_SURPLUS = 16
SETTLED_BYTES = 2**30  # of candidates that are held at a time
PENDING_PAIRS = 2**20
LEAST_QUERIES = 64  # fewer are not worth a thread of their own
_LOWEST = -2.0  # below every score and above that of a row that is left out
_BLAS_IN_USE = threading.Lock()  # its number of threads is the process's, so that one search runs at a time


def score_margin(dimension: int, unit_roundoff: float = 2.0**-24) -> float:
    """How far two scores can be apart through rounding alone: twice gamma, for norms within ``NORM_TOLERANCE`` of 1."""
    error = (dimension + 2) * unit_roundoff
    return 2.0 * error / (1.0 - error) * (1.0 + NORM_TOLERANCE) ** 2


def neighbors_in_file(
    queries: Float32s,
    references: Float32s,
    k: int,
    *,
    skip: Int64s | None = None,
    threads: int | None = None,
    query_block: int = QUERY_BLOCK,
    reference_block: int = REFERENCE_BLOCK,
) -> tuple[Int64s, Float64s]:
    """The k nearest references of each query, by blocked matrix products. Memory does not grow with either.

    Args:
        queries: float32 ``(n, 1, d)``, unit length.
        references: float32 ``(m, 1, d)``, unit length, in image_id order; a memory map is read block by block.
        k: How many neighbors.
        skip: int ``(n,)``: one reference row each query leaves out (itself); -1 for none.
        threads: How many work at it, each on its own queries; ``None``: all cores. No influence on the result.
        query_block: Queries at a time; likewise.
        reference_block: References at a time; likewise.

    Returns:
        ``rows`` int64 ``(n, k)`` into the references and ``similarities`` float64 ``(n, k)``, by falling similarity,
        then by row; where there are fewer than k, -1 and NaN.

    Raises:
        VectorStoreError: If shapes or types don't fit, a query is not of unit length, or a vector is not finite.
    """
    left_out = _checked_skip(skip, len(queries))
    flat = _flat_references(references)
    checked = _checked_queries(queries, flat.shape[1], k)
    rows, found = _empty_result(len(checked), k)
    count = threads or available_threads()
    step = min(query_block, max(LEAST_QUERIES, -(-len(checked) // count)))
    starts = range(0, len(checked), step)

    def search(start: int) -> None:
        block = slice(start, start + step)
        shortlist = _Shortlist(checked[block], k, flat, lambda wanted: wanted)
        room = np.empty((len(checked[block]), reference_block), dtype=np.float32)
        for first in range(0, len(flat), reference_block):
            part = flat[first : first + reference_block]
            scores = np.matmul(checked[block], part.T, out=room[:, : len(part)])
            if not np.isfinite(scores[0]).all():  # one NaN in a reference makes its score NaN with every query
                raise VectorStoreError(f"references {first} to {first + len(part)} hold NaN or infinite values")
            shortlist.offer(scores, first, left_out[block])
        rows[block], found[block] = shortlist.settled()

    workers = min(count, len(starts))
    with _BLAS_IN_USE, _blas().limit(limits=count if workers <= 1 else 1, user_api="blas"):
        if workers <= 1:
            for start in starts:
                search(start)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(search, starts))
    return rows, found


def available_threads() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _blas() -> ThreadpoolController:
    """What sets the number of threads of NumPy's matrix products."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def neighbors_by_engine(
    index: VectorIndex,
    keys: Sequence[str],
    queries: Float32s,
    k: int,
    rank: Mapping[str, int],
    fetch: FetchRows,
    *,
    skip: Int64s | None = None,
) -> tuple[Int64s, Float64s]:
    """As ``neighbors_in_file``, by the exact search of an engine over several collections that act as one.

    The engine is asked for more than k, and for twice as many as long as its last score is within the margin; as many
    blocks of queries at once as it likes (``in_flight``). Then the vectors of what may be an answer are fetched.

    Args:
        index: The vector store.
        keys: The collections, of parts = 1.
        queries: float32 ``(n, 1, d)``, unit length.
        k: How many neighbors.
        rank: Row of each point id that may be a neighbor; others are dropped. A point in two collections counts once.
        fetch: Gives the verified vectors ``(m, 1, d)`` of rows, which are rising; of each once, unless all candidates
            together take more than ``SETTLED_BYTES``.
        skip: int ``(n,)``: one row each query leaves out; -1 for none.

    Raises:
        VectorStoreError: As ``neighbors_in_file``; also as ``fetch`` raises.
    """
    left_out = _checked_skip(skip, len(queries))
    dimension = queries.shape[-1] if queries.ndim == 3 else 0
    checked = _checked_queries(queries, dimension, k)
    rows, found = _empty_result(len(checked), k)

    def candidates(start: int) -> tuple[Int64s, Int64s]:
        block = slice(start, start + ENGINE_QUERY_BLOCK)
        query, row = _EngineBlock(index, checked[block], k, rank, left_out[block]).candidates(keys)
        return query + start, row

    starts = range(0, len(checked), ENGINE_QUERY_BLOCK)
    blocks = [(_none(), _none()), *ahead(candidates, starts, index.in_flight)]
    query, row = (np.concatenate(column) for column in zip(*blocks, strict=True))
    for part in _shares(query, max(1, SETTLED_BYTES // (4 * max(1, dimension)))):
        first, last = int(query[part.start]), int(query[part.stop - 1]) + 1
        wanted = np.unique(row[part])
        shortlist = _Shortlist(checked[first:last], k, fetch(wanted)[:, 0], partial(_located, wanted))
        shortlist.add(query[part] - first, row[part])
        rows[first:last], found[first:last] = shortlist.settled()
    return rows, found


def _shares(query: Int64s, most: int) -> Iterator[slice]:
    """Parts of about so many pairs, of which there are some; none parts the pairs of one query."""
    start = 0
    while start < len(query):
        stop = int(np.searchsorted(query, query[min(start + most, len(query)) - 1], side="right"))
        yield slice(start, stop)
        start = stop


class _Shortlist:
    """The candidates of one block of queries, sieved as they come, settled exactly at the end or when too many wait."""

    def __init__(self, queries: Float32s, k: int, vectors: Float32s, locate: Locate) -> None:
        self._queries = queries
        self._k = k
        self._vectors = vectors
        self._locate = locate
        self._margin = score_margin(queries.shape[1])
        self._best = np.full((len(queries), k), -np.inf, dtype=np.float32)
        self._waiting: list[tuple[Int64s, Int64s, Float32s]] = []
        self._count = 0
        self._settled = (_none(), _none(), np.zeros(0))

    def offer(self, scores: Float32s, first_row: int, left_out: Int64s) -> None:
        """Takes float32 scores ``(queries, references)`` of the references from ``first_row`` on; may change them."""
        columns = left_out - first_row
        inside = np.flatnonzero((columns >= 0) & (columns < scores.shape[1]))
        scores[inside, columns[inside]] = -np.inf
        filled = bool(np.isfinite(self._best).all())
        if not filled:
            self._improve(scores)
        hits = np.flatnonzero(scores >= self._floor()[:, None])
        query, column = np.divmod(hits, scores.shape[1])
        values = scores.ravel()[hits]
        if filled:
            self._improve_by(query, values)
        keep = values >= self._floor()[query]
        self._waiting.append((query[keep], column[keep] + first_row, values[keep]))
        self._count += int(keep.sum())
        if self._count > PENDING_PAIRS:
            self._settle()

    def add(self, query: Int64s, row: Int64s) -> None:
        """Takes candidates that were sieved elsewhere."""
        self._waiting.append((query, row, np.ones(len(row), dtype=np.float32)))

    def settled(self) -> tuple[Int64s, Float64s]:
        """Rows and similarities ``(queries, k)`` of everything taken so far."""
        self._settle()
        rows, found = _empty_result(len(self._queries), self._k)
        query, row, similarity = self._settled
        place = _places(query)
        rows[query, place], found[query, place] = row, similarity
        return rows, found

    def _floor(self) -> Float32s:
        """The score below which nothing can be among the k best, per query; rounded downwards, never minus infinity.

        Similarities are clipped, scores are not: all that may be clipped to -1 are equal there, so that once the
        floor would reach it nothing is below.
        """
        kth = np.clip(self._best.min(axis=1).astype(np.float64), -1.0, 1.0) - self._margin
        lowered = np.where(kth > -1.0, kth, _LOWEST).astype(np.float32)
        floor: Float32s = np.nextafter(lowered, np.float32(-np.inf))
        return floor

    def _improve(self, scores: Float32s) -> None:
        together = np.concatenate([self._best, scores], axis=1)
        self._best = np.partition(together, together.shape[1] - self._k, axis=1)[:, -self._k :]

    def _improve_by(self, query: Int64s, values: Float32s) -> None:
        """As ``_improve`` by the few scores of a block that reach the floor."""
        place = _places(query)
        padded = np.full((len(self._queries), int(place.max(initial=-1)) + 1), -np.inf, dtype=np.float32)
        padded[query, place] = values
        self._improve(padded)

    def _settle(self) -> None:
        """Second sieve over all that wait, merged with what was settled before."""
        if not self._waiting:
            return
        query, row, values = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        keep = values >= self._floor()[query]
        query, row = query[keep], row[keep]
        self._waiting, self._count = [], 0
        exact = similarities_of_pairs(self._queries, query, self._vectors, self._locate(row))
        query, row, similarity = map(np.concatenate, zip(self._settled, (query, row, exact), strict=True))
        order = np.lexsort((row, -similarity, query))
        order = order[_places(query[order]) < self._k]  # the first k of each query by (-similarity, row)
        self._settled = query[order], row[order], similarity[order]


@dataclass
class _EngineBlock:
    """A block of queries put to an engine."""

    index: VectorIndex
    queries: Float32s
    k: int
    rank: Mapping[str, int]
    left_out: Int64s

    def candidates(self, keys: Sequence[str]) -> tuple[Int64s, Int64s]:
        """Query and row of all that may be among the k best of a query, by query."""
        known: list[dict[int, float]] = [{} for _ in self.queries]
        open_queries = {key: list(range(len(self.queries))) for key in keys}
        limit = self.k + ENGINE_SURPLUS
        while open_queries:
            last: dict[tuple[str, int], float] = {}
            for key, asked in open_queries.items():
                answers = self.index.search(key, self.queries[asked][:, None], limit, exact=True)
                for query, answer in zip(asked, answers, strict=True):
                    self._take(query, answer, known[query])
                    if len(answer) == limit:
                        last[key, query] = max(answer[-1][1], -1.0)
            floors = [self._floor(scores) for scores in known]
            open_queries = {
                key: still
                for key, asked in open_queries.items()
                if (still := [query for query in asked if last.get((key, query), _LOWEST) >= floors[query]])
            }
            limit *= 2
        kept = [
            [(query, row) for row, score in scores.items() if score >= floor]
            for query, (scores, floor) in enumerate(zip(known, map(self._floor, known), strict=True))
        ]
        pairs = np.array([pair for each in kept for pair in each], dtype=np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def _take(self, query: int, answer: list[tuple[str, float]], scores: dict[int, float]) -> None:
        for point, score in answer:
            row = self.rank.get(point, -1)
            if row >= 0 and row != self.left_out[query]:
                scores[row] = max(scores.get(row, -1.0), min(score, 1.0))

    def _floor(self, scores: dict[int, float]) -> float:
        if len(scores) < self.k:
            return -1.0
        return sorted(scores.values(), reverse=True)[self.k - 1] - score_margin(self.queries.shape[1])


def _located(among: Int64s, rows: Int64s) -> Int64s:
    """Where rows are among others, which are rising."""
    return np.searchsorted(among, rows).astype(np.int64)


def _none() -> Int64s:
    return np.zeros(0, dtype=np.int64)


def _places(groups: Int64s) -> Int64s:
    """0, 1, 2 ... within each run of equal numbers of a sorted array."""
    starts = np.searchsorted(groups, groups, side="left")
    return np.arange(len(groups), dtype=np.int64) - starts


def _empty_result(queries: int, k: int) -> tuple[Int64s, Float64s]:
    return np.full((queries, k), -1, dtype=np.int64), np.full((queries, k), np.nan)


def _checked_queries(queries: Float32s, dimension: int, k: int) -> Float32s:
    if k < 1:
        raise VectorStoreError(f"no search for the {k} nearest")
    return checked_vectors(queries, CollectionSpec("queries", max(1, dimension)))[:, 0]


def _flat_references(references: Float32s) -> Float32s:
    if references.ndim != 3 or references.shape[1] != 1 or references.dtype != np.float32:
        raise VectorStoreError(f"references must be float32 (m, 1, d), not {references.dtype} {references.shape}")
    return np.asarray(references)[:, 0]


def _checked_skip(skip: Int64s | None, queries: int) -> Int64s:
    if skip is None:
        return np.full(queries, -1, dtype=np.int64)
    if skip.shape != (queries,):
        raise VectorStoreError(f"{queries} queries need as many rows to leave out, not {skip.shape}")
    return skip.astype(np.int64)
