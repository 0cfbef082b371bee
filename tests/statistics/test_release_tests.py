"""What the release test promises, over seeded repetitions: its size by group, its power, and that hubs fool nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binomtest, kstest

from provenance.detection.release.data_copying import data_copying
from provenance.detection.release.membership_test import judge_release
from provenance.detection.scores.membership import membership_scores
from provenance.detection.scores.neighborhoods import neighborhoods
from provenance.findings import Resampling
from provenance.vocabulary import Outcome
from tests.nearest import nearest_lists

if TYPE_CHECKING:
    from collections.abc import Callable

    Draw = Callable[..., Any]

AUDITS, LEVEL, MOST_ALARMS = 200, 0.05, 21
QUICK = Resampling(resamples=200)


def members_of(drawn: Any, count: int) -> np.ndarray:
    return np.array([int(group.split()[1]) < count for group in drawn.groups])


def test_the_permutation_test_has_its_size_with_groups_of_unequal_size() -> None:
    p_values = []
    for seed in range(AUDITS):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(30), rng.integers(1, 8, 30))
        scores = rng.standard_normal(30)[codes] + 0.5 * rng.standard_normal(len(codes))
        result = judge_release(
            scores, codes < 12, groups=codes.tolist(), permutations=499, resampling=Resampling(resamples=100), seed=seed
        )
        p_values.append(result.permutation.p_value)
    assert np.sum(np.array(p_values) <= LEVEL) <= MOST_ALARMS
    assert kstest(p_values, "uniform").pvalue > 1e-3


def test_a_release_made_from_other_images_is_seldom_called_a_leak(world: Draw) -> None:
    outcomes, covered = [], 0
    for seed in range(AUDITS):
        drawn = world(seed, 80, largest=3)
        scores = membership_scores(neighborhoods(drawn.pool, drawn.release, drawn.groups, k=3))["density"]
        result = judge_release(
            scores, members_of(drawn, 40), groups=drawn.groups, permutations=199, resampling=QUICK, seed=seed
        )
        outcomes.append(result.outcome)
        assert result.auc.low is not None
        assert result.auc.high is not None
        covered += result.auc.low <= 0.5 <= result.auc.high
    assert outcomes.count(Outcome.LEAK_ESTABLISHED) <= MOST_ALARMS
    assert covered >= 175  # Binomial(200, 0.95) falls below 181 once in a thousand; percentiles are a little narrow


def test_power_rises_with_the_number_of_copies(world: Draw, copied: Draw) -> None:
    power = []
    for count in (0, 4, 12, 30):
        found = 0
        for seed in range(40):
            drawn = world(1000 + seed, 80)
            release = np.concatenate([drawn.release, copied(drawn.rng, drawn.pool[:count], 0.3)])
            scores = membership_scores(neighborhoods(drawn.pool, release, k=3))["nearest"]
            result = judge_release(scores, members_of(drawn, 40), permutations=199, resampling=QUICK, seed=seed)
            found += result.outcome is Outcome.LEAK_ESTABLISHED
        power.append(found)
    assert power == sorted(power)
    assert power[0] <= 7  # Binomial(40, 0.05) exceeds it once in three hundred
    assert power[-1] == 40


def test_copying_statistics_have_their_size_where_a_binomial_test_has_not(world: Draw) -> None:
    alarms, binomial = np.zeros(3, dtype=int), 0
    for seed in range(AUDITS):
        drawn = world(2000 + seed, 40, closeness=0.4)
        names = list(range(40))
        release = nearest_lists(drawn.release, drawn.pool, k=25)
        own = nearest_lists(drawn.pool, drawn.pool, k=25, query_groups=names, reference_groups=names)
        result = data_copying(release, own, members_of(drawn, 20), permutations=59, seed=seed)
        tests = (result.attribution, result.c_t, result.auth_pct)
        alarms += [test.p_value <= LEVEL for test in tests]
        share = result.attribution.value
        assert share is not None
        binomial += binomtest(round(share * 60), 60, 0.5, alternative="greater").pvalue <= LEVEL
    assert (alarms <= MOST_ALARMS).all()
    assert binomial > 2 * MOST_ALARMS
