from __future__ import annotations

import numpy as np

from provenance.detection.learnt.features import features, seen
from provenance.detection.learnt.learner import BONUS, Learner
from provenance.detection.learnt.plants import scores_with_each_plant


def test_features_are_those_of_a_release_that_holds_the_plant() -> None:
    rng = np.random.default_rng(1)
    release = rng.uniform(0, 255, (9, 64, 64)).astype(np.float32)
    coarse = np.kron(rng.uniform(0, 255, (24, 8, 8)), np.ones((8, 8)))
    pool = (0.75 * coarse + 0.25 * rng.uniform(0, 255, (24, 64, 64))).astype(np.float32)
    groups = [f"patient {row // 2}" if row < 8 else None for row in range(24)]
    plants = np.clip(pool[[3, 15]] + rng.normal(0, 5, (2, 64, 64)), 0, 255).astype(np.float32)
    without = features(pool, release, groups)
    learner = Learner.of(without.columns, without.copies, np.arange(10), np.arange(10, 20), groups)
    found = list(scores_with_each_plant(learner, seen(pool, release, groups, threads=2), plants))
    for plant, scores in zip(plants, found, strict=True):
        held = features(pool, np.concatenate([release, plant[None]]), groups)
        expected = (held.columns * learner.weights_of_each).sum(axis=1) + BONUS * held.copies
        np.testing.assert_allclose(scores, expected, atol=2e-5)
    assert found[0][3] > learner.scores[3] + 0.1
    assert found[1][15] > learner.scores[15] + 0.1
