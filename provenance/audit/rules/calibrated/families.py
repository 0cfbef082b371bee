"""Calibrated verdicts of real images, claim by claim.

Images claimed used and images of unknown use are two families, and the false discovery rate is controlled in each. In
one family the first would pay for errors among the second: with 200 claimed images all established and 200 unknown ones
of which none was used, Benjamini-Hochberg at 0.1 on all 400 allows some ten false ones, every one of them among the
unknown, which are what the question is about (Efron 2008 on separate and joint analyses).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.audit.inputs import CANDIDATES
from provenance.detection import Calibrated, calibrate
from provenance.errors import UsageError
from provenance.findings import CalibratedFigures, Family
from provenance.vocabulary import Label, Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.arrays import Float64s, Int64s
    from provenance.detection.learnt.learner import Learner

_WORDS = {Role.USED: "Images claimed used", Role.AGAINST: "Images of unknown use"}
_OF = {Role.USED: "of images claimed used", Role.AGAINST: "of images of unknown use"}
EVERY_GROUP_JUDGED = "every calibration group is judged as well: nothing is left to calibrate with"
_PER_IMAGE = ("labels", "p_values", "q_values")


@dataclass(frozen=True, slots=True)
class Families:
    """Verdicts of all judged images, in the order of their rows of the pool; ``of_role`` those of each family."""

    rows: Int64s
    roles: tuple[Role, ...]
    labels: tuple[Label, ...]
    p_values: tuple[float, ...]
    q_values: tuple[float, ...]
    of_role: Mapping[Role, Calibrated]

    def undecided(self, reason: str, only: Role | None = None) -> Families:
        """The same with nothing established, for a reason that speaks against all of them, or against one family."""
        against = [only is None or role is only for role in self.roles]
        labels = tuple(Label.INCONCLUSIVE if each else label for each, label in zip(against, self.labels, strict=True))
        of_role = {
            role: each.undecided(reason) if only in (None, role) else each for role, each in self.of_role.items()
        }
        return replace(self, labels=labels, of_role=of_role)

    @property
    def asked(self) -> Calibrated:
        """The family that the question is about: images of unknown use where there are some, else the claimed ones."""
        return self.of_role.get(Role.AGAINST) or self.of_role[Role.USED]

    @property
    def established(self) -> int:
        """How many images are established, in all families."""
        return self.labels.count(Label.ESTABLISHED)

    @property
    def reason(self) -> str:
        """Why the labels are what they are, family by family where there are two."""
        if len({each.reason for each in self.of_role.values()}) == 1:
            return self.asked.reason
        return " ".join(
            f"{_WORDS[role]}: {each.reason[0].lower()}{each.reason[1:]}" for role, each in self.of_role.items()
        )

    @property
    def because(self) -> str:
        """Why no image is established, as the end of a sentence, family by family where there are two."""
        said = {role: each.reason.removeprefix("Inconclusive: ") for role, each in self.of_role.items()}
        if len(set(said.values())) == 1:
            return _lower(self.asked.reason.removeprefix("Inconclusive: "))
        return "; ".join(f"{_OF[role]}, {_lower(each).rstrip('.')}" for role, each in said.items()) + "."

    @property
    def warnings(self) -> tuple[str, ...]:
        """What weakens the p-values, each once."""
        return tuple(dict.fromkeys(warning for each in self.of_role.values() for warning in each.warnings))

    @property
    def figures(self) -> CalibratedFigures:
        """As an audit records it: figures of the family in question, and of every family by its role."""
        return figures_of(
            self.asked,
            established=self.established,
            reason=self.reason,
            warnings=self.warnings,
            families={role.value: family_of(each) for role, each in self.of_role.items()},
        )


def _lower(sentence: str) -> str:
    return f"{sentence[:1].lower()}{sentence[1:]}"


def figures_of(asked: Family, **others: Any) -> CalibratedFigures:
    """The figures of a family, and others beside or in their place."""
    return CalibratedFigures(**{each.name: getattr(asked, each.name) for each in fields(Family)} | others)


def family_of(verdicts: Calibrated) -> Family:
    """Everything but what is recorded with each verdict."""
    return Family(**{each.name: getattr(verdicts, each.name) for each in fields(Family)})


def judged_groups_of(groups: Sequence[str | None], rows_of: Mapping[Role, Int64s]) -> set[str | None]:
    """The groups of judged images: a not-used image of one of them does not calibrate."""
    return {groups[row] for role in CANDIDATES for row in rows_of.get(role, ()) if groups[row] is not None}


def judge_families(
    scores: Float64s,
    groups: Sequence[str | None],
    rows_of: Mapping[Role, Int64s],
    *,
    q: float,
    moved: float = 0.0,
    learner: Learner | None = None,
) -> Families:
    """Calibrate each claim by the not-used images, one vote a group.

    Args:
        scores: Of the whole pool, shape (n,); ``groups`` likewise.
        groups: Patient or study of each image.
        rows_of: Rows of each role; not-used images calibrate, and lose the groups that are judged as well.
        q: Level of the false discovery rate in each family.
        moved: Added to the scores of the judged images.
        learner: Of scores that were learnt: its p-values, by models that saw neither of the images compared.

    Raises:
        UsageError: If every calibration group is judged as well.
    """
    judged_groups = judged_groups_of(groups, rows_of)
    known = [row for row in rows_of[Role.NOT_USED].tolist() if groups[row] not in judged_groups]
    dropped = len({groups[row] for row in rows_of[Role.NOT_USED].tolist()} & judged_groups)
    if not known:
        raise UsageError(EVERY_GROUP_JUDGED)
    are = "1 group that is judged as well was" if dropped == 1 else f"{dropped:,} groups that are judged as well were"
    dropped_words = (f"{are} left out of the calibration.",) if dropped else ()
    of_role = {}
    for role in CANDIDATES:
        if len(rows := rows_of.get(role, np.zeros(0, dtype=np.int64))):
            found = calibrate(
                scores[rows] + moved,
                scores[known],
                groups=[groups[row] for row in rows.tolist()],
                calibration_groups=[groups[row] for row in known],
                q=q,
                p_values=None if learner is None else learner.p_values(rows, np.array(known), moved=moved),
            )
            of_role[role] = replace(found, warnings=(*dropped_words, *found.warnings))
    rows = np.concatenate([rows_of[role] for role in of_role])
    order = np.argsort(rows)
    columns = [[value for each in of_role.values() for value in getattr(each, name)] for name in _PER_IMAGE]
    labels, p_values, q_values = (tuple(column[place] for place in order.tolist()) for column in columns)
    roles = [role for role, each in of_role.items() for _ in each.labels]
    return Families(rows[order], tuple(roles[place] for place in order.tolist()), labels, p_values, q_values, of_role)
