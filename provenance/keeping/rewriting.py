"""A collection written anew under another key, without what was deleted from it, where an engine keeps deleted vectors.

    a new key, on record as dropped -> its vectors, verified -> the catalog takes it for the old one, in one transaction
    -> the old one is dropped

Killed anywhere, either the old collection is live and the new one is dropped by the next command that drops what is to
be dropped, or the other way round. Vectors that others add meanwhile are copied too, before the catalog takes it.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from provenance.errors import VectorStoreError
from provenance.index import Points, vector_digest
from provenance.logs import room, step
from provenance.vocabulary import PointState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provenance.installation import Installation
    from provenance.records import PointRecord

_log = room(__name__)
_POINTS = 256
_ROUNDS = 10


@step(_log, "write collection anew")
def write_anew(workspace: Installation, key: str) -> tuple[str, list[str]]:
    """Write a collection anew without its deleted vectors: its new key, and where bytes of these may remain, in words.

    A vector that is missing or damaged is not copied: ``reconcile`` finds it missing.

    Raises:
        ConflictError: If another process dropped it or wrote it anew meanwhile.
        VectorStoreError: If the index fails; the old collection is still the live one then.
    """
    index = workspace.index
    new = next((made for made in (_filled(workspace, key) for _ in range(_ROUNDS)) if made), None)
    if new is None:
        raise VectorStoreError(f"collection {key} can't be written anew: another process drops it each time")
    may_keep = index.may_keep(key)
    workspace.moments.rename(key, new)
    index.drop(key)
    if key in index.collections():
        raise VectorStoreError(f"the index still holds collection {key}, which it was told to drop")
    return new, may_keep


def _filled(workspace: Installation, key: str) -> str | None:
    """The key of the new collection, which the catalog has taken; ``None``: another process dropped it half made."""
    catalog, index = workspace.catalog, workspace.index
    new = catalog.begin_rewriting(key)
    collection = next(each for each in catalog.live_collections() if each.collection_key == key)
    space = next(each for each in catalog.spaces() if each.space_id == collection.space_id)
    try:
        index.create(workspace.spec_of(new, collection.dataset_id, space))
        _fill(workspace, key, new)
    except BaseException as error:
        with suppress(VectorStoreError):
            if isinstance(error, VectorStoreError) and new not in index.collections():
                return None
            index.drop(new)
        raise
    return new


def _fill(workspace: Installation, key: str, new: str) -> None:
    """Copies until nothing came meanwhile, and has the catalog take the new collection."""
    catalog, index = workspace.catalog, workspace.index
    copied: set[str] = set()
    missing: Iterable[PointRecord] = catalog.points_of(key)
    for _ in range(_ROUNDS):
        indexed = (point for point in missing if point.state is PointState.INDEXED)
        while chunk := list(islice(indexed, _POINTS)):
            _copy(workspace, key, new, chunk)
            copied.update(point.point_id for point in chunk)
        index.flush(new)
        lacking = catalog.finish_rewriting(key, new, copied)
        if not lacking:
            return
        missing = catalog.points_by_id(key, lacking).values()
    raise VectorStoreError(
        f"collection {key} is written to faster than it can be written anew", hint="run it again after the ingest"
    )


def _copy(workspace: Installation, key: str, new: str, points: Iterable[PointRecord]) -> None:
    digests = {point.point_id: point.vector_sha256 for point in points}
    found = workspace.index.get(key, list(digests))
    sound = [row for row, point in enumerate(found.ids) if vector_digest(found.vectors[row]) == digests[point]]
    if sound:
        ids, payloads = [found.ids[row] for row in sound], [found.payloads[row] for row in sound]
        workspace.index.upsert(new, Points(ids, found.vectors[sound], payloads))
