"""Shift check: does the calibration set look like the subjects, as exchangeability demands? Pure.

Each property is compared by one test on group values (one vote a group), the p-values are corrected together
(Holm 1979), and what is significant becomes a sentence. It warns (audits conclude no leak and establish nothing where
images claimed used and never-used ones differ so): a shift in a property may leave the scores exchangeable, and a shift
that shows in none of these may not. With few groups it sees little.

    modality        Fisher's exact test for two modalities, else chi-square (scipy)
    size, intensity two-sample Kolmogorov-Smirnov (scipy) on the groups' means
    distance        permutation test by group of |mean vector of calibration - mean vector of subjects|^2, the
                    kernel two-sample test with the linear kernel (Gretton et al. 2012)

A shift is *gross* where it is large as well, so that nothing at all follows from a comparison of the two sides. How
large is said by the effect D, in [0, 1]: the greatest difference of the shares of both sides on one side of a limit
(Kolmogorov-Smirnov) in size or intensity; likewise, where the calibration lies higher, along the difference
of both mean vectors, each group left out of its own mean; of modalities half the sum of absolute differences of shares.

    gross           p_corrected <= level and D >= 0.5, or p <= level and D = 1
                    (of modality: p_corrected <= level, or D = 1)

Members that scored differently because they were used would still pass: no test looks at the score.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.detection.checks import checked_scores, group_codes, same_length
from provenance.errors import UsageError
from provenance.findings import ShiftCheck, ShiftTest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.arrays import Float32s, Float64s, Int64s
    from provenance.detection.checks import Groups, Numbers


GROSS = 0.5
"""The least effect of a gross shift: one limit tells three in four images of two sides of like size."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """What is compared, one value an image; ``None``: not known, not compared.

    Modalities are DICOM's codes, pixels width times height, intensities mean grey values of the canonical images,
    vectors embeddings, float32 (n, dimension), groups patients or studies (``None`` in a place: a group of its own).
    """

    modalities: Sequence[str] | None = None
    pixels: Numbers | None = None
    intensities: Numbers | None = None
    vectors: Float32s | None = None
    groups: Groups | None = None


def check_shift(
    calibration: Appearance, subjects: Appearance, *, level: float = 0.05, permutations: int = 999, seed: int = 0
) -> ShiftCheck:
    """Compare calibration with subjects in every property that both have; see the module.

    P(any warning without any shift) is at most ``level``. Permutations, drawn by ``seed``, are for the distance: its
    smallest p is 1 / (1 + permutations).

    Raises:
        UsageError: If the level is not in (0, 1), a property has no value or one that is not finite, or lengths
            differ within one side.
    """
    if not 0 < level < 1:
        raise UsageError(f"the level lies between 0 and 1, not {level}")
    found: list[tuple[str, float, str, float]] = []
    if calibration.modalities is not None and subjects.modalities is not None:
        found.append(("modality", *_modality(calibration, subjects)))
    for name, what in (("pixels", "size"), ("intensities", "intensity")):
        one, two = getattr(calibration, name), getattr(subjects, name)
        if one is not None and two is not None:
            found.append((what, *_numbers(_means(one, calibration, what), _means(two, subjects, what))))
    if calibration.vectors is not None and subjects.vectors is not None:
        found.append(("distance", *_distance(calibration, subjects, permutations, seed)))
    corrected = holm([p for _, p, _, _ in found])
    tests = tuple(
        ShiftTest(name, p, adjusted, detail, round(effect, 6), _is_gross(name, p, adjusted, effect, level))
        for (name, p, detail, effect), adjusted in zip(found, corrected, strict=True)
    )
    sentences = tuple(
        f"Calibration and subjects differ in {test.name} ({test.detail}; p = {test.p_corrected:.2g}): "
        "the p-values may promise too much."
        for test in tests
        if test.p_corrected <= level
    )
    return ShiftCheck(tests, level, sentences)


def _is_gross(name: str, p_value: float, corrected: float, effect: float, level: float) -> bool:
    if name == "modality":
        return corrected <= level or effect == 1
    return (corrected <= level and effect >= GROSS) or (p_value <= level and effect == 1)


def apart(how: str) -> str:
    """What follows from used and never-used images that differ without any release, ``how`` in words."""
    return (
        f"The images claimed used and those never used differ by themselves, whatever the release: {how}. Their "
        "membership scores may differ for that reason alone."
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (1979): max over j <= i of min(1, (m - j + 1) p_(j)), in the given order."""
    order = np.argsort(np.asarray(p_values, dtype=np.float64), kind="stable")
    adjusted, running = [1.0] * len(p_values), 0.0
    for step, place in enumerate(order.tolist()):
        running = max(running, min(1.0, (len(p_values) - step) * p_values[place]))
        adjusted[place] = running
    return adjusted


def _modality(calibration: Appearance, subjects: Appearance) -> tuple[float, str, float]:
    from scipy.stats import chi2_contingency, fisher_exact

    counts = [_modalities_of_groups(each) for each in (calibration, subjects)]
    names = sorted(set(counts[0]) | set(counts[1]))
    detail = " against ".join(", ".join(f"{n} {name}" for name, n in sorted(each.items())) for each in counts)
    if len(names) == 1:
        return 1.0, detail, 0.0
    table = np.array([[each[name] for name in names] for each in counts])
    p_value = fisher_exact(table).pvalue if len(names) == 2 else chi2_contingency(table).pvalue
    one, two = (each / each.sum() for each in table)
    return float(p_value), detail, float(np.abs(one - two).sum() / 2)


def _modalities_of_groups(side: Appearance) -> Counter[str]:
    modalities = list(side.modalities or ())
    codes, groups = _codes(side, len(modalities), "modalities")
    by_group: list[Counter[str]] = [Counter() for _ in range(groups)]
    for code, modality in zip(codes.tolist(), modalities, strict=True):
        by_group[code][modality] += 1
    return Counter(min(counts, key=lambda name: (-counts[name], name)) for counts in by_group)


def _numbers(one: Float64s, two: Float64s) -> tuple[float, str, float]:
    from scipy.stats import ks_2samp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # exact where it can be, else asymptotic
        found = ks_2samp(one, two)
    detail = f"medians {_plain(np.median(one))} and {_plain(np.median(two))}"
    return min(1.0, float(found.pvalue)), detail, float(found.statistic)


def _plain(value: np.floating[Any]) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _distance(calibration: Appearance, subjects: Appearance, permutations: int, seed: int) -> tuple[float, str, float]:
    one, two = (_mean_vectors(side) for side in (calibration, subjects))
    if one.shape[1] != two.shape[1]:
        raise UsageError("vectors of two embedding spaces can't be compared")
    both = np.concatenate([one, two])
    is_first = np.zeros(len(both), dtype=np.bool_)
    is_first[: len(one)] = True
    # Centred, so that the sum over the others is minus the sum over these.
    centred = both - both.mean(axis=0)
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.repeat(is_first[None], permutations, axis=0), axis=1)
    observed = float(np.linalg.norm(is_first.astype(np.float64) @ centred))
    lengths = np.concatenate(
        [
            np.linalg.norm(part.astype(np.float64) @ centred, axis=1)
            for part in np.array_split(drawn, 1 + permutations // 200)
        ]
    )
    p_value = (1 + int((lengths >= observed - 1e-9).sum())) / (1 + permutations)
    apart = observed * (1 / len(one) + 1 / len(two))
    if observed == 0:
        return p_value, "mean vectors equal", 0.0
    by_chance = 100 * float(np.median(lengths)) / observed
    return p_value, f"mean vectors {apart:.3g} apart, {by_chance:.0f} % of it by chance", _separation(one, two)


def _separation(one: Float64s, two: Float64s) -> float:
    """How far one limit tells both sides apart along the difference of their means, each left out of its own."""
    if min(len(one), len(two)) < 2:
        return 0.0
    sides = []
    for mine, other, sign in ((one, two, 1.0), (two, one, -1.0)):
        without = (mine.sum(axis=0) - mine) / (len(mine) - 1)
        sides.append(np.sum(mine * (without - other.mean(axis=0)), axis=1) * sign)
    limits = np.unique(np.concatenate(sides))
    above = [1 - np.searchsorted(np.sort(side), limits, side="left") / len(side) for side in sides]
    return max(0.0, float(np.max(above[0] - above[1])))


def _means(values: Numbers, side: Appearance, name: str) -> Float64s:
    checked = checked_scores(values, name)
    codes, groups = _codes(side, len(checked), name)
    means: Float64s = np.bincount(codes, weights=checked, minlength=groups) / np.bincount(codes)
    return means


def _mean_vectors(side: Appearance) -> Float64s:
    vectors = np.asarray(side.vectors, dtype=np.float64)
    if vectors.ndim != 2 or vectors.size == 0 or not np.isfinite(vectors).all():
        raise UsageError("the shift check needs finite vectors (n, dimension), one or more a side")
    codes, groups = _codes(side, len(vectors), "vectors")
    sums = np.zeros((groups, vectors.shape[1]))
    np.add.at(sums, codes, vectors)
    means: Float64s = sums / np.bincount(codes)[:, None]
    return means


def _codes(side: Appearance, length: int, name: str) -> tuple[Int64s, int]:
    if not length:
        raise UsageError(f"{name}: no values to compare")
    if side.groups is not None:
        same_length(side.groups, length, "groups")
    return group_codes(side.groups, length)
