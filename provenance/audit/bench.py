"""What a rule judges with: an audit's images and their vectors; and, for plants, what the audit has on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.audit.nearest import concatenated, nearest_by_parts
from provenance.detection.scores.neighborhoods import cosine_blocks, fixed_point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from provenance.arrays import Flags, Float32s, Float64s
    from provenance.audit.evidence import Vectors
    from provenance.audit.inputs import FrozenAudit
    from provenance.detection import Reach, ReleaseDesign
    from provenance.installation import Installation
    from provenance.records import AuditRecord, Member, StoredVerdict


@dataclass(frozen=True, slots=True)
class Bench:
    """What a rule judges with: the workspace, the audit's images, their vectors, and who is told."""

    workspace: Installation
    frozen: FrozenAudit
    vectors: Vectors
    on_step: Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class PlantVectors:
    """Plants with their vectors; row i of each is one plant.

    Attributes:
        originals: The image that each copies.
        vectors: float32 (p, parts, dim).
        similarities: Cosine of each to its original, over all parts, float64 (p,).
        identical: Which are their originals in the release's size and format, pixel by pixel; bool (p,).
        further: Vectors in the further spaces that the rule asked for, by ``space_id``.
    """

    originals: tuple[Member, ...]
    vectors: Float32s
    similarities: Float64s
    identical: Flags
    further: Mapping[str, Float32s]


@dataclass(frozen=True, slots=True)
class PlantBench(Bench):
    """What plants are judged with, one at a time: the audit on record with its verdicts by image_key.

    ``on_judged`` is told how many plants are judged.
    """

    record: AuditRecord
    verdicts: Mapping[str, StoredVerdict]
    on_judged: Callable[[int], None]

    def recorded_maxima(self) -> list[tuple[float | None, float | None]]:
        """Of each verdict on a generated image: S_u, over candidates of both roles, and S_n."""
        pairs = (((v.s_used, v.s_against), v.s_not_used) for v in self.verdicts.values())
        return [(max((s for s in own if s is not None), default=None), other) for own, other in pairs]

    def maxima(self, plants: PlantVectors, members: Sequence[Member]) -> Float64s:
        """The greatest cosine of each plant to some real images."""
        return nearest_by_parts(plants.vectors, self.vectors.of(members), 1, threads=self.vectors.threads)[1][:, 0]

    def to_reals(self, plants: PlantVectors) -> Iterator[Float64s]:
        """For each plant its cosines to all real images, (n,)."""
        reals = fixed_point(concatenated(self.vectors.of(self.frozen.judged_reals))[:, 0], "reals")
        for _, part in cosine_blocks(fixed_point(concatenated(plants.vectors)[:, 0], "plants"), reals):
            yield from part


@dataclass(frozen=True, slots=True, eq=False)
class JudgedCopies:
    """What a rule says of plants, each judged alone; what the audit has on record is not judged again.

    Attributes:
        found: Whether each is labelled as a copy, or its original as used; bool (p,).
        outranks: Whether its p-value is the smallest there can be; ``None`` for rules without p-values.
        reach: ``None`` likewise.
        scores: Of each original with its plant in the release; ``None`` where there is no release test of such scores.
        design: What that test was made on, without any plant; ``None`` likewise.
    """

    found: Flags
    outranks: Flags | None = None
    reach: Reach | None = None
    scores: Float64s | None = None
    design: ReleaseDesign | None = None
