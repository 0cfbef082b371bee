"""Which engine a URL names; its library is imported when its first store is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from provenance.errors import UsageError
from provenance.index.contract import LOCK_TIMEOUT_SECONDS, REQUEST_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.index.contract import VectorIndex


_SERVERS = {"http", "https", "grpc", "grpcs"}


def require_index_url(url: str) -> None:
    """Refuse what names no engine; nothing is opened.

    Raises:
        UsageError: If the URL names no engine.
    """
    scheme, _, rest = url.partition(":")
    if not ((scheme == "local" and rest) or scheme == "memory" or (scheme in _SERVERS and urlsplit(url).hostname)):
        raise UsageError(
            f"{url!r} names no vector index",
            hint="use local:PATH, http(s)://HOST:PORT, grpc(s)://HOST:PORT or memory:",
        )


def open_index(
    url: str,
    *,
    api_key: str | None = None,
    allow_insecure: bool = False,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
    shard_number: int | None = None,
    replication_factor: int | None = None,
    grpc_port: int | None = None,
    timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
) -> VectorIndex:
    """Opens the vector store a URL names; a local one is made where there is none.

    URLs are ``local:PATH`` (Qdrant Edge, in process), ``http(s)://...`` or ``grpc(s)://...`` (a Qdrant server or
    cluster), and ``memory:`` (the NumPy oracle; ``memory:NAME`` is the same store each time in one process). A local
    store that another process holds is waited for ``lock_timeout_seconds``; of one that may only be read, what is asked
    for is copied aside. All else is for servers: one beyond this
    machine must have TLS and a key, unless ``allow_insecure``; for the others see ``ServerIndex``.

    Raises:
        UsageError: If the URL names no engine.
        StoreLockedError: If another process holds the local store.
        VectorStoreError: If the store can't be opened, or the server is refused as insecure.
    """
    require_index_url(url)
    scheme, _, rest = url.partition(":")
    if scheme == "local":
        folder = Path(rest).expanduser()
        if folder.is_dir() and not os.access(folder, os.W_OK):
            from provenance.index.edge_copy import EdgeCopy

            return EdgeCopy(folder, lock_timeout_seconds=lock_timeout_seconds)
        from provenance.index.edge import EdgeIndex

        return EdgeIndex(folder, lock_timeout_seconds=lock_timeout_seconds)
    if scheme == "memory":
        from provenance.index.memory import MemoryIndex

        return MemoryIndex.named(rest)
    from provenance.index.server import ServerIndex

    return ServerIndex.connect(
        url,
        api_key=api_key,
        allow_insecure=allow_insecure,
        shard_number=shard_number,
        replication_factor=replication_factor,
        grpc_port=grpc_port,
        timeout_seconds=timeout_seconds,
    )


def mend_identity(
    url: str, store_uuid: str, is_ours: Callable[[list[str]], bool], *, lock_timeout_seconds: float
) -> bool:
    """Gives a local store whose identity file is damaged or lost its identity back; gives whether that was needed.

    ``is_ours`` is asked whether the collections that are there are those of the catalog that says so.

    Raises:
        StoreLockedError: If another process holds the store.
        VectorStoreError: If the file can't be written.
    """
    scheme, _, rest = url.partition(":")
    if scheme != "local" or not rest:
        return False
    from provenance.index import edge

    folder = Path(rest).expanduser()
    return edge.mend_identity(folder, store_uuid, is_ours, lock_timeout_seconds=lock_timeout_seconds)
