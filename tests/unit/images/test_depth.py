"""Grey and colour of more than 8 bits: declared, stated or full ranges, and what is refused for want of levels."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest

from provenance.images import PreparationSettings, Prepared, prepare
from provenance.images.decode import frames_of
from provenance.images.frames import BadInput, Reading
from provenance.vocabulary import Canonical, Rejection, RejectReason, SourceItem

RNG = np.random.default_rng(5)
TWELVE = RNG.integers(0, 4096, (40, 50))
HOUNSFIELD = RNG.integers(-1000, 2000, (40, 50)).astype(np.int16)
GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(values: Any, colour: int = GREY, *, significant: int = 0) -> bytes:
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    declared = chunk(b"sBIT", bytes([significant])) if significant else b""
    pixels = declared + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def tiff(values: Any, sample_format: int, order: str = "<", **more: int) -> bytes:
    values = values.astype(values.dtype.newbyteorder(order))
    height, width = values.shape
    tags = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: 1, 277: 1, 278: height, 279: values.nbytes}
    tags |= {339: sample_format} | {{"most": 281}[name]: value for name, value in more.items()}
    tags[273] = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return head + entries + struct.pack(order + "I", 0) + values.tobytes()


def grey_of(data: bytes, canonical: Canonical = Canonical()) -> Any:  # noqa: B008 - frozen
    (frame,) = frames_of(data, reading=Reading(canonical=canonical))
    return frame.pixels


def outcome_of(data: bytes, **settings: Any) -> Prepared | Rejection:
    item = SourceItem("a", "", None, len(data), content=data)
    return prepare(item, PreparationSettings(size=8, **settings))


@pytest.mark.parametrize(
    "data",
    [
        png16(TWELVE, significant=12),
        png16(TWELVE * 16, significant=12),
        png16(TWELVE * 16 + TWELVE // 256, significant=12),
        png16(TWELVE * 16),
        tiff(TWELVE.astype(np.uint16), 1, most=4095),
        tiff(TWELVE.astype(np.uint16), 1, ">", most=4095),
        b"P5\n50 40\n4095\n" + TWELVE.astype(">u2").tobytes(),
    ],
)
def test_twelve_bits_are_the_same_grey_however_they_are_declared(data: bytes) -> None:
    assert np.abs(grey_of(data).astype(int) - TWELVE // 16).max() <= (1 if data.startswith(b"P5") else 0)
    assert isinstance(outcome_of(data), Prepared)


@pytest.mark.parametrize("order", "<>")
def test_a_stated_range_is_that_of_every_type_that_declares_none(order: str) -> None:
    stated = Canonical(grey_range=(-1024, 3071))
    expected = (HOUNSFIELD.astype(int) + 1024) // 16
    for kind, sample_format in ((np.int16, 2), (np.int32, 2)):
        assert np.array_equal(grey_of(tiff(HOUNSFIELD.astype(kind), sample_format, order), stated), expected)
    as_floats = grey_of(tiff(HOUNSFIELD.astype(np.float32), 3, order), stated)
    assert np.array_equal(as_floats, np.rint((HOUNSFIELD.astype(float) + 1024) / 4095 * 255))
    assert np.array_equal(grey_of(png16(TWELVE), Canonical(grey_range=(0, 4095))), TWELVE // 16)
    assert np.array_equal(grey_of(png16(TWELVE, significant=12), stated), TWELVE // 16), "declared goes first"
    beyond = grey_of(png16(np.array([[0, 50, 100, 5000]])), Canonical(grey_range=(50, 305)))
    assert beyond.tolist() == [[0, 0, 50, 255]]


def test_an_image_of_another_range_than_the_stated_one_is_refused() -> None:
    with pytest.raises(BadInput, match=r"9\d % of its values lie above the stated range 0:4095"):
        grey_of(png16(TWELVE * 16), Canonical(grey_range=(0, 4095)))


DARK = {
    "8 bits": (png16(RNG.integers(0, 256, (40, 50))), "1 grey level is left of 256", "=0:255;"),
    "10 bits": (png16(RNG.integers(0, 1024, (40, 50))), "4 grey levels are left", "=0:1023;"),
    "12 bits": (png16(TWELVE), "16 grey levels are left", "=0:4095;"),
    "signed": (tiff(HOUNSFIELD, 2), "12 grey levels are left", "=-1024:4095;"),
    "floats": (tiff(RNG.random((40, 50)).astype(np.float32) / 100, 3), "4 grey levels are left", "from 2"),
    "colour": (png16(RNG.integers(0, 256, (40, 50, 3)), RGB), "1 level is left of 256", "save it as 8 bits"),
    "colour, alpha": (png16(RNG.integers(0, 999, (40, 50, 4)), RGBA), "4 levels are left", "save it as 8 bits"),
    "grey, alpha": (png16(RNG.integers(0, 256, (40, 50, 2)), GREY_ALPHA), "1 level is left", "save it as 8 bits"),
}


@pytest.mark.parametrize("name", DARK)
def test_what_would_lose_its_grey_levels_is_refused_with_the_way_out(name: str) -> None:
    data, lost, way_out = DARK[name]
    refused = outcome_of(data)
    assert isinstance(refused, Rejection)
    assert refused.reason is RejectReason.UNSUPPORTED
    assert lost in refused.detail
    assert way_out in refused.detail
    taken = outcome_of(data, takes_coarse=True)
    assert isinstance(taken, Prepared)
    assert taken.is_coarse


@pytest.mark.parametrize(
    "data",
    [
        png16(RNG.integers(0, 256, (40, 50)) * 257),
        png16(RNG.integers(0, 9, (40, 50)) * 257),
        png16((TWELVE > 2000) * 60000),
        png16((RNG.integers(0, 2, (40, 50, 3))) * 60000, RGB),
        png16((RNG.integers(0, 2, (40, 50, 2))) * 60000, GREY_ALPHA),
        tiff((TWELVE > 2000).astype(np.float32), 3),
    ],
)
def test_few_levels_are_no_loss_where_there_were_no_more(data: bytes) -> None:
    taken = outcome_of(data)
    assert isinstance(taken, Prepared)
    assert not taken.is_coarse


def test_the_first_rule_reads_as_it_did() -> None:
    first = Canonical(version=1)
    assert np.array_equal(grey_of(png16(TWELVE, significant=12), first), TWELVE >> 8)
    assert np.array_equal(grey_of(tiff(TWELVE.astype(np.uint16), 1, most=4095), first), TWELVE >> 8)
    assert np.array_equal(grey_of(tiff(HOUNSFIELD, 2), first), (HOUNSFIELD.astype(int) + 32768) >> 8)
