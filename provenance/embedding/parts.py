"""Local spaces of networks: the cells of a feature map on a fixed grid, or the patch tokens of a vision transformer.

    resnet50:layer3/7               a layer's feature map, averaged over a grid of 7 x 7 cells: 49 parts
    efficientnet-lite0:blocks.10/7
    --backbone-file vit.onnx --parts tokens      an output (n, 1 + h * w, d) without its class token: h * w parts
    --backbone-file net.pt --parts map/7         an output (n, d, h, w) that is not averaged to one vector

A part is (features, c) at unit length. c is so small that it moves nothing but a cell without any feature (a ReLU's
zeros over background), which becomes (0, ..., 0, 1) instead of having no direction.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from provenance.embedding.patches import MOST_NUMBERS, MOST_PARTS
from provenance.errors import EmbeddingError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from provenance.arrays import Float32s
    from provenance.vocabulary import Space

DEFAULT_GRID = 7
CONSTANT = 1e-3
PARTS_VERSION = 1
_LIBRARIES = ("timm:", "torchvision:")
_LAYER = re.compile(r"(?P<layer>[A-Za-z_][A-Za-z0-9_.]*)(?:/(?P<grid>[0-9]{1,3}))?")
_PARTS = re.compile(r"(?P<kind>map|tokens|all-tokens)(?:/(?P<grid>[0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class PartSpec:
    """What becomes a part of the output of a layer (empty: of the network).

    Cells of a feature map, averaged over a grid of ``grid`` rows and columns; tokens without the class token; or all.
    """

    kind: Literal["map", "tokens", "all-tokens"]
    grid: int = DEFAULT_GRID
    layer: str = ""

    @property
    def name(self) -> str:
        """What stands after the backbone's name."""
        return f"{self.layer or self.kind}/{self.grid}" if self.kind == "map" else self.kind

    def arrange(self, output: NDArray[Any]) -> Float32s:
        """A network's output as float32 (n, parts, d + 1), the constant last, not yet at unit length.

        Raises:
            EmbeddingError: If the output is no feature map, or no row of tokens.
        """
        parts = _cells(output, self.grid) if self.kind == "map" else _tokens(output, drop=self.kind == "tokens")
        if parts.shape[1] > MOST_PARTS or parts.shape[1] * (parts.shape[2] + 1) > MOST_NUMBERS:
            raise EmbeddingError(
                f"{parts.shape[1]:,} parts of {parts.shape[2] + 1:,} numbers are too many for one image",
                hint=f"at most {MOST_NUMBERS:,} numbers and {MOST_PARTS:,} parts: take a coarser grid or another layer",
            )
        constant = np.full((*parts.shape[:2], 1), CONSTANT, dtype=np.float32)
        return np.concatenate([parts.astype(np.float32), constant], axis=2)

    def space(self, whole: Space, arranged: Float32s) -> Space:
        """The space of the parts, from the whole-image space of the same network and a dry run."""
        _, parts, dimension = arranged.shape
        side = math.isqrt(parts)
        preprocessing = {
            **whole.preprocessing,
            "feature": f"layer {self.layer}" if self.layer else "output",
            "pool": f"average over {self.grid} x {self.grid} cells" if self.kind == "map" else "none",
            "parts": {"version": PARTS_VERSION, "kind": self.kind, "grid": side, "constant": CONSTANT},
            "grid": {"unit": side, "start": 0, "step": 1, "edge": 1, "rows": side, "columns": side},
        }
        name = f"{whole.backbone}:{self.name}"
        return replace(whole, backbone=name, preprocessing=preprocessing, dimension=dimension, parts=parts)


def split_layer(name: str) -> tuple[str, PartSpec | None]:
    """A backbone's name without the layer after it, and that layer's parts; ``UsageError`` if it is no layer."""
    library = next((each for each in _LIBRARIES if name.startswith(each)), "")
    base, colon, rest = name.removeprefix(library).partition(":")
    if not colon:
        return name, None
    found = _LAYER.fullmatch(rest)
    if found is None or found["grid"] == "0":
        raise UsageError(f"{rest!r} in {name!r} is no layer", hint="NAME:LAYER/GRID, such as resnet50:layer3/7")
    return library + base, PartSpec("map", int(found["grid"] or DEFAULT_GRID), found["layer"])


def parts_of_file(text: str | None) -> PartSpec | None:
    """What ``--parts`` asks of a backbone file: ``map/7``, ``tokens`` or ``all-tokens``, else ``UsageError``."""
    if text is None:
        return None
    found = _PARTS.fullmatch(text)
    if found is None or found["grid"] == "0" or (found["grid"] and found["kind"] != "map"):
        raise UsageError(f"{text!r} names no parts", hint="map/7 (a grid of 7 x 7 cells), tokens or all-tokens")
    return PartSpec(found["kind"], int(found["grid"] or DEFAULT_GRID))  # type: ignore[arg-type]


def _cells(output: NDArray[Any], grid: int) -> NDArray[Any]:
    """Feature maps (n, d, h, w) averaged over the cells of a grid: (n, grid * grid, d), row by row.

    Cell i covers rows floor(i h / grid) to ceil((i + 1) h / grid), as in torch's adaptive average pooling.
    """
    if output.ndim != 4 or min(output.shape[2:]) < grid:
        raise EmbeddingError(
            f"an output of shape {output.shape} is no feature map of {grid} x {grid} cells or more",
            hint="take another layer, or a coarser grid: NAME:LAYER/GRID, or --parts map/GRID",
        )
    rows, columns = (
        [(place * length // grid, -(-(place + 1) * length // grid)) for place in range(grid)]
        for length in output.shape[2:]
    )
    cells = [
        output[:, :, top:bottom, left:right].mean(axis=(2, 3), dtype=np.float32)
        for top, bottom in rows
        for left, right in columns
    ]
    return np.stack(cells, axis=1)


def _tokens(output: NDArray[Any], *, drop: bool) -> NDArray[Any]:
    """Tokens (n, tokens, d), without the first where that is the class token."""
    count = output.shape[1] - drop if output.ndim == 3 else 0
    first = 0 if drop or math.isqrt(count) ** 2 == count else 1
    if count < 1 or math.isqrt(count - first) ** 2 != count - first:
        raise EmbeddingError(
            f"an output of shape {output.shape} is no row of tokens of a square grid",
            hint="--parts tokens: 1 + h * h tokens, the class token first; --parts all-tokens: h * h, or 1 + h * h",
        )
    return output[:, 1:] if drop else output
