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
    assert not found.twins.any()


def test_the_tail_speaks_above_its_threshold_only_and_beyond_the_resolution() -> None:
    found = calibrated_copies(np.array([0.5, 2.0]), KNOWN)
    assert found.model.refused == ""
    assert np.isnan(found.tail[0])
    assert found.tail[1] < found.conformal[1] / 20
    assert found.tail_q[0] > 0.05 > found.tail_q[1]


def test_near_twins_are_left_out_by_agreement_and_by_flag() -> None:
    known = np.append(KNOWN, [2.5, 2.6])
    flagged = np.zeros(122, dtype=bool)
    flagged[0] = True
    found = calibrated_copies(np.array([2.4]), known, flagged=flagged)
    assert np.flatnonzero(found.twins).tolist() == [0, 120, 121]
    assert found.groups == 119
    assert found.twin_bound < 2.5
    assert found.conformal[0] == pytest.approx(1 / 120)


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
        calibrated_copies(np.array([1.0]), KNOWN, flagged=np.ones(120, dtype=bool))


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
