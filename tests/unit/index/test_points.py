"""Points as gRPC messages: what is packed for a server is what is read from it, to the last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from qdrant_client import grpc

from provenance.errors import VectorStoreError
from provenance.index import CollectionSpec, Points, point_id
from provenance.index.points import ByGrpc
from tests.vectors import unit

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


class Stubs:
    """Keeps points as a server does: what is sent goes through its bytes. Servers before 1.17 fill the old field."""

    def __init__(self, *, is_old: bool) -> None:
        self.is_old = is_old
        self.held: list[Any] = []
        self.grpc_points = self

    def Upsert(self, request: Any, timeout: float) -> None:  # noqa: N802 - the stub's name
        assert request.wait
        assert timeout
        self.held += grpc.UpsertPoints.FromString(request.SerializeToString()).points

    def Scroll(self, request: Any, timeout: float) -> Any:  # noqa: N802
        assert timeout
        assert request.with_payload.enable
        assert request.with_vectors.enable
        found = [
            grpc.RetrievedPoint(id=point.id, payload=point.payload, vectors=self.given(point.vectors))
            for point in self.held
        ]
        return grpc.ScrollResponse.FromString(grpc.ScrollResponse(result=found).SerializeToString())

    def given(self, vectors: Any) -> grpc.VectorsOutput:
        def one(vector: Any) -> grpc.VectorOutput:
            data = vector.dense.data
            return grpc.VectorOutput(data=data) if self.is_old else grpc.VectorOutput(dense=grpc.DenseVector(data=data))

        if vectors.HasField("vector"):
            return grpc.VectorsOutput(vector=one(vectors.vector))
        named = {name: one(vector) for name, vector in vectors.vectors.vectors.items()}
        return grpc.VectorsOutput(vectors=grpc.NamedVectorsOutput(vectors=named))


@pytest.mark.parametrize("is_old", [True, False])
@pytest.mark.parametrize("spec", [CollectionSpec("set", 300), CollectionSpec("set", 3, 12)], ids=["one", "parts"])
def test_points_survive_the_way_by_grpc(spec: CollectionSpec, is_old: bool) -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((5, *spec.shape)) ** 3)
    vectors[0, 0, :3] = [1e-45, -0.0, 1.0]
    ids = [point_id(f"sha256:{row}", "space:x") for row in range(5)]
    payloads = [{}, {"image_key": "k", "group_key": None}, {"n": 1, "x": 2.5}, {"deep": {"a": [True, "ü"]}}, {"": ""}]
    stubs = Stubs(is_old=is_old)
    requests = ByGrpc(cast("QdrantClient", stubs), timeout_seconds=1.0)
    requests.upsert("provenance_set", Points(ids, vectors, payloads), spec)
    page = requests.scroll("provenance_set", None, 10, spec, "majority")
    found = page.points()
    assert (page.ids, found.ids, found.payloads, page.following) == (ids, ids, payloads, None)
    assert found.vectors.tobytes() == vectors.tobytes()
    for other in (spec.dimension + 1, spec.dimension - 1):
        page = requests.scroll("provenance_set", None, 10, CollectionSpec("set", other, spec.parts), None)
        with pytest.raises(VectorStoreError, match=f"a vector of length {spec.dimension}, not {other}"):
            page.points()
