"""Sensitivity: what share of planted copies of known strength does an audit find? Pure.

Wilson's score interval (Wilson 1927; scipy) for each kind and strength. The claim is made by fixed-sequence testing:
kinds and strengths are ordered by how close their plants are to the originals, closest first, which does not look at
what was found; the claim reaches down to the last one before the first whose lower bound is below the target.
So no correction for looking at many is needed, and "at least as close as" means all that stand before it.

With all found, the lower end of a 95 % interval is n / (n + z^2), z = 1.96: at 0.95 from n = 73 on.

Assumptions: plants were judged one at a time by the audit's own policy; copies in question are like the plants, made
of images like those; plants of one group are not independent, so that a kind has as many as it has groups.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, takewhile
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import UsageError
from provenance.findings import JsonValue

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


@dataclass(frozen=True, slots=True)
class Plant:
    """One planted copy and whether the audit found it.

    Attributes:
        kind: Such as ``jpeg`` or ``blend``.
        strength: The kind's own measure, such as quality 90 or weight 0.7; 0 for kinds without one.
        found: Whether it was ``established``.
        similarity: Cosine of the plant to its original in the audit's space, in [-1, 1].
        group: Of the original; ``None``: a group of its own.
    """

    kind: str
    strength: float
    found: bool
    similarity: float
    group: Hashable | None = None


@dataclass(frozen=True, slots=True)
class Detected:
    """Plants of one kind and strength.

    Attributes:
        plants: How many were judged, ``found`` how many of them were found.
        groups: How many groups their originals belong to: the n of the interval.
        share: found / plants.
        low: Lower end of Wilson's 95 % interval, ``high`` its upper end.
        similarity: Median cosine to the originals.
    """

    kind: str
    strength: float
    plants: int
    groups: int
    found: int
    share: float
    low: float
    high: float
    similarity: float

    @property
    def name(self) -> str:
        """Kind and strength in words."""
        return f"{self.kind} {self.strength:g}" if self.strength else self.kind


@dataclass(frozen=True, slots=True)
class Sensitivity(JsonValue):
    """What an audit would have seen.

    Attributes:
        rows: One a kind and strength, closest first.
        claimed: The weakest kind and strength that the claim reaches; ``None``: no claim.
        target: Share that the lower bound must reach, such as 0.95.
        sentence: The claim, or why there is none.
    """

    rows: tuple[Detected, ...]
    claimed: Detected | None
    target: float
    sentence: str


@lru_cache(maxsize=4096)
def wilson_interval(found: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, from scipy; two-sided.

    Raises:
        UsageError: If there is nothing to count, or the level is not in (0, 1).
    """
    from scipy.stats import binomtest

    if n < 1 or not 0 <= found <= n:
        raise UsageError(f"{found} found of {n} is no share")
    if not 0 < level < 1:
        raise UsageError(f"the level of an interval lies between 0 and 1, not {level}")
    ends = binomtest(found, n).proportion_ci(level, method="wilson")
    return max(0.0, float(ends.low)), min(1.0, float(ends.high))


def plants_needed(target: float = 0.95, level: float = 0.95) -> int:
    """How many plants, all found, put the lower bound at ``target``: 73 at 0.95.

    Raises:
        UsageError: If target or level is not in (0, 1).
    """
    if not 0 < target < 1:
        raise UsageError(f"the target lies between 0 and 1, not {target}")
    return next(n for n in count(1) if wilson_interval(n, n, level)[0] >= target)


def sensitivity_of(plants: Sequence[Plant], *, target: float = 0.95, level: float = 0.95) -> Sensitivity:
    """Detected shares of plants judged one at a time, with intervals, and the claim that they carry; see the module.

    Raises:
        UsageError: If there are no plants, a similarity is not in [-1, 1], or target or level is not in (0, 1).
    """
    if not plants:
        raise UsageError("no plants: there is no sensitivity to state")
    needed = plants_needed(target, level)
    cells: dict[tuple[str, float], list[Plant]] = defaultdict(list)
    for plant in plants:
        if not -1 <= plant.similarity <= 1:
            raise UsageError(f"a similarity lies in [-1, 1], not {plant.similarity}")
        cells[plant.kind, plant.strength].append(plant)
    rows = tuple(
        sorted(
            (_detected(key, cell, level) for key, cell in cells.items()),
            key=lambda row: (-row.similarity, row.kind, -row.strength),
        )
    )
    reached = list(takewhile(lambda row: row.low >= target, rows))
    claimed = reached[-1] if reached else None
    return Sensitivity(rows, claimed, target, _sentence(rows, claimed, target, needed))


def _detected(key: tuple[str, float], plants: list[Plant], level: float) -> Detected:
    lone = sum(plant.group is None for plant in plants)
    groups = lone + len({plant.group for plant in plants if plant.group is not None})
    found = sum(plant.found for plant in plants)
    # As many plants as groups: rounded down, so that a single miss always counts.
    low, high = wilson_interval(found * groups // len(plants), groups, level)
    share = found / len(plants)
    similarity = float(np.median([plant.similarity for plant in plants]))
    return Detected(*key, len(plants), groups, found, share, low, max(high, share), similarity)


def _sentence(rows: Sequence[Detected], claimed: Detected | None, target: float, needed: int) -> str:
    if claimed is not None:
        return (
            f"A copy at least as close as {claimed.name} (cosine {claimed.similarity:.3f} to its original) would have "
            f"been found in {100 * target:g} % of cases."
        )
    first = rows[0]
    if first.groups < needed:
        return (
            f"No sensitivity can be claimed: {needed} plants of a kind, all found, are needed, and the closest kind "
            f"({first.name}) has {first.groups}."
        )
    return (
        f"No sensitivity can be claimed: even of the closest copies ({first.name}) only {100 * first.share:.0f} % "
        f"were found ({first.low:.2f} to {first.high:.2f} by its interval)."
    )
