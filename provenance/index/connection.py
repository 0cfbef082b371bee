"""The way to a Qdrant server or cluster: which node is asked and how, when again, how long, and failures in words.

The nodes are tried in turn, and the one that answered is asked from then on. What may pass is sent again; what may
not is an error that says what the server said.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import math
import time
import warnings
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from httpx import TransportError
from qdrant_client import QdrantClient, grpc
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.common.version_check import is_compatible, parse_version
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_after_delay

from provenance.errors import VectorStoreError
from provenance.index.contract import REQUEST_TIMEOUT_SECONDS, no_collection
from provenance.index.points import ByGrpc, ByRest
from provenance.logs import MESSAGES, Waiting, note, room

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from provenance.index.points import PointRequests

_log = room(__name__)
Answer = TypeVar("Answer")
ATTEMPTS = 5
RETRY_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 10.0
CONNECT_TIMEOUT_SECONDS = 5.0
OFFER_TIMEOUT_SECONDS = 2.0
REST_PORT, GRPC_PORT = 6333, 6334
TESTED_SERVERS = ("1.16",)  # docs/servers.md, docker-compose.yml
GRPC_WINDOW_BYTES = 1 << 24
STORE_COLLECTION, STORE_POINT = "provenance-store", "00000000-0000-0000-0000-000000000001"
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"})
_REFUSED = frozenset({401, 403, "UNAUTHENTICATED", "PERMISSION_DENIED"})
_CHECK_NODES = (
    "a node of the cluster is down, and the others hold too few replicas: start it; with a `replication_factor` of 2 "
    "or more collections go on without it (those that are there after `provenance reconcile`, which makes the replicas)"
)
_STRICT = "`provenance reconcile` allows its own collections what they need; of others its administrator raises it"
_LIMITS = {
    ("exact search",): f"the strict mode of the server forbids exact search (`search_allow_exact`): {_STRICT}",
    ("max collections",): "the server's limit of collections (`max_collections`) is reached: raise it, or remove a set",
    ("rate limit",): "the server limits reads or writes a minute (`read_rate_limit`, `write_rate_limit`): try later",
    ("no space left", "disk space", "disk usage"): "the disk of the server is full: make room there, then run it again",
    ("out of memory", "resident memory"): "the server is short of memory: give it more, then run the command again",
    ("max vector storage size", "max payload storage size", "max points", "points count"): (
        "a size limit of the server's strict mode is reached (`max_collection_vector_size_bytes`, `max_points_count`): "
        "its administrator raises it"
    ),
    ("limit exceeded", "limit reached", "timeout parameter"): f"a limit of the server's strict mode: {_STRICT}",
    ("strict mode",): f"a rule of the server's strict mode: {_STRICT}",
    ("timeout", "timed out", "deadline"): (
        "the server is slow or hangs: see its log; `index_timeout_seconds` says how long a request may take"
    ),
}
_TOO_LARGE = ("larger than allowed", "too large", "larger than max", "message length")
_CHECK_KEY = "check the API key, and that it may do this"
_FORBIDDEN_TO_KEY = (
    "the API key is known there, but may not do this: a key that may only read serves what only reads (not ingest, or "
    "an audit in a space that has to be made first); take one that may write and make collections"
)
_CHECK_SERVER = "see whether the server runs and can be reached; the command can be run again, nothing is stored twice"


class Node:
    """One node of a server: its client, and how it is asked about points.

    Args:
        client: An open client.
        url: For messages.
        is_grpc: Whether the client speaks gRPC.
        may_offer_grpc: Whether a client that speaks REST knows a port that may take gRPC.
        timeout_seconds: Of one request.
    """

    def __init__(
        self,
        client: QdrantClient,
        url: str,
        *,
        is_grpc: bool = False,
        may_offer_grpc: bool = False,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
    ) -> None:
        self.client, self.url = client, url
        self._by_rest, self._by_grpc = ByRest(client), ByGrpc(client, timeout_seconds)
        self._points: PointRequests | None = self._by_grpc if is_grpc else None if may_offer_grpc else self._by_rest

    @classmethod
    def at(cls, url: str, api_key: str | None, grpc_port: int | None, timeout_seconds: float) -> Node:
        """The node at ``http(s)://`` or ``grpc(s)://``; nothing is sent yet."""
        parts = urlsplit(url)
        is_grpc = parts.scheme.startswith("grpc")
        port = parts.port or (GRPC_PORT if is_grpc else REST_PORT)
        beside = port if is_grpc else _port_beside(url, port, api_key, grpc_port)
        client = _client(url, api_key, port, beside, timeout_seconds)
        return cls(client, shown_url(url), is_grpc=is_grpc, may_offer_grpc=beside > 0, timeout_seconds=timeout_seconds)

    @property
    def points(self) -> PointRequests:
        """How points are asked for: by gRPC where the node takes it, else by REST."""
        if self._points is None and (offers := self._offers_grpc()) is not None:
            self._points = self._by_grpc if offers else self._by_rest
            note(_log, "way of requests", url=self.url, way="grpc" if offers else "rest")
        return self._points or self._by_rest

    def say_if_untested(self) -> None:
        """A message, where the server says that it is of a version that was not tested; no errors."""
        try:
            version = self.client.info().version
            major, minor, _ = parse_version(version)
        except Exception:  # noqa: BLE001 - what needs an answer asks again, and says what is wrong
            return
        note(_log, "version of the server", url=self.url, version=version)
        if f"{major}.{minor}" not in TESTED_SERVERS:
            client = version_of("qdrant-client")
            fits = "" if is_compatible(client, version) else f", and qdrant-client {client} is not made for it"
            tested = ", ".join(TESTED_SERVERS)
            MESSAGES.info(f"note: the Qdrant server at {self.url} is {version}; tested with {tested}{fits}")

    def _offers_grpc(self) -> bool | None:
        """Whether the other port leads to the same store: by its identity; ``None`` while it has none."""
        payload = grpc.WithPayloadSelector(enable=True)
        request = grpc.GetPoints(
            collection_name=STORE_COLLECTION, ids=[grpc.PointId(uuid=STORE_POINT)], with_payload=payload
        )
        try:
            there = self.client.grpc_points.Get(request, timeout=OFFER_TIMEOUT_SECONDS).result
        except Exception:  # noqa: BLE001 - whatever it is: it is no gRPC that can be used
            return False
        here = self.client.retrieve(STORE_COLLECTION, [STORE_POINT], with_payload=True)
        if not here:
            return None
        return bool(there) and there[0].payload["store_uuid"].string_value == (here[0].payload or {})["store_uuid"]


class Connection:
    """The nodes of one server.

    Args:
        nodes: At least one; closed with the connection.
        retry_wait_seconds: Before the first repeat; doubled with each.
        limit_seconds: No request is sent again after so long.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        retry_wait_seconds: float = RETRY_WAIT_SECONDS,
        limit_seconds: float = REQUEST_TIMEOUT_SECONDS,
    ) -> None:
        self._nodes = list(nodes)
        self._at = 0
        self._retry_wait_seconds = retry_wait_seconds
        self._limit_seconds = limit_seconds
        self._waiting = Waiting(self._what_is_waited_for)

    @classmethod
    def open(
        cls,
        urls: Sequence[str],
        *,
        api_key: str | None,
        allow_insecure: bool,
        grpc_port: int | None,
        timeout_seconds: float,
        retry_wait_seconds: float,
    ) -> Connection:
        """The nodes at these URLs; nothing is sent yet.

        Raises:
            VectorStoreError: If a node is beyond this machine and TLS or the key is missing.
        """
        for url in urls:
            require_secure(url, api_key, allow_insecure=allow_insecure)
        nodes = [Node.at(url, api_key, grpc_port, timeout_seconds) for url in urls]
        return cls(nodes, retry_wait_seconds=retry_wait_seconds, limit_seconds=timeout_seconds * len(nodes))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All of them."""
        return tuple(self._nodes)

    @property
    def node(self) -> Node:
        """The node that is asked next."""
        if not self._nodes:
            raise VectorStoreError("the vector index is closed")
        return self._nodes[self._at]

    @property
    def retry_wait_seconds(self) -> float:
        """How long whoever waits for another process waits."""
        return self._retry_wait_seconds

    def close(self) -> None:
        """Closes every client; a second call does nothing."""
        nodes, self._nodes = self._nodes, []
        for node in nodes:
            node.client.close()

    def call(
        self,
        what: str,
        request: Callable[[Node], Answer],
        *,
        key: str | None = None,
        is_final: Callable[[BaseException], bool] = lambda _: False,
    ) -> Answer:
        """Sends a request, again where its failure may pass.

        Args:
            what: For messages: what was asked.
            request: Sends it to one node.
            key: The collection that is asked about.
            is_final: Which errors are to be raised as they are, at once.

        Raises:
            VectorStoreError: In the server's words, with what to do.
        """
        asked = [self.node]

        def once() -> Answer:
            asked.append(self.node)
            return request(asked[-1])

        count = len(self._nodes)
        attempts = Retrying(
            stop=stop_after_attempt(ATTEMPTS * count) | stop_after_delay(self._limit_seconds),
            wait=lambda state: self._wait(state, count),
            retry=retry_if_exception(lambda error: may_pass(error) and not is_final(error)),
            reraise=True,
            before_sleep=lambda state: self._go_on(what, asked[-1], state),
        )
        started = time.monotonic()
        try:
            with self._waiting.said_if_slow():
                return attempts(once)
        except VectorStoreError:
            raise
        except Exception as error:
            if is_final(error):
                raise
            if key is not None and status_of(error) in {404, "NOT_FOUND"}:
                raise no_collection(key) from error
            tried = f" ({len(asked) - 1} attempts in {time.monotonic() - started:.0f} s)" if len(asked) > 2 else ""
            raise VectorStoreError(
                f"{asked[-1].url}: {what} failed: {words_of(error)}{tried}", hint=_hint(error)
            ) from error

    def _wait(self, state: RetryCallState, nodes: int) -> float:
        """Nothing while there are nodes that were not asked; longer with every round of them."""
        if state.attempt_number % nodes:
            return 0.0
        error = state.outcome.exception() if state.outcome else None
        wanted = float(getattr(error, "retry_after_s", 0.0))
        doubled = self._retry_wait_seconds * 2.0 ** (state.attempt_number // nodes - 1)
        return min(max(wanted, doubled), LONGEST_WAIT_SECONDS)

    def _go_on(self, what: str, failed: Node, state: RetryCallState) -> None:
        assert state.outcome is not None
        if self._nodes and self.node is failed:
            self._at = (self._at + 1) % len(self._nodes)
        facts = {"url": failed.url, "request": what, "attempt": state.attempt_number}
        reason, wait = words_of(state.outcome.exception()), round(state.upcoming_sleep, 3)
        note(_log, "request failed, sent again", level=logging.WARNING, reason=reason, seconds=wait, **facts)

    def _what_is_waited_for(self) -> str:
        if not self._nodes:
            return ""
        return (
            f"waiting for the vector index at {self.node.url} (for {self._limit_seconds:.0f} s at most; Ctrl-C stops)"
        )


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


def status_of(error: BaseException) -> int | str | None:
    """The HTTP status or the gRPC code of an error, if it has one."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status
    code = getattr(error, "code", None)
    return str(code().name) if callable(code) else None


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed if it is sent again."""
    status = status_of(error)
    if status is not None:
        return status in _PASSING_STATUS or status in _PASSING_CODES
    return isinstance(error, ResourceExhaustedResponse) or isinstance(getattr(error, "source", None), TransportError)


def lacks_replicas(error: BaseException) -> bool:
    """Whether fewer replicas can be asked than have to agree."""
    said = words_of(error)
    return "enough active replicas" in said or "read operations failed" in said


def is_too_large(error: BaseException) -> bool:
    """Whether the server would take the same in smaller requests."""
    if status_of(error) in {413, "OUT_OF_RANGE"}:
        return True
    said = words_of(error).lower()
    return any(word in said for word in _TOO_LARGE) or (
        "limit exceeded" in said and ("upsert" in said or '"limit"' in said)
    )


def words_of(error: BaseException | None) -> str:
    """What went wrong, as the server or the system says it."""
    details = getattr(error, "details", None)
    content = getattr(error, "content", None)
    if callable(details):
        text = details() or status_of(error) if error else ""
    elif isinstance(content, bytes):
        text = _said_in(content) or f"HTTP {status_of(error) if error else ''} {getattr(error, 'reason_phrase', '')}"
    else:
        source = getattr(error, "source", None) or error
        text = str(source) or type(source).__name__
    return " ".join(str(text).split())[:300]


def _said_in(content: bytes) -> str:
    """The error of a JSON answer, or the plain text of another one."""
    try:
        status = json.loads(content)["status"]
        return str(status["error"] if isinstance(status, dict) else status)
    except (ValueError, KeyError, TypeError):
        text = content.decode("utf-8", "replace").strip()
        return "" if text.startswith("<") else text


def _hint(error: BaseException) -> str:
    """What to do, by the limit of the server's that its words name."""
    if status_of(error) in _REFUSED:  # a token that is expired or wrongly signed is forbidden, too
        return _FORBIDDEN_TO_KEY if "access" in words_of(error).lower() else _CHECK_KEY
    if lacks_replicas(error):
        return _CHECK_NODES
    said = words_of(error).lower()
    return next((hint for words, hint in _LIMITS.items() if any(word in said for word in words)), _CHECK_SERVER)


def _port_beside(url: str, port: int, api_key: str | None, named: int | None) -> int:
    """Where gRPC is tried beside REST; 0: nowhere. A key goes unencrypted to no port that nobody named.

    Behind TLS whoever answers at the next port has proved to be the same host; in the clear it may be anybody who has
    an account there.
    """
    if named is not None:
        return named
    if api_key and urlsplit(url).scheme != "https":
        reason = "no index_grpc_port: the key goes to no port that was not named"
        note(_log, "way of requests", url=shown_url(url), way="rest", reason=reason)
        return 0
    return port + 1


def _client(url: str, api_key: str | None, port: int, grpc_port: int, timeout_seconds: float) -> QdrantClient:
    parts = urlsplit(url)
    host = parts.hostname or ""
    options: dict[str, Any] = {
        "grpc.compression_enabled_algorithms_bitset": 1,  # none: packing costs a server more than it saves
        "grpc.http2.lookahead_bytes": GRPC_WINDOW_BYTES,  # a page comes without a wait for leave to send its rest
        "grpc.http2.max_frame_size": GRPC_WINDOW_BYTES - 1,
        "grpc.min_reconnect_backoff_ms": int(CONNECT_TIMEOUT_SECONDS * 1000),  # the time limit of connecting, too
        "grpc.initial_reconnect_backoff_ms": 200,
        "grpc.max_reconnect_backoff_ms": 2000,
    }
    settings: dict[str, Any] = {
        "timeout": math.ceil(timeout_seconds),
        "check_compatibility": False,
        "api_key": api_key or None,
        "metadata": {"accept-encoding": "identity"},
        "event_hooks": {"request": [_limit_connecting]},
        "grpc_port": grpc_port,
        "grpc_options": options,
    }
    if is_loopback(host):  # no proxy between this machine and itself
        settings["trust_env"] = False
        options["grpc.enable_http_proxy"] = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        if parts.scheme.startswith("grpc"):
            return QdrantClient(host=host, prefer_grpc=True, https=parts.scheme == "grpcs", **settings)
        return QdrantClient(url=shown_url(url), port=port, **settings)


def _limit_connecting(request: httpx.Request) -> None:
    request.extensions["timeout"]["connect"] = CONNECT_TIMEOUT_SECONDS
