"""What is made of canonical pixels: another size, a file's bytes, a perceptual hash."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from provenance.images.frames import rgb_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from provenance.images.frames import Pixels
    from provenance.vocabulary import Resolution

PERCEPTUAL_HASH = "phash-64-1"
"""Name of the hash with the version of its definition; hashes of two names never meet."""

HASH_BITS = 64

TURNED = "turned-phash-64-1"
"""Likewise, of the hashes of an image mirrored and turned, and its mean grey."""


class Position(NamedTuple):
    """One of the eight ways to lay a rectangle down: left and right exchanged or not, then turned counter-clockwise."""

    words: str
    quarters: int
    mirrored: bool = False

    @property
    def lying(self) -> bool:
        """Whether width and height change places."""
        return self.quarters % 2 == 1

    def of(self, images: NDArray[Any], axes: tuple[int, int] = (0, 1)) -> NDArray[Any]:
        """Images in this position; ``axes`` are those of their rows and columns."""
        found: NDArray[Any] = np.rot90(np.flip(images, axes[1]) if self.mirrored else images, self.quarters, axes)
        return np.ascontiguousarray(found)


POSITIONS = (
    Position("", 0),
    Position(", mirrored", 0, mirrored=True),
    Position(", turned by 180 degrees", 2),
    Position(", mirrored top to bottom", 2, mirrored=True),
    Position(", turned by 90 degrees", 1),
    Position(", turned by 270 degrees", 3),
    Position(", mirrored and turned by 90 degrees", 1, mirrored=True),
    Position(", mirrored and turned by 270 degrees", 3, mirrored=True),
)
"""As it stands first."""


def resized(pixels: Pixels, size: int, first: Resolution | None = None) -> Pixels:
    """Pillow's ``resize`` with its antialiased bilinear filter, as writable uint8 of shape (size, size, 3).

    With ``first`` = (width, height) the image is brought to that size before: what it holds between the two steps are
    the bytes that a file of that size would hold.
    """
    # A grey image gives the same bytes by way of one channel: the filter works on each channel by itself.
    image = Image.fromarray(pixels)
    if first is not None:
        image = image.resize(first, Image.Resampling.BILINEAR)
    small = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.require(rgb_of(np.asarray(small)), requirements=["C", "W"])


def perceptual_hash(pixels: Pixels) -> str:
    """What an image looks like in 64 bits, 16 hex digits: close for close looks, whatever the format or size.

    ``phash`` of the library imagehash: the canonical image in grey, 32 x 32 pixels, its discrete cosine transform, the
    lowest 8 x 8 frequencies, one bit each for being above their median.
    """
    import imagehash

    return str(imagehash.phash(Image.fromarray(pixels).convert("L"), hash_size=8, highfreq_factor=4))


def turned_hashes(pixels: Pixels) -> str:
    """The hashes of an image in each of ``POSITIONS`` but the first, and its mean grey in [0, 255], as one word."""
    import imagehash

    grey = Image.fromarray(pixels).convert("L")
    small = np.asarray(grey.resize((32, 32), Image.Resampling.LANCZOS))  # as imagehash makes it: all else is turned
    turned = (Image.fromarray(position.of(small)) for position in POSITIONS[1:])
    hashes = [str(imagehash.phash(each, hash_size=8, highfreq_factor=4)) for each in turned]
    return ":".join((*hashes, f"{np.asarray(grey).mean():.6f}"))


def png_bytes(pixels: Pixels) -> bytes:
    """A PNG file of (h, w) or (h, w, 3) pixels; equal ones give equal bytes (with one version of the encoder)."""
    return encoded(pixels, "PNG")


def jpeg_bytes(pixels: Pixels, quality: int) -> bytes:
    """A baseline JPEG file of (h, w) or (h, w, 3) pixels; quality is 1 (least) to 95."""
    return encoded(pixels, "JPEG", quality=quality)


def encoded(pixels: Pixels, file_format: str, **options: Any) -> bytes:
    """A file of (h, w) or (h, w, 3) pixels in a format of Pillow's, with Pillow's options of it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=file_format, **options)
    return buffer.getvalue()
