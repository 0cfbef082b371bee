"""The alpha grid against the paper's equations written down a second time, and against scikit-learn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from provenance.detection import (
    Threshold,
    adaptive_alpha,
    decide_generated,
    decide_real,
    sweep_alphas,
    threshold_of_moments,
)
from provenance.errors import UsageError
from provenance.vocabulary import PAPER_ALPHAS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


def drawn(seed: int, n: int = 300) -> tuple[Floats, Floats, Bools]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.45
    s_used = np.clip(0.92 + 0.02 * rng.standard_normal(n) + 0.01 * truth, -1, 1)
    s_not_used = np.clip(0.92 + 0.02 * rng.standard_normal(n), -1, 1)
    return s_used, s_not_used, truth


def paper_labels(s_used: Floats, s_not_used: Floats | None, population: Floats, alpha: float) -> Bools:
    t = np.mean(population) + alpha * np.std(population)
    labels: Bools = s_used > t
    return labels if s_not_used is None else labels & (s_used > s_not_used)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("real", [False, True])
def test_every_row_is_the_papers_rule_measured_by_scikit_learn(seed: int, real: bool) -> None:
    s_used, s_not_used, truth = drawn(seed)
    others = None if real else s_not_used
    result = sweep_alphas(s_used, truth, s_not_used=others)
    assert [row.alpha for row in result.rows] == list(PAPER_ALPHAS)
    for row in result.rows:
        population = s_used if real else np.concatenate([s_used, s_not_used])
        labels = paper_labels(s_used, others, population, row.alpha)
        assert row.metrics.true_positives == (labels & truth).sum()
        assert row.metrics.precision == sk.precision_score(truth, labels)
        assert row.metrics.recall == sk.recall_score(truth, labels)
        assert row.metrics.f1 == sk.f1_score(truth, labels)
        assert row.metrics.accuracy == sk.accuracy_score(truth, labels)
        assert row.metrics.kappa == sk.cohen_kappa_score(truth, labels)
        assert row.metrics.auc == sk.roc_auc_score(truth, s_used)
        assert row.auc_of_labels == pytest.approx(sk.roc_auc_score(truth, labels))
    assert result.best is not None
    assert result.best.metrics.f1 == max(row.metrics.f1 or 0 for row in result.rows)
    assert result.f1_of_all_used == pytest.approx(sk.f1_score(truth, np.ones(len(truth))))


@pytest.mark.parametrize("real", [False, True])
def test_labels_equal_the_rule_image_by_image_at_edges_too(real: bool) -> None:
    # Scores with few decimals, so that many stand exactly on T or equal S_n.
    rng = np.random.default_rng(3)
    scores, others = rng.integers(0, 5, 60) / 4, rng.integers(0, 5, 60) / 4
    truth = rng.random(60) < 0.5

    def at(alpha: float) -> Threshold:
        return threshold_of_moments(0.25, 0.25, 120, alpha)

    result = sweep_alphas(scores, truth, (0.0, 1.0, 2.0), s_not_used=None if real else others, threshold_at=at)
    for row in result.rows:
        assert row.threshold == at(row.alpha)
        decisions = [
            decide_real(s, row.threshold) if real else decide_generated(s, n, row.threshold)
            for s, n in zip(scores.tolist(), others.tolist(), strict=True)
        ]
        labels = np.array([decision.label == "used" for decision in decisions])
        assert row.metrics.true_positives == (labels & truth).sum()
        assert row.metrics.false_positives == (labels & ~truth).sum()


def test_of_equally_good_alphas_the_smaller_is_best() -> None:
    result = sweep_alphas([0.1, 0.2, 0.8, 0.9], [False, False, True, True], (0.2, 0.1, 0.0))
    assert [row.metrics.f1 for row in result.rows] == [1, 1, 1]
    assert result.best is not None
    assert result.best.alpha == 0.0
    assert result.to_json()["best"]["alpha"] == 0.0


def test_where_nothing_is_found_no_alpha_is_best() -> None:
    result = sweep_alphas([0.9, 0.8, 0.2, 0.1], [False, False, True, True], (0.5, 1.0, 9.0))
    assert result.best is None
    assert result.rows[-1].metrics.precision is None  # nothing is labelled used
    assert "NaN" not in json.dumps(result.to_json())


@pytest.mark.parametrize(
    ("alphas", "message"),
    [((), "empty"), ((0.1, float("nan")), "finite"), ((0.1, float("inf")), "finite"), ((0.5, 0.1, 0.5), "twice")],
)
def test_senseless_grids_are_refused(alphas: tuple[float, ...], message: str) -> None:
    s_used, s_not_used, truth = drawn(0)
    for function in (sweep_alphas, adaptive_alpha):
        with pytest.raises(UsageError, match=message):
            function(s_used, truth, alphas, s_not_used=s_not_used)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ([], [], "no values"),
        ([0.1, 0.2], [True], "2 values for 1 images"),
        ([0.1, float("nan")], [True, False], "not finite"),
        ([0.1, None], [True, False], "not finite"),
        (["a", "b"], [True, False], "not a number"),
        ([0.1, 0.2], [True, True], "one class only"),
        ([0.1, 0.2], [False, False], "one class only"),
        ([0.3, 0.3], [True, False], "all scores are equal"),
        ([0.1, 0.2], [True, None], "true or false"),
        ([0.1, 0.2], [1.0, float("nan")], "true or false"),
        ([0.1, 0.2], ["used", "not_used"], "true or false"),
    ],
)
def test_bad_input_has_a_clear_error(scores: list[Any], truth: list[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sweep_alphas(scores, truth)


def test_adaptive_alpha_equals_a_loop_over_scikit_learns_folds() -> None:
    s_used, s_not_used, truth = drawn(7)
    grid = (0.0, 0.5, 1.0)
    result = adaptive_alpha(s_used, truth, grid, s_not_used=s_not_used, folds=4, seed=11)
    held_out = {alpha: np.zeros(len(truth), dtype=bool) for alpha in grid}
    nested = np.zeros(len(truth), dtype=bool)
    chosen = []
    for training, test in StratifiedKFold(4, shuffle=True, random_state=11).split(s_used, truth):
        population = np.concatenate([s_used[training], s_not_used[training]])
        labels = {alpha: paper_labels(s_used, s_not_used, population, alpha) for alpha in grid}
        for alpha in grid:
            held_out[alpha][test] = labels[alpha][test]
        best = max(grid, key=lambda alpha: (sk.f1_score(truth[training], labels[alpha][training]), -alpha))
        chosen.append(best)
        nested[test] = labels[best][test]
    f1 = [sk.f1_score(truth, held_out[alpha]) for alpha in grid]
    assert result.held_out_f1 == pytest.approx(f1)
    assert result.alpha == grid[int(np.argmax(f1))]
    assert [fold.alpha for fold in result.folds] == chosen
    assert result.nested.f1 == sk.f1_score(truth, nested)
    assert not result.grouped


def test_adaptive_alpha_keeps_groups_together() -> None:
    s_used, _, truth = drawn(2)
    groups = [f"patient-{row // 6}" for row in range(len(truth))]
    result = adaptive_alpha(s_used, truth, groups=groups, seed=3)
    codes = np.unique(groups, return_inverse=True)[1]
    splits = StratifiedGroupKFold(5, shuffle=True, random_state=3).split(codes, truth, codes)
    assert [fold.held_out for fold in result.folds] == [len(test) for _, test in splits]
    assert result.grouped
    assert result == adaptive_alpha(s_used, truth, groups=groups, seed=3)


def test_groups_of_one_image_change_nothing() -> None:
    s_used, _, truth = drawn(2)
    names = [f"{row:04}" for row in range(len(truth))]
    assert adaptive_alpha(s_used, truth, groups=names) == adaptive_alpha(s_used, truth)


@pytest.mark.parametrize(
    ("groups", "folds", "message"),
    [
        (None, 1, "2 folds or more"),
        (["a"] * 8, 2, "1 groups"),
        (["a"] * 4 + ["b"] * 4, 3, "2 groups"),
        (None, 5, "4 images of the rarer class"),
        (["a"] * 4 + ["b"] * 4, 2, "can't be spread"),  # each training part would have one class
        (["a"], 2, "1 values for 8 images"),
    ],
)
def test_too_few_groups_have_a_clear_error(groups: list[str] | None, folds: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        adaptive_alpha(np.arange(8) / 8, [True] * 4 + [False] * 4, groups=groups, folds=folds)
