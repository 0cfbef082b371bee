"""Two audits on the same images: McNemar by the binomial law, differences by a plain loop."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from sklearn import metrics as sk

from provenance.detection import Resampling, compare
from provenance.detection.metrics.comparison import mcnemar
from provenance.errors import UsageError

FEW = Resampling(resamples=150, seed=9)


def test_mcnemar_is_the_exact_binomial() -> None:
    first = np.array([True] * 12 + [False] * 3 + [True] * 20 + [False] * 5)
    second = np.array([False] * 12 + [True] * 3 + [True] * 20 + [False] * 5)
    result = mcnemar(first, second)
    assert (result.first_only, result.second_only) == (12, 3)
    assert result.p_value == pytest.approx(2 * sum(comb(15, k) for k in range(4)) / 2**15)


def test_audits_that_never_differ_have_p_one() -> None:
    assert mcnemar(np.array([True, False]), np.array([True, False])).p_value == 1.0


def test_differences_equal_a_loop_with_the_same_groups_for_both() -> None:
    rng = np.random.default_rng(0)
    n, size = 120, 3
    truth = rng.random(n) < 0.5
    first, second = rng.standard_normal(n) + truth, rng.standard_normal(n) + 0.3 * truth
    codes = np.arange(n) // size
    groups = [f"{code:03}" for code in codes]
    result = compare(truth, (first > 0.5, first), (second > 0.5, second), groups=groups, resampling=FEW)

    accuracy, auc = [], []
    for row in np.random.default_rng(FEW.seed).integers(0, n // size, size=(FEW.resamples, n // size)):
        rows = np.concatenate([np.flatnonzero(codes == code) for code in row])
        right = [(scores[rows] > 0.5) == truth[rows] for scores in (first, second)]
        accuracy.append(right[0].mean() - right[1].mean())
        auc.append(sk.roc_auc_score(truth[rows], first[rows]) - sk.roc_auc_score(truth[rows], second[rows]))
    assert result.auc_difference.value == pytest.approx(
        sk.roc_auc_score(truth, first) - sk.roc_auc_score(truth, second)
    )
    for estimate, values in ((result.accuracy_difference, accuracy), (result.auc_difference, auc)):
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)
    assert result.groups == 40
    assert not result.mcnemar.independent


def test_an_audit_does_not_differ_from_itself() -> None:
    truth = np.array([True, False] * 20)
    scores = np.linspace(0, 1, 40)
    result = compare(truth, (scores > 0.5, scores), (scores > 0.5, scores), resampling=FEW)
    for estimate in (result.accuracy_difference, result.auc_difference):
        assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)
    assert result.mcnemar.p_value == 1
    assert result.mcnemar.independent


def test_what_can_not_be_compared_is_said_so() -> None:
    scores = np.linspace(0, 1, 10)
    one_class = compare([True] * 10, (scores > 0.5, scores), (scores > 0.2, scores), resampling=FEW)
    assert one_class.auc_difference.reason == "not estimable: one class only"
    assert one_class.accuracy_difference.value is not None
    truth = [True, False] * 5
    equal = compare(truth, (scores > 0.5, scores), ([True] * 10, [0.5] * 10), resampling=FEW)
    assert equal.auc_difference.reason == "not estimable: all scores are equal"
    one_group = compare(truth, (scores > 0.5, scores), (scores > 0.2, scores), groups=["a"] * 10, resampling=FEW)
    assert one_group.accuracy_difference.low is None
    assert "fewer than two groups" in one_group.accuracy_difference.reason


def test_audits_of_other_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match="labels has 1 values for 2 images"):
        compare([True, False], ([True, False], [0.1, 0.2]), ([True], [0.1]))
    with pytest.raises(UsageError, match="the second audit has 1"):
        mcnemar(np.array([True, False]), np.array([True]))
