"""Real images claimed used, and real images of unknown use: a family of calibrated verdicts each.

Benjamini-Hochberg runs within a family. Of used images it is claimed already that they were used, so that their number
must not make it harder to establish an unknown one; and what is promised of unknown images (at most a share q of the
established ones is false, on average) must not be paid for by the used ones, which are true by claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.detection import calibrate
from provenance.vocabulary import Label, Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from provenance.detection import Calibrated

    Floats = NDArray[np.float64]

FAMILIES = (Role.AGAINST, Role.USED)
"""The first that has images is the one that an audit is about."""

_PER_IMAGE = ("labels", "p_values", "q_values")
_WORDS = {Role.AGAINST: "Images of unknown use", Role.USED: "Images claimed used"}


@dataclass(frozen=True, slots=True)
class Families:
    """Calibrated verdicts by role, and of every judged image in the order it was given in.

    Attributes:
        by_role: One entry for each role that has images, in the order of ``FAMILIES``.
        labels: Of each judged image.
        p_values: Likewise.
        q_values: Likewise; within its family.
    """

    by_role: Mapping[Role, Calibrated]
    labels: tuple[Label, ...]
    p_values: tuple[float, ...]
    q_values: tuple[float, ...]

    @property
    def main(self) -> Calibrated:
        """The family that the audit is about."""
        return next(iter(self.by_role.values()))

    @property
    def established(self) -> int:
        """How many images of all families are established."""
        return self.labels.count(Label.ESTABLISHED)

    @property
    def undecided(self) -> bool:
        """Whether every verdict is inconclusive."""
        return all(label is Label.INCONCLUSIVE for label in self.labels)

    @property
    def reasons(self) -> list[str]:
        """Why the labels are what they are; with the family's name where there are several."""
        if len(self.by_role) == 1:
            return [self.main.reason]
        return [f"{_WORDS[role]}: {family.reason}" for role, family in self.by_role.items()]

    def to_json(self) -> dict[str, Any]:
        """The figures of the main family, and of each where there are several, without what is said image by image."""
        found = {role.value: summary_of(family) for role, family in self.by_role.items()}
        facts = {**summary_of(self.main), "reason": " ".join(self.reasons), "established": self.established}
        return facts if len(found) == 1 else {**facts, "families": found}


def summary_of(verdicts: Calibrated) -> dict[str, Any]:
    """The figures of calibrated verdicts as JSON values, without what is said image by image."""
    return {name: value for name, value in verdicts.to_json().items() if name not in _PER_IMAGE}


def calibrate_families(
    scores: Floats,
    roles: Sequence[Role],
    groups: Sequence[str | None],
    calibration: Floats,
    calibration_groups: Sequence[str | None],
    q: float,
) -> Families:
    """p-values, q-values and labels of judged images, family by family.

    Args:
        scores: Of the judged images, (n,).
        roles: ``used`` or ``against``, of each.
        groups: Patient or study of each.
        calibration: Scores of the images known not used.
        calibration_groups: Patient or study of each of these.
        q: Level of the false discovery rate within a family.

    Raises:
        UsageError: As ``detection.calibrate``.
    """
    by_role: dict[Role, Calibrated] = {}
    merged: dict[int, tuple[Label, float, float]] = {}
    for role in FAMILIES:
        rows = [row for row, one in enumerate(roles) if one is role]
        if rows:
            mine = [groups[row] for row in rows]
            family = calibrate(
                scores[np.array(rows)], calibration, groups=mine, calibration_groups=calibration_groups, q=q
            )
            by_role[role] = family
            merged |= dict(zip(rows, zip(family.labels, family.p_values, family.q_values, strict=True), strict=True))
    labels, p_values, q_values = zip(*(merged[row] for row in range(len(scores))), strict=True)
    return Families(by_role, labels, p_values, q_values)
