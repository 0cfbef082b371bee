"""The decoder of raster files, with Pillow: canonical pixels, 8 bits, RGB, upright, over black.

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

import io
import struct
import threading
import warnings
from typing import TYPE_CHECKING

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

# Imported for their registration: Pillow would otherwise import all its plugins at the first TIFF or WebP.
from PIL import Jpeg2KImagePlugin as _Jpeg2KImagePlugin  # noqa: F401
from PIL import MpoImagePlugin as _MpoImagePlugin  # noqa: F401
from PIL import TiffImagePlugin as _TiffImagePlugin  # noqa: F401
from PIL import WebPImagePlugin as _WebPImagePlugin  # noqa: F401

from provenance.images.frames import HEAD_BYTES, BadInput, Decoder, Picture, not_an_image, text_of
from provenance.vocabulary import RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provenance.images.frames import Pixels

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
_TIFF_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))
_TIFF_TYPE_BYTES = dict(zip((*range(1, 14), 16, 17, 18), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 8, 8, 8), strict=True))
_SIGNATURES = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "BMP": (b"BM",),
    "WEBP": (b"RIFF",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "JPEG2000": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    "PPM": (b"P4", b"P5", b"P6", b"Pf"),
}
_FORMATS = tuple(_SIGNATURES)
_UNSUPPORTED_WORDS = ("unsupported", "not supported", "not implemented", "cannot handle", "unknown")


class RasterDecoder(Decoder):
    """What Pillow reads, of the formats above. The whole first frame must be there: a cut file is not filled up.

    Images whose header announces more than ``max_pixels`` (or than Pillow's own bound, 179 million) are refused before
    pixels are allocated.
    """

    name = "raster"
    version = f"1 (Pillow {PIL.__version__})"

    def takes(self, head: bytes, name: str) -> bool:
        """Whether Pillow would open it, or it begins as such a file does."""
        Image.preinit()
        accepts = (Image.OPEN[each][1] for each in _FORMATS)
        padded = head.ljust(16, b"\0")
        return _format_of(head) is not None or any(accept is None or accept(padded) is True for accept in accepts)

    def frames(self, data: bytes, max_pixels: int) -> Iterator[Picture]:
        """The first frame or page."""
        # Pillow's warnings are kept from anyone who made them errors; the filters are the process's, hence the lock.
        with _one_at_a_time, warnings.catch_warnings(action="ignore"):
            try:
                picture = _decoded(data, max_pixels)
            except (BadInput, MemoryError):
                raise
            except Exception as error:  # Pillow's plugins raise whatever damaged bytes make them raise
                raise _diagnosed(data, error) from error
        yield picture


def _decoded(data: bytes, max_pixels: int) -> Picture:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.width * image.height > max_pixels:
            detail = f"{image.width} x {image.height} pixels, where the limit is {max_pixels} pixels"
            raise BadInput(RejectReason.OVERSIZED, detail)
        file_format, mode = image.format or "", image.mode
        _check_whole(data, image)
        image.load()
        if file_format == "PNG" and mode == "RGB" and data[24] == 16:
            # The transparent colour has 16 bits, the pixels that Pillow gives have 8: they can't be compared.
            image.info.pop("transparency", None)
        pixels, turned = _eight_bits(image), _UPRIGHT_BY_ORIENTATION.get(_orientation(image))
        return Picture(np.asarray(pixels if turned is None else pixels.transpose(turned)), file_format, mode)


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


def _high_byte(image: Image.Image) -> Pixels:
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


def _from_unit_range(image: Image.Image) -> Pixels:
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


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION) or 1
    except Exception:  # noqa: BLE001 - a damaged EXIF block raises all sorts, and says nothing about the pixels
        return 1


def _check_whole(data: bytes, image: Image.Image) -> None:
    """Refuses what Pillow would not: pixels of a TIFF beyond the end of the file; plain text, cut without a trace."""
    if image.format == "TIFF" and _is_tiff_cut(image, len(data)):
        raise BadInput(RejectReason.TRUNCATED, "TIFF: its pixels lie beyond the end of the file")
    if image.format == "PPM" and data[:2] in (b"P1", b"P2", b"P3"):
        raise BadInput(RejectReason.UNSUPPORTED, "PNM as plain text is not read here: save it as binary PNM or PNG")


def _diagnosed(data: bytes, error: Exception) -> BadInput:
    """What to call the failure ``error`` of decoding ``data``."""
    if isinstance(error, Image.DecompressionBombError):
        return BadInput(RejectReason.OVERSIZED, text_of(error))
    file_format = _format_of(data)
    if file_format is None:
        return not_an_image(data[:HEAD_BYTES])
    if isinstance(error, UnidentifiedImageError):
        error = _opening_error(data, file_format)
    problem = text_of(error)
    if "truncated" in problem.lower() or _is_cut(data, file_format):
        return BadInput(RejectReason.TRUNCATED, f"{file_format}: the file ends before the image does ({problem})")
    if isinstance(error, NotImplementedError) or any(word in problem.lower() for word in _UNSUPPORTED_WORDS):
        return BadInput(RejectReason.UNSUPPORTED, f"{file_format}: {problem}")
    return BadInput(RejectReason.BROKEN, f"{file_format}: {problem}")


def _format_of(data: bytes) -> str | None:
    """The format that the first bytes announce, of those that are read here; a part of a signature will do."""
    for name, signatures in _SIGNATURES.items():
        if data.startswith(signatures) or (len(data) > 1 and any(each.startswith(data) for each in signatures)):
            return name
    return None


def _opening_error(data: bytes, file_format: str) -> Exception:
    """What Pillow's plugin said when it would not open the file: ``Image.open`` keeps it to itself."""
    factory, _ = Image.OPEN[file_format]
    try:
        factory(io.BytesIO(data), "").close()
    except Exception as error:  # noqa: BLE001 - plugins raise all sorts over damaged bytes
        return error
    return ValueError("it can't be identified")


def _is_cut(data: bytes, file_format: str) -> bool:
    """Whether the end of the file is missing, judged by the format's own end mark or stated length."""
    check = _CUT_CHECKS.get(file_format)
    try:
        return check is not None and check(data)
    except struct.error:  # too short to state its length
        return True


def _is_tiff_directory_cut(data: bytes) -> bool:
    """Whether the first directory, or a value that it points to, lies beyond the end (struct.error says so too)."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    start, count, entry, inline_bytes = ("8xQ", "Q", "HHQQ", 8) if is_big else ("4xI", "H", "HHII", 4)
    (offset,) = struct.unpack_from(order + start, data)
    (entries,) = struct.unpack_from(order + count, data, offset)
    offset += struct.calcsize(order + count)
    entry = order + entry
    for number in range(entries):
        _, kind, length, value = struct.unpack_from(entry, data, offset + number * struct.calcsize(entry))
        value_bytes = length * _TIFF_TYPE_BYTES.get(kind, 0)
        if value_bytes > inline_bytes and value + value_bytes > len(data):
            return True
    return False


_CUT_CHECKS: dict[str, Callable[[bytes], bool]] = {
    "PNG": lambda data: b"IEND" not in data[-64:],
    "JPEG": lambda data: not data.rstrip(b"\0").endswith(b"\xff\xd9"),
    "GIF": lambda data: not data.rstrip(b"\0").endswith(b";"),
    "JPEG2000": lambda data: b"\xff\xd9" not in data[-64:],
    "BMP": lambda data: struct.unpack_from("<I", data, 2)[0] > len(data),
    "WEBP": lambda data: struct.unpack_from("<I", data, 4)[0] + 8 > len(data),
    "TIFF": _is_tiff_directory_cut,
    "PPM": lambda data: len(data) < 16,
}


def _is_tiff_cut(image: Image.Image, size_bytes: int) -> bool:
    tags = getattr(image, "tag_v2", {})
    for pair in _TIFF_OFFSETS_AND_COUNTS:
        offsets, counts = (_numbers(tags.get(tag)) for tag in pair)
        ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
        if any(offset >= size_bytes for offset in offsets) or any(end > size_bytes for end in ends):
            return True
    return False


def _numbers(value: object) -> Sequence[int]:
    values = value if isinstance(value, tuple) else (value,)
    return [number for number in values if isinstance(number, int)]
