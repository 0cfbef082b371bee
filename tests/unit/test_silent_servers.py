"""Servers that accept connections and never answer: an error within a stated time, by default."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from provenance.catalog import Catalog, silence
from provenance.errors import CatalogError, VectorStoreError
from provenance.index import contract, open_index

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def silent() -> Iterator[str]:
    """Host and port where the system takes connections that nobody reads."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_silent_postgresql_is_given_up(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < silence.CONNECT_TIMEOUT_SECONDS <= 30
    monkeypatch.setattr(silence, "CONNECT_TIMEOUT_SECONDS", 2)
    started = time.monotonic()
    with pytest.raises(CatalogError, match=f"{silent}.* does not answer: no answer within 2 s"):
        Catalog.open(f"postgresql://somebody@{silent}/catalog")
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_silent_vector_store_is_given_up(silent: str, scheme: str) -> None:
    assert contract.REQUEST_TIMEOUT_SECONDS <= 60
    started = time.monotonic()
    with (
        open_index(f"{scheme}://{silent}", timeout_seconds=1.0) as index,
        pytest.raises(VectorStoreError, match="failed"),
    ):
        index.store_uuid  # noqa: B018 - asks the server
    assert time.monotonic() - started < 10
