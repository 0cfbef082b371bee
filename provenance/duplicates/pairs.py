"""Pairs of near-duplicates, found block by block: never more is held than a block of pairs and their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from provenance.index import content_digest, ensure_vector_file, load_vectors, pairs_in_file, prune, similarities
from provenance.vocabulary import Evidence, Space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provenance.arrays import Flags, Float32s, Float64s, Int64s
    from provenance.duplicates.hashing import Looks
    from provenance.duplicates.rule import DuplicateRule
    from provenance.installation import Installation
    from provenance.records import Member

HashArray = npt.NDArray[np.uint64]

HASH_BLOCK = 2048
SCORED_AT_ONCE = 8192  # pairs whose vectors are held at a time: 128 MB at most for 2048 numbers each
UNKNOWN = -1  # in place of a distance, where an image has no hash


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """A block of near-duplicates: rows of either side, bits of distance (or ``UNKNOWN``), exact similarities."""

    left: Int64s
    right: Int64s
    distances: Int64s
    similarities: Float64s

    def rows(self) -> Iterator[tuple[int, int, int | None, float]]:
        """Pair by pair; ``None`` for a distance that is not known."""
        columns = (self.left, self.right, self.distances, self.similarities)
        for left, right, distance, similarity in zip(*(column.tolist() for column in columns), strict=True):
            yield left, right, None if distance == UNKNOWN else distance, similarity


def hamming_pairs(
    left: HashArray, right: HashArray | None, most: int, *, block: int = HASH_BLOCK
) -> Iterator[tuple[Int64s, Int64s, Int64s]]:
    """Every pair of hashes that differ in at most ``most`` bits, ``block`` rows at a time (found are the same).

    Where ``right`` is ``None``, pairs within ``left`` are found, each once (first row < second row).

    Yields:
        Rows of the left, rows of the right, distances; blocks without a pair are left out.
    """
    other = left if right is None else right
    for start in range(0, len(left), block):
        rows = left[start : start + block, None]
        for offset in range(start if right is None else 0, len(other), block):
            distances = np.bitwise_count(rows ^ other[offset : offset + block])
            a, b = np.nonzero(distances <= most)
            if right is None and offset == start:
                a, b = a[a < b], b[a < b]
            if len(a):
                yield a + start, b + offset, distances[a, b].astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class PairSearch:
    """Finds the near-duplicates between two sides; within one, each pair once, where both are the same."""

    workspace: Installation
    space: Space
    rule: DuplicateRule
    left: Looks
    right: Looks

    def blocks(self, settled: Flags | None = None) -> Iterator[Pairs]:
        """All pairs, each once; ``VectorStoreError`` if a stored vector is missing or is not the one on record.

        ``settled`` is bool ``(n,)`` by row of the right: rows of which enough is known. It may be changed between
        blocks; pairs of such rows are left out from then on.
        """
        yield from self._by_hash(settled)
        if self.rule.evidence is Evidence.EITHER:
            yield from self._by_embedding(settled)

    def similarities(self, left: Int64s, right: Int64s) -> Float64s:
        """Exact cosines of pairs, float64, from verified vectors."""
        found = [np.zeros(0)]
        for start in range(0, len(left), SCORED_AT_ONCE):
            part = slice(start, start + SCORED_AT_ONCE)
            sides = ((self.left, left[part]), (self.right, right[part]))
            found.append(similarities(*(_rows_of(looks, rows, self._load) for looks, rows in sides)))
        return np.concatenate(found)

    def _by_hash(self, settled: Flags | None) -> Iterator[Pairs]:
        left, right = (np.flatnonzero(side.hashed) for side in (self.left, self.right))
        second = None if self.right is self.left else self.right.hashes[right]
        for a, b, distances in hamming_pairs(self.left.hashes[left], second, self.rule.hash_distance):
            # the closest first, and every row of the right before the next of the left
            order = np.lexsort((b, a, distances))
            rows, others, distances = left[a[order]], right[b[order]], distances[order]
            while len(rows):
                if settled is not None:
                    open_pairs = ~settled[others]
                    rows, others, distances = rows[open_pairs], others[open_pairs], distances[open_pairs]
                part, rest = slice(0, SCORED_AT_ONCE), slice(SCORED_AT_ONCE, None)
                yield from self._scored(rows[part], others[part], distances[part])
                rows, others, distances = rows[rest], others[rest], distances[rest]

    def _scored(self, rows: Int64s, others: Int64s, distances: Int64s) -> Iterator[Pairs]:
        exact = self.similarities(rows, others)
        keep = np.ones(len(rows), dtype=bool)
        if self.rule.evidence is Evidence.BOTH:
            keep = exact >= self.rule.min_similarity
        if keep.any():
            yield Pairs(rows[keep], others[keep], distances[keep], exact[keep])

    def _by_embedding(self, settled: Flags | None) -> Iterator[Pairs]:
        """The pairs that the embedding alone finds; the others were given by hash."""
        left = self._file(self.left.members)
        right = None if self.right is self.left else self._file(self.right.members)
        for rows, others, exact in pairs_in_file(left, right, self.rule.min_similarity):
            known = self.left.hashed[rows] & self.right.hashed[others]
            bits = np.bitwise_count(self.left.hashes[rows] ^ self.right.hashes[others]).astype(np.int64)
            keep = ~known | (bits > self.rule.hash_distance)
            if settled is not None:
                keep &= ~settled[others]
            if keep.any():
                distances = np.where(known, bits, UNKNOWN)
                yield Pairs(rows[keep], others[keep], distances[keep], exact[keep])
        prune(self.workspace.vector_folder, self.workspace.settings.vector_cache_bytes)

    def _file(self, members: Sequence[Member]) -> Float32s:
        return ensure_vector_file(
            self.workspace.vector_folder,
            content_digest(self.space.space_id, [(m.image_id, m.vector_sha256) for m in members]),
            [m.vector_sha256 for m in members],
            lambda start, stop: self._load(members[start:stop], in_flight=1),
            parts=self.space.parts,
            dimension=self.space.dimension,
            threads=self.workspace.settings.threads,
            in_flight=self.workspace.in_flight,
        )

    def _load(self, members: Sequence[Member], in_flight: int | None = None) -> Float32s:
        return load_vectors(
            self.workspace.index,
            [(m.collection_key, m.point_id, m.vector_sha256) for m in members],
            parts=self.space.parts,
            dimension=self.space.dimension,
            in_flight=in_flight,
        )


def _rows_of(looks: Looks, rows: Int64s, load: Callable[[Sequence[Member]], Float32s]) -> Float32s:
    """The vectors of rows, ``(n, d)``; each is fetched once."""
    wanted, place = np.unique(rows, return_inverse=True)
    vectors = load([looks.members[row] for row in wanted])[:, 0]
    chosen: Float32s = vectors[place]
    return chosen
