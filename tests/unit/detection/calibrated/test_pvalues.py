"""Calibration of p-values: uniform ones pass as often as they should, others are caught."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from provenance.detection import calibration_of_p_values
from provenance.errors import UsageError


def conformal(rng: np.random.Generator, n: int, calibration: int, shift: float = 0.0) -> np.ndarray:
    null, scores = rng.standard_normal(calibration), rng.standard_normal(n) + shift
    return (1 + (null[None, :] >= scores[:, None]).sum(axis=1)) / (calibration + 1)


def test_without_steps_it_is_scipys_test() -> None:
    values = np.random.default_rng(0).random(80) ** 1.2
    result = calibration_of_p_values(values)
    assert result.distance == pytest.approx(stats.kstest(values, "uniform").statistic)
    assert result.p_value == pytest.approx(stats.kstest(values, "uniform").pvalue)
    assert result.p_value_excess == pytest.approx(stats.kstest(values, "uniform", alternative="greater").pvalue)
    assert result.ecdf_share[-1] == 1
    assert not result.shared


def test_distance_of_a_hand_computed_case() -> None:
    # Shares at 1/4 ... 1: 2/4, 2/4, 3/4, 1 against 1/4, 2/4, 3/4, 1.
    result = calibration_of_p_values([0.25, 0.25, 0.75, 1.0], steps=4)
    assert (result.distance, result.excess) == (0.25, 0.25)
    assert result.ecdf_p == (0.25, 0.75, 1.0)
    assert result.ecdf_share == (0.5, 0.75, 1.0)
    cautious = calibration_of_p_values([1.0, 1.0], steps=4)
    assert (cautious.distance, cautious.excess, cautious.p_value_excess) == (0.75, 0, 1)


def test_p_value_on_a_small_grid_equals_full_enumeration() -> None:
    # 3 independent values of {1/3, 2/3, 1}: 27 outcomes, equally likely.
    outcomes = np.stack(np.meshgrid(*[[1, 2, 3]] * 3), axis=-1).reshape(-1, 3)
    shares = np.stack([(outcomes <= j).mean(axis=1) - j / 3 for j in (1, 2, 3)], axis=1)
    exact = (np.abs(shares).max(axis=1) >= 2 / 3 - 1e-12).mean()
    result = calibration_of_p_values([1 / 3] * 3, steps=3, shared=False, simulations=20000)
    assert result.distance == pytest.approx(2 / 3)
    assert result.p_value == pytest.approx(exact, abs=0.01)


def test_conformal_p_values_of_one_calibration_sample_pass_as_often_as_they_should() -> None:
    rng = np.random.default_rng(1)
    runs = [conformal(rng, n=120, calibration=60) for _ in range(200)]
    allowed = [calibration_of_p_values(values, steps=61, simulations=300).p_value for values in runs]
    ignored = [calibration_of_p_values(values, steps=61, shared=False, simulations=300).p_value for values in runs]
    assert 0.01 <= np.mean(np.array(allowed) <= 0.05) <= 0.10
    assert np.mean(np.array(ignored) <= 0.05) > 0.2  # what leaving out the shared sample would do


def test_p_values_that_promise_too_much_are_caught() -> None:
    values = conformal(np.random.default_rng(2), n=150, calibration=150, shift=1.0)
    result = calibration_of_p_values(values, steps=151)
    assert result.excess == result.distance > 0.2
    assert result.p_value < 0.01
    assert result.p_value_excess < 0.01
    timid = calibration_of_p_values(np.ceil((1 - values + 1 / 151) * 151 - 1e-6) / 151, steps=151)
    assert timid.p_value < 0.01
    assert timid.p_value_excess > 0.5


def test_values_between_steps_are_rounded_up_and_counted() -> None:
    result = calibration_of_p_values([0.3, 0.5, 0.26, 1.0], steps=4)
    assert result.rounded_up == 2
    assert result.ecdf_p == (0.5, 1.0)
    grid = np.arange(1, 1001) / 1000
    assert calibration_of_p_values(grid, steps=1000, simulations=10).rounded_up == 0


def test_same_seed_same_result_and_json_without_nan() -> None:
    values = conformal(np.random.default_rng(3), 20, 19)
    first, second = (calibration_of_p_values(values, steps=20, seed=4) for _ in range(2))
    assert first == second
    json.dumps(first.to_json(), allow_nan=False)


@pytest.mark.parametrize("values", [[], [0.0], [1.1], [-0.1], [float("nan")], [0.5, None]])
def test_what_is_no_p_value_is_refused(values: list[float]) -> None:
    with pytest.raises(UsageError):
        calibration_of_p_values(values)


def test_senseless_steps_are_refused() -> None:
    with pytest.raises(UsageError):
        calibration_of_p_values([0.5], steps=0)
    with pytest.raises(UsageError):
        calibration_of_p_values([0.5], simulations=0)
