"""Sources of images and of their pieces: retrieve, register, measure; for any query, generated or real. Pure.

Each query goes through the same steps by itself: votes of its windows choose 24 candidates (retrieval.py) and the
caller may add some; five are registered as wholes and eight by the windows that move together (registration.py);
agreement and pieces are measured for all thirteen (pieces.py). Never-used reals go through the same, which is what
calibrates the results. Nothing depends on the other queries, on threads or on the order of the images.

Cost: votes are matrix products over all pairs (about 2 ms a query for 300 sources, 10 for 2,000), the rest depends on
the number of candidates only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.copies.evidence import features_of
from provenance.detection.copies.found import DECIMALS, Found, Match, Piece
from provenance.detection.copies.geometry import Transformation, described, sampled
from provenance.detection.copies.pieces import agreeing, agreements, box_of, joined_piece, main_region
from provenance.detection.copies.registration import piece_starts, polished, refined, whole_starts
from provenance.detection.copies.retrieval import QUERY_BLOCK, Prepared, prepared, votes
from provenance.detection.copies.structure import checked_images
from provenance.detection.scores.positions import each_position
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from provenance.detection.copies.pieces import Masks
    from provenance.detection.copies.retrieval import Floats32, Sources
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

    def moved(self, sources: Sources) -> tuple[Images, Masks]:
        """The standardised sources brought onto the query, and which pixels lie in them."""
        return sampled(sources.images.standard[self.sources], self.matrices, self.shifts)

    def described(self, at: int, edge: int) -> Transformation:
        """One of them in words."""
        return described(self.matrices[at], self.shifts[at], edge)


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
        voted = votes(ready.coarse, sources)
        found = []
        for at, row in enumerate(rows):
            own = place_of[list(left_out[row])] if left_out else place_of[:0]
            added = place_of[list(candidates[row])] if candidates else place_of[:0]
            found.append(_found(_one(ready, at), voted[at], sources, own, added))
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


def _one(images: Prepared, at: int) -> Prepared:
    here = slice(at, at + 1)
    return Prepared(images.standard[here], images.normalised[here], images.coarse[here])


def _found(query: Prepared, voted: Floats32, sources: Sources, own: Rows, added: Rows) -> Found:
    chosen = _chosen(voted.max(axis=0), own, added)
    if not len(chosen):
        return Found((), (), 0.0)
    mirrored = voted[1, chosen] > voted[0, chosen]
    wholes, pieces, structured = _registered(query, sources, chosen, mirrored)
    return Found(
        matches=_matches(query, sources, wholes),
        pieces=_pieces(sources, pieces, structured),
        structure=round(structured / sources.edge**2, DECIMALS),
    )


def _registered(
    query: Prepared, sources: Sources, chosen: Rows, mirrored: NDArray[np.bool_]
) -> tuple[Maps, list[tuple[Maps, Masks]], int]:
    # Wholes; windows that move together; the most voted in their own place; then the largest pieces once more.
    few = chosen[:PIECES], mirrored[:PIECES]
    starts = whole_starts(query.coarse[0], sources, chosen, mirrored).best(WHOLES)
    wholes = Maps(starts.sources, *refined(query, sources, starts))
    moved = piece_starts(query.coarse[0], sources, *few)
    own = Maps(few[0], moved.matrices, np.zeros_like(moved.shifts))
    first = wholes.joined(Maps(few[0], *refined(query, sources, moved, turning=False))).joined(own)
    masks, structured = agreeing(query.standard, *first.moved(sources))
    best = np.argsort(-masks.sum(axis=(1, 2)), kind="stable")[:POLISHED]
    again = first.rows(best)
    polished(query, sources, again.sources, masks[best].astype(np.float32), again.matrices, again.shifts)
    better, _ = agreeing(query.standard, *again.moved(sources))
    return wholes.joined(again), [(first, masks), (again, better)], structured


def _chosen(voted: Floats32, own: Rows, added: Rows) -> Rows:
    # The most voted first; those added by the caller take the places after them, not more than there are.
    allowed = np.ones(len(voted), dtype=np.bool_)
    allowed[own] = False
    order = np.argsort(-voted, kind="stable")
    retrieved = order[allowed[order]][:CANDIDATES]
    others = np.unique(added[allowed[added]])
    return np.concatenate([retrieved, others[~np.isin(others, retrieved)]])


def _matches(query: Prepared, sources: Sources, maps: Maps) -> tuple[Match, ...]:
    measured = agreements(query.standard, *maps.moved(sources))
    whole, overlap, following = (np.round(each, DECIMALS) for each in measured)
    chosen: dict[int, int] = {}
    for at in np.lexsort((maps.sources, -whole)).tolist():
        chosen.setdefault(int(sources.rows[maps.sources[at]]), at)
    places = np.array(list(chosen.values()), dtype=np.int64)
    best = maps.rows(places)
    features = features_of(query, sources, best.sources, best.matrices, best.shifts).tolist()
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
    masks = np.stack([joined_piece(mask, structured) for mask in masks])
    sizes = masks.sum(axis=(1, 2))
    named: dict[int, Piece] = {}
    taken: Masks = np.zeros(masks.shape[1:], dtype=np.bool_)
    for at in np.lexsort((maps.sources, -sizes)).tolist():
        row, mask = int(sources.rows[maps.sources[at]]), masks[at]
        if row in named or sizes[at] < max(LEAST_SHARE * structured, 1):
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
