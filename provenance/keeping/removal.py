"""What is taken out of the record, and what the record is told of sources that moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.brief import Brief
from provenance.errors import ConflictError, NotFoundError, SourceError, VectorStoreError
from provenance.keeping.rewriting import write_anew
from provenance.logs import room, step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provenance.installation import Installation
    from provenance.records import Dataset, ImageRecord

_log = room(__name__)


@step(_log, "remove dataset")
def remove_dataset(workspace: Installation, dataset: Dataset) -> None:
    """Take a set or release out: index, moments and catalog. Audits that used it keep their verdicts.

    Order: the catalog first, so that nobody sees half of it; an interrupted removal of vectors is finished
    by the next one (``finish_removals``).
    """
    workspace.begin_erasing()
    workspace.catalog.remove_dataset(dataset.dataset_id)
    finish_removals(workspace)
    workspace.clear_vectors()
    workspace.scrub(workspace.catalog)


def finish_removals(workspace: Installation) -> None:
    """Take the collections of removed datasets out of the index.

    Only what this catalog says was dropped: a server may hold the collections of other catalogs too.
    """
    for key in set(workspace.catalog.dropped_collections()) & set(workspace.index.collections()):
        workspace.index.drop(key)
        workspace.moments.drop(key)


@dataclass(frozen=True, slots=True, repr=False)
class Forgetting(Brief):
    """A forgotten image, what is certain of its vectors, and where bytes of them or of its record may remain."""

    image: ImageRecord
    certain: tuple[str, ...]
    may_remain: tuple[str, ...]


@step(_log, "forget image")
def forget_image(workspace: Installation, text: str, reason: str = "") -> Forgetting:
    """Take one image out of everything but the history, for good; it does not come back with a later ingest.

    Index, moments, cached vector files, names, paths and digests go; verdicts stay under the opaque key.
    Interrupted at any point, the next call for any image finishes what was begun.

    Raises:
        NotFoundError: If it is unknown or not unique.
        VectorStoreError: If its vectors can't be taken out now: it is out of sight, and the next call goes on.
    """
    image = workspace.catalog.resolve_image(text)
    workspace.begin_erasing()
    workspace.catalog.forget_image(image.image_key, reason)
    certain, may_remain = finish_forgetting(workspace)
    return Forgetting(image, certain, may_remain)


@step(_log, "finish forgetting")
def finish_forgetting(workspace: Installation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Finish every forgetting that was begun; gives what is certain then, and where bytes may remain, in words."""
    catalog = workspace.catalog
    certain, may_remain = _delete_points(workspace)
    workspace.clear_vectors()
    certain += ("no vector file and no moments of this workspace hold it",)
    may_remain += (*catalog.may_keep, *_ELSEWHERE)
    unfinished = catalog.unfinished_forgets()
    for image_key in unfinished:
        catalog.finish_forget(image_key, certain, may_remain)
    if unfinished:
        workspace.scrub(catalog)
    return certain, may_remain


_ELSEWHERE = ("backups that were made before",)


def _delete_points(workspace: Installation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Takes the vectors of forgotten images out of the index and of moments, until no collection has one left."""
    finish_removals(workspace)  # what a killed rewriting left holds their vectors
    done: dict[str, list[str]] = {}
    while todo := {key: points for key, points in _deleting(workspace).items() if key not in done}:
        key, points = next(iter(todo.items()))
        try:
            done |= _delete_from(workspace, key, points)
        except (ConflictError, VectorStoreError):
            if key in {live.collection_key for live in workspace.catalog.live_collections()}:
                raise
    if not done:
        return (), ()
    for key, points in _deleting(workspace).items():
        if workspace.index.get(key, [point for point, _ in points]).ids:
            raise VectorStoreError(f"collection {key} still shows what was deleted from it", hint="run it again")
    certain = "the vector index was written anew without its vectors: no file and no log in reach holds them"
    return (certain,), tuple(dict.fromkeys(place for places in done.values() for place in places))


def _deleting(workspace: Installation) -> dict[str, list[tuple[str, str]]]:
    by_collection: dict[str, list[tuple[str, str]]] = {}
    for _, place in workspace.catalog.deleting_points():
        by_collection.setdefault(place.collection_key, []).append((place.point_id, place.vector_sha256))
    return by_collection


def _delete_from(workspace: Installation, key: str, points: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The key that the collection has now, with where bytes of what was deleted may remain."""
    index = workspace.index
    for point, digest in points:
        stored = index.get(key, [point])
        if stored.ids:
            workspace.moments.forget(key, point, digest, stored.vectors[0])
    index.delete(key, [point for point, _ in points])
    index.flush(key)
    if index.compact(key):
        index.discard(key)
        return {key: index.may_keep(key)}
    return dict([write_anew(workspace, key)])


@step(_log, "relocate")
def relocate(workspace: Installation, old: Path, new: Path) -> int:
    """Tell the catalog that sources moved from ``old`` to ``new``; gives how many occurrences moved with them.

    Raises:
        SourceError: If ``new`` does not exist.
        NotFoundError: If nothing on record lies under ``old``.
    """
    target = new.expanduser().resolve()
    if not target.exists():
        raise SourceError(f"{target} does not exist", hint="move the files first, then relocate")
    moved = workspace.catalog.relocate(str(old.expanduser().absolute()), str(target))
    if not moved:
        raise NotFoundError(f"nothing on record lies under {old.expanduser().absolute()}")
    return moved
