"""The fitted tail: what it computes, when it is refused, and that it keeps its level."""

from __future__ import annotations

import re

import numpy as np
import pytest

from provenance.detection.copies.tail import fitted_tail
from provenance.errors import UsageError

RNG = np.random.default_rng(1)
NORMAL = RNG.normal(size=200)


def test_the_predictive_p_value_is_its_formula() -> None:
    tail = fitted_tail(NORMAL)
    top = np.sort(NORMAL)[-21:]
    assert tail.refused == ""
    assert tail.threshold == pytest.approx(top[0])
    np.testing.assert_allclose(tail.excesses, top[1:] - top[0], atol=1e-8)
    y = 1.3
    expected = 21 / 201 * (1 + y / (top[1:] - top[0]).sum()) ** -20
    assert tail.p_values([tail.threshold + y])[0] == pytest.approx(expected, rel=1e-6)
    assert np.isnan(tail.p_values([tail.threshold])[0])


def test_safe_p_values_are_larger_and_fall() -> None:
    tail = fitted_tail(NORMAL)
    scores = tail.threshold + np.array([0.3, 1.0, 3.0, 9.0])
    predictive, safe = tail.p_values(scores), tail.safe_p_values(scores)
    assert (np.diff(predictive) < 0).all()
    assert (np.diff(safe) <= 0).all()
    assert (safe >= predictive).all()
    assert np.isnan(tail.safe_p_values([0.0])[0])


@pytest.mark.parametrize(
    ("scores", "groups", "words"),
    [
        (NORMAL[:49], None, "49 calibration groups are too few"),
        (NORMAL, [number % 40 for number in range(200)], "40 calibration groups are too few"),
        (np.append(NORMAL, [NORMAL.max()] * 2), None, "ties"),
        (np.append(NORMAL, RNG.normal(30, 0.1, 12)), None, "doesn't fit"),
        (np.random.default_rng(5).standard_t(1.2, 400), None, "doesn't fit|too heavy"),
    ],
)
def test_it_is_refused_with_the_reason(scores, groups, words: str) -> None:
    tail = fitted_tail(scores, groups)
    assert re.search(words, tail.refused)
    assert np.isnan(tail.p_values([100.0])).all()
    assert np.isnan(tail.safe_p_values([100.0])).all()


def test_a_group_counts_by_its_highest_score() -> None:
    groups = [number // 2 for number in range(200)]
    tail = fitted_tail(NORMAL, groups)
    assert tail.groups == 100
    assert tail.threshold + max(tail.excesses) == pytest.approx(NORMAL.max())


def test_the_level_is_kept_for_exponential_and_lighter_tails() -> None:
    rng = np.random.default_rng(7)
    for draw in (rng.standard_exponential, rng.standard_normal):
        below = []
        for _ in range(60):
            tail = fitted_tail(draw(100))
            if not tail.refused:
                fresh = tail.p_values(draw(1000))
                below.append((fresh[~np.isnan(fresh)] <= 0.002).sum() / 1000)
        assert len(below) > 40
        assert np.mean(below) <= 0.0025


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="not finite"):
        fitted_tail([np.nan] * 60)


def test_a_tail_that_may_be_heavier_is_taken_for_one() -> None:
    heavy = np.random.default_rng(11).standard_t(4, 200)
    tail = fitted_tail(heavy)
    assert tail.refused == ""
    assert tail.shape > 0
    shape = tail.shape + (1 + tail.shape) / (2 * np.sqrt(20))
    far = 10 * tail.mean_excess
    expected = 21 / 201 * (1 + shape * far / ((1 - shape) * tail.mean_excess)) ** (-1 / shape)
    assert tail.p_values([tail.threshold + far])[0] == pytest.approx(expected, rel=1e-6)
    assert expected > 21 / 201 * (1 + far / sum(tail.excesses)) ** -20
