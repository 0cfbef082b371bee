"""The fitted tail: what it computes, when it is refused, and that it keeps its level."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.stats import genpareto

from provenance.detection.copies.tail import fitted_tail
from provenance.errors import UsageError

RNG = np.random.default_rng(1)
NORMAL = RNG.normal(size=200)


def test_the_p_value_is_its_formula() -> None:
    tail = fitted_tail(NORMAL)
    top = np.sort(NORMAL)[-21:]
    assert tail.refused == ""
    assert tail.threshold == pytest.approx(top[0])
    np.testing.assert_allclose(tail.excesses, top[1:] - top[0], atol=1e-8)
    y = np.array([0.3, 6.0])
    exponential = (1 + y / (top[1:] - top[0]).sum()) ** -20
    heavier = genpareto.sf(y, 0.25, scale=0.75 * (top[1:] - top[0]).mean())
    assert tail.shape + (1 + tail.shape) / (2 * np.sqrt(20)) < 0.25
    assert heavier[1] > exponential[1]
    assert heavier[0] < exponential[0]
    assert tail.p_values(tail.threshold + y) == pytest.approx(21 / 201 * np.maximum(exponential, heavier), rel=1e-6)
    assert np.isnan(tail.p_values([tail.threshold])[0])


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


def test_a_group_counts_by_its_highest_score() -> None:
    groups = [number // 2 for number in range(200)]
    tail = fitted_tail(NORMAL, groups)
    assert tail.groups == 100
    assert tail.threshold + max(tail.excesses) == pytest.approx(NORMAL.max())


def test_p_values_fall() -> None:
    tail = fitted_tail(NORMAL)
    assert (np.diff(tail.p_values(tail.threshold + np.array([0.01, 0.3, 1.0, 3.0, 9.0]))) < 0).all()


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.standard_normal(n),
        lambda rng, n: rng.standard_exponential(n),
        lambda rng, n: rng.lognormal(sigma=0.75, size=n),
        lambda rng, n: rng.standard_t(4, n),
    ],
)
def test_the_level_is_kept_for_light_and_for_heavy_tails(draw) -> None:
    """Of releases of 1,000 images without a copy, how many have a p-value that Benjamini-Hochberg rejects at 0.05."""
    rng = np.random.default_rng(7)
    models = [fitted_tail(draw(rng, 120)) for _ in range(60)]
    least = [np.nan_to_num(model.p_values(draw(rng, 1000)), nan=1).min() for model in models]
    assert (np.array(least) <= 5e-5).sum() <= 6


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="not finite"):
        fitted_tail([np.nan] * 60)


def test_a_tail_that_may_be_heavier_is_taken_for_one() -> None:
    heavy = np.random.default_rng(3).standard_t(3, 200)
    tail = fitted_tail(heavy)
    assert tail.refused == ""
    assert tail.shape > 0.1
    shape = tail.shape + (1 + tail.shape) / (2 * np.sqrt(20))
    far = 10 * tail.mean_excess
    expected = 21 / 201 * (1 + shape * far / ((1 - shape) * tail.mean_excess)) ** (-1 / shape)
    assert tail.p_values([tail.threshold + far])[0] == pytest.approx(expected, rel=1e-6)
    assert expected > 21 / 201 * (1 + far / sum(tail.excesses)) ** -20
