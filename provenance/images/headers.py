"""How much a file's headers may hold: counted before a decoder walks them, for it makes an object of each part.

A sound file is far from these limits. Pixels are held to ``max_pixels``; what decoding costs in time and memory is the
worker's to limit.
"""

from __future__ import annotations

import re
import struct
from itertools import islice
from typing import TYPE_CHECKING

from provenance.images.frames import BadInput
from provenance.vocabulary import RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_PAGES = 5_000
MOST_PARTS = 100_000
"""Chunks, blocks, segments, boxes or directories of a file."""
MOST_ENTRIES = 4_096
"""Of one directory of a TIFF."""
MOST_TEXT_BYTES = 64 * 1024**2
_MOST_SEGMENT_BYTES = 32 * 1024**2
_MOST_PROFILES = 4
_MOST_BLOCKS = 2_000_000
_MOST_PNM_HEADER = 64 * 1024
_COMMENT = re.compile(rb"#[^\r\n]*")


def check_headers(data: bytes, file_format: str | None) -> None:
    """Raises ``BadInput`` where a file has more in its headers than is walked; damage is the decoder's to tell."""
    walk = _WALKS.get(file_format or "")
    try:
        if walk is not None and sum(1 for _ in islice(walk(data), MOST_PARTS + 1)) > MOST_PARTS:
            raise too_much(file_format, f"more than {MOST_PARTS:,} parts")
    except (struct.error, IndexError):
        return


def too_much(file_format: str | None, what: str) -> BadInput:
    """The refusal of a file with ``what``, which is the limit."""
    return BadInput(RejectReason.OVERSIZED, f"{file_format}: it has {what}, which is the limit")


def _png_chunks(data: bytes) -> Iterator[int]:
    at, profiles = 8, 0
    while at + 12 <= len(data):
        yield at
        size, kind = struct.unpack_from(">I4s", data, at)
        profiles += kind == b"iCCP"
        if profiles > _MOST_PROFILES:
            raise too_much("PNG", f"more than {_MOST_PROFILES} colour profiles")
        at += 12 + int(size)


def _jpeg_segments(data: bytes) -> Iterator[int]:
    """Up to the first scan; fill bytes before a marker count too."""
    at, fill = 2, 0
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        yield at
        if data[at + 1] == 0xFF:
            at, fill = at + 1, fill + 1
        else:
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
        if at - fill > _MOST_SEGMENT_BYTES:
            raise too_much("JPEG", f"more than {_MOST_SEGMENT_BYTES >> 20} MiB before its pixels")


def _gif_blocks(data: bytes) -> Iterator[int]:
    at = 13 + _colours(data[10])
    blocks = text = 0
    while data[at] in (0x21, 0x2C):
        yield at
        is_image = data[at] == 0x2C
        start = at = at + (11 + _colours(data[at + 9]) if is_image else 2)
        while data[at]:
            at, blocks = at + 1 + data[at], blocks + 1
            if blocks > _MOST_BLOCKS:
                raise too_much("GIF", f"more than {_MOST_BLOCKS:,} blocks")
        text += 0 if is_image else at - start
        if text > MOST_TEXT_BYTES:
            raise too_much("GIF", f"more than {MOST_TEXT_BYTES >> 20} MiB of comments")
        at += 1


def _colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp_chunks(data: bytes) -> Iterator[int]:
    at = 12
    while at + 8 <= len(data):
        yield at
        size = int(struct.unpack_from("<I", data, at + 4)[0])
        at += 8 + size + size % 2


def _boxes(data: bytes, at: int = 0, within: int | None = None) -> Iterator[int]:
    end = len(data) if within is None else min(within, len(data))
    while at + 8 <= end:
        yield at
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"jp2h" and within is None:
            yield from _boxes(data, at + 8, at + size)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size < 8:  # the last one, to the end
            return
        at += size


def _pnm_header(data: bytes) -> Iterator[int]:
    head = data[:_MOST_PNM_HEADER]
    is_whole = len(data) <= _MOST_PNM_HEADER or len(_COMMENT.sub(b"", head).split(None, 4)) > 3
    if not is_whole:
        raise too_much("PPM", f"a header of more than {_MOST_PNM_HEADER >> 10} KiB")
    yield 0


_WALKS: dict[str, Callable[[bytes], Iterator[int]]] = {
    "PNG": _png_chunks,
    "JPEG": _jpeg_segments,
    "GIF": _gif_blocks,
    "WEBP": _webp_chunks,
    "JPEG2000": _boxes,
    "PPM": _pnm_header,
}
