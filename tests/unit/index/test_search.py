"""Exact neighbors against a plain float64 oracle; both ways agree to the last bit, ties by row."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_info

from provenance.errors import VectorStoreError
from provenance.index import CollectionSpec, Points, neighbors_by_engine, neighbors_in_file, point_id
from provenance.index import search as search_module
from provenance.index.edge import EdgeIndex
from provenance.index.memory import MemoryIndex
from tests.vectors import unit

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.index import VectorIndex

FloatArray = npt.NDArray[np.float32]
Result = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


def random_vectors(count: int, dimension: int, seed: int, *, spread: float = 1.0) -> FloatArray:
    """A cloud around one direction: small ``spread`` gives many near ties."""
    random = np.random.default_rng(seed)
    return unit(np.ones(dimension) + spread * random.standard_normal((count, dimension)))[:, None]


def oracle(queries: FloatArray, references: FloatArray, k: int, skip: npt.NDArray[np.int64] | None = None) -> Result:
    """Plain Python: every pair by math.fsum, sorted by (-similarity, row)."""
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    found = np.full((len(queries), k), np.nan)
    doubles = references[:, 0].astype(np.float64)
    for query, vector in enumerate(queries[:, 0].astype(np.float64)):
        sums = [(-min(1.0, max(-1.0, math.fsum((row * vector).tolist()))), place) for place, row in enumerate(doubles)]
        best = sorted(pair for pair in sums if skip is None or pair[1] != skip[query])[:k]
        for rank, (negative, place) in enumerate(best):
            rows[query, rank], found[query, rank] = place, -negative
    return rows, found


def assert_same(found: Result, wanted: Result) -> None:
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1].view(np.int64), wanted[1].view(np.int64))


CASES = {
    "plain": (random_vectors(30, 64, 1), random_vectors(300, 64, 2)),
    "crowded": (random_vectors(20, 64, 3, spread=0.002), random_vectors(300, 64, 4, spread=0.002)),
    "all but equal": (random_vectors(10, 64, 5, spread=1e-6), random_vectors(200, 64, 6, spread=1e-6)),
    "few references": (random_vectors(5, 8, 7), random_vectors(3, 8, 8)),
    "no references": (random_vectors(4, 8, 9), random_vectors(0, 8, 9)),
    "no queries": (random_vectors(0, 8, 9), random_vectors(5, 8, 9)),
    "opposite": (random_vectors(6, 3, 10, spread=1e-7), -random_vectors(40, 3, 11, spread=1e-7)),
    "one dimension": (np.ones((3, 1, 1), np.float32), np.array([1, -1, 1, -1, 1], np.float32)[:, None, None]),
}
# as long as a vector may be: scores beyond 1 and -1, similarities that are clipped and so equal
LONG = np.float32(1 + 9e-5) * random_vectors(60, 16, 14, spread=1e-3)
CASES["beyond one"] = (LONG[:10], LONG[20:])
CASES["beyond minus one"] = (LONG[:10], np.concatenate([-LONG[20:], np.float32(1 - 9e-5) * -LONG[20:22]]))
# exact duplicates, of references among each other and of queries among the references
PLANTED = random_vectors(90, 64, 12)
CASES["duplicates"] = (
    np.concatenate([PLANTED[10:20], random_vectors(5, 64, 13)]),
    np.concatenate([PLANTED, PLANTED[10:30], PLANTED[10:15], np.repeat(PLANTED[11:12], 40, axis=0)]),
)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("k", [1, 5, 17])
def test_file_search_equals_the_oracle_whatever_the_blocks(name: str, k: int) -> None:
    queries, references = CASES[name]
    wanted = oracle(queries, references, k)
    for query_block, reference_block in [(1024, 2048), (7, 31), (1, 1), (5, 300)]:
        found = neighbors_in_file(queries, references, k, query_block=query_block, reference_block=reference_block)
        assert_same(found, wanted)


@pytest.mark.parametrize("name", CASES)
def test_a_row_can_be_left_out_for_each_query(name: str) -> None:
    queries, references = CASES[name]
    skip = np.arange(len(queries)) % 9 - 1
    assert_same(
        neighbors_in_file(queries, references, 4, skip=skip, reference_block=50), oracle(queries, references, 4, skip)
    )


def test_settling_early_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("duplicates", "all but equal", "crowded"):
        queries, references = CASES[name]
        wanted = neighbors_in_file(queries, references, 6)
        with monkeypatch.context() as patched:
            patched.setattr(search_module, "PENDING_PAIRS", 10)
            assert_same(neighbors_in_file(queries, references, 6, reference_block=13), wanted)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing_and_leave_nothing_changed(threads: int) -> None:
    queries, references = random_vectors(333, 64, 15, spread=0.5), random_vectors(500, 64, 16, spread=0.5)
    before = threadpool_info()
    found = neighbors_in_file(queries, references, 5, threads=threads, reference_block=77)
    assert_same(found, neighbors_in_file(queries, references, 5, query_block=10_000, threads=1))
    assert threadpool_info() == before


def test_several_searches_at_once_leave_the_number_of_threads_as_it_was() -> None:
    queries, references = random_vectors(200, 64, 17), random_vectors(400, 64, 18)
    before, wanted = threadpool_info(), neighbors_in_file(queries, references, 3)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: neighbors_in_file(queries, references, 3, threads=2), range(8)):
            assert_same(found, wanted)
    assert threadpool_info() == before


def test_a_failure_in_a_thread_is_an_error_and_leaves_the_threads_as_they_were() -> None:
    queries, references = random_vectors(200, 64, 19), random_vectors(50, 64, 20)
    before = threadpool_info()
    for broken in (np.nan, np.inf):
        references[49, 0, 3] = broken
        for threads in (1, 2):
            with pytest.raises(VectorStoreError, match="NaN"):
                neighbors_in_file(queries, references, 3, threads=threads, reference_block=20)
    assert threadpool_info() == before


def test_a_memory_map_is_searched_as_an_array(tmp_path: Path) -> None:
    queries, references = CASES["plain"]
    references.tofile(tmp_path / "vectors.f32")
    mapped = np.memmap(tmp_path / "vectors.f32", dtype="<f4", mode="r", shape=references.shape)
    assert_same(neighbors_in_file(queries, mapped, 5), neighbors_in_file(queries, references, 5))


def split_over(index: VectorIndex, references: FloatArray, shares: int) -> tuple[list[str], dict[str, int]]:
    """The references spread over collections, every tenth in all of them, with strangers in between."""
    ids = [point_id(f"sha256:{row}", "space:test") for row in range(len(references))]
    strangers = random_vectors(25, references.shape[2], 99)
    keys = [f"set-{share}" for share in range(shares)]
    for share, key in enumerate(keys):
        index.create(CollectionSpec(key, references.shape[2]))
        rows = [row for row in range(len(references)) if row % shares == share or row % 10 == 0]
        index.upsert(key, Points([ids[row] for row in rows], references[rows], [{}] * len(rows)))
        unknown = [point_id(f"sha256:stranger-{share}-{row}", "space:test") for row in range(25)]
        index.upsert(key, Points(unknown, strangers, [{}] * 25))
        if rows:  # ... and strangers that are better than anything else
            best = [point_id(f"sha256:best-{share}-{row}", "space:test") for row in range(len(rows))]
            index.upsert(key, Points(best, references[rows], [{}] * len(rows)))
    return keys, {point: row for row, point in enumerate(ids)}


@pytest.mark.parametrize("engine", ["memory", "edge"])
@pytest.mark.parametrize("name", CASES)
def test_both_ways_agree_to_the_last_bit(
    name: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, references = CASES[name]
    index: VectorIndex = MemoryIndex() if engine == "memory" else EdgeIndex(tmp_path / "store")
    skip = np.arange(len(queries)) % 9 - 1
    with index:
        keys, rank = split_over(index, references, 3)
        fetched: list[int] = []

        def fetch(rows: npt.NDArray[np.int64]) -> FloatArray:
            fetched.extend(rows.tolist())
            return references[rows]

        for k in (1, 6):
            fetched.clear()
            found = neighbors_by_engine(index, keys, queries, k, rank, fetch)
            assert_same(found, neighbors_in_file(queries, references, k))
            assert len(set(fetched)) == len(fetched)
        assert_same(
            neighbors_by_engine(index, keys, queries, 4, rank, fetch, skip=skip),
            neighbors_in_file(queries, references, 4, skip=skip),
        )
        with monkeypatch.context() as patched:
            patched.setattr(search_module, "SETTLED_BYTES", 4 * references.shape[2] * 20)
            patched.setattr(search_module, "ENGINE_QUERY_BLOCK", 3)
            patched.setattr(type(index), "in_flight", 3)
            again = neighbors_by_engine(index, keys, queries, 6, rank, fetch)
        assert_same(again, found)


def test_what_is_far_from_the_answer_is_not_fetched() -> None:
    queries, references = CASES["plain"]
    index = MemoryIndex()
    keys, rank = split_over(index, references, 1)
    asked: list[npt.NDArray[np.int64]] = []

    def fetch(rows: npt.NDArray[np.int64]) -> FloatArray:
        asked.append(rows)
        return references[rows]

    rows, _ = neighbors_by_engine(index, keys, queries, 5, rank, fetch)
    assert len(asked) == 1
    assert asked[0].tolist() == np.unique(rows).tolist()


def test_wrong_calls_are_refused() -> None:
    queries, references = CASES["plain"]
    with pytest.raises(VectorStoreError):
        neighbors_in_file(queries * np.float32(2), references, 3)
    with pytest.raises(VectorStoreError):
        neighbors_in_file(queries[:, :, :5], references, 3)
    with pytest.raises(VectorStoreError):
        neighbors_in_file(queries, references[:, 0], 3)
    with pytest.raises(VectorStoreError):
        neighbors_in_file(queries, references, 0)
    with pytest.raises(VectorStoreError):
        neighbors_in_file(queries, references, 3, skip=np.zeros(2, dtype=np.int64))
