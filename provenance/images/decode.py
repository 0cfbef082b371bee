"""From the bytes of an image file to canonical pixels: 8 bits, RGB, upright, over black.

The rules, in this order (Pillow's own arithmetic wherever it has one):

1. The first frame or page. Formats: PNG, JPEG, TIFF, BMP, WebP, GIF, JPEG 2000, binary PNM.
2. 16-bit grey keeps its high byte: ``v >> 8`` over the type's full range, 0..65535 (signed: ``(v + 32768) >> 8``;
   12-bit: ``v >> 4``). Images that were widened from 8 bits, by ``v * 257`` or by ``v * 256``, come back exactly, and
   16-bit colour, of which Pillow keeps the high byte, is treated alike. 32-bit integers have no range one could
   presume: unsupported.
3. Float grey: all values in [0, 1]: ``rint(255 v)``, half to even; any other range is unsupported, NaN or
   infinity is not finite.
4. Palette and transparency (alpha channel, transparent palette entries, a transparent colour) go through RGBA
   and are laid over black: ``round(c a / 255)``.
5. Everything else (grey, 1-bit, CMYK, YCbCr, HSV) by Pillow's ``convert("RGB")``. Colour profiles and gamma
   are not applied.
6. EXIF orientation is applied; an EXIF block that can't be read counts as none.

A grey image is carried as one channel: RGB with three equal channels, at a third of the cost.
"""

from __future__ import annotations

import hashlib
import io
import struct
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

# Imported for their registration: Pillow would otherwise import all its plugins at the first TIFF or WebP.
from PIL import Jpeg2KImagePlugin as _Jpeg2KImagePlugin  # noqa: F401
from PIL import MpoImagePlugin as _MpoImagePlugin  # noqa: F401
from PIL import TiffImagePlugin as _TiffImagePlugin  # noqa: F401
from PIL import WebPImagePlugin as _WebPImagePlugin  # noqa: F401

from provenance.images.diagnosis import check_whole, diagnosed
from provenance.images.entries import BadInput
from provenance.vocabulary import RejectReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

PIXEL_DIGEST_VERSION = 1
DEFAULT_MAX_PIXELS = 64 * 1024**2

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM")
_GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_ORIENTATION = 0x0112
_UPRIGHT_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """One image in canonical pixels.

    Attributes:
        image: Mode ``RGB``, or ``L`` for RGB with three equal channels.
        file_format: Pillow's name of the file's format, such as ``PNG``.
        mode: Pillow's name of the pixel mode it was stored in, such as ``I;16``.
    """

    image: Image.Image
    file_format: str
    mode: str

    def rgb(self) -> npt.NDArray[np.uint8]:
        """The canonical pixels, uint8 of shape (height, width, 3)."""
        return rgb_array(self.image)


def decode(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Decoded:
    """The canonical pixels of an image file, by the rules at the top of this module.

    The whole first frame must be there: a truncated file is refused, not filled up. Images whose header announces
    more than ``max_pixels`` (or more than Pillow's own bound, 179 million) are refused before pixels are allocated.

    Raises:
        BadInput: If the bytes are no image that is read here.
    """
    if not data:
        raise BadInput(RejectReason.EMPTY, "the file is empty")
    with _unwarned():
        try:
            return _decoded(data, max_pixels)
        except (BadInput, MemoryError):
            raise
        except Exception as error:  # Pillow's plugins raise whatever damaged bytes make them raise
            raise diagnosed(data, error) from error


def pixel_digest(rgb: npt.NDArray[np.uint8]) -> str:
    """``sha256:<hex>`` over the digest's version, height and width (three big-endian uint32) and the pixels.

    Args:
        rgb: uint8 of shape (height, width, 3).
    """
    height, width, _ = rgb.shape
    digest = hashlib.sha256(struct.pack(">III", PIXEL_DIGEST_VERSION, height, width))
    digest.update(np.ascontiguousarray(rgb).reshape(-1).data)
    return "sha256:" + digest.hexdigest()


def rgb_array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels of an ``L`` or ``RGB`` image, uint8 of shape (height, width, 3)."""
    pixels: npt.NDArray[np.uint8] = np.asarray(image)
    if image.mode == "RGB":
        return pixels
    rgb = np.empty((*pixels.shape, 3), dtype=np.uint8)
    for channel in range(3):  # four times as fast as np.repeat or broadcasting
        rgb[:, :, channel] = pixels
    return rgb


@contextmanager
def _unwarned() -> Iterator[None]:
    """Keeps Pillow's warnings from anyone who made them errors; the filters are the process's, hence the lock."""
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _decoded(data: bytes, max_pixels: int) -> Decoded:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.width * image.height > max_pixels:
            detail = f"{image.width} x {image.height} pixels, where the limit is {max_pixels} pixels"
            raise BadInput(RejectReason.OVERSIZED, detail)
        file_format, mode = image.format or "", image.mode
        check_whole(data, image)
        image.load()
        if file_format == "PNG" and mode == "RGB" and data[24] == 16:
            # The transparent colour has 16 bits, the pixels that Pillow gives have 8: they can't be compared.
            image.info.pop("transparency", None)
        return Decoded(_upright(_eight_bits(image), _orientation(image)), file_format, mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image as ``L`` or ``RGB``."""
    if image.mode in _GREY_16:
        return Image.fromarray(_high_byte(image))
    if image.mode == "F":
        return Image.fromarray(_from_unit_range(image))
    if image.has_transparency_data:
        return _over_black(image.convert("RGBA"))
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _high_byte(image: Image.Image) -> npt.NDArray[np.uint8]:
    values = np.asarray(image).astype(np.int32)
    bits = _tiff_tag(image, _BITS_PER_SAMPLE, 16)
    if image.mode == "I" and bits == 32:
        raise BadInput(RejectReason.UNSUPPORTED, "32-bit integer grey, whose range is not declared")
    if image.mode == "I" and image.format == "TIFF":
        values += 32768  # Pillow's mode for signed 16 bits
    grey = (np.clip(values, 0, 65535) >> (bits - 8)).astype(np.uint8)
    if _is_white_zero(image):
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 0
    return grey


def _from_unit_range(image: Image.Image) -> npt.NDArray[np.uint8]:
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise BadInput(RejectReason.NOT_FINITE, "it holds NaN or infinite values")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        detail = f"float grey is read in the range 0 to 1, and this one has {low:g} to {high:g}"
        raise BadInput(RejectReason.UNSUPPORTED, detail)
    if _is_white_zero(image):
        values = 1 - values
    return np.rint(values * 255).astype(np.uint8)


def _is_white_zero(image: Image.Image) -> bool:
    """Whether 0 stands for white: Pillow inverts such TIFFs up to 8 bits only."""
    return _tiff_tag(image, _PHOTOMETRIC, -1) == _WHITE_IS_ZERO


def _tiff_tag(image: Image.Image, tag: int, default: int) -> int:
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _over_black(rgba: Image.Image) -> Image.Image:
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return rgba.convert("RGB")
    black = Image.new("RGB", rgba.size)
    black.paste(rgba, mask=alpha)
    return black


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - a damaged EXIF block raises all sorts, and says nothing about the pixels
        return None


def _upright(image: Image.Image, orientation: int | None) -> Image.Image:
    method = _UPRIGHT_BY_ORIENTATION.get(orientation or 1)
    return image if method is None else image.transpose(method)
