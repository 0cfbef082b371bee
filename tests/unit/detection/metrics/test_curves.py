"""Values behind figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from provenance.detection import histogram, roc_points
from provenance.errors import UsageError


def test_roc_points_are_scikit_learns_and_carry_the_auc() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.4
    scores = np.round(rng.standard_normal(200) + truth, 1)
    curve = roc_points(truth, scores)
    fpr, tpr, thresholds = sk.roc_curve(truth, scores)
    assert curve.fpr == tuple(fpr)
    assert curve.tpr == tuple(tpr)
    assert curve.thresholds == (None, *thresholds[1:])
    assert sk.auc(curve.fpr, curve.tpr) == pytest.approx(sk.roc_auc_score(truth, scores))
    json.dumps(curve.to_json(), allow_nan=False)


def test_a_curve_needs_two_classes() -> None:
    with pytest.raises(UsageError, match="one class only"):
        roc_points([True, True], [0.1, 0.2])


def test_histogram_counts_every_value_over_common_bins() -> None:
    rng = np.random.default_rng(0)
    samples = {"s_used": rng.random(100), "s_not_used": rng.random(70) / 2 + 0.7}
    result = histogram(samples, bins=10)
    assert len(result.edges) == 11
    assert [sum(row) for row in result.counts.values()] == [100, 70]
    assert result.edges[0] == samples["s_used"].min()
    assert result.edges[-1] == samples["s_not_used"].max()


def test_equal_values_lie_in_one_bin() -> None:
    result = histogram({"a": [0.5] * 3, "b": [0.5]})
    assert result.edges == pytest.approx((0.499, 0.501))
    assert result.counts == {"a": (3,), "b": (1,)}


@pytest.mark.parametrize(
    ("samples", "bins", "message"),
    [
        ({}, 5, "no samples"),
        ({"a": []}, 5, "a: no values"),
        ({"a": [float("nan")]}, 5, "finite"),
        ({"a": [1]}, 0, "bin"),
    ],
)
def test_bad_histograms_are_refused(samples: dict[str, list[float]], bins: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        histogram(samples, bins)
