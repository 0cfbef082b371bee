"""P-values of copies: as plain loops give them, near-twins left out, false matches bounded exactly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from provenance.detection.copies.calibration import (
    agreement_scores,
    calibrated_copies,
    false_match_rate,
    matching_threshold,
    proven_by_twins,
    share_scores,
    twin_bound,
)
from provenance.errors import UsageError

RNG = np.random.default_rng(0)
KNOWN = RNG.normal(0.8, 0.15, 120)


def test_conformal_p_values_are_those_of_the_rule() -> None:
    scores = np.array([0.5, 1.0, 2.0])
    found = calibrated_copies(scores, KNOWN)
    expected = [(1 + np.sum(np.asarray(KNOWN) >= score)) / (len(KNOWN) + 1) for score in scores]
    np.testing.assert_allclose(found.conformal, expected, atol=1e-9)
    assert found.conformal[2] == pytest.approx(1 / 121)
    assert found.groups == 120


def test_the_tail_speaks_above_its_threshold_only_and_beyond_the_resolution() -> None:
    found = calibrated_copies(np.array([0.5, 2.0]), KNOWN)
    assert found.model.refused == ""
    assert np.isnan(found.tail[0])
    assert found.tail[1] < found.conformal[1] / 20
    assert found.tail_q[0] > 0.05 > found.tail_q[1]


def test_twins_are_left_out_where_the_caller_says_so_alone() -> None:
    known = np.append(KNOWN, [2.5, 2.6])
    twins = np.zeros(122, dtype=bool)
    twins[[0, 120]] = True
    found = calibrated_copies(np.array([2.55]), known, twins=twins)
    assert found.groups == 120
    assert found.conformal[0] == pytest.approx(2 / 121)


def test_twins_prove_that_strangers_score_as_high() -> None:
    known, bound = np.append(KNOWN, [2.5, 3.0, 3.5]), 2.0
    twins = np.append(np.zeros(120, dtype=bool), [True] * 3)
    proven = proven_by_twins([1.9, 2.0, 2.1, 4.0], known, twins, bound)
    lower = proven[2] / (1 + 0.1 / 3.0) ** -3
    assert binom.sf(2, 123, lower) == pytest.approx(0.05)
    assert proven[:2].tolist() == [0, 0]
    assert proven[3] == pytest.approx(lower * (1 + 2.0 / 3.0) ** -3)
    found = calibrated_copies([4.0], known, twins=twins, proven=proven[3:])
    assert found.tail[0] == pytest.approx(proven[3])
    assert calibrated_copies([4.0], known, twins=twins).tail[0] < proven[3] / 10
    assert calibrated_copies([4.0], known, twins=twins, proven=[0.5]).conformal[0] == 0.5


def test_twins_of_one_group_prove_once() -> None:
    known, twins = np.append(KNOWN, [3.0, 3.5]), np.arange(122) >= 120
    groups = [*map(str, range(120)), "a", "a"]
    alone = proven_by_twins([4.0], np.append(KNOWN, 3.5), np.arange(121) == 120, 2.0)
    assert proven_by_twins([4.0], known, twins, 2.0, groups) == pytest.approx(alone)
    assert proven_by_twins([4.0], known, np.zeros(122, dtype=bool), 2.0).tolist() == [0]


def test_twins_of_up_to_a_fifth_do_not_hide_themselves() -> None:
    assert twin_bound(np.append(KNOWN, np.full(24, 2.6))) < 2.6


def test_groups_have_one_vote() -> None:
    groups = ["a"] * 60 + ["b"] * 60
    found = calibrated_copies(np.array([3.0]), KNOWN, calibration_groups=groups)
    assert found.conformal[0] == pytest.approx(1 / 3)
    assert "2 calibration groups" in found.model.refused
    assert np.isnan(found.tail_q[0])


def test_all_twins_is_an_error() -> None:
    with pytest.raises(UsageError, match="near-twin"):
        calibrated_copies(np.array([1.0]), KNOWN, twins=np.ones(120, dtype=bool))


def test_the_rate_of_false_matches_has_its_exact_bound() -> None:
    scores, groups = np.arange(10) / 10, [*"aabbccdde", None]
    rate = false_match_rate(scores, 0.8, groups)
    assert (rate.matches, rate.groups) == (2, 6)
    assert rate.value == pytest.approx(1 / 3)
    assert binom.cdf(2, 6, rate.upper) == pytest.approx(0.05)
    assert false_match_rate(scores, 0.0).upper == 1
    assert false_match_rate(np.zeros(300), 1.0).upper == pytest.approx(1 - 0.05 ** (1 / 300))


def test_the_threshold_lets_through_no_more_than_the_rate() -> None:
    for rate in (0.0, 1 / 300, 0.05):
        threshold = matching_threshold(KNOWN, rate)
        assert (threshold <= KNOWN).sum() <= rate * 120
        assert (np.nextafter(threshold, -1) <= KNOWN).sum() > rate * 120


def test_scales_of_scores_are_monotone_and_finite() -> None:
    assert np.isfinite(agreement_scores([-1.0, 0.0, 1.0])).all()
    assert (np.diff(agreement_scores(np.linspace(-1, 1, 9))) > 0).all()
    assert (np.diff(share_scores([0.01, 0.2, 0.9])) > 0).all()
    assert np.isfinite(share_scores([0.0, 1.0])).all()
