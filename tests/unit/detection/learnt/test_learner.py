from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from provenance.detection.calibrated.conformal import decide_by_p_values
from provenance.detection.learnt.learner import BONUS, PENALTY, Learner
from provenance.detection.release.membership_test import auc_test
from provenance.errors import UsageError

COUNT, WIDTH = 120, 7


class Made:
    """A pool with groups of one to five images, of unknown ones and of both kinds as well."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.codes = np.sort(rng.integers(0, 50, COUNT))
        kind = rng.random(50)
        self.used = np.where(kind[self.codes] < 0.4, 1, np.where(kind[self.codes] < 0.8, -1, 0))
        self.unknown = self.codes[self.used == 0]
        self.used[np.flatnonzero(self.codes == self.codes[self.used == 1][0])[0]] = 0  # a patient with an unknown image
        self.z = rng.normal(size=(COUNT, WIDTH)) + 0.4 * self.used[:, None]
        self.copies = np.maximum(0, rng.normal(size=COUNT) - 1.5)
        self.groups = [f"patient {code}" for code in self.codes]
        self.learner = Learner.of(
            self.z, self.copies, np.flatnonzero(self.used == 1), np.flatnonzero(self.used == -1), self.groups
        )

    def fitted(self, *left_out: int) -> np.ndarray:
        """Coefficients learnt without some groups, by the textbook."""
        rows = np.flatnonzero((self.used != 0) & ~np.isin(self.codes, left_out))
        z, n = self.z[rows], (self.used != 0).sum()
        y = np.where(self.used[rows] > 0, n / 2 / (self.used > 0).sum(), -n / 2 / (self.used < 0).sum())
        weights: np.ndarray = np.linalg.solve(z.T @ z + PENALTY * np.eye(WIDTH), z.T @ y)
        return weights

    def score(self, row: int, *left_out: int) -> float:
        return float(self.z[row] @ self.fitted(*left_out) + BONUS * self.copies[row])


def test_cross_fitting_in_closed_form_is_learning_without_the_group() -> None:
    made = Made()
    expected = [made.score(row, made.codes[row]) for row in range(COUNT)]
    np.testing.assert_allclose(made.learner.scores, expected, atol=1e-6)
    known = made.learner.known
    again = made.learner.relearnt(known)((made.used[known] > 0)[None])[0]
    np.testing.assert_allclose(again, made.learner.scores[known], atol=1e-6)


def test_p_values_are_those_of_models_that_saw_neither_group() -> None:
    made = Made()
    subjects, calibration = np.flatnonzero(made.used >= 0), np.flatnonzero(made.used < 0)
    found = made.learner.p_values(subjects, calibration)
    groups = np.unique(made.codes[calibration])
    for row, p in zip(subjects.tolist(), found.tolist(), strict=True):
        own, votes = made.codes[row], 0.0
        for group in groups:
            theirs = np.flatnonzero((made.codes == group) & (made.used < 0))
            votes += float(np.mean([made.score(c, own, group) >= made.score(row, own, group) for c in theirs]))
        assert p == pytest.approx((1 + votes) / (len(groups) + 1), abs=1e-6)
    assert (made.learner.p_values(subjects, calibration, moved=1.0) <= found).all()


def test_groups_of_both_kinds_teach_nothing() -> None:
    made = Made()
    members, others = np.flatnonzero(made.used > 0), np.flatnonzero(made.used < 0)
    groups = list(made.groups)
    groups[int(others[0])] = groups[int(members[0])]
    learner = Learner.of(made.z, made.copies, members, others, groups)
    mixed = [row for row in range(COUNT) if groups[row] == groups[int(members[0])]]
    assert not learner.used[mixed].any()
    p = learner.p_values(np.flatnonzero(made.used == 0), others)
    assert ((p > 0) & (p <= 1)).all()


def test_the_permutation_test_learns_again_for_every_assignment() -> None:
    rng = np.random.default_rng(2)
    z, codes = rng.normal(size=(11, 3)), np.array([0, 0, 1, 2, 2, 3, 4, 5, 6, 6, 7])
    z[codes < 3] += 1.0
    learner = Learner.of(z, np.zeros(11), np.flatnonzero(codes < 3), np.flatnonzero(codes >= 3), [*map(str, codes)])
    relearnt = learner.relearnt(np.arange(11))

    def auc(members: np.ndarray) -> float:
        scores = Learner.of(z, np.zeros(11), *map(np.flatnonzero, (members, ~members)), [*map(str, codes)]).scores
        above = scores[members][:, None] - scores[~members][None]
        return float(((above > 0) + 0.5 * (above == 0)).mean())

    every = [auc(np.isin(codes, chosen)) for chosen in combinations(range(8), 3)]
    test = auc_test(learner.scores, codes < 3, codes, 9999, relearnt=relearnt)
    assert test.value == pytest.approx(auc(codes < 3))
    assert test.p_value == pytest.approx(np.mean([value >= every[0] - 1e-12 for value in every]))
    assert test.permutations == 56


def test_without_memory_releases_leak_no_more_often_than_the_level_says() -> None:
    """60 releases: labels by group at random over features that are alike for all; 40 p-values of each side by side."""
    rng = np.random.default_rng(3)
    leaks, established, small = 0, 0, []
    for seed in range(60):
        codes = np.repeat(np.arange(130), rng.integers(1, 3, 130))
        z = rng.normal(size=(len(codes), 12)) + rng.normal(size=(130, 12))[codes]
        side = rng.permutation(np.repeat([1, 1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 0], 10))[codes]
        groups = [f"patient {code}" for code in codes]
        members, others, unknown = (np.flatnonzero(side == each) for each in (1, -1, 0))
        learner = Learner.of(z, np.zeros(len(codes)), members, others, groups)
        known = learner.known
        compact = np.unique(codes[known], return_inverse=True)[1]
        again = learner.relearnt(known)
        leaks += auc_test(learner.scores[known], side[known] > 0, compact, 199, seed, relearnt=again).p_value <= 0.05
        for rows in (members, unknown):
            p = learner.p_values(rows, others)
            small.append((p <= 0.1).mean())
            established += decide_by_p_values(p, [groups[row] for row in rows], 90, 0.1).established > 0
    assert leaks <= 8  # P(more) = 0.004 at a rate of 0.05
    assert established <= 20  # 120 families at 0.1: P(more) = 0.01
    assert np.mean(small) < 0.13


def test_what_can_not_be_learnt_is_refused() -> None:
    with pytest.raises(UsageError, match="two groups or more"):
        Learner.of(np.zeros((4, 2)), np.zeros(4), [0, 1], [2, 3], ["a", "a", "b", "c"])
