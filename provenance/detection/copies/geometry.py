"""Transformations of the plane between two images of one size, and images resampled by them. Pure.

A transformation maps a place y of the query, in pixels from its centre (row, column), to A y + t in the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from provenance.detection.copies.structure import Images

    Floats = NDArray[np.float64]

MIRROR = np.diag([1.0, -1.0])


@dataclass(frozen=True, slots=True)
class Transformation:
    """How a source became the query, in the order mirror, turn, scale, shift.

    Attributes:
        mirrored: Left and right were exchanged.
        rotation: Degrees, counter-clockwise as the image is looked at.
        scale: The query's size of a thing over the source's.
        down: Shift of the centre as a share of the edge.
        right: Likewise.
    """

    mirrored: bool
    rotation: float
    scale: float
    down: float
    right: float

    def __str__(self) -> str:
        """In words; what is not there is not named."""
        words = ["mirrored"] if self.mirrored else []
        words += [f"turned by {self.rotation:+.1f} degrees"] if abs(self.rotation) >= 0.5 else []
        words += [f"scaled by {self.scale:.2f}"] if abs(self.scale - 1) >= 0.01 else []
        if max(abs(self.down), abs(self.right)) >= 0.008:
            words.append(f"shifted by {round(100 * self.right):+d} % right and {round(100 * self.down):+d} % down")
        return ", ".join(words) or "in place"


def described(matrix: Floats, shift: Floats, edge: int) -> Transformation:
    """The transformation from source to query, of the map (A, t) from query to source."""
    back = np.linalg.inv(matrix)
    mirrored = bool(np.linalg.det(matrix) < 0)
    turned = back @ MIRROR if mirrored else back
    moved = -back @ shift / edge
    return Transformation(
        mirrored=mirrored,
        rotation=round(float(np.degrees(np.arctan2(turned[1, 0] - turned[0, 1], turned[0, 0] + turned[1, 1]))), 2)
        + 0.0,
        scale=round(float(np.sqrt(abs(np.linalg.det(turned)))), 4),
        down=round(float(moved[0]), 4) + 0.0,
        right=round(float(moved[1]), 4) + 0.0,
    )


def similarity(rotation: float, scale: float, *, mirrored: bool) -> Floats:
    """A 2 x 2 matrix that mirrors, turns by degrees and scales."""
    angle = np.radians(rotation)
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return turn @ MIRROR if mirrored else turn


def grid(edge: int) -> Floats:
    """``(2, edge^2)`` places of the pixels, from the centre."""
    axis = np.arange(edge) - (edge - 1) / 2
    return np.stack([place.ravel() for place in np.meshgrid(axis, axis, indexing="ij")])


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """Where n images are read, each at as many places.

    Attributes:
        corners: ``(n, pixels, pixels)`` the pixel above and left of each place, counted within the image.
        parts: How far the place lies from it, down and right, in [0, 1).
        inside: Whether it lies in the image.
    """

    corners: NDArray[np.intp]
    parts: tuple[Images, Images]
    inside: NDArray[np.bool_]

    def of(self, images: Images) -> Images:
        """Bilinear values of ``(n, edge, edge)``, or of one image that is read in n ways."""
        edge, (down, right) = images.shape[1], self.parts
        flat, at = images.ravel(), self.corners + np.arange(0, images.size, edge * edge)[:, None, None]
        a, b, c, d = (flat[beside:].take(at, mode="clip") for beside in (0, 1, edge, edge + 1))
        return _mixed(_mixed(a, b, right), _mixed(c, d, right), down)


def _mixed(first: Images, second: Images, part: Images) -> Images:
    # In place of the second: a new array costs as much as a sum.
    second -= first
    second *= part
    second += first
    return second


def sampling(edge: int, matrices: Floats, shifts: Floats, step: int = 1) -> Sampling:
    """Where images are read at A y + t of every pixel y, or of every so manyeth in both directions.

    Args:
        edge: Of the images, in pixels; places outside have the value of the nearest edge.
        matrices: ``(n, 2, 2)``.
        shifts: ``(n, 2)``.
        step: From pixel to pixel.
    """
    axis = np.arange(0, edge, step, dtype=np.float32) - np.float32((edge - 1) / 2)
    centre = shifts.astype(np.float32) + np.float32((edge - 1) / 2)
    by_row, by_column = (matrices[:, :, k, None].astype(np.float32) * axis for k in (0, 1))
    by_row += centre[:, :, None]
    below = np.nextafter(np.float32(edge - 1), np.float32(0))
    corners, parts, inside = [], [], []
    for k in (0, 1):
        place = by_row[:, k, :, None] + by_column[:, k, None, :]
        inside.append((place > -0.5) & (place < edge - 0.5))
        np.clip(place, 0, below, out=place)
        corners.append(np.floor(place))
        place -= corners[k]
        parts.append(place)
    corners[0] *= edge
    corners[0] += corners[1]
    return Sampling(corners[0].astype(np.intp), (parts[0], parts[1]), inside[0] & inside[1])


def sampled(images: Images, matrices: Floats, shifts: Floats) -> tuple[Images, NDArray[np.bool_]]:
    """Images at A y + t of every pixel y, and which places lie inside the image (``sampling``)."""
    where = sampling(images.shape[1], matrices, shifts)
    return where.of(images), where.inside
