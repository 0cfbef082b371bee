from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from provenance.images.decode import frames_of
from provenance.images.frames import BadInput, Reading, pixel_digest
from provenance.vocabulary import Canonical, Pages, RejectReason


def decode(data: bytes, **options):
    (frame,) = frames_of(data, reading=Reading(**options))
    return frame


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def picture(width: int = 40, height: int = 30) -> Image.Image:
    """A colour picture without symmetry and with some noise."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [rows * 255 // height, columns * 255 // width, (rows + 2 * columns) % 256]
    noisy = np.stack(planes, axis=2) + rng.integers(-20, 20, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def png(*, size: tuple[int, int], depth: int, colour: int, rows: list[bytes], extra: bytes = b"") -> bytes:
    """A PNG written by hand: unfiltered rows, ``extra`` chunks before the pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(pixels: bytes, *, size: tuple[int, int], order: str = "<", **tags: int) -> bytes:
    """An uncompressed one-strip TIFF written by hand, from tags by their names in ``_TAGS``."""
    values = {256: size[0], 257: size[1], 259: 1, 262: 1, 277: 1, 278: size[1], 279: len(pixels)}
    values |= {_TAGS[name]: value for name, value in tags.items()}
    values[273] = 8 + 2 + 12 * (len(values) + 1) + 4
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, values[tag]) for tag in sorted(values))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", len(values)) + entries + struct.pack(order + "I", 0) + pixels


_TAGS = {"bits": 258, "compression": 259, "photometric": 262, "sample_format": 339, "orientation": 274}


def grey(*rows: list[int]) -> list[list[list[int]]]:
    return [[[value] * 3 for value in row] for row in rows]


def be16(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def le16(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def with_pixels(mode: str, size: tuple[int, int], values: list) -> Image.Image:
    image = Image.new(mode, size)
    image.putdata(values)
    return image


def palette_image() -> Image.Image:
    image = with_pixels("P", (3, 1), [0, 1, 2])
    image.putpalette([255, 0, 0, 0, 200, 0, 10, 20, 30])
    return image


# What the file holds, written out by hand, beside the canonical pixels it must give.
REFERENCE = {
    "png-grey-8": (png(size=(2, 1), depth=8, colour=0, rows=[b"\x00\x7b"]), "PNG", "L", grey([0, 123])),
    "png-grey-4": (png(size=(2, 1), depth=4, colour=0, rows=[b"\x1f"]), "PNG", "L", grey([17, 255])),
    "png-grey-1": (png(size=(3, 1), depth=1, colour=0, rows=[b"\xa0"]), "PNG", "1", grey([255, 0, 255])),
    "png-grey-16": (
        png(size=(4, 2), depth=16, colour=0, rows=[be16(0, 255, 256, 257), be16(32767, 32768, 65279, 65535)]),
        "PNG",
        "I;16",
        grey([0, 0, 1, 1], [127, 128, 254, 255]),
    ),
    "png-grey-8-transparent-value": (
        png(size=(2, 1), depth=8, colour=0, rows=[b"\x50\x51"], extra=chunk(b"tRNS", be16(0x50))),
        "PNG",
        "L",
        grey([0, 0x51]),
    ),
    "png-grey-16-transparent-value": (
        png(size=(2, 1), depth=16, colour=0, rows=[be16(40000, 40001)], extra=chunk(b"tRNS", be16(40000))),
        "PNG",
        "I;16",
        grey([0, 156]),
    ),
    "png-rgb-8": (
        png(size=(1, 2), depth=8, colour=2, rows=[b"\1\2\3", b"\4\5\6"]),
        "PNG",
        "RGB",
        [[[1, 2, 3]], [[4, 5, 6]]],
    ),
    "png-rgb-16": (
        png(size=(1, 1), depth=16, colour=2, rows=[be16(65535, 32768, 511)]),
        "PNG",
        "RGB",
        [[[255, 128, 1]]],
    ),
    "png-rgb-transparent-colour": (
        png(size=(2, 1), depth=8, colour=2, rows=[b"\1\2\3\4\5\6"], extra=chunk(b"tRNS", be16(1, 2, 3))),
        "PNG",
        "RGB",
        [[[0, 0, 0], [4, 5, 6]]],
    ),
    "png-rgb-16-transparent-colour": (
        png(size=(1, 1), depth=16, colour=2, rows=[be16(2570, 2570, 2570)], extra=chunk(b"tRNS", be16(10, 10, 10))),
        "PNG",
        "RGB",
        [[[10, 10, 10]]],
    ),
    "png-rgba": (  # round(200 * 128 / 255) = 100
        png(size=(3, 1), depth=8, colour=6, rows=[bytes([200, 0, 50, 128, 9, 9, 9, 0, 7, 8, 9, 255])]),
        "PNG",
        "RGBA",
        [[[100, 0, 25], [0, 0, 0], [7, 8, 9]]],
    ),
    "png-grey-alpha": (
        png(size=(2, 1), depth=8, colour=4, rows=[bytes([100, 255, 100, 51])]),
        "PNG",
        "LA",
        grey([100, 20]),
    ),
    "png-grey-alpha-16": (
        png(size=(1, 1), depth=16, colour=4, rows=[be16(100 * 256 + 9, 65535)]),
        "PNG",
        "RGBA",
        grey([100]),
    ),
    "png-palette": (saved(palette_image(), "PNG"), "PNG", "P", [[[255, 0, 0], [0, 200, 0], [10, 20, 30]]]),
    "png-palette-transparent": (  # alpha by palette entry: 255, 51, 0
        saved(palette_image(), "PNG", transparency=bytes([255, 51, 0])),
        "PNG",
        "P",
        [[[255, 0, 0], [0, 40, 0], [0, 0, 0]]],
    ),
    "gif": (saved(palette_image(), "GIF"), "GIF", "P", [[[255, 0, 0], [0, 200, 0], [10, 20, 30]]]),
    "gif-transparent": (
        saved(palette_image(), "GIF", transparency=1),
        "GIF",
        "P",
        [[[255, 0, 0], [0, 0, 0], [10, 20, 30]]],
    ),
    "gif-animated": (
        saved(
            Image.new("L", (1, 1), 40), "GIF", save_all=True, append_images=[Image.new("L", (1, 1), 90)], duration=50
        ),
        "GIF",
        "P",
        grey([40]),
    ),
    "apng": (
        saved(Image.new("L", (1, 1), 40), "PNG", save_all=True, append_images=[Image.new("L", (1, 1), 90)]),
        "PNG",
        "L",
        grey([40]),
    ),
    "bmp-rgb": (
        saved(with_pixels("RGB", (1, 2), [(1, 2, 3), (4, 5, 6)]), "BMP"),
        "BMP",
        "RGB",
        [[[1, 2, 3]], [[4, 5, 6]]],
    ),
    "bmp-grey": (saved(with_pixels("L", (2, 1), [3, 250]), "BMP"), "BMP", "L", grey([3, 250])),
    "bmp-1-bit": (saved(with_pixels("1", (2, 1), [0, 255]), "BMP"), "BMP", "1", grey([0, 255])),
    "webp-lossless": (
        saved(with_pixels("RGB", (2, 1), [(1, 2, 3), (4, 5, 6)]), "WEBP", lossless=True),
        "WEBP",
        "RGB",
        [[[1, 2, 3], [4, 5, 6]]],
    ),
    "webp-alpha": (
        saved(with_pixels("RGBA", (2, 1), [(200, 0, 50, 128), (4, 5, 6, 255)]), "WEBP", lossless=True, exact=True),
        "WEBP",
        "RGBA",
        [[[100, 0, 25], [4, 5, 6]]],
    ),
    "webp-animated": (
        saved(
            Image.new("RGB", (1, 1), (9, 8, 7)),
            "WEBP",
            lossless=True,
            save_all=True,
            append_images=[Image.new("RGB", (1, 1), (50, 60, 70))],
        ),
        "WEBP",
        "RGB",
        [[[9, 8, 7]]],
    ),
    "jpeg2000-lossless": (
        saved(with_pixels("RGB", (2, 1), [(1, 2, 3), (4, 5, 6)]), "JPEG2000", irreversible=False),
        "JPEG2000",
        "RGB",
        [[[1, 2, 3], [4, 5, 6]]],
    ),
    "pgm-8": (b"P5 2 1 255\n\x05\xff", "PPM", "L", grey([5, 255])),
    "pgm-16": (b"P5 2 1 65535\n" + be16(256, 65535), "PPM", "I", grey([1, 255])),
    "ppm": (b"P6 1 1 255\n\1\2\3", "PPM", "RGB", [[[1, 2, 3]]]),
    "jpeg-grey": (saved(Image.new("L", (8, 8), 77), "JPEG", quality=100), "JPEG", "L", grey(*[[77] * 8] * 8)),
    # Flat blocks survive JPEG's transform exactly at quality 100.
    "jpeg-cmyk": (
        saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", quality=100),
        "JPEG",
        "CMYK",
        [[[0, 255, 255]] * 8] * 8,
    ),
    "tiff-grey-8": (tiff(b"\x05\xff", size=(2, 1), bits=8), "TIFF", "L", grey([5, 255])),
    "tiff-grey-8-white-is-zero": (tiff(b"\x05\xff", size=(2, 1), bits=8, photometric=0), "TIFF", "L", grey([250, 0])),
    "tiff-1-bit": (tiff(b"\xa0", size=(3, 1), bits=1), "TIFF", "1", grey([255, 0, 255])),
    "tiff-1-bit-white-is-zero": (tiff(b"\xa0", size=(3, 1), bits=1, photometric=0), "TIFF", "1", grey([0, 255, 0])),
    "tiff-grey-16": (tiff(le16(0, 511, 65535), size=(3, 1), bits=16), "TIFF", "I;16", grey([0, 1, 255])),
    "tiff-grey-16-big-endian": (
        tiff(be16(0, 511, 65535), size=(3, 1), bits=16, order=">"),
        "TIFF",
        "I;16B",
        grey([0, 1, 255]),
    ),
    "tiff-grey-16-white-is-zero": (
        tiff(le16(0, 511, 65535), size=(3, 1), bits=16, photometric=0),
        "TIFF",
        "I;16",
        grey([255, 254, 0]),
    ),
    "tiff-grey-16-white-is-zero-deflate": (
        tiff(zlib.compress(le16(0, 511, 65535)), size=(3, 1), bits=16, photometric=0, compression=8),
        "TIFF",
        "I;16",
        grey([255, 254, 0]),
    ),
    "tiff-grey-16-big-endian-deflate": (
        tiff(zlib.compress(be16(0, 511, 65535)), size=(3, 1), bits=16, compression=8, order=">"),
        "TIFF",
        "I;16B",
        grey([0, 1, 255]),
    ),
    "tiff-grey-16-signed": (
        tiff(struct.pack("<4h", -32768, -1, 0, 32767), size=(4, 1), bits=16, sample_format=2),
        "TIFF",
        "I",
        grey([0, 127, 128, 255]),
    ),
    "tiff-grey-12": (tiff(b"\x00\x0f\xff", size=(2, 1), bits=12), "TIFF", "I;16", grey([0, 255])),
    "tiff-float": (  # 0.5 * 255 = 127.5 goes to the even neighbor
        tiff(struct.pack("<4f", 0, 0.25, 0.5, 1), size=(4, 1), bits=32, sample_format=3),
        "TIFF",
        "F",
        grey([0, 64, 128, 255]),
    ),
    "tiff-float-big-endian": (
        tiff(struct.pack(">2f", 0.1, 1), size=(2, 1), bits=32, sample_format=3, order=">"),
        "TIFF",
        "F",
        grey([26, 255]),
    ),
    "tiff-float-white-is-zero": (
        tiff(struct.pack("<2f", 0.2, 1), size=(2, 1), bits=32, sample_format=3, photometric=0),
        "TIFF",
        "F",
        grey([204, 0]),
    ),
    "tiff-multi-page": (
        saved(Image.new("L", (1, 1), 40), "TIFF", save_all=True, append_images=[Image.new("L", (1, 1), 90)]),
        "TIFF",
        "L",
        grey([40]),
    ),
    "tiff-cmyk": (saved(Image.new("CMYK", (1, 1), (0, 255, 0, 51)), "TIFF"), "TIFF", "CMYK", [[[204, 0, 204]]]),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_canonical_pixels_are_those_worked_out_by_hand(name):
    data, file_format, mode, pixels = REFERENCE[name]

    decoded = decode(data, pages=Pages.FIRST)

    assert decoded.rgb().tolist() == pixels
    assert decode(data, canonical=Canonical(version=1)).rgb().tolist() == pixels
    assert (decoded.picture.file_format, decoded.picture.mode) == (file_format, mode)
    assert decoded.rgb().dtype == np.uint8


UPRIGHT = [[10, 20, 30], [40, 50, 60]]
# EXIF 2.3, tag 274: where row 0 and column 0 of the stored image stand in the upright one.
STORED = {
    1: [[10, 20, 30], [40, 50, 60]],
    2: [[30, 20, 10], [60, 50, 40]],
    3: [[60, 50, 40], [30, 20, 10]],
    4: [[40, 50, 60], [10, 20, 30]],
    5: [[10, 40], [20, 50], [30, 60]],
    6: [[30, 60], [20, 50], [10, 40]],
    7: [[60, 30], [50, 20], [40, 10]],
    8: [[40, 10], [50, 20], [60, 30]],
}


def with_text(*text: str, **options: Any) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text(*text, **options)
    return info


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("file_format", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_every_orientation_comes_out_upright(file_format, options, orientation):
    stored = Image.fromarray(np.array(STORED[orientation], dtype=np.uint8))
    data = saved(stored, file_format, exif=exif(orientation), **options)

    assert decode(data).rgb()[:, :, 0].tolist() == UPRIGHT


@pytest.mark.parametrize("orientation", STORED)
def test_an_oriented_jpeg_equals_pillows_own_transposition(orientation):
    data = saved(picture(), "JPEG", exif=exif(orientation))

    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))

    assert np.array_equal(decode(data).rgb(), np.asarray(expected))


def test_orientation_of_16_bit_grey():
    stored = Image.fromarray(np.array(STORED[6], dtype=np.uint16) * 257)

    assert decode(saved(stored, "PNG", exif=exif(6))).rgb()[:, :, 0].tolist() == UPRIGHT


@pytest.mark.parametrize("block", [b"Exif\0\0MM\0*", b"Exif\0\0garbage that is no TIFF", exif(77)])
def test_a_damaged_exif_block_counts_as_none(block):
    assert np.array_equal(decode(saved(picture(), "PNG", exif=block)).rgb(), np.asarray(picture()))


@pytest.mark.parametrize("widened", [256, 257])
def test_8_bit_images_widened_to_16_bits_come_back_exactly(widened):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)

    assert np.array_equal(decode(saved(Image.fromarray(values * widened), "PNG")).rgb()[:, :, 1], values)


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [
        *(("TIFF", mode) for mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB")),
        *(("JPEG", mode) for mode in ("1", "L", "RGB", "CMYK", "YCbCr")),
        *(("PNG", mode) for mode in ("1", "L", "P", "RGB")),
        *(("BMP", mode) for mode in ("1", "L", "P", "RGB")),
        *(("GIF", mode) for mode in ("1", "L", "P", "RGB")),
    ],
)
def test_opaque_images_equal_pillows_plain_conversion(file_format, mode):
    image = Image.merge("LAB", picture().split()) if mode == "LAB" else picture().convert(mode)
    data = saved(image, file_format)

    plain = Image.open(io.BytesIO(data)).convert("RGB")

    assert np.array_equal(decode(data).rgb(), np.asarray(plain))


def test_a_palette_image_goes_through_rgba():
    data = saved(picture().convert("P"), "PNG")

    plain = Image.open(io.BytesIO(data)).convert("RGBA").convert("RGB")

    assert np.array_equal(decode(data).rgb(), np.asarray(plain))


def failure(data: bytes, **options) -> BadInput:
    with pytest.raises(BadInput) as caught:
        decode(data, **options)
    return caught.value


def test_the_digest_is_over_version_size_and_pixels():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)

    assert (
        pixel_digest(pixels) == "sha256:" + hashlib.sha256(struct.pack(">III", 1, 2, 4) + bytes(range(24))).hexdigest()
    )
    assert pixel_digest(pixels) != pixel_digest(pixels.reshape(4, 2, 3))
    assert pixel_digest(pixels[:, ::-1]) == pixel_digest(pixels[:, ::-1].copy())


def test_the_same_pixels_have_one_digest_in_any_lossless_format_and_mode():
    image = picture().convert("L")
    files = [
        saved(image, "PNG"),
        saved(image.convert("RGB"), "TIFF"),
        saved(image.convert("RGBA"), "PNG"),
        saved(image, "BMP"),
    ]

    assert len({pixel_digest(decode(data).rgb()) for data in files}) == 1


def test_a_bomb_is_refused_by_its_header_before_pixels_are_there():
    header = png(size=(60000, 60000), depth=8, colour=2, rows=[])

    assert failure(header).reason is RejectReason.OVERSIZED
    assert "9000 x 9000" in failure(png(size=(9000, 9000), depth=8, colour=2, rows=[])).detail


def test_the_pixel_limit_itself_is_allowed():
    data = saved(picture(10, 10), "PNG")

    assert decode(data, max_pixels=100).rgb().shape == (10, 10, 3)
    assert failure(data, max_pixels=99).reason is RejectReason.OVERSIZED


def test_a_limit_above_pillows_own_counts(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)

    assert decode(saved(picture(40, 30), "PNG"), max_pixels=1200).rgb().shape == (30, 40, 3)
    assert failure(saved(picture(40, 30), "PNG"), max_pixels=1199).reason is RejectReason.OVERSIZED


def test_a_large_image_is_the_same_in_strips(monkeypatch):
    images = [picture(), picture().convert("P"), picture().convert("CMYK"), picture().convert("1")]
    with_alpha = picture().convert("RGBA")
    with_alpha.putalpha(picture().convert("L"))
    deep = Image.fromarray(np.asarray(picture().convert("L"), dtype=np.uint16) * 257)
    files = [saved(image, "TIFF") for image in (*images, with_alpha, deep)] + [saved(picture().convert("P"), "GIF")]
    whole = [decode(data) for data in files]
    monkeypatch.setattr("provenance.images.frames.STRIP_PIXELS", 130)
    for data, before in zip(files, whole, strict=True):
        after = decode(data)
        assert np.array_equal(after.pixels, before.pixels)
        assert after.facts() == before.facts()


def test_an_image_within_our_limit_gives_no_warning_above_pillows_own(monkeypatch):
    data = saved(picture(40, 30), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data).rgb().shape == (30, 40, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"icc_profile": bytes(2_000_000)},
        {"pnginfo": with_text("XML:com.adobe.xmp", "x" * 1_500_000, zip=True)},
        {"pnginfo": with_text("t", "y" * 2_500_000)},
    ],
)
def test_what_stands_beside_the_pixels_of_a_png_may_be_large(options):
    assert np.array_equal(decode(saved(picture(), "PNG", **options)).rgb(), np.asarray(picture()))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_not_finite(value):
    data = tiff(struct.pack("<2f", 0.5, value), size=(2, 1), bits=32, sample_format=3)

    assert failure(data).reason is RejectReason.NOT_FINITE


@pytest.mark.parametrize("value", [1.5, -0.01, 1000])
def test_floats_outside_0_to_1_have_no_declared_range(value):
    data = tiff(struct.pack("<2f", 0.5, value), size=(2, 1), bits=32, sample_format=3)

    assert failure(data).reason is RejectReason.UNSUPPORTED
    assert "range 0 to 1" in failure(data).detail


@pytest.mark.parametrize("sample_format", [1, 2])
def test_32_bit_integers_have_no_declared_range(sample_format):
    data = tiff(struct.pack("<2i", 1, 4000), size=(2, 1), bits=32, sample_format=sample_format)

    assert failure(data).reason is RejectReason.UNSUPPORTED


DEEP = b"a\0\0" + zlib.compress(bytes(70 * 2**20))  # a bomb that is no part of the pixels
FOREIGN = {
    "HTML or XML": b"<!doctype html><html>404 not found</html>",
    "text": "Grüße, not an image".encode(),
    "zip": b"PK\x03\x04" + bytes(50),
    "PDF": b"%PDF-1.7\n",
    "NumPy": b"\x93NUMPY\x01\x00" + bytes(80),
    "plain text": b"P2 2 1 255 12 13\n",
    "HEIC": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(300),
    "AVIF": b"\0\0\0\x1cftypavif" + bytes(300),
    "video": b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + bytes(300),
    "JPEG XL": b"\xff\x0a" + bytes(300),
    "JPEG XL is not read here": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(300),
    "TGA": saved(picture(), "TGA"),
    "TGA is not read here": saved(picture(), "TGA")[:18] + bytes(40 * 30 * 3),
    "NIfTI": struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(100),
    "a NIfTI volume": gzip.compress(struct.pack(">i", 348) + bytes(340) + b"n+1\0" + bytes(100)),
    "gzip": gzip.compress(b"something else" * 50),
    "NRRD": b"NRRD0004\n",
    "more than 64 MiB of text": png(size=(1, 1), depth=8, colour=0, rows=[b"\0"], extra=chunk(b"iCCP", DEEP)),
    "unknown pixel mode": tiff(bytes(16), size=(2, 1), bits=64, sample_format=3),
}


@pytest.mark.parametrize("word", FOREIGN)
def test_what_is_not_read_here_is_unsupported_and_named(word):
    assert failure(FOREIGN[word]).reason is RejectReason.UNSUPPORTED
    assert word in failure(FOREIGN[word]).detail


def test_no_bytes_are_empty_and_unknown_bytes_are_broken():
    assert failure(b"").reason is RejectReason.EMPTY
    assert failure(bytes(1000)).reason is RejectReason.BROKEN
    assert failure(bytes(range(256)) * 4).reason is RejectReason.BROKEN


WHOLE = {
    "png": saved(picture(), "PNG"),
    "png-16": saved(Image.fromarray(np.asarray(picture().convert("L"), dtype=np.uint16) * 257), "PNG"),
    "jpeg": saved(picture(), "JPEG"),
    "jpeg-progressive": saved(picture(), "JPEG", progressive=True),
    "gif": saved(picture().convert("P"), "GIF"),
    "bmp": saved(picture(), "BMP"),
    "webp": saved(picture(), "WEBP"),
    "webp-lossless": saved(picture(), "WEBP", lossless=True),
    "jpeg2000": saved(picture(), "JPEG2000"),
    "jpeg2000-stream": saved(picture(), "JPEG2000", no_jp2=True),
    "ppm": saved(picture(), "PPM"),
    "tiff": saved(picture(), "TIFF"),
    "tiff-lzw": saved(picture(), "TIFF", compression="tiff_lzw"),
    "tiff-deflate": saved(picture(), "TIFF", compression="tiff_deflate"),
    "tiff-jpeg": saved(picture(), "TIFF", compression="jpeg"),
    "tiff-group4": saved(picture().convert("1"), "TIFF", compression="group4"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_cut_file_is_truncated_wherever_it_is_cut_and_never_gives_other_pixels(name):
    data = WHOLE[name]
    whole = decode(data).rgb()
    cuts = {*range(2, len(data), max(1, len(data) // 80)), *range(len(data) - 30, len(data))}

    refusals = []
    for cut in sorted(cuts):
        try:
            pixels = decode(data[:cut]).rgb()
        except BadInput as bad:
            refusals.append((cut, bad.reason, bad.detail))
        else:
            assert np.array_equal(pixels, whole), cut
            assert cut > len(data) - 30, "only the end mark or padding may be missing"

    assert [refusal for refusal in refusals if refusal[1] is not RejectReason.TRUNCATED] == []
    assert not any("0x" in detail for *_, detail in refusals), (
        "a memory address: the same file must give the same words"
    )


def test_a_png_with_a_damaged_header_is_broken():
    data = bytearray(WHOLE["png"])
    data[20] ^= 0xFF

    assert failure(bytes(data)).reason is RejectReason.BROKEN


def test_pillows_global_state_stays_as_it_was():
    def state() -> tuple:
        limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        return *limits, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK, list(warnings.filters)

    before = state()
    for data in (*WHOLE.values(), b"", bytes(10)):
        with contextlib.suppress(BadInput):
            decode(data)

    assert state() == before


def test_damage_that_libtiff_tells_on_stderr_alone_is_told(capfd):
    sharp = picture(200, 200).convert("L").point(lambda value: 255 * (value > 128)).convert("1")
    for compression in ("group3", "group4"):
        whole = saved(sharp, "TIFF", compression=compression)
        decode(whole)
        told = 0
        for place in range(len(whole) // 4, len(whole) // 2, 7):
            damaged = bytearray(whole)
            damaged[place : place + 3] = b"\0\0\0"
            try:
                decode(bytes(damaged))
            except BadInput as error:
                told += "FaxDecode" in error.detail or "Fax" in error.detail
        assert told > 3, compression
    assert capfd.readouterr().err == ""


def test_signed_bytes_of_a_tiff_are_signed():
    values = np.arange(-100, 100, dtype=np.int8).reshape(10, 20)
    data = tiff(values.tobytes(), size=(20, 10), bits=8, sample_format=2)
    assert np.array_equal(decode(data).rgb()[..., 0], values.astype(np.int16) + 128)
    stated = decode(data, canonical=Canonical(2, (-100.0, 99.0))).rgb()[..., 0]
    assert np.array_equal(stated, (values.astype(np.int64) + 100) * 256 // 200)


@pytest.mark.parametrize("file_format", ["JPEG2000", "PPM"])
def test_a_stated_range_holds_for_every_format_of_16_bits(file_format):
    values = np.linspace(0, 1023, 40 * 40).astype(np.uint16).reshape(40, 40)
    data = saved(Image.fromarray(values), file_format)
    stated = Canonical(2, (0.0, 1023.0))
    assert np.array_equal(decode(data, canonical=stated).rgb()[..., 0], values.astype(np.int64) * 256 // 1024)
    declared = b"P5\n# ten bits\n40 40\n1023\n" + values.astype(">u2").tobytes()
    assert abs(decode(declared, canonical=stated).rgb()[..., 0].astype(int) - values // 4).max() <= 1


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"MM\0+\0\x08\0\0" + bytes(100), "BigTIFF"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(100), "CR2"),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xf7\0\x0b\x08\0\x10\0\x10\x01\x01\x11\0" + bytes(50) + b"\xff\xd9", "JPEG-LS"),
        (b"\xff\xd8\xff\xc3\0\x0b\x08\0\x10\0\x10\x01\x01\x11\0" + bytes(50) + b"\xff\xd9", "lossless JPEG"),
    ],
)
def test_a_kind_that_bears_a_known_signature_is_named(data, kind):
    failed = failure(data)
    assert failed.reason is RejectReason.UNSUPPORTED
    assert kind in failed.detail
