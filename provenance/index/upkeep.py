"""How a server keeps collections, looked at and put right: what they allow, their labels, and their replicas.

Replicas of a shard are counted on the nodes themselves; those that are active and differ are made alike from each
other: a point of any of them whose vector is the one that its payload tells of is written to all of them again. What
should not be there then is everywhere, where whoever compares with the catalog finds it.
"""

from __future__ import annotations

import time
from functools import partial
from heapq import merge
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from qdrant_client import models

from provenance.errors import VectorStoreError
from provenance.index.contract import Ailment, Points, vector_digest
from provenance.logs import note, room

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provenance.index.connection import Connection, Node
    from provenance.index.contract import CollectionSpec

    Copies = dict[int, dict[int, str]]

_log = room(__name__)
# What a server whose strict mode forbids things must allow of our collections; its limits of sizes and rates hold.
ALLOWED = models.StrictModeConfig(
    search_allow_exact=True,
    unindexed_filtering_retrieve=True,
    max_query_limit=1_000_000_000,
    filter_max_conditions=1_000_000,
    condition_max_size=1_000_000,
)
COPY_SECONDS, LOOK_SECONDS, LOOKS = 300.0, 0.2, 10
FORBIDDEN, TOO_FEW, BEHIND, UNCOUNTED = (
    "strict mode forbids its use",
    "too few replicas",
    "a replica is behind",
    "replicas were not counted",
)


def replication(factor: int | None) -> dict[str, int]:
    """The settings of a collection about replicas; a write waits for half of them."""
    return {} if factor is None else {"replication_factor": factor, "write_consistency_factor": (factor + 1) // 2}


class Upkeep:
    """Looks after the collections of one server.

    Args:
        connection: The way to it.
        factor: How many replicas are wanted; ``None``: as many as there are.
        repair: Whether what is wrong is put right, or only told.
    """

    def __init__(self, connection: Connection, factor: int | None, *, repair: bool) -> None:
        self._connection = connection
        self._factor = factor
        self._repair = repair
        self._peers: dict[int, Node] | None = None
        self._everybody: set[int] = set()
        self._away: set[int] = set()
        self._uris: dict[int, str] = {}

    def tend(self, name: str, spec: CollectionSpec, page: int) -> Iterator[Ailment]:
        """What is wrong with one collection, and whether it was put right; ``page``: points of one request."""
        config = self._call("get_collection", name).config
        if _forbids(config.strict_mode_config):
            if self._repair:
                self._call("update_collection", name, strict_mode_config=ALLOWED)
            yield Ailment(spec.key, FORBIDDEN, "exact search or whole reads", self._repair)
        held = getattr(config, "metadata", None) or {}
        if self._repair and any(held.get(fact) != value for fact, value in spec.label.items()):
            self._call("update_collection", name, metadata=dict(spec.label))
        if max(self._factor or 1, config.params.replication_factor or 1) > 1:
            yield from self._tend_replicas(name, spec, page, config.params)

    def away(self, name: str) -> list[str]:
        """The nodes that can't be told now what becomes of a collection."""
        if not self._nodes(name):
            return []
        copies, _ = self._copies(name)
        behind = {peer for held in copies.values() for peer, state in held.items() if state != "Active"}
        return [self._named(peer) for peer in sorted(self._away | behind)]

    def _tend_replicas(self, name: str, spec: CollectionSpec, page: int, params: Any) -> Iterator[Ailment]:
        nodes = self._nodes(name)
        if not nodes:  # no cluster
            return
        copies, _ = self._copies(name)
        wanted = min(self._factor or 1, len(self._everybody))
        few = min(map(len, copies.values()))
        if few < wanted:
            if self._repair:
                self._raise(name, wanted, params)
                copies, _ = self._copies(name)
            now = min(sum(state == "Active" for state in held.values()) for held in copies.values())
            words = f"{few} of a shard, not the {self._factor} that are configured"
            yield Ailment(spec.key, TOO_FEW, words, self._repair and now >= wanted, is_lasting=self._repair)
        lagging = self._lagging(copies)
        for words in lagging:  # the server mends it in its own time, or when the node is back
            yield Ailment(spec.key, BEHIND, words, is_mended=False, is_lasting=False)
        if (differing := self._differing(name)) and self._repair:
            self._make_alike(name, spec, page)
        if differing:
            yield Ailment(spec.key, BEHIND, differing, self._repair and not self._differing(name))
        unseen = {peer for held in copies.values() for peer in held if len(held) > 1} - set(nodes)
        if unseen and not lagging:
            peers = ", ".join(map(str, sorted(unseen)))
            words = f"of the nodes {peers}: `index_url` names none of them that can be reached"
            yield Ailment(spec.key, UNCOUNTED, words, is_mended=False, is_lasting=False)

    def _nodes(self, name: str) -> dict[int, Node]:
        """The nodes that can be asked themselves, by the cluster's number of them; none where there is no cluster."""
        if self._peers is None:
            self._peers = {}
            for node in self._connection.nodes:
                try:
                    info = node.client.collection_cluster_info(name)
                    self._everybody |= {info.peer_id, *(shard.peer_id for shard in info.remote_shards)}
                    self._peers[info.peer_id] = node
                    self._learn_peers(node.client.cluster_status(), info.peer_id)
                except Exception as error:  # noqa: BLE001 - away, no cluster, or it may not be asked
                    note(_log, "node not asked about replicas", url=node.url, reason=str(error)[:200])
            if len(self._everybody) < 2:
                self._peers = {}
        return self._peers

    def _learn_peers(self, status: Any, asked: int) -> None:
        """What a node says of the cluster, if it is that node: a client by gRPC may only guess its port of REST."""
        if getattr(status, "peer_id", None) != asked:
            return
        self._uris |= {int(peer): info.uri for peer, info in status.peers.items()}
        self._everybody |= self._uris.keys()
        self._away |= {peer for peer, uri in self._uris.items() if uri in status.message_send_failures}

    def _copies(self, name: str) -> tuple[Copies, list[Any]]:
        """The state of each replica by shard and node, and what is being copied."""
        info = self._call("collection_cluster_info", name)
        copies: Copies = {}
        for shard in info.local_shards:
            copies.setdefault(shard.shard_id, {})[info.peer_id] = shard.state.value
        for shard in info.remote_shards:
            copies.setdefault(shard.shard_id, {})[shard.peer_id] = shard.state.value
        return copies, list(info.shard_transfers)

    def _raise(self, name: str, wanted: int, params: Any) -> None:
        """Copies shards to more nodes, one after the other, until each has as many active replicas as are wanted."""
        settings: dict[str, Any] = replication(wanted)
        if any(getattr(params, setting) != value for setting, value in settings.items()):
            self._call("update_collection", name, collection_params=models.CollectionParamsDiff(**settings))
        ends, refused = time.monotonic() + COPY_SECONDS, set[tuple[int, int]]()
        while time.monotonic() < ends:
            copies, under_way = self._copies(name)
            lacking = [shard for shard, held in copies.items() if len(held) < wanted]
            if not lacking and all(state == "Active" for held in copies.values() for state in held.values()):
                return
            if lacking and not under_way and not self._copy_one(name, copies, lacking[0], refused):
                return
            time.sleep(LOOK_SECONDS)

    def _copy_one(self, name: str, copies: Copies, shard: int, refused: set[tuple[int, int]]) -> bool:
        """Whether a copy of a shard was begun, to the node that has the fewest."""
        held = copies[shard]
        sources = [peer for peer, state in held.items() if state == "Active"]
        load = {peer: sum(peer in there for there in copies.values()) for peer in self._everybody - self._away}
        free = [peer for peer in load if peer not in held and (shard, peer) not in refused]
        for peer in sorted(free, key=load.__getitem__) if sources else ():
            asked = models.ReplicateShard(
                shard_id=shard,
                from_peer_id=sources[0],
                to_peer_id=peer,
                method=models.ShardTransferMethod.STREAM_RECORDS,
            )
            try:
                self._call("cluster_collection_update", name, models.ReplicateShardOperation(replicate_shard=asked))
            except VectorStoreError as error:
                refused.add((shard, peer))
                note(_log, "replica refused", collection=name, shard=shard, peer=peer, reason=error.message)
            else:
                return True
        return False

    def _lagging(self, copies: Copies) -> list[str]:
        """Replicas that the cluster itself knows not to be up to date."""
        return [
            f"shard {shard} on node {self._named(peer)}: {state}"
            for shard, held in sorted(copies.items())
            for peer, state in sorted(held.items())
            if state != "Active"
        ]

    def _differing(self, name: str) -> str:
        """Shards whose active replicas hold different numbers of points, in words; looked at until they settle."""
        words: list[str] = []
        for look in range(LOOKS):
            if look:
                time.sleep(LOOK_SECONDS)
            counts = self._counts(name)
            words = [
                f"shard {shard}: "
                + ", ".join(f"{count:,} points on {self._named(peer)}" for peer, count in here.items())
                for shard, here in sorted(counts.items())
                if len(set(here.values())) > 1
            ]
            if not words:
                break
        return "; ".join(words)

    def _counts(self, name: str) -> dict[int, dict[int, int]]:
        counts: dict[int, dict[int, int]] = {}
        for peer, node in self._nodes(name).items():
            try:
                shards = node.client.collection_cluster_info(name).local_shards
            except Exception as error:  # noqa: BLE001 - a node that is away has no say
                note(_log, "node not asked about replicas", url=node.url, reason=str(error)[:200])
                continue
            for shard in shards:
                if shard.state.value == "Active":
                    counts.setdefault(shard.shard_id, {})[peer] = shard.points_count
        return counts

    def _make_alike(self, name: str, spec: CollectionSpec, page: int) -> None:
        """Writes again what not all nodes show alike; a node reads its own replicas before those of others."""
        nodes = list(self._nodes(name).values())
        sides = (_each(node, name, spec, page) for node in nodes)
        differing = (
            sound
            for _, together in groupby(merge(*sides, key=_id_of), key=_id_of)
            if (sound := _to_write(list(together), len(nodes))) is not None
        )
        while points := list(islice(differing, page)):
            self._connection.call("upsert", partial(_upsert, name, _joined(points), spec))

    def _named(self, peer: int) -> str:
        node = (self._peers or {}).get(peer)
        return node.url if node else f"{peer} {self._uris.get(peer, '')}".strip()

    def _call(self, method: str, *arguments: Any, **settings: Any) -> Any:
        return self._connection.call(
            method.replace("_", " "), lambda node: getattr(node.client, method)(*arguments, **settings)
        )


def _forbids(strict: Any) -> bool:
    """Whether a collection's strict mode forbids what ``ALLOWED`` allows."""
    if strict is None or strict.enabled is not True:
        return False
    needed = ALLOWED.model_dump(exclude_none=True)
    held = {fact: getattr(strict, fact) for fact in needed}
    return any(value is not None and value < needed[fact] for fact, value in held.items())


def _each(node: Node, name: str, spec: CollectionSpec, limit: int) -> Iterator[Points]:
    """The points one by one, as one node has them, in order of id."""
    start: str | None = None
    while True:
        page = node.points.scroll(name, start, limit, spec, None)
        points, start = page.points(), page.following
        yield from (points.cut(row, row + 1) for row in range(len(points)))
        if start is None:
            return


def _upsert(name: str, points: Points, spec: CollectionSpec, node: Node) -> None:
    node.points.upsert(name, points, spec)


def _id_of(point: Points) -> str:
    return point.ids[0]


def _to_write(found: list[Points], nodes: int) -> Points | None:
    """Of what the nodes have of a point, that which its payload tells of; ``None`` where they agree, or none is."""
    digests = [vector_digest(each.vectors[0]) for each in found]
    if len(found) == nodes and len(set(digests)) == 1:
        return None
    told = [each.payloads[0].get("vector_sha256") for each in found]
    return next((each for each, held, said in zip(found, digests, told, strict=True) if said in (None, held)), None)


def _joined(points: Sequence[Points]) -> Points:
    return Points(
        [each.ids[0] for each in points],
        np.concatenate([each.vectors for each in points]),
        [each.payloads[0] for each in points],
    )
