"""A linear score learnt from known images, cross-fitted by group, with p-values and an exact test. Pure.

    y_i  = n / (2 n_used) for images known used, - n / (2 n_not_used) for those known not used
    beta = argmin sum_i (y_i - z_i' beta)^2 + penalty |beta|^2           ridge regression, no intercept: the columns z
                                                                         are centred without labels
    s(x) = z_x' beta_(without x's group) + BONUS copies(x)

``copies`` is label-free: what the fixed score adds for a single copy, which a learner of what is spread would miss.
The penalty is a constant: with few known images little is learnt beyond the column ``fixed``, ten times the others.

*Cross-fitting* is in closed form, group by group: with A = Z'Z + penalty I, the leverages H_BB = Z_B A^-1 Z_B' of a
group B and its residuals e_B, those of the model that has not seen B are d_B = (I - H_BB)^-1 e_B, and its coefficients
beta - A^-1 Z_B' d_B. A second group is left out in the same way. There are no folds, so that nothing hangs on a draw.

*Release test.* Scores are linear in y. Labels are permuted over groups and all is learnt and cross-fitted again, for
every permutation: the features saw no label, so that the test is exact, whatever the learner does.

*P-values* (``p_values``). A subject x and a never-used image c are compared by the model that has seen neither group:

    p(x) = (1 + sum over calibration groups C of mean over c in C of 1[s_{-x,-C}(c) >= s_{-x,-C}(x)]) / (G + 1)

For an x that was not used, comparisons among x and the calibration images are symmetric: it is the tournament of the
jackknife+ and CV+ (Barber, Candes, Ramdas & Tibshirani 2021, theorem 1), so that P(p <= a) <= 2 a always, with groups
of one image exchangeable; about a is what happens where one image more or less hardly moves the model (their section
5, and simulations in the tests). The fixed scores' p-values need no such factor. Benjamini-Hochberg on top has the
factor as well.

Assumptions beside those of ``provenance.detection.calibrated.conformal``: images known used and never used are drawn
alike but for their use. A learner finds whatever tells the two apart; ``sets`` asks whether that is so without any
release.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from provenance.detection.checks import group_codes
from provenance.detection.decision import DECIMALS
from provenance.detection.release.membership_test import of_one_kind
from provenance.detection.scores.local import SCORE_DECIMALS, groups_of_many
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.detection.checks import Groups

VERSION = 2
"""Of what is learnt and of the tests that it must pass."""
PENALTY = 100.0
BONUS = 0.5
FEWEST_GROUPS = 10
"""Known groups a side from which on the learnt score is the default."""
FEWEST_TAUGHT = 2
"""Groups a side, without those that have images of both kinds, that it can do with at all."""
TOO_FEW_TAUGHT = (
    "a learnt score needs two groups or more of images known used, and of images known not used, beside groups that "
    "have images of both kinds"
)
_NUMBERS_AT_ONCE = 4_000_000


class _Model(NamedTuple):
    inverse: Float64s
    weights: Float64s


@dataclass(frozen=True, eq=False)
class Learner:
    """What is known of a pool, and everything that is learnt of it.

    Attributes:
        columns: Features, (n, d), made without labels.
        copies: Label-free bonus of each, (n,), 0 or more.
        used: +1: known used, -1: known not used, 0: unknown, or of a group with images of both kinds.
        codes: Group of each, 0 to groups - 1.
    """

    columns: Float64s
    copies: Float64s
    used: Int64s
    codes: Int64s

    @classmethod
    def of(
        cls,
        columns: Float64s,
        copies: Float64s,
        members: Sequence[int] | Int64s,
        non_members: Sequence[int] | Int64s,
        groups: Groups | None,
    ) -> Learner:
        """By the rows of images known used and not used; groups of both kinds teach nothing.

        Raises:
            UsageError: If there are fewer than two groups of one kind.
        """
        known = np.concatenate([members, non_members]).astype(np.int64)
        flags = np.arange(len(known)) < len(members)
        pure = of_one_kind(flags, None if groups is None else [groups[row] for row in known.tolist()])[1]
        used = np.zeros(len(columns), dtype=np.int64)
        used[known[pure]] = np.where(flags[pure], 1, -1)
        codes = group_codes(groups, len(columns))[0]
        if min(len(np.unique(codes[used == side])) for side in (1, -1)) < FEWEST_TAUGHT:
            raise UsageError(
                TOO_FEW_TAUGHT,
                hint="--score local learns nothing",
            )
        return cls(columns, copies, used, codes)

    def of_other(self, columns: Float64s) -> Learner:
        """The same images and labels with other features, and no bonus."""
        return replace(self, columns=columns, copies=np.zeros(len(columns)))

    @cached_property
    def known(self) -> Int64s:
        """Rows of the images that teach."""
        return np.flatnonzero(self.used)

    @property
    def fewest_groups(self) -> int:
        """Known groups, of the kind that has fewer."""
        return min(len(np.unique(self.codes[self.used == side])) for side in (1, -1))

    @cached_property
    def weights(self) -> Float64s:
        """The coefficients of the columns, learnt from all known images, (d,)."""
        return self._whole.weights

    @cached_property
    def scores(self) -> Float64s:
        """Of every image by the model that has not seen its group, float64 (n,), rounded to 6 decimals."""
        found: Float64s = np.einsum("ij,ij->i", self.columns, self.weights_of_each)
        rounded: Float64s = np.round(found + BONUS * self.copies, SCORE_DECIMALS) + 0.0
        return rounded

    @cached_property
    def weights_of_each(self) -> Float64s:
        """The coefficients that each image is scored by: those of the model that has not seen its group, (n, d)."""
        found = np.tile(self._whole.weights, (len(self.codes), 1))
        for rows in _rows_by_group(self.codes, np.arange(len(self.codes))):
            if self.used[rows].any():
                found[rows] = self._without(rows[self.used[rows] != 0]).weights
        return found

    def relearnt(self, rows: Int64s) -> Relearnt:
        """Cross-fitted scores of some known images (whole groups) by other labels of theirs."""
        return Relearnt(self.columns[rows], self.copies[rows], self.codes[rows])

    def p_values(self, subjects: Int64s, calibration: Int64s, *, moved: float = 0.0) -> Float64s:
        """Cross-conformal p-values of some images, not rounded; formula and validity in the module.

        Args:
            subjects: Rows.
            calibration: Rows of images known not used, of other groups than the subjects'.
            moved: Added to the subjects' scores.
        """
        found = np.empty(len(subjects))
        votes = _Votes(self, calibration)
        teaches = np.isin(self.codes[subjects], self.codes[self.known])
        plain = np.flatnonzero(~teaches)
        if len(plain):
            found[plain] = votes.p_values(self._whole, subjects[plain], moved)
        for places in _rows_by_group(self.codes[subjects], np.flatnonzero(teaches)):
            own = np.flatnonzero((self.codes == self.codes[subjects[places[0]]]) & (self.used != 0))
            found[places] = votes.p_values(self._without(own), subjects[places], moved)
        return found

    @cached_property
    def targets(self) -> Float64s:
        """The label of each image as a number, y; 0 where nothing is known."""
        found: Float64s = targets_of(self.used[None] > 0, self.used[None] != 0)[0]
        return found

    @cached_property
    def _whole(self) -> _Model:
        z, y = self.columns[self.known], self.targets[self.known]
        inverse = np.asarray(np.linalg.inv(z.T @ z + PENALTY * np.eye(z.shape[1])), dtype=np.float64)
        return _Model(inverse, inverse @ (z.T @ y))

    def _without(self, rows: Int64s) -> _Model:
        """The model that has not seen some known rows."""
        whole, z = self._whole, self.columns[rows]
        inner = np.eye(len(rows)) - z @ whole.inverse @ z.T
        half = whole.inverse @ z.T
        residuals = np.linalg.solve(inner, self.targets[rows] - z @ whole.weights)
        return _Model(whole.inverse + half @ np.linalg.solve(inner, half.T), whole.weights - half @ residuals)


class _Votes:
    """Calibration images, and how many of them are at or above subjects, by models that saw neither."""

    def __init__(self, learner: Learner, calibration: Int64s) -> None:
        self.learner = learner
        _, places = np.unique(learner.codes[calibration], return_inverse=True)
        order = np.argsort(places, kind="stable")
        self.rows, self.places = calibration[order], places[order]
        self.starts = np.flatnonzero(np.diff(self.places, prepend=-1))
        sizes = np.diff(self.starts, append=len(self.rows))
        self.shares = 1 / sizes[self.places]
        self.many = [self.starts[sizes == size][:, None] + np.arange(size) for size in np.unique(sizes) if size > 1]
        # of a group with images of both kinds nothing was learnt, and nothing is to be left out
        self.taught = learner.used[self.rows] != 0
        self.z = learner.columns[self.rows]

    def p_values(self, model: _Model, subjects: Int64s, moved: float) -> Float64s:
        learner, half = self.learner, model.inverse @ self.z.T
        residuals = self._left_out(model, half)
        own = self.z @ model.weights
        own = np.where(self.taught, learner.targets[self.rows] - residuals, own) + BONUS * learner.copies[self.rows]
        found = np.empty(len(subjects))
        step = max(1, _NUMBERS_AT_ONCE // len(self.rows))
        for start in range(0, len(subjects), step):
            rows = subjects[start : start + step]
            x = learner.columns[rows]
            shifts = np.add.reduceat(x @ half * residuals, self.starts, axis=1)[:, self.places]
            theirs = (x @ model.weights + BONUS * learner.copies[rows] + moved)[:, None] - shifts
            at_or_above = np.round(own, SCORE_DECIMALS) >= np.round(theirs, SCORE_DECIMALS)
            found[start : start + step] = (1 + np.round(at_or_above @ self.shares, DECIMALS)) / (len(self.starts) + 1)
        return np.minimum(found, 1.0)

    def _left_out(self, model: _Model, half: Float64s) -> Float64s:
        """Residuals of each by the model that has not seen its group; 0 where nothing was learnt from it."""
        raw = self.learner.targets[self.rows] - self.z @ model.weights
        out: Float64s = raw / (1 - np.einsum("ij,ji->i", self.z, half))
        for rows in self.many:
            inner = np.eye(rows.shape[1]) - self.z[rows] @ np.moveaxis(half[:, rows], 0, 1)
            out[rows] = np.linalg.solve(inner, raw[rows][..., None])[..., 0]
        return np.where(self.taught, out, 0.0)


class Relearnt:
    """Cross-fitted scores of known images by any labels that keep groups together; linear in the labels."""

    def __init__(self, columns: Float64s, copies: Float64s, codes: Int64s) -> None:
        self._z, self._copies = columns, copies
        half = np.linalg.solve(columns.T @ columns + PENALTY * np.eye(columns.shape[1]), columns.T)
        self._half = half
        self._leverage = np.einsum("ij,ji->i", columns, half)
        self._many = [
            (rows, np.linalg.inv(np.eye(len(rows)) - columns[rows] @ half[:, rows])) for rows in groups_of_many(codes)
        ]

    def __call__(self, members: Flags) -> Float64s:
        """For each assignment of the label "used", (p, n), the scores (p, n), rounded to 6 decimals."""
        y = targets_of(members, np.ones_like(members)).T
        residuals = y - self._z @ (self._half @ y)
        left_out = residuals / (1 - self._leverage)[:, None]
        for rows, inverse in self._many:
            left_out[rows] = inverse @ residuals[rows]
        found: Float64s = np.round((y - left_out).T + BONUS * self._copies, SCORE_DECIMALS) + 0.0
        return found


def targets_of(members: Flags, known: Flags) -> Float64s:
    """Numbers y of assignments (p, n): both kinds weigh alike; 0 where nothing is known."""
    count, used = known.sum(axis=1, keepdims=True), (members & known).sum(axis=1, keepdims=True)
    sides = np.where(members, count / (2 * np.maximum(used, 1)), -count / (2 * np.maximum(count - used, 1)))
    found: Float64s = np.where(known, sides, 0.0)
    return found


def _rows_by_group(codes: Int64s, rows: Int64s) -> list[Int64s]:
    """Some rows, group by group."""
    order = rows[np.argsort(codes[rows], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []
