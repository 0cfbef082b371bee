"""The seed rule against the paper's equations written down a second time in NumPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.detection import (
    Threshold,
    decide_generated,
    decide_real,
    near_rounding_boundary,
    population_of_maxima,
    threshold_of_scores,
)
from provenance.errors import UsageError
from provenance.vocabulary import Label

cosines = st.floats(min_value=-1, max_value=1, allow_nan=False)


@given(st.lists(cosines, min_size=1, max_size=50), st.floats(min_value=-3, max_value=3))
def test_threshold_is_mu_plus_alpha_sigma(scores: list[float], alpha: float) -> None:
    threshold = threshold_of_scores(scores, alpha)
    values = np.asarray(scores)
    assert threshold.mu == pytest.approx(values.mean(), abs=1e-9)
    assert threshold.sigma == pytest.approx(values.std(ddof=0), abs=1e-9)
    assert threshold.value == pytest.approx(values.mean() + alpha * values.std(ddof=0), abs=3e-9)
    assert threshold.n == len(scores)


@given(st.lists(cosines, min_size=2, max_size=7))
def test_threshold_does_not_depend_on_the_order_of_scores(scores: list[float]) -> None:
    orders = itertools.islice(itertools.permutations(scores), 50)
    assert len({threshold_of_scores(order, 0.5) for order in orders}) == 1


def test_threshold_of_hand_computed_scores() -> None:
    # mean 0.5, squared deviations 0.04, 0.04, 0, 0 -> sigma = sqrt(0.02)
    threshold = threshold_of_scores([0.3, 0.7, 0.5, 0.5], alpha=0.5)
    assert threshold == Threshold(0.5, round(math.sqrt(0.02), 9), 0.5, 4, round(0.5 + 0.5 * math.sqrt(0.02), 9))


def test_no_scores_is_an_error() -> None:
    with pytest.raises(UsageError, match="no scores"):
        threshold_of_scores([], 0.5)


AT = Threshold(mu=0.8, sigma=0.1, alpha=0.5, n=4, value=0.85)


@pytest.mark.parametrize(
    ("s_used", "s_not_used", "label"),
    [
        (0.90, 0.80, Label.USED),
        (0.90, 0.90, Label.NOT_USED),  # equal to S_n is not above it
        (0.90, 0.95, Label.NOT_USED),
        (0.85, 0.80, Label.NOT_USED),  # equal to T is not above it
        (0.84, 0.80, Label.NOT_USED),
        (0.90, None, Label.USED),
        (0.80, None, Label.NOT_USED),
        (None, 0.99, Label.NOT_USED),  # a maximum over nothing is below everything
    ],
)
def test_generated_is_used_iff_above_both(s_used: float | None, s_not_used: float | None, label: Label) -> None:
    assert decide_generated(s_used, s_not_used, AT).label is label


def test_generated_against_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match="no real image"):
        decide_generated(None, None, AT)


@given(cosines, cosines, cosines)
def test_label_is_monotone_in_the_threshold(s_used: float, s_not_used: float, value: float) -> None:
    low = Threshold(0, 0, 0, 1, value)
    high = Threshold(0, 0, 0, 1, min(1.0, value + 0.1))
    if decide_generated(s_used, s_not_used, high).label is Label.USED:
        assert decide_generated(s_used, s_not_used, low).label is Label.USED


def test_equal_similarities_label_nothing_used() -> None:
    # 0.1 + 0.2 has no short decimal form: mu rounded to 9 decimals lies below it.
    score = 0.1 + 0.2
    threshold = threshold_of_scores([score] * 7, alpha=0.5)
    assert threshold.sigma == 0
    assert decide_real(score, threshold).label is Label.NOT_USED


@pytest.mark.parametrize(
    ("s_used", "s_not_used", "near"),
    [
        (0.85 + 5e-6, 0.5, True),  # close to T
        (0.85 - 5e-6, 0.5, True),
        (0.95, 0.95 - 5e-6, True),  # close to S_n
        (0.95, 0.5, False),
        (0.50, 0.5 - 5e-6, False),  # close to S_n, but T decides with room to spare
    ],
)
def test_verdicts_that_a_tolerance_could_turn_are_marked(s_used: float, s_not_used: float, near: bool) -> None:
    assert decide_generated(s_used, s_not_used, AT).near_threshold is near


def test_population_of_maxima_holds_both_kinds() -> None:
    assert population_of_maxima([0.1, 0.2], [0.3, 0.4]) == [0.1, 0.2, 0.3, 0.4]
    assert population_of_maxima([0.1, 0.2], [None, None]) == [0.1, 0.2]


def test_rounding_boundary_is_seen() -> None:
    assert near_rounding_boundary(0.1234567895, 0.1, 0.5)
    assert not near_rounding_boundary(0.1234567891, 0.1, 0.5)
