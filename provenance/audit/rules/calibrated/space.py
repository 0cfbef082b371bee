"""The local space that membership scores are over: the one that all share, or patches of pixels made for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.audit.resolution import embed_missing
from provenance.audit.scoring import DEFAULT_LOCAL_BACKBONE, DEFAULT_WHOLE_SCORE
from provenance.errors import SpaceMismatchError
from provenance.spaces import lacking_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.catalog import Catalog
    from provenance.installation import Installation
    from provenance.records import Dataset
    from provenance.vocabulary import Space


def local_space(workspace: Installation, datasets: Sequence[Dataset], on_step: Callable[[str], None]) -> Space:
    """The one local space in which all the datasets are; without any, one that is made from the recorded sources.

    Raises:
        SpaceMismatchError: If there are several.
        SourceError: If an image can't be read again.
    """
    space = _shared(workspace.catalog, datasets)
    if space is None:
        space = workspace.load_backbone(name=DEFAULT_LOCAL_BACKBONE).space
        embed_missing(workspace, datasets, space, f"judge by whole images: --score {DEFAULT_WHOLE_SCORE}", on_step)
    return space


def _shared(catalog: Catalog, datasets: Sequence[Dataset]) -> Space | None:
    common = set.intersection(*({c.space_id for c in catalog.collections_of(d.dataset_id)} for d in datasets))
    known = [space for space in catalog.spaces() if space.space_id in common and space.parts > 1]
    whole = [space for space in known if not any(lacking_in(catalog, dataset, space) for dataset in datasets)]
    if len(whole) > 1:
        whole = [space for space in whole if space.backbone == DEFAULT_LOCAL_BACKBONE] or whole
    if len(whole) > 1:
        names = ", ".join(sorted(f"{space.backbone} ({space.space_id[:18]})" for space in whole))
        raise SpaceMismatchError(f"they share several local spaces: {names}", hint="choose one with --space")
    return whole[0] if whole else None
