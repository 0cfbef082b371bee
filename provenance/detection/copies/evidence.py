"""How much a registered source speaks for a copy: agreement by frequency, weighed by what strangers share. Pure.

One agreement can't serve all copies: noise drowns fine texture, blur removes it, a blend leaves little but texture.
Of a source brought onto the query, both standardised and within the overlap (Fisher's scale, artanh, up to 0.995):

    coherence   Re sum F conj(G) / sqrt(sum |F|^2 sum |G|^2)   of their spectra in 11 rings, 1 ... 32 cycles an edge;
                as they are, and contrast-normalised
    rigidity    in windows of 13 (64 pixels), high-passed: the mean correlation; the share of windows that agree best
                without a shift of a pixel; what the best such shift gains; how lopsided the gain is. Anatomy of the
                same place in somebody else, or in the next slice, is displaced here and there: a copy is not.

Strangers are real images against those of other groups (impostors), all that were registered. Five kinds of copies are
simulated of the sources themselves, in place: as they are, with noise, blurred, through a tone curve, and blended with
another source as it is or smoothed. A multinomial logistic regression (all kinds and strangers of equal weight, ridge
penalty 1 on standardised features) learns from these what tells each kind k from strangers:

    log odds of kind k     o_k(f) = b_k + w_k . (f - mu)
    evidence               log sum_k exp o_k(f)          of a copy of any kind

where a feature with a negative weight counts as no lower than two deviations below the mean mu of strangers: an image
does not come near to a copy by what it lacks. Evidence is scaled: the median of impostors is 0, their 95th percentile
1. Below 20 impostors nothing can be learnt: the mean coherence stands in.

Nothing of this has seen a generated or a never-used image, so that both are still exchangeable where they copy nothing.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.detection.checks import same_length
from provenance.detection.copies.calibration import twin_bound
from provenance.detection.copies.pieces import window_of, within
from provenance.detection.copies.structure import (
    REFERENCE_EDGE,
    box_filter,
    box_mean,
    contrast_normalised,
    filtered,
    smoothed,
    standardised,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from provenance.detection.checks import Groups
    from provenance.detection.copies.found import Found, Match
    from provenance.detection.copies.pieces import Masks
    from provenance.detection.copies.retrieval import Prepared, Sources
    from provenance.detection.copies.structure import Images

    Floats = NDArray[np.float64]
    Way = Callable[[Images, Images], Images]

RINGS = (1, 2, 3, 4.5, 6, 8, 10.5, 13.5, 17, 21, 26, 32)
MARGIN, TAPER, HIGHEST = 5, 0.3, 0.995
RIGID_WINDOW, RIGID_STEP, RIGID_SIGMA, RIGID_STRUCTURE = 13, 2, 2.5, 0.05
LEAST_IMPOSTORS, MOST_SIMULATED, SEED = 20, 100, 0
RIDGE, CONVERGED, STEPS = 1.0, 1e-8, 1000
LACKING = 2.0
NEARLY = 0.1
"""Of sources with as much evidence but for this the one that agrees most stands first."""
DECIMALS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Verifier:
    """Turns features into evidence (module docstring).

    Attributes:
        weights: ``(features, kinds)`` w.
        offset: ``(kinds,)`` b.
        centre: ``(features,)`` mu.
        floor: ``(features,)`` below which a feature with a negative weight does not count.
        middle: The median of impostors.
        spread: From there to their 95th percentile.
        impostors: By how many it was fitted; 0: by none.
    """

    weights: Floats
    offset: Floats
    centre: Floats
    floor: Floats
    middle: float
    spread: float
    impostors: int

    def evidence(self, features: Floats) -> Floats:
        """``(n,)`` of features ``(n, features)``."""
        from scipy.special import logsumexp

        positive, negative = np.maximum(self.weights, 0), np.minimum(self.weights, 0)
        lifted = np.maximum(features, self.floor)
        odds = (features - self.centre) @ positive + (lifted - self.centre) @ negative + self.offset
        found: Floats = (logsumexp(odds, axis=1) - self.middle) / self.spread
        return found

    def verified(self, found: Sequence[Found]) -> tuple[Found, ...]:
        """The same with the evidence of every match, the strongest first (but for ``NEARLY``)."""
        return tuple(self._verified(each) for each in found)

    def _verified(self, found: Found) -> Found:
        if not found.matches:
            return found
        features = np.array([match.features for match in found.matches])
        evidence = np.round(self.evidence(features), DECIMALS)
        agreement = np.array([match.agreement for match in found.matches])
        nearly = evidence >= evidence.max() - NEARLY
        order = np.lexsort((-np.where(nearly, agreement, evidence), ~nearly)).tolist()
        return replace(found, matches=tuple(replace(found.matches[at], evidence=float(evidence[at])) for at in order))


def fitted_verifier(copies: Sequence[Floats], impostors: Sequence[Found], groups: Groups | None = None) -> Verifier:
    """What tells copies from strangers in one collection of real images.

    Args:
        copies: ``simulated_copies`` of them.
        impostors: What was found for some of them, their own group left out.
        groups: Of the impostors; ``None`` in a place: a group of its own.

    Raises:
        UsageError: If groups are not one for each impostor.
    """
    same_length(groups or impostors, len(impostors), "groups of impostors")
    kept = [row for row, each in enumerate(impostors) if each.matches]
    if kept:
        coherence = np.array([_most_coherent(impostors[row].matches) for row in kept])
        bound = twin_bound(coherence, None if groups is None else [groups[row] for row in kept])
        kept = [row for row, at in zip(kept, coherence, strict=True) if at <= bound]
    if len(kept) < LEAST_IMPOSTORS:
        return _plain()
    strangers = [np.array([match.features for match in impostors[row].matches]) for row in kept]
    return _scaled(_regression(copies, np.concatenate(strangers)), strangers)


def _plain() -> Verifier:
    rings, features = len(RINGS) - 1, 2 * (len(RINGS) - 1) + 4
    weights = (np.arange(features) < rings)[:, None] / rings
    return Verifier(weights, np.zeros(1), np.zeros(features), np.zeros(features), 0.0, 1.0, 0)


def _most_coherent(matches: Sequence[Match]) -> float:
    return float(np.array([match.features for match in matches])[:, : len(RINGS) - 1].mean(axis=1).max())


def _regression(copies: Sequence[Floats], strangers: Floats) -> Verifier:
    # Converged, so that the result does not depend on the way to it.
    from sklearn.linear_model import LogisticRegression

    centre, deviation = strangers.mean(axis=0), np.maximum(strangers.std(axis=0), 1e-3)
    features = (np.concatenate([strangers, *copies]) - centre) / deviation
    kinds = np.repeat(np.arange(len(copies) + 1), [len(strangers), *map(len, copies)])
    regression = LogisticRegression(C=RIDGE, class_weight="balanced", solver="newton-cg", tol=CONVERGED, max_iter=STEPS)
    with warnings.catch_warnings():  # at the optimum a last step that gains nothing is no news
        warnings.simplefilter("ignore")
        fitted = regression.fit(features, kinds)
    weights = (fitted.coef_[1:] - fitted.coef_[0]).T / deviation[:, None]
    offset = fitted.intercept_[1:] - fitted.intercept_[0]
    return Verifier(weights, offset, centre, centre - LACKING * deviation, 0.0, 1.0, len(strangers))


def _scaled(raw: Verifier, strangers: Sequence[Floats]) -> Verifier:
    median, high = np.quantile([raw.evidence(of).max() for of in strangers], [0.5, 0.95])
    return replace(raw, middle=float(median), spread=max(float(high - median), 1e-6), impostors=len(strangers))


def simulated_copies(sources: Sources) -> tuple[Floats, ...]:
    """For each kind of copy ``(n, 26)`` features of some: each way to make it of at most 100 of the real images."""
    ways = _ways(sources.edge / REFERENCE_EDGE, np.random.default_rng(SEED))
    # An image without structure would teach that a copy agrees in nothing.
    usable = np.flatnonzero(sources.images.standard.any(axis=(1, 2)))
    usable, found, start = usable if len(usable) else np.arange(len(sources)), [], 0
    for kind in ways:
        of_kind = []
        for made in kind:
            places = start + np.arange(min(len(usable), MOST_SIMULATED))
            rows, beside = (usable[each % len(usable)] for each in (places, places + 1))
            real, other = sources.images.standard[rows], sources.images.standard[beside]
            copies, start = standardised(made(real, other)), start + MOST_SIMULATED
            inside = np.ones(real.shape, dtype=np.bool_)
            normalised = sources.images.normalised[rows]
            of_kind.append(_features(copies, contrast_normalised(copies), real, normalised, inside))
        found.append(np.concatenate(of_kind))
    return tuple(found)


def _ways(unit: float, rng: np.random.Generator) -> tuple[tuple[Way, ...], ...]:
    # Of each kind of copy: how one is made of real images and of others.
    def noisy(much: float) -> Way:
        return lambda real, _: real + np.float32(much) * rng.standard_normal(real.shape).astype(np.float32)

    def blended(share: float, smooth: float) -> Way:
        def way(real: Images, other: Images) -> Images:
            beside = smoothed(other, smooth * unit) if smooth else other[:, :, ::-1]
            return np.float32(1 - share) * real + np.float32(share) * beside

        return way

    barely = noisy(0.005)
    return (
        (noisy(0.01),),
        (noisy(0.15), noisy(0.22)),
        (lambda real, other: barely(smoothed(real, unit), other),),
        (lambda real, _: _brightened(real),),
        (blended(0.25, 0), blended(0.35, 0), blended(0.35, 0.8), blended(0.4, 0), blended(0.4, 1.2)),
    )


def _brightened(images: Images) -> Images:
    low, high = images.min(axis=(1, 2), keepdims=True), images.max(axis=(1, 2), keepdims=True)
    found: Images = ((images - low) / np.maximum(high - low, 1e-6)) ** np.float32(0.7)
    return found


def features_of(query: Prepared, moved: Images, normalised: Images, inside: Masks) -> Floats:
    """``(n, 26)`` features of sources brought onto one query, in both forms and with where they lie; 6 decimals."""
    found: Floats = np.round(_features(query.standard, query.normalised, moved, normalised, inside), DECIMALS)
    return found


def _features(query: Images, query_normalised: Images, moved: Images, normalised: Images, inside: Masks) -> Floats:
    weight = _overlap(inside)
    rigid = _rigidity(query, moved, inside)
    correlations = [_coherence(query, moved, weight), _coherence(query_normalised, normalised, weight), rigid[:, :2]]
    fisher = np.arctanh(np.clip(np.concatenate(correlations, axis=1), -HIGHEST, HIGHEST))
    return np.concatenate([fisher, rigid[:, 2:]], axis=1).astype(np.float64)


def _overlap(inside: Masks) -> Images:
    # 1 well within the overlap, falling to 0 at its rim and towards the edge of the image.
    return box_mean(within(inside, MARGIN).astype(np.float32), MARGIN) * _taper(inside.shape[1])


@cache
def _taper(edge: int) -> Images:
    from scipy.signal.windows import tukey

    taper = tukey(edge, TAPER).astype(np.float32)
    found: Images = taper[:, None] * taper
    return found


@cache
def _rings(edge: int) -> Images:
    # Of the real and the imaginary part of each frequency.
    down, right = np.meshgrid(np.fft.fftfreq(edge) * edge, np.fft.rfftfreq(edge) * edge, indexing="ij")
    frequency = np.hypot(down, right).ravel()
    twice = np.where((right.ravel() == 0) | (right.ravel() == edge / 2), 1, 2)
    rings = [(frequency >= low) * (frequency < high) * twice for low, high in pairwise(RINGS)]
    return np.stack(rings, axis=1).astype(np.float32).repeat(2, axis=0)


def _coherence(query: Images, moved: Images, weight: Images) -> Images:
    first, second, rings = _spectrum(query, weight), _spectrum(moved, weight), _rings(query.shape[1])
    common, own, other = ((one * two) @ rings for one, two in ((first, second), (first, first), (second, second)))
    found: Images = (common / np.sqrt(own * other + 1e-9)).astype(np.float32)
    return found


def _spectrum(images: Images, weight: Images) -> Images:
    # (n, frequencies x 2): real and imaginary parts in turn.
    from scipy.fft import rfft2

    total = weight.sum(axis=(1, 2), keepdims=True) + np.float32(1e-6)
    mean = (images * weight).sum(axis=(1, 2), keepdims=True) / total
    spectrum: NDArray[np.complex64] = rfft2((images - mean) * weight)
    return spectrum.view(np.float32).reshape(len(weight), -1)


def _rigidity(query: Images, moved: Images, inside: Masks) -> Images:
    # At every other pixel whose window lies in the image with a pixel to spare.
    edge = query.shape[1]
    window, sigma = window_of(RIGID_WINDOW, edge), RIGID_SIGMA * edge / REFERENCE_EDGE
    here, there = query - smoothed(query, sigma), moved - smoothed(moved, sigma)
    energy, energy_there = (np.maximum(box_mean(each * each, window), 1e-4) for each in (here, there))
    half, step = window // 2, RIGID_STEP * edge // REFERENCE_EDGE

    def places(images: NDArray[Any], down: int = 0, right: int = 0) -> NDArray[Any]:
        rows, columns = (slice(half + 1 - by, edge - 1 - half - by, step) for by in (down, right))
        return images[:, rows, columns]

    boxes = box_filter(edge, window)[half + 1 : edge - 1 - half : step]
    energy_here = places(energy)
    counted = (energy_here > RIGID_STRUCTURE**2) & places(within(inside, window))
    fewest = np.maximum(counted.sum(axis=(1, 2)), 1)

    def shifted(down: int, right: int) -> Images:
        common = filtered(here * np.roll(there, (down, right), (1, 2)), boxes)
        found: Images = common / np.sqrt(energy_here * places(energy_there, down, right))
        return found

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = (values * counted).sum(axis=(1, 2)) / fewest
        return found

    around = {(down, right): shifted(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
    middle, highest = around[0, 0], np.maximum.reduce(list(around.values()))
    lopsided = abs(around[-1, 0] - around[1, 0]) + abs(around[0, -1] - around[0, 1])
    unmoved = 1.96 * mean(middle >= highest - 1e-5) - 0.98
    gains = [-np.log(mean(value) + 0.003) for value in (highest - middle, lopsided / 2)]
    found: Images = np.stack([mean(middle), unmoved, *gains], axis=1).astype(np.float32)
    return found
