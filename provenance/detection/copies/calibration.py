"""What agreement means: p-values against never-used reals, false matches among impostors, near-twins. Pure.

The score of an image is its best agreement on Fisher's scale, artanh(agreement); of its pieces, the share of the
largest (log of share over the rest). Never-used reals that went through the same search are the calibration:

    conformal    one vote a group (calibrated/conformal.py)
    tail         a model of the highest scores (tail.py), for scores above all of its threshold

Near-twins: a real that was never used may be a used one again (the next slice of one patient, a second export). They
say nothing of what strangers have in common. Those that the caller flags, and those whose score lies beyond

    median + 5 (third quartile - median) / 0.6745        of one score a group

are left out of the calibration and counted. The bound is robust: up to a quarter of twins can't raise it by much.
Were the bulk as skewed as an exponential, it would cut strangers too, and the tail would promise too much (in a
simulation of 120 releases without copies at level 0.05, 200 calibration groups: 12 with a copy;
symmetric bulks: none to 1).

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
TWIN_DEVIATIONS, QUARTILE = 5.0, 0.6745
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
        conformal: ``(n,)`` of each subject, in (0, 1].
        tail: ``(n,)`` by the model, at most the conformal one where it speaks; NaN elsewhere.
        conformal_q: ``(n,)`` Benjamini-Hochberg levels of ``conformal``.
        tail_q: ``(n,)`` of the smaller of both; NaN if the model is refused.
        model: The fitted tail, or why there is none.
        twins: ``(c,)`` which calibration images were left out.
        twin_bound: The score beyond which a calibration image is a near-twin.
        groups: Calibration groups that are left.
    """

    conformal: Floats
    tail: Floats
    conformal_q: Floats
    tail_q: Floats
    model: Tail
    twins: NDArray[np.bool_]
    twin_bound: float
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
    flagged: Flags | None = None,
) -> CalibratedCopies:
    """P-values and Benjamini-Hochberg levels of subjects (module docstring).

    Args:
        scores: Of the subjects, higher = more alike.
        calibration: Of never-used reals, from the same search with their own group left out.
        calibration_groups: Patient or study of each; ``None`` in a place: a group of its own.
        flagged: Calibration images known to be near-twins of used ones.

    Raises:
        UsageError: If there are no scores, one is not finite, lengths differ, or no calibration image is left.
    """
    from scipy.stats import false_discovery_control

    values = np.round(checked_scores(scores, "scores"), DECIMALS)
    known = np.round(checked_scores(calibration, "calibration scores"), DECIMALS)
    bound = twin_bound(known, calibration_groups)
    twins = known > bound
    if flagged is not None:
        same_length(flagged, len(known), "flags of near-twins")
        twins |= checked_flags(flagged, "flags of near-twins")
    if twins.all():
        raise UsageError("every calibration image is a near-twin of a used one: nothing is left to calibrate with")
    left = np.flatnonzero(~twins).tolist()
    groups = None if calibration_groups is None else [calibration_groups[row] for row in left]
    conformal = unrounded_p_values(values, known[left], groups)
    model = fitted_tail(known[left], groups)
    tail = np.minimum(model.p_values(values), conformal)
    best = np.where(np.isnan(tail), conformal, tail)
    levels = false_discovery_control(best) if not model.refused else np.full(len(values), np.nan)
    return CalibratedCopies(
        conformal=conformal,
        tail=tail,
        conformal_q=false_discovery_control(conformal),
        tail_q=levels,
        model=model,
        twins=twins,
        twin_bound=bound,
        groups=group_codes(groups, len(left))[1],
    )


def twin_bound(scores: Numbers, groups: Groups | None = None) -> float:
    """The score beyond which an image is a near-twin, from the bulk of all groups' highest scores."""
    values = checked_scores(scores, "calibration scores")
    codes, count = group_codes(groups, len(values))
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, codes, values)
    median, upper = np.quantile(highest, [0.5, 0.75])
    return float(median + TWIN_DEVIATIONS * (upper - median) / QUARTILE)


def false_match_rate(scores: Numbers, threshold: float, groups: Groups | None = None, *, level: float = 0.95) -> Rate:
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
