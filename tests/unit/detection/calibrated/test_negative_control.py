"""The negative control takes back what it must, and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from provenance.detection.calibrated.negative_control import calibrate_generated
from provenance.errors import UsageError
from provenance.vocabulary import Label

KNOWN = np.linspace(0.5, 0.8, 199)
TO_NOT_USED = np.random.default_rng(0).permutation(KNOWN)


def test_copies_of_used_images_are_established_and_the_rest_is_not() -> None:
    s_used, s_not_used = np.full(10, 0.6), np.full(10, 0.6)
    s_used[:3] = 0.99
    result = calibrate_generated(s_used, s_not_used, KNOWN, TO_NOT_USED)
    assert [label is Label.ESTABLISHED for label in result.labels] == [True] * 3 + [False] * 7
    assert "not used rejects 0." in result.reason


def test_a_release_close_to_everything_is_inconclusive() -> None:
    result = calibrate_generated(np.full(10, 0.99), np.full(10, 0.98), KNOWN, TO_NOT_USED)
    assert result.closeness.established == result.control.established == 10
    assert set(result.labels) == {Label.INCONCLUSIVE}
    assert "the release lies close to reals" in result.reason
    json.dumps([asdict(part) for part in (result.test, result.closeness, result.control)], allow_nan=False)


def test_an_image_that_the_control_rejects_too_is_inconclusive() -> None:
    s_used, s_not_used = np.full(10, 0.6), np.full(10, 0.6)
    s_used[:4], s_not_used[0] = 0.99, 0.97
    result = calibrate_generated(s_used, s_not_used, KNOWN, TO_NOT_USED)
    assert result.labels[0] is Label.INCONCLUSIVE
    assert result.established == 3
    assert "1 that are about as close to these are left inconclusive" in result.reason


def test_closeness_without_a_margin_is_inconclusive() -> None:
    # Closer to U than any fresh real, but within the control's range of N: no rejection there, and no margin.
    s_used, s_not_used = np.full(10, 0.6), np.full(10, 0.6)
    s_used[0], s_not_used[0] = 0.82, 0.79
    result = calibrate_generated(s_used, s_not_used, KNOWN, TO_NOT_USED, q=0.1)
    assert (result.closeness.established, result.control.established) == (1, 0)
    assert set(result.labels) == {Label.INCONCLUSIVE}
    assert "about as close to images that were not used" in result.reason


def test_unlike_sizes_and_missing_groups_are_warned_of() -> None:
    result = calibrate_generated([0.6], [0.6], KNOWN, TO_NOT_USED, set_sizes=(100, 400))
    assert any("unlike in number" in each for each in result.warnings)
    assert any("199 images without a patient" in each for each in result.warnings)
    groups = list(range(199))
    quiet = calibrate_generated([0.6], [0.6], KNOWN, TO_NOT_USED, calibration_groups=groups, set_sizes=(100, 120))
    assert quiet.warnings == ()


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(UsageError, match="S_n has 2 values for 1"):
        calibrate_generated([0.6], [0.6, 0.6], KNOWN, TO_NOT_USED)
    with pytest.raises(UsageError, match="against N has 3 values"):
        calibrate_generated([0.6], [0.6], KNOWN, TO_NOT_USED[:3])
