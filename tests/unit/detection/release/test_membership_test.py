"""The release test against scikit-learn and full enumeration, and each of its conclusions."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from provenance.detection.release.membership_test import judge_release
from provenance.errors import UsageError
from provenance.vocabulary import Outcome


def two_kinds(seed: int, members: int, others: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.r_[rng.standard_normal(members) + shift, rng.standard_normal(others)]
    return scores, np.arange(members + others) < members


def test_auc_and_p_equal_full_enumeration_over_groups_of_unequal_size() -> None:
    rng = np.random.default_rng(0)
    sizes = [1, 3, 2, 1, 4, 2, 1, 2]
    codes = np.repeat(np.arange(8), sizes)
    scores, members = rng.integers(0, 6, codes.size).astype(float), np.isin(codes, [1, 4, 6])
    by_hand = [roc_auc_score(np.isin(codes, chosen), scores) for chosen in combinations(range(8), 3)]
    observed = roc_auc_score(members, scores)
    result = judge_release(scores, members, groups=[f"g{code}" for code in codes])
    assert result.permutation.value == pytest.approx(observed)
    assert result.permutation.p_value == pytest.approx(np.mean(np.array(by_hand) >= observed - 1e-12))
    assert (result.permutation.permutations, result.permutation.smallest_p) == (56, 1 / 56)
    assert result.permutation.null_mean == pytest.approx(np.mean(by_hand))
    assert (result.member_groups, result.non_member_groups) == (3, 5)


def test_a_sample_of_permutations_comes_close_to_all_of_them() -> None:
    scores, members = two_kinds(3, 6, 7, 0.7)
    every = judge_release(scores, members, permutations=5000).permutation
    some = judge_release(scores, members, permutations=1000, seed=4).permutation
    assert (every.permutations, some.permutations, some.smallest_p) == (1716, 1000, 1 / 1001)
    assert some.p_value == pytest.approx(every.p_value, abs=0.03)


def test_a_leak_is_established_with_its_interval() -> None:
    scores, members = two_kinds(1, 60, 60, 1.0)
    result = judge_release(scores, members)
    assert result.outcome is Outcome.LEAK_ESTABLISHED
    assert result.auc.low is not None
    assert result.auc.high is not None
    assert 0.5 < result.auc.low < result.auc.value < result.auc.high < 1  # type: ignore[operator]
    assert "the release leaks which images it was trained on" in result.reason
    json.dumps(result.to_json(), allow_nan=False)


def test_no_leak_without_a_sensitivity_says_that_it_is_no_finding() -> None:
    scores, members = two_kinds(2, 60, 60, 0.0)
    bare = judge_release(scores, members)
    assert bare.outcome is Outcome.LEAK_NOT_ESTABLISHED
    assert "this is no finding" in bare.reason
    said = judge_release(scores, members, sensitivity="A copy would have been found in 95 % of cases.")
    assert said.reason.endswith("A copy would have been found in 95 % of cases.")
    assert "no finding" not in said.reason


def test_members_that_score_lower_are_no_leak_and_no_all_clear() -> None:
    scores, members = two_kinds(4, 60, 60, -2.0)
    result = judge_release(scores, members)
    assert (result.outcome, result.permutation.p_value) == (Outcome.INCONCLUSIVE, 1.0)
    assert "taken for one another" in result.reason
    swapped = judge_release(scores, ~members)
    assert swapped.outcome is Outcome.LEAK_ESTABLISHED
    fair, members = two_kinds(9, 60, 60, 0.0)
    assert judge_release(fair, members).outcome is Outcome.LEAK_NOT_ESTABLISHED


def test_sets_that_differ_against_an_innocent_release_too_are_inconclusive() -> None:
    scores, members = two_kinds(5, 60, 60, 1.0)
    mixed, _ = two_kinds(6, 60, 60, 1.0)
    fair, _ = two_kinds(7, 60, 60, 0.0)
    blamed = judge_release(scores, members, control_scores=mixed)
    assert blamed.outcome is Outcome.INCONCLUSIVE
    assert "saw none of them" in blamed.reason
    cleared = judge_release(scores, members, control_scores=fair)
    assert cleared.outcome is Outcome.LEAK_ESTABLISHED
    assert cleared.control is not None


def test_what_cannot_be_told_is_inconclusive() -> None:
    few = judge_release([3.0, 2.0, 1.0, 0.0], [1, 1, 0, 0])
    assert (few.outcome, few.permutation.smallest_p) == (Outcome.INCONCLUSIVE, 1 / 6)
    assert "smallest p-value that can come out is 0.167" in few.reason
    one = judge_release([3.0, 2.0], [1, 1])
    assert (one.outcome, one.auc.value) == (Outcome.INCONCLUSIVE, None)
    equal = judge_release([1.0] * 40, [1, 0] * 20)
    assert (equal.outcome, equal.permutation.p_value) == (Outcome.INCONCLUSIVE, 1.0)
    one_group = judge_release([3.0, 2.0, 1.0, 0.0], [1, 1, 0, 0], groups=["a", "a", "b", "b"])
    assert one_group.auc.reason == "no interval: fewer than two groups bear on it"
    drawn = judge_release(*two_kinds(1, 40, 40, 1.0), permutations=9)
    assert drawn.outcome is Outcome.INCONCLUSIVE  # ten values of p, the smallest 0.1
    for result in (few, one, equal, one_group, drawn):
        json.dumps(result.to_json(), allow_nan=False)


def test_groups_of_both_kinds_are_left_out() -> None:
    scores, members = two_kinds(8, 30, 30, 1.0)
    groups = [str(place) for place in range(60)]
    groups[0] = groups[59] = "both"
    result = judge_release(scores, members, groups=groups)
    assert (result.mixed_groups, result.members, result.non_members) == (1, 29, 29)
    assert result.permutation.value == pytest.approx(roc_auc_score(members[1:59], scores[1:59]))
    none = judge_release([1.0, 2.0], [1, 0], groups=["a", "a"])
    assert none.outcome is Outcome.INCONCLUSIVE


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="no values"):
        judge_release([], [])
    with pytest.raises(UsageError, match="2 values for 1"):
        judge_release([1.0, 2.0], [1])
    with pytest.raises(UsageError, match="not finite"):
        judge_release([1.0, float("inf")], [1, 0])
    with pytest.raises(UsageError, match="level"):
        judge_release([1.0, 2.0], [1, 0], level=0.0)
    with pytest.raises(UsageError, match="one permutation"):
        judge_release([1.0, 2.0], [1, 0], permutations=0)
