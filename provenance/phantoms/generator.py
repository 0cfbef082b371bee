"""A generator that needs no training: the optimal local denoiser of its training images, sampled by DDIM.

A diffusion model that has learnt all it can, but sees only a window around each pixel, puts images together from
pieces of its training images (Kamb and Ganguli 2024, "An analytic theory of creativity in convolutional diffusion
models": the local score machine). With training images X_1 ... X_n, a noisy image x = sqrt(a) X + sqrt(1 - a) noise and
W_p(.) the window around pixel p, what it takes for the image without noise is

    w_i(p) = softmax over i of  -|W_p(x) - sqrt(a) W_p(X_i)|^2 / (2 (1 - a))
    X(p)   = sum over i of w_i(p) X_i(p)

Windows shrink as the noise falls. DDIM (Song, Meng and Ermon 2021, without noise of its own) leads from pure noise to
an image by these steps. Where the window is the whole image it gives training images back; the smaller it is, the
smaller are the pieces. The weights of the last step say which training image each pixel came from: that is the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from provenance.phantoms.anatomy import greys

if TYPE_CHECKING:
    from provenance.arrays import Float32s, Int64s, Uint8s

NOBODY = -1
"""In place of a training image: no single one has more than half of the weight."""
AIR_GREYS = 12
"""Pixels up to this grey level show nothing: all training images have them."""

# a of the first step: next to nothing is seen.
_FIRST_SIGNAL = 1e-4


@dataclass(frozen=True, slots=True)
class Source:
    """A training image, by its place among them, and the share of a generated image's body that came from it."""

    training: int
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class GeneratedImage:
    """What the generator made, uint8 (size, size), and for each pixel the training image that it came from."""

    pixels: Uint8s
    origin: Int64s

    def sources(self, least: float = 0.05) -> tuple[Source, ...]:
        """Training images with at least this share of the pixels that are not air, the largest share first."""
        body = self.origin[self.pixels > AIR_GREYS]
        numbers, counts = np.unique(body[body != NOBODY], return_counts=True)
        shares = counts / max(len(body), 1)
        order = np.lexsort((numbers, -shares))
        return tuple(Source(int(numbers[i]), float(shares[i])) for i in order if shares[i] >= least)


@dataclass(frozen=True, slots=True, eq=False)
class LocalDenoiser:
    """The generator of these training images.

    Attributes:
        training: uint8 (n, size, size).
        widest: Width of the window at the first step, in pixels; odd.
        narrowest: At the last one.
        steps: From noise to image.
    """

    training: Uint8s
    widest: int = 41
    narrowest: int = 21
    steps: int = 12

    def image(self, *seed: int) -> GeneratedImage:
        """The image that follows from these seed words; it costs O(training images * pixels) a step."""
        known = self.training.astype(np.float32) / np.float32(127.5) - 1
        noisy = np.random.default_rng(seed).standard_normal(known.shape[1:], dtype=np.float32)
        signals = np.cos(np.linspace(np.arccos(_FIRST_SIGNAL**0.5), 0, self.steps + 1)) ** 2
        for step, (signal, next_signal) in enumerate(pairwise(signals)):
            weights = local_weights(noisy, known, float(signal), self._window(step))
            clean = (weights * known).sum(0)
            noise = (noisy - signal**0.5 * clean) / (1 - signal) ** 0.5
            noisy = (next_signal**0.5 * clean + (1 - next_signal) ** 0.5 * noise).astype(np.float32)
        origin = np.where(weights.max(0) > 0.5, weights.argmax(0), NOBODY)
        return GeneratedImage(greys((clean + 1) * 127.5), origin)

    def _window(self, step: int) -> int:
        """Width at a step, from the widest to the narrowest, odd."""
        share = step / max(self.steps - 1, 1)
        return 2 * round((self.widest + (self.narrowest - self.widest) * share - 1) / 2) + 1


def local_weights(noisy: Float32s, known: Float32s, signal: float, window: int) -> Float32s:
    """w_i(p), float32 (n, size, size): they sum to 1 at every pixel. Windows end at the edge of the image.

    |W(x)|^2 is the same for all training images and falls out of the softmax; what is left is summed over all windows
    at once, by products with a matrix of ones around the diagonal.
    """
    near = _ones_around_diagonal(len(noisy), window // 2)
    scale = np.float32(signal**0.5)
    far = near @ (known * (scale * known - 2 * noisy)) @ near
    far *= scale / np.float32(2 * (1 - signal))
    far -= far.min(0)
    weights: Float32s = np.exp(-far, out=far)
    weights /= weights.sum(0)
    return weights


@cache
def _ones_around_diagonal(size: int, reach: int) -> Float32s:
    places = np.arange(size)
    return np.asarray(np.abs(places[:, None] - places) <= reach, dtype=np.float32)
