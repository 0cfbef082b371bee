"""Combinations against scikit-learn called directly, and that nothing is judged by what it taught."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from provenance.errors import UsageError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not part of a source distribution", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))
from methods_combination import choose_score, combine_by_logistic  # noqa: E402

sys.path.remove(str(BENCHMARKS))


def columns(seed: int, n: int = 120, **signal: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2 == 0
    return {name: rng.standard_normal(n) + shift * truth for name, shift in signal.items()}, truth


def test_held_out_log_odds_are_scikit_learns() -> None:
    scores, truth = columns(0, a=0.8, b=0.3)
    groups = (np.arange(120) // 3).astype(str)
    result = combine_by_logistic(scores, truth, groups=groups.tolist())
    matrix = np.stack(list(scores.values()), axis=1)
    codes = np.unique(groups, return_inverse=True)[1]
    expected = np.zeros(120)
    for training, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(matrix, truth, codes):
        assert not set(codes[training]) & set(codes[test])
        fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(matrix[training], truth[training])
        expected[test] = fitted.decision_function(matrix[test])
    np.testing.assert_allclose(result.held_out, expected, atol=1e-8)
    whole = make_pipeline(StandardScaler(), LogisticRegression()).fit(matrix, truth)
    np.testing.assert_allclose(result.model.log_odds(scores), whole.decision_function(matrix), atol=1e-8)


@pytest.mark.slow
def test_the_score_with_the_signal_is_chosen() -> None:
    scores, truth = columns(1, noise=0.0, signal=1.5, other=0.0)
    choice = choose_score(scores, truth)
    assert choice.name in {"signal", "logistic"}
    assert choice.nested_auc == pytest.approx(roc_auc_score(truth, scores["signal"]), abs=0.05)
    assert {each.name for each in choice.candidates} == {"noise", "signal", "other", "rank-average", "logistic"}
    json.dumps(choice.to_json(), allow_nan=False)


@pytest.mark.slow
def test_two_weak_scores_are_combined_and_the_choice_applies_to_others() -> None:
    scores, truth = columns(2, n=400, one=0.8, two=0.8)
    choice = choose_score(scores, truth)
    assert choice.name in {"rank-average", "logistic"}
    others, of_others = columns(3, n=2000, one=0.8, two=0.8)
    applied = choice.apply(others)
    assert roc_auc_score(of_others, applied) > roc_auc_score(of_others, others["one"]) + 0.04


@pytest.mark.slow
def test_the_nested_figure_does_not_flatter_a_choice_among_noise() -> None:
    # Among 10 useless scores the best looks good; the nested AUC is about a half on average.
    nested, best = [], []
    for seed in range(6):
        scores, truth = columns(100 + seed, n=60, **{f"s{i}": 0.0 for i in range(10)})
        choice = choose_score(scores, truth, folds=3)
        nested.append(choice.nested_auc)
        best.append(choice.candidates[0].auc)
    assert np.mean(best) > 0.57
    assert abs(np.mean(nested) - 0.5) < 0.07


def test_a_score_without_spread_is_left_out_of_the_combination() -> None:
    scores, truth = columns(4, signal=1.0)
    scores["flat"] = np.ones(120)
    choice = choose_score(scores, truth)
    assert choice.name == "signal"
    assert choice.apply(scores).tolist() == scores["signal"].tolist()


def test_bad_input_is_refused() -> None:
    scores, truth = columns(5, a=1.0)
    with pytest.raises(UsageError, match="2 values for 120"):
        combine_by_logistic(scores | {"b": [1.0, 2.0]}, truth)
    with pytest.raises(UsageError, match="truth has 2"):
        choose_score(scores, [1, 0])
    with pytest.raises(UsageError, match="one class only"):
        choose_score(scores, [1] * 120)
    with pytest.raises(UsageError, match="names of combinations"):
        choose_score(scores | {"logistic": scores["a"]}, truth)
    with pytest.raises(UsageError, match="scores are missing: a"):
        choose_score(scores, truth).apply({"b": [1.0]})
