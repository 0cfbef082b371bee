"""The evidence: verified vectors and exact neighbors."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from provenance.audit.nearest import nearest_by_parts
from provenance.audit.scoring_inputs import ScoringInputs
from provenance.audit.searching import digest_of, vector_of, way_of
from provenance.errors import VectorStoreError
from provenance.index import (
    Moments,
    ensure_vector_file,
    kept_arrays,
    load_vectors,
    neighbors_by_engine,
    vector_file,
)
from provenance.vocabulary import Role, Search, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provenance.arrays import Float32s, Int64s
    from provenance.audit.inputs import FrozenAudit, FrozenDataset
    from provenance.audit.scoring_inputs import Arrays
    from provenance.audit.searching import Selections, Way
    from provenance.installation import Installation
    from provenance.records import Member
    from provenance.vocabulary import Space


class Nearest(NamedTuple):
    """One neighbor of one subject: rank 1 is the closest; equal similarities stand in image_id order."""

    role: Role
    rank: int
    member: Member
    similarity: float


@dataclass(frozen=True, slots=True)
class SubjectEvidence:
    """A judged image, the role it came in, and its nearest images per role."""

    member: Member
    role: Role
    neighbors: tuple[Nearest, ...]

    def greatest(self, role: Role) -> float | None:
        """Similarity to the nearest image of a role, ``None`` without any."""
        return next((n.similarity for n in self.neighbors if n.role is role and n.rank == 1), None)


def gather(vectors: Vectors, frozen: FrozenAudit, reals: Sequence[Member]) -> list[SubjectEvidence]:
    """Exact neighbors of every subject, sorted by image_id.

    A generated subject is compared with the acting images of each role; a real one, of those to be judged (``reals``),
    with the release. In a local space similarity is the mean of the cosines of the parts.

    Raises:
        VectorStoreError: If a stored vector is missing or is not the one that was recorded.
    """
    generated, k = frozen.release.members, frozen.top_k
    if frozen.subject is Subject.REAL:
        vectors.of(frozen.judged_reals)  # those to be judged are among them: read at once
        nearest = vectors.nearest(vectors.of(reals), Role.RELEASE, generated, k)
        roles = frozen.role_of
        return [SubjectEvidence(m, roles[m.image_id], n) for m, n in zip(reals, nearest, strict=True)]
    queries = vectors.of(generated)
    found: list[tuple[Nearest, ...]] = [() for _ in generated]
    for role, members in sorted(frozen.reals.items()):
        nearest = vectors.nearest(queries, role, members, k)
        found = [mine + more for mine, more in zip(found, nearest, strict=True)]
    return [SubjectEvidence(m, Role.RELEASE, n) for m, n in zip(generated, found, strict=True)]


class Vectors:
    """The vectors of one audit, each read and verified once, and neighbors by them (or by asking a server).

    ``selections``: those that are going to be asked for, by which it is decided, once, where to search them (``way``).
    """

    def __init__(
        self, workspace: Installation, space: Space, selections: Selections, on_step: Callable[[str], None]
    ) -> None:
        self.workspace = workspace
        self.space = space
        self.on_step = on_step
        self.threads = workspace.settings.threads
        self._selections = selections
        self._read: list[Float32s] = []
        self._places: dict[tuple[str, str], tuple[int, int]] = {}
        self._held: dict[str, int] = {}

    @cached_property
    def way(self) -> Way:
        """Where the vectors are searched.

        Raises:
            UsageError: If it is asked to be where it can't.
            VectorStoreError: Likewise, where files do not fit.
        """
        way = way_of(self.workspace, self.space, self._selections)
        if way.note:
            self.on_step(way.note)
        return way

    def nearest(self, queries: Float32s, role: Role, references: Sequence[Member], k: int) -> list[tuple[Nearest, ...]]:
        """The k nearest references of each query, ranked."""
        self.on_step(f"comparing {len(queries):,} images with {len(references):,} ({role.value})")
        if self.way.search is Search.FILE or self.space.parts != 1:
            rows, similarities = nearest_by_parts(queries, self.of(references), k, threads=self.threads)
        else:
            self._require_held(references)
            keys = sorted({member.collection_key for member in references})
            rank = {member.point_id: row for row, member in enumerate(references)}

            def fetch(wanted: Int64s) -> Float32s:
                return self.of([references[row] for row in wanted.tolist()])

            rows, similarities = neighbors_by_engine(self.workspace.index, keys, queries, k, rank, fetch)
        return [
            tuple(Nearest(role, n, references[row], value) for n, (row, value) in enumerate(found, start=1) if row >= 0)
            for found in map(zip, rows.tolist(), similarities.tolist())
        ]

    def of(self, members: Sequence[Member]) -> Float32s:
        """Verified vectors, float32 (n, parts, dim), in the order of ``members`` (image_id order).

        What was read in another selection of images is not read again.
        """
        unknown = [member for member in members if vector_of(member) not in self._places]
        if unknown and self.way.search is Search.FILE:
            unknown = list(members)  # a file is of a whole selection
        if unknown or not members:
            found = self._verified(unknown)
            for row, member in enumerate(unknown):
                self._places.setdefault(vector_of(member), (len(self._read), row))
            self._read.append(found)
            if len(unknown) == len(members):
                return found
        return self._selected(np.array([self._places[vector_of(member)] for member in members], dtype=np.int64))

    def _selected(self, places: Int64s) -> Float32s:
        """Rows (which, row) of what was read; all of one array, in its order, is that array and no copy."""
        which: list[int] = np.unique(places[:, 0]).tolist()
        first = self._read[which[0]]
        if len(which) == 1 and np.array_equal(places[:, 1], np.arange(len(first))):
            return first
        selected: Float32s = np.empty((len(places), *first.shape[1:]), dtype=np.float32)
        for each in which:
            here = places[:, 0] == each
            selected[here] = self._read[each][places[here, 1]]
        return selected

    def _verified(self, members: Sequence[Member]) -> Float32s:
        if self.way.search is Search.SERVER:
            return self._some(members)
        folder, digest = self.workspace.vector_folder, digest_of(self.space, members)
        is_local = self.workspace.exports_vectors
        with self._copying():
            if not is_local and not self._are_held(members):
                vector_file(folder, digest).unlink(missing_ok=True)  # it is read anew: it may be of what is gone
            return ensure_vector_file(
                folder,
                digest,
                [member.vector_sha256 for member in members],
                lambda start, stop: self._some(members[start:stop], in_flight=1),
                parts=self.space.parts,
                dimension=self.space.dimension,
                threads=self.threads,
                in_flight=self.workspace.in_flight,
                is_current=(lambda: True) if is_local else partial(self._are_there, members),
            )

    def _are_held(self, members: Sequence[Member]) -> bool:
        """Whether a server's collections hold as many vectors as there have to be: it changes without its catalog."""
        needed = Counter(member.collection_key for member in members)
        for key in needed.keys() - self._held.keys():
            self._held[key] = self.workspace.index.count(key)
        return all(self._held[key] >= count for key, count in needed.items())

    def _require_held(self, members: Sequence[Member]) -> None:
        """Raises ``VectorStoreError`` where a server's search would pass over one of them."""
        by_key: dict[str, list[str]] = {}
        for member in members:
            by_key.setdefault(member.collection_key, []).append(member.point_id)
        for key, points in by_key.items():
            if lacking := self.workspace.index.lacking(key, points):
                raise VectorStoreError(
                    f"collection {key} lacks {len(lacking):,} of the {len(points):,} vectors that are to be searched, "
                    "or its replicas do not agree on them",
                    hint="run `provenance reconcile`, or ingest the source again",
                )

    @contextmanager
    def _copying(self) -> Iterator[None]:
        """A local index is held while vectors are copied out of it, and no longer: other commands wait for it."""
        try:
            yield
        finally:
            self.workspace.release_index()

    def scoring_inputs(self, frozen: FrozenAudit) -> ScoringInputs:
        """What membership scores are computed from; reals in image_id order."""
        reals, release = self.of(frozen.judged_reals), self.of(frozen.release.members)
        reference = None if frozen.reference is None else self.of(frozen.reference.members)
        groups = [member.group_key for member in frozen.judged_reals]
        roles = frozen.role_of
        acting = np.array([roles[member.image_id].value for member in frozen.judged_reals])
        used, not_used = (np.flatnonzero(acting == role.value) for role in (Role.USED, Role.NOT_USED))
        return ScoringInputs(
            reals,
            release,
            groups,
            reference,
            self.threads,
            used=used if len(used) else None,
            not_used=not_used if len(not_used) else None,
            keep=partial(self._kept, [*frozen.judged_reals, *_all_of(frozen.release), *_all_of(frozen.reference)]),
        )

    def _kept(self, members: Sequence[Member], digest: str, make: Callable[[], Arrays]) -> Arrays:
        return kept_arrays(self.workspace.vector_folder, digest, make, partial(self._are_there, members))

    def _are_there(self, members: Sequence[Member]) -> bool:
        """Whether all are on record still: none was forgotten or removed since it was read."""
        return self.workspace.catalog.are_indexed([(m.collection_key, m.point_id) for m in members])

    def _some(self, members: Sequence[Member], in_flight: int | None = None) -> Float32s:
        """As ``of``, of what is not asked for again."""
        places = [self._places.get(vector_of(member)) for member in members]
        new = [row for row, place in enumerate(places) if place is None]
        if members and not new:
            return self._selected(np.array(places, dtype=np.int64))
        loaded = load_vectors(
            self.workspace.index,
            [(members[row].collection_key, members[row].point_id, members[row].vector_sha256) for row in new],
            parts=self.space.parts,
            dimension=self.space.dimension,
            in_flight=in_flight,
        )
        if len(new) == len(members):
            return loaded
        known = [row for row, place in enumerate(places) if place is not None]
        found = np.empty((len(members), *loaded.shape[1:]), dtype=np.float32)
        found[new], found[known] = loaded, self._selected(np.array([places[row] for row in known], dtype=np.int64))
        return found

    def moments(self, frozen: FrozenDataset) -> Moments:
        """Moments of all members of a dataset, from the cache as far as it holds them."""
        by_point = {member.point_id: member for member in frozen.members}
        with self._copying():
            return self.workspace.moments.for_members(
                frozen.collection_key,
                [(member.point_id, member.vector_sha256) for member in frozen.members],
                lambda points: self._some([by_point[point] for point in points]),
                dimension=self.space.dimension,
                is_current=partial(self._are_there, frozen.members),
            )

    def moments_of_reals(self, frozen: FrozenAudit) -> Moments:
        """Moments of the acting reals: the sets' moments less what is shared, excluded or claimed elsewhere."""
        total = reduce(Moments.combined, (self.moments(dataset) for dataset in frozen.sets))
        acting = {(m.collection_key, m.point_id) for m in frozen.judged_reals}
        idle = [m for s in frozen.sets for m in s.members if (m.collection_key, m.point_id) not in acting]
        with self._copying():
            return total.minus(Moments.from_vectors(self._some(idle))) if idle else total


def _all_of(dataset: FrozenDataset | None) -> Sequence[Member]:
    return () if dataset is None else dataset.members
