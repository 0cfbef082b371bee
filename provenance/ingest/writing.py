"""The order of writes: row ``pending`` -> upsert -> engine flush -> row ``indexed``.

What is ``indexed`` was acknowledged and is durable. What a crash left ``pending`` is seen by nobody, and is written
again by the next run of the same source, or by ``reconcile``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.index import Points, point_id, vector_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.catalog import Catalog
    from provenance.index import VectorIndex
    from provenance.records import NewImage, PointFacts
    from provenance.vocabulary import ImageFacts, Space

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes images and their vectors into one collection on behalf of one run."""

    catalog: Catalog
    index: VectorIndex
    dataset_id: str
    collection_key: str
    space: Space
    run_id: str

    def row(
        self, facts: ImageFacts, items: Sequence[Any] = (), group: str | None = None, vector: FloatArray | None = None
    ) -> NewImage:
        """What is to be recorded of an image; without a vector only its names and its membership."""
        from provenance.records import NewImage

        digest = None if vector is None else vector_digest(vector)
        return NewImage(facts, list(items), group, point_id(facts.image_id, self.space.space_id), digest)

    def write(self, images: Sequence[tuple[NewImage, FloatArray | None]]) -> None:
        """Records a batch and its vectors, in the order of writes; returns when it is durable.

        Raises:
            ConflictError: If an image was forgotten, or is on record in another group.
            CatalogError, VectorStoreError: If it can't be written; what has no vector yet stays ``pending``.
        """
        if images:
            rows = [row for row, _ in images]
            self.catalog.record_batch(self.dataset_id, self.collection_key, self.run_id, rows)
        written = [(row.point_id, vector) for row, vector in images if vector is not None]
        if written:
            ids = [identity for identity, _ in written]
            facts = self.catalog.point_facts(self.collection_key, ids)
            vectors = np.stack([vector for _, vector in written])
            payloads = [payload_of(facts[identity]) for identity in ids]
            self.index.upsert(self.collection_key, Points(ids, vectors, payloads))
            self.index.flush(self.collection_key)
            self.catalog.acknowledge(self.collection_key, ids)


def payload_of(facts: PointFacts) -> dict[str, Any]:
    """What the index keeps beside a vector: opaque keys and the vector's digest, nothing that names anybody."""
    return facts._asdict()
