"""Logistic regression against scikit-learn called directly; the model as plain numbers; policies with it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from provenance.detection import FitSettings, LogisticModel, fit_logistic
from provenance.errors import UsageError
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from numpy.typing import NDArray


def drawn(seed: int = 0, n: int = 400) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    s_used = 0.92 + 0.02 * rng.standard_normal(n) + 0.015 * truth
    return {"s_used": s_used, "s_not_used": 0.92 + 0.02 * rng.standard_normal(n)}, truth


@pytest.mark.parametrize("seed", [0, 1, 42])
@pytest.mark.parametrize("standardise", [False, True])
def test_fit_is_scikit_learns_label_for_label(seed: int, standardise: bool) -> None:
    scores, truth = drawn(seed)
    matrix = np.column_stack(list(scores.values()))
    x_train, x_test, y_train, y_test = train_test_split(matrix, truth, test_size=0.2, stratify=truth, random_state=seed)
    regression = make_pipeline(StandardScaler(), LogisticRegression()) if standardise else LogisticRegression()
    regression.fit(x_train, y_train)

    fit = fit_logistic(scores, truth, settings=FitSettings(seed=seed, standardise=standardise))
    assert np.array_equal(matrix[list(fit.held_out_rows)], x_test)
    assert fit.model.probability(scores) == pytest.approx(regression.predict_proba(matrix)[:, 1], abs=1e-12)
    labels = [decision.label is Label.USED for decision in fit.model.decide(scores)]
    assert labels == regression.predict(matrix).tolist()
    for measured, x, y in ((fit.training, x_train, y_train), (fit.held_out, x_test, y_test)):
        predicted = regression.predict(x)
        # Raw scores may be shrunk so far that nothing is labelled used: no precision then.
        assert measured.precision == (sk.precision_score(y, predicted) if predicted.any() else None)
        assert measured.recall == sk.recall_score(y, predicted)
        assert measured.f1 == sk.f1_score(y, predicted)
        assert measured.accuracy == sk.accuracy_score(y, predicted)
        assert measured.kappa == sk.cohen_kappa_score(y, predicted)
        assert measured.auc == pytest.approx(sk.roc_auc_score(y, regression.decision_function(x)), abs=1e-12)


def test_split_is_stratified_and_leaves_a_fifth_out() -> None:
    scores, truth = drawn()
    fit = fit_logistic(scores, truth)
    assert len(fit.held_out_rows) == 80
    assert sorted(fit.training_rows + fit.held_out_rows) == list(range(400))
    assert abs(truth[list(fit.held_out_rows)].mean() - truth.mean()) < 0.01


def test_groups_stand_on_one_side() -> None:
    scores, truth = drawn()
    groups = [f"patient-{row // 4}" for row in range(len(truth))]
    fit = fit_logistic(scores, truth, groups=groups)
    sides = [{groups[row] for row in rows} for rows in (fit.training_rows, fit.held_out_rows)]
    assert not sides[0] & sides[1]
    assert fit.grouped
    assert 0.15 < len(fit.held_out_rows) / len(truth) < 0.25


def test_any_named_scores_serve_for_real_subjects() -> None:
    scores, truth = drawn()
    fit = fit_logistic({"nearest": scores["s_used"]}, truth)
    assert fit.model.features == ("nearest",)
    assert len(fit.model.coefficients) == 1


def test_model_comes_back_from_json_to_the_last_bit() -> None:
    scores, truth = drawn()
    model = fit_logistic(scores, truth, settings=FitSettings(c=2, standardise=True)).model
    again = LogisticModel.from_json(json.loads(json.dumps(model.to_json())))
    assert again == model
    assert again.to_json() == model.to_json()
    assert np.array_equal(again.probability(scores), model.probability(scores))


MODEL = LogisticModel(("s_used", "s_not_used"), (2.0, -1.0), -0.5, (0.0, 0.0), (1.0, 1.0))


def test_probability_of_a_hand_computed_case() -> None:
    # z = 2 * 0.9 - 0.8 - 0.5 = 0.5
    assert MODEL.probability({"s_used": [0.9], "s_not_used": [0.8]})[0] == pytest.approx(1 / (1 + math.exp(-0.5)))


def test_far_out_scores_give_0_and_1_without_overflow() -> None:
    extreme = LogisticModel(("x",), (1e6,), 0.0, (0.0,), (1.0,))
    assert extreme.probability({"x": [-1.0, 0.0, 1.0]}).tolist() == [0.0, 0.5, 1.0]


def test_a_probability_equal_to_the_cutoff_is_not_above_it() -> None:
    decisions = MODEL.decide({"s_used": [0.5, 0.5 + 1e-6, 0.6], "s_not_used": [0.5, 0.5, 0.5]})
    assert [decision.label for decision in decisions] == [Label.NOT_USED, Label.USED, Label.USED]
    assert [decision.near_threshold for decision in decisions] == [True, True, False]
    assert decisions[0].score == 0.5


def test_the_cutoff_moves_the_decision() -> None:
    strict = LogisticModel(("x",), (1.0,), 0.0, (0.0,), (1.0,), FitSettings(cutoff=0.9))
    labels = [decision.label for decision in strict.decide({"x": [math.log(9) - 0.01, math.log(9) + 0.01]})]
    assert labels == [Label.NOT_USED, Label.USED]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"s_used": [0.9]}, "missing: s_not_used"),
        ({"s_used": [0.9], "s_not_used": [0.9, 0.8]}, "2 values for 1 images"),
        ({"s_used": [0.9], "s_not_used": [float("nan")]}, "not finite"),
        ({"s_used": [0.9], "s_not_used": [None]}, "not finite"),
    ],
)
def test_scores_that_do_not_fit_the_model_are_refused(scores: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MODEL.probability(scores)


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ({}, [True, False], "no scores"),
        ({"a": []}, [], "no values"),
        ({"a": [0.1, 0.2, 0.3]}, [True, True, True], "one class only"),
        ({"a": [0.1, 0.2, float("nan")]}, [True, False, True], "not finite"),
        ({"a": [0.1, 0.2]}, [True, False, True], "2 values for 3 images"),
        ({"a": [0.2] * 10}, [True, False] * 5, "all scores are equal"),
        ({"a": [0.1, 0.2, 0.3]}, [True, False, False], "too few for a stratified split"),
    ],
)
def test_what_can_not_be_fitted_has_a_clear_error(scores: dict[str, Any], truth: list[bool], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit_logistic(scores, truth)


def test_too_few_groups_are_refused() -> None:
    scores, truth = drawn(n=20)
    with pytest.raises(UsageError, match="one group"):
        fit_logistic(scores, truth, groups=["a"] * 20)
    by_class = ["used" if used else "not used" for used in truth]
    with pytest.raises(UsageError, match="can't be spread"):
        fit_logistic(scores, truth, groups=by_class)


def test_a_score_that_does_not_vary_can_not_be_standardised() -> None:
    scores, truth = drawn()
    with pytest.raises(UsageError, match="still: no variation"):
        fit_logistic(scores | {"still": np.full(400, 0.3)}, truth, settings=FitSettings(standardise=True))


@pytest.mark.parametrize(
    "wrong", [{"c": 0}, {"c": float("nan")}, {"cutoff": 0}, {"cutoff": 1}, {"held_out_share": 1.5}]
)
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        FitSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"coefficients": [1.0]},
        {"coefficients": ["1", 2.0]},
        {"coefficients": 3},
        {"scale": [0.0, 1.0]},
        {"mean": [float("nan"), 0.0]},
        {"intercept": None},
        {"intercept": True},
        {"features": ["s_used", "s_used"]},
        {"features": "s_used"},
        {"settings": {}},
        {"settings": None},
        {"surplus": 1},
    ],
)
def test_a_damaged_model_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        LogisticModel.from_json(MODEL.to_json() | change)
    with pytest.raises(UsageError):
        LogisticModel.from_json([change])
