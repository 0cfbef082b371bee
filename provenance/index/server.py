"""The vector store on a Qdrant server or cluster, by REST or gRPC.

Every write waits until it is applied (``wait=true``) and is idempotent, so that it may be sent again; batches stay
below what the server accepts in one request; after an upsert the points are counted on the server. Collections are
named ``provenance_KEY``; others on the same server are neither seen nor touched.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import time
import uuid
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from httpx import TransportError
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
)

from provenance.errors import VectorStoreError
from provenance.index.contract import (
    REQUEST_TIMEOUT_SECONDS,
    CollectionSpec,
    Points,
    by_score,
    checked_ids,
    checked_points,
    checked_queries,
    no_collection,
    other_shape,
)
from provenance.logs import note, room
from provenance.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from provenance.arrays import Float32s

_log = room(__name__)
PREFIX = "provenance_"
STORE_COLLECTION = "provenance-store"
STORE_POINT = str(uuid.UUID(int=1))
ATTEMPTS, GIVE_UP_SECONDS = 5, 60.0
RETRY_WAIT_SECONDS = 0.2
# Of one request: points, bytes, and what a float32 takes (as JSON: 24 characters and a comma).
REST_LIMITS, GRPC_LIMITS = (100, 5_000_000, 25), (256, 4_000_000, 4)
READ_BATCH = 256
IN_FLIGHT = 4
DELETE_BATCH = 1000
SEARCH_BATCH = 64
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_CHECK_KEY = "check the API key"
_CHECK_SERVER = "see whether the server runs and can be reached; the command can be run again, nothing is stored twice"
_CHECK_KEY = "check the API key"
_CHECK_SERVER = "see whether the server runs and can be reached; the command can be run again, nothing is stored twice"
_PASSING_CODES = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"})


class ServerIndex(Resource):
    """A Qdrant server through qdrant-client; see ``VectorIndex``.

    Args:
        client: An open client; closed together with the index.
        url: For messages.
        grpc: Whether the client speaks gRPC.
        shard_number: Of collections that are made here; the server's default where ``None``.
        replication_factor: Likewise. A write then waits for the majority of the replicas.
        retry_wait_seconds: Before the first retry; doubled with each.
    """

    in_flight = IN_FLIGHT

    def __init__(
        self,
        client: QdrantClient,
        *,
        url: str = "the given client",
        grpc: bool = False,
        shard_number: int | None = None,
        replication_factor: int | None = None,
        retry_wait_seconds: float = RETRY_WAIT_SECONDS,
    ) -> None:
        self._client: QdrantClient | None = client
        self._url = url
        self._grpc = grpc
        self._shard_number = shard_number
        self._replication_factor = replication_factor
        self._retry_wait_seconds = retry_wait_seconds
        self._specs: dict[str, CollectionSpec] = {}
        self._store_uuid: str | None = None

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        allow_insecure: bool = False,
        shard_number: int | None = None,
        replication_factor: int | None = None,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
        retry_wait_seconds: float = RETRY_WAIT_SECONDS,
    ) -> ServerIndex:
        """An index on the server at ``http(s)://`` or ``grpc(s)://``; nothing is sent yet.

        Raises:
            VectorStoreError: If the server is beyond this machine and TLS or the key is missing.
        """
        require_secure(url, api_key, allow_insecure=allow_insecure)
        return cls(
            _client(url, api_key, timeout_seconds),
            url=shown_url(url),
            grpc=url.startswith("grpc"),
            shard_number=shard_number,
            replication_factor=replication_factor,
            retry_wait_seconds=retry_wait_seconds,
        )

    @property
    def store_uuid(self) -> str:
        """See ``VectorIndex``; kept as the payload of one point, made by whoever makes its collection."""
        if self._store_uuid is None:
            params = models.VectorParams(size=1, distance=models.Distance.DOT)
            made = self._make(STORE_COLLECTION, {"vectors_config": params})
            stored = self._stored_uuid()
            if stored is None and not made:
                time.sleep(self._retry_wait_seconds)  # whoever made the collection is about to write the point
                stored = self._stored_uuid()
            if stored is None:
                payload = {"store_uuid": str(uuid.uuid4())}
                point = models.PointStruct(id=STORE_POINT, vector=[1.0], payload=payload)
                self._call("upsert", STORE_COLLECTION, [point], wait=True)
                stored = self._stored_uuid()
            self._store_uuid = str(uuid.UUID(stored))
        return self._store_uuid

    def create(self, spec: CollectionSpec) -> None:
        """See ``VectorIndex``."""
        vector = models.VectorParams(size=spec.dimension, distance=models.Distance.DOT, on_disk=True)
        settings: dict[str, Any] = {
            "vectors_config": vector if spec.parts == 1 else dict.fromkeys(spec.vector_names, vector),
            "on_disk_payload": True,
        }
        if self._shard_number is not None:
            settings["shard_number"] = self._shard_number
        if self._replication_factor is not None:
            settings["replication_factor"] = self._replication_factor
            settings["write_consistency_factor"] = self._replication_factor // 2 + 1
        self._specs.pop(spec.key, None)
        if self._make(PREFIX + spec.key, settings):
            self._specs[spec.key] = spec
        elif (found := self._spec(spec.key).shape) != spec.shape:
            raise other_shape(spec, found)

    def drop(self, key: str) -> None:
        """See ``VectorIndex``."""
        self._specs.pop(key, None)
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
        for rows in self._batches(checked, spec):
            batch = _structs(checked, rows, spec)
            self._call("upsert", PREFIX + key, batch, wait=True)
        for start in range(0, len(checked), DELETE_BATCH):
            ids: list[Any] = list(checked.ids[start : start + DELETE_BATCH])
            there = models.Filter(must=[models.HasIdCondition(has_id=ids)])
            held = self._call("count", PREFIX + key, there, exact=True).count
            if held != len(ids):
                raise VectorStoreError(
                    f"{self._url} took {len(ids)} points of collection {key} but holds {held} of them"
                )

    def delete(self, key: str, ids: Sequence[str]) -> None:
        """See ``VectorIndex``."""
        self._spec(key)
        wanted: list[Any] = list(checked_ids(ids))
        for start in range(0, len(wanted), DELETE_BATCH):
            these = models.PointIdsList(points=wanted[start : start + DELETE_BATCH])
            self._call("delete", PREFIX + key, these, wait=True)

    def get(self, key: str, ids: Sequence[str], *, payloads: bool = True) -> Points:
        """See ``VectorIndex``."""
        spec = self._spec(key)
        wanted: list[Any] = list(checked_ids(ids))
        records: dict[str, Any] = {}
        for start in range(0, len(wanted), READ_BATCH):
            these = wanted[start : start + READ_BATCH]
            for record in self._call("retrieve", PREFIX + key, these, with_payload=payloads, with_vectors=True):
                records[str(record.id)] = record
        return _points([records[point] for point in wanted if point in records], spec)

    def iterate(self, key: str, batch: int = 1000) -> Iterator[Points]:
        """See ``VectorIndex``."""
        spec = self._spec(key)
        settings = {"limit": min(batch, READ_BATCH), "with_payload": True, "with_vectors": True}
        offset: Any = None
        while True:
            records, offset = self._call("scroll", PREFIX + key, offset=offset, **settings)
            if records:
                yield _points(records, spec)
            if offset is None:
                return

    def count(self, key: str) -> int:
        """See ``VectorIndex``."""
        return int(self._call("count", PREFIX + key, exact=True).count)

    def search(
        self, key: str, queries: Float32s, k: int, *, exact: bool = True, part: int = 0
    ) -> list[list[tuple[str, float]]]:
        """See ``VectorIndex``."""
        spec = self._spec(key)
        rows = checked_queries(queries, k, part, spec)
        params = models.SearchParams(exact=exact)
        using = spec.vector_names[part] or None
        found: list[list[tuple[str, float]]] = []
        for start in range(0, len(rows), SEARCH_BATCH):
            requests = [
                models.QueryRequest(query=row, limit=k, params=params, using=using)
                for row in rows[start : start + SEARCH_BATCH].tolist()
            ]
            answers = self._call("query_batch_points", PREFIX + key, requests=requests)
            found += [by_score([(str(point.id), point.score) for point in answer.points]) for answer in answers]
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
        try:
            found = [*self._call("list_snapshots", PREFIX + key), *self._call("list_full_snapshots")]
        except VectorStoreError as error:
            return [*kept, f"snapshots of the server, which it does not list ({error.message})"]
        return [*kept, *(f"the server's snapshot {each.name}" for each in found)]

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
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _spec(self, key: str) -> CollectionSpec:
        if key not in self._specs:
            name = PREFIX + CollectionSpec(key, 1).key
            if not self._exists(name):
                raise no_collection(key)
            vectors = self._call("get_collection", name).config.params.vectors
            parts = list(vectors.values()) if isinstance(vectors, dict) else [vectors]
            self._specs[key] = CollectionSpec(key, int(parts[0].size), len(parts))
        return self._specs[key]

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

    def _batches(self, points: Points, spec: CollectionSpec) -> Iterator[slice]:
        """Consecutive slices of the batch that stay below the limits of one request."""
        most, budget, per_value = GRPC_LIMITS if self._grpc else REST_LIMITS
        start, used = 0, 0
        for row, payload in enumerate(points.payloads):
            size = per_value * spec.parts * spec.dimension + 16 * spec.parts + len(json.dumps(payload)) + 100
            if row > start and (row - start == most or used + size > budget):
                yield slice(start, row)
                start, used = row, 0
            used += size
        if start < len(points):
            yield slice(start, len(points))

    def _call(self, method: str, *arguments: Any, **settings: Any) -> Any:
        """Calls a method of the client, again where the failure may pass; what fails for good is translated here."""
        if self._client is None:
            raise VectorStoreError("the vector index is closed")
        attempts = Retrying(
            stop=stop_after_attempt(ATTEMPTS) | stop_after_delay(GIVE_UP_SECONDS),
            wait=wait_exponential(multiplier=self._retry_wait_seconds, max=10.0),
            retry=retry_if_exception(_may_pass),
            reraise=True,
            before_sleep=partial(self._say_again, method),
        )
        try:
            return attempts(getattr(self._client, method), *arguments, **settings)
        except Exception as error:
            name = str(arguments[0]) if arguments else ""
            if name.startswith(PREFIX) and _status(error) in {404, "NOT_FOUND"}:
                self._specs.pop(name.removeprefix(PREFIX), None)
                raise no_collection(name.removeprefix(PREFIX)) from error
            hint = _CHECK_KEY if _status(error) in {401, 403, "UNAUTHENTICATED", "PERMISSION_DENIED"} else _CHECK_SERVER
            words = method.replace("_", " ")
            raise VectorStoreError(f"{self._url}: {words} failed: {_reason(error)}", hint=hint) from error

    def _say_again(self, method: str, state: RetryCallState) -> None:
        assert state.outcome is not None
        reason, wait = _reason(state.outcome.exception()), round(state.upcoming_sleep, 3)
        facts = {"url": self._url, "request": method, "attempt": state.attempt_number, "seconds": wait}
        note(_log, "request failed, sent again", level=logging.WARNING, reason=reason, **facts)


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def shown_url(url: str) -> str:
    """The URL without a user or password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def require_secure(url: str, api_key: str | None, *, allow_insecure: bool) -> None:
    """Refuses to send patients' data to another machine unencrypted or to a server that asks for no key.

    Raises:
        VectorStoreError: Unless the server is on this machine, or has TLS and a key, or the caller insists.
    """
    parts = urlsplit(url)
    there = {"TLS": parts.scheme in {"https", "grpcs"}, "an API key": bool(api_key)}
    missing = [name for name in there if not there[name]]
    if missing and not allow_insecure and not is_loopback(parts.hostname or ""):
        raise VectorStoreError(
            f"the vector index at {shown_url(url)} is on another machine, without {' and '.join(missing)}",
            hint="use https:// or grpcs:// and an API key, or allow the insecure server explicitly",
        )


def _client(url: str, api_key: str | None, timeout_seconds: float) -> QdrantClient:
    parts = urlsplit(url)
    settings: dict[str, Any] = {"timeout": int(timeout_seconds), "check_compatibility": False}
    settings["api_key"] = api_key or None
    if is_loopback(parts.hostname or "") and not parts.scheme.startswith("grpc"):
        settings["trust_env"] = False  # no proxy between this machine and itself
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        if parts.scheme.startswith("grpc"):
            port = parts.port or 6334
            return QdrantClient(
                host=parts.hostname, grpc_port=port, prefer_grpc=True, https=parts.scheme == "grpcs", **settings
            )
        return QdrantClient(url=shown_url(url), **settings)


def _structs(points: Points, rows: slice, spec: CollectionSpec) -> list[Any]:
    return [
        models.PointStruct(id=point, vector=spec.named(vectors), payload=payload)
        for point, vectors, payload in zip(
            points.ids[rows], points.vectors[rows].tolist(), points.payloads[rows], strict=True
        )
    ]


def _points(records: list[Any], spec: CollectionSpec) -> Points:
    vectors = np.empty((len(records), *spec.shape), dtype=np.float32)
    for row, record in enumerate(records):
        vectors[row] = record.vector if spec.parts == 1 else [record.vector[name] for name in spec.vector_names]
    return Points([str(record.id) for record in records], vectors, [dict(record.payload or {}) for record in records])


def _status(error: BaseException) -> int | str | None:
    """The HTTP status or the gRPC code of an error, if it has one."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status
    code = getattr(error, "code", None)
    return str(code().name) if callable(code) else None


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed if it is sent again."""
    status = _status(error)
    if status is not None:
        return status in _PASSING_STATUS or status in _PASSING_CODES
    return isinstance(error, ResourceExhaustedResponse) or isinstance(getattr(error, "source", None), TransportError)


def _reason(error: BaseException | None) -> str:
    details = getattr(error, "details", None)
    text = str(details() if callable(details) else (getattr(error, "source", None) or error))
    return " ".join(text.split())[:300]
