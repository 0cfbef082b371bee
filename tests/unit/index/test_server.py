"""What goes over the wire to a Qdrant server: recorded by a small HTTP server on this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from provenance.errors import VectorStoreError
from provenance.index import CollectionSpec, Points, connection, open_index, point_id
from provenance.index.connection import is_loopback, shown_url
from provenance.index.server import ServerIndex
from tests.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Iterator

DIMENSION = 2048


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    size_bytes: int
    body: Any


@dataclass
class Recorder:
    """Answers as Qdrant does for as much of it as an upsert and a search need; keeps every request."""

    requests: list[Request] = field(default_factory=list)
    collections: dict[str, Any] = field(default_factory=dict)
    points: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    forgets: bool = False

    def answer(self, request: Request) -> tuple[int, Any]:
        self.requests.append(request)
        if self.failures:
            return self.failures.pop(0), None
        _, _, name, *rest = [*request.path.split("/"), ""]
        if rest[0] == "exists":
            return 200, {"exists": name in self.collections}
        if request.method == "PUT" and not rest[0]:
            if name in self.collections:
                return 409, None
            self.collections[name] = request.body
            lost = request.path in self.lost
            return (503, None) if lost else (200, True)
        if name not in self.collections:
            return 404, None
        return 200, self.answer_for(name, request, rest)

    def answer_for(self, name: str, request: Request, rest: list[str]) -> Any:
        held = self.points.setdefault(name, {})
        if request.method == "GET":
            return self.described(name)
        if request.method == "PUT":
            held |= {point["id"]: point for point in request.body["points"] if not self.forgets}
            return {"operation_id": 1, "status": "completed"}
        if rest[:2] == ["points", "count"]:
            return {"count": sum(point in held for point in request.body["filter"]["must"][0]["has_id"])}
        if rest[:2] == ["points", "delete"]:
            for point in request.body["points"]:
                held.pop(point, None)
            return {"operation_id": 1, "status": "completed"}
        assert rest[0] == "points"
        return [held[point] for point in request.body["ids"] if point in held]

    def described(self, name: str) -> Any:
        optimizer = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0}
        return {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": 1,
            "config": {
                "params": {"vectors": self.collections[name]["vectors"]},
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
                "optimizer_config": optimizer | {"flush_interval_sec": 5},
            },
            "payload_schema": {},
        }

    def sent(self, method: str, end: str) -> list[Request]:
        return [request for request in self.requests if request.method == method and request.path.endswith(end)]


class Handler(BaseHTTPRequestHandler):
    recorder: ClassVar[Recorder]

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            self.command, url.path, parse_qs(url.query), headers, len(body), json.loads(body) if body else None
        )
        status, result = self.recorder.answer(request)
        answer = {"result": result, "status": "ok" if status == 200 else {"error": f"status {status}"}, "time": 0.0}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = handle_one  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Nothing: the recorder knows it all."""


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def url(recorder: Recorder) -> Iterator[str]:
    handler = type("RecordingHandler", (Handler,), {"recorder": recorder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def index(url: str) -> Iterator[ServerIndex]:
    with ServerIndex.connect(url, api_key="secret", retry_wait_seconds=0.001) as opened:
        yield opened


def make_points(count: int, dimension: int = DIMENSION, payload: dict[str, Any] | None = None) -> Points:
    vectors = unit(np.random.default_rng(0).standard_normal((count, 1, dimension)) ** 3)  # tiny numbers print long
    return Points([point_id(f"sha256:{row}", "space:x") for row in range(count)], vectors, [payload or {}] * count)


def test_an_upsert_goes_in_batches_below_five_megabytes_and_waits(index: ServerIndex, recorder: Recorder) -> None:
    index.create(CollectionSpec("set", DIMENSION))
    points = make_points(250)
    index.upsert("set", points)
    sent = recorder.sent("PUT", "/points")
    assert [len(request.body["points"]) for request in sent] == [97, 97, 56]
    assert max(request.size_bytes for request in sent) < 5_000_000
    assert all(request.query["wait"] == ["true"] for request in sent)
    assert [point["id"] for request in sent for point in request.body["points"]] == points.ids
    assert recorder.sent("POST", "/points/count")  # ... and is read back
    assert index.get("set", points.ids[::-1]).vectors.tobytes() == points.vectors[::-1].tobytes()


def test_small_vectors_go_a_hundred_at_a_time_and_large_payloads_count(index: ServerIndex, recorder: Recorder) -> None:
    index.create(CollectionSpec("set", 4))
    index.upsert("set", make_points(250, 4))
    index.upsert("set", make_points(7, 4, payload={"note": "x" * 1_500_000}))
    sent = recorder.sent("PUT", "/points")
    assert [len(request.body["points"]) for request in sent] == [100, 100, 50, 3, 3, 1]
    assert max(request.size_bytes for request in sent) < 5_000_000


def test_every_request_carries_the_key(index: ServerIndex, recorder: Recorder) -> None:
    index.create(CollectionSpec("set", 4))
    index.upsert("set", make_points(3, 4))
    assert len(recorder.requests) >= 4
    assert {request.headers.get("api-key") for request in recorder.requests} == {"secret"}


def test_collections_are_made_with_distance_dot_and_the_settings(url: str, recorder: Recorder) -> None:
    with open_index(url, shard_number=6, replication_factor=3) as index:
        index.create(CollectionSpec("set", 8))
        index.create(CollectionSpec("local", 8, 2))
        index.create(CollectionSpec("set", 8))
        with pytest.raises(VectorStoreError, match="exists with"):
            index.create(CollectionSpec("set", 9))
    made = recorder.collections["provenance_set"]
    assert (made["vectors"]["size"], made["vectors"]["distance"]) == (8, "Dot")
    assert (made["shard_number"], made["replication_factor"], made["write_consistency_factor"]) == (6, 3, 2)
    assert set(recorder.collections["provenance_local"]["vectors"]) == {"p0", "p1"}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(index: ServerIndex, recorder: Recorder, status: int) -> None:
    index.create(CollectionSpec("set", 4))
    recorder.failures = [status, status]
    index.upsert("set", make_points(3, 4))
    assert recorder.failures == []
    assert len(index.get("set", make_points(3, 4).ids)) == 3


def test_an_answer_that_was_lost_makes_no_second_collection(index: ServerIndex, recorder: Recorder) -> None:
    """The first attempt makes it, its answer is a 503; the second is told that it exists."""
    recorder.lost = {"/collections/provenance_set"}
    index.create(CollectionSpec("set", 4))
    assert len(recorder.sent("PUT", "/provenance_set")) == 2
    index.upsert("set", make_points(3, 4))
    with pytest.raises(VectorStoreError, match="exists with"):
        index.create(CollectionSpec("set", 5))


def test_it_gives_up_after_five_attempts_with_a_diagnosis(index: ServerIndex, recorder: Recorder) -> None:
    index.create(CollectionSpec("set", 4))
    recorder.requests.clear()
    recorder.failures = [503] * 50
    with pytest.raises(VectorStoreError, match="upsert failed") as raised:
        index.upsert("set", make_points(1, 4))
    assert len(recorder.requests) == connection.ATTEMPTS
    assert "nothing is stored twice" in raised.value.hint


@pytest.mark.parametrize("status", [400, 403])
def test_what_will_not_pass_is_not_tried_again(index: ServerIndex, recorder: Recorder, status: int) -> None:
    index.create(CollectionSpec("set", 4))
    recorder.requests.clear()
    recorder.failures = [status]
    with pytest.raises(VectorStoreError, match=str(status)) as raised:
        index.upsert("set", make_points(1, 4))
    assert len(recorder.requests) == 1
    assert ("API key" in raised.value.hint) == (status == 403)


def test_points_that_did_not_arrive_are_an_error(index: ServerIndex, recorder: Recorder) -> None:
    index.create(CollectionSpec("set", 4))
    recorder.forgets = True
    with pytest.raises(VectorStoreError, match="took 3 points of collection set but holds 0"):
        index.upsert("set", make_points(3, 4))


def test_a_wrong_batch_is_never_sent(index: ServerIndex, recorder: Recorder) -> None:
    index.create(CollectionSpec("set", 4))
    points = make_points(300, 4)
    points.vectors[-1] = np.nan
    with pytest.raises(VectorStoreError):
        index.upsert("set", points)
    assert recorder.sent("PUT", "/points") == []


def test_a_collection_dropped_by_somebody_else_is_a_clear_error(index: ServerIndex, recorder: Recorder) -> None:
    index.create(CollectionSpec("set", 4))
    index.upsert("set", make_points(1, 4))
    recorder.collections.clear()
    with pytest.raises(VectorStoreError, match="holds no collection set"):
        index.upsert("set", make_points(1, 4))


def test_nobody_there_is_a_clear_error() -> None:
    with (
        ServerIndex.connect("http://127.0.0.1:1", retry_wait_seconds=0.001) as index,
        pytest.raises(VectorStoreError, match=r"127\.0\.0\.1:1") as raised,
    ):
        index.create(CollectionSpec("set", 4))
    assert "can be reached" in raised.value.hint


def test_two_processes_agree_on_the_store_uuid(url: str, recorder: Recorder) -> None:
    with ServerIndex.connect(url) as first, ServerIndex.connect(url) as second:
        assert first.store_uuid == second.store_uuid
    with ServerIndex.connect(url) as third:
        assert third.store_uuid == first.store_uuid
    assert len(recorder.sent("PUT", "/points")) == 1


@pytest.mark.parametrize(
    ("url", "api_key", "missing"),
    [
        ("http://qdrant.example.org:6333", None, "TLS and an API key"),
        ("http://qdrant.example.org:6333", "secret", "TLS"),
        ("https://qdrant.example.org:6333", None, "an API key"),
        ("https://qdrant.example.org:6333", "", "an API key"),
        ("grpc://10.0.0.7:6334", "secret", "TLS"),
        ("grpcs://10.0.0.7:6334", None, "an API key"),
        ("http://localhost.example.org:6333", "secret", "TLS"),
        ("http://0.0.0.0:6333", "secret", "TLS"),
    ],
)
def test_an_insecure_server_on_another_machine_is_refused(url: str, api_key: str | None, missing: str) -> None:
    with pytest.raises(VectorStoreError, match=f"without {missing}$") as raised:
        open_index(url, api_key=api_key)
    assert "https://" in raised.value.hint
    open_index(url, api_key=api_key, allow_insecure=True).close()


@pytest.mark.parametrize(
    ("url", "api_key"),
    [
        ("http://localhost:6333", None),
        ("http://localhost:6333", "secret"),
        ("http://127.0.0.2:6333", None),
        ("grpc://localhost:6334", None),
        ("https://qdrant.example.org:6333", "secret"),
        ("grpcs://qdrant.example.org", "secret"),
    ],
)
def test_a_secure_or_local_server_is_not_refused(url: str, api_key: str | None) -> None:
    open_index(url, api_key=api_key).close()


def test_hosts_and_passwords() -> None:
    assert [is_loopback(host) for host in ("::1", "127.0.0.1", "LOCALHOST", "127.example.org", "192.168.0.1", "")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert shown_url("https://user:password@host:6333/prefix") == "https://host:6333/prefix"


@pytest.mark.parametrize(
    ("url", "api_key", "named", "beside"),
    [
        ("http://127.0.0.1:6333", None, None, 6334),
        ("http://127.0.0.1:6333", "secret", None, 0),
        ("http://127.0.0.1:6333", "secret", 7000, 7000),
        ("https://qdrant.example.org:6333", "secret", None, 6334),
        ("https://qdrant.example.org:6333", "secret", 0, 0),
    ],
)
def test_where_grpc_is_tried(url: str, api_key: str | None, named: int | None, beside: int) -> None:
    assert connection._port_beside(url, 6333, api_key, named) == beside


@pytest.mark.parametrize("key", [None, "secret"])
@pytest.mark.parametrize("is_named", [False, True])
def test_a_key_in_the_clear_goes_to_no_port_that_was_not_named(
    url: str, recorder: Recorder, key: str | None, is_named: bool
) -> None:
    """Somebody else's program has the next port, and closes every connection that it takes."""
    port = int(url.rpartition(":")[2]) + 1
    taken: list[object] = []
    try:
        beside = socket.create_server(("127.0.0.1", port))
    except OSError:
        pytest.skip("the next port is taken")

    def take() -> None:
        with contextlib.suppress(OSError):
            while True:
                beside.accept()[0].close()
                taken.append(port)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        with ServerIndex.connect(url, api_key=key, grpc_port=port if is_named else None) as index:
            index.create(CollectionSpec("set", 2))
            index.upsert("set", make_points(3, 2))
            assert recorder.sent("PUT", "/points")
    finally:
        beside.shutdown(socket.SHUT_RDWR)
        beside.close()
        thread.join(5)
    assert bool(taken) == (is_named or key is None)
