"""The negative control takes back what it must, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from provenance.detection.negative_control import calibrate_generated
from provenance.errors import UsageError
from provenance.vocabulary import Label

KNOWN = np.linspace(0.5, 0.8, 199)


def test_copies_of_used_images_are_established_and_the_rest_is_not() -> None:
    s_used, s_not_used = np.full(10, 0.6), np.full(10, 0.6)
    s_used[:3] = 0.99
    result = calibrate_generated(s_used, s_not_used, KNOWN, KNOWN)
    assert [label is Label.ESTABLISHED for label in result.labels] == [True] * 3 + [False] * 7
    assert "not used rejects 0." in result.reason


def test_a_release_close_to_everything_is_inconclusive() -> None:
    result = calibrate_generated(np.full(10, 0.99), np.full(10, 0.98), KNOWN, KNOWN)
    assert result.main.established == result.control.established == 10
    assert set(result.labels) == {Label.INCONCLUSIVE}
    assert "close to real images as such" in result.reason
    json.dumps(result.to_json(), allow_nan=False)


def test_an_image_that_the_control_rejects_too_is_inconclusive() -> None:
    s_used, s_not_used = np.full(10, 0.6), np.full(10, 0.6)
    s_used[:4], s_not_used[0] = 0.99, 0.97
    result = calibrate_generated(s_used, s_not_used, KNOWN, KNOWN)
    assert result.labels[0] is Label.INCONCLUSIVE
    assert result.established == 3
    assert "1 that it rejects too are left inconclusive" in result.reason


def test_unlike_sizes_and_missing_groups_are_warned_of() -> None:
    result = calibrate_generated([0.6], [0.6], KNOWN, KNOWN, set_sizes=(100, 400))
    assert any("unlike in number" in each for each in result.warnings)
    assert any("199 images without a patient" in each for each in result.warnings)
    groups = list(range(199))
    quiet = calibrate_generated([0.6], [0.6], KNOWN, KNOWN, calibration_groups=groups, set_sizes=(100, 120))
    assert quiet.warnings == ()


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(UsageError, match="S_n has 2 values for 1"):
        calibrate_generated([0.6], [0.6, 0.6], KNOWN, KNOWN)
    with pytest.raises(UsageError, match="against N has 3 values"):
        calibrate_generated([0.6], [0.6], KNOWN, KNOWN[:3])
