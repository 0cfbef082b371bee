"""gRPC's side of ``FakeQdrant``: generic handlers over the messages that qdrant-client brings.

Nothing is zipped: gRPC's own server would, for clients too that take no gzip, which Qdrant's doesn't. What a client
said it takes is in ``grpc_wire.headers``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc as grpcio
import numpy as np
from google.protobuf.message_factory import GetMessageClass
from qdrant_client import grpc
from qdrant_client.conversions.conversion import grpc_to_payload, payload_to_grpc
from qdrant_client.grpc import collections_service_pb2, points_service_pb2, qdrant_pb2

from tests.servers.fake import Asked, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.fake import FakeQdrant, Point

NAMES = {
    "qdrant.Qdrant/HealthCheck": "version",
    "qdrant.Collections/List": "collections",
    "qdrant.Collections/Get": "describe",
    "qdrant.Collections/Create": "create",
    "qdrant.Collections/Update": "update",
    "qdrant.Collections/Delete": "drop",
    "qdrant.Collections/CollectionExists": "exists",
    "qdrant.Collections/CollectionClusterInfo": "cluster",
    "qdrant.Points/Upsert": "upsert",
    "qdrant.Points/Get": "retrieve",
    "qdrant.Points/Delete": "delete",
    "qdrant.Points/Scroll": "scroll",
    "qdrant.Points/Count": "count",
    "qdrant.Points/QueryBatch": "query",
    "qdrant.Points/SearchBatch": "search",
}
# Qdrant's pairs of a status and a code; 502 and 504 are a proxy's, which gRPC reads as UNAVAILABLE
CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ALREADY_EXISTS",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
}


class Answers:
    """One method for each request, from message to message."""

    def __init__(self, server: FakeQdrant) -> None:
        self.server = server

    def version(self, asked: Any) -> Any:
        return grpc.HealthCheckReply(title="qdrant - vector search engine", version=self.server.version)

    def collections(self, asked: Any) -> Any:
        named = [grpc.CollectionDescription(name=name) for name in self.server.collections]
        return grpc.ListCollectionsResponse(collections=named)

    def exists(self, asked: Any) -> Any:
        there = asked.collection_name in self.server.collections
        return grpc.CollectionExistsResponse(result=grpc.CollectionExists(exists=there))

    def describe(self, asked: Any) -> Any:
        return grpc.GetCollectionInfoResponse(result=self.server.describe(asked.collection_name))

    def create(self, asked: Any) -> Any:
        made = grpc.CreateCollection()
        made.CopyFrom(asked)
        return grpc.CollectionOperationResponse(result=self.server.create(made))

    def update(self, asked: Any) -> Any:
        change = grpc.CreateCollection(metadata=asked.metadata)
        for part in ("optimizers_config", "strict_mode_config"):
            if asked.HasField(part):
                getattr(change, part).CopyFrom(getattr(asked, part))
        for setting in ("replication_factor", "write_consistency_factor"):
            if asked.params.HasField(setting):
                setattr(change, setting, getattr(asked.params, setting))
        return grpc.CollectionOperationResponse(result=self.server.update(asked.collection_name, change))

    def drop(self, asked: Any) -> Any:
        return grpc.CollectionOperationResponse(result=self.server.drop(asked.collection_name))

    def cluster(self, asked: Any) -> Any:
        name = asked.collection_name
        points = self.server.counts.get(name, len(self.server.held(name).points))
        shard = grpc.LocalShardInfo(shard_id=0, points_count=points, state=grpc.ReplicaState.Active)
        return grpc.CollectionClusterInfoResponse(peer_id=1, shard_count=1, local_shards=[shard])

    def upsert(self, asked: Any) -> Any:
        points = [(point.id.uuid, _vectors(point.vectors), grpc_to_payload(point.payload)) for point in asked.points]
        self.server.upsert(asked.collection_name, points)
        return _done()

    def delete(self, asked: Any) -> Any:
        if asked.points.WhichOneof("points_selector_one_of") != "points":
            raise Refusal(501, "the fake deletes by id only")
        self.server.delete(asked.collection_name, [point.uuid for point in asked.points.points.ids])
        return _done()

    def retrieve(self, asked: Any) -> Any:
        return self.server.retrieve(asked.collection_name, [point.uuid for point in asked.ids])

    def scroll(self, asked: Any) -> Any:
        if asked.HasField("filter"):
            raise Refusal(501, "the fake scrolls without a filter")
        offset = asked.offset.uuid if asked.HasField("offset") else None
        return self.server.scroll(asked.collection_name, offset, asked.limit if asked.HasField("limit") else 10)

    def count(self, asked: Any) -> Any:
        ids = None
        if asked.HasField("filter"):
            (only,) = asked.filter.must
            if only.WhichOneof("condition_one_of") != "has_id":
                raise Refusal(501, "the fake knows no filter but that of ids")
            ids = [point.uuid for point in only.has_id.has_id]
        exact = asked.exact if asked.HasField("exact") else True
        return grpc.CountResponse(
            result=grpc.CountResult(count=self.server.count(asked.collection_name, ids, exact=exact))
        )

    def query(self, asked: Any) -> Any:
        return [
            self.server.query(
                asked.collection_name,
                _dense(one.query.nearest),
                one.limit if one.HasField("limit") else 10,
                one.using,
                exact=one.params.exact,
            )
            for one in asked.query_points
        ]

    def search(self, asked: Any) -> Any:
        return [
            self.server.query(
                asked.collection_name,
                np.array(one.vector, dtype=np.float32),
                one.limit,
                one.vector_name,
                exact=one.params.exact,
            )
            for one in asked.search_points
        ]


def _done() -> Any:
    completed = grpc.UpdateResult(operation_id=1, status=grpc.UpdateStatus.Completed)
    return grpc.PointsOperationResponse(result=completed)


def _dense(vector: Any) -> Any:
    """Of either of the fields that a dense vector may come in."""
    values = vector.dense.data if vector.HasField("dense") else vector.data
    return np.array(values, dtype=np.float32)


def _vectors(vectors: Any) -> dict[str, Any]:
    if vectors.HasField("vectors"):
        return {name: _dense(vector) for name, vector in vectors.vectors.vectors.items()}
    return {"": _dense(vectors.vector)}


class Shown:
    """Points as messages, with what was asked for of them."""

    def __init__(self, vectors_in: str) -> None:
        self.field = vectors_in

    def answer(self, name: str, answer: Any, asked: Any) -> Any:
        if name == "retrieve":
            return grpc.GetResponse(result=[self.retrieved(*one, asked) for one in answer])
        if name == "scroll":
            page, following = answer
            after = {} if following is None else {"next_page_offset": grpc.PointId(uuid=following)}
            return grpc.ScrollResponse(result=[self.retrieved(*one, asked) for one in page], **after)
        if name in {"query", "search"}:
            each = asked.query_points if name == "query" else asked.search_points
            found = [
                grpc.BatchResult(result=[self.scored(*hit, one) for hit in hits])
                for hits, one in zip(answer, each, strict=True)
            ]
            return (grpc.QueryBatchResponse if name == "query" else grpc.SearchBatchResponse)(result=found)
        return answer

    def retrieved(self, point: str, found: Point, asked: Any) -> Any:
        return grpc.RetrievedPoint(id=grpc.PointId(uuid=point), **self.parts(found, asked))

    def scored(self, point: str, found: Point, score: float, asked: Any) -> Any:
        return grpc.ScoredPoint(id=grpc.PointId(uuid=point), score=score, version=1, **self.parts(found, asked))

    def parts(self, found: Point, asked: Any) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        if asked.with_payload.enable:
            parts["payload"] = payload_to_grpc(found.payload)
        if asked.with_vectors.enable:
            named = {name: self.output(vector) for name, vector in found.vectors.items()}
            one = {"vector": named[""]} if "" in named else {"vectors": grpc.NamedVectorsOutput(vectors=named)}
            parts["vectors"] = grpc.VectorsOutput(**one)
        return parts

    def output(self, vector: Any) -> Any:
        if self.field == "data":
            return grpc.VectorOutput(data=vector.tolist())
        return grpc.VectorOutput(dense=grpc.DenseVector(data=vector.tolist()))


def _count(asked: Any) -> int:
    for several in ("points", "ids", "query_points", "search_points"):
        if hasattr(asked, several):
            found = getattr(asked, several)
            return len(found) if hasattr(found, "__len__") else len(found.points.ids)
    return 0


def handlers(server: FakeQdrant) -> list[Any]:
    """Of all methods that Qdrant has; those that aren't here answer that they aren't."""
    found = []
    for file in (points_service_pb2, collections_service_pb2, qdrant_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            methods = {
                method.name: grpcio.unary_unary_rpc_method_handler(
                    partial(_handle, server, f"{service.full_name}/{method.name}"),
                    request_deserializer=GetMessageClass(method.input_type).FromString,
                    response_serializer=GetMessageClass(method.output_type).SerializeToString,
                )
                for method in service.methods
            }
            found.append(grpcio.method_handlers_generic_handler(service.full_name, methods))
    return found


def _handle(server: FakeQdrant, path: str, message: Any, context: Any) -> Any:
    name = NAMES.get(path, path)
    asked = Asked(
        "query" if name == "search" else name,
        getattr(message, "collection_name", ""),
        message.ByteSize(),
        _count(message),
        dict(context.invocation_metadata()),
        grpc=True,
    )
    try:
        answer = server.serve(asked, partial(_answer, server, name, message))
        return Shown(server.vectors_in).answer(name, answer, message)
    except Refusal as refusal:
        if refusal.retry_after is not None:
            context.set_trailing_metadata([("retry-after", str(refusal.retry_after))])
        context.abort(grpcio.StatusCode[CODES.get(refusal.status, "UNAVAILABLE")], refusal.words)


def _answer(server: FakeQdrant, name: str, message: Any) -> Any:
    if "/" in name:
        raise Refusal(501, f"the fake has no answer to {name}")
    if name in {"retrieve", "scroll", "count", "query", "search"} and message.HasField("timeout"):
        server.check_timeout(message.collection_name, message.timeout)
    return getattr(Answers(server), name)(message)


def serve_grpc(server: FakeQdrant) -> tuple[int, Callable[[], None]]:
    """The port, and how to end it."""
    limit = -1 if server.proxy_bytes is None else server.proxy_bytes
    options = [("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", -1)]
    listening = grpcio.server(ThreadPoolExecutor(16), handlers=handlers(server), options=options)
    port = listening.add_insecure_port("127.0.0.1:0")
    listening.start()

    def stop() -> None:
        listening.stop(grace=None).wait()

    return port, stop
