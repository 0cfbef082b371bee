"""What stands beside the strict label: the same scores by other means, each with an assumption of its own. Pure.

    groups   one score a group, the mean or the best of its images, declared beforehand; conformal p with one vote a
             group, p(g) = (1 + calibration groups that score as high) / (G + 1), Benjamini-Hochberg over groups.
             Assumes that groups that were not used are exchangeable with calibration groups, their sizes included: a
             mean of many images strays less than one of few, and the best of many is higher
    tail     p-values beyond the resolution of conformal ones by a model of the highest calibration scores
             (``detection.copies.tail``), never above the conformal one. Assumes that the model holds where it is used
    storey   q-values with the share of judged groups that were not used (Storey 2002, the conservative estimate of
             Storey, Taylor & Siegmund 2004) in place of 1:

                 pi0 = (1 + number of p > lambda) / (m (1 - lambda)), lambda = 1/2, at most 1;    q = pi0 q_BH

             over the m groups' p-values. Controls the rate where p-values of groups that were not used do not depend on
             each other; conformal ones share one calibration set, for which Mary & Roquain (2022) prove it where images
             are their own groups and scores have no ties

The strict label stays the conformal one with Benjamini-Hochberg.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.calibrated.conformal import Calibrated, calibrate, decide_by_p_values
from provenance.detection.checks import group_codes, rounded_scores
from provenance.detection.decision import DECIMALS
from provenance.vocabulary import GroupScore

if TYPE_CHECKING:
    from provenance.arrays import Float64s, Int64s
    from provenance.detection.checks import Groups, Numbers

LAMBDA = 0.5
SIZES_DIFFER = 0.01


@dataclass(frozen=True, slots=True)
class GroupAnswer:
    """The answer of judged groups, each image with that of its group.

    Attributes:
        of_image: Place of each judged image's group in ``scores`` and ``found``.
        scores: Of the groups, 9 decimals, float64 (m,).
        of_known: Place of each calibration image's group in ``known_scores``.
        known_scores: Of the calibration groups, (G,).
        found: Labels, p- and q-values of the groups, with their figures.
    """

    of_image: Int64s
    scores: Float64s
    of_known: Int64s
    known_scores: Float64s
    found: Calibrated

    def undecided(self, reason: str) -> GroupAnswer:
        """The same with nothing established, for a reason that speaks against all groups."""
        return replace(self, found=self.found.undecided(reason))


def group_scores(scores: Numbers, groups: Groups | None, how: GroupScore) -> tuple[Float64s, Int64s]:
    """One score a group, 9 decimals, and the place of each image's group among them."""
    values = rounded_scores(scores, "scores")
    codes, count = group_codes(groups, len(values))
    if how is GroupScore.BEST:
        found = np.full(count, -np.inf)
        np.maximum.at(found, codes, values)
    else:
        order = np.lexsort((values, codes))  # in the order of their values: that of the images decides on no digit
        found = np.bincount(codes[order], weights=values[order]) / np.bincount(codes)
    return np.round(found, DECIMALS), codes


def judge_groups(
    scores: Numbers,
    calibration: Numbers,
    *,
    groups: Groups | None,
    calibration_groups: Groups | None,
    how: GroupScore,
    q: float,
) -> GroupAnswer | None:
    """Groups as subjects; ``None`` where every group, judged or calibrating, is a single image.

    Arguments are those of ``calibrate``; no group stands on both sides.

    Raises:
        UsageError: As ``calibrate``.
    """
    judged, of_image = group_scores(scores, groups, how)
    known, of_known = group_scores(calibration, calibration_groups, how)
    sizes = np.bincount(of_image), np.bincount(of_known)
    if max(each.max() for each in sizes) < 2:
        return None
    subjects, others = (
        [f"{side} {number}" for number in range(len(each))] for side, each in zip("jk", sizes, strict=True)
    )
    found = calibrate(judged, known, groups=subjects, calibration_groups=others, q=q)
    return GroupAnswer(of_image, judged, of_known, known, found)


def sizes_warning(judged: Groups, calibration: Groups) -> str:
    """A sentence where judged and calibration groups differ in size (Mann-Whitney, level 0.01); empty: they don't."""
    from scipy.stats import mannwhitneyu

    mine, others = (np.bincount(group_codes(each, len(each))[0]) for each in (judged, calibration))
    if len(np.unique(np.append(mine, others))) == 1 or mannwhitneyu(mine, others).pvalue > SIZES_DIFFER:
        return ""
    return (
        f"Judged groups have {mine.mean():.1f} images on average, calibration groups {others.mean():.1f}: a group's "
        "score depends on how many images it has, so the groups' p-values may promise too much."
    )


def judge_by_tail(
    by_tail: Numbers, conformal: Numbers, groups: Groups | None, calibration_groups: int, q: float
) -> Calibrated:
    """The smaller of both p-values; as ``decide_by_p_values``.

    Args:
        by_tail: ``detection.copies.tail.Tail.p_values`` of each image; NaN where the model does not speak.
        conformal: Of each image.
        groups: Patient or study of each.
        calibration_groups: How many.
        q: Level.
    """
    smaller = np.fmin(np.asarray(by_tail, dtype=np.float64), np.asarray(conformal, dtype=np.float64))
    return decide_by_p_values(smaller, groups, calibration_groups, q)


def null_share(p_values: Numbers, groups: Groups | None) -> float:
    """pi0 of the module, over groups: n times the least p-value of each, at most 1."""
    values = np.asarray(p_values, dtype=np.float64)
    codes, m = group_codes(groups, len(values))
    least = np.ones(m)
    np.minimum.at(least, codes, values * np.bincount(codes)[codes])
    return round(min(1.0, float(1 + (least > LAMBDA).sum()) / (m * (1 - LAMBDA))), DECIMALS)


def storey_q_values(q_values: Numbers, share: float) -> tuple[float, ...]:
    """Q-values of Benjamini-Hochberg, with the share of nulls in place of 1; 9 decimals."""
    found: list[float] = np.round(np.asarray(q_values, dtype=np.float64) * share, DECIMALS).tolist()
    return tuple(found)
