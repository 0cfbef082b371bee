"""A canvas in Hounsfield units on which tissues are painted, and the traits that make a phantom an individual.

Coordinates are fractions of half the field of view: x to the right, y down, 0 in the middle. Values are
Hounsfield units (HU: air -1000, water 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from provenance.arrays import Float32s

Wobble = tuple[tuple[int, float, float], ...]
"""An irregular outline: (waves around it, amplitude as a share of the radius, phase in radians) each."""

AIR = -1000.0
_TEXTURE_GRAIN = 2.5
_TEXTURES = 5


class Traits:
    """Draws an individual's traits, always in the same order; the level in [-1, 1] bends each along its own drift."""

    def __init__(self, rng: np.random.Generator, level: float) -> None:
        self._rng = rng
        self.level = level

    def of(self, low: float, high: float, drift: float = 0.0) -> float:
        """A trait between ``low`` and ``high``, moved by up to ``drift`` at the levels -1 and 1."""
        base, slope = self._rng.uniform(low, high), self._rng.uniform(-drift, drift)
        return float(base + slope * self.level)

    def one_in(self, count: int) -> bool:
        """True for one individual in ``count``."""
        return bool(self._rng.integers(count) == 0)

    def wobble(self, strength: float) -> Wobble:
        """An irregular outline; the finer its waves, the lower they are."""
        return tuple(
            (order, self.of(0.2, 1.0, 0.3) * strength / (order - 1) ** 0.7, self.of(0.0, 2 * math.pi, 0.35))
            for order in range(2, 7)
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """A superellipse with half axes ``a`` and ``b``, turned by ``tilt`` radians, with an irregular outline."""

    x: float
    y: float
    a: float
    b: float
    tilt: float = 0.0
    power: float = 2.0
    wobble: Wobble = ()

    def grown(self, by: float) -> Shape:
        """The same outline, ``by`` further out (negative: further in, to a point at least)."""
        return replace(self, a=max(self.a + by, 1e-3), b=max(self.b + by, 1e-3))


class Canvas:
    """One slice, on which tissues are painted over one another; the body lies and turns as it was placed.

    ``hu``, and ``x`` and ``y``, the body's own coordinates at each pixel, are float32 (size, size).
    """

    def __init__(self, size: int, *, x: float, y: float, turn: float) -> None:
        self.size = size
        self.hu: Float32s = np.full((size, size), AIR, dtype=np.float32)
        self._x, self._y, self._cos, self._sin = x, y, math.cos(turn), math.sin(turn)
        xs, ys = _grid(size)
        self.x: Float32s = ((xs - x) * self._cos + (ys - y) * self._sin).astype(np.float32)
        self.y: Float32s = ((ys - y) * self._cos - (xs - x) * self._sin).astype(np.float32)

    def paint(
        self, shape: Shape, hu: float, *, grain: float = 0.0, edge: float = 1.0, within: Float32s | None = None
    ) -> None:
        """Paint a tissue of this mean value over what is there.

        ``grain`` is the standard deviation of its texture in HU, ``edge`` the width of its edge in pixels, ``within``
        the coverage (size, size) that it is confined to.
        """
        window, cover = self._covered(shape, edge)
        if within is not None:
            cover = cover * within[window]
        self.hu[window] += cover * (hu - self.hu[window])
        if grain:
            self.hu[window] += cover * grain * self._texture_at(shape)[window]

    def cover(self, shape: Shape, edge: float = 1.0) -> Float32s:
        """Share of each pixel that a shape covers, float32 (size, size) in [0, 1]."""
        window, cover = self._covered(shape, edge)
        whole: Float32s = np.zeros_like(self.hu)
        whole[window] = cover
        return whole

    def _covered(self, shape: Shape, edge: float) -> tuple[tuple[slice, slice], Float32s]:
        """The window that holds a shape, and its coverage there."""
        window = self._window(shape)
        dx, dy = self.x[window] - shape.x, self.y[window] - shape.y
        cos, sin = math.cos(shape.tilt), math.sin(shape.tilt)
        u, v = (dx * cos + dy * sin) / shape.a, (dy * cos - dx * sin) / shape.b
        if shape.power == 2.0:
            distance = np.sqrt(u * u + v * v)
        else:
            distance = (np.abs(u) ** shape.power + np.abs(v) ** shape.power) ** (1 / shape.power)
        if shape.wobble:
            angle = np.arctan2(v, u)
            distance = distance / (1 + sum(size * np.cos(order * angle + phase) for order, size, phase in shape.wobble))
        pixels = (1 - distance) * (min(shape.a, shape.b) * self.size / 2)
        return window, np.clip(pixels / edge + 0.5, 0, 1).astype(np.float32)

    def _window(self, shape: Shape) -> tuple[slice, slice]:
        reach = max(shape.a, shape.b) * (1.3 + sum(abs(size) for _, size, _ in shape.wobble)) + 4 / self.size
        x = self._x + shape.x * self._cos - shape.y * self._sin
        y = self._y + shape.x * self._sin + shape.y * self._cos
        return self._span(y - reach, y + reach), self._span(x - reach, x + reach)

    def _span(self, low: float, high: float) -> slice:
        return slice(*(max(round((edge + 1) / 2 * self.size), 0) for edge in (low, high)))

    def _texture_at(self, shape: Shape) -> Float32s:
        """One of a few fixed fields, rolled by the shape's place, so that no two tissues show the same."""
        place = int(abs(shape.x * 977 + shape.y * 1493) * 10)
        return np.roll(_texture(self.size, place % _TEXTURES), (place % 101, place % 67), (0, 1))


@cache
def _grid(size: int) -> tuple[Float32s, Float32s]:
    ticks = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    xs, ys = np.meshgrid(ticks, ticks)
    return xs, ys


@cache
def _texture(size: int, number: int) -> Float32s:
    """Smooth noise of mean 0 and standard deviation 1, without seams at the edges."""
    noise = np.random.default_rng((size, number)).standard_normal((size, size))
    smooth = np.asarray(ndimage.gaussian_filter(noise, _TEXTURE_GRAIN, mode="wrap"))
    return np.asarray((smooth - smooth.mean()) / smooth.std(), dtype=np.float32)
