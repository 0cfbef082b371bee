"""Release test: does the release leak its training data? One statistic, declared beforehand, decides. Pure.

    AUC = P(score of a claimed member > score of a known non-member) + P(equal) / 2

Null hypothesis: scores do not depend on membership, so that which groups are called members is exchangeable. The
p-value is the share of assignments of that label to groups, as many members each time, whose AUC is as great or
greater (one-sided; scipy's ``permutation_test``: all assignments where they are few, else a random sample with the
observed one counted in). It is exact for any number of groups; the 95 % interval is a bootstrap by group and is not.

Assumptions: scores were computed, chosen and combined without the labels that are permuted, or are learnt again from
each permutation (``learning``); member and non-member
groups are draws from one population, except for the training. A difference in mix between the two (more of one
scanner among the members) shows as well: the same test with scores against a release that saw neither
(``control_scores``) guards against that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from provenance.detection.checks import checked_flags, group_codes, rounded_scores
from provenance.detection.metrics.bootstrap import Judgement, estimate, resample
from provenance.errors import UsageError
from provenance.findings import Estimate, PermutationTest, ReleaseTest, Resampling
from provenance.vocabulary import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.detection.checks import FlagsLike, Groups, Numbers

    Side = Literal["greater", "less"]
    Relearnt = Callable[[Flags], Float64s]
    Learning = Callable[[Int64s], tuple[Relearnt, Relearnt | None]]
    """Of rows of the images, whole groups: scores and control scores, cross-fitted, by any labels of theirs."""

BATCH_NUMBERS = 2_000_000

LOWER = (
    "Were the two sets taken for one another, are they twins of one another, or do they differ in more than their use?"
)
NO_SENSITIVITY = (
    "It is not known how small a leak this test would have seen, so this is no finding that there is none; a "
    "measured sensitivity tells which single copies would have been found."
)


def judge_release(
    scores: Numbers,
    members: FlagsLike,
    *,
    groups: Groups | None = None,
    control_scores: Numbers | None = None,
    level: float = 0.05,
    permutations: int = 9999,
    resampling: Resampling | None = None,
    sensitivity: str = "",
    seed: int = 0,
    learning: Learning | None = None,
) -> ReleaseTest:
    """Test a release; statistic, assumptions and source in the module.

    ``inconclusive`` where the smallest attainable p-value is above the level, all scores are equal, one class has no
    group of its own, the control test is significant as well, or members score lower than non-members, by as much as
    would be a leak the other way round (sets that were swapped, or that differ in more than their use).

    Args:
        scores: Of reals, higher = more likely used, shape (n,); compared at 9 decimals.
        members: Whether each is claimed to be used; the others are known not to be.
        groups: Patient or study; ``None`` in a place: a group of its own. Groups of both kinds are left out.
        control_scores: The same score of the same images against a release of a generator that saw none of them.
        level: Of the one-sided test.
        permutations: Where there are more assignments than this, so many are drawn.
        resampling: Of the interval.
        sensitivity: What leak would have been found, as a sentence (see ``sensitivity``); empty: not measured.
        seed: Of the permutations.
        learning: Where scores were learnt from the labels. All is learnt again for every permutation, so that the test
            stays exact.

    Raises:
        UsageError: If there are no images, lengths differ, a score is not finite, the level is not in (0, 1), or
            there are no permutations.
    """
    if not 0 < level < 1:
        raise UsageError(f"the level lies between 0 and 1, not {level}")
    resampling = resampling or Resampling()
    known = checked_flags(members, "members")
    values = rounded_scores(scores, "scores", len(known))
    codes, pure = of_one_kind(known, groups)
    known_, values_ = known[pure], values[pure]
    codes_ = np.unique(codes[pure], return_inverse=True)[1].astype(np.int64)
    again, control_again = (None, None) if learning is None else learning(np.flatnonzero(pure))
    observed = auc_test(values_, known_, codes_, permutations, seed, relearnt=again)
    control = None
    if control_scores is not None:
        others = rounded_scores(control_scores, "control scores", len(known))
        control = auc_test(others[pure], known_, codes_, permutations, seed, relearnt=control_again)
    outcome, reason = _conclusion(observed, control, level, sensitivity)
    return ReleaseTest(
        outcome=outcome,
        reason=reason,
        auc=_interval(observed, values_, known_, codes_, resampling),
        permutation=observed,
        control=control,
        members=int(known_.sum()),
        non_members=int((~known_).sum()),
        member_groups=len(np.unique(codes_[known_])),
        non_member_groups=len(np.unique(codes_[~known_])),
        mixed_groups=len(np.unique(codes[~pure])),
        level=level,
        resampling=resampling,
        sensitivity=sensitivity,
    )


def auc_test(
    scores: Float64s,
    members: Flags,
    codes: Int64s,
    permutations: int = 9999,
    seed: int = 0,
    *,
    relearnt: Relearnt | None = None,
) -> PermutationTest:
    """Permutation test by group of the AUC, as in ``judge_release``; groups (0 to groups - 1) are of one kind.

    Scores that were learnt from the labels are learnt again from each assignment: ``relearnt`` gives them.
    """
    from scipy.stats import rankdata

    if not members.any() or members.all():
        return PermutationTest(None, reason="there are no groups of one of the two kinds to compare")
    if scores.min() == scores.max():
        return PermutationTest(None, reason="all scores are equal, so that they tell nothing apart")
    rank_sums = np.bincount(codes, weights=rankdata(scores))
    sizes = np.bincount(codes)

    def auc(chosen: Int64s) -> Float64s:
        if relearnt is not None:
            return learnt_auc(relearnt, chosen, codes)
        n = sizes[chosen].sum(axis=-1)
        auc_of: Float64s = (rank_sums[chosen].sum(axis=-1) - n * (n + 1) / 2) / (n * (len(scores) - n))
        return auc_of

    # an assignment is a row of images then, not of groups
    images = 1 if relearnt is None else -(-len(scores) // len(sizes))
    return permutation_test_by_group(auc, members, codes, permutations, seed, "greater", size=images * len(sizes))


def learnt_auc(relearnt: Relearnt, chosen: Int64s, codes: Int64s) -> Float64s:
    """AUC of scores that are learnt from each assignment: the codes of the member groups, shape (..., K)."""
    from scipy.stats import rankdata

    groups = int(codes.max()) + 1
    of_group = np.zeros((*chosen.shape[:-1], groups), dtype=np.bool_)
    np.put_along_axis(of_group, chosen, values=True, axis=-1)
    labels = of_group.reshape(-1, groups)[:, codes]
    n = labels.sum(axis=-1)
    ranks = (rankdata(relearnt(labels), axis=-1) * labels).sum(axis=-1)
    found: Float64s = (ranks - n * (n + 1) / 2) / (n * (len(codes) - n))
    return found.reshape(chosen.shape[:-1])


def permutation_test_by_group(
    statistic: Callable[[Int64s], Float64s],
    members: Flags,
    codes: Int64s,
    permutations: int,
    seed: int,
    side: Side,
    *,
    size: int | None = None,
) -> PermutationTest:
    """Permute the label "member" over groups, by scipy's ``permutation_test``.

    Args:
        statistic: From the codes of the member groups, shape (..., K), to values, shape (...).
        members: Of each image; every group of one kind, both kinds there.
        codes: Group of each image, 0 to groups - 1.
        permutations: Where there are more assignments, so many are drawn.
        seed: Of the draws.
        side: Which values speak against the null hypothesis: ``greater`` or ``less`` ones.
        size: Numbers that one assignment takes; ``None``: one a group.

    Raises:
        UsageError: If ``permutations`` is below 1.
    """
    from scipy.stats import permutation_test

    if permutations < 1:
        raise UsageError(f"a permutation test needs one permutation or more, not {permutations}")
    of_group = np.zeros(int(codes.max()) + 1, dtype=np.bool_)
    of_group[codes] = members
    chosen, others = np.flatnonzero(of_group), np.flatnonzero(~of_group)
    if min(len(chosen), len(others)) < 2:
        return PermutationTest(float(statistic(chosen)), reason="one of the two kinds has a single group only")
    assignments = math.comb(len(of_group), len(chosen))

    result = permutation_test(
        (chosen, others),
        lambda first, _second, axis: statistic(np.moveaxis(first, axis, -1)),
        permutation_type="independent",
        vectorized=True,
        n_resamples=permutations,
        batch=max(1, BATCH_NUMBERS // (size or len(of_group))),
        alternative=side,
        rng=np.random.default_rng(seed),
    )
    low, high = np.quantile(result.null_distribution, [0.025, 0.975])
    return PermutationTest(
        value=float(result.statistic),
        null_mean=float(result.null_distribution.mean()),
        null_low=float(low),
        null_high=float(high),
        p_value=min(1.0, float(result.pvalue)),
        smallest_p=1 / min(assignments, 1 + permutations),
        permutations=min(assignments, permutations),
    )


def of_one_kind(members: Flags, groups: Groups | None) -> tuple[Int64s, Flags]:
    """Codes of groups, and which images are of a group whose images are of one kind."""
    codes, count = group_codes(groups, len(members))
    of_members = np.bincount(codes, weights=members, minlength=count)
    mixed = (of_members > 0) & (of_members < np.bincount(codes, minlength=count))
    return codes, ~mixed[codes]


def _interval(
    test: PermutationTest, scores: Float64s, members: Flags, codes: Int64s, resampling: Resampling
) -> Estimate:
    if test.value is None:
        return Estimate(None, reason=f"not estimable: {test.reason}")
    support = min(len(np.unique(codes[members])), len(np.unique(codes[~members])))
    drawn = resample(members, [Judgement(members, scores)], codes, resampling)[0]["auc"]
    return estimate(test.value, drawn, resampling.level, support)


def _conclusion(
    test: PermutationTest, control: PermutationTest | None, level: float, sensitivity: str
) -> tuple[Outcome, str]:
    if test.reason:
        return Outcome.INCONCLUSIVE, f"Inconclusive: {test.reason}."
    if test.smallest_p > level:
        return Outcome.INCONCLUSIVE, (
            f"Inconclusive: with so few groups the smallest p-value that can come out is {test.smallest_p:.3g}, "
            f"above the level {level:g}."
        )
    shown = f"AUC {test.value:.2f}, p = {test.p_value:.2g}, level {level:g}"
    if 1 - test.p_value + test.smallest_p <= level:
        return Outcome.INCONCLUSIVE, (
            f"Inconclusive: images claimed used score LOWER than images known not used, by more than chance allows "
            f"({shown}). {LOWER}"
        )
    if test.p_value > level:
        return Outcome.LEAK_NOT_ESTABLISHED, (
            f"Images claimed used do not score higher than images known not used by more than chance allows "
            f"({shown}). {sensitivity or NO_SENSITIVITY}"
        )
    if control is not None and control.p_value <= level:
        return Outcome.INCONCLUSIVE, (
            f"Inconclusive: images claimed used score higher ({shown}), but they do so as well against a release "
            f"that saw none of them (p = {control.p_value:.2g}): the two sets differ in more than their use."
        )
    return Outcome.LEAK_ESTABLISHED, (
        f"Images claimed used score higher than images known not used, more than chance allows ({shown}): "
        "the release leaks which images it was trained on, if the two sets are alike but for their use."
    )
