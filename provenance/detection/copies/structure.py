"""What of an image can agree with another: its structure, free of brightness and contrast. Pure.

All lengths are given for an edge of 64 pixels and grow with it. An image is standardised (mean 0, deviation 1); then

    contrast-normalised   l = h / sqrt(G(h^2) + 0.15^2),   h = s - G(s),   G: Gaussian, sigma 4

so that faint texture counts as much as an outline, a flat background stays near 0 and a gamma curve changes little
(local contrast normalisation: Jarrett et al. 2009). The coarse form is l smoothed (sigma 1.2) at 32 x 32.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = NDArray[np.float32]
    Rows = NDArray[np.int64]

COARSE_EDGE = 32
REFERENCE_EDGE = 64
CONTRAST_SIGMA, CONTRAST_FLOOR, COARSE_SIGMA = 4.0, 0.15, 1.2
NOTHING_LEVELS, NOTHING_SHARE = 16.0, 0.99


def checked_images(images: Images, name: str, edge: int | None = None) -> Images:
    """Grey square images as float32 ``(n, edge, edge)``.

    Raises:
        UsageError: If there are none, one is not finite, the edge is not a multiple of 32 from 64 on, or another
            than ``edge``.
    """
    array = np.asarray(images, dtype=np.float32)
    if array.ndim != 3 or 0 in array.shape or array.shape[1] != array.shape[2]:
        raise UsageError(f"{name} must be square grey images (n, edge, edge), not {array.shape}")
    if array.shape[1] % COARSE_EDGE or array.shape[1] < REFERENCE_EDGE:
        raise UsageError(f"{name}: the edge is {array.shape[1]} pixels", hint="bring images to 64 or 96 pixels")
    if edge is not None and array.shape[1] != edge:
        raise UsageError(f"{name} have an edge of {array.shape[1]} pixels, the sources {edge}")
    if not np.isfinite(array).all():
        raise UsageError(f"{name} hold a value that is not finite")
    return array


def featureless(images: Images) -> NDArray[np.bool_]:
    """Which images show nothing, such as a black frame: 99 % of the pixels differ by less than 16 grey levels."""
    levels = images.reshape(len(images), -1)
    beyond = round(levels.shape[1] * (1 - NOTHING_SHARE) / 2)
    ordered = np.partition(levels, (beyond, levels.shape[1] - 1 - beyond), axis=1)
    found: NDArray[np.bool_] = ordered[:, -1 - beyond] - ordered[:, beyond] < NOTHING_LEVELS
    return found


def flattened(images: Images) -> Images:
    """The same, those that show nothing without their noise: it would agree where such an image is there twice."""
    return np.where(featureless(images)[:, None, None], np.float32(0), images)


def standardised(images: Images) -> Images:
    """Each image with mean 0 and deviation 1; a flat one is 0 everywhere."""
    centred = images - images.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    deviation = np.sqrt((centred**2).mean(axis=(1, 2), keepdims=True))
    return np.where(deviation > 1e-3, centred / np.maximum(deviation, 1e-3), 0.0).astype(np.float32)


def contrast_normalised(standard: Images) -> Images:
    """High-passed and divided by the local contrast (module docstring)."""
    sigma = CONTRAST_SIGMA * standard.shape[1] / REFERENCE_EDGE
    high = standard - smoothed(standard, sigma)
    normalised: Images = high / np.sqrt(smoothed(high * high, sigma) + np.float32(CONTRAST_FLOOR**2))
    return normalised


def coarse(normalised: Images) -> Images:
    """Smoothed and averaged over squares to 32 x 32."""
    factor = normalised.shape[1] // COARSE_EDGE
    even = smoothed(normalised, COARSE_SIGMA * normalised.shape[1] / REFERENCE_EDGE)
    squares = even.reshape(len(even), COARSE_EDGE, factor, COARSE_EDGE, factor)
    found: Images = squares.mean(axis=(2, 4), dtype=np.float32)
    return found


def smoothed(images: Images, sigma: float) -> Images:
    """Gaussian over both axes of each image, to three sigmas; beyond the edge as at the edge."""
    return filtered(images, _gaussian(images.shape[1], sigma))


def box_mean(images: Images, window: int) -> Images:
    """Mean over the window around each pixel; beyond the edge as at the edge."""
    return filtered(images, box_filter(images.shape[1], window))


def filtered(images: Images, matrix: Images) -> Images:
    """A filter ``(places, edge)`` along both axes: products of small matrices are faster than sums over windows."""
    found: Images = matrix @ (images @ matrix.T)
    return found


@cache
def box_filter(edge: int, window: int) -> Images:
    """For ``filtered``: the mean over a window."""
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d(np.eye(edge), window, axis=0, mode="nearest").astype(np.float32)


@cache
def _gaussian(edge: int, sigma: float) -> Images:
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(edge), sigma, axis=0, mode="nearest", truncate=3.0).astype(np.float32)
