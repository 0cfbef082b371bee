"""How well a source agrees with an image, and on which pieces of it. Pure.

With a source brought onto the query, c(y) is the correlation of both in a square window around y: brightness and
contrast are free from place to place. A pixel has *structure* where either deviates by a part of its image's standard
deviation within the window; only windows that lie inside both count. Lengths are for 64 pixels.

    agreement = sum of c(y) over structure / max(pixels of it, half of the query's structure)
                of the whole: windows of 5, both smoothed (sigma 1), structure from 0.15 on
    piece     = pixels with structure where c(y) >= 0.9; its share is of the query's structure
                windows of 11, not smoothed, structure from 0.18 on, fragments below 2 % of it dropped

so that air and flat background never count, and a small overlap can't agree much. Another patient's anatomy, brought
onto the query, follows its outlines but not its texture: small windows tell them apart where one correlation of the
whole doesn't, and the smoothing makes them bear noise and blur.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.copies.structure import REFERENCE_EDGE, box_mean, smoothed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from provenance.detection.copies.geometry import Floats
    from provenance.detection.copies.structure import Images

    Masks = NDArray[np.bool_]

WHOLE_WINDOW, WHOLE_STRUCTURE, WHOLE_SIGMA = 5, 0.15, 1.0
PIECE_WINDOW, PIECE_STRUCTURE, AGREES = 11, 0.18, 0.9
FOLLOWS = 0.5
LEAST_OVERLAP, LEAST_FRAGMENT, FEWEST = 0.5, 0.02, 50


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, as shares of the image's edge."""

    left: float
    top: float
    right: float
    bottom: float


def agreements(query: Images, moved: Images, inside: Masks) -> tuple[Floats, Floats, Floats]:
    """``(n,)`` agreement of the whole; the query's structure that was compared, as a share; and of that, what follows.

    What follows the source has a local correlation of 0.5 or more.

    Args:
        query: ``(1, edge, edge)`` standardised.
        moved: ``(n, edge, edge)`` standardised sources, brought onto it.
        inside: Likewise, which of its pixels lie in the source.
    """
    sigma = WHOLE_SIGMA * query.shape[1] / REFERENCE_EDGE
    window, floor = window_of(WHOLE_WINDOW, query.shape[1]), WHOLE_STRUCTURE**2
    correlation, variance, larger = _correlation(smoothed(query, sigma), smoothed(moved, sigma), window)
    compared = (larger > floor) & within(inside, window)
    total = (compared * np.clip(correlation, -1, 1)).sum(axis=(1, 2), dtype=np.float64)
    here = int((variance > floor).sum())
    fewest = max(LEAST_OVERLAP * here, FEWEST)
    whole = total / np.maximum(compared.sum(axis=(1, 2)), fewest)
    own = compared & (variance > floor)
    overlap = own.sum(axis=(1, 2))
    following = (own & (correlation >= FOLLOWS)).sum(axis=(1, 2)) / np.maximum(overlap, 1)
    return whole, overlap / max(here, 1), following


def agreeing(query: Images, moved: Images, inside: Masks) -> tuple[Masks, int]:
    """``(n, edge, edge)`` pixels that agree, as ``agreements`` takes them; and the query's pixels with structure."""
    window, floor = window_of(PIECE_WINDOW, query.shape[1]), PIECE_STRUCTURE**2
    correlation, variance, _ = _correlation(query, moved, window)
    structured = variance > floor
    return structured & (correlation >= AGREES) & within(inside, window), int(structured.sum())


def window_of(length: int, edge: int) -> int:
    """An odd window of a length given for 64 pixels."""
    return 2 * round((length - 1) / 2 * edge / REFERENCE_EDGE) + 1


def within(inside: Masks, window: int) -> Masks:
    """Pixels whose whole window lies inside; where a source lies is convex, so that the window's corners tell."""
    half = window // 2
    return _both_ends(_both_ends(inside, half).swapaxes(1, 2), half).swapaxes(1, 2)


def _both_ends(inside: Masks, half: int) -> Masks:
    # Along the second axis; at the rim up to the rim.
    found = np.empty_like(inside)
    found[:, half:-half] = inside[:, : -2 * half] & inside[:, 2 * half :]
    found[:, :half] = inside[:, :1] & inside[:, half : 2 * half]
    found[:, -half:] = inside[:, -2 * half : -half] & inside[:, -1:]
    return found


def _correlation(query: Images, moved: Images, window: int) -> tuple[Images, Images, Images]:
    # In the window around each pixel; and the variance of the query there, and the larger one of both.
    mean, variance = _moments(query, window)
    of_source, source_variance = _moments(moved, window)
    covariance = box_mean(query * moved, window) - mean * of_source
    scale = np.sqrt(np.maximum(variance, 1e-4) * np.maximum(source_variance, 1e-4))
    return covariance / scale, variance, np.maximum(variance, source_variance)


def _moments(images: Images, window: int) -> tuple[Images, Images]:
    mean = box_mean(images, window)
    return mean, box_mean(images * images, window) - mean * mean


def joined_piece(mask: Masks, structured: int) -> Masks:
    """The mask without fragments below 2 % of the structure."""
    from scipy.ndimage import label

    numbers, count = label(mask)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    kept = sizes >= max(LEAST_FRAGMENT * structured, 1)
    kept[0] = False
    found: Masks = kept[numbers]
    return found


def main_region(mask: Masks) -> Masks:
    """The largest connected part of a mask that is not empty, without threads thinner than 5 pixels where it can be."""
    from scipy.ndimage import binary_opening, label

    opened = binary_opening(mask, np.ones((5, 5), dtype=np.bool_))
    numbers, _ = label(opened if opened.any() else mask)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    found: Masks = numbers == sizes.argmax()
    return found


def box_of(mask: Masks, matrix: Floats | None = None, shift: Floats | None = None) -> Box:
    """The rectangle around a mask that is not empty; around its image in the source where a map is given."""
    edge = len(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    corners = np.array([(row, column) for row in (rows[0], rows[-1] + 1) for column in (columns[0], columns[-1] + 1)])
    places = corners - edge / 2
    if matrix is not None and shift is not None:
        places = places @ matrix.T + shift
    low, high = np.clip(places.min(axis=0) / edge + 0.5, 0, 1), np.clip(places.max(axis=0) / edge + 0.5, 0, 1)
    return Box(*(round(float(value), 4) for value in (low[1], low[0], high[1], high[0])))
