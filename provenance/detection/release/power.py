"""Power of the release test: what share of the used images would it have to be, for the test to see it? Pure.

    score of a used image = that of a remembered one (a share s of the used groups), or that of a not-used one
    seen(s)               = share of draws in which the release test, at the audit's level, calls a leak

A power curve by mixing. Every draw has the audit's groups, with their sizes and their sides. Each of them, the not-used
ones as well, takes the scores of one not-used group, drawn with replacement; ceil(s K) of the K used groups, in random
order, take those of one remembered group instead. A group stays together: its images draw, with replacement, from the
images of the one group that it takes after. So at s = 0 both sides are one population, and the test sees a leak as
often as its level says. A draw is judged by the permutation test of ``membership_test``, with fewer permutations where
that serves (``enough_permutations``): it is exact for any number of them, and sees hardly less. Draws are shared by
all s: one order of groups, of which more and more are remembered.

The least share that is seen in 95 % of cases is the smallest one on the grid from which on, up to 1, the lower ends of
Wilson's 95 % intervals of seen(s) are at 0.95 or more. Nothing is interpolated: it is rounded up to the grid.

Assumptions: scores of not-used images tell how used ones score that were not remembered; remembered ones score like
those given, whichever they are; each is remembered by itself (what copies do to one another's scores is left out).
Where the audit has a control release, that must not show the same, which is not simulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations, takewhile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from provenance.detection.checks import checked_flags, group_codes, rounded_scores
from provenance.detection.plants.sensitivity import wilson_interval
from provenance.detection.release.membership_test import of_one_kind
from provenance.errors import UsageError
from provenance.findings import JsonValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.detection.checks import FlagsLike, Groups, Numbers

SHARES = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
"""Of the used images that are remembered; each is brought to a whole number of groups, upwards."""

DRAWS = 400
"""Of each share: with 388 of them or fewer seen, the lower end is below 0.95."""


@dataclass(frozen=True, slots=True, eq=False)
class ReleaseDesign:
    """What a release test was made on and by, groups of both kinds left out; images in the order of their groups.

    Attributes:
        scores: Membership scores of the reals, (n,), without anything planted.
        members: Whether each is claimed to be used.
        codes: Group of each, 0 to groups - 1, ascending.
        level: Of the test.
        permutations: Of the test.
        seed: Of permutations and draws.
    """

    scores: Float64s
    members: Flags
    codes: Int64s
    level: float
    permutations: int
    seed: int

    @classmethod
    def of(
        cls,
        scores: Numbers,
        members: FlagsLike,
        groups: Groups | None,
        *,
        level: float = 0.05,
        permutations: int = 9999,
        seed: int = 0,
    ) -> ReleaseDesign:
        """From what ``judge_release`` is given.

        Raises:
            UsageError: If there are no images, lengths differ, or a score is not finite.
        """
        known = checked_flags(members, "members")
        values = rounded_scores(scores, "scores", len(known))
        codes, pure = of_one_kind(known, groups)
        rows = np.flatnonzero(pure)[np.argsort(codes[pure], kind="stable")]
        consecutive = np.unique(codes[rows], return_inverse=True)[1].astype(np.int64)
        return cls(values[rows], known[rows], consecutive, level, permutations, seed)

    @property
    def groups(self) -> tuple[int, int]:
        """How many used groups, and how many not-used ones."""
        used = len(np.unique(self.codes[self.members]))
        return used, len(np.unique(self.codes)) - used

    @property
    def enough_permutations(self) -> int:
        """So many that a p-value at the level is known to a tenth of it; the audit's own where those are fewer."""
        return min(self.permutations, max(1999, math.ceil(100 / self.level)))

    @property
    def blindness(self) -> str:
        """Why no leak whatever would be called; empty where one can be."""
        used, others = self.groups
        of = f"With {_groups(used)} of used images and {others:,} of not-used ones"
        if min(used, others) < 2:
            return f"{of} there is no test"
        smallest = 1 / min(math.comb(used + others, used), 1 + self.permutations)
        if smallest > self.level:
            return f"{of} the smallest p-value that can come out is {smallest:.3g}, above the level {self.level:g}"
        return ""


class PermutedAuc:
    """``membership_test.auc_test`` for many rows of scores of the same images: one set of assignments serves all rows.

    Where all assignments are looked at, p-values are those of that test; else they differ by the sample.

    Args:
        members: Of each image, in the order of their groups; both kinds there.
        codes: Group of each, 0 to groups - 1, ascending.
        permutations: Where there are more assignments, so many are drawn.
        seed: Of the draws.
    """

    def __init__(self, members: Flags, codes: Int64s, permutations: int, seed: int) -> None:
        self._starts = np.flatnonzero(np.diff(codes, prepend=-1))
        self._sizes = np.diff(self._starts, append=len(codes)).astype(np.float64)
        observed = members[self._starts]
        groups, count = len(observed), int(observed.sum())
        self._sampled = math.comb(groups, count) > permutations
        if self._sampled:
            every = np.random.default_rng(seed).permuted(np.tile(observed, (permutations, 1)), axis=1)
        else:
            chosen = np.array(list(combinations(range(groups), count)))
            every = np.zeros((len(chosen), groups), dtype=np.bool_)
            np.put_along_axis(every, chosen, values=True, axis=1)
        self._assignments = np.concatenate([observed[None], every]).astype(np.float64)

    def p_values(self, scores: Float64s) -> Float64s:
        """One of each row, from (rows, n)."""
        from scipy.stats import rankdata

        rank_sums = np.add.reduceat(rankdata(scores, axis=1), self._starts, axis=1)
        n = self._assignments @ self._sizes
        auc = (self._assignments @ rank_sums.T - (n * (n + 1) / 2)[:, None]) / (n * (scores.shape[1] - n))[:, None]
        least = auc[0] * (1 - 100 * np.finfo(np.float64).eps)  # equal but for rounding, as scipy has it
        p_values: Float64s = (auc[0 if self._sampled else 1 :] >= least).mean(axis=0)
        return p_values


@dataclass(frozen=True, slots=True)
class PowerPoint(JsonValue):
    """At one share of the used images: how many draws were seen, and their share with Wilson's 95 % interval."""

    share: float
    seen: int
    power: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PowerCurve(JsonValue):
    """What would have been seen, had a share of the used images been remembered as strongly as some are.

    Attributes:
        like: What remembered images score like, in words.
        images: How many scores of such there are.
        groups: Of how many groups.
        points: By ascending share.
        least_share: From there on it is seen in ``target`` of cases; ``None``: not even all would be.
        sentence: That in plain language.
    """

    like: str
    images: int
    groups: int
    points: tuple[PowerPoint, ...]
    least_share: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class ReleasePower(JsonValue):
    """What a release test would have seen.

    Attributes:
        level: Of the test.
        target: What the lower end of an interval must reach, such as 0.95.
        draws: At each share.
        used_groups: Groups on the used side; ``not_used_groups`` on the other.
        curves: In the order asked for; none where no leak whatever could be called.
        sentence: The first curve's, and of the last one the least share.
    """

    level: float
    target: float
    draws: int
    used_groups: int
    not_used_groups: int
    curves: tuple[PowerCurve, ...]
    sentence: str


class Strong(NamedTuple):
    """Scores of remembered images: what they are like, to follow "remembered as strongly as", and their groups."""

    like: str
    scores: Numbers
    groups: Groups | None = None


def release_power(
    design: ReleaseDesign,
    strong: Sequence[Strong],
    *,
    shares: Sequence[float] = SHARES,
    target: float = 0.95,
    draws: int = DRAWS,
) -> ReleasePower:
    """The power curves of a release test, by mixing; model and assumptions in the module.

    Args:
        design: The test.
        strong: Kinds of remembered images, one or more, each of one score or more.
        shares: The grid.
        target: What the lower end of the interval of seen draws must reach.
        draws: At each share.

    Raises:
        UsageError: If there are no strong scores or one is not finite, or a share, the target or the number of draws
            is out of range.
    """
    if not 0 < target < 1 or draws < 1 or not shares or not all(0 <= share <= 1 for share in shares):
        raise UsageError("shares lie from 0 to 1, the target between them, and one draw or more is needed")
    if not strong:
        raise UsageError("no strong scores: there is no power to state")
    curves: tuple[PowerCurve, ...] = ()
    if not design.blindness:
        used = design.groups[0]
        remembered = sorted({math.ceil(round(share * used, 9)) for share in shares})
        curves = tuple(_curve(design, each, remembered, target, draws) for each in strong)
    return ReleasePower(design.level, target, draws, *design.groups, curves, _sentence(design, curves))


def _curve(design: ReleaseDesign, strong: Strong, remembered: list[int], target: float, draws: int) -> PowerCurve:
    values = rounded_scores(strong.scores, "strong scores")
    codes, count = group_codes(strong.groups, len(values))
    seen = _seen(design, values, codes, remembered, draws).tolist()
    points = tuple(
        PowerPoint(round(k / design.groups[0], 9), n, n / draws, *wilson_interval(n, draws))
        for k, n in zip(remembered, seen, strict=True)
    )
    reached = list(takewhile(lambda point: point.low >= target, reversed(points)))
    least = reached[-1].share if reached else None
    sentence = _sentence_of_curve(strong.like, points[-1], least, target)
    return PowerCurve(strong.like, len(values), count, points, least, sentence)


def _seen(design: ReleaseDesign, strong: Float64s, strong_codes: Int64s, remembered: list[int], draws: int) -> Int64s:
    """How many draws are significant with so many groups remembered, for each number of them."""
    rng = np.random.default_rng(design.seed)
    used, others = design.groups
    others_only = ~design.members
    plain = _drawn(rng, design.codes, design.scores[others_only], design.codes[others_only], draws)
    marked = _drawn(rng, design.codes, strong, strong_codes, draws)
    place = np.full((draws, used + others), used + others)
    place[:, np.unique(design.codes[design.members])] = rng.permuted(np.tile(np.arange(used), (draws, 1)), axis=1)
    place = place[:, design.codes]
    test = PermutedAuc(design.members, design.codes, design.enough_permutations, design.seed)
    mixed = (np.where(place < count, marked, plain) for count in remembered)
    return np.array([(test.p_values(scores) <= design.level).sum() for scores in mixed], dtype=np.int64)


def _drawn(rng: np.random.Generator, codes: Int64s, scores: Float64s, of_donors: Int64s, draws: int) -> Float64s:
    """Scores of images of groups ``codes``, each group after one donor group, each image after one image of that."""
    order = np.argsort(of_donors, kind="stable")
    _, starts, sizes = np.unique(of_donors[order], return_index=True, return_counts=True)
    donors = rng.integers(len(starts), size=(draws, int(codes[-1]) + 1))[:, codes]
    chosen = starts[donors] + rng.integers(0, sizes[donors])
    drawn: Float64s = scores[order][chosen]
    return drawn


def _sentence_of_curve(like: str, last: PowerPoint, least: float | None, target: float) -> str:
    if least is None:
        return (
            f"Had all used images been remembered as strongly as {like}, the release test would still not have called "
            f"it in {100 * target:g} % of cases, but in {100 * last.power:.0f} % "
            f"({100 * last.low:.0f} to {100 * last.high:.0f} %)."
        )
    return (
        f"Had {100 * least:.3g} % or more of the used images been remembered as strongly as {like}, the release test "
        f"would have called it in {100 * target:g} % of cases."
    )


def _sentence(design: ReleaseDesign, curves: Sequence[PowerCurve]) -> str:
    if not curves:
        return f"{design.blindness}: the release test would have seen no leak, however many images were remembered."
    first, last = curves[0], curves[-1]
    if len(curves) == 1 or first.least_share == last.least_share:
        return first.sentence
    more = "even all would not do" if last.least_share is None else f"it takes {100 * last.least_share:.3g} %"
    return f"{first.sentence} As strongly as {last.like}: {more}."


def _groups(count: int) -> str:
    return "1 group" if count == 1 else f"{count:,} groups"
