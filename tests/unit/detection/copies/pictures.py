"""Made-up slices: each a body with an outline and a texture of its own; strangers agree somewhat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter

Images = NDArray[np.float32]


def slices(count: int, seed: int, edge: int = 64) -> Images:
    rng = np.random.default_rng(seed)
    axis = np.linspace(-1, 1, edge)
    down, right = np.meshgrid(axis, axis, indexing="ij")
    turn = np.arctan2(down, right)
    made = []
    for _ in range(count):
        tall, wide, wobble, phase = rng.uniform([0.7, 0.55, 0.03, 0], [0.9, 0.8, 0.1, 6])
        radius = np.hypot(down / tall, right / wide) / (1 + wobble * np.cos(3 * turn + phase))
        fine, broad = (gaussian_filter(rng.normal(size=(edge, edge)), sigma) * sigma for sigma in (1.6, 4))
        body = 1 / (1 + np.exp(12 * (radius - 1)))
        made.append(body * (110 + 200 * fine + 60 * broad))
    return np.clip(np.stack(made), 0, 255).astype(np.float32)


def moved(image: Images, rotation: float = 0.0, scale: float = 1.0, down: float = 0.0, right: float = 0.0) -> Images:
    """Counter-clockwise in degrees; shifts in pixels."""
    angle, centre = np.radians(rotation), (np.array(image.shape) - 1) / 2
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    turned = affine_transform(image, back, offset=centre - back @ (centre + np.array([down, right])), order=1)
    return np.asarray(turned, dtype=np.float32)
