"""The vector store on a Qdrant server or cluster.

Every write waits until it is applied (``wait=true``) and is idempotent, so that it may be sent again; batches stay
below what the server accepts in one request; after an upsert the points are counted on the server. Collections are
named ``provenance_KEY``; others on the same server are neither seen nor touched.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qdrant_client import QdrantClient, models

from provenance.errors import VectorStoreError
from provenance.index.ahead import one_ahead
from provenance.index.connection import (
    RETRY_WAIT_SECONDS,
    STORE_COLLECTION,
    STORE_POINT,
    Connection,
    Node,
    is_too_large,
    lacks_replicas,
    words_of,
)
from provenance.index.contract import (
    REQUEST_TIMEOUT_SECONDS,
    Ailment,
    CollectionSpec,
    Points,
    by_score,
    checked_ids,
    checked_points,
    checked_queries,
    no_collection,
    other_shape,
)
from provenance.index.upkeep import ALLOWED, Upkeep, replication
from provenance.logs import note, room
from provenance.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from provenance.arrays import Float32s
    from provenance.index.points import Page

_log = room(__name__)
PREFIX = "provenance_"
MOST_POINTS = 256
READ_BATCH, READ_BYTES = 128, 4_000_000
IN_FLIGHT = 4
_STORE = CollectionSpec(STORE_COLLECTION, 1, label={"software": "provenance", "holds": "the identity of this store"})
ID_BATCH = 1000
SEARCH_BATCH = 64
AGREEMENTS = ("majority", "quorum", "any")
"""What replicas are asked to agree on, from the most: all answer, the greater half answers, whichever is there."""


class ServerIndex(Resource):
    """A Qdrant server through qdrant-client; see ``VectorIndex``.

    Args:
        client: An open client, or the way to a server; closed together with the index.
        url: Of an open client, for messages.
        shard_number: Of collections that are made here; the server's default where ``None``.
        replication_factor: Likewise, and of the one that holds the store's identity. A write is acknowledged by half
            of the replicas or more: the server marks those that failed as dead, reads none of them and mends them.
        retry_wait_seconds: Before the first repeat of an open client's requests; doubled with each.
    """

    in_flight = IN_FLIGHT

    def __init__(
        self,
        client: QdrantClient | Connection,
        *,
        url: str = "the given client",
        shard_number: int | None = None,
        replication_factor: int | None = None,
        retry_wait_seconds: float = RETRY_WAIT_SECONDS,
    ) -> None:
        if not isinstance(client, Connection):
            client = Connection([Node(client, url)], retry_wait_seconds=retry_wait_seconds)
        self._connection = client
        self._shard_number = shard_number
        self._replication_factor = replication_factor
        self._held: dict[str, _Held] = {}
        self._most_points = MOST_POINTS
        self._store_uuid: str | None = None
        self._agreed: set[str] = set()

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        allow_insecure: bool = False,
        shard_number: int | None = None,
        replication_factor: int | None = None,
        grpc_port: int | None = None,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
        retry_wait_seconds: float = RETRY_WAIT_SECONDS,
    ) -> ServerIndex:
        """An index on the nodes at ``http(s)://`` or ``grpc(s)://``, with commas between them; nothing is sent yet.

        Raises:
            VectorStoreError: If the server is beyond this machine and TLS or the key is missing.
        """
        connection = Connection.open(
            url.split(","),
            api_key=api_key,
            allow_insecure=allow_insecure,
            grpc_port=grpc_port,
            timeout_seconds=timeout_seconds,
            retry_wait_seconds=retry_wait_seconds,
        )
        return cls(connection, shard_number=shard_number, replication_factor=replication_factor)

    @property
    def store_uuid(self) -> str:
        """See ``VectorIndex``; kept as the payload of one point, made by whoever makes its collection."""
        if self._store_uuid is None:
            vectors = models.VectorParams(size=1, distance=models.Distance.DOT)
            settings: dict[str, Any] = {"vectors_config": vectors, "shard_number": 1, "strict_mode_config": ALLOWED}
            settings["metadata"] = dict(_STORE.label)
            made = self._make(STORE_COLLECTION, settings | replication(self._replication_factor))
            stored = self._stored_uuid()
            if stored is None and not made:
                time.sleep(self._connection.retry_wait_seconds)  # whoever made the collection is about to write it
                stored = self._stored_uuid()
            if stored is None:
                payload = {"store_uuid": str(uuid.uuid4())}
                point = models.PointStruct(id=STORE_POINT, vector=[1.0], payload=payload)
                self._call("upsert", STORE_COLLECTION, [point], wait=True)
                stored = self._stored_uuid()
            self._store_uuid = str(uuid.UUID(stored))
            self._connection.node.say_if_untested()
        return self._store_uuid

    def create(self, spec: CollectionSpec) -> None:
        """See ``VectorIndex``."""
        vector = models.VectorParams(size=spec.dimension, distance=models.Distance.DOT, on_disk=True)
        settings: dict[str, Any] = {
            "vectors_config": vector if spec.parts == 1 else dict.fromkeys(spec.vector_names, vector),
            "on_disk_payload": True,
            "strict_mode_config": ALLOWED,
            **({"metadata": dict(spec.label)} if spec.label else {}),
            **replication(self._replication_factor),
        }
        if self._shard_number is not None:
            settings["shard_number"] = self._shard_number
        self._held.pop(spec.key, None)
        if self._make(PREFIX + spec.key, settings):
            self._held[spec.key] = _Held(spec)
        elif (found := self._spec(spec.key).shape) != spec.shape:
            raise other_shape(spec, found)

    def drop(self, key: str) -> None:
        """See ``VectorIndex``."""
        self._held.pop(key, None)
        if self._exists(PREFIX + key):
            self._call("delete_collection", PREFIX + key)

    def collections(self) -> list[str]:
        """See ``VectorIndex``."""
        found = self._call("get_collections").collections
        return sorted(entry.name.removeprefix(PREFIX) for entry in found if entry.name.startswith(PREFIX))

    def upsert(self, key: str, points: Points) -> None:
        """See ``VectorIndex``."""
        spec = self._spec(key)
        checked = checked_points(points, spec)
        start = 0
        while start < len(checked):
            batch = checked.cut(start, start + self._fitting(checked, start, spec))
            start += self._upsert(key, batch, spec)
        for start in range(0, len(checked), ID_BATCH):
            ids: list[Any] = list(checked.ids[start : start + ID_BATCH])
            held = self._count(key, models.Filter(must=[models.HasIdCondition(has_id=ids)]))
            if held != len(ids):
                raise VectorStoreError(
                    f"{self._connection.node.url} took {len(ids)} points of collection {key} but holds {held} of them"
                )

    def delete(self, key: str, ids: Sequence[str]) -> None:
        """See ``VectorIndex``."""
        self._spec(key)
        wanted = checked_ids(ids)
        for start in range(0, len(wanted), ID_BATCH):
            self._asked(key, "delete", wanted[start : start + ID_BATCH])

    def get(self, key: str, ids: Sequence[str], *, payloads: bool = True) -> Points:
        """See ``VectorIndex``."""
        spec = self._spec(key)
        wanted = checked_ids(ids)
        vectors = np.empty((len(wanted), *spec.shape), dtype=np.float32)
        found: dict[str, tuple[int, dict[str, Any]]] = {}
        for points in self._in_batches(key, "retrieve", wanted, _page_of(spec), spec, payloads):
            vectors[len(found) : len(found) + len(points)] = points.vectors
            found |= {
                point: (row, payload)
                for row, (point, payload) in enumerate(zip(points.ids, points.payloads, strict=True), len(found))
            }
        there = [point for point in wanted if point in found]
        rows = [found[point][0] for point in there]
        return Points(there, vectors[rows], [found[point][1] for point in there])

    def lacking(self, key: str, ids: Sequence[str]) -> list[str]:
        """See ``VectorIndex``: where there are replicas, also what not all of them have.

        Asked for a majority, Qdrant 1.16 gives the first replica's answer where the others have more.
        """
        wanted = checked_ids(ids)
        held = {point for found in self._in_batches(key, "present", wanted, ID_BATCH) for point in found}
        return [point for point in wanted if point not in held]

    def iterate(self, key: str, batch: int = 1000) -> Iterator[Points]:
        """See ``VectorIndex``; while a page is used, the next one is asked for."""
        spec = self._spec(key)
        for page, start in one_ahead(self._pages(key, spec, min(batch, _page_of(spec)))):
            try:
                points = page.points()
            except VectorStoreError:
                self._held.pop(key, None)  # as where a request fails
                raise
            yield points.cut(start, len(points))

    def _pages(self, key: str, spec: CollectionSpec, limit: int) -> Iterator[tuple[Page, int]]:
        """The pages that hold points, each with the place of its first one that no page before it had.

        Where there are replicas, a page lacks what they do not agree on, and the server takes a short page for the last
        one: it is asked once more for what comes after.
        """
        start: str | None = None
        last = ""
        while True:
            try:
                page = self._read(key, "scroll", start, limit + (start == last), spec, may_shrink=limit > 1)
            except _TooLargeError:
                limit //= 2
                continue
            known = int(page.ids[:1] == [last])
            if len(page.ids) > known:
                last = page.ids[-1]
                yield page, known
            elif page.following is None:
                return
            if page.following is None and self._held_of(key).replicas == 1:
                return
            start = page.following or last

    def count(self, key: str) -> int:
        """See ``VectorIndex``."""
        return self._count(key, None)

    def search(
        self, key: str, queries: Float32s, k: int, *, exact: bool = True, part: int = 0
    ) -> list[list[tuple[str, float]]]:
        """See ``VectorIndex``."""
        spec = self._spec(key)
        rows = checked_queries(queries, k, part, spec)
        found: list[list[tuple[str, float]]] = []
        for answers in self._in_batches(key, "search", rows, SEARCH_BATCH, k, spec, part, exact):
            found += [by_score(answer) for answer in answers]
        return found

    def flush(self, key: str) -> None:
        """See ``VectorIndex``; the server's log holds what a waiting write returned from."""
        self._spec(key)

    def compact(self, key: str) -> bool:
        """See ``VectorIndex``: a server rewrites segments in its own time, and those of few vectors never."""
        self._spec(key)
        return False

    def may_keep(self, key: str) -> list[str]:
        """See ``VectorIndex``: snapshots are an administrator's; they stay when their collection is dropped."""
        kept = ["blocks of the server's disk until they are written again, and copies of that disk"]
        away = Upkeep(self._connection, None, repair=False).away(PREFIX + key)
        kept += [
            f"files of node {node} of the cluster, which is away, until it is back and drops them" for node in away
        ]
        try:
            found = [*self._call("list_snapshots", PREFIX + key), *self._call("list_full_snapshots")]
        except VectorStoreError as error:
            return [*kept, f"snapshots of the server, which it does not list ({error.message})"]
        return [*kept, *(f"the server's snapshot {each.name}" for each in found)]

    def agreed(self) -> str | None:
        """See ``VectorIndex``."""
        words, self._agreed = self._agreed, set()
        return max(words, key=AGREEMENTS.index, default=None)

    def tend(self, specs: Sequence[CollectionSpec], *, repair: bool) -> list[Ailment]:
        """See ``VectorIndex``."""
        upkeep = Upkeep(self._connection, self._replication_factor, repair=repair)
        self.store_uuid  # noqa: B018 - makes its collection where there is none
        found = list(upkeep.tend(STORE_COLLECTION, _STORE, MOST_POINTS))
        for spec in specs:
            found += upkeep.tend(PREFIX + spec.key, spec, _page_of(spec))
            self._held.pop(spec.key, None)  # its replicas are others now
        return found

    def set_aside(self, key: str) -> None:
        """See ``VectorIndex``; a server keeps its own files."""
        self.drop(key)

    def remains(self, key: str) -> list[Path]:
        """See ``VectorIndex``."""
        del key
        return []

    def discard(self, key: str) -> None:
        """See ``VectorIndex``; nothing is ever set aside."""

    def close(self) -> None:
        """See ``VectorIndex``."""
        self._connection.close()

    def _held_of(self, key: str) -> _Held:
        """What the server says of the collection."""
        if key not in self._held or not self._held[key].replicas:
            name = PREFIX + CollectionSpec(key, 1).key
            if not self._exists(name):
                raise no_collection(key)
            params = self._call("get_collection", name).config.params
            parts = list(params.vectors.values()) if isinstance(params.vectors, dict) else [params.vectors]
            spec = CollectionSpec(key, int(parts[0].size), len(parts))
            self._held[key] = _Held(spec, int(params.replication_factor or 1))
        return self._held[key]

    def _spec(self, key: str) -> CollectionSpec:
        return self._held[key].spec if key in self._held else self._held_of(key).spec

    def _exists(self, name: str) -> bool:
        return bool(self._call("collection_exists", name))

    def _make(self, name: str, settings: dict[str, Any]) -> bool:
        """Whether the collection was made now: False where it was there, or another process was faster."""
        if self._exists(name):
            return False
        try:
            self._call("create_collection", name, **settings)
        except VectorStoreError:
            if self._exists(name):  # made meanwhile, or by an attempt whose answer was lost
                return False
            raise
        return True

    def _stored_uuid(self) -> Any:
        records = self._call("retrieve", STORE_COLLECTION, [STORE_POINT], with_payload=True)
        return records[0].payload["store_uuid"] if records else None

    def _fitting(self, points: Points, start: int, spec: CollectionSpec) -> int:
        """How many points from ``start`` on go into one request; at least one."""
        way = self._connection.node.points
        used, most = 0, min(way.most_points, self._most_points)
        each = way.value_bytes * spec.parts * spec.dimension + 16 * spec.parts + 100
        for count, payload in enumerate(points.payloads[start : start + most]):
            used += each + len(json.dumps(payload))
            if count and used > way.most_bytes:
                return count
        return min(most, len(points) - start)

    def _upsert(self, key: str, batch: Points, spec: CollectionSpec) -> int:
        """Writes the batch, or, where the server finds it too large, as much of it as it takes; gives how many."""
        while True:
            try:
                self._asked(key, "upsert", batch, spec, is_final=is_too_large if len(batch) > 1 else None)
            except VectorStoreError:
                raise
            except Exception:  # noqa: BLE001 - it was too large
                self._most_points = len(batch) // 2
                batch = batch.cut(0, self._most_points)
            else:
                return len(batch)

    def _count(self, key: str, which: models.Filter | None) -> int:
        self._spec(key)
        return int(self._call("count", PREFIX + key, which, exact=True).count)

    def _in_batches(self, key: str, method: str, items: Any, size: int, *arguments: Any) -> Iterator[Any]:
        """The answers to all of ``items``, in order; fewer at a time where the server finds them too many."""
        start = 0
        while start < len(items):
            batch = items[start : start + size]
            try:
                answer = self._read(key, method, batch, *arguments, may_shrink=len(batch) > 1)
            except _TooLargeError:
                size = len(batch) // 2
            else:
                start += len(batch)
                yield answer

    def _read(self, key: str, method: str, *arguments: Any, may_shrink: bool) -> Any:
        """Reads points; where there are replicas, what most of those agree on that are there.

        Raises:
            _TooLargeError: If the server would take less than this, and it may be less.
        """
        held = self._held_of(key)

        def is_final(error: BaseException) -> bool:
            return (may_shrink and is_too_large(error)) or (held.consistency is not None and lacks_replicas(error))

        while True:
            word = held.consistency
            try:
                wanted = "all" if method == "present" and word == AGREEMENTS[0] else word
                answer = self._asked(key, method, *arguments, consistency=wanted, is_final=is_final)
            except VectorStoreError:
                raise
            except Exception as error:
                if not lacks_replicas(error):
                    raise _TooLargeError from error
                held.agree_on_less()
                note(_log, "fewer replicas asked", level=logging.WARNING, collection=key, reason=words_of(error))
            else:
                if held.replicas > 1:
                    self._agreed.add(word or "any")
                return answer

    def _asked(
        self,
        key: str,
        method: str,
        *arguments: Any,
        is_final: Callable[[BaseException], bool] | None = None,
        **settings: Any,
    ) -> Any:
        """Sends a request about points (see ``PointRequests``)."""

        def request(node: Node) -> Any:
            return getattr(node.points, method)(PREFIX + key, *arguments, **settings)

        try:
            return self._connection.call(method, request, key=key, is_final=is_final or (lambda _: False))
        except VectorStoreError:
            self._held.pop(key, None)  # it may be gone, or be made anew by somebody else
            raise

    def _call(self, method: str, *arguments: Any, **settings: Any) -> Any:
        """Calls a method of the client; its first argument is the collection's name, if it is about one."""
        name = str(arguments[0]) if arguments else ""
        return self._connection.call(
            method.replace("_", " "),
            lambda node: getattr(node.client, method)(*arguments, **settings),
            key=name.removeprefix(PREFIX) if name.startswith(PREFIX) else None,
        )


class _TooLargeError(Exception):
    """The same would do in smaller requests."""


@dataclass
class _Held:
    """What is known of a collection, and of how many of its replicas a read asks for agreement."""

    spec: CollectionSpec
    replicas: int = 0  # not asked for yet
    lowered: int = 0

    @property
    def consistency(self) -> str | None:
        """The server's word: all answer and most agree; the greater half answers and agrees; whichever is there."""
        words = {1: (), 2: AGREEMENTS[:1]}.get(self.replicas, AGREEMENTS[:2])
        return words[self.lowered] if self.lowered < len(words) else None

    def agree_on_less(self) -> None:
        self.lowered += 1


def _page_of(spec: CollectionSpec) -> int:
    """How many points one request reads."""
    return max(1, min(READ_BATCH, READ_BYTES // (4 * spec.parts * spec.dimension)))
