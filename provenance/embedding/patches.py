"""Local spaces of pixels: grey patches on a fixed grid, as they are or high-passed. No network, no weights.

    patches-16-8@64      patches of 16 x 16 pixels every 8 pixels of images brought to 64 x 64: 7 x 7 = 49 parts
    highpass-16-8@64     the same after a Gaussian blur was subtracted
    highpass-16-8-s3-c2@64     with sigma = 3 pixels and a constant of 2 grey levels (4 and 4 by default)

A part is (x - mean(x), c) at unit length, x the grey levels of its p x p pixels and c = constant * p. Flat patches have
no direction of their own: all of them become (0, ..., 0, 1), and noise well below ``constant`` grey levels (root mean
square) stays near it, instead of being blown up to unit length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.embedding.inference import Backbone, Engine
from provenance.errors import UsageError
from provenance.vocabulary import Space, digest_of_json

if TYPE_CHECKING:
    from provenance.arrays import Float32s, Float64s, Uint8s
    from provenance.vocabulary import Resolution

PATCHES_VERSION = 1
MOST_PARTS = 1024
"""Parts an image may have: each is a vector of its own in the index."""
MOST_NUMBERS = 1 << 18
"""Numbers (parts x dimension) an image may have: 1 MiB of float32."""
BATCH_SIZE = 128
DEFAULT_SIZE = 64
DEFAULT_SIGMA = 4.0
DEFAULT_CONSTANT = 4.0
LUMA = (299, 587, 114)  # thousandths: whole numbers, so that what is flat is so to the last bit
_TRUNCATE = 4.0
_MOST_EDGE = 1024
_NAME = re.compile(
    r"(?P<kind>patches|highpass)-(?P<patch>[0-9]{1,4})-(?P<stride>[0-9]{1,4})"
    r"(?:-s(?P<sigma>[0-9]{1,3}(?:\.[0-9]{1,3})?))?(?:-c(?P<constant>[0-9]{1,3}(?:\.[0-9]{1,3})?))?"
    r"(?:@(?P<size>[0-9]{1,6}))?"
)


@dataclass(frozen=True, slots=True)
class PatchSpec:
    """Patches of pixels as data.

    Attributes:
        size: Rows and columns that an image is brought to.
        patch: Edge of a patch, in these pixels.
        stride: From one patch to the next, in these pixels. Where the grid leaves a remainder, it stands in the middle.
        sigma: Standard deviation of the Gaussian whose blur is subtracted, in these pixels; ``None``: none is.
        constant: Grey levels (root mean square over a patch) below which a patch counts as nearly flat.
    """

    size: int
    patch: int
    stride: int
    sigma: float | None = None
    constant: float = DEFAULT_CONSTANT

    @property
    def name(self) -> str:
        """The registry name; defaults are left out."""
        kind = "patches" if self.sigma is None else "highpass"
        sigma = "" if self.sigma in (None, DEFAULT_SIGMA) else f"-s{self.sigma:g}"
        constant = "" if self.constant == DEFAULT_CONSTANT else f"-c{self.constant:g}"
        return f"{kind}-{self.patch}-{self.stride}{sigma}{constant}@{self.size}"

    @property
    def start(self) -> int:
        """Left and upper edge of the first patch."""
        return (self.size - self.patch) % self.stride // 2

    @property
    def columns(self) -> int:
        """Patches in a row, and in a column."""
        return (self.size - self.patch) // self.stride + 1

    @property
    def space(self) -> Space:
        """The embedding space: ``columns``^2 parts, row by row, of ``patch``^2 + 1 numbers."""
        preprocessing: dict[str, Any] = {
            "version": PATCHES_VERSION,
            "canonical": 1,
            "resize": "pillow-bilinear",
            "size": self.size,
            "grey": list(LUMA),
            "patch": self.patch,
            "stride": self.stride,
            "highpass": None
            if self.sigma is None
            else {"sigma": self.sigma, "truncate": _TRUNCATE, "border": "reflect"},
            "centred": True,
            "constant": self.constant,
            "grid": {
                "unit": self.size,
                "start": self.start,
                "step": self.stride,
                "edge": self.patch,
                "rows": self.columns,
                "columns": self.columns,
            },
        }
        return Space(self.name, digest_of_json(preprocessing), preprocessing, self.patch**2 + 1, self.columns**2)


def is_patch_name(name: str | None) -> bool:
    """Whether a backbone's name is meant to be one of patches."""
    return name is not None and name.startswith(("patches-", "highpass-"))


def patch_spec(name: str, resolution: Resolution | None = None) -> PatchSpec:
    """The patches that a name stands for; ``resolution`` in place of the size after ``@``, 64 where neither is given.

    Raises:
        UsageError: If it is no such name, or the patches do not fit.
    """
    found = _NAME.fullmatch(name)
    if found is None or (found["sigma"] and found["kind"] == "patches"):
        raise UsageError(
            f"{name!r} names no patches",
            hint="patches-EDGE-STRIDE@SIZE, such as patches-16-8@64, or highpass-16-8@64 (highpass-16-8-s3-c2@64: "
            "sigma 3 pixels, constant 2 grey levels)",
        )
    if resolution is not None and resolution[0] != resolution[1]:
        raise UsageError(
            f"patches are taken from square images, not from {resolution[0]}x{resolution[1]} pixels",
            hint=f"give a size: {name.partition('@')[0]}@{min(resolution)}",
        )
    if resolution is not None and found["size"] and resolution[0] != int(found["size"]):
        raise UsageError(f"{name} asks for {found['size']} pixels, the call for {resolution[0]}", hint="give one")
    size = resolution[0] if resolution is not None else int(found["size"] or DEFAULT_SIZE)
    sigma = float(found["sigma"] or DEFAULT_SIGMA) if found["kind"] == "highpass" else None
    constant = float(found["constant"] or DEFAULT_CONSTANT)
    spec = PatchSpec(size, int(found["patch"]), int(found["stride"]), sigma, constant)
    _check(spec)
    return spec


def load_patches(name: str, resolution: Resolution | None, *, batch_size: int) -> Backbone:
    """Patches by name, ready to embed; see ``patch_spec``."""
    spec = patch_spec(name, resolution)
    # every batch is flushed to disk part by part, which would cost more than all else with few images a batch
    return Backbone(spec.space, PatchEngine(spec), batch_size=max(batch_size, BATCH_SIZE))


def _check(spec: PatchSpec) -> None:
    if not 2 <= spec.patch <= spec.size <= _MOST_EDGE or spec.stride < 1:
        raise UsageError(
            f"there are no patches of {spec.patch} pixels every {spec.stride} in images of {spec.size}",
            hint=f"2 <= EDGE <= SIZE <= {_MOST_EDGE}, STRIDE >= 1",
        )
    if spec.constant <= 0 or (spec.sigma is not None and not 0 < spec.sigma <= spec.size):
        raise UsageError(
            f"{spec.name}: the constant must be above 0, and sigma between 0 and the size",
            hint="2 and 2 are the defaults",
        )
    numbers = spec.columns**2 * (spec.patch**2 + 1)
    if numbers > MOST_NUMBERS or spec.columns**2 > MOST_PARTS:
        raise UsageError(
            f"{spec.name} would give {numbers:,} numbers an image ({spec.columns**2:,} parts)",
            hint=f"at most {MOST_NUMBERS:,} and {MOST_PARTS:,}: take a larger stride or a smaller size",
        )


class PatchEngine(Engine):
    """Pixels to patches: uint8 (n, size, size, 3) -> float32 (n, parts, dimension), not yet at unit length."""

    def __init__(self, spec: PatchSpec) -> None:
        self._spec = spec

    def __call__(self, pixels: Uint8s) -> Float32s:
        """Every image by itself: no step sums across images, so that the batch does not matter."""
        spec = self._spec
        grey = thousandths(pixels)
        if spec.sigma is not None:
            grey = high_passed(grey, spec.sigma)
        windows = np.lib.stride_tricks.sliding_window_view(grey, (spec.patch, spec.patch), axis=(1, 2))
        chosen = windows[:, spec.start :: spec.stride, spec.start :: spec.stride]
        patches = chosen.reshape(len(pixels), spec.columns**2, spec.patch**2)
        features = np.empty((len(pixels), spec.columns**2, spec.patch**2 + 1), dtype=np.float32)
        # 0 is added because -0 has other bytes, and what is digested are bytes
        features[:, :, :-1] = (patches - patches.mean(axis=-1, keepdims=True)) / 1000 + 0.0
        features[:, :, -1] = spec.constant * spec.patch
        return features


def thousandths(pixels: Uint8s) -> Float64s:
    """Luma 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) in thousandths of grey levels: whole numbers, 0 to 255,000."""
    red, green, blue = (pixels[..., channel].astype(np.float64) for channel in range(3))
    grey: Float64s = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    return grey


def high_passed(grey: Float64s, sigma: float) -> Float64s:
    """Images (n, rows, columns) less their Gaussian blur; beyond the border they are mirrored (d c b a | a b c d).

    Rounded to three decimals: what is flat is 0, not the rounding noise of the blur.
    """
    from scipy.ndimage import gaussian_filter

    blurred: Float64s = gaussian_filter(grey, sigma, mode="reflect", truncate=_TRUNCATE, axes=(1, 2))
    passed: Float64s = np.round(grey - blurred, 3)
    return passed
