"""What other means than the strict ones promise, over seeded repetitions: alarms where nothing was used."""

from __future__ import annotations

import numpy as np
import pytest

from provenance.detection.calibrated.beside import judge_by_tail, judge_groups, null_share, storey_q_values
from provenance.detection.calibrated.conformal import calibrate
from provenance.detection.copies.tail import fitted_tail
from provenance.vocabulary import GroupScore

AUDITS, LEVEL, MOST_ALARMS = 100, 0.05, 14
"""More than 14 alarms in 100 audits at level 0.05 come once in 5,000 if the level holds."""


@pytest.mark.parametrize("size", [1, 3])
def test_no_means_calls_too_often_where_nothing_was_used(size: int) -> None:
    known, judged = 119, 12
    groups, others = (
        [f"{side}{row // size}" for row in range(count * size)] for side, count in (("j", judged), ("k", known))
    )
    alarms = dict.fromkeys(("conformal", "tail", "storey", "mean", "best"), 0)
    for seed in range(AUDITS):
        rng = np.random.default_rng(seed)
        scores, calibration = (
            rng.normal(size=count * size) + 0.7 * rng.normal(size=count).repeat(size) for count in (judged, known)
        )
        strict = calibrate(scores, calibration, groups=groups, calibration_groups=others, q=LEVEL)
        by_tail = fitted_tail(calibration, others).p_values(scores)
        tail = judge_by_tail(by_tail, strict.p_values, groups, known, LEVEL)
        found = {"conformal": strict.q_values, "tail": tail.q_values}
        found["storey"] = storey_q_values(strict.q_values, null_share(strict.p_values, groups))
        for how in GroupScore:
            answer = judge_groups(scores, calibration, groups=groups, calibration_groups=others, how=how, q=LEVEL)
            found[how] = () if answer is None else answer.found.q_values
        for name, q_values in found.items():
            alarms[name] += any(each <= LEVEL for each in q_values)
    assert max(alarms.values()) <= MOST_ALARMS, alarms
