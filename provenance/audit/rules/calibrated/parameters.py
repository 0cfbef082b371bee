"""The parameters of the rule ``calibrated``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from provenance.detection.calibrated.guess import check_prior
from provenance.errors import UsageError
from provenance.received import require_whole
from provenance.vocabulary import GroupScore

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class CalibratedParameters:
    """What ``calibrated`` judges by.

    Attributes:
        score: The membership score with all its parameters, ``{"score": NAME, ...}``; ``None`` for generated images,
            which have S_u, and until an audit fills in the default.
        q: Level of the false discovery rate, in (0, 1).
        level: Of the release test, in (0, 1).
        permutations: Of the release test, 1 or more.
        seed: Of permutations and bootstrap.
        prior: Share of the judged images that was used, as far as one knows beforehand: of the best guess; ``None``:
            a policy of before there was one, which judges without all that stands beside the strict label.
        group_score: What stands for a group where groups are judged too.
    """

    score: Mapping[str, Any] | None = None
    q: float = 0.05
    level: float = 0.05
    permutations: int = 9999
    seed: int = 0
    prior: float | None = None
    group_score: GroupScore = GroupScore.MEAN

    def __post_init__(self) -> None:
        if not 0 < self.q < 1:
            raise UsageError(f"q lies between 0 and 1, not {self.q}", hint="0.05 is usual (--fdr)")
        if not 0 < self.level < 1:
            raise UsageError(f"the level lies between 0 and 1, not {self.level}", hint="0.05 is usual")
        require_whole("permutations", self.permutations, 1, 1_000_000)
        require_whole("the seed", self.seed, 0, 2**63 - 1)
        if self.prior is not None:
            check_prior(self.prior)

    @property
    def score_name(self) -> str:
        """Name of the membership score; '' without one."""
        return str((self.score or {}).get("score", ""))

    @property
    def score_k(self) -> int:
        """Neighbors, for a score that takes them."""
        return int((self.score or {}).get("k", 1))

    @classmethod
    def from_json(cls, parameters: Mapping[str, Any]) -> Self:
        """From what ``to_json`` gave: what is no field is the score's."""
        own = {item.name for item in fields(cls)} - {"score"}
        score = {name: value for name, value in parameters.items() if name not in own}
        whole = {name: parameters[name] for name in ("permutations", "seed")}
        for name, value in whole.items():
            if type(value) is not int:
                raise UsageError(f"{name} must be a whole number, not {value!r}")
        beside: dict[str, Any] = {}
        if "prior" in parameters:
            beside = {"prior": float(parameters["prior"]), "group_score": GroupScore(parameters["group_score"])}
        return cls(score or None, float(parameters["q"]), float(parameters["level"]), **whole, **beside)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, those of the score among them."""
        rest: dict[str, Any] = {
            "q": float(self.q),
            "level": float(self.level),
            "permutations": self.permutations,
            "seed": self.seed,
        }
        if self.prior is not None:
            rest |= {"prior": float(self.prior), "group_score": self.group_score.value}
        return {**(self.score or {}), **rest}
