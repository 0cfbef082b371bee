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
            words.append(f"shifted by {100 * self.right:+.0f} % right and {100 * self.down:+.0f} % down")
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


def sampled(images: Images, matrices: Floats, shifts: Floats) -> tuple[Images, NDArray[np.bool_]]:
    """Images at A y + t of every pixel y, bilinear; and which places lie inside the image.

    Args:
        images: ``(n, edge, edge)``; places outside have the value of the nearest edge.
        matrices: ``(n, 2, 2)``.
        shifts: ``(n, 2)``.
    """
    n, edge = images.shape[:2]
    axis = np.arange(edge, dtype=np.float32) - np.float32((edge - 1) / 2)
    centre = shifts.astype(np.float32) + np.float32((edge - 1) / 2)
    by_row, by_column = matrices[:, :, 0].astype(np.float32), matrices[:, :, 1].astype(np.float32)
    places = [
        (by_row[:, k, None] * axis + centre[:, k, None])[:, :, None] + (by_column[:, k, None] * axis)[:, None, :]
        for k in (0, 1)
    ]
    inside = np.ones(images.shape, dtype=np.bool_)
    corners, parts = [], []
    for place in places:
        inside &= (place > -0.5) & (place < edge - 0.5)
        np.clip(place, 0, edge - 1, out=place)
        corner = np.minimum(place.astype(np.int32), edge - 2)
        corners.append(corner)
        parts.append(place - corner)
    at = corners[0] * edge + corners[1] + (np.arange(n, dtype=np.int32) * edge * edge)[:, None, None]
    flat = images.ravel()
    rows = []
    for first in (at, at + edge):
        left = flat.take(first)
        rows.append(left + (flat.take(first + 1) - left) * parts[1])
    return rows[0] + (rows[1] - rows[0]) * parts[0], inside
