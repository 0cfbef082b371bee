"""What is taken out of the record, and what the record is told of sources that moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.errors import NotFoundError, SourceError
from provenance.index import clear
from provenance.logs import room, step

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.installation import Installation
    from provenance.records import Dataset, ImageRecord

_log = room(__name__)


@step(_log, "remove dataset")
def remove_dataset(workspace: Installation, dataset: Dataset) -> None:
    """Take a set or release out: index, moments and catalog. Audits that used it keep their verdicts.

    Order: the catalog first, so that nobody sees half of it; an interrupted removal of vectors is finished
    by the next one.
    """
    workspace.catalog.remove_dataset(dataset.dataset_id)
    # Only what this catalog says was dropped: a server may hold the collections of other catalogs too.
    for key in set(workspace.catalog.dropped_collections()) & set(workspace.index.collections()):
        workspace.index.drop(key)
        workspace.moments.drop(key)
    clear(workspace.vector_folder)
    workspace.scrub(workspace.catalog)


@step(_log, "forget image")
def forget_image(workspace: Installation, text: str, reason: str = "") -> ImageRecord:
    """Take one image out of everything but the history, for good; it does not come back with a later ingest.

    Index, moments, cached vector files, names, paths and digests go; verdicts stay under the opaque key.
    Interrupted at any point, the next call for any image finishes what was begun.

    Raises:
        NotFoundError: If it is unknown or not unique.
    """
    image = workspace.catalog.resolve_image(text)
    workspace.catalog.forget_image(image.image_key, reason)
    finish_forgetting(workspace)
    return image


@step(_log, "finish forgetting")
def finish_forgetting(workspace: Installation) -> int:
    """Finish every forgetting that was begun; gives how many images it took out."""
    catalog = workspace.catalog
    by_collection: dict[str, list[tuple[str, str]]] = {}
    for _, place in catalog.deleting_points():
        by_collection.setdefault(place.collection_key, []).append((place.point_id, place.vector_sha256))
    for key, points in by_collection.items():
        for point, digest in points:
            stored = workspace.index.get(key, [point])
            if stored.ids:
                workspace.moments.forget(key, point, digest, stored.vectors[0])
        workspace.index.delete(key, [point for point, _ in points])
        workspace.index.flush(key)
        workspace.index.compact(key)
        workspace.index.discard(key)
    clear(workspace.vector_folder)
    unfinished = catalog.unfinished_forgets()
    for image_key in unfinished:
        catalog.finish_forget(image_key)
    if unfinished:
        workspace.scrub(catalog)
    return len(unfinished)


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
