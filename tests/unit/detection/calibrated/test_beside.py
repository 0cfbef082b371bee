"""Beside the strict label: groups as subjects, the tail, and Storey's share of nulls, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from provenance.detection.calibrated.beside import (
    group_scores,
    judge_by_tail,
    judge_groups,
    null_share,
    sizes_warning,
    storey_q_values,
)
from provenance.detection.calibrated.conformal import calibrate
from provenance.detection.copies.tail import fitted_tail
from provenance.vocabulary import GroupScore, Label

RNG = np.random.default_rng(0)
SCORES, KNOWN = RNG.normal(size=60) + 1.5, RNG.normal(size=150)
GROUPS = [f"p{row // 3}" for row in range(60)]
OTHERS = [f"c{row // 3}" for row in range(150)]


@pytest.mark.parametrize(("how", "one"), [(GroupScore.MEAN, np.mean), (GroupScore.BEST, np.max)])
def test_a_group_is_judged_by_its_score_among_those_of_calibration_groups(how: GroupScore, one: object) -> None:
    found = judge_groups(SCORES, KNOWN, groups=GROUPS, calibration_groups=OTHERS, how=how, q=0.2)
    assert found is not None
    mine = np.array([one(SCORES[[g == name for g in GROUPS]]) for name in dict.fromkeys(GROUPS)])  # type: ignore[operator]
    theirs = np.array([one(KNOWN[[g == name for g in OTHERS]]) for name in dict.fromkeys(OTHERS)])  # type: ignore[operator]
    p = np.array([(1 + (theirs >= each).sum()) / 51 for each in mine])
    places = dict(zip(GROUPS, found.of_image.tolist(), strict=True))
    order = [places[name] for name in dict.fromkeys(GROUPS)]
    assert found.scores[order] == pytest.approx(mine, abs=1e-8)
    assert np.array(found.found.p_values)[order] == pytest.approx(p, abs=1e-8)
    assert np.array(found.found.q_values)[order] == pytest.approx(false_discovery_control(p), abs=1e-8)
    assert found.found.established == (false_discovery_control(p) <= 0.2).sum()
    assert found.found.labels.count(Label.ESTABLISHED) == found.found.established > 0
    assert not found.found.warnings


def test_groups_of_single_images_are_no_answer_of_their_own() -> None:
    alone = [None, "a"]
    assert (
        judge_groups([1.0, 2.0], [0.0, 1.0], groups=alone, calibration_groups=None, how=GroupScore.MEAN, q=0.1) is None
    )


def test_the_order_of_images_decides_on_no_digit_of_a_mean() -> None:
    values = RNG.normal(size=40) * 10.0 ** RNG.integers(-8, 8, 40)
    turned = group_scores(values[::-1], ["a"] * 40, GroupScore.MEAN)[0]
    assert group_scores(values, ["a"] * 40, GroupScore.MEAN)[0].tolist() == turned.tolist()


def test_groups_of_other_sizes_are_warned_of() -> None:
    assert sizes_warning(["a", "a", "b", "b"], ["c", "c", "d", "d"]) == ""
    few, many = [f"f{row}" for row in range(30)], [f"m{row // 5}" for row in range(150)]
    assert "5.0 images on average, calibration groups 1.0" in sizes_warning(many, few)


def test_the_tail_speaks_above_its_threshold_and_never_above_the_conformal_p() -> None:
    strict = calibrate(SCORES + 3, KNOWN, q=0.05)
    tail = fitted_tail(KNOWN)
    found = judge_by_tail(tail.p_values(SCORES + 3), strict.p_values, None, tail.groups, 0.05)
    assert not tail.refused
    p, above = np.array(found.p_values), tail.threshold < SCORES + 3
    assert above.sum() > 0
    assert (p <= np.array(strict.p_values) + 1e-9).all()
    assert p[~above].tolist() == np.array(strict.p_values)[~above].tolist()
    assert p.min() < 1 / 151  # beyond what ranks can say
    assert np.array(found.q_values) == pytest.approx(false_discovery_control(p), abs=1e-8)


def test_the_share_of_nulls_is_the_conservative_estimate() -> None:
    p = np.array([0.01] * 12 + [0.2, 0.6, 0.7, 0.9, 0.95, 1.0, 0.3, 0.4])
    assert null_share(p, None) == pytest.approx((1 + 5) / (20 * 0.5))
    assert null_share([0.9] * 5, None) == 1
    grouped = ["a", "a", *(f"g{row}" for row in range(18))]  # a group has the least of its p-values, times their number
    least = np.r_[0.02, p[2:]]
    assert null_share(p, grouped) == pytest.approx((1 + (least > 0.5).sum()) / (19 * 0.5), abs=1e-8)
    assert storey_q_values([0.1, 1.0], 0.6) == pytest.approx((0.06, 0.6))


def test_a_doubt_about_all_of_it_leaves_no_group_established() -> None:
    found = judge_groups(SCORES + 5, KNOWN, groups=GROUPS, calibration_groups=OTHERS, how=GroupScore.MEAN, q=0.2)
    assert found is not None
    assert found.found.established == 20
    doubted = found.undecided("the sets differ by themselves").found
    assert set(doubted.labels) == {Label.INCONCLUSIVE}
    assert (doubted.established, doubted.established_groups) == (0, 0)
    assert doubted.p_values == found.found.p_values
