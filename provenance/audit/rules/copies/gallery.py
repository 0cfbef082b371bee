"""The images of an audit as grey levels, and the search of any of them among the real ones that may be sources.

Every query is searched in the same way, generated or real: candidates are the images that its windows vote for and its
nearest in the audit's own space, never an image of its own group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.evidence import Vectors
from provenance.audit.inputs import CANDIDATES
from provenance.audit.nearest import nearest_of_other_groups
from provenance.audit.pixels import pixels_space
from provenance.audit.resolution import embed_missing
from provenance.audit.scoring import one_thread
from provenance.detection.copies.retrieval import sources_of
from provenance.detection.copies.search import rows_of_own_group, search
from provenance.detection.copies.structure import flattened
from provenance.embedding.grey import grey_levels
from provenance.errors import ConflictError
from provenance.index import available_threads
from provenance.pace import throttled
from provenance.spaces import members_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provenance.arrays import Float32s
    from provenance.audit.bench import Bench
    from provenance.audit.evidence import SubjectEvidence
    from provenance.audit.rule import OnStep
    from provenance.detection.copies.found import Found
    from provenance.detection.copies.retrieval import Sources
    from provenance.installation import Installation
    from provenance.records import Dataset, Member
    from provenance.vocabulary import Space

_SECONDS_OF_SILENCE = 8.0
_BLOCK = 4096
"""Images that are searched at once; any number gives the same."""


def group_of(member: Member) -> str:
    """Its patient or study; an image without one is a group of its own."""
    return member.group_key or member.image_id


def make_pixels(workspace: Installation, datasets: Sequence[Dataset], space: Space, on_step: OnStep) -> None:
    """Give every image of some datasets its grey levels, from the recorded sources where they are missing.

    Raises:
        SourceError: If an image can't be read again.
    """
    embed_missing(workspace, datasets, space, "leave copies out: --only membership,baseline", on_step)


@dataclass(frozen=True, eq=False)
class Gallery:
    """An audit's images in the space of grey levels."""

    bench: Bench

    @cached_property
    def space(self) -> Space:
        """See ``pixels_space``."""
        return pixels_space(self.bench.workspace, self.bench.frozen.release.dataset)

    @cached_property
    def _members(self) -> dict[str, Member]:
        frozen, workspace = self.bench.frozen, self.bench.workspace
        datasets = [each.dataset for each in (frozen.release, *frozen.sets)]
        make_pixels(workspace, datasets, self.space, self.bench.on_step)
        found: dict[str, Member] = {}
        for dataset in datasets:
            for member in members_in(workspace.catalog, dataset, self.space)[1]:
                other = found.get(member.image_id)
                if other is None or member.vector_sha256 < other.vector_sha256:
                    found[member.image_id] = member
        return found

    @cached_property
    def _vectors(self) -> Vectors:
        return Vectors(self.bench.workspace, self.space, [tuple(self._members.values())], self.bench.on_step)

    @cached_property
    def candidates(self) -> tuple[Member, ...]:
        """The real images that may be sources, in the order of the rows that are found."""
        return self.bench.frozen.candidates

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each candidate, by image_id."""
        return {member.image_id: row for row, member in enumerate(self.candidates)}

    @cached_property
    def sources(self) -> Sources:
        """The candidates made ready."""
        with one_thread():
            return sources_of(self.images(self.candidates))

    def images(self, members: Sequence[Member]) -> Float32s:
        """Grey levels, float32 (n, 64, 64); 0 throughout of an image that shows nothing."""
        there = self._members
        if missing := [member for member in members if member.image_id not in there]:
            raise ConflictError(f"{len(missing):,} images were forgotten while they were audited", hint="audit again")
        return flattened(grey_levels(self._vectors.of([there[member.image_id] for member in members]), self.space))

    def blocks(self, members: Sequence[Member], size: int) -> Iterator[Float32s]:
        """Grey levels, ``size`` images at a time: memory does not grow with their number."""
        return (self.images(members[start : start + size]) for start in range(0, len(members), size))

    def of_subjects(self, subjects: Sequence[SubjectEvidence]) -> tuple[Found, ...]:
        """What is found of the judged images."""
        near = [
            [self.row_of[n.member.image_id] for n in subject.neighbors if n.role in CANDIDATES] for subject in subjects
        ]
        found: list[Found] = []
        for images in self.blocks([subject.member for subject in subjects], _BLOCK):
            here = slice(len(found), len(found) + len(images))
            found += self.found(images, near[here], counted=(here.start, len(subjects)))
        return tuple(found)

    def of_reals(self, members: Sequence[Member]) -> tuple[Found, ...]:
        """What is found of real images among the candidates of other groups."""
        groups = [group_of(member) for member in members]
        left_out = rows_of_own_group(groups, [group_of(member) for member in self.candidates])
        return self.found(self.images(members), self._nearest(members), left_out)

    def found(
        self,
        images: Float32s,
        near: Sequence[Sequence[int]],
        left_out: Sequence[Sequence[int]] | None = None,
        *,
        counted: tuple[int, int] | None = None,
    ) -> tuple[Found, ...]:
        """The search itself.

        Args:
            images: What is searched.
            near: Rows of candidates that the audit's space adds.
            left_out: Rows of candidates that are not looked at.
            counted: Where these are a part: how many came before, and how many there are in all.
        """
        say = throttled(self.bench.on_step, _SECONDS_OF_SILENCE)
        before, of = counted or (0, len(images))
        threads = self.bench.vectors.threads or available_threads()
        with one_thread():
            return search(
                images,
                self.sources,
                left_out=left_out,
                candidates=near,
                threads=threads,
                progress=lambda done, _: say(f"{before + done:,} of {of:,} images"),
            )

    def _nearest(self, members: Sequence[Member]) -> list[list[int]]:
        # As many of each role as the audit's own subjects have on record.
        frozen, vectors = self.bench.frozen, self.bench.vectors
        near: list[list[int]] = [[] for _ in members]
        for role in CANDIDATES:
            if not (theirs := frozen.reals.get(role, ())):
                continue
            names = {name: code for code, name in enumerate(sorted({*map(group_of, members), *map(group_of, theirs)}))}
            codes = (np.array([names[group_of(m)] for m in each], dtype=np.int64) for each in (members, theirs))
            rows, _ = nearest_of_other_groups(
                vectors.of(members), vectors.of(theirs), frozen.top_k, *codes, threads=vectors.threads
            )
            for mine, found in zip(near, rows.tolist(), strict=True):
                mine += [self.row_of[theirs[row].image_id] for row in found]
        return near
