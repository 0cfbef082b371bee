"""The one embedding space that several datasets share, their images in it, and the resolution they are compared at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.errors import NotFoundError, SpaceMismatchError
from provenance.vocabulary import Box

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provenance.catalog import Catalog
    from provenance.records import Dataset, Member
    from provenance.vocabulary import Resolution, Space


def common_space(catalog: Catalog, datasets: Sequence[Dataset], wanted: str | None) -> Space:
    """The space in which all the datasets (one at least) are embedded.

    ``wanted`` is a backbone's name or a ``space_id`` (prefix) where they share several. Without it, the one whole-image
    space of images as they are goes before local spaces and those of a matched resolution; that of grey levels before
    local ones alone.

    Raises:
        SpaceMismatchError: If they share none, not the wanted one, or several such and none was chosen.
    """
    collections = {d.name: catalog.collections_of(d.dataset_id) for d in datasets}
    spaces = {name: {c.space_id for c in held} for name, held in collections.items()}
    common = set.intersection(*spaces.values())
    if wanted is not None:
        chosen = catalog.space(wanted)
        lacking = [name for name, ids in spaces.items() if chosen.space_id not in ids]
        if lacking:
            raise SpaceMismatchError(
                f"not embedded in {chosen.backbone} ({chosen.space_id[:18]}): {', '.join(lacking)}",
                hint="ingest them again with that backbone; vectors of different spaces never meet",
            )
        return chosen
    known = {space.space_id: space for space in catalog.spaces()}
    if len(common) > 1:  # one that an ingest began and never gave a vector is no choice
        empty = set(catalog.empty_collections())
        begun = {c.space_id for held in collections.values() for c in held if c.collection_key in empty}
        common = common - begun or common
    if not common:
        listed = "; ".join(f"{name}: {_named(known, ids)}" for name, ids in spaces.items())
        raise SpaceMismatchError(
            f"no embedding space holds them all ({listed})",
            hint="ingest the same sources again with one --backbone; vectors of different spaces never meet",
        )
    if len(common) > 1:
        common = {i for i in common if is_plain(known[i])} or common
    if len(common) > 1:  # grey levels, which audits of copies make, are the choice where all others are of parts
        pixels = {i for i in common if known[i].is_of_pixels}
        whole = any(known[i].parts == 1 for i in common - pixels)
        common = common - pixels if whole else pixels or common
    if len(common) > 1:
        raise SpaceMismatchError(
            f"they share several embedding spaces: {_named(known, common)}", hint="choose one with --space"
        )
    return known[common.pop()]


def is_plain(space: Space) -> bool:
    """Whether it is a network's space of whole images as they are: neither local nor of a matched resolution."""
    return space.parts == 1 and space.matched_resolution is None and not space.is_of_pixels


def lacking_in(catalog: Catalog, dataset: Dataset, space: Space) -> int:
    """How many images of a dataset have no vector in a space, which need not be on record."""
    keys = {c.space_id: c.collection_key for c in catalog.collections_of(dataset.dataset_id)}
    count = catalog.member_count(dataset.dataset_id)
    key = keys.get(space.space_id)
    return count if key is None else count - len(catalog.members(dataset.dataset_id, key))


def grid_of(space: Space) -> tuple[Box, ...]:
    """Where each part of a space lies in an image, part by part; a whole-image space has the one box of all of it.

    The boxes of feature maps and tokens are the cells of their grid; what a cell saw reaches further.
    """
    grid = space.preprocessing.get("grid")
    if grid is None:
        return (Box(0.0, 0.0, 1.0, 1.0),) * space.parts
    unit, edge = grid["unit"], grid["edge"]
    starts = [grid["start"] + grid["step"] * place for place in range(max(grid["rows"], grid["columns"]))]
    edges = [(start / unit, (start + edge) / unit) for start in starts]
    cells = [
        Box(left, top, right, bottom)
        for top, bottom in edges[: grid["rows"]]
        for left, right in edges[: grid["columns"]]
    ]
    # parts before the grid's, such as a class token, are about the whole image
    return (Box(0.0, 0.0, 1.0, 1.0),) * (space.parts - len(cells)) + tuple(cells)


@dataclass(frozen=True, slots=True)
class NativeResolution:
    """``(width, height)`` in pixels of most of a dataset's images; how many it has, and of these of another size.

    Of equally frequent sizes it is the one with the fewest pixels.
    """

    resolution: Resolution
    total: int
    others: int


def native_resolution(catalog: Catalog, dataset: Dataset) -> NativeResolution:
    """The most frequent native size of a dataset's images, before any resizing; ``NotFoundError`` if it has none."""
    sizes = catalog.native_resolutions(dataset.dataset_id)
    if not sizes:
        raise NotFoundError(f"{dataset.kind.value} {dataset.name} holds no image", hint="ingest into it first")
    resolution = min(sizes, key=lambda size: (-sizes[size], size[0] * size[1], size))
    total = sum(sizes.values())
    return NativeResolution(resolution, total, total - sizes[resolution])


def _named(known: Mapping[str, Space], ids: Iterable[str]) -> str:
    return ", ".join(sorted(f"{known[i].backbone} ({i[:18]})" for i in ids)) or "none"


def members_in(catalog: Catalog, dataset: Dataset, space: Space) -> tuple[str, tuple[Member, ...]]:
    """The key of a dataset's collection in a space, and all its images with their vectors there, by image_id.

    Raises:
        SpaceMismatchError: If an image has no vector there yet.
        NotFoundError: If the dataset holds no image.
    """
    keys = {c.space_id: c.collection_key for c in catalog.collections_of(dataset.dataset_id)}
    members = tuple(catalog.members(dataset.dataset_id, keys[space.space_id]))
    if missing := catalog.member_count(dataset.dataset_id) - len(members):
        raise SpaceMismatchError(
            f"{missing} images of {dataset.kind.value} {dataset.name} have no vector in {space.backbone} yet",
            hint="run its ingest again with that backbone; nothing is left out in silence",
        )
    if not members:
        raise NotFoundError(
            f"{dataset.kind.value} {dataset.name} holds no image", hint="ingest into it, or leave it out"
        )
    return keys[space.space_id], members
