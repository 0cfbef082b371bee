"""Where the cells of a heat map lie, in percent of the image."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provenance.records import Explanation
    from provenance.vocabulary import Box


class Edges(NamedTuple):
    """A rectangle in percent of the image."""

    left: float
    top: float
    width: float
    height: float


def edges(box: Box) -> Edges:
    """The rectangle of a part."""
    return Edges(100 * box.left, 100 * box.top, 100 * (box.right - box.left), 100 * (box.bottom - box.top))


def strongest(found: Explanation) -> float:
    """What the full colour of the map stands for."""
    return max((abs(position.contribution) for position in found.positions), default=0.0) or 1.0


def heat_cells(found: Explanation) -> Iterator[tuple[Edges, float, float]]:
    """A cell for each position, as large as they are far apart.

    With it what the position speaks for use, and its strength: from 0 (does not speak for it) to 1 (the strongest).
    """
    largest = strongest(found)
    places = [edges(position.box) for position in found.positions]
    across, down = _step([place.left for place in places]), _step([place.top for place in places])
    for position, (left, top, width, height) in zip(found.positions, places, strict=True):
        wide, high = min(across, width), min(down, height)
        cell = Edges(left + (width - wide) / 2, top + (height - high) / 2, wide, high)
        yield cell, position.contribution, max(0.0, position.contribution / largest)


def _step(starts: Sequence[float]) -> float:
    """Distance of neighboring positions; all of the image where there is one only."""
    distinct = sorted({round(start, 6) for start in starts})
    return min((b - a for a, b in pairwise(distinct)), default=100.0)
