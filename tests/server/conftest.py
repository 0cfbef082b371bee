"""The server that tests use, and the proof that they leave what is others' on it as it was."""

from __future__ import annotations

import sqlite3
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from qdrant_client import models

from tests.servers import real
from tests.servers.real import PREFIX
from tests.servers.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def given_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server at PROVENANCE_TEST_QDRANT_URL, else a node that is started; others' collections stay as they are."""
    if real.URL:
        with real.identity_as_it_was(real.URL), strangers(real.URL):
            yield real.URL
        return
    if not real.BINARY:
        pytest.skip("neither PROVENANCE_TEST_QDRANT_URL nor PROVENANCE_TEST_QDRANT_BINARY is set: no Qdrant server")
    node = real.one_node(tmp_path_factory.mktemp("qdrant"))
    node.start()
    with strangers(node.url):
        yield node.url
    node.kill()


class strangers:  # noqa: N801 - used as a function
    """Two collections of somebody else's, one of them of another catalog: they are there, unchanged, at the end."""

    def __init__(self, url: str) -> None:
        self.client = real.client_of(url)
        self.names = [f"somebody-else-{uuid.uuid4().hex}", f"{PREFIX}{uuid.uuid4().hex}"]

    def __enter__(self) -> None:
        vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
        for name in self.names:
            self.client.create_collection(name, vectors_config=vectors)
            self.client.upsert(name, [models.PointStruct(id=7, vector=[0.6, 0.8], payload={"of": "others"})], wait=True)
        self.before = self.seen()

    def __exit__(self, *error: object) -> None:
        try:
            assert self.seen() == self.before
        finally:
            for name in self.names:
                self.client.delete_collection(name)

    def seen(self) -> Any:
        return [
            (
                name,
                self.client.scroll(name, with_payload=True, with_vectors=True)[0],
                self.client.get_collection(name).config,
            )
            for name in self.names
        ]


def clear(workspace: Path, url: str) -> None:
    """Takes the collections of a workspace off the server, and no others."""
    with sqlite3.connect(workspace / "catalog.sqlite3") as catalog:
        keys = [key for (key,) in catalog.execute("SELECT collection_key FROM collections")]
    client = real.client_of(url)
    for key in keys:
        client.delete_collection(PREFIX + key)


@pytest.fixture(scope="session")
def rest_only(given_url: str) -> Iterator[str]:
    """The same server behind a wire: there is nothing at the port after it, so that all goes by REST."""
    if not given_url.startswith("http://127.0.0.1"):
        pytest.skip("by REST alone only where the server is on this machine")
    with Wire(int(given_url.rpartition(":")[2])) as wire:
        yield f"http://127.0.0.1:{wire.port}"
