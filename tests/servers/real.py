"""A real Qdrant for the tests marked ``server``: at URLs that are given, or nodes that the tests start and kill.

``make test-server`` sets the variables; see CONTRIBUTING.md. Nodes keep their files in a folder of the test's.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc as grpcio
import pytest
from qdrant_client import QdrantClient, grpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = os.environ.get("PROVENANCE_TEST_QDRANT_URL", "")
GRPC_URL = os.environ.get("PROVENANCE_TEST_QDRANT_GRPC_URL", "")
URLS = [url for url in os.environ.get("PROVENANCE_TEST_QDRANT_URLS", "").split(",") if url]
API_KEY = os.environ.get("PROVENANCE_TEST_QDRANT_API_KEY") or None
BINARY = os.environ.get("PROVENANCE_TEST_QDRANT_BINARY", "")
START_SECONDS = 60.0
PREFIX, STORE = "provenance_", "provenance-store"


def grpc_url_of(url: str) -> str:
    """Where the server at an HTTP URL takes gRPC: as given, else at the next port."""
    if GRPC_URL and url == URL:
        return GRPC_URL
    parts = urlsplit(url)
    return f"{parts.scheme.replace('http', 'grpc')}://{parts.hostname}:{(parts.port or 6333) + 1}"


@contextlib.contextmanager
def identity_as_it_was(url: str) -> Iterator[None]:
    """Takes the collection of the store's identity off a server that had none, unless others came to use it."""
    client = client_of(url)
    had = client.collection_exists(STORE)
    yield
    left = [one.name for one in client.get_collections().collections]
    if not had and not any(name.startswith(PREFIX) for name in left):
        client.delete_collection(STORE)


def needs_binary() -> str:
    """The program that tests may start and kill."""
    if not BINARY:
        pytest.skip("PROVENANCE_TEST_QDRANT_BINARY is not set: no Qdrant that the tests may start and kill")
    return BINARY


def client_of(url: str) -> QdrantClient:
    """A client of its own, to look and to clear up with."""
    return QdrantClient(url=url, api_key=API_KEY, check_compatibility=False, timeout=30)


@dataclass
class Node:
    """One Qdrant process; without ``p2p`` one alone."""

    folder: Path
    http: int
    grpc: int
    p2p: int = 0
    bootstrap: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def start(self) -> None:
        """Returns when it answers that it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        words = [needs_binary(), "--disable-telemetry"]
        if self.p2p:
            words += ["--uri", f"http://127.0.0.1:{self.p2p}"]
        if self.bootstrap:
            words += ["--bootstrap", f"http://127.0.0.1:{self.bootstrap}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, cwd=self.folder, env=self._variables(), stdout=log, stderr=log)
        ends = time.monotonic() + START_SECONDS
        while not self.is_ready():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < ends, "the node does not start"
            time.sleep(0.1)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """As a machine that loses its power."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _variables(self) -> dict[str, str]:
        settings = {
            "TELEMETRY_DISABLED": "true",
            "LOG_LEVEL": "WARN",
            "SERVICE__HOST": "127.0.0.1",
            "SERVICE__HTTP_PORT": str(self.http),
            "SERVICE__GRPC_PORT": str(self.grpc),
            "STORAGE__STORAGE_PATH": str(self.folder / "storage"),
            "STORAGE__SNAPSHOTS_PATH": str(self.folder / "snapshots"),
            "STORAGE__PERFORMANCE__MAX_SEARCH_THREADS": "1",
            **({"CLUSTER__ENABLED": "true", "CLUSTER__P2P__PORT": str(self.p2p)} if self.p2p else {}),
            **self.environment,
        }
        return {**os.environ, **{f"QDRANT__{name}": value for name, value in settings.items()}}


def one_node(folder: Path, **environment: str) -> Node:
    """One that is not started yet; gRPC is at the port after that of REST, as people have it."""
    http = _free_port(2)
    return Node(folder, http, http + 1, environment=environment)


@contextlib.contextmanager
def three_nodes(folder: Path) -> Iterator[list[Node]]:
    """A cluster, while it is needed."""
    nodes: list[Node] = []
    try:
        for number in range(3):
            http = _free_port(3)
            nodes.append(Node(folder / f"node-{number}", http, http + 1, http + 2, nodes[0].p2p if nodes else 0))
            nodes[-1].start()
        until(lambda: all(len(_said(node, "/cluster")["peers"]) == 3 for node in nodes), "the nodes find each other")
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def until(holds: Any, what: str, seconds: float = START_SECONDS) -> None:
    """Waits until something holds; an error of the server's is that it does not yet."""
    ends = time.monotonic() + seconds
    while True:
        with contextlib.suppress(Exception):
            if holds():
                return
        assert time.monotonic() < ends, f"waited {seconds} s in vain until {what}"
        time.sleep(0.2)


def all_active(nodes: list[Node]) -> bool:
    """Whether every replica of every collection is, as every node sees it."""
    for node in nodes:
        for collection in _said(node, "/collections")["collections"]:
            shards = _said(node, f"/collections/{collection['name']}/cluster")
            if shards["shard_transfers"] or any(
                shard["state"] != "Active" for shard in (*shards["local_shards"], *shards["remote_shards"])
            ):
                return False
    return True


def holders_of(nodes: list[Node], collection: str, shard: int) -> list[Node]:
    """The nodes that have a replica of a shard."""

    def has(node: Node) -> bool:
        return any(
            one["shard_id"] == shard for one in _said(node, f"/collections/{collection}/cluster")["local_shards"]
        )

    return [node for node in nodes if has(node)]


def delete_from_replica(node: Node, collection: str, shard: int, ids: list[str]) -> None:
    """Takes points out of one replica alone, as nodes tell each other: it is active, and behind the others."""
    selected = grpc.PointsSelector(points=grpc.PointsIdsList(ids=[grpc.PointId(uuid=each) for each in ids]))
    asked = grpc.DeletePoints(collection_name=collection, wait=True, points=selected).SerializeToString()
    assert len(asked) < 16_384
    length = bytes([len(asked) % 128 + 128, len(asked) // 128])  # protobuf's variable length, of two bytes
    with grpcio.insecure_channel(f"127.0.0.1:{node.p2p}") as channel:
        channel.unary_unary("/qdrant.PointsInternal/Delete")(
            b"\x0a" + length + asked + bytes([0x10, shard]), timeout=30
        )


def files_with(folder: Path, content: bytes) -> list[str]:
    """The files of segments in a folder that have some bytes; those that go meanwhile have none."""
    found = []
    for file in folder.glob("**/segments/**/*"):
        with contextlib.suppress(OSError):
            if file.is_file() and content in file.read_bytes():
                found.append(str(file.relative_to(folder)))
    return found


def _said(node: Node, path: str) -> Any:
    with urllib.request.urlopen(node.url + path, timeout=5) as answer:
        return json.load(answer)["result"]


def _free_port(count: int) -> int:
    """The first of so many ports in a row that nobody has."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            for offset in range(count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
            return int(port)
