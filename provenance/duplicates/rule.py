"""What counts as a near-duplicate. The parameters are evidence: reports and audits record them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from provenance.errors import UsageError
from provenance.images import HASH_BITS, PERCEPTUAL_HASH
from provenance.vocabulary import Evidence

# Measured on brain MRI and on two reconstructions of a chest CT: docs/decisions/0006-near-duplicates.md.
HASH_DISTANCE = 4
MIN_SIMILARITY = {Evidence.BOTH: 0.65, Evidence.EITHER: 0.99}


@dataclass(frozen=True, slots=True)
class DuplicateRule:
    """When two images are near-duplicates.

    Both of these for evidence ``both``, one of them at least for ``either``:

        d(a, b) <= hash_distance        cos(a, b) >= min_similarity

    with d the number of bits in which their perceptual hashes differ. Values equal to a limit are in. The same pixels
    are duplicates whatever the limits.

    Attributes:
        evidence: Whether both conditions are asked for, or either.
        hash_distance: Bits, 0 to 64.
        min_similarity: Cosine of the embeddings; what it means depends on the space.
    """

    evidence: Evidence = Evidence.BOTH
    hash_distance: int = HASH_DISTANCE
    min_similarity: float = MIN_SIMILARITY[Evidence.BOTH]

    def __post_init__(self) -> None:
        if not 0 <= self.hash_distance <= HASH_BITS:
            raise UsageError(f"the hash distance must be 0 to {HASH_BITS} bits, not {self.hash_distance}")
        if not -1.0 <= self.min_similarity <= 1.0:
            raise UsageError(f"the least similarity must be a number from -1 to 1, not {self.min_similarity}")

    @classmethod
    def chosen(
        cls, evidence: Evidence = Evidence.BOTH, hash_distance: int | None = None, min_similarity: float | None = None
    ) -> Self:
        """A rule with the defaults of its kind of evidence where a limit is ``None``."""
        distance = HASH_DISTANCE if hash_distance is None else hash_distance
        return cls(evidence, distance, MIN_SIMILARITY[evidence] if min_similarity is None else min_similarity)

    @property
    def parameters(self) -> dict[str, Any]:
        """The rule as JSON values, with the name of the hash."""
        return {
            "evidence": self.evidence.value,
            "hash": PERCEPTUAL_HASH,
            "hash_distance": self.hash_distance,
            "min_similarity": float(self.min_similarity),
        }
