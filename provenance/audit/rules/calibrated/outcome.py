"""The outcome of a calibrated audit: release test of real images with what stands beside it, and its sentence.

One statistic, declared beforehand, decides. With used and not-used sets: the AUC of the membership score, tested by
permutation of groups. With unknown sets alone: whether any image is established (Benjamini-Hochberg controls the chance
of that at q where nothing was used). Of generated images: whether any is established as a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.alike import twins_too_many
from provenance.audit.nearest import rounded_neighbors
from provenance.audit.rules.calibrated.exchangeability import inconclusive
from provenance.detection import NearestLists, ReleaseTest, Resampling, data_copying, judge_release
from provenance.detection.checks import group_codes
from provenance.detection.release.membership_test import NO_SENSITIVITY
from provenance.findings import UNNAMED, DataCopying, GuessFigures, NotComputed, Statements
from provenance.vocabulary import Label, Outcome, Role, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.arrays import Flags, Int64s
    from provenance.audit.inputs import FrozenAudit
    from provenance.audit.rules.calibrated.families import Families
    from provenance.audit.rules.calibrated.parameters import CalibratedParameters
    from provenance.audit.scoring import ScoredReals
    from provenance.audit.scoring_inputs import ScoringInputs
    from provenance.detection import ControlledVerdicts
    from provenance.findings import CalibratedFindings

NEAREST_REALS = 50
"""Places of the lists over which labels are permuted: none of them holds a member once in 2^50 permutations."""

COPYING_PERMUTATIONS = 999


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What an audit concludes for its release, why in words, and the statistics where there are claimed members."""

    outcome: Outcome
    reason: str
    release_test: ReleaseTest | None = None
    data_copying: DataCopying | NotComputed | None = None


def conclude_by_members(
    rule: CalibratedParameters,
    inputs: ScoringInputs,
    scored: ScoredReals,
    members: Int64s,
    non_members: Int64s,
    *,
    established: int,
) -> Conclusion:
    """Claimed members against known non-members, with attribution share, C_T and AuthPct beside.

    Where the test sees no leak, and images are established all the same (a few copies among many used images do not
    move the AUC), the two do not agree, and the outcome is inconclusive. Members and non-members are rows of the pool.
    """
    rows = np.concatenate([members, non_members])
    flags = np.arange(len(rows)) < len(members)
    groups = [inputs.groups[row] for row in rows.tolist()]
    test = judge_release(
        scored.scores[rows],
        flags,
        groups=groups,
        control_scores=None if scored.control is None else scored.control[rows],
        learning=None if scored.learnt is None else scored.learnt.learning(rows),
        level=rule.level,
        permutations=rule.permutations,
        resampling=Resampling(seed=rule.seed),
        seed=rule.seed,
    )
    return Conclusion(*_reconciled(test, established), test, _copying(rule, inputs, rows, flags))


def undecided(conclusion: Conclusion, doubt: str) -> Conclusion:
    """The same conclusion, where nothing follows from it."""
    reason, test = inconclusive(doubt), conclusion.release_test
    test = test and replace(test, outcome=Outcome.INCONCLUSIVE, reason=reason)
    return replace(conclusion, outcome=Outcome.INCONCLUSIVE, reason=reason, release_test=test)


def with_unnamed(verdicts: Families, conclusion: Conclusion, frozen: FrozenAudit) -> tuple[Families, Conclusion]:
    """Of a release that leaks, why no single image can be named where none is established."""
    if conclusion.outcome is not Outcome.LEAK_ESTABLISHED or verdicts.established:
        return verdicts, conclusion
    twins = twins_too_many(frozen, tuple(verdicts.of_role), verdicts.asked.q)
    reason = f"{UNNAMED} {twins or verdicts.because}"
    said = {role: replace(family, reason=reason) for role, family in verdicts.of_role.items()}
    return replace(verdicts, of_role=said), replace(conclusion, reason=f"{conclusion.reason} {reason}")


def _reconciled(test: ReleaseTest, established: int) -> tuple[Outcome, str]:
    if not established or test.outcome is Outcome.LEAK_ESTABLISHED:
        return test.outcome, test.reason
    images = "1 image is" if established == 1 else f"{established:,} images are"
    first = test.reason.removeprefix("Inconclusive: ").removesuffix(NO_SENSITIVITY).strip()
    return Outcome.INCONCLUSIVE, (
        f"Inconclusive: the images claimed used do not give the release away as a whole, and yet {images} established: "
        f"look at them. The release test: {first}"
    )


def _copying(
    rule: CalibratedParameters, inputs: ScoringInputs, rows: Int64s, flags: Flags
) -> DataCopying | NotComputed:
    order = np.argsort(rows)  # image_id order: equal similarities stand in it
    reals, known = inputs.pool[rows[order]], flags[order]
    groups = [inputs.groups[row] for row in rows[order].tolist()]
    codes, count = group_codes(groups, len(rows))
    if count < 2:
        return NotComputed("not computed: all reals are of one group")
    to_release = rounded_neighbors(inputs.release, reals, NEAREST_REALS)
    to_reals = rounded_neighbors(reals, reals, NEAREST_REALS, codes, codes)
    return data_copying(
        NearestLists(*to_release),
        NearestLists(*to_reals),
        known,
        groups=groups,
        permutations=COPYING_PERMUTATIONS,
        seed=rule.seed,
    )


def conclude_by_established(verdicts: Families | ControlledVerdicts, subjects: str, q: float) -> Conclusion:
    """Where there are no claimed members to compare: any established image is a leak."""
    if established := verdicts.established:
        what = f"1 of the {subjects} is" if established == 1 else f"{established:,} of the {subjects} are"
        return Conclusion(
            Outcome.LEAK_ESTABLISHED,
            f"{what} established at a false discovery rate of {q:g}: the release leaks training data. Had it used none "
            f"of the images, chance would say so in at most {100 * q:g} % of audits.",
        )
    if set(verdicts.labels) <= {Label.INCONCLUSIVE}:
        return Conclusion(Outcome.INCONCLUSIVE, verdicts.reason)
    return Conclusion(Outcome.LEAK_NOT_ESTABLISHED, f"{verdicts.reason} {NO_SENSITIVITY}")


def _of_claims(found: CalibratedFindings) -> str:
    unknown = (found.calibration.families or {}).get(Role.AGAINST)
    return "" if unknown is None else f" ({unknown.established:,} of them of unknown use, the others claimed used)"


def stated(found: CalibratedFindings, counts: Mapping[str, int], subject: Subject) -> Statements:
    """What is known of the use of images, and what could not be told."""
    what, was = ("real images", "used") if subject is Subject.REAL else ("generated images", "copied from used ones")
    known, test = [], found.release_test
    if test is not None and test.auc.value is not None and test.outcome is Outcome.LEAK_ESTABLISHED:
        known.append(
            "Images claimed used score higher than images known not used, more than chance allows (AUC "
            f"{test.auc.value:.2f}, where 0.5 is chance; p = {test.permutation.p_value:.2g}), if the two sets are "
            "alike but for their use."
        )
    if established := counts["established"]:
        known.append(
            f"{established:,} of {counts['subjects']:,} {what} {'was' if established == 1 else 'were'} {was}"
            f"{_of_claims(found)}, at a false discovery rate of {found.calibration.q:g}: on average at most that share "
            "of them is wrong."
        )
    guessed = () if not isinstance(found.guess, GuessFigures) else (f"Best guess: {found.guess.sentence}",)
    unknown = []
    if test is not None and test.outcome is not Outcome.LEAK_ESTABLISHED:
        unknown.append("Whether the used images as a whole give the release away: the release test does not show it.")
    if found.groups is not None:
        some = any(each.established_groups for each in found.groups.families.values())
        (known if some else unknown).append(found.groups.sentence)
    if counts["not_established"]:
        unknown.append(
            f"{counts['not_established']:,} {what} are not established. That is not \u201cnot used\u201d: it could not "
            "be shown."
        )
    if counts["inconclusive"]:
        unknown.append(
            f"{counts['inconclusive']:,} {what} are inconclusive: with {counts['calibration_groups']:,} calibration "
            "groups the audit could not have told."
        )
    return Statements(tuple(known), guessed, tuple(unknown))
