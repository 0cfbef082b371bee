"""Rule ``calibrated``: conformal p-values against images known not used, then Benjamini-Hochberg over groups. Pure.

With G calibration groups and a score s, higher = more likely used:

    p(x) = (1 + sum over groups of mean over the group of 1[s(c) >= s(x)]) / (G + 1)

Source: conformal p-values (Vovk et al. 2005; Bates et al. 2023 for false discoveries with one calibration set);
one vote a group as in hierarchical conformal prediction (Dunn, Wasserman & Ramdas 2022). Why p is valid for an image
of a group whatever the sizes: put the subject's group beside the G others. If all G + 1 are exchangeable and x is a
random image of its group, x is a random draw from the mixture that gives each group the weight 1 / (G + 1) and each
image of it an equal part. The mixture's share at or above s(x) is super-uniform, and p(x) is no less: x's own group
counts in full. Ties count against x. With groups of one image and no ties, p is uniform on {1, ..., G + 1} / (G + 1).

A group of n images is ONE subject with the p-value min(1, n * min over its images of p(x)). Its greatest score alone
would not be valid: the maximum of n images stands higher than a single image of a calibration group (n times as many
false alarms). Bonferroni within the group pays for that, whatever the sizes and the dependence. The maxima of
calibration groups would be a fair comparison only if groups of all sizes were mixed alike in both. Benjamini-Hochberg
(1995) at level q runs over the m subject groups; with R rejected, an image is ``established`` iff n * p(x) is at most
q R / m: its group is rejected, and itself is evidence (selective inference on families, Benjamini & Bogomolov 2014).

Assumptions: subject groups that were not used are exchangeable with calibration groups; how high a random image of
a group scores does not depend on the group's size; images that chose a score, its parameters or weights are not
calibration. P-values that share one calibration set depend on each other, positively (PRDS; proved for groups of
one image, Bates et al. 2023), which Benjamini-Hochberg allows. The guarantee, E[false / established] <= q, is an
average over draws of the calibration set: one set that serves many audits can be a lucky or an unlucky one in all of
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import check_level, group_codes, rounded_scores, same_length
from provenance.detection.decision import DECIMALS
from provenance.errors import UsageError
from provenance.findings import Family
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.detection.checks import Groups, Numbers


_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Calibrated(Family):
    """Calibrated verdicts of one audit, with their figures.

    Attributes:
        labels: Of each subject image: established, not_established or inconclusive.
        p_values: p(x) of each subject image, in (0, 1], 9 decimals.
        q_values: The least level q at which it would be established, in (0, 1], 9 decimals.
    """

    labels: tuple[Label, ...]
    p_values: tuple[float, ...]
    q_values: tuple[float, ...]

    def undecided(self, reason: str) -> Calibrated:
        """The same with nothing established, for a reason that speaks against all of them."""
        labels = (Label.INCONCLUSIVE,) * len(self.labels)
        return replace(self, labels=labels, established=0, established_groups=0, reason=reason)


def unrounded_p_values(subjects: Float64s, known: Float64s, calibration_groups: Groups | None) -> Float64s:
    """p(x) of every image (see the module), of scores that were checked and rounded; for decisions, not rounded."""
    codes, groups = group_codes(calibration_groups, len(known))
    return weighted_p_values(subjects, known, 1 / np.bincount(codes)[codes], groups)


def weighted_p_values(subjects: Float64s, known: Float64s, weights: Float64s, groups: int) -> Float64s:
    """``unrounded_p_values`` with the weight of each calibration image, 1 / size of its group, and G given."""
    order = np.lexsort((weights, known))
    # Sums from the greatest score down: at_or_above[i] is the weight of all from place i on.
    at_or_above = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
    above = at_or_above[np.searchsorted(known[order], subjects, side="left")]
    p_values: Float64s = np.minimum((1 + above) / (groups + 1), 1.0)
    return p_values


def calibrate(
    scores: Numbers,
    calibration: Numbers,
    *,
    groups: Groups | None = None,
    calibration_groups: Groups | None = None,
    q: float = 0.05,
    p_values: Float64s | None = None,
) -> Calibrated:
    """Apply the rule ``calibrated``; formula, source and assumptions in the module.

    Before anything can be rejected, k_min = ceil(m / (q (G + 1))) subjects must outrank all calibration (with
    groups of several images: as many as let Benjamini-Hochberg reject where the smallest groups do). If k_min > m,
    all are ``inconclusive``. If nothing is rejected and k_min > 1, all are ``inconclusive``; otherwise what is not
    established is ``not_established``. With fewer than two calibration groups, or all scores equal, all are
    ``inconclusive``.

    Args:
        scores: Of the subjects, shape (n,).
        calibration: Of images known not used, shape (c,).
        groups: Patient or study of each subject; ``None`` in a place: a group of its own.
        calibration_groups: Of each calibration image, by the same names. A group that has subjects as well is not
            exchangeable with the others and is left out of the calibration.
        q: Level of the false discovery rate, in (0, 1).
        p_values: Of the subjects, where scores that were learnt have p-values of their own, against the same
            calibration; no group may be on both sides then.

    Raises:
        UsageError: If q is not in (0, 1), there are no scores, one is not finite, or lengths differ.
    """
    check_level(q)
    values, known = rounded_scores(scores, "scores of the subjects"), rounded_scores(calibration, "calibration scores")
    kept, warnings = without_shared(groups, calibration_groups, len(values), len(known))
    known = known[kept]
    of_calibration = None if calibration_groups is None else list(compress(calibration_groups, kept))
    if p_values is None:
        p_values = unrounded_p_values(values, known, of_calibration)
    g = group_codes(of_calibration, len(known))[1]
    return decide_by_p_values(p_values, groups, g, q, blind=blindness(values, known, g), warnings=tuple(warnings))


def decide_by_p_values(
    p_values: Float64s,
    groups: Groups | None,
    calibration_groups: int,
    q: float,
    *,
    blind: str = "",
    warnings: tuple[str, ...] = (),
) -> Calibrated:
    """Benjamini-Hochberg over groups and the labels, from conformal p-values (n,) that are not rounded.

    ``calibration_groups`` is G, ``blind`` why nothing can be told apart (empty: something can); else as ``calibrate``.
    """
    codes, m = group_codes(groups, len(p_values))
    sizes = np.bincount(codes)
    q_values = _q_values(np.minimum(1.0, p_values * sizes[codes]), codes)
    plan = rejection_plan(np.sort(sizes), calibration_groups, q)
    rejected = (q_values <= q) & (not blind)
    above = p_values * (calibration_groups + 1) <= 1 + _ROUNDING
    outranking = 0 if blind else len(np.unique(codes[above]))
    labels, reason = _labels(rejected, codes, calibration_groups, q, plan, blind, outranking)
    return Calibrated(
        labels=labels,
        p_values=tuple(np.round(p_values, DECIMALS).tolist()),
        q_values=tuple(q_values.tolist()),
        q=q,
        subject_groups=m,
        calibration_groups=calibration_groups,
        k_min=plan[0],
        sufficient_groups=plan[1],
        outranking_groups=outranking,
        established_groups=len(np.unique(codes[rejected])),
        reason=reason,
        warnings=warnings,
        established=labels.count(Label.ESTABLISHED),
    )


def rejection_plan(sizes: Int64s, g: int, q: float) -> tuple[int, int]:
    """k_min, and the number of calibration groups with which every subject group can be rejected alone.

    ``sizes`` are the images of each subject group, ascending; ``g`` the calibration groups. With k subjects above all
    calibration, their p-values are 1 / (G + 1), and Benjamini-Hochberg rejects them iff 1 / (G + 1) <= q k / m. All in
    exact arithmetic of the decimals that q is written with.
    """
    m, level = len(sizes), Fraction(repr(float(q)))
    sufficient = math.ceil(m * int(sizes[-1]) / level) - 1
    k_min = math.ceil(m / (level * (g + 1)))
    if sizes[-1] == 1:
        return k_min, sufficient
    rejectable = (k for k, size in enumerate(sizes.tolist(), start=1) if Fraction(size, g + 1) <= level * k / m)
    return next(rejectable, max(m + 1, k_min)), sufficient


def _q_values(adjusted: Float64s, codes: Int64s) -> Float64s:
    # Of each image: the least q with n p(x) <= q R(q) / m, where R(q) groups are rejected at level q.
    from scipy.stats import false_discovery_control

    m = int(codes.max()) + 1
    best = np.ones(m)
    np.minimum.at(best, codes, adjusted)
    ascending = np.sort(best)
    levels, ranks = false_discovery_control(ascending, method="bh"), np.arange(1, m + 1)
    distinct, places = np.unique(adjusted, return_inverse=True)
    chunk = max(1, 4_000_000 // m)
    found = [
        np.maximum(levels, part[:, None] * m / ranks).min(axis=1)
        for part in (distinct[start : start + chunk] for start in range(0, len(distinct), chunk))
    ]
    q_values: Float64s = np.minimum(np.round(np.concatenate(found)[places], DECIMALS), 1.0)
    return q_values


def _labels(
    rejected: Flags, codes: Int64s, g: int, q: float, plan: tuple[int, int], blind: str, outranking: int
) -> tuple[tuple[Label, ...], str]:
    (k_min, sufficient), m = plan, int(codes.max()) + 1
    everywhere = (Label.INCONCLUSIVE,) * len(codes)
    if blind:
        return everywhere, f"Inconclusive: {blind}."
    of_groups = f"{m:,} subject group{'s' if m > 1 else ''}"
    several = len(codes) > m
    each, of_subjects = ("image by image, ", f"images of {of_groups}") if several else ("", of_groups)
    more = _more_groups(outranking, sufficient)
    if k_min > m:
        return everywhere, (
            f"Inconclusive: {each}with {g:,} calibration groups no result on {of_subjects} could be "
            f"established at a false discovery rate of {q:g}; {more}."
        )
    if not rejected.any() and k_min > 1:
        return everywhere, (
            f"Inconclusive: {each}with {g:,} calibration groups {k_min:,} of the {of_groups} had to outrank all "
            f"calibration before any could be established at a false discovery rate of {q:g}, and "
            f"{_counted_do(outranking)}; {more}."
        )
    labels = tuple(Label.ESTABLISHED if found else Label.NOT_ESTABLISHED for found in rejected.tolist())
    count = len(np.unique(codes[rejected]))
    if not count:
        none = f"{each}none of the {of_subjects} is established at a false discovery rate of {q:g}."
        return labels, none[:1].upper() + none[1:]
    found_in = f"Image by image, images of {count:,} of {of_groups} are" if several else f"{count:,} of {of_groups}"
    return labels, (
        f"{found_in} established at a false discovery rate of {q:g}: "
        f"on average over calibration sets, no more than that share of them is false."
    )


def _counted_do(count: int) -> str:
    return f"{count:,} {'does' if count == 1 else 'do'}" if count else "none does"


def _more_groups(outranking: int, sufficient: int) -> str:
    """Whether more calibration would help: only what stands above all of it now may do so then."""
    if outranking:
        return (
            f"{sufficient:,} calibration groups would suffice to establish a single one, if it outranked these as well"
        )
    return (
        "none of them outranks all calibration now, so that more calibration groups alone would not establish one: "
        "this test can't see it"
    )


def blindness(values: Float64s, known: Float64s, g: int) -> str:
    """Why scores tell nothing apart, in words; empty: they do."""
    if g < 2:
        return "the calibration images belong to one group only, and one group shows no spread"
    if min(values.min(), known.min()) == max(values.max(), known.max()):
        return "all scores are equal, so that they tell nothing apart"
    return ""


def without_shared(groups: Groups | None, calibration_groups: Groups | None, n: int, c: int) -> tuple[Flags, list[str]]:
    """Which of c calibration images are of groups without one of the n subjects (none: refused), and warnings."""
    kept, warnings, lone = np.ones(c, dtype=np.bool_), [], 0
    for name, given, length in (("subjects", groups, n), ("calibration images", calibration_groups, c)):
        if given is not None:
            same_length(given, length, f"groups of the {name}")
        lone += length if given is None else sum(group is None for group in given)
    if groups is not None and calibration_groups is not None:
        subjects = {str(group) for group in groups if group is not None}
        kept = np.array([group is None or str(group) not in subjects for group in calibration_groups])
        if not kept.all():
            shared = len({str(group) for group in compress(calibration_groups, ~kept)})
            warnings.append(f"{_counted(shared, 'group')} with subjects as well left out of the calibration.")
        if not kept.any():
            raise UsageError("every calibration group has subjects as well: nothing is left to calibrate with")
    if lone:
        warnings.append(
            f"{_counted(lone, 'image')} without a patient or study, each taken as a group of its own: "
            "if some are of one patient, the p-values promise too much."
        )
    return kept, warnings


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
