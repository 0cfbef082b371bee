"""The decoder of raster files, with Pillow: canonical pixels, 8 bits, RGB, upright, over black.

The rules, in this order (Pillow's own arithmetic wherever it has one):

1. Pages and frames: of a TIFF an image each, of animated GIF, WebP and PNG and of MPO the first, unless it is asked
   otherwise. Pages of a TIFF that it calls reduced copies or masks of others are no images. Formats: PNG, JPEG, TIFF,
   BMP, WebP, GIF, JPEG 2000, binary PNM.
2. Grey of more than 8 bits becomes ``(v - low) * 256 // (high - low + 1)``. The range is what the file declares: the
   bits of a TIFF (12), a ``MaxSampleValue`` of all ones in 8 bits or more, of a PNG the bits of ``sBIT`` where its
   values stand in the low bits; PNM and JPEG 2000 are brought to 16 bits by what they declare. Else it is the stated
   range (``Canonical.grey_range``), else that of the type: 0..65535, signed -32768..32767. 8 bits that were widened,
   by ``v * 257`` or by ``v * 256``, come back exactly, and 16-bit colour, of which Pillow keeps the high byte, is
   treated alike. 32-bit integers have no range unless one is stated: unsupported.
3. Float grey, and other grey where the stated range is no whole numbers, becomes
   ``rint(255 (v - low) / (high - low))``, half to even. Where none is stated it is 0..1, and values outside are
   unsupported; NaN or infinity is not finite. What lies outside of a stated range is black or white; an image of
   which more than half lies above it is of another range: unsupported.
4. Palette and transparency (alpha channel, transparent palette entries, a transparent colour) go through RGBA
   and are laid over black: ``round(c a / 255)``.
5. Everything else (grey, 1-bit, CMYK, YCbCr, HSV) by Pillow's ``convert("RGB")``. Colour profiles and gamma
   are not applied.
6. EXIF orientation is applied; an EXIF block that can't be read counts as none.

Version 1 of the rules takes the first page of any file, and knows no range but that of the type.

Where that leaves fewer than 16 grey levels of more values, or fewer than 32 of four times as many, the picture is
marked as coarse: it need not be what the image shows.

A grey image is carried as one channel: RGB with three equal channels, at a third of the cost.
"""

from __future__ import annotations

import io
import re
import struct
import sys
import threading
import warnings
import zlib
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import PIL
from PIL import Image, PngImagePlugin, UnidentifiedImageError

# Imported for their registration: Pillow would otherwise import all its plugins at the first TIFF or WebP.
from PIL import Jpeg2KImagePlugin as _Jpeg2KImagePlugin  # noqa: F401
from PIL import MpoImagePlugin as _MpoImagePlugin  # noqa: F401
from PIL import TiffImagePlugin as _TiffImagePlugin  # noqa: F401
from PIL import WebPImagePlugin as _WebPImagePlugin  # noqa: F401

from provenance.images.damage import damage_of_jpeg, damage_of_png, is_tiff_cut, load_tiff
from provenance.images.depth import FEW_LEVELS, Depth, check_range, coarse_levels, grey_of, levels_in
from provenance.images.foreign import not_an_image
from provenance.images.frames import HEAD_BYTES, BadInput, Decoder, Picture, strips_of, text_of
from provenance.images.headers import (
    MOST_ENTRIES,
    MOST_PAGES,
    MOST_PARTS,
    MOST_TEXT_BYTES,
    check_headers,
    too_much,
)
from provenance.vocabulary import Pages, RejectReason, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provenance.images.frames import Levels, Pixels, Reading
    from provenance.vocabulary import Canonical

_GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO, _MAX_SAMPLE, _SUBFILE, _OLD_SUBFILE = 258, 262, 0, 281, 254, 255
_REDUCED, _MASK, _OLD_REDUCED, _SHORT = 1, 4, 2, 3
_SAMPLE_FORMAT, _SIGNED = 339, 2
_GREY_WITH_ALPHA = 4
_MOST_PNM_HEADER = 4096
_SHARED_BYTES = 16 * 1024**2
_PNM_HEADER = re.compile(rb"P[56](?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+(\d{1,5})\s")
_ORIENTATION = 0x0112
_UPRIGHT_BY_ORIENTATION: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
_one_at_a_time = threading.Lock()
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
_JPEG_KINDS = {0xC3: "lossless JPEG", 0xF7: "JPEG-LS", 0xC9: "arithmetic-coded JPEG"}
_TOO_MUCH_TEXT = ("too large for pngimageplugin", "too much memory used in text chunks")


class RasterDecoder(Decoder):
    """What Pillow reads, of the formats above. A page must be there as a whole: no damage is filled up."""

    name = "raster"
    version = f"2 (Pillow {PIL.__version__})"

    def takes(self, head: bytes, name: str) -> bool:
        """Whether Pillow would open it, or it begins as such a file does."""
        Image.preinit()
        accepts = (Image.OPEN[each][1] for each in _FORMATS)
        padded = head.ljust(16, b"\0")
        return _format_of(head) is not None or any(accept is None or accept(padded) is True for accept in accepts)

    def frames(self, data: bytes, reading: Reading) -> Iterator[Picture]:
        """The pages or frames that are asked for; what can't be read of several is told behind the others."""
        if not reading.is_on_record:
            _check_headers(data)
        file, damaged = _File(data), {}
        try:
            chosen = file.chosen(reading)
            for place, number in enumerate(chosen.numbers):
                try:
                    picture = file.picture(number, reading, chosen, is_first=not place)
                except BadInput as damage:
                    damaged[number] = damage
                else:
                    yield picture
        finally:
            file.close()
        if damaged:
            raise _damage_of(damaged, chosen)
        if chosen.damage is not None:
            raise chosen.damage


class _Chosen(NamedTuple):
    """Pages by number, from 1; whether the numbers tell them apart; what else there is, and what ended the list."""

    numbers: Sequence[int]
    are_several: bool
    left_out: int = 0
    reduced: int = 0
    damage: BadInput | None = None


def _damage_of(damaged: dict[int, BadInput], chosen: _Chosen) -> BadInput:
    """One failure for the pages that could not be read."""
    first, failure = next(iter(damaged.items()))
    if not chosen.are_several or len(chosen.numbers) == 1:
        return failure
    others = f", and {counted(len(damaged) - 1, 'other page')}" if len(damaged) > 1 else ""
    return BadInput(failure.reason, f"page {first} of {len(chosen.numbers)}{others}: {failure.detail}")


class _File:
    """An open file. Pillow is at work one call at a time, and what it is made to do differs nowhere else."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        with _at_work(data):
            self._image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)

    def close(self) -> None:
        self._image.close()

    def chosen(self, reading: Reading) -> _Chosen:
        if reading.page is not None:
            return _Chosen((reading.page,), are_several=True)
        is_tiff = self._image.format == "TIFF"
        with _at_work(self._data):
            pages, reduced, damage = _tiff_pages(self._data) if is_tiff else (_count_of(self._image), 0, None)
        default = Pages.ALL if is_tiff and reading.canonical.version > 1 else Pages.FIRST
        wanted = reading.pages or default
        if wanted is Pages.ALL and len(pages) > MOST_PAGES:
            raise too_much(self._image.format, f"more than {MOST_PAGES:,} pages")
        if wanted is Pages.FIRST or (len(pages) == 1 and damage is None):
            first = 1 if reading.canonical.version == 1 else pages[0]
            return _Chosen((first,), are_several=False, left_out=len(pages) - 1, reduced=reduced)
        return _Chosen(pages, are_several=len(pages) > 1, reduced=reduced, damage=damage)

    def picture(self, number: int, reading: Reading, chosen: _Chosen, *, is_first: bool) -> Picture:
        image = self._image
        with _at_work(self._data):
            try:
                if image.tell() != number - 1:
                    image.seek(number - 1)
            except EOFError as error:
                raise BadInput(RejectReason.UNREADABLE, f"it has no page {number}") from error
            _check_size(image, reading.max_pixels)
            _check_whole(self._data, image)
            file_format, mode = image.format or "", image.mode
            _load(image, self._data, reading)
            if file_format == "PNG" and mode == "RGB" and self._data[24] == 16:
                # The transparent colour has 16 bits, the pixels that Pillow gives have 8: they can't be compared.
                image.info.pop("transparency", None)
            pixels, coarse = _eight_bits(image, self._data, number, reading.canonical)
            turned = _UPRIGHT_BY_ORIENTATION.get(_orientation(image))
            if number == chosen.numbers[-1]:  # what was decoded is not held any longer
                self._image = image = Image.new("1", (1, 1))
            return Picture(
                pixels if turned is None else np.ascontiguousarray(turned(pixels)),
                file_format,
                mode,
                number if chosen.are_several else None,
                coarse,
                chosen.left_out if is_first else 0,
                chosen.reduced if is_first else 0,
            )


@contextmanager
def _at_work(data: bytes) -> Iterator[None]:
    """Pillow with our limits in place of its own, and its failures told as ours.

    Its warnings are kept from anyone who made them errors. Filters and limits are the process's, hence the lock.
    """
    limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    with _one_at_a_time, warnings.catch_warnings(action="ignore"):
        try:
            Image.MAX_IMAGE_PIXELS = None
            PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT_BYTES
            yield
        except (BadInput, MemoryError):
            raise
        except Exception as error:  # Pillow's plugins raise whatever damaged bytes make them raise
            raise _diagnosed(data, error) from error
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = limits


_DAMAGE_CHECKS = {"JPEG": damage_of_jpeg, "MPO": damage_of_jpeg, "PNG": damage_of_png}


def _load(image: Image.Image, data: bytes, reading: Reading) -> None:
    """Decodes it; raises ``BadInput`` if its library filled up what is damaged."""
    if image.format == "TIFF":
        damage = load_tiff(image, data)
    else:
        image.load()
        check = None if reading.is_on_record else _DAMAGE_CHECKS.get(image.format or "")
        damage = check(data[getattr(image, "offset", 0) :]) if check is not None else ""
    if damage and not reading.is_on_record:
        raise BadInput(RejectReason.BROKEN, f"{image.format}: it is damaged ({damage})")


def _check_headers(data: bytes) -> None:
    file_format = _format_of(data)
    check_headers(data, file_format)
    if file_format == "TIFF":
        with suppress(struct.error, ValueError):
            _check_directories(data)


def _check_directories(data: bytes) -> None:
    """Holds the directories of a TIFF to the limits: no two of a sound file overlap, and few of their values do."""
    layout = _layout_of(data)
    held = values = 0
    for place, entries in enumerate(_entry_lists(data, layout)):
        held += len(entries) * struct.calcsize(layout.entry)
        for _, kind, length, at in entries:
            size = length * _TIFF_TYPE_BYTES.get(kind, 0)
            values += size if layout.inline_bytes < size <= len(data) - at else 0
        if held > len(data) or values > 2 * len(data) + _SHARED_BYTES:
            raise BadInput(RejectReason.BROKEN, f"TIFF: directory {place + 1} overlaps itself or others")
        if place >= MOST_PARTS:
            raise too_much("TIFF", f"more than {MOST_PARTS:,} pages")


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        detail = f"{image.width} x {image.height} pixels, where the limit is {max_pixels} pixels"
        raise BadInput(RejectReason.OVERSIZED, detail)


def _count_of(image: Image.Image) -> Sequence[int]:
    try:
        return range(1, getattr(image, "n_frames", 1) + 1)
    except Exception:  # noqa: BLE001 - damage behind the first frame says nothing about that one
        return (1,)


def _tiff_pages(data: bytes) -> tuple[Sequence[int], int, BadInput | None]:
    """The numbers of the pages that are images, how many are reduced copies or masks, and what ended the list."""
    pages, reduced, number, damage = [], 0, 0, None
    try:
        for number, values in enumerate(_directories(data), start=1):
            if values.get(_SUBFILE, 0) & (_REDUCED | _MASK) or values.get(_OLD_SUBFILE) == _OLD_REDUCED:
                reduced += 1
            else:
                pages.append(number)
    except (struct.error, ValueError):
        damage = BadInput(RejectReason.TRUNCATED, f"TIFF: page {number + 1} lies beyond the end of the file")
    if not pages:  # a lone thumbnail is what there is, and damage to the first page is Pillow's to tell
        return range(1, max(number, 1) + 1), 0, damage if number else None
    return pages, reduced, damage


def _eight_bits(image: Image.Image, data: bytes, number: int, rule: Canonical) -> tuple[Pixels, Levels | None]:
    """The image as grey or RGB, and what is left of its levels where that is little."""
    is_signed = rule.version > 1 and _is_signed_byte(image)
    if is_signed and image.mode != "L":
        raise BadInput(RejectReason.UNSUPPORTED, "TIFF: colours of signed 8 bits: save it in unsigned ones")
    if image.mode in _GREY_16 or image.mode == "F" or is_signed:
        return _deep_grey(image, data, rule)
    if image.has_transparency_data:
        pixels = _by_strips(image, lambda strip: np.asarray(_over_black(strip.convert("RGBA"))))
    else:
        mode = "L" if image.mode in ("1", "L") else "RGB"
        pixels = _by_strips(image, lambda strip: np.asarray(strip if strip.mode == mode else strip.convert(mode)))
    if image.mode in ("RGB", "RGBA", "LA") and _bits_of(image, data) == 16:
        return pixels, _coarse_colour(image, data, number)
    return pixels, None


def _bits_of(image: Image.Image, data: bytes) -> int:
    """Bits of a stored sample, where the format may have 16 of them in colours."""
    return data[24] if image.format == "PNG" else _tiff_tag(image, _BITS_PER_SAMPLE, 8)


def _coarse_colour(image: Image.Image, data: bytes, number: int) -> Levels | None:
    """Whether the high bytes, which Pillow gives of 16-bit colour, are too few for the values that they are of."""
    if levels_in(strip[..., :3] for strip in _strips_of_values(image)) >= FEW_LEVELS:
        return None
    high = np.asarray(image)[..., :3]
    if image.format == "PNG" and data[25] == _GREY_WITH_ALPHA:
        # two samples of 16 bits lie as four of 8 do
        header = data[12:24] + b"\x08\x06" + data[26:29]
        low = np.asarray(_image_of(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:], 1))[..., 1:2]
    else:
        low = np.asarray(_image_of(data, number, _of_other_byte))[..., :3]
    coarse = coarse_levels(high, iter([high.astype(np.uint16) * 256 + low]))
    return coarse and replace(coarse, are_colour=True)


def _image_of(data: bytes, number: int, args: Callable[[Any], Any] = lambda args: args) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        image.seek(number - 1)
        image.tile = [tile._replace(args=args(tile.args)) for tile in image.tile]
        image.load()
    return image


def _of_other_byte(args: Any) -> Any:
    """A tile's raw mode that takes the other byte of each sample."""
    if isinstance(args, tuple):
        return (_of_other_byte(args[0]), *args[1:])
    own = ";16L" if args.endswith(";16L") or (args.endswith(";16N") and sys.byteorder == "little") else ";16B"
    return args[:-4] + (";16B" if own == ";16L" else ";16L")


def _by_strips(image: Image.Image, made: Callable[[Image.Image], Pixels]) -> Pixels:
    strips = list(strips_of(image.height, image.width))
    if len(strips) == 1:
        return made(image)
    pixels: Pixels | None = None
    for rows in strips:
        strip = made(image.crop((0, rows.start, image.width, rows.stop)))
        if pixels is None:
            pixels = np.empty((image.height, *strip.shape[1:]), dtype=np.uint8)
        pixels[rows] = strip
    assert pixels is not None
    return pixels


def _deep_grey(image: Image.Image, data: bytes, rule: Canonical) -> tuple[Pixels, Levels | None]:
    depth, is_byte = _depth_of(image, data, rule), image.mode == "L"
    white, transparent = _is_white_zero(image) and not is_byte, image.info.get("transparency")

    def made(strip: Image.Image) -> Pixels:
        values = _stored(strip)
        grey = grey_of(values, depth)
        if white:
            grey = 255 - grey
        if isinstance(transparent, int):
            grey[values == transparent] = 0
        return grey

    pixels = _by_strips(image, made)
    check_range(_strips_of_values(image), depth, rule)
    return pixels, coarse_levels(pixels, _strips_of_values(image))


def _strips_of_values(image: Image.Image) -> Iterator[np.ndarray[Any, Any]]:
    for rows in strips_of(image.height, image.width):
        yield _stored(image.crop((0, rows.start, image.width, rows.stop)))


def _stored(grey: Image.Image) -> np.ndarray[Any, Any]:
    """The values of grey; 8 bits are here only where they are signed, which Pillow gives as if they were not."""
    values = np.asarray(grey)
    return values.view(np.int8) if grey.mode == "L" else values


def _is_signed_byte(image: Image.Image) -> bool:
    return _tiff_tag(image, _BITS_PER_SAMPLE, 0) == 8 and _tiff_tag(image, _SAMPLE_FORMAT, 1) == _SIGNED


def _depth_of(image: Image.Image, data: bytes, rule: Canonical) -> Depth:
    """The range of values that becomes black to white: declared, else stated, else that of the type."""
    if image.mode == "F":
        return Depth.stated(rule) or Depth(0, 1, is_held=True)
    if image.mode == "L":
        return Depth.stated(rule) or Depth(-128, 127)
    bits = _tiff_tag(image, _BITS_PER_SAMPLE, 16)
    if bits < 16 or (image.format in ("PPM", "JPEG2000") and not _declares_16_bits(data)):
        return Depth(0, 2 ** min(bits, 16) - 1)
    declared = _declared_bits(image, data) if rule.version > 1 else None
    if declared is not None:
        return Depth(0, 2**declared - 1)
    if image.mode == "I" and bits == 32 and rule.grey_range is None:
        raise BadInput(RejectReason.UNSUPPORTED, "32-bit integer grey, whose range is not declared: state --grey-range")
    is_signed = image.mode == "I" and image.format == "TIFF"  # Pillow's mode for signed 16 bits
    return Depth.stated(rule) or (Depth(-32768, 32767) if is_signed else Depth(0, 65535))


def _declares_16_bits(data: bytes) -> bool:
    """Of PNM and JPEG 2000, which Pillow brings to 16 bits by what they declare: whether it is all of these."""
    if data[:1] == b"P":
        found = _PNM_HEADER.match(data[:_MOST_PNM_HEADER])
        return found is not None and int(found[1]) == 65535
    at = data.find(b"\xff\x51")  # the marker of the size, and 40 bytes behind it the bits of the first component
    return at >= 0 and len(data) > at + 40 and (data[at + 40] & 0x7F) + 1 == 16


def _declared_bits(image: Image.Image, data: bytes) -> int | None:
    """The bits that the values have, where the file says that they have fewer than 16 and they do."""
    if image.format == "TIFF":
        if image.mode == "I":  # signed
            return None
        bits = (_tiff_tag(image, _MAX_SAMPLE, 0) + 1).bit_length() - 1
        return bits if 8 <= bits < 16 and _tiff_tag(image, _MAX_SAMPLE, 0) == 2**bits - 1 else None
    bits = _significant_bits(data) if image.format == "PNG" else 0
    if not 0 < bits < 16:
        return None
    # the format has them scaled up; medical writers leave them in the low bits
    are_low = all(int(values.max()) < 2**bits for values in _strips_of_values(image))
    are_scaled = all(not (values % 2 ** (16 - bits)).any() for values in _strips_of_values(image))
    return bits if are_low and not are_scaled else None


def _significant_bits(data: bytes) -> int:
    """What ``sBIT`` says of a PNG's first channel; 0: nothing."""
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"sBIT" and length:
            return data[at + 8]
        if kind in (b"IDAT", b"IEND"):
            return 0
        at += 12 + length
    return 0


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
    if image.format == "TIFF" and is_tiff_cut(image, len(data)):
        raise BadInput(RejectReason.TRUNCATED, "TIFF: its pixels lie beyond the end of the file")
    if image.format == "PPM" and data[:2] in (b"P1", b"P2", b"P3"):
        raise BadInput(RejectReason.UNSUPPORTED, "PNM as plain text is not read here: save it as binary PNM or PNG")


def _diagnosed(data: bytes, error: Exception) -> BadInput:
    """What to call the failure ``error`` of decoding ``data``."""
    file_format = _format_of(data)
    if file_format is None:
        return not_an_image(data[:HEAD_BYTES], len(data), data[-HEAD_BYTES:])
    if (kind := _foreign_kind(data)) is not None:
        return BadInput(RejectReason.UNSUPPORTED, f"{file_format}: {kind}")
    if isinstance(error, UnidentifiedImageError):
        error = _opening_error(data, file_format)
    problem = text_of(error)
    if any(words in problem.lower() for words in _TOO_MUCH_TEXT):
        detail = f"{file_format}: more than {MOST_TEXT_BYTES >> 20} MiB of text or colour profile: save it without"
        return BadInput(RejectReason.UNSUPPORTED, detail)
    if "truncated" in problem.lower() or _is_cut(data, file_format):
        return BadInput(RejectReason.TRUNCATED, f"{file_format}: the file ends before the image does ({problem})")
    if isinstance(error, NotImplementedError) or any(word in problem.lower() for word in _UNSUPPORTED_WORDS):
        advice = ": save it in 8 or 16 bits, or as 32-bit float" if "pixel mode" in problem else ""
        return BadInput(RejectReason.UNSUPPORTED, f"{file_format}: {problem}{advice}")
    return BadInput(RejectReason.BROKEN, f"{file_format}: {problem}")


def _foreign_kind(data: bytes) -> str | None:
    """What bears the signature of a format that is read here, and is of a kind that is not."""
    if data[:4] == b"MM\0+":
        return "BigTIFF in big-endian order is not read here: save it as a classic TIFF"
    if data[:2] in (b"II", b"MM") and data[8:10] == b"CR":
        return "a camera's raw file (CR2) is not read here: save it as TIFF or PNG"
    at = 2
    while data[:2] == b"\xff\xd8" and data[at : at + 1] == b"\xff" and len(data) >= at + 4:
        if data[at + 1] in _JPEG_KINDS:
            return f"{_JPEG_KINDS[data[at + 1]]} is not read here: save it as PNG"
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


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
    layout = _layout_of(data)
    (offset,) = struct.unpack_from(layout.start, data)
    for _, kind, length, value in _entries(data, layout, offset)[0]:
        value_bytes = length * _TIFF_TYPE_BYTES.get(kind, 0)
        if value_bytes > layout.inline_bytes and value + value_bytes > len(data):
            return True
    return False


class _Layout(NamedTuple):
    """How the directories of a TIFF are written: formats of ``struct``."""

    start: str
    number: str
    entry: str
    following: str
    inline_bytes: int


def _layout_of(data: bytes) -> _Layout:
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    if is_big:
        return _Layout(order + "8xQ", order + "Q", order + "HHQQ", order + "Q", 8)
    return _Layout(order + "4xI", order + "H", order + "HHII", order + "I", 4)


def _entries(data: bytes, layout: _Layout, offset: int) -> tuple[list[tuple[int, int, int, int]], int]:
    """The entries of one directory (tag, type, length, value or where it is), and where the next directory is."""
    (number,) = struct.unpack_from(layout.number, data, offset)
    if offset + number * struct.calcsize(layout.entry) > len(data):
        raise struct.error("its entries end behind the file")
    if number > MOST_ENTRIES:
        raise too_much("TIFF", f"a directory of more than {MOST_ENTRIES:,} entries")
    offset += struct.calcsize(layout.number)
    size = struct.calcsize(layout.entry)
    entries = [struct.unpack_from(layout.entry, data, offset + place * size) for place in range(number)]
    return cast("list[tuple[int, int, int, int]]", entries), offset + number * size


def _entry_lists(data: bytes, layout: _Layout) -> Iterator[list[tuple[int, int, int, int]]]:
    """The entries of each directory; ``struct.error`` or ``ValueError`` where that ends."""
    (offset,) = struct.unpack_from(layout.start, data)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise ValueError("directories in a circle")
        seen.add(offset)
        entries, end = _entries(data, layout, offset)
        yield entries
        (offset,) = struct.unpack_from(layout.following, data, end)


def _directories(data: bytes) -> Iterator[dict[int, int]]:
    """The single numbers in each directory of a TIFF, by tag; ``struct.error`` or ``ValueError`` where that ends."""
    layout = _layout_of(data)
    is_high = layout.start.startswith(">")
    for entries in _entry_lists(data, layout):
        yield {
            tag: value >> (8 * layout.inline_bytes - 16 if kind == _SHORT and is_high else 0)
            for tag, kind, length, value in entries
            if length == 1
        }


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
