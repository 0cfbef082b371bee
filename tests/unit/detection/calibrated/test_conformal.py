"""Calibrated verdicts against plain loops, and every way in which they stay inconclusive."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance.detection.calibrated.conformal import calibrate, rejection_plan
from provenance.errors import UsageError
from provenance.vocabulary import Label


def smallest_rejection(subject_groups: int, calibration_groups: int, q: float) -> int:
    return rejection_plan(np.ones(subject_groups, dtype=np.int64), calibration_groups, q)[0]


def plain_p(score: float, calibration: list[float], groups: list[str]) -> Fraction:
    total = Fraction(1)
    for group in set(groups):
        members = [c for c, g in zip(calibration, groups, strict=True) if g == group]
        total += Fraction(sum(c >= score for c in members), len(members))
    return total / (len(set(groups)) + 1)


def plain_established(p_of_image: list[Fraction], groups: list[str], q: Fraction) -> list[bool]:
    # Benjamini-Hochberg on groups by its definition, then the images within rejected groups.
    size = {group: groups.count(group) for group in set(groups)}
    adjusted = [min(Fraction(1), p * size[g]) for p, g in zip(p_of_image, groups, strict=True)]
    best = {g: min(a for a, h in zip(adjusted, groups, strict=True) if h == g) for g in size}
    m = len(size)
    rejected = max((r for r, p in enumerate(sorted(best.values()), start=1) if p <= q * r / m), default=0)
    return [rejected > 0 and a <= q * rejected / m for a in adjusted]


@settings(max_examples=150, deadline=None)
@given(
    subjects=st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abcdef")), min_size=1, max_size=9),
    calibration=st.lists(st.tuples(st.integers(0, 9), st.sampled_from("uvwxyz")), min_size=6, max_size=20),
    q=st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5, 0.9]),
)
def test_p_values_and_labels_are_those_of_plain_loops(
    subjects: list[tuple[int, str]], calibration: list[tuple[int, str]], q: float
) -> None:
    scores, groups = [float(s) for s, _ in subjects], [g for _, g in subjects]
    known, known_groups = [float(s) for s, _ in calibration], [g for _, g in calibration]
    expected = [plain_p(score, known, known_groups) for score in scores]
    result = calibrate(scores, known, groups=groups, calibration_groups=known_groups, q=q)
    np.testing.assert_allclose(result.p_values, [float(p) for p in expected], atol=1e-9)
    established = plain_established(expected, groups, Fraction(str(q)))
    if len(set(known_groups)) < 2 or len(set(scores + known)) == 1:
        assert set(result.labels) == {Label.INCONCLUSIVE}
        return
    assert [label is Label.ESTABLISHED for label in result.labels] == established
    # The q-value is the least level at which an image is established.
    for place, level in enumerate(result.q_values):
        at = Fraction(str(level)) + Fraction(1, 10**8)
        assert at > 1 or plain_established(expected, groups, at)[place]
        assert not plain_established(expected, groups, Fraction(str(level)) - Fraction(1, 10**8))[place]
    if not any(established):
        expected_label = Label.INCONCLUSIVE if result.k_min > 1 else Label.NOT_ESTABLISHED
        assert set(result.labels) == {expected_label}
    assert result.k_min <= result.subject_groups or not any(established)


def test_k_min_is_the_number_that_must_outrank_all_calibration() -> None:
    calibration = np.arange(39.0)
    for m in (10, 20, 40):
        k_min = smallest_rejection(m, 39, 0.1)
        assert k_min == math.ceil(m / (0.1 * 40))
        scores = np.zeros(m)
        scores[:k_min] = 100
        assert calibrate(scores, calibration, q=0.1).established == k_min
        scores[k_min - 1] = 0
        fewer = calibrate(scores, calibration, q=0.1)
        assert set(fewer.labels) == {Label.INCONCLUSIVE}
        assert f"{k_min} of the {m} subject groups" in fewer.reason
        assert f"{10 * m - 1:,} calibration groups would suffice" in fewer.reason


def test_the_named_number_of_calibration_groups_does_suffice_and_one_fewer_does_not() -> None:
    scores = [50.0, *[-1.0] * 6]
    asked = calibrate(scores, np.arange(10.0), q=0.05)
    assert asked.sufficient_groups == 7 / 0.05 - 1 == 139
    assert calibrate(scores, np.linspace(0, 9, 139), q=0.05).established == 1
    assert calibrate(scores, np.linspace(0, 9, 138), q=0.05).established == 0
    none = calibrate([-1.0] * 7, np.linspace(0, 9, 139), q=0.05)
    assert (set(none.labels), none.k_min) == ({Label.NOT_ESTABLISHED}, 1)
    assert none.reason.startswith("None of the 7 subject groups")


def test_no_number_of_groups_is_named_where_more_would_not_help() -> None:
    calibration = np.arange(39.0)
    for scores, outranking in (([100.0] * 3 + [0.0] * 17, 3), ([100.0] + [0.0] * 19, 1), ([37.0] * 20, 0)):
        found = calibrate(scores, calibration, q=0.05)
        assert found.outranking_groups == outranking
        assert set(found.labels) == {Label.INCONCLUSIVE}
        assert ("would suffice" in found.reason) is (outranking > 0)
        assert ("this test can't see it" in found.reason) is (outranking == 0)
        assert ("399 calibration groups" in found.more_groups) is (outranking > 0)
    beyond = calibrate([38.0, 20.0], np.arange(39.0), q=0.01)  # k_min is above the number of subjects
    assert "no result on 2 subject groups could be established" in beyond.reason
    assert "would suffice" not in beyond.reason
    assert "would suffice" not in calibrate([1.0] * 5, [1.0], q=0.05).reason  # one group: nothing is known of more


def test_of_groups_of_several_images_it_is_said_that_images_are_judged_one_by_one() -> None:
    known, pairs = np.linspace(0, 9, 139), [f"g{row // 2}" for row in range(6)]
    none = calibrate([-1.0] * 6, known, groups=pairs, q=0.1)
    assert none.reason.startswith("Image by image, none of the images of 3 subject groups is established")
    one = calibrate([50.0, *[-1.0] * 5], known, groups=pairs, q=0.1)
    assert one.reason.startswith("Image by image, images of 1 of 3 subject groups are established")
    few = calibrate([50.0] * 6, known[:9], groups=pairs, q=0.01)
    assert few.reason.startswith("Inconclusive: image by image, with 9 calibration groups no result on images of 3")


def test_k_min_above_the_number_of_subjects_is_inconclusive_whatever_the_scores() -> None:
    result = calibrate([9.0, 9.0], [1.0, 2.0, 3.0], q=0.05)
    assert (set(result.labels), result.k_min) == ({Label.INCONCLUSIVE}, 10)
    assert "no result on 2 subject groups could be established" in result.reason
    assert "39 calibration groups would suffice" in result.reason


def test_k_min_is_exact_where_floats_are_not() -> None:
    # 3 / (0.1 * 30): the product is 3.0000000000000004 as a float; 6 / (0.3 * 20) likewise.
    assert smallest_rejection(3, 29, 0.1) == 1
    assert smallest_rejection(6, 19, 0.3) == 1
    assert smallest_rejection(61, 19, 0.3) == 11


def test_a_group_of_many_pays_for_its_maximum() -> None:
    calibration = np.arange(99.0)
    alone = calibrate([98.5], calibration, groups=["a"], q=0.05)
    crowd = calibrate([98.5, *[0.0] * 9], calibration, groups=["a"] * 10, q=0.05)
    assert alone.established == 1
    assert crowd.p_values[0] == alone.p_values[0] == 0.01
    assert (crowd.established, crowd.q_values[0], crowd.k_min) == (0, 0.1, 2)
    assert crowd.sufficient_groups == 199
    assert calibrate([98.5, *[0.0] * 9], np.arange(199.0) / 2.1, groups=["a"] * 10, q=0.05).established == 1


def test_ties_count_against_the_subject() -> None:
    assert calibrate([3.0], [1.0, 3.0, 3.0, 2.0]).p_values == (3 / 5,)
    # Scores equal at nine decimals are equal.
    assert calibrate([3.0 + 1e-11], [1.0, 3.0, 3.0, 2.0]).p_values == (3 / 5,)


def test_every_image_of_a_calibration_group_has_its_part_of_one_vote() -> None:
    result = calibrate([5.0], [9.0, 1.0, 9.0, 9.0], calibration_groups=["a", "a", "b", None])
    assert result.p_values == (round(3.5 / 4, 9),)


def test_groups_on_both_sides_are_left_out_of_the_calibration() -> None:
    result = calibrate([5.0], [9.0, 1.0, 2.0], groups=["a"], calibration_groups=["a", "b", "c"], q=0.5)
    assert (result.calibration_groups, result.p_values) == (2, (round(1 / 3, 9),))
    assert result.warnings == ("1 group with subjects as well left out of the calibration.",)
    with pytest.raises(UsageError, match="nothing is left"):
        calibrate([5.0], [9.0], groups=["a"], calibration_groups=["a"])


def test_images_without_a_group_are_counted_in_a_warning() -> None:
    result = calibrate([5.0, 4.0], [9.0, 1.0, 2.0], groups=["a", None])
    assert "4 images without a patient or study" in result.warnings[0]
    assert calibrate([5.0], [9.0, 1.0], groups=["a"], calibration_groups=["b", "c"]).warnings == ()


def test_one_calibration_group_and_equal_scores_are_inconclusive() -> None:
    one = calibrate([5.0], [1.0, 2.0], calibration_groups=["a", "a"], q=0.6)
    assert one.labels == (Label.INCONCLUSIVE,)
    assert "one group only" in one.reason
    equal = calibrate([1.0] * 3, [1.0] * 80, q=0.9)
    assert set(equal.labels) == {Label.INCONCLUSIVE}
    assert "all scores are equal" in equal.reason
    for result in (one, equal):
        assert "NaN" not in json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize("q", [0, 1, -0.1, 1.5, float("nan")])
def test_q_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(UsageError, match="q lies between 0 and 1"):
        calibrate([1.0], [1.0, 2.0], q=q)


def test_nothing_and_not_a_number_are_refused() -> None:
    for scores, calibration, message in (
        ([], [1.0], "subjects: no values"),
        ([1.0], [], "calibration scores: no values"),
        ([float("nan")], [1.0], "not finite"),
    ):
        with pytest.raises(UsageError, match=message):
            calibrate(scores, calibration)
    with pytest.raises(UsageError, match="groups of the subjects has 1 values for 2"):
        calibrate([1.0, 2.0], [1.0], groups=["a"])


def test_order_of_images_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    scores, groups = rng.integers(0, 9, 40).astype(float), rng.integers(0, 12, 40).tolist()
    known, known_groups = rng.integers(0, 7, 90).astype(float), rng.integers(100, 140, 90).tolist()
    one = calibrate(scores, known, groups=groups, calibration_groups=known_groups, q=0.3)
    by, by_known = rng.permutation(40), rng.permutation(90)
    two = calibrate(
        scores[by],
        known[by_known],
        groups=[groups[i] for i in by],
        calibration_groups=[known_groups[i] for i in by_known],
        q=0.3,
    )
    assert [one.q_values[i] for i in by] == list(two.q_values)
    assert [one.p_values[i] for i in by] == list(two.p_values)
    assert one.reason == two.reason
