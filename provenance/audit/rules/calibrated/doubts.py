"""Why nothing follows from the scores of a calibrated audit, whatever they are.

The sets are of another kind than each other, were taken for one another, are twins of one another, or differ by
themselves. What speaks against everything that is judged makes outcome and labels inconclusive; what speaks against the
images of unknown use alone, theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from provenance.audit.alike import gross_of, twins_too_many
from provenance.audit.inputs import CANDIDATES
from provenance.audit.rules.calibrated.exchangeability import apart_of, inconclusive
from provenance.detection.release.membership_test import LOWER
from provenance.vocabulary import Outcome, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.audit.inputs import FrozenAudit
    from provenance.audit.rules.calibrated.families import Families
    from provenance.audit.rules.calibrated.outcome import Conclusion
    from provenance.audit.rules.calibrated.parameters import CalibratedParameters
    from provenance.audit.scoring import ScoredReals
    from provenance.detection import ControlledVerdicts, ShiftCheck

    Shifts = Mapping[tuple[Role, ...], ShiftCheck]


@dataclass(frozen=True, slots=True)
class Doubts:
    """Each a sentence; empty: nothing says so.

    Attributes:
        whole: Why nothing follows for any image.
        unknown: Why nothing follows for images of unknown use.
        apart: What images claimed used and never-used ones differ in by themselves.
        no_guess: Why nothing is to be learnt from the known images.
    """

    whole: str
    unknown: str
    apart: str
    no_guess: str

    @classmethod
    def of(
        cls,
        frozen: FrozenAudit,
        rule: CalibratedParameters,
        scored: ScoredReals,
        shifts: Shifts,
        found: tuple[Conclusion, Families],
    ) -> Self:
        """By the sets themselves, by what was learnt, and by what would be said otherwise."""
        conclusion, verdicts = found
        claims = conclusion.outcome is Outcome.LEAK_ESTABLISHED or verdicts.established > 0
        learnt = doubt_of(scored, conclusion, rule.level)
        of_role = {}
        for role, family in verdicts.of_role.items():
            said = not learnt and (claims if role is Role.USED else family.established > 0)
            twins = twins_too_many(frozen, [role], rule.q, found=said)
            of_role[role] = gross_of(shifts.get((role,)), role), twins
        first = next(iter(of_role))
        gross, twins = of_role[first]
        lower = lower_of(scored, rule)
        apart = "" if rule.prior is None else apart_of(shifts.get((Role.USED,)))  # policies of before did not ask
        whole = gross or twins or learnt or lower or (apart if claims else "")
        unknown = next(filter(None, of_role.get(Role.AGAINST, ())), "")
        no_guess = gross if first is Role.USED else ""
        no_guess = no_guess or (lower and f"it may be the wrong way round. {lower}")
        return cls(whole, "" if whole else unknown, apart, no_guess)

    def weighed(self, verdicts: Families) -> Families:
        """Verdicts as far as anything follows from them."""
        if self.whole:
            return verdicts.undecided(inconclusive(self.whole))
        return verdicts.undecided(inconclusive(self.unknown), Role.AGAINST) if self.unknown else verdicts


def doubt_of_generated(
    frozen: FrozenAudit, rule: CalibratedParameters, shifts: Shifts, verdicts: ControlledVerdicts
) -> str:
    """The same of generated images, which are held against the used and unknown images as one."""
    roles = [role for role in CANDIDATES if frozen.reals.get(role)]
    gross = next(filter(None, (gross_of(shifts.get((role,)), role) for role in roles)), "")
    return gross or twins_too_many(frozen, roles, rule.q, found=verdicts.established > 0)


def doubt_of(scored: ScoredReals, conclusion: Conclusion, level: float) -> str:
    """Why nothing follows from what was learnt, in a sentence: the sets differ by themselves; empty: nothing says so.

    They are told apart without any release, or nearly as well as with it, or by what is learnt from a release that saw
    none of them.
    """
    if scored.learnt is None:
        return ""
    if scored.learnt.difference:
        return scored.learnt.difference
    test, excess = conclusion.release_test, scored.learnt.sets.excess
    if test is not None and test.outcome is Outcome.LEAK_ESTABLISHED and excess.p_value > level:
        more = excess.value or 0.0
        return (
            f"The images claimed used and those never used are told apart by what the release shows (AUC "
            f"{test.permutation.value:.2f}, p = {test.permutation.p_value:.2g}), but hardly better than without any "
            f"release (AUC {(test.permutation.value or 0.0) - more:.2f}; p = {excess.p_value:.2g} of so much more)."
        )
    control = None if test is None else test.control
    if control is None or control.value is None or control.p_value > level:
        return ""
    return (
        "The images claimed used and those never used differ by themselves: what is learnt from the reference release, "
        f"which saw none of them, tells them apart as well (AUC {control.value:.2f}, p = {control.p_value:.2g})."
    )


def lower_of(scored: ScoredReals, rule: CalibratedParameters) -> str:
    """Why what was learnt may be the wrong way round, in a sentence; empty: nothing says so.

    A learner given labels that were taken for one another tells the two apart as well. What nothing is learnt for then
    speaks against them.
    """
    test = None if scored.learnt is None else scored.learnt.lower(rule.permutations, rule.seed)
    if test is None or test.value is None or test.p_value > rule.level:
        return ""
    return (
        "Images claimed used score LOWER than images known not used by the part of the score that learns nothing, by "
        f"more than chance allows (AUC {1 - test.value:.2f}, p = {test.p_value:.2g}, level {rule.level:g}). {LOWER}"
    )
