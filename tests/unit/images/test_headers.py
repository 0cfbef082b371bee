"""Files that state more than anybody walks: refused in few words, at once, by what is counted before it is decoded."""

from __future__ import annotations

import io
import resource
import struct
import time
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from provenance.images import headers, raster
from provenance.images.damage import damage_of_jpeg
from provenance.images.decode import frames_of
from provenance.images.frames import BadInput, Reading
from provenance.vocabulary import Pages, RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable

GREY = Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 16), dtype=np.uint8))


def saved(file_format: str, image: Image.Image = GREY, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def inside(data: bytes, at: int, more: bytes) -> bytes:
    return data[:at] + more + data[at:]


PNG, GIF, JPEG, JP2 = saved("PNG"), saved("GIF"), saved("JPEG"), saved("JPEG2000")
FIELDS = (
    (256, 3, 1, 16),
    (257, 3, 1, 16),
    (258, 3, 1, 8),
    (259, 3, 1, 1),
    (262, 3, 1, 1),
    (273, 4, 1, 8),
    (279, 4, 1, 256),
)


def tiff(*directories: tuple[tuple[int, int, int, int], ...]) -> bytes:
    """A TIFF of the classic kind, with a directory behind another; all have the same pixels, which come first."""
    data = b"II*\0" + struct.pack("<I", 8 + 256) + bytes(256)
    for place, fields in enumerate(directories):
        following = len(data) + 2 + 12 * len(fields) + 4 if place < len(directories) - 1 else 0
        entries = b"".join(struct.pack("<HHII", *field) for field in fields)
        data += struct.pack("<H", len(fields)) + entries + struct.pack("<I", following)
    return data


def overlapping(number: int) -> bytes:
    """Directories each of which begins within the one before it."""
    data = bytearray(b"II*\0" + struct.pack("<I", 8) + bytes(12 * 4000 + 18 * number + 100))
    for place in range(number):
        at = 8 + 18 * place
        struct.pack_into("<H", data, at, 4000)
        struct.pack_into("<I", data, at + 2 + 12 * 4000, 0 if place == number - 1 else at + 18)
    return bytes(data)


DOT = saved("GIF", Image.new("P", (1, 1)))
DOT_IMAGE = DOT.rindex(b"\x2c\0\0\0\0")
GIF_IMAGE = GIF.rindex(b"\x2c\0\0\0\0")
ZEROS = zlib.compress(bytes(50_000_000), 9)
ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "PNG chunks": (lambda: inside(PNG, 33, chunk(b"tEXt", b"a\0b") * 150_000), "100,000 parts"),
    "PNG pixels in empty chunks": (lambda: inside(PNG, 33, chunk(b"IDAT", b"") * 150_000), "100,000 parts"),
    "PNG chunks at the end": (lambda: inside(PNG, len(PNG) - 12, chunk(b"abCd", b"") * 150_000), "100,000 parts"),
    "PNG text": (lambda: inside(PNG, 33, chunk(b"zTXt", b"a\0\0" + ZEROS) * 9), "64 MiB of text"),
    "PNG international text": (lambda: inside(PNG, 33, chunk(b"iTXt", b"a\0\1\0\0\0" + ZEROS) * 9), "64 MiB of text"),
    "PNG profiles": (lambda: inside(PNG, 33, chunk(b"iCCP", b"a\0\0" + ZEROS) * 9), "4 colour profiles"),
    "GIF extensions": (lambda: inside(GIF, GIF_IMAGE, b"!\xfe\1a\0" * 150_000), "100,000 parts"),
    "GIF frames": (lambda: inside(DOT, DOT_IMAGE, DOT[DOT_IMAGE:-1] * 110_000), "100,000 parts"),
    "GIF blocks": (lambda: inside(GIF, GIF_IMAGE, b"!\xfe" + b"\1a" * 2_100_000 + b"\0"), "2,000,000 blocks"),
    "GIF comment": (lambda: inside(GIF, GIF_IMAGE, b"!\xfe" + (b"\xff" + bytes(255)) * 270_000 + b"\0"), "64 MiB of"),
    "JPEG segments": (lambda: inside(JPEG, 2, b"\xff\xe1\0\x0aExif\0\0aa" * 150_000), "100,000 parts"),
    "JPEG Exif": (lambda: inside(JPEG, 2, (b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)) * 600), "32 MiB before"),
    "JPEG fill bytes": (lambda: inside(JPEG, 2, b"\xff" * 150_000), "100,000 parts"),
    "WebP chunks": (lambda: saved("WEBP") + b"ABCD\0\0\0\0" * 150_000, "100,000 parts"),
    "JP2 boxes": (lambda: inside(JP2, JP2.index(b"jp2c") - 4, b"\0\0\0\x08free" * 150_000), "100,000 parts"),
    "PNM comment": (lambda: b"P5\n#" + b"a" * 10_000_000 + b"\n16 16 255\n" + bytes(256), "64 KiB"),
    "PNM comments": (lambda: b"P5\n" + b"#\n" * 1_000_000 + b"16 16 255\n" + bytes(256), "64 KiB"),
    "TIFF entries": (lambda: tiff((*FIELDS, *((40_000, 3, 1, 0),) * 65_000)), "4,096 entries"),
    "TIFF values": (lambda: tiff((*FIELDS, *((40_000, 2, 40_000, 0),) * 4_000)), "overlaps itself"),
    "TIFF directories": (lambda: overlapping(2000), "overlaps itself"),
    "TIFF pages": (lambda: tiff(*(FIELDS,) * 5_001), "5,000 pages"),
}


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", ATTACKS)
def test_what_nobody_walks_is_refused_at_once(name: str) -> None:
    make, said = ATTACKS[name]
    data = make()
    started, before = time.process_time(), peak_bytes()
    with pytest.raises(BadInput, match=said) as caught:
        list(frames_of(data))
    assert time.process_time() - started < 5
    assert peak_bytes() - before < 300 * 1024**2
    assert len(caught.value.detail) < 120


def test_boxes_in_boxes_are_walked_no_deeper_than_they_are_read() -> None:
    nested = b""
    for _ in range(3000):
        nested = struct.pack(">I4s", 8 + len(nested), b"jp2h") + nested
    with pytest.raises(BadInput, match=r"^JPEG2000: "):  # the decoder's words, not those of a walk without an end
        list(frames_of(inside(JP2, JP2.index(b"jp2h") - 4, nested)))


def test_frames_that_a_file_only_states_are_not_asked_for() -> None:
    data = inside(PNG, 33, chunk(b"acTL", struct.pack(">II", 1_000_000, 0)))
    with pytest.raises(BadInput, match="5,000 pages") as caught:
        list(frames_of(data, reading=Reading(pages=Pages.ALL)))
    assert caught.value.reason is RejectReason.OVERSIZED
    assert len(list(frames_of(data))) == 1, "the first is there"


def test_at_the_limit_a_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (headers, raster):
        monkeypatch.setattr(module, "MOST_PARTS", 12)
        monkeypatch.setattr(module, "MOST_PAGES", 3)
    assert [frame.picture.number for frame in frames_of(tiff(*(FIELDS,) * 3))] == [1, 2, 3]
    four = tiff(*(FIELDS,) * 4)
    with pytest.raises(BadInput, match="pages"):
        list(frames_of(four))
    assert len(list(frames_of(four, reading=Reading(pages=Pages.FIRST)))) == 1
    on_record = Reading(pages=Pages.FIRST, page=4, is_on_record=True)
    assert [frame.picture.number for frame in frames_of(four, reading=on_record)] == [4]
    fitting = 12 - sum(1 for _ in headers._png_chunks(PNG))
    more = chunk(b"tEXt", b"a\0b")
    assert len(list(frames_of(inside(PNG, 33, more * fitting)))) == 1
    with pytest.raises(BadInput, match="parts"):
        list(frames_of(inside(PNG, 33, more * (fitting + 1))))


def test_a_run_of_fill_bytes_in_the_code_costs_no_more_than_its_length() -> None:
    code = JPEG.index(b"\xff\xda") + 14
    started = time.process_time()
    damage_of_jpeg(inside(JPEG, code, b"\xff" * 200_000 + b"\0"))
    assert time.process_time() - started < 2
