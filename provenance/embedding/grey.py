"""The backbone ``pixels``: an image as its own grey levels at 64 x 64. No network, no weights.

A vector is the 64 x 64 grey levels, row by row, and one constant behind them, at unit length. The constant gives an
image without any light a direction, and the grey levels back: ``grey_levels``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.embedding.inference import Backbone, Engine
from provenance.embedding.patches import BATCH_SIZE, LUMA, thousandths
from provenance.errors import SpaceMismatchError
from provenance.vocabulary import PIXELS, Space, digest_of_json

if TYPE_CHECKING:
    from typing import Any

    from provenance.arrays import Float32s, Int64s, Uint8s

EDGE = 64
CONSTANT = 64.0
_THOUSAND = 1000
_VERSION = 1


def load_pixels(*, batch_size: int) -> Backbone:
    """Grey levels, ready to embed."""
    preprocessing: dict[str, Any] = {
        "version": _VERSION,
        "canonical": 1,
        "resize": "pillow-bilinear",
        "size": EDGE,
        "grey": list(LUMA),
        "constant": CONSTANT,
    }
    space = Space(PIXELS, digest_of_json(preprocessing), preprocessing, EDGE**2 + 1)
    return Backbone(space, _GreyEngine(), batch_size=max(batch_size, BATCH_SIZE))


class _GreyEngine(Engine):
    def __call__(self, pixels: Uint8s) -> Float32s:
        features = np.full((len(pixels), EDGE**2 + 1), CONSTANT, dtype=np.float32)
        features[:, :-1] = thousandths(pixels).reshape(len(pixels), -1) / _THOUSAND
        return features


def grey_levels(vectors: Float32s, space: Space) -> Float32s:
    """The images that vectors of ``pixels`` were made of: grey levels in [0, 255], to their last thousandth.

    Args:
        vectors: float32 (n, 1, 64 * 64 + 1).
        space: Theirs.

    Returns:
        float32 (n, 64, 64).

    Raises:
        SpaceMismatchError: If the vectors are of another backbone.
    """
    if not space.is_of_pixels:
        raise SpaceMismatchError(f"vectors of {space.backbone} are no pixels", hint=f"embed with --backbone {PIXELS}")
    return _levels(vectors)


class GreyImages:
    """The images behind vectors of ``pixels``, float32 (n, 64, 64), read from them when they are asked for by rows."""

    def __init__(self, vectors: Float32s) -> None:
        if vectors.shape[1:] != (1, EDGE**2 + 1):
            raise SpaceMismatchError(f"vectors of shape {vectors.shape} are no {PIXELS}", hint=f"--backbone {PIXELS}")
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: Int64s) -> Float32s:
        return _levels(self._vectors[rows])


def _levels(vectors: Float32s) -> Float32s:
    wide = vectors[:, 0].astype(np.float64)
    levels = np.rint(wide[:, :-1] * (_THOUSAND * CONSTANT / wide[:, -1:])) / _THOUSAND
    return levels.reshape(len(vectors), EDGE, EDGE).astype(np.float32)
