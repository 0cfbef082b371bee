"""What a search finds for one query: sources of the whole and of pieces. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from provenance.detection.copies.geometry import Transformation
    from provenance.detection.copies.pieces import Box

NO_EVIDENCE = -10.0
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Match:
    """One source registered with the query as a whole.

    Attributes:
        source: Row among the sources given.
        agreement: In [-1, 1], 6 decimals (pieces.py).
        overlap: Share of the query's structure that was compared.
        following: Share of that whose local correlation is 0.5 or more.
        transformation: From source to query.
        features: What evidence is made of (evidence.py).
        evidence: How much speaks for a copy; ``None`` before a ``Verifier`` has seen it.
    """

    source: int
    agreement: float
    overlap: float
    following: float
    transformation: Transformation
    features: tuple[float, ...] = ()
    evidence: float | None = None

    @property
    def covered(self) -> float:
        """Share of the query's structure that follows the source."""
        return round(self.overlap * self.following, DECIMALS)

    @property
    def strength(self) -> float:
        """What matches are ordered by: evidence, before verification agreement."""
        return self.agreement if self.evidence is None else self.evidence


@dataclass(frozen=True, slots=True)
class Piece:
    """A region of the query that agrees with a region of one source.

    Attributes:
        source: Row among the sources given.
        share: Of the query's structured pixels.
        area: Of the query's pixels.
        new_share: Of the query's structured pixels, without those of pieces named before it.
        box: Around its largest connected region, in the query.
        source_box: Around the same region, in the source.
        transformation: From source to query.
    """

    source: int
    share: float
    area: float
    new_share: float
    box: Box
    source_box: Box
    transformation: Transformation


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for one query.

    Attributes:
        matches: A source each, best first; empty without candidates.
        pieces: A source each, largest first, of 5 % of the structure or more.
        structure: Share of the query's pixels that have structure.
    """

    matches: tuple[Match, ...]
    pieces: tuple[Piece, ...]
    structure: float

    @property
    def agreement(self) -> float:
        """Of the best match; -1 without any."""
        return self.matches[0].agreement if self.matches else -1.0

    @property
    def evidence(self) -> float:
        """Of the best match, once verified; the least there is without any."""
        best = self.matches[0].evidence if self.matches else None
        return NO_EVIDENCE if best is None else best

    @property
    def share(self) -> float:
        """Of the largest piece; 0 without any."""
        return self.pieces[0].share if self.pieces else 0.0

    def margin(self, groups: Sequence[Hashable | None] | None = None) -> float | None:
        """Of the best match over the best of another group: in evidence, before verification in agreement.

        Args:
            groups: Of all sources; a source without one is a group of its own.

        Returns:
            ``None`` where no other was registered.
        """
        if not self.matches:
            return None
        best = self.matches[0]
        mine = None if groups is None else groups[best.source]
        others = [m.strength for m in self.matches[1:] if groups is None or mine is None or groups[m.source] != mine]
        return round(best.strength - max(others), DECIMALS) if others else None
