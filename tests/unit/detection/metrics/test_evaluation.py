"""Evaluation against scikit-learn and scipy called directly, and a bootstrap written as a plain loop."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from provenance.detection import Evaluation, Resampling, compare, evaluate, metrics_of
from provenance.detection.metrics.classification import true_positive_rate_at
from provenance.detection.metrics.evaluation import chance_band
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

FEW = Resampling(resamples=150, seed=5)


def drawn(n: int = 240, *, ties: bool = False, seed: int = 1, effect: float = 0.8) -> tuple[Bools, Bools, Floats]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    scores = rng.standard_normal(n) + effect * truth
    if ties:
        scores = np.round(scores)
    return truth, scores > 0.4, scores


def tpr_at(truth: Bools, scores: Floats, level: float) -> float:
    fpr, tpr, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
    return float(tpr[fpr <= level].max())


ORACLES: dict[str, Callable[[Bools, Bools, Floats], float]] = {
    "accuracy": lambda t, y, s: sk.accuracy_score(t, y),
    "precision": lambda t, y, s: sk.precision_score(t, y),
    "recall": lambda t, y, s: sk.recall_score(t, y),
    "f1": lambda t, y, s: sk.f1_score(t, y),
    "kappa": lambda t, y, s: sk.cohen_kappa_score(t, y),
    "auc": lambda t, y, s: sk.roc_auc_score(t, s),
    "tpr@0.01": lambda t, y, s: tpr_at(t, s, 0.01),
    "tpr@0.1": lambda t, y, s: tpr_at(t, s, 0.1),
}


@pytest.mark.slow
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("group_size", [1, 5])
def test_values_and_intervals_equal_a_loop_over_scikit_learn(ties: bool, group_size: int) -> None:
    truth, labels, scores = drawn(ties=ties)
    codes = np.arange(len(truth)) // group_size
    names = [f"patient-{code:03}" for code in codes]
    result = evaluate(truth, labels, scores, groups=names, fpr_levels=(0.01, 0.1), resampling=FEW)

    rng = np.random.default_rng(FEW.seed)
    count = int(codes.max()) + 1
    members = [np.flatnonzero(codes == code) for code in range(count)]
    resamples: dict[str, list[float]] = {name: [] for name in ORACLES}
    for row in rng.integers(0, count, size=(FEW.resamples, count)):
        rows = np.concatenate([members[code] for code in row])
        for name, oracle in ORACLES.items():
            resamples[name].append(oracle(truth[rows], labels[rows], scores[rows]))

    assert result.groups == count
    assert result.one_class_resamples == 0
    assert list(result.estimates) == list(ORACLES)
    for name, estimate in result.estimates.items():
        assert estimate.value == pytest.approx(ORACLES[name](truth, labels, scores), abs=1e-12), name
        low, high = np.quantile(resamples[name], [0.025, 0.975])
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-12), name
        assert estimate.reason == ""


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 4)), min_size=1, max_size=25), st.booleans())
def test_no_input_gives_a_nan_or_a_warning(rows: list[tuple[bool, bool, int]], grouped: bool) -> None:
    truth, labels, scores = (list(column) for column in zip(*rows, strict=True))
    groups = list(scores) if grouped else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = evaluate(truth, labels, scores, groups=groups, resampling=Resampling(resamples=100))
        other = compare(truth, (labels, scores), (truth, scores), groups=groups, resampling=Resampling(100))
    for document in (result.to_json(), other.to_json()):
        json.dumps(document, allow_nan=False)
    for estimate in result.estimates.values():
        assert (estimate.value is None or estimate.low is None) == bool(estimate.reason)
        assert (estimate.low is None) == (estimate.high is None)


def test_low_false_positive_rates_need_enough_negatives() -> None:
    truth, labels, scores = drawn(240)
    result = evaluate(truth, labels, scores, resampling=FEW)
    one_percent, one_per_mille = (result.estimates[name] for name in ("tpr@0.01", "tpr@0.001"))
    assert one_percent.value is not None
    assert one_per_mille.value is None
    assert "not-used images can't show a false-positive rate this low" in one_per_mille.reason


def test_a_rate_of_exactly_one_negative_is_estimable() -> None:
    scores = np.r_[np.arange(100), 98.5, 99.5, 98.2, 200.0]
    truth = np.arange(104) >= 100
    assert true_positive_rate_at(truth, scores, 0.01) == 1.0  # one of 100 negatives, 99, may be passed
    assert true_positive_rate_at(truth[1:], scores[1:], 0.01) is None  # 99 negatives
    assert true_positive_rate_at(truth, scores, 1.01e-2) == 1.0


@pytest.mark.parametrize("negatives", [100, 700, 2900])
def test_the_level_itself_is_allowed(negatives: int) -> None:
    # 0.01 * 2900 is 28.999999999999996: shares are compared, not counts.
    scores = np.r_[np.arange(negatives), negatives - negatives // 100 - 0.5]
    truth = np.arange(negatives + 1) == negatives
    assert true_positive_rate_at(truth, scores, 0.01) == 1.0


def test_one_class_is_said_so() -> None:
    result = evaluate([True] * 6, [True, False] * 3, np.arange(6) / 6, resampling=FEW)
    assert result.estimates["accuracy"].value == 0.5
    assert result.estimates["recall"].value == 0.5
    assert result.chance is None
    for estimate in (
        result.estimates["kappa"],
        result.estimates["auc"],
        *(result.estimates[name] for name in ("tpr@0.01", "tpr@0.001")),
    ):
        assert estimate.value is None
        assert estimate.reason == "not estimable: one class only"
    assert result.one_class_resamples == FEW.resamples


def test_equal_scores_rank_nothing() -> None:
    result = evaluate([True, False] * 200, [True] * 400, [0.7] * 400, fpr_levels=(0.01,), resampling=FEW)
    assert {result.estimates["auc"].reason, result.estimates["tpr@0.01"].reason} == {
        "not estimable: all scores are equal"
    }
    assert result.estimates["kappa"].value == 0


def test_nothing_labelled_has_no_precision() -> None:
    result = evaluate([True, False] * 5, [False] * 10, np.arange(10) / 10, resampling=FEW)
    assert (result.estimates["precision"].value, result.estimates["precision"].reason) == (
        None,
        "not estimable: nothing is labelled used",
    )
    assert result.estimates["recall"].value == 0
    assert result.estimates["f1"].value == 0


def test_fewer_than_two_groups_have_no_interval() -> None:
    truth, labels, scores = drawn(40)
    one = evaluate(truth, labels, scores, groups=["a"] * 40, resampling=FEW)
    assert one.estimates["accuracy"].value is not None
    assert one.estimates["accuracy"].low is None
    assert "fewer than two groups" in one.estimates["accuracy"].reason
    # Two groups, each of one class: every resample that holds both classes says the same.
    two = evaluate(truth, labels, scores, groups=["u" if used else "n" for used in truth], resampling=FEW)
    assert two.estimates["auc"].value is not None
    assert two.estimates["auc"].low is None
    assert 0 < two.one_class_resamples < FEW.resamples


def test_one_class_resamples_are_counted_and_left_out() -> None:
    truth = np.array([True, True, False, False])
    result = evaluate(truth, truth, [4.0, 1.0, 3.0, 2.0], resampling=Resampling(resamples=2000))
    assert result.one_class_resamples / 2000 == pytest.approx(2 * 0.5**4, abs=0.03)
    assert result.estimates["auc"].low == 0
    assert result.estimates["auc"].high == 1


def test_images_without_a_group_are_their_own() -> None:
    truth, labels, scores = drawn(30)
    groups: list[str | None] = [None] * 30
    groups[3] = groups[4] = "patient"
    result = evaluate(truth, labels, scores, groups=groups, resampling=FEW)
    assert result.groups == 29
    assert result.chance is not None
    assert not result.chance.independent


def test_the_same_seed_gives_the_same_intervals_and_groups_widen_them() -> None:
    truth, _, scores = drawn(60)
    # Each image ten times: 600 rows, but 60 things that were measured.
    truth, scores = np.repeat(truth, 10), np.repeat(scores, 10)
    names = np.repeat(np.arange(60), 10).tolist()
    by_image, by_group, again = (
        evaluate(truth, scores > 0.4, scores, groups=groups) for groups in (None, names, names)
    )
    assert by_group == again
    assert width(by_group) > 2.5 * width(by_image)


def width(evaluation: Evaluation) -> float:
    assert evaluation.estimates["auc"].low is not None
    assert evaluation.estimates["auc"].high is not None
    return evaluation.estimates["auc"].high - evaluation.estimates["auc"].low


def test_interval_of_the_accuracy_agrees_with_scipys_bootstrap() -> None:
    truth, labels, scores = drawn(200)
    ours = evaluate(truth, labels, scores, resampling=Resampling(resamples=5000)).estimates["accuracy"]
    scipys = stats.bootstrap(
        ((truth == labels).astype(float),), np.mean, n_resamples=5000, method="percentile", rng=1
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((scipys.low, scipys.high), abs=0.01)


def test_chance_band_is_the_exact_binomial() -> None:
    # The published accuracy of 0.508 on 500 balanced images.
    band = chance_band(254, 500, 0.5)
    assert band.p_value == pytest.approx(stats.binom.sf(253, 500, 0.5))
    assert round(band.p_value, 2) == 0.38
    assert band.low * 500 == stats.binom.ppf(0.025, 500, 0.5)
    assert band.high * 500 == stats.binom.ppf(0.975, 500, 0.5)


def test_chance_is_the_more_frequent_class() -> None:
    result = evaluate([True] * 3 + [False] * 7, [False] * 10, np.arange(10), resampling=FEW)
    assert result.chance is not None
    assert result.chance.chance == 0.7
    assert result.chance.p_value > 0.5  # 7 of 10 by calling all not used is no feat


@pytest.mark.parametrize(("correct", "n", "chance"), [(3, 2, 0.5), (-1, 2, 0.5), (0, 0, 0.5), (1, 2, 1.0)])
def test_senseless_chances_are_refused(correct: int, n: int, chance: float) -> None:
    with pytest.raises(UsageError):
        chance_band(correct, n, chance)


@pytest.mark.parametrize(
    ("truth", "labels", "scores", "message"),
    [
        ([], [], [], "truth: no values"),
        ([True, False], [True], [0.1, 0.2], "labels has 1 values for 2 images"),
        ([True, False], [True, False], [0.1], "scores has 1 values for 2 images"),
        ([True, False], [True, False], [0.1, float("nan")], "not finite"),
        ([True, None], [True, False], [0.1, 0.2], "truth must hold true or false"),
        ([True, False], ["used", "not_used"], [0.1, 0.2], "labels must hold true or false"),
    ],
)
def test_bad_input_has_a_clear_error(truth: list[Any], labels: list[Any], scores: list[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(truth, labels, scores)
    with pytest.raises(UsageError, match=message):
        metrics_of(truth, labels, scores)


def test_senseless_calls_are_refused() -> None:
    truth, labels, scores = drawn(10)
    for levels in ((0.0,), (1.0,), (float("nan"),), (0.1, 0.1)):
        with pytest.raises(UsageError, match="false-positive rate"):
            evaluate(truth, labels, scores, fpr_levels=levels)
    with pytest.raises(UsageError, match="9 values for 10 images"):
        evaluate(truth, labels, scores, groups=["a"] * 9)
    with pytest.raises(UsageError, match="100 resamples"):
        Resampling(resamples=10)
    with pytest.raises(UsageError, match="between 0 and 1"):
        Resampling(level=95)


def test_metrics_of_a_hand_computed_table() -> None:
    truth = [True] * 50 + [False] * 50
    labels = [True] * 30 + [False] * 20 + [True] * 10 + [False] * 40
    metrics = metrics_of(truth, labels)
    assert (metrics.true_positives, metrics.false_positives) == (30, 10)
    assert (metrics.false_negatives, metrics.true_negatives) == (20, 40)
    assert (metrics.accuracy, metrics.precision, metrics.recall) == (0.7, 0.75, 0.6)
    assert metrics.f1 == pytest.approx(2 / 3)
    assert metrics.kappa == pytest.approx(0.4)  # expected agreement 0.4*0.5 + 0.6*0.5
    assert metrics.auc is None
