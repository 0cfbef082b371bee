"""The parameters of the rule ``copies``: what is asked, and every constant of the search that a result depends on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from provenance.detection.copies import calibration, evidence, judging, pieces, search, tail
from provenance.embedding.grey import EDGE
from provenance.errors import UsageError
from provenance.received import require_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

SEARCH = {
    "version": 6,
    "edge": EDGE,
    "candidates": search.CANDIDATES,
    "wholes": search.WHOLES,
    "pieces": search.PIECES,
    "agrees": pieces.AGREES,
    "twin_deviations": calibration.TWIN_DEVIATIONS,
    "tail_groups": tail.FEWEST_GROUPS,
    "tail_share": tail.SHARE,
    "tail_heavier": tail.HEAVIER,
    "tail_least_shape": tail.LEAST_SHAPE,
    "twin_follows": judging.TWIN_FOLLOWS,
    "ridge": evidence.RIDGE,
    "lacking": evidence.LACKING,
    "filters_from": evidence.LEAST_IMPOSTORS,
    "wholly": round(judging.WHOLLY, 6),
    "largely": judging.LARGELY,
}
"""The search as it is; a policy of another one is refused."""


@dataclass(frozen=True, slots=True)
class CopiesParameters:
    """What ``copies`` judges by.

    Attributes:
        q: Level of the false discovery rate of copies, and of part copies, in (0, 1).
        least_area: Share of the image that a region must have to be a part copy, in (0, 1).
        impostors: Real images that are searched among real ones of other groups, one a group.
    """

    q: float = 0.05
    least_area: float = 0.15
    impostors: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.q < 1:
            raise UsageError(f"q lies between 0 and 1, not {self.q}", hint="0.05 is usual (--fdr)")
        if not 0 < self.least_area < 1:
            raise UsageError(f"the least area lies between 0 and 1, not {self.least_area}")
        require_whole("impostors", self.impostors, 1, 1_000_000)

    @classmethod
    def from_json(cls, parameters: Mapping[str, Any]) -> Self:
        """From what ``to_json`` gave; of another search it is not read as if it were this one's."""
        own = {each.name: parameters[each.name] for each in fields(cls)}
        return cls(float(own["q"]), float(own["least_area"]), own["impostors"])

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the constants of the search."""
        own = {"q": float(self.q), "least_area": float(self.least_area), "impostors": self.impostors}
        return {**own, "search": dict(SEARCH)}
