"""What every rule gives for one image, and the two numbers that all decisions share. Pure.

All similarities are cosines in [-1, 1], higher = closer. A score equal to a threshold is not above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provenance.vocabulary import Label

DECIMALS = 9
"""mu, sigma and T enter decisions and digests rounded to this many decimals."""

SIMILARITY_TOLERANCE = 1e-5
"""Across machines, builds and devices a similarity is equal within this; closer decisions are marked."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A label, the score it was decided on, and whether a tolerance-sized change could have turned it.

    Attributes:
        p_value: In (0, 1], where the rule has one; ``q_value`` likewise.
    """

    label: Label
    score: float
    near_threshold: bool
    p_value: float | None = None
    q_value: float | None = None
