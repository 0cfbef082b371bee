"""P-values beyond the resolution of conformal ones: the tail of calibration scores as a model. Pure.

Peaks over threshold: of one score for each of G calibration groups, the k = max(10, ceil(G / 10)) highest exceed the
next one, u, by y_1 ... y_k. A generalised Pareto distribution is fitted to these (greatest likelihood). From so few
excesses a heavy tail can't be told from a light one, and a p-value far beyond them is safe only if the heavier is
assumed. So the p-value of a score s above u, y = s - u, is

    (k + 1) / (G + 1) * the greater of (1 + y / (y_1 + ... + y_k))^-k  and  (1 + c y / ((1 - c) mean y))^(-1 / c)
    c = the greater of shape + (1 + shape) / (2 sqrt k) and 0.25

The first is exact for exponential excesses, whatever their scale: y over their mean has the F distribution (2, 2k). The
second is a generalised Pareto tail with the mean of the excesses, half a standard error heavier than the fitted one and
never lighter than that of Student's t with 4 degrees of freedom. The model extends conformal p-values as in Pasche, Lam
& Engelke (2025), "Extreme Conformal Prediction".

Of 200 simulated releases without copies (1,000 images, 60 to 300 calibration groups, level 0.05) at most 1 to 10 had a
copy, for each of eight shapes of scores from bounded to lognormal, t4 and mixtures (``benchmarks/copies.py --null``).

The model is refused below 50 groups, with ties at the top, where the exponential fails its test (Anderson-Darling,
parametric bootstrap, level 0.01), or where the shape is above 0 (heavier than exponential) by a likelihood ratio at
level 0.01. P-values below u are not the model's business: NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import checked_scores, group_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from provenance.detection.checks import Groups, Numbers

    Floats = NDArray[np.float64]

FEWEST_GROUPS, FEWEST_EXCEEDANCES, SHARE = 50, 10, 0.1
LEVEL, DRAWS, SEED = 0.01, 999, 0
HEAVIER, LEAST_SHAPE, MOST_SHAPE = 0.5, 0.25, 0.9
SCORE_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Tail:
    """A fitted tail, or why there is none.

    Attributes:
        refused: Why the model may not speak, one sentence; empty: it may.
        groups: G.
        threshold: u, on Fisher's scale.
        excesses: ``(k,)`` y, ascending.
        shape: Of the generalised Pareto distribution fitted to the excesses; shown, and tested against 0.
        scale: Of it, likewise.
        mean_excess: Of the exponential distribution.
        fit_p: Of the Anderson-Darling test of the exponential; small: it doesn't fit.
        shape_p: One-sided, of the shape being above 0.
    """

    refused: str
    groups: int
    threshold: float = math.nan
    excesses: tuple[float, ...] = ()
    shape: float = math.nan
    scale: float = math.nan
    mean_excess: float = math.nan
    fit_p: float = math.nan
    shape_p: float = math.nan

    def p_values(self, scores: Numbers) -> Floats:
        """P-values; NaN where the model is refused or a score is not above u."""
        values = np.asarray(scores, dtype=np.float64)
        found = np.full(len(values), np.nan)
        if not self.refused:
            above, k = values > self.threshold, len(self.excesses)
            beyond = values[above] - self.threshold
            exponential = np.exp(-k * np.log1p(beyond / math.fsum(self.excesses)))
            found[above] = (k + 1) / (self.groups + 1) * np.maximum(exponential, self._heavier(beyond))
        return found

    def _heavier(self, beyond: Floats) -> Floats:
        shape = self.shape + HEAVIER * (1 + self.shape) / math.sqrt(len(self.excesses))
        shape = min(max(shape, LEAST_SHAPE), MOST_SHAPE)
        scale = (1 - shape) * self.mean_excess
        heavier: Floats = np.exp(-np.log1p(shape * beyond / scale) / shape)
        return heavier


def fitted_tail(scores: Numbers, groups: Groups | None = None) -> Tail:
    """The tail of calibration scores; a group's highest score stands for it, which is safe.

    Args:
        scores: On Fisher's scale, higher = more alike.
        groups: Patient or study of each; ``None`` in a place: a group of its own.

    Raises:
        UsageError: If there are no scores, one is not finite, or lengths differ.
    """
    values = np.round(checked_scores(scores, "calibration scores"), SCORE_DECIMALS)
    codes, count = group_codes(groups, len(values))
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, codes, values)
    if count < FEWEST_GROUPS:
        return Tail(f"{count} calibration groups are too few for a tail; it takes {FEWEST_GROUPS}.", count)
    k = max(FEWEST_EXCEEDANCES, math.ceil(SHARE * count))
    top = np.sort(highest)[-k - 1 :]
    if len(np.unique(top)) < len(top):
        return Tail("The highest calibration scores have ties, which no continuous tail has.", count)
    excesses = top[1:] - top[0]
    shape, scale, gain = _pareto(excesses)
    tail = Tail(
        refused="",
        groups=count,
        threshold=float(top[0]),
        excesses=tuple(excesses.tolist()),
        shape=shape,
        scale=scale,
        mean_excess=float(excesses.mean()),
        fit_p=_fit_p(excesses),
        shape_p=_shape_p(shape, gain),
    )
    return _refused(tail)


def _refused(tail: Tail) -> Tail:
    if tail.fit_p < LEVEL:
        return replace(tail, refused=f"The tail doesn't fit (Anderson-Darling, p = {tail.fit_p:.3f}).")
    if tail.shape_p < LEVEL:
        return replace(tail, refused=f"The tail is too heavy (shape {tail.shape:+.2f}, p = {tail.shape_p:.3f}).")
    return tail


def _fit_p(excesses: Floats) -> float:
    # Of exponential samples of the same size, each against its own fit: how many fit as badly.
    rng = np.random.default_rng(SEED)
    drawn = rng.standard_exponential((DRAWS, len(excesses)))
    return float((1 + (_anderson_darling(drawn) >= _anderson_darling(excesses[None])[0]).sum()) / (DRAWS + 1))


def _anderson_darling(samples: Floats) -> Floats:
    n = samples.shape[1]
    scaled = np.sort(samples / samples.mean(axis=1, keepdims=True), axis=1)
    weights = (2 * np.arange(1, n + 1) - 1) / n
    below = np.log(-np.expm1(-scaled))
    statistic: Floats = -n - ((below - scaled[:, ::-1]) * weights).sum(axis=1)
    return statistic


def _shape_p(shape: float, gain: float) -> float:
    from scipy.stats import norm

    signed = math.copysign(math.sqrt(max(2 * gain, 0.0)), shape)
    return float(norm.sf(signed))


def _pareto(excesses: Floats) -> tuple[float, float, float]:
    # Shape and scale of the greatest likelihood on a grid, and what it gains over the exponential.
    shapes, scales = np.linspace(-0.5, 0.5, 101)[:, None], excesses.mean() * np.geomspace(0.3, 4, 200)[None]
    likelihood = _pareto_likelihood(excesses, shapes, scales)
    at, to = np.unravel_index(int(likelihood.argmax()), likelihood.shape)
    exponential = -len(excesses) * (math.log(excesses.mean()) + 1)
    return round(float(shapes[at, 0]), 3) + 0.0, float(scales[0, to]), float(likelihood.max()) - exponential


def _pareto_likelihood(excesses: Floats, shapes: Floats, scales: Floats) -> Floats:
    inner = shapes[..., None] * excesses / scales[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(inner > -1, np.log1p(np.maximum(inner, -1 + 1e-300)), -np.inf)
        flat = abs(shapes[..., None]) < 1e-9
        each = np.where(flat, excesses / scales[..., None], (1 / np.where(flat, 1, shapes[..., None]) + 1) * logs)
    outside = (inner <= -1).any(axis=-1)
    found: Floats = -len(excesses) * np.log(scales) - each.sum(axis=-1)
    return np.where(outside, -np.inf, found)
