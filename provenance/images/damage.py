"""Damage that a decoder fills up in silence: told before what it made up is taken for the image.

- JPEG, and JPEG inside of a TIFF: libjpeg gives grey or smeared blocks for what it can't decode, and Pillow keeps its
  warnings to itself. The code is read once more, at an eighth of the size, by a libjpeg that ends at the first warning.
  It is no damage where zeros stand before the end mark, or other bytes behind it, or where it alone is missing. No
  scan may be missing: a progressive JPEG that is cut between two of them is a coarser image, without a warning.
- TIFF: what libtiff says on stderr alone, checksums of Deflate that lie behind the last pixel, and sixteen zeros in a
  row of a group 4 fax, which no code has (T.6) and libtiff takes for the end.
- PNG: the checksums of the chunks of pixels, which Pillow does not compare.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
import zlib
from typing import TYPE_CHECKING, Any

from simplejpeg import decode_jpeg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL import Image

_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff([^\0\xd0-\xd7\xff])", re.DOTALL)
_SCAN, _START, _STOP = 0xDA, 0xD8, 0xD9
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1, 0xC9), (0xC2, 0xCA)
_COEFFICIENTS = 64
_DAMAGE_WORDS = ("Corrupt JPEG data", "Premature end of JPEG file", "Inconsistent progression")
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MOST_ZEROS = 16
"""At the end of the code of an image; behind them they are padding."""
_MOST_HEARD = 64 * 1024
_COMPRESSION, _JPEG_TABLES, _JPEG, _DEFLATE, _GROUP_4 = 259, 347, 7, (8, 32946), 4
_FAX_OPTIONS, _UNCOMPRESSED = 293, 2
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))
_MOST_BYTES_OF_A_PIXEL = 32
_OTHER_CHECKSUM = "the checksum of its pixels is of others"
_BLOCK_BYTES = 2**20


def damage_of_jpeg(code: bytes) -> str:
    """What is wrong with a JPEG stream that Pillow has decoded; empty: nothing."""
    problem = _warning_of(code)
    if problem.startswith("Premature end of JPEG file"):
        problem = _warning_of(code + _END)
    if (found := _EXTRANEOUS.search(problem)) and _is_padding(code, int(found[1])):
        problem = ""
    return problem or ("its last scans are missing" if _is_unfinished(code) else "")


def _is_padding(code: bytes, count: int) -> bool:
    """Whether so many bytes before the end mark are zeros, and not what is left of a zeroed part."""
    at = code.find(bytes(count) + _END)
    return at >= 0 and bytes(_MOST_ZEROS) != code[max(0, at - _MOST_ZEROS) : at]


def _warning_of(code: bytes) -> str:
    try:
        decode_jpeg(code, colorspace="GRAY", min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:  # also of kinds that it does not read
        return str(error) if str(error).startswith(_DAMAGE_WORDS) else ""
    return ""


def _is_unfinished(code: bytes) -> bool:
    """Whether a scan is missing that should have brought a component, or bits of its coefficients (T.81, G.1)."""
    lacking: dict[int, list[int]] = {}
    is_progressive = False
    for marker, body in _segments(code):
        if marker in _PROGRESSIVE + _SEQUENTIAL:
            is_progressive = marker in _PROGRESSIVE
            lacking = {component: [1] * _COEFFICIENTS for component in body[6::3]}
        elif marker == _SCAN and len(body) >= 4:
            first, last, low = (body[-3], body[-2], body[-1] & 15) if is_progressive else (0, _COEFFICIENTS - 1, 0)
            for component in body[1:-3:2]:
                for place in range(first, min(last + 1, _COEFFICIENTS)) if component in lacking else ():
                    lacking[component][place] = low
    return any(any(bits) for bits in lacking.values())


def _segments(code: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers of the first image in a JPEG stream, with what they hold."""
    at = 2
    while (found := _MARKER.search(code, at)) and found[1][0] != _STOP:
        at, size = found.end(), int.from_bytes(code[found.end() : found.end() + 2], "big")
        if found[1][0] != _START:
            yield found[1][0], code[at + 2 : at + size]
            at += size


def damage_of_png(data: bytes) -> str:
    """What is wrong with the pixels of a PNG that Pillow has decoded; empty: nothing."""
    at = 8
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + size
        if (
            kind == b"IDAT"
            and end + 4 <= len(data)
            and data[end : end + 4] != struct.pack(">I", zlib.crc32(memoryview(data)[at + 4 : end]))
        ):
            return _OTHER_CHECKSUM
        at = end + 4
    return ""


def load_tiff(image: Image.Image, data: bytes) -> str:
    """Decodes a page of a TIFF and gives what is wrong with it; empty: nothing."""
    if said := _heard(image):
        return said
    tags = getattr(image, "tag_v2", {})
    if tags.get(_COMPRESSION) == _JPEG:
        tables = tags.get(_JPEG_TABLES, b"")
        codes = (tables[:-2] + code[2:] if tables else code for code in _codes(tags, data))
        return next(filter(None, map(damage_of_jpeg, codes)), "")
    if tags.get(_COMPRESSION) in _DEFLATE:
        most = image.width * image.height * _MOST_BYTES_OF_A_PIXEL
        return next((_OTHER_CHECKSUM for code in _codes(tags, data) if _has_other_checksum(code, most)), "")
    if tags.get(_COMPRESSION) == _GROUP_4 and not tags.get(_FAX_OPTIONS, 0) & _UNCOMPRESSED:
        return "zeros in its fax code" if any(b"\0\0" in code.rstrip(b"\0") for code in _codes(tags, data)) else ""
    return ""


def is_tiff_cut(image: Image.Image, size_bytes: int) -> bool:
    """Whether pixels of a TIFF's page lie beyond the end of the file."""
    return any(at >= size_bytes or at + count > size_bytes for at, count in _places(getattr(image, "tag_v2", {})))


def _codes(tags: Any, data: bytes) -> Iterator[bytes]:
    """The code of each strip or tile."""
    return (data[at : at + count] for at, count in _places(tags))


def _places(tags: Any) -> Iterator[tuple[int, int]]:
    for pair in _OFFSETS_AND_COUNTS:
        yield from zip(*(_numbers(tags.get(tag)) for tag in pair), strict=False)


def _numbers(value: object) -> Sequence[int]:
    values = value if isinstance(value, tuple) else (value,)
    return [number for number in values if isinstance(number, int)]


def _has_other_checksum(code: bytes, most: int) -> bool:
    """Whether a stream of Deflate ends with a checksum of other bytes; one without an end has none."""
    stream, size = zlib.decompressobj(), 0
    try:
        while code and not stream.eof and size <= most:
            size += len(stream.decompress(code, _BLOCK_BYTES))
            code = stream.unconsumed_tail
    except zlib.error as error:
        return "incorrect data check" in str(error)
    return False


def _heard(image: Image.Image) -> str:
    """Of a damaged fax code libtiff tells on stderr alone, and gives white lines for it."""
    try:
        kept = os.dup(2)
    except OSError:  # a process without stderr
        image.load()
        return ""
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        try:
            image.load()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        heard.seek(0)
        said = heard.read(_MOST_HEARD).decode("utf-8", "replace").splitlines()
    failures = (line for line in said if ("Decode" in line or line.startswith("JPEGLib")) and "Warning" not in line)
    return next(failures, "")
