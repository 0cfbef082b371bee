"""Pixels to file bytes: for images that are computed here, such as phantoms."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def png_bytes(pixels: Pixels) -> bytes:
    """A PNG file without loss; equal pixels give equal bytes (with one version of the encoder).

    Args:
        pixels: uint8 (h, w) grey, or (h, w, 3) RGB.
    """
    return _encoded(pixels, "PNG")


def jpeg_bytes(pixels: Pixels, quality: int) -> bytes:
    """A baseline JPEG file.

    Args:
        pixels: uint8 (h, w) grey, or (h, w, 3) RGB.
        quality: 1 (least) to 95.
    """
    return _encoded(pixels, "JPEG", quality=quality)


def _encoded(pixels: Pixels, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=file_format, **options)
    return buffer.getvalue()
