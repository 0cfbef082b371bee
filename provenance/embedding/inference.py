"""A loaded backbone: batches of one fixed shape in, unit vectors out, whatever engine runs the network.

An image's vector does not depend on its batch-mates: every forward pass has the same shape, short batches are
padded with black images, and no network here mixes the images of a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.errors import EmbeddingError

if TYPE_CHECKING:
    from provenance.arrays import Float32s, Uint8s
    from provenance.vocabulary import Canonical, Resolution, Space

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Engine(ABC):
    """A network on the runtime and the device that compute it; one module each runtime.

    It is given uint8 RGB; (x / 255 - mean) / std is its own first step, in float32.

    Attributes:
        device: Where it runs, such as ``cpu`` or ``cuda``.
        input_size: Edge of its square input in pixels, where the network itself fixes it.
        batch_size: Images in one forward pass, likewise.
    """

    device: str = "cpu"
    input_size: int | None = None
    batch_size: int | None = None

    @abstractmethod
    def __call__(self, pixels: Uint8s) -> Float32s:
        """Features of one whole batch, uint8 (batch, size, size, 3), not yet at unit length.

        Returns:
            float32 (batch, dimension), or (batch, parts, dimension) in a local space.

        Raises:
            EmbeddingError: If the network fails.
        """


class Backbone:
    """A loaded backbone of one embedding space.

    Attributes:
        space: The embedding space its vectors belong to.
        batch_size: Images in one forward pass; the most that ``embed`` takes at once.
    """

    def __init__(self, space: Space, engine: Engine, *, batch_size: int) -> None:
        self.space = space
        self.batch_size = batch_size
        self._engine = engine

    @property
    def device(self) -> str:
        """Where it runs, such as ``cpu`` or ``cuda``."""
        return self._engine.device

    def at_resolution(self, resolution: Resolution | None) -> Backbone:
        """The same network for images that are first brought to ``(width, height)``: a space of its own."""
        return Backbone(self.space.matched_to(resolution), self._engine, batch_size=self.batch_size)

    def decoding(self, rule: Canonical) -> Backbone:
        """The same network for images that are decoded by another rule: a space of its own."""
        return Backbone(self.space.decoded_by(rule), self._engine, batch_size=self.batch_size)

    @property
    def input_size(self) -> int:
        """Edge of the square input images, in pixels."""
        return int(self.space.preprocessing["size"])

    def embed(self, pixels: Uint8s) -> Float32s:
        """Embeds up to ``batch_size`` images.

        uint8 RGB (n, size, size, 3) -> float32 (n, parts, dimension), every part of unit length (the norm is taken in
        float64). An image with a non-finite or a zero feature has NaN throughout: it has no vector.

        Raises:
            EmbeddingError: If the pixels have another shape or type, or the network fails.
        """
        size = self.input_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3) or len(pixels) > self.batch_size:
            raise EmbeddingError(
                f"{self.space.backbone} takes uint8 pixels of shape (n <= {self.batch_size}, {size}, {size}, 3), "
                f"not {pixels.dtype} {pixels.shape}"
            )
        batch = np.zeros((self.batch_size, size, size, 3), dtype=np.uint8)
        batch[: len(pixels)] = pixels
        features = self._engine(batch)
        features = features.reshape(len(features), -1)
        expected = (self.batch_size, self.space.parts * self.space.dimension)
        if features.shape != expected:
            raise EmbeddingError(f"{self.space.backbone} gave features of shape {features.shape}, not {expected}")
        return normalized(features[: len(pixels)].reshape(-1, self.space.parts, self.space.dimension))


def normalized(features: Float32s) -> Float32s:
    """Features (n, parts, dimension) at unit length per part; images without a finite, non-zero feature become NaN."""
    wide = features.astype(np.float64)
    norms = np.sqrt(np.sum(wide * wide, axis=-1, keepdims=True))
    usable = np.isfinite(norms) & (norms > 0)
    vectors = np.divide(wide, norms, out=np.full_like(wide, np.nan), where=usable)
    vectors[~usable.all(axis=(1, 2))] = np.nan
    unit: Float32s = vectors.astype(np.float32)
    return unit


def library_of_extra(library: str, extra: str) -> Any:
    """A library that an extra brings; ``EmbeddingError`` if it is not installed."""
    try:
        return import_module(library)
    except ImportError as error:
        raise EmbeddingError(
            f"the library {library} is not installed", hint=f"install it with `pip install 'provenance-audit[{extra}]'`"
        ) from error
