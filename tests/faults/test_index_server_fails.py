"""A Qdrant server that fails while it is used: what is stored stays right, or the error says what happened."""

from __future__ import annotations

import threading
import time
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from children import until
from qdrant_client import grpc

from provenance.errors import VectorStoreError
from provenance.index import CollectionSpec, Points, point_id
from provenance.index.server import ServerIndex
from tests.servers.fake import FakeQdrant
from tests.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY, NAME, DIMENSION = "set", "provenance_set", 8


@pytest.fixture(params=["rest", "grpc"])
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as running:
        yield running


def connected(server: FakeQdrant, way: str, **settings: Any) -> ServerIndex:
    url = server.url if way == "rest" else server.grpc_url
    return ServerIndex.connect(url, retry_wait_seconds=0.001, **settings)


@pytest.fixture
def index(server: FakeQdrant, way: str) -> Iterator[ServerIndex]:
    with connected(server, way) as opened:
        opened.create(CollectionSpec(KEY, DIMENSION))
        opened.upsert(KEY, POINTS)
        server.requests.clear()
        yield opened


def make_points(count: int, seed: int = 0) -> Points:
    vectors = unit(np.random.default_rng(seed).standard_normal((count, 1, DIMENSION)))
    return Points([point_id(f"sha256:{seed}-{row}", "space:x") for row in range(count)], vectors, [{"n": 1}] * count)


POINTS, MORE = make_points(30), make_points(5, seed=1)
CALLS: dict[str, Callable[[ServerIndex], Any]] = {
    "upsert": lambda index: index.upsert(KEY, MORE),
    "delete": lambda index: index.delete(KEY, POINTS.ids[:3]),
    "retrieve": lambda index: index.get(KEY, POINTS.ids).vectors.tobytes(),
    "scroll": lambda index: [(part.ids, part.vectors.tobytes()) for part in index.iterate(KEY)],
    "count": lambda index: index.count(KEY),
    "query": lambda index: index.search(KEY, POINTS.vectors[:4], 3),
    "collections": lambda index: index.collections(),
    "create": lambda index: index.create(CollectionSpec("another", DIMENSION)),
    "drop": lambda index: index.drop(KEY),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_passes_is_asked_again_and_the_answer_is_the_same(
    server: FakeQdrant, index: ServerIndex, call: str
) -> None:
    """Before it was done, and after it was done but for the answer: the same answer, and the same points."""
    faults: list[Callable[[], None]] = [
        lambda: server.fail(503, request=call, times=2),
        lambda: server.fail(502, request=call, proxy=True),
        lambda: server.fail(429, request=call, retry_after=0),
        lambda: server.fail(503, request=call, applied=True),
        lambda: server.cut(request=call, after=0),
        lambda: server.cut(request=call, after=20),
    ]
    before = server.collections[NAME].points.copy()
    wanted = CALLS[call](index)
    after = {name: set(held.points) for name, held in server.collections.items()}
    for fault in faults:
        server.forget("provenance_another")
        server.collections.setdefault(NAME, server.made(NAME, DIMENSION)).points = before.copy()
        server.requests.clear()
        fault()
        assert CALLS[call](index) == wanted
        assert {name: set(held.points) for name, held in server.collections.items()} == after
        assert len(server.asked(call)) >= 2


@pytest.mark.parametrize(
    ("version", "note"),
    [
        ("1.16.0", ""),
        ("1.4.1", "is 1.4.1; tested with 1.16, and qdrant-client"),
        (version_of("qdrant-client"), "tested with 1.16\n"),
        ("dev", ""),
    ],
)
def test_a_version_that_was_not_tested_is_noted_once(
    way: str, version: str, note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeQdrant(version=version) as server, connected(server, way) as index:
        assert index.store_uuid == index.store_uuid
        assert index.collections() == []
        assert len(server.asked("version")) == 1
    said = capsys.readouterr().err
    assert said.count("note:") == bool(note)
    assert note in said


def test_a_wrong_key_is_said_and_a_read_only_one_reads(way: str) -> None:
    with FakeQdrant(api_key="right", read_only_key="look") as server:
        with connected(server, way, api_key="right") as index:
            index.create(CollectionSpec(KEY, DIMENSION))
            index.upsert(KEY, POINTS)
        for key in (None, "wrong"):
            with connected(server, way, api_key=key) as index, pytest.raises(VectorStoreError) as raised:
                index.get(KEY, POINTS.ids)
            assert "API key" in raised.value.message + raised.value.hint
        with connected(server, way, api_key="look") as index:
            assert index.get(KEY, POINTS.ids).vectors.tobytes() == POINTS.vectors.tobytes()
            assert len(index.search(KEY, POINTS.vectors[:2], 3)) == 2
            server.requests.clear()
            with pytest.raises(VectorStoreError, match="manage access") as raised:
                index.upsert(KEY, MORE)
            assert "may only read" in raised.value.hint
            assert len(server.asked("upsert")) == 1  # never sent again


def test_a_server_that_comes_back_is_waited_for(server: FakeQdrant, way: str) -> None:
    wire = server.rest_wire if way == "rest" else server.grpc_wire
    url = server.url if way == "rest" else server.grpc_url
    with ServerIndex.connect(url) as index:
        index.create(CollectionSpec(KEY, DIMENSION))
        wire.refuse()
        back = threading.Timer(0.5, wire.resume)
        back.start()
        index.upsert(KEY, POINTS)
        back.join()
        assert index.count(KEY) == len(POINTS)


def test_points_that_did_not_stay_are_an_error(server: FakeQdrant, index: ServerIndex) -> None:
    server.counts[NAME] = 3
    with pytest.raises(VectorStoreError, match="took 5 points of collection set but holds 3"):
        index.upsert(KEY, MORE)
    server.forget(NAME)
    with pytest.raises(VectorStoreError, match="holds no collection set"):
        index.count(KEY)


def test_answers_are_not_zipped(server: FakeQdrant, index: ServerIndex, way: str) -> None:
    """Zipping is where the server's time goes; vectors hardly get smaller by it."""
    index.get(KEY, POINTS.ids)
    if way == "rest":
        said = {request.headers.get("accept-encoding") for request in server.asked("retrieve")}
    else:
        asked = [each for each in server.grpc_wire.headers if each[":path"] == "/qdrant.Points/Get"]
        said = {each.get("grpc-accept-encoding", "identity") for each in asked}
    assert said == {"identity"}


def test_what_is_too_large_goes_in_smaller_batches(way: str) -> None:
    """Of a server with a limit of its own, by REST; of a proxy before it, both ways."""
    limits = {"proxy_bytes": 4000} if way == "grpc" else {"max_request_bytes": 4000}
    for settings in (limits, {"proxy_bytes": 4000}):
        with FakeQdrant(**settings) as server, connected(server, way) as index:
            index.create(CollectionSpec(KEY, DIMENSION))
            points = make_points(60)
            index.upsert(KEY, points)
            assert index.get(KEY, points.ids).vectors.tobytes() == points.vectors.tobytes()


def test_what_is_too_large_to_be_read_comes_in_smaller_pages(server: FakeQdrant, index: ServerIndex) -> None:
    """By a limit of a collection that an older version made, or of a proxy's."""
    strict = grpc.StrictModeConfig(enabled=True, max_query_limit=7)
    server.collections[f"provenance_{KEY}"].made.strict_mode_config.CopyFrom(strict)
    assert [point for page in index.iterate(KEY) for point in page.ids] == sorted(POINTS.ids)
    for request in ("retrieve", "query"):
        before = len(server.asked(request))
        server.fail(413, request=request, times=2, proxy=True, words="413 Request Entity Too Large")
        if request == "retrieve":
            assert index.get(KEY, POINTS.ids).vectors.tobytes() == POINTS.vectors.tobytes()
        else:
            found = index.search(KEY, POINTS.vectors, 3)
            assert [each[0][0] for each in found] == POINTS.ids
        sizes = [asked.points for asked in server.asked(request)[before:]]
        assert sizes[:3] == [30, 15, 7]
        assert sum(sizes[2:]) == len(POINTS)


def test_a_server_that_never_answers_is_given_up_within_the_limit(server: FakeQdrant, way: str) -> None:
    with connected(server, way, timeout_seconds=1) as index:
        index.create(CollectionSpec(KEY, DIMENSION))
        server.hang()
        started = time.monotonic()
        with pytest.raises(VectorStoreError, match="failed"):
            index.count(KEY)
        assert time.monotonic() - started < 6
        server.resume()
        assert index.count(KEY) == 0


def test_the_next_page_is_asked_for_while_one_is_used(server: FakeQdrant, index: ServerIndex) -> None:
    """What fails meanwhile is asked again from there on, or raised in its turn."""
    wanted = sorted(POINTS.ids)
    pages = index.iterate(KEY, batch=7)
    found = [next(pages)]
    until(lambda: len(server.asked("scroll")) == 2, "the request for the second page")
    server.fail(503, request="scroll", times=3)
    found += pages
    assert [point for page in found for point in page.ids] == wanted
    rows = {point: vector.tobytes() for point, vector in zip(POINTS.ids, POINTS.vectors, strict=True)}
    assert [vector.tobytes() for page in found for vector in page.vectors] == [rows[point] for point in wanted]
    pages = index.iterate(KEY, batch=7)
    given = next(pages).ids
    server.fail(400, words="no more", request="scroll", times=99)
    with pytest.raises(VectorStoreError, match="no more"):
        given += [point for page in pages for point in page.ids]
    assert given in (wanted[:7], wanted[:14])


def test_an_exact_search_that_the_server_forbids_is_allowed_for_our_collections(way: str) -> None:
    """A strict mode that holds for whatever is made there; counts are exact too."""
    strict = grpc.StrictModeConfig(enabled=True, search_allow_exact=False, max_query_limit=5, upsert_max_batchsize=10)
    with FakeQdrant(strict=strict) as server, connected(server, way) as index:
        assert index.store_uuid == index.store_uuid
        index.create(CollectionSpec(KEY, DIMENSION))
        index.upsert(KEY, POINTS)
        assert [found[0][0] for found in index.search(KEY, POINTS.vectors[:4], 9)] == POINTS.ids[:4]
        assert sum(len(part) for part in index.iterate(KEY)) == index.count(KEY) == len(POINTS)


def test_errors_are_in_words(server: FakeQdrant, index: ServerIndex) -> None:
    for status, words in ((500, "Service internal error: No space left on device: WAL"), (400, "Bad request: no")):
        server.fail(status, words=words, request="upsert", times=99)
        with pytest.raises(VectorStoreError, match=words) as raised:
            index.upsert(KEY, MORE)
        assert "{" not in raised.value.message
        server.faults.clear()
    server.fail(502, words="502 Bad Gateway", request="upsert", times=99, proxy=True)
    with pytest.raises(VectorStoreError, match="502 Bad Gateway") as raised:
        index.upsert(KEY, MORE)
    assert "<" not in raised.value.message
