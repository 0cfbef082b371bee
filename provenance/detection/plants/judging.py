"""Each planted copy judged alone by the rule ``calibrated``, without judging everything else again. Pure.

    generated subjects   a plant is one more generated image: its p-values are new, all others stay. Benjamini-Hochberg
                         runs over m + 1 images with the plant's, and so do margin and control (negative_control.py)
    real subjects        a plant is one more generated image, and the scores of all reals may change with it; the m
                         subject groups stay. The used image that it copies is found iff it is established then

Planted together, copies would help each other through Benjamini-Hochberg; here none knows of another. For the same
reason k_min matters: where k_min > 1, a single copy is established only if the audit establishes others beside it. So
the share of plants with the smallest p-value there can be, 1 / (G + 1), is told apart: they outrank all
calibration, and more calibration groups would let the rule see them.

The labels are those of ``calibrate`` and ``calibrate_generated``, which a test holds them to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.calibrated.conformal import (
    blindness,
    rejection_plan,
    unrounded_p_values,
    weighted_p_values,
    without_shared,
)
from provenance.detection.checks import check_level, group_codes, rounded_scores, same_length
from provenance.detection.decision import DECIMALS
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.detection.checks import Groups, Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """What a single copy is up against, by p-values, with m (the plant counted where it is a subject) and G groups.

    ``k_min`` subject groups must outrank all calibration before any can be established; with ``sufficient_groups`` of
    calibration a single one can be.
    """

    k_min: int
    sufficient_groups: int
    subject_groups: int
    calibration_groups: int

    @property
    def sentence(self) -> str:
        """What that means; empty where a single copy can be established."""
        if self.k_min <= 1:
            return ""
        return (
            f"However close, a single copy can't be established here by itself: with {self.calibration_groups:,} "
            f"calibration groups, {self.k_min:,} of the {self.subject_groups:,} subject groups have to outrank all "
            f"calibration before any is. {self.sufficient_groups:,} calibration groups would show a single one."
        )


@dataclass(frozen=True, slots=True, eq=False)
class JudgedPlants(Reach):
    """Plants judged one at a time, arrays (p,): ``found`` are those that (or whose originals) are established.

    ``p_values`` are not rounded; ``outranks`` tells which are the smallest there can be. ``scores`` are those that were
    judged: S_u of a plant, or the score of the real image with its copy in the release.
    """

    found: Flags
    p_values: Float64s
    outranks: Flags
    scores: Float64s


def judge_as_generated(
    plants_to_used: Numbers,
    plants_to_not_used: Numbers,
    s_used: Numbers,
    s_not_used: Numbers,
    calibration_to_used: Numbers,
    calibration_to_not_used: Numbers,
    *,
    calibration_groups: Groups | None = None,
    q: float = 0.05,
) -> JudgedPlants:
    """Each plant, of S_u and S_n (p,), as one more generated image, by ``calibrate_generated``; the rest is as there.

    Raises:
        UsageError: If a score is not finite, lengths differ, or there is nothing to judge.
    """
    check_level(q)
    given = (
        (plants_to_used, s_used, calibration_to_used),
        (plants_to_not_used, s_not_used, calibration_to_not_used),
    )
    pairs = [[rounded_scores(each) for each in triple] for triple in given]
    for first, second in zip(*pairs, strict=True):
        same_length(second, len(first), "scores against not-used images")
    g = group_codes(calibration_groups, len(pairs[0][2]))[1]

    margins = [np.round(u - n, DECIMALS) for u, n in zip(*pairs, strict=True)]
    close, control, margin = (
        [unrounded_p_values(each, known, calibration_groups) for each in (plants, release)]
        for plants, release, known in (*pairs, margins)
    )
    test = tuple(np.maximum(one, other) for one, other in zip(close, margin, strict=True))
    deciders = [_Added(release_p, g, q) for _, release_p in (close, control, test)]
    sighted = [_sighted(plants, release, known, g) for plants, release, known in pairs]
    found = np.zeros(len(test[0]), dtype=np.bool_)
    for place, (p_close, p_control, p_test) in enumerate(zip(close[0], control[0], test[0], strict=True)):
        is_close, any_close = deciders[0].of(p_close, sighted=bool(sighted[0][place]))
        is_control, of_control = deciders[1].of(p_control, sighted=bool(sighted[1][place]))
        is_found, of_test = deciders[2].of(p_test)
        borne_out = bool(any_close) and of_control < max(1, of_test)
        found[place] = borne_out and is_close and is_found and not is_control
    sizes = np.ones(len(pairs[0][1]) + 1, dtype=np.int64)
    return JudgedPlants(*rejection_plan(sizes, g, q), len(sizes), g, found, test[0], _smallest(test[0], g), pairs[0][0])


class _Added:
    """Benjamini-Hochberg over p-values and one more: whether that one is rejected, and how many are in all."""

    def __init__(self, p_values: Float64s, g: int, q: float) -> None:
        self._ascending = np.sort(p_values)
        self._g, self._q = g, q
        self._known: dict[float, tuple[bool, int]] = {}

    def of(self, p_value: float, *, sighted: bool = True) -> tuple[bool, int]:
        if not sighted:
            return False, 0
        if p_value not in self._known:
            place = int(np.searchsorted(self._ascending, p_value))
            rejected = int(_rejected(np.insert(self._ascending, place, p_value), self._q))
            # all equal ones share the fate of the first of them
            self._known[p_value] = (place < rejected, rejected)
        return self._known[p_value]


def _rejected(ascending: Float64s, q: float) -> int:
    """How many of some ascending p-values Benjamini-Hochberg rejects, levels rounded as everywhere."""
    levels = ascending * len(ascending) / np.arange(1, len(ascending) + 1)
    below = np.flatnonzero(np.round(levels, DECIMALS) <= q)
    return int(below[-1]) + 1 if len(below) else 0


def _sighted(plants: Float64s, release: Float64s, known: Float64s, g: int) -> Flags:
    """For each plant: whether scores with it tell anything apart (``blindness``)."""
    if not blindness(release, known, g):
        return np.ones(len(plants), dtype=np.bool_)
    apart: Flags = (plants != known[0]) & (g >= 2)
    return apart


def judge_as_real(
    scores: Iterable[Float64s],
    targets: Int64s,
    judged: Int64s,
    known: Int64s,
    groups: Groups,
    *,
    q: float = 0.05,
    on_done: Callable[[int], None] | None = None,
) -> JudgedPlants:
    """For each plant: the used image that it copies, by ``calibrate`` on the scores with that plant in the release.

    Args:
        scores: For each plant, the scores of the whole pool with it alone added, (n,) each.
        targets: For each plant, the row of its original in the pool, (p,); each among ``judged``.
        judged: Rows of the subjects.
        known: Rows of the images known not used.
        groups: Of the whole pool.
        q: Level of the false discovery rate.
        on_done: Told how many plants were judged.

    Raises:
        UsageError: If q is not in (0, 1), a score is not finite, a target is no subject, or nothing is left to
            calibrate with.
    """
    check_level(q)
    of_judged, of_known = ([groups[row] for row in rows.tolist()] for rows in (judged, known))
    known = known[without_shared(of_judged, of_known, len(judged), len(known))[0]]
    codes, g = group_codes([groups[row] for row in known.tolist()], len(known))
    weights = 1 / np.bincount(codes)[codes]
    subject_codes, m = group_codes(of_judged, len(judged))
    sizes = np.bincount(subject_codes)
    place_of = {row: place for place, row in enumerate(judged.tolist())}
    if not all(target in place_of for target in targets.tolist()):
        raise UsageError("a planted copy must be of an image that the audit judges")
    found, p_of, score_of = np.zeros(len(targets), dtype=np.bool_), np.ones(len(targets)), np.zeros(len(targets))
    for plant, (row, target) in enumerate(zip(scores, targets.tolist(), strict=True)):
        values = rounded_scores(row)
        p_values = weighted_p_values(values[judged], values[known], weights, g)
        place = place_of[target]
        p_of[plant], score_of[plant] = p_values[place], values[target]
        adjusted = np.minimum(1.0, p_values * sizes[subject_codes])
        best = np.ones(m)
        np.minimum.at(best, subject_codes, adjusted)
        rejected = _rejected(np.sort(best), q)
        needed = float(np.round(adjusted[place] * m / rejected, DECIMALS)) if rejected else 1.0
        found[plant] = bool(rejected) and needed <= q and not blindness(values[judged], values[known], g)
        if on_done is not None:
            on_done(plant + 1)
    return JudgedPlants(*rejection_plan(np.sort(sizes), g, q), m, g, found, p_of, _smallest(p_of, g), score_of)


def _smallest(p_values: Float64s, g: int) -> Flags:
    outranks: Flags = p_values <= (1 + 1e-9) / (g + 1)
    return outranks
