"""The scoring step against the pure functions and plain NumPy; what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from provenance.audit.scoring import default_score, is_local_score, score_names, score_parameters, score_reals
from provenance.audit.scoring_inputs import ScoringInputs
from provenance.detection import SCORES
from provenance.errors import SpaceMismatchError, UsageError
from tests.vectors import unit


@pytest.fixture
def inputs():
    rng = np.random.default_rng(3)
    return ScoringInputs(
        unit(rng.normal(size=(12, 1, 8))),
        unit(rng.normal(size=(9, 1, 8))),
        [None] * 12,
        unit(rng.normal(size=(7, 1, 8))),
    )


@pytest.fixture
def local_inputs():
    rng = np.random.default_rng(4)
    return ScoringInputs(
        unit(rng.normal(size=(14, 3, 8))),
        unit(rng.normal(size=(9, 3, 8))),
        [None] * 14,
        unit(rng.normal(size=(7, 3, 8))),
    )


def test_relative_is_release_less_pool_in_plain_numpy(inputs):
    pool, release = inputs.pool[:, 0].astype(float), inputs.release[:, 0].astype(float)
    others = pool @ pool.T
    np.fill_diagonal(others, -1)
    expected = (pool @ release.T).max(axis=1) - others.max(axis=1)
    scored = score_reals("relative", inputs)
    assert np.allclose(scored.scores, expected, atol=1e-6)
    assert scored.control is not None
    assert scored.contributions is None


def test_referenced_subtracts_the_control(inputs):
    plain, subtracted = score_reals("nearest", inputs), score_reals("referenced:nearest", inputs)
    assert np.allclose(plain.scores - plain.control, subtracted.scores)
    assert subtracted.control is None


def test_rank_average_gives_each_score_the_same_say(inputs):
    columns = [score_reals(name, inputs, k=3).scores for name in SCORES]
    expected = np.mean([rankdata(np.round(column, 9)) for column in columns], axis=0) / 13
    found = score_reals("rank-average", inputs, k=3)
    assert np.allclose(found.scores, expected, atol=1e-9)
    subtracted = score_reals("referenced:rank-average", inputs, k=3).scores
    assert np.allclose(subtracted, found.scores - found.control, atol=1e-9)
    assert score_parameters("rank-average", 3) == {
        "score": "rank-average",
        "space_kind": "whole",
        "k": 3,
        "of": list(SCORES),
    }


@pytest.mark.parametrize("name", [name for name in score_names() if is_local_score(name)])
def test_local_scores_have_a_contribution_for_each_position(local_inputs, name):
    scored = score_reals(name, local_inputs, k=2)
    assert scored.contributions.shape == (14, 3)
    assert np.isfinite(scored.scores).all()
    assert np.isfinite(scored.control).all()


def test_order_does_not_matter(local_inputs):
    order = np.random.default_rng(0).permutation(14)
    turned = ScoringInputs(local_inputs.pool[order], local_inputs.release[::-1], [None] * 14)
    assert np.array_equal(score_reals("local", turned).scores, score_reals("local", local_inputs).scores[order])


def test_parameters_hold_what_shapes_the_score():
    assert score_parameters("relative", 10) == {"score": "relative", "space_kind": "whole"}
    assert score_parameters("density", 7)["k"] == 7
    assert score_parameters("local", 10)["matching"]["tau"] == 0.5
    assert (default_score(is_local=True), default_score(is_local=False)) == ("local", "relative")


def test_what_is_refused(inputs, local_inputs):
    with pytest.raises(UsageError, match="no membership score is called guess"):
        score_reals("guess", inputs)
    with pytest.raises(SpaceMismatchError, match="over a local space"):
        score_reals("local", inputs)
    with pytest.raises(SpaceMismatchError, match="over a whole-image space"):
        score_reals("nearest", local_inputs)
    with pytest.raises(UsageError, match="needs a reference release"):
        score_reals("referenced:nearest", ScoringInputs(inputs.pool, inputs.release, inputs.groups))
    with pytest.raises(UsageError, match="k = 40"):
        score_reals("density", inputs, k=40)
