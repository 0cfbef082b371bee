"""P-values beyond the resolution of conformal ones: the tail of calibration scores as a model. Pure.

Peaks over threshold: of one score for each of G calibration groups, the k = max(10, ceil(G / 10)) highest exceed the
next one, u, by y_1 ... y_k. Scores are on Fisher's scale, artanh of an agreement that can't exceed 1; where agreements
have a regular end at 1 (the generalised Pareto distribution with a negative shape, the only one but for its limit that
a bounded score can have), the excess on this scale is exponential. Two p-values for a score s above u, y = s - u:

    predictive   (k + 1) / (G + 1) * the greater of (1 + y / (y_1 + ... + y_k))^-k
                 and (1 + c y / ((1 - c) mean y))^(-1/c), c = shape + (1 + shape) / (2 sqrt k), where c > 0
                 The first is exact for exponential excesses, whatever their scale: y over their mean has the F
                 distribution (2, 2k); it is too large for lighter tails. The second is a generalised Pareto tail half a
                 standard error heavier than the fitted one, with the mean of the excesses
    safe         the least p such that an upper confidence bound of level 1 - p/2 on P(S > s) is at most p/2, by profile
                 likelihood of the generalised Pareto distribution (shape -0.5 ... 0.5, scale and P(S > u) free), after
                 Pasche, Lam & Engelke (2025), "Extreme Conformal Prediction", with their even split of the error

The model is refused below 50 groups, with ties at the top, where the exponential fails its test (Anderson-Darling,
parametric bootstrap, level 0.05), or where the shape of the fitted generalised Pareto distribution is above 0 (heavier
than exponential) by a likelihood ratio at level 0.05. P-values below u are not the model's business: NaN.
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
LEVEL, DRAWS, SEED = 0.05, 999, 0
HEAVIER = 0.5
SHAPES = np.linspace(-0.5, 0.5, 21)
SCORE_DECIMALS = 9
TABLE = 16


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
        """Predictive p-values; NaN where the model is refused or a score is not above u."""
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
        if shape <= 0:
            return np.zeros(len(beyond))
        scale = (1 - shape) * self.mean_excess
        heavier: Floats = np.exp(-np.log1p(shape * beyond / scale) / shape)
        return heavier

    def safe_p_values(self, scores: Numbers) -> Floats:
        """Safe p-values; NaN as ``p_values``. Never below what was computed for the next lower of 16 places."""
        values = np.asarray(scores, dtype=np.float64)
        found = np.full(len(values), np.nan)
        if self.refused or not (values > self.threshold).any():
            return found
        above = values > self.threshold
        highest = float(values[above].max()) - self.threshold
        places = np.geomspace(min(1e-3, highest / 2), highest, TABLE)
        table = np.minimum.accumulate([_safe_p(np.array(self.excesses), self.groups, place) for place in places])
        at = np.searchsorted(places, values[above] - self.threshold + 1e-12, side="right") - 1
        found[above] = np.where(at >= 0, table[np.maximum(at, 0)], 1.0)
        return found


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


def _safe_p(excesses: Floats, groups: int, excess: float) -> float:
    # Where the evidence against P(S > s) = pi is what a one-sided test at level pi asks for: p = 2 pi.
    from scipy.optimize import brentq
    from scipy.special import ndtri

    highest, k = _joint_likelihood(excesses, groups, excess), len(excesses)
    low, high = -30.0, math.log(k / groups)

    def above(log: float) -> float:
        deviance = 2 * (highest - _joint_likelihood(excesses, groups, excess, log))
        return math.sqrt(max(deviance, 0.0)) + float(ndtri(math.exp(log)))

    if above(high) > 0 or above(low) < 0:
        return min(1.0, 2 * math.exp(high)) if above(high) > 0 else 2 * math.exp(low)
    return min(1.0, 2 * math.exp(float(brentq(above, low, high, xtol=1e-3))))


def _joint_likelihood(excesses: Floats, groups: int, excess: float, log_beyond: float | None = None) -> float:
    # The greatest over a grid of shapes and of P(S > u), with P(S > s) given or free (then over scales).
    k = len(excesses)
    if log_beyond is None:
        shapes, scales = SHAPES[:, None], excesses.mean() * np.geomspace(0.3, 4, 60)[None]
        share = k / groups
        pareto = _pareto_likelihood(excesses, shapes, scales)
        return float(pareto.max()) + k * math.log(share) + (groups - k) * math.log1p(-share)
    shares = np.clip(k / groups * np.geomspace(0.4, 2.5, 13), 1e-6, 1 - 1e-6)[None]
    ratio = np.maximum(np.log(shares) - log_beyond, 1e-9)
    shapes = SHAPES[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        scales = np.where(abs(shapes) < 1e-9, excess / ratio, shapes * excess / np.expm1(shapes * ratio))
    binomial = k * np.log(shares) + (groups - k) * np.log1p(-shares)
    return float((_pareto_likelihood(excesses, shapes, scales) + binomial).max())


def _pareto_likelihood(excesses: Floats, shapes: Floats, scales: Floats) -> Floats:
    inner = shapes[..., None] * excesses / scales[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(inner > -1, np.log1p(np.maximum(inner, -1 + 1e-300)), -np.inf)
        flat = abs(shapes[..., None]) < 1e-9
        each = np.where(flat, excesses / scales[..., None], (1 / np.where(flat, 1, shapes[..., None]) + 1) * logs)
    outside = (inner <= -1).any(axis=-1)
    found: Floats = -len(excesses) * np.log(scales) - each.sum(axis=-1)
    return np.where(outside, -np.inf, found)
