"""The power curve: its test against the audit's own, its model against a loop, and what it says where nothing shows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from provenance.detection.plants.sensitivity import wilson_interval
from provenance.detection.release.membership_test import auc_test
from provenance.detection.release.power import PermutedAuc, PowerCurve, ReleaseDesign, Strong, release_power
from provenance.errors import UsageError


def design(used: int, others: int, images: int = 1, seed: int = 0, **more: float) -> ReleaseDesign:
    """A release that remembers nothing: groups of so many images that score alike."""
    scores = np.repeat(np.random.default_rng(seed).standard_normal(used + others), images)
    codes = np.repeat(np.arange(used + others), images)
    return ReleaseDesign.of(scores, codes < used, [f"g{code:04d}" for code in codes], **more)  # type: ignore[arg-type]


def power_curve(of: ReleaseDesign, like: str, scores: Any, groups: Any = None, /, **more: Any) -> PowerCurve:
    return release_power(of, [Strong(like, scores, groups)], **more).curves[0]


@pytest.mark.parametrize(("groups", "permutations", "within"), [(9, 9999, 1e-12), (30, 4999, 0.03)])
def test_p_values_are_those_of_the_audits_test(groups: int, permutations: int, within: float) -> None:
    rng = np.random.default_rng(groups)
    codes = np.sort(np.r_[np.arange(groups), rng.integers(0, groups, 2 * groups)])
    members = np.isin(codes, rng.choice(groups, groups // 3, replace=False))
    rows = rng.integers(0, 6, (25, len(codes))) + rng.integers(0, 2, (25, 1)) * members.astype(float)
    found = PermutedAuc(members, codes, permutations, seed=1).p_values(rows)
    own = [auc_test(row, members, codes, permutations).p_value for row in rows]
    assert found == pytest.approx(own, abs=within)
    assert min(own) < 0.05 < max(own)


def test_with_nothing_remembered_a_leak_is_called_as_often_as_the_level_says() -> None:
    release = design(30, 25)
    none = power_curve(release, "any", [9.0], shares=[0.0], draws=4000).points[0]
    assert none.low < 0.05 < none.high
    strict = power_curve(design(30, 25, level=0.01), "any", [9.0], shares=[0.0], draws=4000).points[0]
    assert strict.low < 0.01 < strict.high


def test_more_that_is_remembered_is_seen_more_often_and_stronger_is_seen_earlier() -> None:
    release = design(60, 60)
    strong, weak = (power_curve(release, "some", np.random.default_rng(1).normal(by, 1, 50)) for by in (4, 1.5))
    for curve in (strong, weak):
        powers = [point.power for point in curve.points]
        assert powers == sorted(powers)
        assert powers[-1] == 1
        assert all(point.low <= point.power <= point.high for point in curve.points)
    assert strong.least_share is not None
    assert weak.least_share is not None
    assert strong.least_share < weak.least_share
    assert strong.sentence == (
        f"Had {100 * strong.least_share:.3g} % or more of the used images been remembered as strongly as some, the "
        "release test would have called it in 95 % of cases."
    )
    assert power_curve(release, "some", np.random.default_rng(1).normal(4, 1, 50)) == strong
    json.dumps(strong.to_json(), allow_nan=False)


def test_a_loop_over_draws_and_the_audits_own_test_gives_the_same_curve() -> None:
    rng = np.random.default_rng(3)
    used, others, sizes = 4, 7, [1, 3, 2, 1, 2, 3, 2, 1, 1, 3, 2]
    codes = np.repeat(np.arange(used + others), sizes)
    scores = rng.standard_normal(len(codes)) + np.repeat(rng.standard_normal(used + others), sizes)
    strong, strong_groups = rng.normal(2, 1, 8), [0, 0, 1, 1, 1, 2, 3, 3]
    names = [f"g{code:02d}" for code in codes]
    release = ReleaseDesign.of(scores, codes < used, names)
    curve = power_curve(release, "some", strong, strong_groups, shares=[0, 0.5, 1], draws=3000)
    for point, remembered in zip(curve.points, (0, 2, 4), strict=True):
        seen = 0
        for _ in range(200):
            marked = rng.choice(used, remembered, replace=False)
            drawn: list[float] = []
            for group, size in enumerate(sizes):
                if group in marked:
                    donor = strong[np.array(strong_groups) == rng.integers(4)]
                else:
                    donor = scores[codes == used + rng.integers(others)]
                drawn.extend(rng.choice(donor, size))
            test = auc_test(np.array(drawn), codes < used, codes)
            seen += test.p_value <= 0.05
        low, high = wilson_interval(seen, 200, 0.99)
        assert low < point.power < high, (remembered, seen / 200)


def test_groups_stay_together_so_that_more_images_of_each_add_nothing() -> None:
    strong = np.random.default_rng(1).normal(1.5, 1, 40)
    lone, crowded = (power_curve(design(25, 25, images), "some", strong, draws=1500) for images in (1, 6))
    assert [point.share for point in lone.points] == [point.share for point in crowded.points]
    for one, other in zip(lone.points, crowded.points, strict=True):
        assert one.power == pytest.approx(other.power, abs=0.05)
    apart = ReleaseDesign.of(design(25, 25, 6).scores, design(25, 25, 6).members, None)
    assert power_curve(apart, "some", strong).least_share < crowded.least_share  # type: ignore[operator]


def test_strong_images_of_one_group_are_one_donor() -> None:
    scores = [5.0, 5.0, 5.0, -5.0]
    lone, paired = (
        power_curve(design(20, 20), "some", scores, groups, shares=[1.0], draws=200) for groups in (None, list("aaab"))
    )
    assert (paired.images, paired.groups) == (4, 2)
    assert paired.points[0].high < lone.points[0].low, "half of the groups score low, not a quarter"


def test_shares_are_whole_groups_upwards_and_the_least_one_is_rounded_up_to_the_grid() -> None:
    curve = power_curve(design(10, 40), "some", [9.0], shares=[0.01, 0.02, 0.31, 0.5, 0.75, 1])
    assert [point.share for point in curve.points] == [0.1, 0.4, 0.5, 0.8, 1.0]
    assert next(point.share for point in curve.points if point.low >= 0.95) == curve.least_share == 0.8
    assert curve.points[2].power > 0.8, "somewhere between 0.5 and 0.8, and only the grid is looked at"


def test_too_few_groups_see_nothing_whatever_is_remembered() -> None:
    few = release_power(design(2, 4), [Strong("some", [9.0])])
    assert (few.curves, few.used_groups, few.not_used_groups) == ((), 2, 4)
    assert few.sentence == (
        "With 2 groups of used images and 4 of not-used ones the smallest p-value that can come out is 0.0667, above "
        "the level 0.05: the release test would have seen no leak, however many images were remembered."
    )
    single = release_power(design(1, 100), [Strong("some", [9.0])])
    assert single.sentence.startswith("With 1 group of used images and 100 of not-used ones there is no test: ")
    weak = power_curve(design(20, 20), "some", [0.0])
    assert weak.least_share is None
    assert "would still not have called it in 95 % of cases, but in" in weak.sentence


def test_the_sentence_names_the_first_and_the_last_kind() -> None:
    kinds = [Strong("these", [9.0]), Strong("those", [1.0]), Strong("the last", [0.0])]
    both = release_power(design(20, 20), kinds)
    assert both.sentence == f"{both.curves[0].sentence} As strongly as the last: even all would not do."
    assert [curve.like for curve in both.curves] == ["these", "those", "the last"]
    fewer = release_power(design(20, 20), kinds[:2])
    assert fewer.sentence.endswith(f" As strongly as those: it takes {100 * fewer.curves[1].least_share:.3g} %.")  # type: ignore[operator]


def test_groups_of_both_kinds_are_left_out_as_by_the_test() -> None:
    scores, members, groups = np.arange(6.0), [True, True, False, False, True, False], ["a", "b", "b", "c", "d", "e"]
    release = ReleaseDesign.of(scores, members, groups)
    assert release.scores.tolist() == [0, 3, 4, 5]
    assert release.members.tolist() == [True, False, True, False]
    assert release.groups == (2, 2)


def test_bad_input_is_refused() -> None:
    release = design(5, 5)
    for none in ([], [Strong("none", [])]):
        with pytest.raises(UsageError, match="strong scores"):
            release_power(release, none)
    wrongs: tuple[dict[str, Any], ...] = ({"draws": 0}, {"shares": [1.5]}, {"shares": []}, {"target": 1.0})
    for wrong in wrongs:
        with pytest.raises(UsageError, match="shares lie"):
            power_curve(release, "some", [1.0], **wrong)
    with pytest.raises(UsageError, match="finite"):
        ReleaseDesign.of([1.0, float("nan")], [True, False], None)
