"""One suite for every engine of the vector index: the same calls, the same results."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from provenance.errors import VectorStoreError
from provenance.index import CollectionSpec, Points, VectorIndex, open_index, point_id, vector_digest
from provenance.index.edge import EdgeIndex
from provenance.index.memory import MemoryIndex, MemoryStore
from provenance.index.server import ServerIndex
from tests.servers import real
from tests.servers.fake import FakeQdrant
from tests.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

REAL = {
    "server": real.URL,
    "server-grpc": real.grpc_url_of(real.URL) if real.URL else "",
    "cluster": ",".join(real.URLS),
}
DIMENSION = 24
KEY = f"set-{uuid.uuid4().hex}"
ENGINES = [
    "memory",
    "edge",
    "adapter",
    "rest",
    "grpc",
    *(pytest.param(way, marks=pytest.mark.server) for way in ("server", "server-grpc", "cluster")),
]

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")


class LastingClient(QdrantClient):
    """qdrant-client's local mode in memory, which outlives the index that used it."""

    def close(self, grpc_grace: float | None = None, **kwargs: Any) -> None:
        del grpc_grace, kwargs


@pytest.fixture(params=ENGINES)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], VectorIndex]]:
    """Opens the engine's one store; a second time after the first was closed."""
    if request.param == "memory":
        store = MemoryStore()
        yield lambda: MemoryIndex(store)
    elif request.param == "edge":
        yield lambda: EdgeIndex(tmp_path / "store", lock_timeout_seconds=0)
    elif request.param == "adapter":
        client = LastingClient(":memory:")
        yield lambda: ServerIndex(client)
        QdrantClient.close(client)
    elif request.param in {"rest", "grpc"}:
        with FakeQdrant() as server:
            yield lambda: open_index(server.url if request.param == "rest" else server.grpc_url)
    else:
        url = REAL[request.param]
        if not url:
            pytest.skip("PROVENANCE_TEST_QDRANT_URL (of a cluster: URLS) is not set")
        with real.identity_as_it_was(real.URLS[0] if request.param == "cluster" else real.URL):
            yield lambda: open_index(url, api_key=real.API_KEY)
            with open_index(url, api_key=real.API_KEY) as index:
                for key in index.collections():
                    if key.startswith(KEY):
                        index.drop(key)


@pytest.fixture
def index(opener: Callable[[], VectorIndex]) -> Iterator[VectorIndex]:
    with opener() as opened:
        yield opened


def ours(index: VectorIndex) -> list[str]:
    return [key for key in index.collections() if key.startswith(KEY)]


def make_points(count: int, *, parts: int = 1, seed: int = 0) -> Points:
    vectors = unit(np.random.default_rng(seed).standard_normal((count, parts, DIMENSION)))
    ids = [point_id(f"sha256:{seed}-{row}", "space:test") for row in range(count)]
    payloads = [
        {"image_key": f"key-{row}", "group_key": None, "vector_sha256": vector_digest(vectors[row])}
        for row in range(count)
    ]
    return Points(ids, vectors, payloads)


def take(points: Points, rows: list[int]) -> Points:
    return Points([points.ids[row] for row in rows], points.vectors[rows], [points.payloads[row] for row in rows])


def by_id(points: Points) -> Points:
    return take(points, sorted(range(len(points)), key=points.ids.__getitem__))


def assert_same(found: Points, wanted: Points) -> None:
    assert found.ids == wanted.ids
    assert found.vectors.dtype == np.float32
    assert found.vectors.tobytes() == wanted.vectors.tobytes()
    assert found.payloads == wanted.payloads


def everything(index: VectorIndex, key: str, batch: int = 1000) -> Points:
    batches = list(index.iterate(key, batch))
    assert all(0 < len(part) <= batch for part in batches)
    return Points(
        [point for part in batches for point in part.ids],
        np.concatenate([part.vectors for part in batches]),
        [payload for part in batches for payload in part.payloads],
    )


@pytest.fixture(params=[1, 3])
def spec(request: pytest.FixtureRequest) -> CollectionSpec:
    return CollectionSpec(KEY, DIMENSION, request.param)


def test_a_new_collection_is_there_and_empty(index: VectorIndex, spec: CollectionSpec) -> None:
    index.create(spec)
    assert ours(index) == [KEY]
    assert index.count(KEY) == 0
    assert list(index.iterate(KEY)) == []
    assert len(index.get(KEY, [point_id("sha256:0", "space:test")])) == 0
    queries = make_points(2).vectors
    assert index.search(KEY, queries, 5, part=spec.parts - 1) == [[], []]


def test_creating_twice_changes_nothing_and_another_shape_is_an_error(index: VectorIndex, spec: CollectionSpec) -> None:
    index.create(spec)
    points = make_points(3, parts=spec.parts)
    index.upsert(KEY, points)
    index.create(spec)
    assert index.count(KEY) == 3
    for other in (CollectionSpec(KEY, DIMENSION + 1, spec.parts), CollectionSpec(KEY, DIMENSION, spec.parts + 1)):
        with pytest.raises(VectorStoreError, match="exists with"):
            index.create(other)
    assert_same(by_id(index.get(KEY, points.ids)), by_id(points))


@pytest.mark.parametrize("key", ["", "..", "a/b", ".hidden", "x" * 65, "ä"])
def test_a_key_that_could_leave_its_place_is_refused(key: str) -> None:
    with pytest.raises(VectorStoreError, match="collection's key"):
        CollectionSpec(key, DIMENSION)


def test_points_come_back_byte_for_byte_in_the_order_asked_for(index: VectorIndex, spec: CollectionSpec) -> None:
    index.create(spec)
    points = make_points(230, parts=spec.parts)  # more than one batch of every engine
    index.upsert(KEY, points)
    assert index.count(KEY) == 230
    rows = [200, 3, 77, 0, 229]
    wanted = take(points, rows)
    absent = point_id("sha256:absent", "space:test")
    assert_same(index.get(KEY, [wanted.ids[0], absent, *wanted.ids[1:]]), wanted)
    bare = index.get(KEY, wanted.ids, payloads=False)
    assert_same(bare, Points(wanted.ids, wanted.vectors, [{}] * len(wanted)))
    assert index.in_flight >= 1
    assert all("\n" not in place for place in index.may_keep(KEY))


def test_iteration_is_in_order_of_id_whatever_the_batch(index: VectorIndex, spec: CollectionSpec) -> None:
    index.create(spec)
    points = make_points(150, parts=spec.parts)
    index.upsert(KEY, points)
    for batch in (1000, 150, 64, 7):
        assert_same(everything(index, KEY, batch), by_id(points))


def test_awkward_but_valid_numbers_survive(index: VectorIndex) -> None:
    index.create(CollectionSpec(KEY, DIMENSION))
    vectors = np.zeros((3, 1, DIMENSION), dtype=np.float32)
    vectors[0, 0, :3] = [1.0, -0.0, 1e-45]
    vectors[1, 0, :2] = np.float32(0.70710677), np.float32(-0.70710677)
    vectors[2, 0, :] = np.float32(1.0) / np.sqrt(np.float32(DIMENSION))
    points = Points(make_points(3).ids, vectors, [{}, {"a": None, "b": [1, 2.5, "ü"]}, {"nested": {"x": True}}])
    index.upsert(KEY, points)
    assert_same(index.get(KEY, points.ids), points)


def test_upserting_again_replaces_and_is_idempotent(index: VectorIndex, spec: CollectionSpec) -> None:
    index.create(spec)
    points = make_points(20, parts=spec.parts)
    index.upsert(KEY, points)
    index.upsert(KEY, points)
    assert index.count(KEY) == 20
    other = make_points(20, parts=spec.parts, seed=1)
    changed = Points(points.ids[:5], other.vectors[:5], other.payloads[:5])
    index.upsert(KEY, changed)
    index.flush(KEY)
    assert index.count(KEY) == 20
    assert_same(index.get(KEY, points.ids[:5]), changed)
    assert_same(index.get(KEY, points.ids[5:]), take(points, list(range(5, 20))))


def test_an_empty_batch_is_no_error(index: VectorIndex, spec: CollectionSpec) -> None:
    index.create(spec)
    index.upsert(KEY, make_points(0, parts=spec.parts))
    index.delete(KEY, [])
    assert len(index.get(KEY, [])) == 0
    assert index.search(KEY, make_points(0).vectors, 3) == []
    assert index.count(KEY) == 0


def test_deleted_points_are_out_of_sight_everywhere(index: VectorIndex, spec: CollectionSpec) -> None:
    index.create(spec)
    points = make_points(50, parts=spec.parts)
    index.upsert(KEY, points)
    index.flush(KEY)
    gone, kept = points.ids[:10], take(points, list(range(10, 50)))
    index.delete(KEY, gone)
    index.delete(KEY, gone)  # again, and one that never was
    index.delete(KEY, [point_id("sha256:absent", "space:test")])
    index.flush(KEY)
    assert index.count(KEY) == 40
    assert_same(everything(index, KEY), by_id(kept))
    assert len(index.get(KEY, gone)) == 0
    for part in range(spec.parts):
        answers = index.search(KEY, points.vectors[:10, part : part + 1], 50, part=part)
        assert all({point for point, _ in answer} == set(kept.ids) for answer in answers)
    index.compact(KEY)
    assert_same(everything(index, KEY), by_id(kept))
    index.upsert(KEY, take(points, [0]))
    assert_same(index.get(KEY, gone), take(points, [0]))


def broken(kind: str, points: Points) -> Points:
    """The batch with one thing wrong in its last row, after many good ones."""
    ids, vectors, payloads = list(points.ids), points.vectors.copy(), list(points.payloads)
    if kind == "nan":
        vectors[-1, 0, 0] = np.nan
    elif kind == "infinite":
        vectors[-1, 0, 0] = np.inf
    elif kind == "zero":
        vectors[-1] = 0
    elif kind == "too long":
        vectors[-1] *= 1.001
    elif kind == "dimension":
        vectors = vectors[:, :, :-1]
    elif kind == "parts":
        vectors = np.concatenate([vectors, vectors], axis=1)
    elif kind == "double":
        vectors = vectors.astype(np.float64)
    elif kind == "id":
        ids[-1] = "not-a-uuid"
    elif kind == "upper-case id":
        ids[-1] = ids[-1].upper()
    elif kind == "same id twice":
        ids[-1] = ids[0]
    elif kind == "too few payloads":
        payloads.pop()
    elif kind == "payload":
        payloads[-1] = {"not": {"json"}}
    return Points(ids, vectors, payloads)


@pytest.mark.parametrize(
    "kind",
    [
        "nan",
        "infinite",
        "zero",
        "too long",
        "dimension",
        "parts",
        "double",
        "id",
        "upper-case id",
        "same id twice",
        "too few payloads",
        "payload",
    ],
)
def test_a_wrong_batch_is_refused_whole(index: VectorIndex, spec: CollectionSpec, kind: str) -> None:
    index.create(spec)
    before = make_points(2, parts=spec.parts, seed=9)
    index.upsert(KEY, before)
    with pytest.raises(VectorStoreError):
        index.upsert(KEY, broken(kind, make_points(130, parts=spec.parts)))
    assert_same(everything(index, KEY), by_id(before))


@pytest.mark.parametrize("call", ["upsert", "delete", "get", "iterate", "count", "search", "flush", "compact"])
def test_an_unknown_collection_is_a_clear_error(index: VectorIndex, call: str) -> None:
    points = make_points(1)
    calls: dict[str, Callable[[], object]] = {
        "upsert": lambda: index.upsert(KEY, points),
        "delete": lambda: index.delete(KEY, points.ids),
        "get": lambda: index.get(KEY, points.ids),
        "iterate": lambda: list(index.iterate(KEY)),
        "count": lambda: index.count(KEY),
        "search": lambda: index.search(KEY, points.vectors, 1),
        "flush": lambda: index.flush(KEY),
        "compact": lambda: index.compact(KEY),
    }
    with pytest.raises(VectorStoreError, match=KEY):
        calls[call]()


def test_a_dropped_collection_is_gone_and_can_be_made_with_another_shape(index: VectorIndex) -> None:
    index.drop(KEY)  # there is none yet
    index.create(CollectionSpec(KEY, DIMENSION))
    index.upsert(KEY, make_points(3))
    index.drop(KEY)
    assert ours(index) == []
    index.create(CollectionSpec(KEY, DIMENSION, 2))
    assert index.count(KEY) == 0
    index.upsert(KEY, make_points(3, parts=2))
    assert index.count(KEY) == 3


def test_collections_do_not_see_each_other(index: VectorIndex) -> None:
    other = f"{KEY}-b"
    index.create(CollectionSpec(KEY, DIMENSION))
    index.create(CollectionSpec(other, DIMENSION))
    points = make_points(6)
    index.upsert(KEY, take(points, [0, 1, 2]))
    index.upsert(other, take(points, [2, 3, 4, 5]))
    index.delete(other, [points.ids[2]])
    assert ours(index) == [KEY, other]
    assert_same(everything(index, KEY), by_id(take(points, [0, 1, 2])))
    assert_same(everything(index, other), by_id(take(points, [3, 4, 5])))


def oracle_scores(queries: npt.NDArray[np.float32], stored: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    scores: npt.NDArray[np.float64] = queries.astype(np.float64) @ stored.astype(np.float64).T
    return scores


def test_search_gives_the_k_best_of_the_asked_part(index: VectorIndex, spec: CollectionSpec) -> None:
    index.create(spec)
    points = make_points(200, parts=spec.parts)
    index.upsert(KEY, points)
    queries = make_points(70, seed=5).vectors
    for part in range(spec.parts):
        scores = oracle_scores(queries[:, 0], points.vectors[:, part])
        for row, answer in enumerate(index.search(KEY, queries, 8, part=part)):
            wanted = np.argsort(-scores[row])[:8]
            assert [point for point, _ in answer] == [points.ids[best] for best in wanted]
            np.testing.assert_allclose([score for _, score in answer], scores[row, wanted], atol=1e-6)


def test_search_for_more_than_there_are_gives_all(index: VectorIndex) -> None:
    index.create(CollectionSpec(KEY, DIMENSION))
    points = make_points(5)
    index.upsert(KEY, points)
    (answer,) = index.search(KEY, points.vectors[:1], 500)
    assert {point for point, _ in answer} == set(points.ids)
    assert answer[0][0] == points.ids[0]
    assert [score for _, score in answer] == sorted((score for _, score in answer), reverse=True)


@pytest.mark.parametrize(("k", "part"), [(0, 0), (-1, 0), (3, 1), (3, -1)])
def test_a_senseless_search_is_refused(index: VectorIndex, k: int, part: int) -> None:
    index.create(CollectionSpec(KEY, DIMENSION))
    with pytest.raises(VectorStoreError, match="no search for"):
        index.search(KEY, make_points(1).vectors, k, part=part)


def test_a_wrong_query_is_refused(index: VectorIndex) -> None:
    index.create(CollectionSpec(KEY, DIMENSION))
    with pytest.raises(VectorStoreError):
        index.search(KEY, np.zeros((1, 1, DIMENSION), dtype=np.float32), 3)


def test_reopening_keeps_everything(opener: Callable[[], VectorIndex], spec: CollectionSpec) -> None:
    points = make_points(120, parts=spec.parts)
    with opener() as first:
        identity = first.store_uuid
        first.create(spec)
        first.upsert(KEY, points)
        first.delete(KEY, points.ids[:7])
    with opener() as second:
        assert second.store_uuid == identity
        assert str(uuid.UUID(identity)) == identity
        assert ours(second) == [KEY]
        second.create(spec)
        assert_same(everything(second, KEY), by_id(take(points, list(range(7, 120)))))
        with pytest.raises(VectorStoreError, match="exists with"):
            second.create(CollectionSpec(KEY, DIMENSION, spec.parts + 1))


def test_a_closed_index_says_so(opener: Callable[[], VectorIndex]) -> None:
    index = opener()
    index.create(CollectionSpec(KEY, DIMENSION))
    index.close()
    index.close()
    with pytest.raises(VectorStoreError, match="closed"):
        index.collections()
    with pytest.raises(VectorStoreError, match="closed"):
        index.count(KEY)


def test_a_long_random_life_ends_as_the_oracle_does(opener: Callable[[], VectorIndex]) -> None:
    pool = make_points(60)
    random = np.random.default_rng(4)
    oracle = MemoryIndex()
    oracle.create(CollectionSpec(KEY, DIMENSION))
    with opener() as index:
        index.create(CollectionSpec(KEY, DIMENSION))
    for _ in range(4):
        with opener() as index:
            for _ in range(12):
                rows = sorted(set(random.integers(0, 60, size=9).tolist()))
                for engine in (index, oracle):
                    if rows[0] % 3:
                        engine.upsert(KEY, take(pool, rows))
                    else:
                        engine.delete(KEY, [pool.ids[row] for row in rows])
                if rows[0] == 1:
                    index.compact(KEY)
            assert_same(everything(index, KEY), everything(oracle, KEY))
            found, wanted = (engine.search(KEY, pool.vectors[:9], 4) for engine in (index, oracle))
            assert [[point for point, _ in answer] for answer in found] == [[p for p, _ in answer] for answer in wanted]
