"""The vector store as plain NumPy in memory: the oracle that the engines are held to. Nothing outlives the process."""

from __future__ import annotations

import copy
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.errors import VectorStoreError
from provenance.index.contract import (
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
from provenance.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import ClassVar

    from provenance.arrays import Float32s


class MemoryStore:
    """What a ``MemoryIndex`` holds: specs and points by collection, under one identity."""

    def __init__(self) -> None:
        self.store_uuid = str(uuid.uuid4())
        self.specs: dict[str, CollectionSpec] = {}
        self.points: dict[str, dict[str, tuple[Float32s, dict[str, Any]]]] = {}


class MemoryIndex(Resource):
    """The oracle; see ``VectorIndex``. Two indexes of one ``MemoryStore`` see the same points."""

    _named: ClassVar[dict[str, MemoryStore]] = {}
    in_flight = 1

    def __init__(self, store: MemoryStore | None = None) -> None:
        self._store: MemoryStore | None = store or MemoryStore()
        self.store_uuid = self._store.store_uuid if self._store else ""

    @classmethod
    def named(cls, name: str) -> MemoryIndex:
        """A new store for the empty name; else the process's one store of that name."""
        return cls(cls._named.setdefault(name, MemoryStore()) if name else None)

    def create(self, spec: CollectionSpec) -> None:
        """See ``VectorIndex``."""
        found = self._open_store().specs.setdefault(spec.key, spec)
        if found.shape != spec.shape:
            raise other_shape(spec, found.shape)
        self._open_store().points.setdefault(spec.key, {})

    def drop(self, key: str) -> None:
        """See ``VectorIndex``."""
        self._open_store().specs.pop(key, None)
        self._open_store().points.pop(key, None)

    def collections(self) -> list[str]:
        """See ``VectorIndex``."""
        return sorted(self._open_store().specs)

    def upsert(self, key: str, points: Points) -> None:
        """See ``VectorIndex``."""
        checked = checked_points(points, self._spec(key))
        for point, vector, payload in zip(checked.ids, checked.vectors, checked.payloads, strict=True):
            self._points(key)[point] = (vector.copy(), copy.deepcopy(payload))

    def delete(self, key: str, ids: Sequence[str]) -> None:
        """See ``VectorIndex``."""
        for point in checked_ids(ids):
            self._points(key).pop(point, None)

    def get(self, key: str, ids: Sequence[str], *, payloads: bool = True) -> Points:
        """See ``VectorIndex``."""
        held = self._points(key)
        found = [point for point in checked_ids(ids) if point in held]
        vectors = np.array([held[point][0] for point in found], np.float32).reshape(-1, *self._spec(key).shape)
        return Points(found, vectors, [copy.deepcopy(held[point][1]) if payloads else {} for point in found])

    def lacking(self, key: str, ids: Sequence[str]) -> list[str]:
        """See ``VectorIndex``."""
        held = set(self.get(key, ids, payloads=False).ids)
        return [point for point in ids if point not in held]

    def iterate(self, key: str, batch: int = 1000) -> Iterator[Points]:
        """See ``VectorIndex``."""
        ids = sorted(self._points(key))
        for start in range(0, len(ids), batch):
            yield self.get(key, ids[start : start + batch])

    def count(self, key: str) -> int:
        """See ``VectorIndex``."""
        return len(self._points(key))

    def search(
        self, key: str, queries: Float32s, k: int, *, exact: bool = True, part: int = 0
    ) -> list[list[tuple[str, float]]]:
        """See ``VectorIndex``; always exact, in float64 rounded to float32."""
        del exact
        wanted = checked_queries(queries, k, part, self._spec(key)).astype(np.float64)
        ids = sorted(self._points(key))
        stored = self.get(key, ids).vectors[:, part].astype(np.float64)
        scores = (wanted @ stored.T).astype(np.float32)
        return [by_score(list(zip(ids, row.tolist(), strict=True)))[:k] for row in scores]

    def flush(self, key: str) -> None:
        """See ``VectorIndex``; there is no disk."""
        self._spec(key)

    def compact(self, key: str) -> bool:
        """See ``VectorIndex``; deleted vectors are gone already."""
        self._spec(key)
        return True

    def may_keep(self, key: str) -> list[str]:
        """See ``VectorIndex``: nothing outlives the process."""
        del key
        return []

    def agreed(self) -> str | None:
        """See ``VectorIndex``: there are no replicas."""
        return None

    def tend(self, specs: Sequence[CollectionSpec], *, repair: bool) -> list[Ailment]:
        """See ``VectorIndex``: nothing."""
        del specs, repair
        return []

    def set_aside(self, key: str) -> None:
        """See ``VectorIndex``; there are no files to keep."""
        self.drop(key)

    def remains(self, key: str) -> list[Path]:
        """See ``VectorIndex``."""
        del key
        return []

    def discard(self, key: str) -> None:
        """See ``VectorIndex``; nothing is ever set aside."""

    def close(self) -> None:
        """See ``VectorIndex``."""
        self._store = None

    def _open_store(self) -> MemoryStore:
        if self._store is None:
            raise VectorStoreError("the vector index is closed")
        return self._store

    def _spec(self, key: str) -> CollectionSpec:
        spec = self._open_store().specs.get(key)
        if spec is None:
            raise no_collection(key)
        return spec

    def _points(self, key: str) -> dict[str, tuple[Float32s, dict[str, Any]]]:
        self._spec(key)
        return self._open_store().points[key]
