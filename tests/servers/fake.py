"""A Qdrant server for tests: one store in memory, by REST and by gRPC, that fails as it is told to.

    with FakeQdrant(api_key="secret") as server:
        with open_index(server.url, api_key="secret") as index: ...        # REST; server.grpc_url: gRPC
        server.fail(503, request="upsert", times=2)                        # the next two upserts, nothing done
        server.fail(503, request="create", applied=True)                   # done, but the answer is an error
        server.fail(429, retry_after=1)
        server.fail(502, proxy=True)                                       # as a proxy before it answers: a page
        server.hang(request="query"), server.resume()                      # answers late, or never
        server.cut(request="scroll", after=500)                            # the connection ends within the answer
        server.shorten(request="scroll")                                   # an answer without its last point
        server.lose("provenance_KEY", 2), server.forget("provenance_KEY"), server.counts["provenance_KEY"] = 3
        server.requests                                                    # what was asked: name, collection, headers
        server.rest_wire, server.grpc_wire          # see ``Wire``: refuse, hang, answered_bytes, headers (of gRPC)

Requests have the same names by both ways: version, collections, exists, describe, create, update, drop, upsert, delete,
retrieve, scroll, count, query, cluster, place. Statuses are HTTP's; gRPC gets the code that Qdrant has for the same
error. What a request needs that isn't here is an error of the test (501), so that nothing is taken for granted.

Statuses, words, limits and order of checks are those of Qdrant 1.16.3's source (``lib/storage/src/content_manager/
errors.rs`` and ``conversions.rs``, ``src/common/auth``, ``lib/collection/src/operations/verification``); what a real
server does beyond is for ``make test-server`` to show.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from qdrant_client import grpc

from tests.servers.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    import numpy.typing as npt

    Vectors = dict[str, npt.NDArray[np.float32]]

WRITES = {"create", "update", "drop", "upsert", "delete", "place"}


class Refusal(Exception):  # noqa: N818 - an answer like others
    """What the server says no with; ``page`` is what a proxy shows instead of JSON."""

    def __init__(self, status: int, words: str, *, retry_after: int | None = None, page: bool = False) -> None:
        super().__init__(words)
        self.status, self.words, self.retry_after, self.page = status, words, retry_after, page


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; ``size`` in bytes, of ``points`` the number where it brings or names some."""

    name: str
    collection: str = ""
    size: int = 0
    points: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    grpc: bool = False


@dataclass
class Fault:
    request: str | None
    times: int
    strike: Callable[[], None]
    applied: bool = False
    shortens: bool = False


@dataclass
class Point:
    vectors: Vectors
    payload: dict[str, Any]


@dataclass
class Held:
    """A collection: how it was made, and its points."""

    made: grpc.CreateCollection
    points: dict[str, Point] = field(default_factory=dict)

    def sizes(self) -> dict[str, int]:
        """The dimension of every vector by its name; of the one without a name by the empty one."""
        config = self.made.vectors_config
        if config.HasField("params"):
            return {"": config.params.size}
        return {name: params.size for name, params in config.params_map.map.items()}


class FakeQdrant:
    """See the module.

    Args:
        api_key: Asked for if given.
        read_only_key: A second key, which may only read.
        version: What it says it is.
        vectors_in: The field of gRPC's answers that vectors are in: ``data``, as of 1.16.3, or ``dense``.
        max_request_bytes: Of a REST request (``service.max_request_size_mb``); Qdrant limits none by gRPC.
        proxy_bytes: What a proxy before it takes at most in one request: 413, by gRPC ``RESOURCE_EXHAUSTED``.
        max_collections: ``storage.max_collections``.
        strict: ``storage.collection.strict_mode``: what collections are made with that ask for nothing else.
        zips: Whether answers by REST are compressed for those who take it, as Qdrant's are.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        read_only_key: str | None = None,
        version: str = "1.16.3",
        vectors_in: str = "data",
        max_request_bytes: int = 32 * 1024 * 1024,
        proxy_bytes: int | None = None,
        max_collections: int | None = None,
        strict: grpc.StrictModeConfig | None = None,
        zips: bool = True,
    ) -> None:
        from tests.servers.fake_grpc import serve_grpc
        from tests.servers.fake_rest import serve_rest

        self.api_key, self.read_only_key = api_key, read_only_key
        self.version, self.vectors_in = version, vectors_in
        self.max_request_bytes, self.proxy_bytes, self.max_collections = max_request_bytes, proxy_bytes, max_collections
        self.strict, self.zips = strict, zips
        self.collections: dict[str, Held] = {}
        self.counts: dict[str, int] = {}
        self.requests: list[Asked] = []
        self.faults: list[Fault] = []
        self.mistakes: list[Exception] = []
        self._lock = threading.RLock()
        self._flowing = threading.Event()
        self._flowing.set()
        rest_port, self._stop_rest = serve_rest(self)
        grpc_port, self._stop_grpc = serve_grpc(self)
        self.rest_wire, self.grpc_wire = Wire(rest_port), Wire(grpc_port, http2=True)
        self.url = f"http://127.0.0.1:{self.rest_wire.port}"
        self.grpc_url = f"grpc://127.0.0.1:{self.grpc_wire.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.resume()
        for end in (self.rest_wire.close, self.grpc_wire.close, self._stop_rest, self._stop_grpc):
            end()
        if self.mistakes:
            raise self.mistakes[0]

    # What goes wrong

    def fail(
        self,
        status: int,
        *,
        request: str | None = None,
        times: int = 1,
        words: str = "",
        retry_after: int | None = None,
        applied: bool = False,
        proxy: bool = False,
    ) -> None:
        """The next ``times`` requests (of that name) end in an error; ``applied``: after they were carried out."""

        def strike() -> None:
            raise Refusal(status, words or f"made to fail with {status}", retry_after=retry_after, page=proxy)

        self.faults.append(Fault(request, times, strike, applied))

    def hang(self, request: str | None = None, times: int = 1_000_000) -> None:
        """Requests wait until ``resume``, and are carried out then."""
        self._flowing.clear()
        self.faults.append(Fault(request, times, lambda: _wait(self._flowing)))

    def resume(self) -> None:
        """Nothing goes wrong from here on; what hangs is answered."""
        self.faults.clear()
        self._flowing.set()
        for wire in (self.rest_wire, self.grpc_wire):
            wire.resume()

    def cut(self, request: str | None = None, times: int = 1, after: int = 0) -> None:
        """Carried out, but the connection is reset when ``after`` bytes of the answer have gone."""

        def strike() -> None:
            for wire in (self.rest_wire, self.grpc_wire):
                wire.cut(after)

        self.faults.append(Fault(request, times, strike, applied=True))

    def shorten(self, request: str | None = None, times: int = 1) -> None:
        """Answers of points come without their last one, as from a replica that is behind."""
        self.faults.append(Fault(request, times, lambda: None, shortens=True))

    def lose(self, collection: str, count: int) -> None:
        """The last ``count`` points of a collection are gone."""
        points = self.collections[collection].points
        for point in sorted(points)[-count:]:
            del points[point]

    def forget(self, collection: str) -> None:
        """A collection is gone, as if it had never been."""
        self.collections.pop(collection, None)

    def made(self, collection: str, dimension: int) -> Held:
        """An empty collection, as it is made without names; not yet among those that are there."""
        vectors = grpc.VectorsConfig(params=grpc.VectorParams(size=dimension, distance=grpc.Distance.Dot))
        return Held(grpc.CreateCollection(collection_name=collection, vectors_config=vectors))

    def asked(self, name: str) -> list[Asked]:
        """The requests of that name."""
        return [request for request in self.requests if request.name == name]

    # What is served; both ways come here

    def serve(self, asked: Asked, work: Callable[[], Any]) -> Any:
        """Does what is asked, unless it is refused or something is to go wrong."""
        with self._lock:
            self.requests.append(asked)
            fault = next((one for one in self.faults if one.request in {None, asked.name} and one.times), None)
            if fault is not None:
                fault.times -= 1
        self._authorize(asked)
        self._admit(asked)
        if fault is not None and not fault.applied:
            fault.strike()
        with self._lock:
            answer = self._carried_out(work)
        if fault is not None and fault.applied:
            fault.strike()
        if fault is not None and fault.shortens:
            answer = _shortened(answer)
        return answer

    def _carried_out(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Refusal:
            raise
        except Exception as error:
            self.mistakes.append(error)
            raise Refusal(501, f"the fake made a mistake: {error!r}") from error

    def _authorize(self, asked: Asked) -> None:
        if not (self.api_key or self.read_only_key) or asked.name == "version":
            return
        key = asked.headers.get("api-key") or asked.headers.get("authorization", "").removeprefix("Bearer ")
        if not key:
            raise Refusal(401, "Must provide an API key or an Authorization bearer token")
        if key not in {self.api_key, self.read_only_key}:
            raise Refusal(401, "Invalid API key or JWT")
        if key != self.api_key and asked.name in WRITES:
            raise Refusal(403, "Forbidden: Global manage access is required")

    def _admit(self, asked: Asked) -> None:
        if self.proxy_bytes is not None and asked.size > self.proxy_bytes:
            raise Refusal(413, "413 Request Entity Too Large", page=True)
        if not asked.grpc and asked.size > self.max_request_bytes:
            limit = f"(limit: {self.max_request_bytes} bytes)"
            raise Refusal(400, f"Payload error: JSON payload ({asked.size} bytes) is larger than allowed {limit}.")

    def held(self, name: str) -> Held:
        """A collection that is there."""
        if name not in self.collections:
            raise Refusal(404, f"Not found: Collection `{name}` doesn't exist!")
        return self.collections[name]

    def create(self, made: grpc.CreateCollection) -> bool:
        """A new collection; what it doesn't ask for is as the server has it."""
        name = made.collection_name
        if name in self.collections:
            raise Refusal(409, f"Wrong input: Collection `{name}` already exists!")
        if self.max_collections is not None and len(self.collections) >= self.max_collections:
            words = f"Max collections limit reached: {self.max_collections}"
            raise Refusal(400, f"Bad request: Can't create collection with name {name}. {words}")
        if self.strict is not None:
            strict = grpc.StrictModeConfig()
            strict.CopyFrom(self.strict)
            strict.MergeFrom(made.strict_mode_config)
            made.strict_mode_config.CopyFrom(strict)
        self.collections[name] = Held(made)
        return True

    def drop(self, name: str) -> bool:
        """Whether there was one."""
        return self.collections.pop(name, None) is not None

    def upsert(self, name: str, points: Iterable[tuple[str, Vectors, dict[str, Any]]]) -> None:
        """All of them, or none where one is wrong."""
        held, given = self.held(name), list(points)
        self._check(held, "upsert limit", "upsert_max_batchsize", len(given))
        most = self._limit(held, "max_points_count")
        if most is not None and len(held.points) >= most:
            raise Refusal(400, f"Bad request: Max points count limit of {most} reached!")
        for _, vectors, _ in given:
            _check_vectors(held.sizes(), vectors)
        held.points |= {_checked_id(point): Point(vectors, payload) for point, vectors, payload in given}

    def delete(self, name: str, ids: Iterable[str]) -> None:
        """Those that are there."""
        points = self.held(name).points
        for point in ids:
            points.pop(point, None)

    def retrieve(self, name: str, ids: Iterable[str]) -> list[tuple[str, Point]]:
        """Those that are there, in the order asked for."""
        points = self.held(name).points
        return [(point, points[point]) for point in map(_checked_id, ids) if point in points]

    def scroll(self, name: str, offset: str | None, limit: int) -> tuple[list[tuple[str, Point]], str | None]:
        """A page in the order of ids, and the id that the next one starts with."""
        held = self.held(name)
        self._check(held, "limit", "max_query_limit", limit)
        ids = sorted(point for point in held.points if offset is None or point >= offset)
        return [(point, held.points[point]) for point in ids[:limit]], ids[limit] if len(ids) > limit else None

    def count(self, name: str, ids: list[str] | None, *, exact: bool) -> int:
        """Of these, or of all."""
        held = self.held(name)
        self._check_exact(held, exact=exact)
        if name in self.counts:
            return self.counts[name]
        return len(held.points) if ids is None else sum(point in held.points for point in set(ids))

    def query(
        self, name: str, vector: npt.NDArray[np.float32], limit: int, using: str, *, exact: bool
    ) -> list[tuple[str, Point, float]]:
        """The nearest by dot product."""
        held = self.held(name)
        self._check(held, "limit", "max_query_limit", limit)
        self._check_exact(held, exact=exact)
        _check_vectors({using: held.sizes().get(using, -1)}, {using: vector})
        scored = [(point, found, float(found.vectors[using] @ vector)) for point, found in held.points.items()]
        return sorted(scored, key=lambda one: -one[2])[:limit]

    def describe(self, name: str) -> grpc.CollectionInfo:
        """How it was made, and Qdrant's defaults for what it was not asked."""
        held = self.held(name)
        made = held.made
        optimizers = grpc.OptimizersConfigDiff(
            deleted_threshold=0.2, vacuum_min_vector_number=1000, default_segment_number=0, flush_interval_sec=5
        )
        optimizers.MergeFrom(made.optimizers_config)
        config = grpc.CollectionConfig(
            params=grpc.CollectionParams(
                vectors_config=made.vectors_config,
                shard_number=made.shard_number or 1,
                on_disk_payload=made.on_disk_payload,
                replication_factor=made.replication_factor or 1,
                write_consistency_factor=made.write_consistency_factor or 1,
            ),
            hnsw_config=grpc.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=10000, max_indexing_threads=0),
            optimizer_config=optimizers,
            wal_config=grpc.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0),
            metadata=made.metadata,
        )
        if made.HasField("strict_mode_config"):
            config.strict_mode_config.CopyFrom(made.strict_mode_config)
        return grpc.CollectionInfo(
            status=grpc.CollectionStatus.Green,
            optimizer_status=grpc.OptimizerStatus(ok=True),
            segments_count=1,
            points_count=self.counts.get(name, len(held.points)),
            indexed_vectors_count=0,
            config=config,
        )

    def update(self, name: str, change: grpc.CreateCollection) -> bool:
        """Settings of a collection that is there, given as if it were made with them."""
        self.held(name).made.MergeFrom(change)
        return True

    def _limit(self, held: Held, limit: str) -> Any:
        strict = held.made.strict_mode_config
        return getattr(strict, limit) if strict.enabled and strict.HasField(limit) else None

    def _check(self, held: Held, words: str, limit: str, value: int) -> None:
        most = self._limit(held, limit)
        if most is not None and value > most:
            help_words = f'Reduce the "{words}" parameter to or below {most}.'
            raise Refusal(400, f'Bad request: Limit exceeded {value} > {most} for "{words}". Help: {help_words}')

    def _check_exact(self, held: Held, *, exact: bool) -> None:
        if exact and self._limit(held, "search_allow_exact") is False:
            raise Refusal(400, "Bad request: Exact search disabled!. Help: Set exact=false.")

    def check_timeout(self, name: str, seconds: int | None) -> None:
        """Of a request that brings its own."""
        if seconds is not None:
            self._check(self.held(name), "timeout", "max_timeout", seconds)


def _check_vectors(sizes: dict[str, int], vectors: Vectors) -> None:
    for name, vector in vectors.items():
        if sizes.get(name, -1) < 0:
            raise Refusal(400, f"Wrong input: Not existing vector name error: {name}")
        if len(vector) != sizes[name]:
            raise Refusal(400, f"Wrong input: Vector dimension error: expected dim: {sizes[name]}, got {len(vector)}")


def _checked_id(point: str) -> str:
    try:
        return str(uuid.UUID(point))
    except ValueError:
        raise Refusal(400, f"Unable to parse UUID: {point}") from None


def _shortened(answer: Any) -> Any:
    if isinstance(answer, tuple):  # a page and where the next one starts
        return answer[0][:-1], answer[1]
    return answer[:-1] if isinstance(answer, list) else answer


def _wait(flowing: threading.Event) -> None:
    flowing.wait()
