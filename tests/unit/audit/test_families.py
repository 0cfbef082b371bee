"""Each claim is a family of its own: true discoveries among claimed images pay for no error among the unknown ones."""

from __future__ import annotations

import numpy as np
import pytest

from provenance.audit.rules.calibrated.families import judge_families
from provenance.detection import calibrate
from provenance.errors import UsageError
from provenance.vocabulary import Label, Role


def test_unknown_images_are_judged_as_if_no_used_set_had_been_given():
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(size=200), rng.normal(size=100), rng.normal(9, 1, size=100)])
    rows = {Role.NOT_USED: np.arange(200), Role.AGAINST: np.arange(200, 300), Role.USED: np.arange(300, 400)}
    both = judge_families(scores, [None] * 400, rows, q=0.1)
    alone = calibrate(scores[200:300], scores[:200], q=0.1)
    assert both.labels[:100] == alone.labels
    assert both.q_values[:100] == alone.q_values
    assert both.labels[100:] == (Label.ESTABLISHED,) * 100
    assert both.asked.subject_groups == 100
    assert set(both.figures.families or ()) == {"used", "against"}


def test_rows_keep_their_order_whatever_the_claim():
    scores = np.array([0.9, 0.1, 0.8, 0.2, 0.3, 0.05])
    rows = {Role.NOT_USED: np.array([1, 3, 5]), Role.USED: np.array([2]), Role.AGAINST: np.array([0, 4])}
    found = judge_families(scores, [None] * 6, rows, q=0.5)
    assert found.rows.tolist() == [0, 2, 4]
    assert found.p_values == (0.25, 0.25, 0.25)


def test_a_group_that_is_judged_in_any_family_calibrates_none():
    scores = np.linspace(0, 1, 8)
    rows = {Role.NOT_USED: np.arange(4), Role.USED: np.array([4, 5]), Role.AGAINST: np.array([6, 7])}
    groups = ["a", "b", "c", "d", "a", "e", "f", "g"]
    found = judge_families(scores, groups, rows, q=0.5)
    assert {each.calibration_groups for each in found.of_role.values()} == {3}
    assert "1 group that is judged as well" in found.warnings[0]
    with pytest.raises(UsageError, match="nothing is left to calibrate with"):
        judge_families(scores, ["a"] * 8, rows, q=0.5)
