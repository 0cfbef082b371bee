"""Euclidean distance beside cosine."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.metrics.pairwise import euclidean_distances

from provenance.detection import check_by_distance
from provenance.detection.seed.euclidean import distance_of_cosine
from provenance.errors import UsageError


def unit_vectors(n: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, 64)) + 0.8
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_distance_is_that_of_the_vectors() -> None:
    a, b = unit_vectors(40, 0), unit_vectors(30, 1)
    cosines = a @ b.T
    assert distance_of_cosine(cosines.ravel()) == pytest.approx(euclidean_distances(a, b).ravel(), abs=1e-9)
    assert np.array_equal((a @ b.T).argmax(axis=1), euclidean_distances(a, b).argmin(axis=1))


def test_both_ways_and_the_ends() -> None:
    cosines = np.linspace(-1, 1, 201)
    assert 1 - distance_of_cosine(cosines) ** 2 / 2 == pytest.approx(cosines, abs=1e-15)
    assert distance_of_cosine([1.0, 0.0, -1.0]) == pytest.approx([0, np.sqrt(2), 2])


@pytest.mark.parametrize("real", [False, True])
def test_check_equals_the_rule_on_distances(real: bool) -> None:
    g, u, n = unit_vectors(150, 0), unit_vectors(60, 1), unit_vectors(60, 2)
    s_used, s_not_used = (g @ u.T).max(axis=1), (g @ n.T).max(axis=1)
    result = check_by_distance(s_used, None if real else s_not_used, alpha=0.5)
    d_used, d_not_used = euclidean_distances(g, u).min(axis=1), euclidean_distances(g, n).min(axis=1)
    population = d_used if real else np.concatenate([d_used, d_not_used])
    by_distance = d_used < population.mean() - 0.5 * population.std()
    similar = s_used if real else np.concatenate([s_used, s_not_used])
    by_cosine = s_used > similar.mean() + 0.5 * similar.std()
    if not real:
        by_distance, by_cosine = by_distance & (d_used < d_not_used), by_cosine & (s_used > s_not_used)
    assert result.used_by_distance == by_distance.sum()
    assert result.used_by_cosine == by_cosine.sum()
    assert result.agreeing == (by_distance == by_cosine).sum()
    assert result.distance.mu == pytest.approx(-population.mean(), abs=1e-9)


def test_ranking_is_the_same_by_either() -> None:
    cosines = np.random.default_rng(0).random(100)
    truth = np.arange(100) % 2 == 0
    assert sk.roc_auc_score(truth, cosines) == sk.roc_auc_score(truth, -distance_of_cosine(cosines))


@pytest.mark.parametrize("wrong", [[], [1.1], [-1.1], [float("nan")]])
def test_what_is_no_cosine_is_refused(wrong: list[float]) -> None:
    with pytest.raises(UsageError):
        distance_of_cosine(wrong)
    with pytest.raises(UsageError):
        check_by_distance(wrong)
