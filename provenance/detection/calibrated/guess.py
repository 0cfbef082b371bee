"""The best guess beside the strict label: a probability of use, learnt on an audit's own known images. Pure.

    log odds of having been used = a + b s + log(prior / (1 - prior))

a and b by logistic regression on the score s of images known used and known not used (ridge, C = 1, on standardised
scores), where both kinds weigh the same: what is learnt are odds at a prior of 1/2, and the stated prior shifts them.
Higher scores speak for use, as every membership score promises: where the regression says otherwise, the score tells
nothing, and the probability is the prior (a = b = 0). Images of unknown use are guessed by all known ones, a known one
by those of other folds (whole groups in one fold), so that what is said of the known images says how good the guess is.

How good it is on the known images foretells how good it is on the unknown ones. The interval is of the latter: by two
bootstraps, one of the known groups and one of as many groups as are unknown, each of which strays. Without unknown
images it is that of the figure alone, whose kappa also decides whether the guess is better than chance: its lower end.

Assumption: unknown images are like the known ones of one kind or the other, and the share ``prior`` of them was used.
It is a bet: nothing controls an error rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import checked_scores, group_codes, same_length
from provenance.detection.metrics.bootstrap import Judgement, estimate, resample, resampled_means
from provenance.detection.metrics.evaluation import evaluate
from provenance.detection.metrics.folds import folds_of
from provenance.errors import UsageError
from provenance.findings import CurveBin, GuessFigures, NotComputed, Resampling
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.detection.checks import Groups, Numbers
    from provenance.findings import Estimate

FEWEST_GROUPS, MOST_FOLDS = 5, 10
PROBABILITY_DECIMALS = 6
BINS = 10
LOW_FPR = 0.01


@dataclass(frozen=True, slots=True)
class BestGuess:
    """Guesses on all images, in their order.

    Attributes:
        probabilities: Of having been used, in [0, 1], 6 decimals, float64 (n,); of known images by models that have
            not seen their group.
        figures: How good they are on the known images, and how they were learnt.
    """

    probabilities: Float64s
    figures: GuessFigures

    @property
    def labels(self) -> tuple[Label, ...]:
        """Used where the probability is one half or more, else not used."""
        return tuple(Label.USED if each >= 0.5 else Label.NOT_USED for each in self.probabilities.tolist())


def check_prior(prior: float) -> None:
    """Refuse a prior that is not in (0, 1)."""
    if not 0 < prior < 1:
        raise UsageError(f"the prior lies between 0 and 1, not {prior}", hint="0.5 says nothing beforehand (--prior)")


def best_guess(
    scores: Numbers,
    used: Sequence[bool | None],
    *,
    groups: Groups | None = None,
    prior: float = 0.5,
    resampling: Resampling | None = None,
) -> BestGuess | NotComputed:
    """Probabilities of all images, and how good they are on the known ones; formula and assumption in the module.

    Args:
        scores: Higher = more likely used, (n,).
        used: What is known of each; ``None``: nothing.
        groups: Patient or study of each; ``None`` in a place: a group of its own.
        prior: Share of the unknown images that was used, as far as one knows beforehand, in (0, 1).
        resampling: Of the intervals.

    Returns:
        ``NotComputed`` with the reason where there are not 5 groups of each kind, or they can't be spread over folds.

    Raises:
        UsageError: If the prior is not in (0, 1), a score is not finite, or lengths differ.
    """
    check_prior(prior)
    values = checked_scores(scores, "scores")
    same_length(used, len(values), "what is known")
    codes, _ = group_codes(groups, len(values))
    known = np.array([row for row, each in enumerate(used) if each is not None], dtype=np.int64)
    truth = np.array([used[row] for row in known.tolist()], dtype=np.bool_)
    known, truth = _in_order(values, known, truth)
    numbers = _as_they_come(codes[known])
    if reason := _lacking(truth, numbers):
        return NotComputed(reason)
    folds = _folds(truth, numbers, (resampling or Resampling()).seed)
    if folds is None:
        return NotComputed("the groups of known images can't be spread over folds with both kinds in each")
    shift = math.log(prior / (1 - prior))
    whole = _learnt(values[known], truth)
    log_odds = whole[0] + whole[1] * values + shift
    for training, held_out in folds:
        intercept, slope = _learnt(values[known[training]], truth[training])
        log_odds[known[held_out]] = intercept + slope * values[known[held_out]] + shift
    probabilities = np.round(1 / (1 + np.exp(-np.clip(log_odds, -700, 700))), PROBABILITY_DECIMALS)
    return BestGuess(
        probabilities,
        replace(
            _quality(
                probabilities[known], truth, numbers, prior, _unknown_groups(used, codes), resampling or Resampling()
            ),
            folds=len(folds),
            intercept=round(whole[0], 9),
            slope=round(whole[1], 9),
        ),
    )


def _in_order(values: Float64s, known: Int64s, truth: Flags) -> tuple[Int64s, Flags]:
    # By kind and score: how images are ordered decides on no fold.
    order = np.lexsort((values[known], truth))
    return known[order], truth[order]


def _unknown_groups(used: Sequence[bool | None], codes: Int64s) -> int:
    return len({code for code, each in zip(codes.tolist(), used, strict=True) if each is None})


def _as_they_come(codes: Int64s) -> Int64s:
    # Names of groups are random: they decide on no fold and on no draw.
    _, first, numbers = np.unique(codes, return_index=True, return_inverse=True)
    found: Int64s = np.argsort(np.argsort(first))[numbers]
    return found


def _lacking(truth: Flags, codes: Int64s) -> str:
    counts = [len(np.unique(codes[truth == kind])) for kind in (True, False)]
    for kind, count in zip(("used", "not used"), counts, strict=True):
        if not count:
            return f"there are no images known {kind}, and a guess is learnt on both kinds"
    if min(counts) < FEWEST_GROUPS:
        return (
            f"a guess is learnt on images known used and known not used, of {FEWEST_GROUPS} groups or more each; there "
            f"are {counts[0]} and {counts[1]}"
        )
    return ""


def _folds(truth: Flags, codes: Int64s, seed: int) -> list[tuple[Int64s, Int64s]] | None:
    for count in range(min(MOST_FOLDS, _fewest_groups(truth, codes)), 1, -1):
        try:
            return folds_of(truth, [f"{each:09d}" for each in codes.tolist()], count, seed)
        except UsageError:  # a few large groups: fewer folds may do
            continue
    return None


def _learnt(scores: Float64s, truth: Flags) -> tuple[float, float]:
    """A and b, of scores as they are."""
    from sklearn.linear_model import LogisticRegression

    centre, spread = float(scores.mean()), float(scores.std())
    if spread == 0:
        return 0.0, 0.0
    model = LogisticRegression(class_weight="balanced", solver="newton-cholesky", tol=1e-10, max_iter=200)
    model.fit((scores[:, None] - centre) / spread, truth)
    slope = float(model.coef_[0, 0]) / spread
    return (float(model.intercept_[0]) - slope * centre, slope) if slope > 0 else (0.0, 0.0)


def _quality(
    probabilities: Float64s, truth: Flags, codes: Int64s, prior: float, unknown_groups: int, resampling: Resampling
) -> GuessFigures:
    names = [f"{code:09d}" for code in codes.tolist()]
    called, levels = probabilities >= 0.5, (LOW_FPR,)
    found = evaluate(truth, called, probabilities, groups=names, fpr_levels=levels, resampling=resampling)
    brier, resampled = _brier(probabilities, truth, codes, prior, resampling)
    of_brier = estimate(brier, resampled, resampling.level, _fewest_groups(truth, codes))
    estimates = {**found.estimates, "brier": of_brier}
    kappa = estimates["kappa"]
    if unknown_groups:
        judgement, again = Judgement(called, probabilities), replace(resampling, seed=resampling.seed + 1)
        here = resample(truth, [judgement], codes, resampling, levels)[0] | {"brier": resampled}
        there = resample(truth, [judgement], codes, again, levels, unknown_groups)[0]
        there["brier"] = _brier(probabilities, truth, codes, prior, again, unknown_groups)[1]
        estimates = {name: _foreseen(each, here[name], there[name], resampling) for name, each in estimates.items()}
    return GuessFigures(
        prior=prior,
        used=int(truth.sum()),
        not_used=int((~truth).sum()),
        used_groups=len(np.unique(codes[truth])),
        not_used_groups=len(np.unique(codes[~truth])),
        accuracy=estimates["accuracy"],
        kappa=estimates["kappa"],
        auc=estimates["auc"],
        tpr_at_1_percent_fpr=estimates[f"tpr@{LOW_FPR:g}"],
        brier=estimates["brier"],
        better_than_chance=kappa.low is not None and kappa.low > 0,
        foreseen_groups=unknown_groups,
        chance_band=found.chance,
        calibration_curve=_curve(probabilities, truth, prior),
        resampling=resampling,
    )


def _fewest_groups(truth: Flags, codes: Int64s) -> int:
    return min(len(np.unique(codes[truth == kind])) for kind in (True, False))


def _foreseen(found: Estimate, here: Float64s, there: Float64s, resampling: Resampling) -> Estimate:
    """A figure with the interval of what it is on other images: they stray, and so does the figure itself."""
    if found.value is None or found.low is None:
        return found
    low, high = (-1.0 if here.min() < 0 else 0.0), 1.0
    return estimate(found.value, np.clip(here + there - found.value, low, high), resampling.level, len(here))


def _brier(
    p: Float64s, truth: Flags, codes: Int64s, prior: float, resampling: Resampling, drawn: int | None = None
) -> tuple[float, Float64s]:
    loss = (p - truth) ** 2
    value = prior * float(loss[truth].mean()) + (1 - prior) * float(loss[~truth].mean())
    used, others = (resampled_means(loss, kind, codes, resampling, drawn) for kind in (truth, ~truth))
    return value, prior * used + (1 - prior) * others


def _curve(p: Float64s, truth: Flags, prior: float) -> tuple[CurveBin, ...]:
    bins = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    weights = np.where(truth, prior / truth.sum(), (1 - prior) / (~truth).sum())
    found = []
    for place in np.unique(bins).tolist():
        here = bins == place
        mean, share = (float(np.average(each[here], weights=weights[here])) for each in (p, truth))
        used = int(truth[here].sum())
        edges = (place / BINS, (place + 1) / BINS)
        found.append(CurveBin(*edges, used, int(here.sum()) - used, round(mean, 6), round(share, 6)))
    return tuple(found)
