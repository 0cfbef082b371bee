"""REST's side of ``FakeQdrant``."""

from __future__ import annotations

import gzip
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc, payload_to_grpc

from tests.servers.fake import Asked, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.fake import FakeQdrant, Point

NAMES = {
    ("GET", ""): "version",
    ("GET", "collections"): "collections",
    ("GET", "collections/*"): "describe",
    ("PUT", "collections/*"): "create",
    ("PATCH", "collections/*"): "update",
    ("DELETE", "collections/*"): "drop",
    ("GET", "collections/*/exists"): "exists",
    ("GET", "collections/*/cluster"): "cluster",
    ("PUT", "collections/*/points"): "upsert",
    ("POST", "collections/*/points"): "retrieve",
    ("POST", "collections/*/points/delete"): "delete",
    ("POST", "collections/*/points/scroll"): "scroll",
    ("POST", "collections/*/points/count"): "count",
    ("POST", "collections/*/points/query/batch"): "query",
}


class Answers:
    """One method for each request; takes the collection, the body and the parameters."""

    def __init__(self, server: FakeQdrant) -> None:
        self.server = server

    def collections(self, name: str, body: Any) -> Any:
        return {"collections": [{"name": one} for one in self.server.collections]}

    def exists(self, name: str, body: Any) -> Any:
        return {"exists": name in self.server.collections}

    def describe(self, name: str, body: Any) -> Any:
        return GrpcToRest.convert_collection_info(self.server.describe(name)).model_dump(mode="json", exclude_none=True)

    def create(self, name: str, body: Any) -> Any:
        asked = models.CreateCollection.model_validate(body)
        made = _settings(name, asked)
        made.vectors_config.CopyFrom(RestToGrpc.convert_vectors_config(asked.vectors))
        return self.server.create(made)

    def update(self, name: str, body: Any) -> Any:
        asked = models.UpdateCollection.model_validate(body)
        change = _settings(name, asked)
        for setting in ("replication_factor", "write_consistency_factor"):
            if asked.params is not None and getattr(asked.params, setting) is not None:
                setattr(change, setting, getattr(asked.params, setting))
        return self.server.update(name, change)

    def drop(self, name: str, body: Any) -> Any:
        return self.server.drop(name)

    def cluster(self, name: str, body: Any) -> Any:
        points = len(self.server.held(name).points)
        shard = {"shard_id": 0, "points_count": self.server.counts.get(name, points), "state": "Active"}
        return {"peer_id": 1, "shard_count": 1, "local_shards": [shard], "remote_shards": [], "shard_transfers": []}

    def upsert(self, name: str, body: Any) -> Any:
        points = [(str(one["id"]), _vectors(one["vector"]), one.get("payload") or {}) for one in body["points"]]
        self.server.upsert(name, points)
        return {"operation_id": 1, "status": "completed"}

    def delete(self, name: str, body: Any) -> Any:
        self.server.delete(name, body["points"])
        return {"operation_id": 1, "status": "completed"}

    def retrieve(self, name: str, body: Any) -> Any:
        return self.server.retrieve(name, body["ids"])

    def scroll(self, name: str, body: Any) -> Any:
        if body.get("filter"):
            raise Refusal(501, "the fake scrolls without a filter")
        return self.server.scroll(name, body.get("offset"), body.get("limit", 10))

    def count(self, name: str, body: Any) -> Any:
        return {"count": self.server.count(name, _ids(body.get("filter")), exact=body.get("exact", True))}

    def query(self, name: str, body: Any) -> Any:
        return [
            self.server.query(
                name,
                _nearest(one["query"]),
                one.get("limit", 10),
                one.get("using") or "",
                exact=bool((one.get("params") or {}).get("exact")),
            )
            for one in body["searches"]
        ]


def _settings(name: str, asked: models.CreateCollection | models.UpdateCollection) -> grpc.CreateCollection:
    """What both kinds of request may say."""
    made = grpc.CreateCollection(collection_name=name)
    for setting in ("shard_number", "on_disk_payload", "replication_factor", "write_consistency_factor"):
        if getattr(asked, setting, None) is not None:
            setattr(made, setting, getattr(asked, setting))
    if asked.strict_mode_config is not None:
        made.strict_mode_config.CopyFrom(RestToGrpc.convert_strict_mode_config(asked.strict_mode_config))
    if asked.optimizers_config is not None:
        made.optimizers_config.CopyFrom(RestToGrpc.convert_optimizers_config_diff(asked.optimizers_config))
    made.MergeFrom(grpc.CreateCollection(metadata=payload_to_grpc(asked.metadata or {})))
    return made


def _vectors(vector: Any) -> dict[str, Any]:
    named = vector if isinstance(vector, dict) else {"": vector}
    return {name: np.array(values, dtype=np.float32) for name, values in named.items()}


def _nearest(query: Any) -> Any:
    return np.array(query["nearest"] if isinstance(query, dict) else query, dtype=np.float32)


def _ids(condition: Any) -> list[str] | None:
    if not condition:
        return None
    (only,) = condition["must"]
    if set(only) != {"has_id"} or any(condition.get(kind) for kind in ("should", "must_not", "min_should")):
        raise Refusal(501, "the fake knows no filter but that of ids")
    return list(only["has_id"])


def _short(value: np.float32) -> float:
    """With as few digits as say which float32 it is, as Qdrant writes them."""
    return float(str(value))


def _record(point: str, found: Point, body: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"id": point}
    if body.get("with_payload"):
        record["payload"] = found.payload
    if body.get("with_vector"):
        named = {name: [_short(value) for value in vector] for name, vector in found.vectors.items()}
        record["vector"] = named.get("", named)
    return record


def _scored(point: str, found: Point, score: float, body: Any) -> dict[str, Any]:
    return _record(point, found, body) | {"version": 1, "score": _short(np.float32(score))}


def _shown(name: str, answer: Any, body: Any) -> Any:
    """Points as JSON, with what was asked for of them."""
    if name == "retrieve":
        return [_record(*one, {"with_payload": True} | body) for one in answer]
    if name == "scroll":
        page, following = answer
        points = [_record(*one, {"with_payload": True} | body) for one in page]
        return {"points": points, "next_page_offset": following}
    if name == "query":
        return [
            {"points": [_scored(*hit, one) for hit in hits]} for hits, one in zip(answer, body["searches"], strict=True)
        ]
    return answer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: FakeQdrant

    def handle_one(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        collection = parts[1] if len(parts) > 1 else ""
        name = NAMES.get((self.command, "/".join([*parts[:1], *["*"] * (len(parts) > 1), *parts[2:]])), "")
        try:
            body = json.loads(content) if content else {}
            points = len(body.get("points") or body.get("ids") or body.get("searches") or [])
            headers = {key.lower(): value for key, value in self.headers.items()}
            parameters = dict(parse_qsl(url.query))
            asked = Asked(name or self.requestline, collection, len(content), points, headers, parameters)
            answer = self.server_of.serve(asked, partial(self.answer_to, asked, body))
            answer = _shown(name, answer, body) if name != "version" else answer
            self.reply(200, answer if name == "version" else {"result": answer, "status": "ok", "time": 0.0})
        except Refusal as refusal:
            self.refuse(refusal, plain=refusal.status == 401)

    def answer_to(self, asked: Asked, body: Any) -> Any:
        server = self.server_of
        if asked.name == "version":
            return {"title": "qdrant - vector search engine", "version": server.version}
        if asked.name not in NAMES.values():
            raise Refusal(501, f"the fake has no answer to {asked.name}")
        timeout = asked.parameters.get("timeout")
        if timeout and asked.name in {"retrieve", "scroll", "count", "query"}:
            server.check_timeout(asked.collection, int(timeout))
        return getattr(Answers(server), asked.name)(asked.collection, body)

    def refuse(self, refusal: Refusal, *, plain: bool) -> None:
        extra = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
        if refusal.page:
            page = f"<html><head><title>{refusal.words}</title></head><body><h1>{refusal.words}</h1></body></html>"
            self.send(refusal.status, page.encode(), {"Content-Type": "text/html"})
        elif plain:  # before any handler is reached, Qdrant answers bare words
            self.send(refusal.status, refusal.words.encode(), {"Content-Type": "text/plain; charset=utf-8"})
        else:
            self.reply(refusal.status, {"status": {"error": refusal.words}, "time": 0.0}, extra)

    def reply(self, status: int, answer: Any, extra: dict[str, str] | None = None) -> None:
        self.send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"} | (extra or {}))

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        if self.server_of.zips and "gzip" in self.headers.get("Accept-Encoding", ""):
            content, headers = gzip.compress(content, 1), headers | {"Content-Encoding": "gzip"}
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = handle_one  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Nothing: the server remembers what was asked."""


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *arguments: object) -> None:
        """Nothing: connections are cut on purpose."""


def serve_rest(server: FakeQdrant) -> tuple[int, Callable[[], None]]:
    """The port, and how to end it."""
    listening = Quiet(("127.0.0.1", 0), type("FakeHandler", (Handler,), {"server_of": server}))
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def stop() -> None:
        listening.shutdown()
        listening.server_close()
        thread.join()

    return listening.server_address[1], stop
