"""The shift check: each property is caught, nothing is without a shift, and its parts are scipy's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from provenance.detection.calibrated.shift import Appearance, check_shift, holm
from provenance.errors import UsageError


def side(seed: int, n: int = 80, **shift: float) -> Appearance:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 16)).astype(np.float32)
    vectors[:, 0] += shift.get("vectors", 0.0)
    return Appearance(
        modalities=["MR" if u < 0.5 + shift.get("modality", 0.0) else "CT" for u in rng.random(n)],
        pixels=rng.integers(200, 300, n) * (1 + shift.get("size", 0.0)),
        intensities=rng.normal(100 + shift.get("intensity", 0.0), 10, n),
        vectors=vectors,
    )


@pytest.mark.parametrize(
    ("name", "shift"),
    [
        ("modality", {"modality": 0.45}),
        ("size", {"size": 1.0}),
        ("intensity", {"intensity": 9}),
        ("distance", {"vectors": 1.0}),
    ],
)
def test_each_shift_is_named_and_no_other(name: str, shift: dict[str, float]) -> None:
    check = check_shift(side(1), side(2, **shift))
    assert [test.name for test in check.tests] == ["modality", "size", "intensity", "distance"]
    assert len(check.warnings) == 1
    assert f"differ in {name} (" in check.warnings[0]
    json.dumps(check.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "small", "large"),
    [
        ("modality", {}, {"modality": 0.45}),
        ("size", {"size": 0.1}, {"size": 1.0}),
        ("intensity", {"intensity": 6}, {"intensity": 30}),
        ("distance", {"vectors": 1.0}, {"vectors": 4.0}),
    ],
)
def test_a_large_shift_is_gross_and_a_small_one_is_not(
    name: str, small: dict[str, float], large: dict[str, float]
) -> None:
    for shift, expected in ((small, []), (large, [name])):
        tests = check_shift(side(1), side(2, **shift)).tests
        assert [test.name for test in tests if test.gross] == expected
    assert all(test.effect is not None and 0 <= test.effect <= 1 for test in tests)


def test_the_effect_is_that_of_kolmogorov_and_smirnov_and_few_images_apart_are_gross() -> None:
    one, two = side(3), side(4, size=0.1)
    tests = {test.name: test for test in check_shift(one, two).tests}
    assert tests["size"].effect == pytest.approx(stats.ks_2samp(one.pixels, two.pixels).statistic, abs=1e-6)
    counts = [list(each.modalities or ()).count("CT") / 80 for each in (one, two)]
    assert tests["modality"].effect == pytest.approx(abs(counts[0] - counts[1]), abs=1e-6)
    few = [Appearance(intensities=np.arange(4.0) + start, pixels=np.full(4, 64.0)) for start in (0, 100)]
    assert [test.gross for test in check_shift(*few).tests] == [False, True]
    other = [Appearance(modalities=[name] * 2) for name in ("CT", "CR")]  # Fisher's p is 1/3
    assert check_shift(*other).tests[0].gross
    assert not check_shift(other[0], Appearance(modalities=["CT"] * 3 + ["CR"])).tests[0].gross


def test_many_dimensions_and_few_images_make_no_gross_shift_by_themselves() -> None:
    alarms = 0
    for seed in range(40):
        vectors = np.random.default_rng(seed).standard_normal((40, 512)).astype(np.float32)
        one, two = (Appearance(vectors=part) for part in np.split(vectors, 2))
        alarms += bool(check_shift(one, two, permutations=99).tests[0].gross)
    assert alarms <= 5  # Binomial(40, 0.05) exceeds it once in a hundred


def test_without_a_shift_it_seldom_warns() -> None:
    alarms = [bool(check_shift(side(s), side(1000 + s, n=60), permutations=199).warnings) for s in range(60)]
    assert sum(alarms) <= 8  # Binomial(60, 0.05) exceeds it once in two hundred


def test_p_values_are_those_of_scipy() -> None:
    one, two = side(3), side(4)
    tests = {test.name: test for test in check_shift(one, two).tests}
    assert tests["size"].p_value == pytest.approx(stats.ks_2samp(one.pixels, two.pixels).pvalue)
    table = [[list(each.modalities or ()).count(name) for name in ("CT", "MR")] for each in (one, two)]
    assert tests["modality"].p_value == pytest.approx(stats.fisher_exact(table).pvalue)


def test_one_vote_a_group() -> None:
    # Forty images of one patient are one observation, however far from the others.
    values = np.r_[np.full(40, 500.0), np.random.default_rng(0).normal(100, 10, 30)]
    groups = ["a"] * 40 + [f"b{i}" for i in range(30)]
    other = Appearance(intensities=np.random.default_rng(1).normal(100, 10, 30))
    assert check_shift(Appearance(intensities=values), other).warnings
    assert not check_shift(Appearance(intensities=values, groups=groups), other).warnings


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_nothing_known_and_bad_values() -> None:
    assert check_shift(Appearance(), side(1)).tests == ()
    same = check_shift(Appearance(modalities=["CT"] * 3), Appearance(modalities=["CT"] * 2))
    assert same.tests[0].p_value == 1
    equal = np.ones((3, 2), dtype=np.float32)
    assert check_shift(Appearance(vectors=equal), Appearance(vectors=equal)).tests[0].p_value == 1
    with pytest.raises(UsageError, match="not finite"):
        check_shift(Appearance(pixels=[float("nan")]), Appearance(pixels=[1.0]))
    with pytest.raises(UsageError, match="no values"):
        check_shift(Appearance(modalities=[]), Appearance(modalities=["CT"]))
    with pytest.raises(UsageError, match="two embedding spaces"):
        check_shift(Appearance(vectors=equal), Appearance(vectors=np.ones((3, 4), dtype=np.float32)))
    with pytest.raises(UsageError, match="level"):
        check_shift(side(1), side(2), level=1)
