"""What agreement means: p-values against never-used reals, false matches among impostors, near-twins. Pure.

The score of an image is its best agreement on Fisher's scale, artanh(agreement); of its pieces, the share of the
largest (log of share over the rest). Never-used reals that went through the same search are the calibration:

    conformal    one vote a group (calibrated/conformal.py)
    tail         a model of the highest scores (tail.py), for scores above all of its threshold

Near-twins: a real that was never used may be a used one again (a mirrored export, the next slice of one patient). They
say nothing of what strangers have in common, and the caller leaves them out. An image is suspected of it beyond

    median + 4 (third quartile - median) / 0.6745        of one score a group

which up to a quarter of twins can't raise by much; but strangers with a heavy tail reach it too, and a tail without
them would promise too much. So it takes more than a score to leave an image out (``judging.py``).

Twins that were left out are proof, though, that a never-used image may score as high. Of m groups of them among G in
all, with scores y_1 ... y_m beyond the bound, it is proven that a score y beyond it has at least the probability

    L (1 + y / (y_1 + ... + y_m))^-m        L: lower 95 % bound of m / G (Clopper & Pearson 1934)

the second factor being exact for exponential excesses (``tail.py``). No p-value is below it.

Assumption: generated images that copy nothing are no more alike to used reals than never-used reals are. Generated
images are seldom as sharp as reals, which makes the p-values larger, not smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.calibrated.conformal import unrounded_p_values
from provenance.detection.checks import checked_flags, checked_scores, group_codes, same_length
from provenance.detection.copies.tail import Tail, fitted_tail
from provenance.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from provenance.arrays import Flags
    from provenance.detection.checks import Groups, Numbers

    Floats = NDArray[np.float64]

HIGHEST = 0.9999
TWIN_DEVIATIONS, QUARTILE = 4.0, 0.6745
BOUND_LEVEL = 0.95
DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Rate:
    """How often strangers match, by group, with the exact upper bound (Clopper & Pearson 1934).

    Attributes:
        matches: Groups of impostors with an image at or above the threshold.
        groups: All of them.
        value: matches / groups.
        upper: One-sided 95 % bound.
    """

    matches: int
    groups: int
    value: float
    upper: float


@dataclass(frozen=True, slots=True)
class CalibratedCopies:
    """P-values of one kind of score.

    Attributes:
        conformal: ``(n,)`` of each subject, in (0, 1], at least what twins prove.
        tail: ``(n,)`` by the model, likewise, at most the conformal one where it speaks; NaN elsewhere.
        conformal_q: ``(n,)`` Benjamini-Hochberg levels of ``conformal``.
        tail_q: ``(n,)`` of the smaller of both; NaN if the model is refused.
        model: The fitted tail, or why there is none.
        groups: Calibration groups that are left.
    """

    conformal: Floats
    tail: Floats
    conformal_q: Floats
    tail_q: Floats
    model: Tail
    groups: int


def agreement_scores(agreements: Numbers) -> Floats:
    """Agreements of best matches on Fisher's scale, for ``calibrated_copies``."""
    return np.arctanh(np.clip(np.asarray(agreements, dtype=np.float64), -HIGHEST, HIGHEST))


def share_scores(shares: Numbers) -> Floats:
    """Shares of largest pieces as log odds, for ``calibrated_copies``; no piece counts as half a percent."""
    share = np.clip(np.asarray(shares, dtype=np.float64), 0.005, 0.995)
    return np.log(share / (1 - share))


def calibrated_copies(
    scores: Numbers,
    calibration: Numbers,
    *,
    calibration_groups: Groups | None = None,
    twins: Flags | None = None,
    proven: Numbers | None = None,
) -> CalibratedCopies:
    """P-values and Benjamini-Hochberg levels of subjects (module docstring).

    Args:
        scores: Of the subjects, higher = more alike.
        calibration: Of never-used reals, from the same search with their own group left out.
        calibration_groups: Patient or study of each; ``None`` in a place: a group of its own.
        twins: Calibration images that are left out as near-twins of used ones.
        proven: Of each subject what its p-value may not be below (``proven_by_twins``).

    Raises:
        UsageError: If there are no scores, one is not finite, lengths differ, or no calibration image is left.
    """
    from scipy.stats import false_discovery_control

    values = np.round(checked_scores(scores, "scores"), DECIMALS)
    known = np.round(checked_scores(calibration, "calibration scores"), DECIMALS)
    out = np.zeros(len(known), dtype=np.bool_) if twins is None else checked_flags(twins, "flags of near-twins")
    same_length(out, len(known), "flags of near-twins")
    least = np.zeros(len(values)) if proven is None else checked_scores(proven, "what twins prove")
    same_length(least, len(values), "what twins prove")
    if out.all():
        raise UsageError("every calibration image is a near-twin of a used one: nothing is left to calibrate with")
    left = np.flatnonzero(~out).tolist()
    groups = None if calibration_groups is None else [calibration_groups[row] for row in left]
    conformal = np.maximum(unrounded_p_values(values, known[left], groups), least)
    model = fitted_tail(known[left], groups)
    tail = np.minimum(np.maximum(model.p_values(values), least), conformal)
    best = np.where(np.isnan(tail), conformal, tail)
    levels = false_discovery_control(best) if not model.refused else np.full(len(values), np.nan)
    return CalibratedCopies(
        conformal=conformal,
        tail=tail,
        conformal_q=false_discovery_control(conformal),
        tail_q=levels,
        model=model,
        groups=group_codes(groups, len(left))[1],
    )


def proven_by_twins(
    scores: Numbers, calibration: Numbers, twins: Flags, bound: float, groups: Groups | None = None
) -> Floats:
    """The least probability of each score that twins prove (module docstring); 0 at or below the bound.

    Args:
        scores: Of the subjects.
        calibration: Of all never-used reals.
        twins: Which of them are near-twins that count as proof here.
        bound: Beyond which a score makes an image suspect of being one.
        groups: Of the calibration; ``None`` in a place: a group of its own.
    """
    from scipy.stats import beta

    values, known = checked_scores(scores, "scores"), checked_scores(calibration, "calibration scores")
    codes, total = group_codes(groups, len(known))
    highest = np.full(total, -np.inf)
    np.maximum.at(highest, codes, np.where(checked_flags(twins, "flags of near-twins"), known, -np.inf))
    excesses = highest[highest > bound] - bound
    m = len(excesses)
    if not m:
        return np.zeros(len(values))
    beyond = np.maximum(values - bound, 0)
    shares = float(beta.ppf(1 - BOUND_LEVEL, m, total - m + 1)) * np.exp(-m * np.log1p(beyond / excesses.sum()))
    return np.where(values > bound, shares, 0.0)


def twin_bound(scores: Numbers, groups: Groups | None = None) -> float:
    """The score beyond which an image may be a near-twin, from the bulk of all groups' highest scores."""
    values = checked_scores(scores, "calibration scores")
    codes, count = group_codes(groups, len(values))
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, codes, values)
    median, upper = np.quantile(highest, [0.5, 0.75])
    return float(median + TWIN_DEVIATIONS * (upper - median) / QUARTILE)


def false_match_rate(
    scores: Numbers, threshold: float, groups: Groups | None = None, *, level: float = BOUND_LEVEL
) -> Rate:
    """How many groups of impostors reach a threshold.

    Args:
        scores: Best agreements of reals with reals of other groups.
        threshold: A score equal to it reaches it.
        groups: Patient or study of each; ``None`` in a place: a group of its own.
        level: Of the bound.

    Raises:
        UsageError: If there are no scores, one is not finite, or lengths differ.
    """
    from scipy.stats import beta

    values = checked_scores(scores, "scores of impostors")
    codes, count = group_codes(groups, len(values))
    matches = len(np.unique(codes[values >= threshold]))
    upper = 1.0 if matches == count else float(beta.ppf(level, matches + 1, count - matches))
    return Rate(matches=matches, groups=count, value=matches / count, upper=upper)


def matching_threshold(scores: Numbers, rate: float, groups: Groups | None = None) -> float:
    """The least score of an impostor group from which on no more than a share ``rate`` of the groups lies.

    Raises:
        UsageError: If there are no scores, one is not finite, or lengths differ.
    """
    values = checked_scores(scores, "scores of impostors")
    codes, count = group_codes(groups, len(values))
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, codes, values)
    allowed = int(rate * count + 1e-9)
    return float(np.nextafter(np.sort(highest)[::-1][min(allowed, count - 1)], np.inf))
