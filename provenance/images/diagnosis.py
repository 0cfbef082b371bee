"""Why bytes did not become an image: told from the bytes themselves, since decoders tell it each in its own way."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from provenance.images.entries import BadInput, text_of
from provenance.vocabulary import RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TIFF_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))
_TIFF_TYPE_BYTES = dict(zip((*range(1, 14), 16, 17, 18), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 8, 8, 8), strict=True))
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"RIFF": "WEBP",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
    b"P4": "PPM",
    b"P5": "PPM",
    b"P6": "PPM",
    b"Pf": "PPM",
}
_FOREIGN = {
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript document",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip-compressed",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"8BPS": "a Photoshop document",
    b"\0\0\1\0": "an icon",
    b"NRRD": "an NRRD volume",
    b"SQLite format 3": "a database",
}
_UNSUPPORTED_WORDS = ("unsupported", "not supported", "not implemented", "cannot handle", "unknown")


def check_whole(data: bytes, image: Image.Image) -> None:
    """Refuses, before it is decoded, a file that Pillow would not refuse by itself.

    Raises:
        BadInput: If a strip or tile of a TIFF lies beyond the end of the file, or if it is a plain-text PNM, whose
            last number may be cut without a trace.
    """
    if image.format == "TIFF" and _is_tiff_cut(image, len(data)):
        raise BadInput(RejectReason.TRUNCATED, "TIFF: its pixels lie beyond the end of the file")
    if image.format == "PPM" and data[:2] in (b"P1", b"P2", b"P3"):
        raise BadInput(RejectReason.UNSUPPORTED, "PNM as plain text is not read here: save it as binary PNM or PNG")


def diagnosed(data: bytes, error: Exception) -> BadInput:
    """What to call the failure ``error`` of decoding ``data``."""
    if isinstance(error, Image.DecompressionBombError):
        return BadInput(RejectReason.OVERSIZED, text_of(error))
    file_format = _format_of(data)
    if file_format is None:
        return _not_an_image(data)
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
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature) or (len(data) > 1 and signature.startswith(data)):
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


def _not_an_image(data: bytes) -> BadInput:
    if data[128:132] == b"DICM":
        return BadInput(RejectReason.UNSUPPORTED, "DICOM is not read yet")
    for signature, kind in _FOREIGN.items():
        if data.startswith(signature):
            return BadInput(RejectReason.UNSUPPORTED, f"{kind}, not an image")
    head = data[:512].decode("utf-8-sig", "ignore")
    if head and all(character.isprintable() or character.isspace() for character in head) and b"\0" not in data[:512]:
        kind = "HTML or XML" if head.lstrip().startswith("<") else "text"
        return BadInput(RejectReason.UNSUPPORTED, f"{kind}, not an image")
    return BadInput(RejectReason.BROKEN, "its first bytes are of no image format that is read here")


def _is_cut(data: bytes, file_format: str) -> bool:
    """Whether the end of the file is missing, judged by the format's own end mark or stated length."""
    check = _CUT_CHECKS.get(file_format)
    try:
        return check is not None and check(data)
    except struct.error:  # too short to state its length
        return True


def _is_bmp_cut(data: bytes) -> bool:
    return bool(struct.unpack_from("<I", data, 2)[0] > len(data))


def _is_webp_cut(data: bytes) -> bool:
    return bool(struct.unpack_from("<I", data, 4)[0] + 8 > len(data))


def _is_tiff_directory_cut(data: bytes) -> bool:
    """Whether the first directory, or a value that it points to, lies beyond the end (struct.error says so too)."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    start, count, entry, inline_bytes = ("8xQ", "Q", "HHQQ", 8) if is_big else ("4xI", "H", "HHII", 4)
    (offset,) = struct.unpack_from(order + start, data)
    (entries,) = struct.unpack_from(order + count, data, offset)
    offset += struct.calcsize(order + count)
    for number in range(entries):
        _, kind, length, value = struct.unpack_from(
            order + entry, data, offset + number * struct.calcsize(order + entry)
        )
        value_bytes = length * _TIFF_TYPE_BYTES.get(kind, 0)
        if value_bytes > inline_bytes and value + value_bytes > len(data):
            return True
    return False


_CUT_CHECKS: dict[str, Callable[[bytes], bool]] = {
    "PNG": lambda data: b"IEND" not in data[-64:],
    "JPEG": lambda data: not data.rstrip(b"\0").endswith(b"\xff\xd9"),
    "GIF": lambda data: not data.rstrip(b"\0").endswith(b";"),
    "JPEG2000": lambda data: b"\xff\xd9" not in data[-64:],
    "BMP": _is_bmp_cut,
    "WEBP": _is_webp_cut,
    "TIFF": _is_tiff_directory_cut,
    "PPM": lambda data: len(data) < 16,
}


def _is_tiff_cut(image: Image.Image, size_bytes: int) -> bool:
    tags = getattr(image, "tag_v2", {})
    for offsets_tag, counts_tag in _TIFF_OFFSETS_AND_COUNTS:
        offsets, counts = _numbers(tags.get(offsets_tag)), _numbers(tags.get(counts_tag))
        if any(offset >= size_bytes for offset in offsets):
            return True
        if any(offset + count > size_bytes for offset, count in zip(offsets, counts, strict=False)):
            return True
    return False


def _numbers(value: object) -> Sequence[int]:
    values = value if isinstance(value, tuple) else (value,)
    return [number for number in values if isinstance(number, int)]
