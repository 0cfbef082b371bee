"""Sources of images and of their pieces: retrieve, register, measure; for any query, generated or real. Pure.

Each query goes through the same steps by itself: votes of its windows choose 24 candidates (retrieval.py) and the
caller may add some; five are registered as wholes and eight by the windows that move together (registration.py);
agreement and pieces are measured for all thirteen (pieces.py). Never-used reals go through the same, which is what
calibrates the results. Nothing depends on the other queries, on threads or on the order of the images.

Cost: votes are matrix products over all pairs (some 10 ms of one core a query for 2,000 sources), the rest (as much
again) depends on the number of candidates only. Arrays are small and float32, so that they stay in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.copies.evidence import features_of
from provenance.detection.copies.found import DECIMALS, Found, Match, Piece
from provenance.detection.copies.geometry import Transformation, described, sampled
from provenance.detection.copies.pieces import agreeing, agreements, box_of, joined_piece, main_region
from provenance.detection.copies.registration import piece_starts, polished, queries_of, refined, whole_starts
from provenance.detection.copies.retrieval import QUERY_BLOCK, prepared, votes
from provenance.detection.copies.structure import checked_images
from provenance.detection.scores.positions import each_position
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from provenance.detection.copies.pieces import Masks
    from provenance.detection.copies.registration import Query
    from provenance.detection.copies.retrieval import Floats32, Prepared, Sources
    from provenance.detection.copies.structure import Images, Rows

    Floats = NDArray[np.float64]
    RowLists = Sequence[Sequence[int]]
    Progress = Callable[[int, int], None]

CANDIDATES, WHOLES, PIECES, POLISHED = 24, 5, 8, 4
LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Maps:
    """Maps from one query to n sources, in pixels (geometry.py).

    Attributes:
        sources: ``(n,)`` rows of the sources.
        matrices: ``(n, 2, 2)``.
        shifts: ``(n, 2)``.
    """

    sources: Rows
    matrices: Floats
    shifts: Floats

    def joined(self, other: Maps) -> Maps:
        """These and the others."""
        return Maps(
            np.concatenate([self.sources, other.sources]),
            np.concatenate([self.matrices, other.matrices]),
            np.concatenate([self.shifts, other.shifts]),
        )

    def rows(self, rows: Rows) -> Maps:
        """Some of them, copied."""
        return Maps(self.sources[rows], self.matrices[rows], self.shifts[rows])

    def described(self, at: int, edge: int) -> Transformation:
        """One of them in words."""
        return described(self.matrices[at], self.shifts[at], edge)


@dataclass(frozen=True, slots=True)
class Moved:
    """Standardised sources brought onto a query.

    Attributes:
        maps: By which.
        images: ``(n, edge, edge)``.
        inside: Which pixels of the query lie in them.
    """

    maps: Maps
    images: Images
    inside: Masks

    def joined(self, other: Moved) -> Moved:
        """These and the others."""
        images, inside = np.concatenate([self.images, other.images]), np.concatenate([self.inside, other.inside])
        return Moved(self.maps.joined(other.maps), images, inside)

    def rows(self, rows: Rows) -> Moved:
        """Some of them, copied."""
        return Moved(self.maps.rows(rows), self.images[rows], self.inside[rows])


def search(
    queries: Images,
    sources: Sources,
    *,
    left_out: RowLists | None = None,
    candidates: RowLists | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> tuple[Found, ...]:
    """Sources of every query.

    Args:
        queries: ``(n, edge, edge)`` grey, as the sources; blocks of 64 are worked at at once.
        sources: The real images (``sources_of``).
        left_out: For each query the sources of its own group, which are not looked at.
        candidates: For each query sources to look at besides those retrieved, such as the nearest of another space.
        threads: Share the blocks; each product should run on one thread of the linear algebra library.
        progress: Called with queries done and in all.

    Raises:
        UsageError: If images are not as ``checked_images`` wants them, or lists are not one for each query.
    """
    array = checked_images(queries, "queries", sources.edge)
    for name, lists in (("left out", left_out), ("candidates", candidates)):
        if lists is not None and len(lists) != len(array):
            raise UsageError(f"sources {name}: {len(lists)} lists for {len(array)} queries")
    place_of = np.argsort(sources.rows)

    def block(number: int) -> list[Found]:
        rows = range(number * QUERY_BLOCK, min((number + 1) * QUERY_BLOCK, len(array)))
        ready = prepared(array[rows.start : rows.stop])
        voted, each = votes(ready.coarse, sources), queries_of(ready)
        found = []
        for at, row in enumerate(rows):
            own = place_of[list(left_out[row])] if left_out else place_of[:0]
            added = place_of[list(candidates[row])] if candidates else place_of[:0]
            found.append(_found(each[at], voted[at], sources, own, added))
        return found

    blocks = -(-len(array) // QUERY_BLOCK)
    told = None if progress is None else lambda done, _: progress(min(done * QUERY_BLOCK, len(array)), len(array))
    return tuple(each for part in each_position(block, blocks, threads=threads, progress=told) for each in part)


def rows_of_own_group(
    groups: Sequence[Hashable | None] | None, of_sources: Sequence[Hashable | None]
) -> list[list[int]]:
    """For each query the sources of its group, for ``left_out``."""
    rows: dict[Hashable, list[int]] = {}
    for row, group in enumerate(of_sources):
        if group is not None:
            rows.setdefault(group, []).append(row)
    return [[] if group is None else rows.get(group, []) for group in groups or ()]


def _found(query: Query, voted: Floats32, sources: Sources, own: Rows, added: Rows) -> Found:
    chosen = _chosen(voted.max(axis=0), own, added)
    if not len(chosen):
        return Found((), (), 0.0)
    mirrored = voted[1, chosen] > voted[0, chosen]
    wholes, pieces, structured = _registered(query, sources, chosen, mirrored)
    return Found(
        matches=_matches(query.images, sources, wholes),
        pieces=_pieces(sources, pieces, structured),
        structure=round(structured / sources.edge**2, DECIMALS),
    )


def _registered(
    query: Query, sources: Sources, chosen: Rows, mirrored: NDArray[np.bool_]
) -> tuple[Moved, list[tuple[Maps, Masks]], int]:
    # Wholes; windows that move together; the most voted in their own place; then the largest pieces once more.
    coarse, standard = query.images.coarse[0], query.images.standard
    wholes = whole_starts(coarse, sources, chosen, mirrored).best(WHOLES)
    parts = piece_starts(coarse, sources, chosen[:PIECES], mirrored[:PIECES])
    starts = wholes.joined(parts)
    first = _moved(sources, Maps(starts.sources, *refined(query, sources, starts)))
    first = first.joined(_in_place(sources, parts.sources, parts.matrices))
    masks, structured = agreeing(standard, first.images, first.inside)
    best = np.argsort(-masks.sum(axis=(1, 2)), kind="stable")[:POLISHED]
    maps = first.maps.rows(best)
    polished(query, sources, maps.sources, masks[best], maps.matrices, maps.shifts)
    again = _moved(sources, maps)
    better, _ = agreeing(standard, again.images, again.inside)
    whole = first.rows(np.arange(len(wholes.sources))).joined(again)
    return whole, [(first.maps, masks), (maps, better)], structured


def _moved(sources: Sources, maps: Maps) -> Moved:
    return Moved(maps, *sampled(sources.images.standard[maps.sources], maps.matrices, maps.shifts))


def _in_place(sources: Sources, rows: Rows, matrices: Floats) -> Moved:
    # As they are or mirrored.
    images = sources.images.standard[rows]
    mirrored = matrices[:, 1, 1] < 0
    images[mirrored] = images[mirrored, :, ::-1]
    return Moved(Maps(rows, matrices, np.zeros((len(rows), 2))), images, np.ones(images.shape, dtype=np.bool_))


def _chosen(voted: Floats32, own: Rows, added: Rows) -> Rows:
    # The most voted first; those added by the caller take the places after them, not more than there are.
    allowed = np.ones(len(voted), dtype=np.bool_)
    allowed[own] = False
    order = np.argsort(-voted, kind="stable")
    retrieved = order[allowed[order]][:CANDIDATES]
    others = np.unique(added[allowed[added]])
    return np.concatenate([retrieved, others[~np.isin(others, retrieved)]])


def _matches(query: Prepared, sources: Sources, moved: Moved) -> tuple[Match, ...]:
    measured = agreements(query.standard, moved.images, moved.inside)
    whole, overlap, following = (np.round(each, DECIMALS) for each in measured)
    maps = moved.maps
    chosen: dict[int, int] = {}
    for at in np.lexsort((maps.sources, -whole)).tolist():
        chosen.setdefault(int(sources.rows[maps.sources[at]]), at)
    best = moved.rows(np.array(list(chosen.values()), dtype=np.int64))
    normalised, _ = sampled(sources.images.normalised[best.maps.sources], best.maps.matrices, best.maps.shifts)
    features = features_of(query, best.images, normalised, best.inside).tolist()
    return tuple(
        Match(
            source=row,
            agreement=float(whole[at]),
            overlap=float(overlap[at]),
            following=float(following[at]),
            transformation=maps.described(at, sources.edge),
            features=tuple(of),
        )
        for (row, at), of in zip(chosen.items(), features, strict=True)
    )


def _pieces(sources: Sources, found: list[tuple[Maps, Masks]], structured: int) -> tuple[Piece, ...]:
    maps = found[0][0].joined(found[1][0])
    masks = np.concatenate([each for _, each in found])
    least = max(LEAST_SHARE * structured, 1)
    large = np.flatnonzero(masks.sum(axis=(1, 2)) >= least)
    if not len(large):
        return ()
    maps, masks = maps.rows(large), np.stack([joined_piece(mask, structured) for mask in masks[large]])
    sizes = masks.sum(axis=(1, 2))
    named: dict[int, Piece] = {}
    taken: Masks = np.zeros(masks.shape[1:], dtype=np.bool_)
    for at in np.lexsort((maps.sources, -sizes)).tolist():
        row, mask = int(sources.rows[maps.sources[at]]), masks[at]
        if row in named or sizes[at] < least:
            continue
        region = main_region(mask)
        named[row] = Piece(
            source=row,
            share=round(float(sizes[at]) / structured, DECIMALS),
            area=round(float(sizes[at]) / mask.size, DECIMALS),
            new_share=round(float((mask & ~taken).sum()) / structured, DECIMALS),
            box=box_of(region),
            source_box=box_of(region, maps.matrices[at], maps.shifts[at]),
            transformation=maps.described(at, sources.edge),
        )
        taken |= mask
    return tuple(named.values())
