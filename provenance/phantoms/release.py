"""A release with a known truth: copies of used phantoms at varied strength among fresh phantoms of no patient."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from provenance.phantoms.anatomy import fresh_phantom, greys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.arrays import Uint8s

NOISE_GREYS = 3.0
BLUR_PIXELS = 0.8
SHIFT_PIXELS = (2, 5)
JPEG_QUALITY = 75

# First word of the seeds of this module's own choices.
_PLANTS = 3


class CopyKind(StrEnum):
    """How an image was made from a used one; the number of a blend is the copy's share in it."""

    EXACT = "exact"
    JPEG = "jpeg"
    NOISY = "noisy"
    BLURRED = "blurred"
    SHIFTED = "shifted"
    BLEND_90 = "blend-0.9"
    BLEND_70 = "blend-0.7"
    BLEND_50 = "blend-0.5"


BLEND_SHARES = {CopyKind.BLEND_90: 0.9, CopyKind.BLEND_70: 0.7, CopyKind.BLEND_50: 0.5}


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """What one image of a release is to be.

    Attributes:
        name: File name without ending; says nothing of the truth.
        number: Its place in the release, from 1.
        kind: How it is copied; ``None`` for a fresh phantom of no patient.
        source: Name of the used slice it is copied from; ``None`` for a fresh phantom.
        jpeg_quality: Quality at which it is stored as JPEG; ``None``: stored without loss.
    """

    name: str
    number: int
    kind: CopyKind | None
    source: str | None
    jpeg_quality: int | None


def plan_release(used: Sequence[str], *, copies_per_kind: int, seed: int) -> list[PlannedImage]:
    """The images of a release in their order: copies of every kind, and as many fresh phantoms.

    Half and half, so that chance is known: a labeller that does not look is right half of the time, however often it
    says "used". Each of the ``used`` slices, by name, is copied at most once.

    Raises:
        ValueError: If there are fewer used slices than copies.
    """
    copies = [kind for kind in CopyKind for _ in range(copies_per_kind)]
    if len(copies) > len(used):
        raise ValueError(f"{len(copies)} copies need as many used slices, not {len(used)}")
    rng = np.random.default_rng((seed, _PLANTS, 0))
    sources = [used[int(i)] for i in rng.choice(len(used), size=len(copies), replace=False)]
    truth: list[tuple[CopyKind | None, str | None]] = [*zip(copies, sources, strict=True)]
    # Fresh phantoms mirror the kinds in their file format, which must not tell the copies.
    formats = [*copies, *copies]
    truth += [(None, None)] * len(copies)
    return [
        PlannedImage(f"G{number:03d}", number, *truth[i], JPEG_QUALITY if formats[i] is CopyKind.JPEG else None)
        for number, i in enumerate(map(int, rng.permutation(len(truth))), start=1)
    ]


def planted_image(planned: PlannedImage, source: Uint8s | None, *, seed: int) -> Uint8s:
    """Uint8s of a planned image, uint8, before it is stored; ``source``: of the slice that it is copied from."""
    fresh = fresh_phantom(planned.number, seed=seed)
    if planned.kind is None or source is None:
        return fresh
    rng = np.random.default_rng((seed, _PLANTS, planned.number))
    return copied(source, planned.kind, fresh=fresh, rng=rng)


def copied(pixels: Uint8s, kind: CopyKind, *, fresh: Uint8s, rng: np.random.Generator) -> Uint8s:
    """A copy of an image, uint8 (h, w); the kind ``jpeg`` leaves the change to the encoder that stores it.

    ``fresh``, of the same shape, is what blends are blended with; noise and the way of a shift come from ``rng``.
    """
    if kind is CopyKind.NOISY:
        return greys(pixels + rng.normal(0.0, NOISE_GREYS, pixels.shape))
    if kind is CopyKind.BLURRED:
        return greys(ndimage.gaussian_filter(pixels.astype(np.float32), BLUR_PIXELS))
    if kind is CopyKind.SHIFTED:
        low, high = SHIFT_PIXELS
        steps = rng.integers(low, high, size=2, endpoint=True) * rng.choice((-1, 1), size=2)
        return greys(ndimage.shift(pixels, [int(step) for step in steps], order=0, mode="constant", cval=0))
    if kind in BLEND_SHARES:
        share = BLEND_SHARES[kind]
        return greys(share * pixels.astype(np.float32) + (1.0 - share) * fresh.astype(np.float32))
    return pixels.copy()
