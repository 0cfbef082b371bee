"""Requests about points, in the two ways a Qdrant server takes them: REST by the client's models, gRPC by its stubs.

By gRPC the messages are packed and read as they are: no model object is made of a vector, which is where the client's
own methods spend their time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import grpc_to_payload, payload_to_grpc

from provenance.errors import VectorStoreError
from provenance.index.contract import Points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qdrant_client import QdrantClient

    from provenance.arrays import Float32s
    from provenance.index.contract import CollectionSpec

Found = list[list[tuple[str, float]]]


@dataclass(frozen=True)
class Page:
    """A node's answer to ``scroll``.

    Attributes:
        ids: Of its points, in order.
        following: The id after them, if the node says that there is one.
        points: Makes them of the answer: not before they are wanted, so that the next page can be asked for first.
    """

    ids: list[str]
    following: str | None
    points: Callable[[], Points]


class PointRequests(Protocol):
    """What a node is asked about the points of one collection; ``consistency`` is the server's word, or its default.

    Attributes:
        most_points: Of one request that writes.
        most_bytes: Likewise.
        value_bytes: What a float32 takes in it.
    """

    most_points: int
    most_bytes: int
    value_bytes: int

    def upsert(self, name: str, points: Points, spec: CollectionSpec) -> None:
        """Writes the points, and waits until they are applied."""

    def delete(self, name: str, ids: list[str]) -> None:
        """Deletes points, and waits until that is applied."""

    def retrieve(
        self, name: str, ids: list[str], spec: CollectionSpec, payloads: bool, consistency: str | None
    ) -> Points:
        """Those of the points that are there, in any order; their payloads where wanted."""

    def present(self, name: str, ids: list[str], consistency: str | None) -> list[str]:
        """Those of the ids that are there, in any order."""

    def scroll(self, name: str, start: str | None, limit: int, spec: CollectionSpec, consistency: str | None) -> Page:
        """At most ``limit`` points from the id ``start`` on, in order of id."""

    def search(
        self,
        name: str,
        queries: Float32s,
        k: int,
        spec: CollectionSpec,
        part: int,
        exact: bool,
        consistency: str | None,
    ) -> Found:
        """The best ids of each query with their scores."""


class ByRest:
    """Through the client's methods, whatever way it speaks."""

    most_points, most_bytes, value_bytes = 100, 5_000_000, 25  # as JSON, a float32 takes 24 characters and a comma

    def __init__(self, client: QdrantClient) -> None:
        self._client = client

    def upsert(self, name: str, points: Points, spec: CollectionSpec) -> None:
        """See ``PointRequests``."""
        rows = zip(points.ids, points.vectors.tolist(), points.payloads, strict=True)
        structs = [models.PointStruct(id=point, vector=spec.named(row), payload=facts) for point, row, facts in rows]
        self._client.upsert(name, structs, wait=True)

    def delete(self, name: str, ids: list[str]) -> None:
        """See ``PointRequests``."""
        self._client.delete(name, models.PointIdsList(points=list(ids)), wait=True)

    def retrieve(
        self, name: str, ids: list[str], spec: CollectionSpec, payloads: bool, consistency: str | None
    ) -> Points:
        """See ``PointRequests``."""
        records = self._client.retrieve(
            name, list(ids), with_payload=payloads, with_vectors=True, consistency=_consistency_model(consistency)
        )
        return _points_of_records(records, spec)

    def present(self, name: str, ids: list[str], consistency: str | None) -> list[str]:
        """See ``PointRequests``."""
        agreement = _consistency_model(consistency)
        found = self._client.retrieve(name, list(ids), with_payload=False, with_vectors=False, consistency=agreement)
        return [str(record.id) for record in found]

    def scroll(self, name: str, start: str | None, limit: int, spec: CollectionSpec, consistency: str | None) -> Page:
        """See ``PointRequests``."""
        records, following = self._client.scroll(
            name,
            limit=limit,
            offset=start,
            with_payload=True,
            with_vectors=True,
            consistency=_consistency_model(consistency),
        )
        return Page(
            [str(record.id) for record in records],
            None if following is None else str(following),
            lambda: _points_of_records(records, spec),
        )

    def search(
        self,
        name: str,
        queries: Float32s,
        k: int,
        spec: CollectionSpec,
        part: int,
        exact: bool,
        consistency: str | None,
    ) -> Found:
        """See ``PointRequests``."""
        params = models.SearchParams(exact=exact)
        using = spec.vector_names[part] or None
        requests = [models.QueryRequest(query=row, limit=k, params=params, using=using) for row in queries.tolist()]
        answers = self._client.query_batch_points(name, requests, consistency=_consistency_model(consistency))
        return [[(str(point.id), point.score) for point in answer.points] for answer in answers]


class ByGrpc:
    """By the client's stubs."""

    most_points, most_bytes, value_bytes = 256, 4_000_000, 4

    def __init__(self, client: QdrantClient, timeout_seconds: float) -> None:
        self._client = client
        self._timeout = timeout_seconds

    def upsert(self, name: str, points: Points, spec: CollectionSpec) -> None:
        """See ``PointRequests``."""
        self._ask("Upsert", grpc.UpsertPoints(collection_name=name, wait=True, points=_packed(points, spec)))

    def delete(self, name: str, ids: list[str]) -> None:
        """See ``PointRequests``."""
        selected = grpc.PointsSelector(points=grpc.PointsIdsList(ids=_ids(ids)))
        self._ask("Delete", grpc.DeletePoints(collection_name=name, wait=True, points=selected))

    def retrieve(
        self, name: str, ids: list[str], spec: CollectionSpec, payloads: bool, consistency: str | None
    ) -> Points:
        """See ``PointRequests``."""
        request = grpc.GetPoints(
            collection_name=name,
            ids=_ids(ids),
            with_payload=grpc.WithPayloadSelector(enable=payloads),
            with_vectors=_VECTORS,
            read_consistency=_consistency_message(consistency),
        )
        return _unpacked(self._ask("Get", request).result, spec)

    def present(self, name: str, ids: list[str], consistency: str | None) -> list[str]:
        """See ``PointRequests``."""
        request = grpc.GetPoints(
            collection_name=name,
            ids=_ids(ids),
            with_payload=grpc.WithPayloadSelector(enable=False),
            with_vectors=grpc.WithVectorsSelector(enable=False),
            read_consistency=_consistency_message(consistency),
        )
        return [point.id.uuid for point in self._ask("Get", request).result]

    def scroll(self, name: str, start: str | None, limit: int, spec: CollectionSpec, consistency: str | None) -> Page:
        """See ``PointRequests``."""
        request = grpc.ScrollPoints(
            collection_name=name,
            offset=None if start is None else grpc.PointId(uuid=start),
            limit=limit,
            with_payload=grpc.WithPayloadSelector(enable=True),
            with_vectors=_VECTORS,
            read_consistency=_consistency_message(consistency),
        )
        answer = self._ask("Scroll", request)
        following = answer.next_page_offset.uuid if answer.HasField("next_page_offset") else None
        return Page([point.id.uuid for point in answer.result], following, lambda: _unpacked(answer.result, spec))

    def search(
        self,
        name: str,
        queries: Float32s,
        k: int,
        spec: CollectionSpec,
        part: int,
        exact: bool,
        consistency: str | None,
    ) -> Found:
        """See ``PointRequests``."""
        pack = _Packing(spec.dimension)
        asked = [
            grpc.QueryPoints(
                collection_name=name,
                query=grpc.Query(nearest=grpc.VectorInput(dense=pack.dense(row))),
                params=grpc.SearchParams(exact=exact),
                limit=k,
                using=spec.vector_names[part] or None,
            )
            for row in queries
        ]
        request = grpc.QueryBatchPoints(
            collection_name=name, query_points=asked, read_consistency=_consistency_message(consistency)
        )
        answers = self._ask("QueryBatch", request).result
        return [[(point.id.uuid, point.score) for point in answer.result] for answer in answers]

    def _ask(self, method: str, request: Any) -> Any:
        return getattr(self._client.grpc_points, method)(request, timeout=self._timeout)


_VECTORS = grpc.WithVectorsSelector(enable=True)


class _Packing:
    """Vectors of one length as messages and back, by their bytes: several times as fast as number by number."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._head = grpc.DenseVector(data=[0.0] * dimension).SerializeToString()[: -4 * dimension]

    def dense(self, row: Float32s) -> Any:
        return grpc.DenseVector.FromString(self._head + row.astype("<f4", copy=False).tobytes())

    def values(self, vector: Any) -> Float32s | None:
        """The numbers of a dense or an output vector, both of which begin with them; ``None`` of another length."""
        written = vector.SerializeToString()
        if not written.startswith(self._head):
            return None
        return np.frombuffer(written, "<f4", self._dimension, len(self._head))


def _packed(points: Points, spec: CollectionSpec) -> Iterable[grpc.PointStruct]:
    pack = _Packing(spec.dimension)
    for point, row, facts in zip(points.ids, points.vectors, points.payloads, strict=True):
        parts = [grpc.Vector(dense=pack.dense(vector)) for vector in row]
        if spec.parts == 1:
            vectors = grpc.Vectors(vector=parts[0])
        else:
            named = dict(zip(spec.vector_names, parts, strict=True))
            vectors = grpc.Vectors(vectors=grpc.NamedVectors(vectors=named))
        yield grpc.PointStruct(id=grpc.PointId(uuid=point), vectors=vectors, payload=payload_to_grpc(facts))


def _unpacked(found: Sequence[Any], spec: CollectionSpec) -> Points:
    pack = _Packing(spec.dimension)
    vectors = np.empty((len(found), *spec.shape), dtype=np.float32)
    for row, point in enumerate(found):
        for part, name in enumerate(spec.vector_names):
            vector = point.vectors.vectors.vectors[name] if name else point.vectors.vector
            dense = vector.dense if vector.HasField("dense") else vector  # servers before 1.17 fill the old fields
            values = pack.values(dense)
            if values is None:
                raise VectorStoreError(
                    f"collection {spec.key} gives a vector of length {len(dense.data)}, not {spec.dimension}",
                    hint="run `provenance reconcile`",
                )
            vectors[row, part] = values
    return Points([point.id.uuid for point in found], vectors, [grpc_to_payload(point.payload) for point in found])


def _points_of_records(records: Sequence[Any], spec: CollectionSpec) -> Points:
    vectors = np.empty((len(records), *spec.shape), dtype=np.float32)
    for row, record in enumerate(records):
        vectors[row] = record.vector if spec.parts == 1 else [record.vector[name] for name in spec.vector_names]
    return Points([str(record.id) for record in records], vectors, [dict(record.payload or {}) for record in records])


def _ids(ids: Iterable[str]) -> list[grpc.PointId]:
    return [grpc.PointId(uuid=point) for point in ids]


def _consistency_model(word: str | None) -> models.ReadConsistencyType | None:
    return None if word is None else models.ReadConsistencyType(word)


def _consistency_message(word: str | None) -> grpc.ReadConsistency | None:
    return None if word is None else grpc.ReadConsistency(type=grpc.ReadConsistencyType.Value(word.capitalize()))
