"""Plants judged one at a time are labelled as if everything had been judged again with each of them."""

from __future__ import annotations

import numpy as np
import pytest

from provenance.detection import calibrate, calibrate_generated
from provenance.detection.plants.judging import judge_as_generated, judge_as_real
from provenance.errors import UsageError
from provenance.vocabulary import Label


def grid(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    return np.round(rng.normal(shift, 1, n), 1) / 10  # coarse: with ties


@pytest.mark.parametrize("seed", range(12))
def test_generated_plants_are_labelled_as_by_the_rule_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, c = int(rng.integers(1, 9)), int(rng.integers(2, 60))
    groups = None if seed % 3 == 0 else [f"p{place}" for place in rng.integers(0, c, c).tolist()]
    release = grid(rng, m, seed % 4), grid(rng, m)
    known = grid(rng, c), grid(rng, c)
    plants = grid(rng, 40, 3), grid(rng, 40, 1)
    q = float(rng.choice([0.05, 0.1, 0.3, 0.5]))
    judged = judge_as_generated(*plants, *release, *known, calibration_groups=groups, q=q)
    for place in range(40):
        full = calibrate_generated(
            np.append(release[0], plants[0][place]),
            np.append(release[1], plants[1][place]),
            *known,
            calibration_groups=groups,
            q=q,
        )
        assert judged.found[place] == (full.labels[-1] is Label.ESTABLISHED)
        assert judged.p_values[place] == pytest.approx(full.test.p_values[-1], abs=1e-9)
    assert (judged.k_min, judged.sufficient_groups) == (full.test.k_min, full.test.sufficient_groups)
    assert (judged.subject_groups, judged.calibration_groups) == (m + 1, full.test.calibration_groups)
    assert (judged.outranks == (judged.p_values < 1.5 / (judged.calibration_groups + 1))).all() or groups is not None


@pytest.mark.parametrize("seed", range(12))
def test_the_copied_image_is_labelled_as_by_the_rule_itself(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    n, c = int(rng.integers(2, 12)), int(rng.integers(3, 60))
    names = [f"p{place}" for place in rng.integers(0, n + c, n + c).tolist()]
    groups: list[str | None] = [None] * (n + c) if seed % 3 == 0 else list(names)
    rows = rng.permutation(n + c)
    judged, known = rows[:n], rows[n:]
    targets = rng.choice(judged, 40)
    scores = [grid(rng, n + c) for _ in targets]
    for row, target in zip(scores, targets, strict=True):
        row[target] += rng.choice([0.0, 1.0])
        row[judged[: n // 2]] += 0.3
    q = float(rng.choice([0.05, 0.1, 0.3, 0.5]))
    found = judge_as_real(scores, targets, judged, known, groups, q=q)
    for place, (row, target) in enumerate(zip(scores, targets, strict=True)):
        full = calibrate(
            row[judged],
            row[known],
            groups=[groups[at] for at in judged],
            calibration_groups=[groups[at] for at in known],
            q=q,
        )
        at = judged.tolist().index(target)
        assert found.found[place] == (full.labels[at] is Label.ESTABLISHED)
        assert found.p_values[place] == pytest.approx(full.p_values[at], abs=1e-9)
    assert (found.k_min, found.subject_groups) == (full.k_min, full.subject_groups)
    assert found.calibration_groups == full.calibration_groups


def test_a_lone_copy_is_seen_only_with_groups_enough() -> None:
    release, plants = (np.zeros(9), np.zeros(9)), (np.ones(5), np.zeros(5))
    for c, seen in ((198, False), (199, True)):  # 10 / 0.05 = 200 = G + 1
        known = np.linspace(0.1, 0.9, c), np.linspace(0.1, 0.9, c)
        judged = judge_as_generated(*plants, *release, *known)
        assert (judged.k_min == 1) is seen
        assert judged.sufficient_groups == 199
        assert judged.outranks.all()
        assert (judged.found == seen).all()


def test_equal_scores_and_a_single_group_tell_nothing_and_bad_input_is_refused() -> None:
    flat = np.full(3, 0.5)
    assert not judge_as_generated(flat, flat, flat, flat, flat, flat, q=0.9).found.any()
    assert not judge_as_generated([1.0], [0.0], [0.1], [0.0], [0.2], [0.2], q=0.9).found.any()
    with pytest.raises(UsageError, match="between 0 and 1"):
        judge_as_generated(flat, flat, flat, flat, flat, flat, q=1.0)
    with pytest.raises(UsageError, match="finite"):
        judge_as_generated([np.nan], [0.0], [0.1], [0.0], [0.2], [0.2])
    rows = np.arange(2)
    with pytest.raises(UsageError, match="that the audit judges"):
        judge_as_real([np.zeros(4)], np.array([3]), rows, rows + 2, [None] * 4)
    with pytest.raises(UsageError, match="nothing is left"):
        judge_as_real([np.zeros(4)], np.array([0]), rows, rows + 2, ["a", "b", "a", "b"])
