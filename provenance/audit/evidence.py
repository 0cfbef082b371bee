"""The evidence: verified vectors, exact neighbors, and the threshold they give."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from provenance.audit.nearest import nearest_by_parts
from provenance.audit.scoring import ScoringInputs
from provenance.detection import Policy, Threshold, near_rounding_boundary, threshold_of_moments
from provenance.errors import SpaceMismatchError
from provenance.index import (
    Moments,
    content_digest,
    direct_pairwise,
    ensure_vector_file,
    load_vectors,
    needs_direct,
    neighbors_by_engine,
    pairwise,
    prune,
)
from provenance.vocabulary import Role, RuleName, Subject

if TYPE_CHECKING:
    from provenance.audit.inputs import FrozenAudit, FrozenDataset
    from provenance.installation import Installation
    from provenance.records import Member
    from provenance.vocabulary import Space

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
Count = Callable[[str, int, int], None]


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


def gather(
    workspace: Installation, frozen: FrozenAudit, policy: Policy, on_step: Callable[[str], None]
) -> list[SubjectEvidence]:
    """Exact neighbors of every subject, sorted by image_id.

    A generated subject is compared with the acting images of each role; a real one with the release. Calibrated
    verdicts of real images are about those that were or may have been used. In a local space, which only calibrated
    rules judge in, similarity is the mean of the cosines of the parts.

    Raises:
        VectorStoreError: If a stored vector is missing or is not the one that was recorded.
        SpaceMismatchError: If the space is not a whole-image space, and the rule needs one.
    """
    calibrated = policy.rule is RuleName.CALIBRATED
    if frozen.space.parts != 1 and not calibrated:
        raise SpaceMismatchError(
            f"rule {policy.rule.value} judges whole images; {frozen.space.backbone} gives {frozen.space.parts} parts",
            hint="choose a whole-image space with --space",
        )
    search = VectorSearch(workspace, frozen.space, on_step)
    generated = frozen.release.members
    if policy.subject is Subject.REAL:
        reals = frozen.candidates if calibrated else frozen.judged_reals
        nearest = search.nearest(search.vectors(reals), Role.RELEASE, generated, policy.top_k)
        roles = {m.image_id: role for role, members in frozen.reals.items() for m in members}
        subjects = [SubjectEvidence(m, roles[m.image_id], n) for m, n in zip(reals, nearest, strict=True)]
    else:
        queries = search.vectors(generated)
        found: list[tuple[Nearest, ...]] = [() for _ in generated]
        for role, members in sorted(frozen.reals.items()):
            nearest = search.nearest(queries, role, members, policy.top_k)
            found = [mine + more for mine, more in zip(found, nearest, strict=True)]
        subjects = [SubjectEvidence(m, Role.RELEASE, n) for m, n in zip(generated, found, strict=True)]
    prune(workspace.vector_folder, workspace.settings.vector_cache_bytes)
    return subjects


def scoring_inputs(workspace: Installation, frozen: FrozenAudit, on_step: Callable[[str], None]) -> ScoringInputs:
    """What membership scores of a frozen audit are computed from, verified; reals in image_id order.

    Raises:
        VectorStoreError: If a stored vector is missing or is not the one that was recorded.
    """
    search = VectorSearch(workspace, frozen.space, on_step)
    pool = frozen.judged_reals
    reference = None if frozen.reference is None else search.vectors(frozen.reference.members)
    release, groups = search.vectors(frozen.release.members), [member.group_key for member in pool]
    return ScoringInputs(search.vectors(pool), release, groups, reference, workspace.settings.threads)


class VectorSearch:
    """Vectors and neighbors of frozen members: over a verified local file, or by asking a server."""

    def __init__(self, workspace: Installation, space: Space, on_step: Callable[[str], None]) -> None:
        self.workspace = workspace
        self.space = space
        self.on_step = on_step

    def nearest(
        self, queries: FloatArray, role: Role, references: Sequence[Member], k: int
    ) -> list[tuple[Nearest, ...]]:
        """The k nearest references of each query, ranked."""
        self.on_step(f"comparing {len(queries):,} images with {len(references):,} ({role.value})")
        if self.workspace.exports_vectors or self.space.parts != 1:
            threads = self.workspace.settings.threads
            rows, similarities = nearest_by_parts(queries, self.vectors(references), k, threads=threads)
        else:
            keys = sorted({member.collection_key for member in references})
            rank = {member.point_id: row for row, member in enumerate(references)}
            digests = {member.point_id: member.vector_sha256 for member in references}
            rows, similarities = neighbors_by_engine(self.workspace.index, keys, queries, k, rank, digests=digests)
        pairs = zip(rows.tolist(), similarities.tolist(), strict=True)
        return [_ranked(role, references, row, value) for row, value in pairs]

    def vectors(self, members: Sequence[Member]) -> FloatArray:
        """Verified vectors, float32 (n, parts, dim), in the order of ``members`` (image_id order)."""
        if not self.workspace.exports_vectors:
            return self._load(members)
        return ensure_vector_file(
            self.workspace.vector_folder,
            content_digest(self.space.space_id, [(m.image_id, m.vector_sha256) for m in members]),
            [m.vector_sha256 for m in members],
            lambda start, stop: self._load(members[start:stop]),
            parts=self.space.parts,
            dimension=self.space.dimension,
            threads=self.workspace.settings.threads,
        )

    def _load(self, members: Sequence[Member]) -> FloatArray:
        return load_vectors(
            self.workspace.index,
            [(m.collection_key, m.point_id, m.vector_sha256) for m in members],
            parts=self.space.parts,
            dimension=self.space.dimension,
        )

    def moments(self, frozen: FrozenDataset) -> Moments:
        """Moments of all members of a dataset, from the cache as far as it holds them."""
        by_point = {member.point_id: member for member in frozen.members}
        return self.workspace.moments.for_members(
            frozen.collection_key,
            [(member.point_id, member.vector_sha256) for member in frozen.members],
            lambda points: self._load([by_point[point] for point in points]),
            dimension=self.space.dimension,
        )

    def moments_of_reals(self, frozen: FrozenAudit) -> Moments:
        """Moments of the acting reals: the sets' moments less what is shared, excluded or claimed elsewhere."""
        total = reduce(Moments.combined, (self.moments(dataset) for dataset in frozen.sets))
        acting = {(m.collection_key, m.point_id) for m in frozen.judged_reals}
        idle = [m for s in frozen.sets for m in s.members if (m.collection_key, m.point_id) not in acting]
        return total.minus(Moments.from_vectors(self._load(idle))) if idle else total


def _ranked(
    role: Role, references: Sequence[Member], rows: list[int], similarities: list[float]
) -> tuple[Nearest, ...]:
    return tuple(
        Nearest(role, rank, references[row], similarity)
        for rank, (row, similarity) in enumerate(zip(rows, similarities, strict=True), start=1)
        if row >= 0
    )


def pairwise_threshold(workspace: Installation, frozen: FrozenAudit, alpha: float) -> Threshold:
    """T over ALL cosines between the release and the acting reals, from the collections' moments.

    No pair is visited: the cost does not depend on how many images there are (``provenance.index.moments``).
    Where the moments' rounding error could show in the recorded decimals, mu and sigma are computed again
    from the vectors, centred and in image_id order.
    """
    search = VectorSearch(workspace, frozen.space, lambda _step: None)
    release, reals = search.moments(frozen.release), search.moments_of_reals(frozen)
    mu, variance = pairwise(release, reals)
    sigma = math.sqrt(variance)
    if needs_direct(mu, variance) or near_rounding_boundary(mu, sigma, alpha):
        mu, sigma = direct_pairwise(search.vectors(frozen.release.members), search.vectors(frozen.judged_reals))
    return threshold_of_moments(mu, sigma, release.n * reals.n, alpha)
