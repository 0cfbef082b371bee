"""Files that are on record as they are need not be read again: same place, size, times and inode."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from provenance.vocabulary import Rejection, SourceItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from provenance.catalog import Catalog
    from provenance.groups import GroupRule

LOOK_UP = 1000
"""Items that are looked up in the catalog at once ..."""
LOOK_UP_BYTES = 16 * 2**20
"""... unless they carry their bytes: then so many bytes of them."""


class KnownFiles:
    """Tells the files of a dataset that need not be read again.

    Args:
        catalog: Where they are on record.
        dataset_id: The dataset.
        collection_key: The collection that must hold their vectors.
        groups: A file whose group is not on record as this rule gives it is read again; ``None``: no rule was given.
    """

    def __init__(self, catalog: Catalog, dataset_id: str, collection_key: str, groups: GroupRule | None = None) -> None:
        self._catalog = catalog
        self._dataset_id = dataset_id
        self._collection_key = collection_key
        self._groups = groups
        self._pseudonym = cache(catalog.pseudonym)

    def told_apart(
        self, items: Iterable[SourceItem | Rejection]
    ) -> Iterator[tuple[SourceItem | Rejection, str | None]]:
        """Each input in its place, with the image_id that it is on record as; ``None``: it has to be read."""
        for chunk in _chunks(items):
            known = self._known([item for item in chunk if isinstance(item, SourceItem)])
            for item in chunk:
                yield item, known.get(_stamp(item)) if isinstance(item, SourceItem) else None

    def _known(self, items: Sequence[SourceItem]) -> dict[tuple[str | int, ...], str]:
        names = {(item.source, item.member or ""): item.name for item in items}
        known: dict[tuple[str | int, ...], str] = {}
        for row in self._catalog.known_at(self._dataset_id, self._collection_key, list(names)):
            if not self._is_regrouped(names[row.source, row.member or ""], row.group_key):
                stamp = (row.size_bytes, row.modified_ns, row.changed_ns, row.inode)
                known[row.source, row.member or "", *stamp] = row.image_id
        return known

    def _is_regrouped(self, name: str, group_key: str | None) -> bool:
        group = self._groups(name) if self._groups is not None else None
        return group is not None and self._pseudonym(group) != group_key


def _stamp(item: SourceItem) -> tuple[str | int, ...]:
    return (item.source, item.member or "", item.size_bytes, item.modified_ns, item.changed_ns, item.inode)


def _chunks(items: Iterable[SourceItem | Rejection]) -> Iterator[list[SourceItem | Rejection]]:
    chunk: list[SourceItem | Rejection] = []
    carried = 0
    for item in items:
        chunk.append(item)
        carried += len(item.content or b"") if isinstance(item, SourceItem) else 0
        if len(chunk) == LOOK_UP or carried > LOOK_UP_BYTES:
            yield chunk
            chunk, carried = [], 0
    if chunk:
        yield chunk
