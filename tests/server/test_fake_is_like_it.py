"""``FakeQdrant`` says of the same requests what a real server says: statuses, codes, words and answers."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import grpc as grpcio
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.servers import real
from tests.servers.fake import FakeQdrant

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.server, pytest.mark.slow]

NAME = f"provenance_{uuid.uuid4().hex}"
IDS = [str(uuid.UUID(int=number)) for number in range(1, 8)]
ABSENT = str(uuid.UUID(int=99))
POINTS = [
    models.PointStruct(id=point, vector=[0.6, 0.8 - number / 100, -0.0], payload={"n": number, "of": None})
    for number, point in enumerate(IDS)
]
ONE = models.VectorParams(size=3, distance=models.Distance.DOT)
NAMED = {"p0": ONE, "p1": ONE}
STRICT = models.StrictModeConfig(
    enabled=True, search_allow_exact=False, max_query_limit=3, upsert_max_batchsize=2, max_timeout=5
)
EXACT = models.SearchParams(exact=True)


def has_ids(*ids: str) -> models.Filter:
    return models.Filter(must=[models.HasIdCondition(has_id=list(ids))])


def query(limit: int = 2, vector: tuple[float, ...] = (0.0, 1.0, 0.0), **more: Any) -> Any:
    return [models.QueryRequest(query=list(vector), limit=limit, params=EXACT, **more)]


QUESTIONS: dict[str, Callable[[QdrantClient], Any]] = {
    "no collection: count": lambda c: c.count(NAME),
    "no collection: get": lambda c: c.get_collection(NAME).status,
    "no collection: exists": lambda c: c.collection_exists(NAME),
    "no collection: upsert": lambda c: c.upsert(NAME, POINTS, wait=True).status,
    "no collection: drop": lambda c: c.delete_collection(NAME),
    "create": lambda c: c.create_collection(NAME, vectors_config=ONE, on_disk_payload=True),
    "create again": lambda c: c.create_collection(NAME, vectors_config=ONE),
    "vectors": lambda c: c.get_collection(NAME).config.params.vectors.size,
    "factors": lambda c: c.get_collection(NAME).config.params.write_consistency_factor,
    "upsert": lambda c: c.upsert(NAME, POINTS, wait=True).status,
    "wrong length": lambda c: c.upsert(NAME, [models.PointStruct(id=ABSENT, vector=[1.0])], wait=True),
    "wrong name": lambda c: c.upsert(NAME, [models.PointStruct(id=ABSENT, vector={"x": [1.0, 0, 0]})], wait=True),
    "count": lambda c: c.count(NAME, exact=True).count,
    "count some": lambda c: c.count(NAME, has_ids(IDS[0], ABSENT, IDS[3]), exact=True).count,
    "get": lambda c: {
        r.id: (r.vector, r.payload) for r in c.retrieve(NAME, [IDS[4], ABSENT, IDS[1]], with_vectors=True)
    },
    "page": lambda c: c.scroll(NAME, limit=3, with_payload=True, with_vectors=True),
    "page from": lambda c: c.scroll(NAME, limit=3, offset=IDS[4], with_vectors=True),
    "last page": lambda c: c.scroll(NAME, limit=3, offset=IDS[5]),
    "search": lambda c: [[(p.id, p.score) for p in a.points] for a in c.query_batch_points(NAME, query(3))],
    "search of wrong length": lambda c: c.query_batch_points(NAME, query(3, (1.0, 0.0))),
    "search of wrong name": lambda c: c.query_batch_points(NAME, query(3, using="p0")),
    "delete": lambda c: c.delete(NAME, models.PointIdsList(points=[IDS[0], ABSENT]), wait=True).status,
    "one less": lambda c: c.count(NAME, exact=True).count,
    "strict": lambda c: c.update_collection(NAME, strict_mode_config=STRICT),
    "strict count": lambda c: c.count(NAME, exact=True),
    "strict search": lambda c: c.query_batch_points(NAME, query(2)),
    "strict limit": lambda c: c.query_batch_points(NAME, query(4)),
    "strict page": lambda c: c.scroll(NAME, limit=4),
    "strict upsert": lambda c: c.upsert(NAME, POINTS[:3], wait=True),
    "strict timeout": lambda c: c.retrieve(NAME, IDS[:1], timeout=9),
    "drop": lambda c: c.delete_collection(NAME),
    "named": lambda c: c.create_collection(NAME, vectors_config=NAMED),
    "named upsert": lambda c: (
        c.upsert(NAME, [models.PointStruct(id=IDS[0], vector={"p0": [1.0, 0, 0], "p1": [0, 1.0, 0]})], wait=True).status
    ),
    "named get": lambda c: [r.vector for r in c.retrieve(NAME, IDS[:1], with_vectors=True)],
    "named search": lambda c: [
        [(p.id, p.score) for p in a.points] for a in c.query_batch_points(NAME, query(3, using="p1"))
    ],
    "drop again": lambda c: c.delete_collection(NAME),
}


def said(client: QdrantClient, question: Callable[[QdrantClient], Any]) -> Any:
    try:
        return question(client)
    except UnexpectedResponse as error:
        return error.status_code, error.structured()["status"]["error"]
    except grpcio.RpcError as error:
        return error.code().name, error.details()


@pytest.mark.parametrize("by_grpc", [False, True])
def test_statuses_words_and_answers_are_those_of_a_real_server(given_url: str, by_grpc: bool) -> None:
    port = int(real.grpc_url_of(given_url).rpartition(":")[2])
    settings: dict[str, Any] = {"prefer_grpc": by_grpc, "check_compatibility": False}
    genuine = QdrantClient(url=given_url, grpc_port=port, api_key=real.API_KEY, **settings)
    with FakeQdrant(api_key=real.API_KEY) as server:
        fake = QdrantClient(url=server.url, grpc_port=server.grpc_wire.port, api_key=real.API_KEY, **settings)
        try:
            differing = {}
            for name, question in QUESTIONS.items():
                wanted, found = said(genuine, question), said(fake, question)
                if wanted != found:
                    differing[name] = {"real": wanted, "fake": found}
            assert differing == {}
        finally:
            genuine.delete_collection(NAME)
