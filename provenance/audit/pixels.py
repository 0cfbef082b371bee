"""The grey levels of an audit's images: the one space that the search for copies and the learnt score read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.embedding.grey import EDGE
from provenance.spaces import native_resolution
from provenance.vocabulary import PIXELS

if TYPE_CHECKING:
    from provenance.installation import Installation
    from provenance.records import Dataset
    from provenance.vocabulary import Space


def pixels_space(workspace: Installation, release: Dataset) -> Space:
    """Grey levels; of images brought to the release's native size first, where that is smaller."""
    size = native_resolution(workspace.catalog, release).resolution
    return workspace.load_backbone(name=PIXELS).space.matched_to(size if min(size) < EDGE else None)
