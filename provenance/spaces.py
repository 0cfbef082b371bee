"""The one embedding space that several datasets share, and their images in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.errors import NotFoundError, SpaceMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provenance.catalog import Catalog, Dataset, Member
    from provenance.vocabulary import Space


def common_space(catalog: Catalog, datasets: Sequence[Dataset], wanted: str | None) -> Space:
    """The space in which all the datasets are embedded.

    Args:
        catalog: Where to look.
        datasets: At least one.
        wanted: Backbone name or ``space_id`` (prefix) where they share several.

    Raises:
        SpaceMismatchError: If they share none, not the wanted one, or several and none was chosen.
    """
    spaces = {d.name: {c.space_id for c in catalog.collections_of(d.dataset_id)} for d in datasets}
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
        common = common - _empty_spaces(catalog, datasets) or common
    if not common:
        listed = "; ".join(f"{name}: {_named(known, ids)}" for name, ids in spaces.items())
        raise SpaceMismatchError(
            f"no embedding space holds them all ({listed})",
            hint="ingest the same sources again with one --backbone; vectors of different spaces never meet",
        )
    if len(common) > 1:
        raise SpaceMismatchError(
            f"they share several embedding spaces: {_named(known, common)}", hint="choose one with --space"
        )
    return known[common.pop()]


def _empty_spaces(catalog: Catalog, datasets: Sequence[Dataset]) -> set[str]:
    """Spaces in which one of the datasets has a collection without any point."""
    empty = set(catalog.empty_collections())
    collections = (c for dataset in datasets for c in catalog.collections_of(dataset.dataset_id))
    return {c.space_id for c in collections if c.collection_key in empty}


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
    missing = catalog.member_count(dataset.dataset_id) - len(members)
    if missing:
        raise SpaceMismatchError(
            f"{missing} images of {dataset.kind.value} {dataset.name} have no vector in {space.backbone} yet",
            hint="run its ingest again with that backbone; nothing is left out in silence",
        )
    if not members:
        raise NotFoundError(
            f"{dataset.kind.value} {dataset.name} holds no image", hint="ingest into it, or leave it out"
        )
    return keys[space.space_id], members
