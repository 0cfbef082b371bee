"""What ingests and their like ask of the record, and the order in which they write to it.

Files that are on record as they are need not be read again: same place, size, times and inode.

The order of writes: row ``pending`` -> upsert -> engine flush -> row ``indexed``. What is ``indexed`` was
acknowledged and is durable. What a crash left ``pending`` is seen by nobody, and is written again by the next run of
the same source, or by ``reconcile``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.errors import NotFoundError, VectorStoreError
from provenance.index import Points, point_id, vector_digest
from provenance.records import NewImage
from provenance.version import __version__
from provenance.vocabulary import Found, SourceItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from provenance.arrays import Float32s
    from provenance.catalog import Catalog
    from provenance.groups import GroupRule
    from provenance.index import VectorIndex
    from provenance.installation import Installation
    from provenance.vocabulary import ImageFacts, ImageHeader, Space

_MOVES = 5
LOOK_UP = 1000
"""Items that are looked up in the catalog at once ..."""
LOOK_UP_BYTES = 16 * 2**20
"""... unless they carry their bytes: then so many bytes of them."""


def told_apart(
    items: Iterable[Found],
    catalog: Catalog,
    dataset_id: str,
    collection_key: str,
    groups: GroupRule,
    *,
    by_header: bool = False,
) -> Iterator[tuple[Found, str | None]]:
    """Each input in its place, with the image_id that it is on record as; ``None``: it has to be read.

    So it has where the collection holds no vector of it, or its group is not on record as ``groups`` gives it, or,
    where only its header tells (``by_header``), not at all.
    """
    pseudonym = cache(catalog.pseudonym)
    for chunk in _chunks(items):
        names = {(item.source, item.member or ""): item.name for item in chunk if isinstance(item, SourceItem)}
        known: dict[tuple[str | int, ...], str] = {}
        for row in catalog.known_at(dataset_id, collection_key, list(names)):
            place = (row.source, row.member or "")
            group = groups(names[place])
            if "#" in row.image_id:
                continue  # a frame that is on record does not say that its file was read to the end
            if by_header and row.group_key is None:
                continue
            if group is None or pseudonym(group) == row.group_key:
                known[*place, row.size_bytes, row.modified_ns, row.changed_ns, row.inode] = row.image_id
        for item in chunk:
            yield item, known.get(_stamp(item)) if isinstance(item, SourceItem) else None


def _stamp(item: SourceItem) -> tuple[str | int, ...]:
    return (item.source, item.member or "", item.size_bytes, item.modified_ns, item.changed_ns, item.inode)


def _chunks(items: Iterable[Found]) -> Iterator[list[Found]]:
    chunk: list[Found] = []
    carried = 0
    for item in items:
        chunk.append(item)
        carried += len(item.content or b"") if isinstance(item, SourceItem) else 0
        if len(chunk) == LOOK_UP or carried > LOOK_UP_BYTES:
            yield chunk
            chunk, carried = [], 0
    if chunk:
        yield chunk


@dataclass(slots=True)
class Writer:
    """Writes images and their vectors into one collection on behalf of one run.

    The collection's key changes where another process writes it anew meanwhile, as an image was forgotten.
    """

    catalog: Catalog
    index: VectorIndex
    dataset_id: str
    collection_key: str
    space: Space
    run_id: str

    @classmethod
    def opened(
        cls, workspace: Installation, dataset_id: str, space: Space, kind: str, arguments: dict[str, Any]
    ) -> Writer:
        """Starts a run of this kind that writes into the dataset's collection of a space; made where there is none."""
        catalog, index = workspace.catalog, workspace.index
        catalog.ensure_space(space)
        key = catalog.ensure_collection(dataset_id, space.space_id)
        index.create(workspace.spec_of(key, dataset_id, space))
        run_id = catalog.start_run(kind, dataset_id, space.space_id, arguments, __version__)
        return cls(catalog, index, dataset_id, key, space, run_id)

    def row(
        self,
        facts: ImageFacts,
        vector: Float32s | None,
        items: Sequence[SourceItem] = (),
        group: str | None = None,
        header: ImageHeader | None = None,
    ) -> NewImage:
        """What is to be recorded of an image; without a vector only its names and its membership."""
        digest = None if vector is None else vector_digest(vector)
        return NewImage(facts, list(items), group, point_id(facts.image_id, self.space.space_id), digest, header)

    def write(self, images: Sequence[tuple[NewImage, Float32s | None]]) -> None:
        """Records a batch and its vectors, in the order of writes; returns when it is durable.

        Raises:
            ConflictError: If an image was forgotten, or is on record in another group.
            CatalogError, VectorStoreError: If it can't be written; what has no vector yet stays ``pending``.
        """
        for _ in range(_MOVES):
            try:
                self._write(images)
            except (NotFoundError, VectorStoreError):
                if not self._moved():
                    raise
            else:
                if not self._moved():
                    return
        raise VectorStoreError(f"collection {self.collection_key} is written anew again and again")

    def _moved(self) -> bool:
        """Whether the collection has another key since it was last asked."""
        live = self.catalog.collections_of(self.dataset_id)
        key = next((each.collection_key for each in live if each.space_id == self.space.space_id), self.collection_key)
        moved, self.collection_key = key != self.collection_key, key
        return moved

    def _write(self, images: Sequence[tuple[NewImage, Float32s | None]]) -> None:
        if images:
            rows = [row for row, _ in images]
            self.catalog.record_batch(self.dataset_id, self.collection_key, self.run_id, rows)
        written = [(row.point_id, vector) for row, vector in images if vector is not None]
        if written:
            ids = [identity for identity, _ in written]
            facts = self.catalog.point_facts(self.collection_key, ids)
            vectors = np.stack([vector for _, vector in written])
            payloads = [facts[identity]._asdict() for identity in ids]
            self.index.upsert(self.collection_key, Points(ids, vectors, payloads))
            self.index.flush(self.collection_key)
            self.catalog.acknowledge(self.collection_key, ids)
