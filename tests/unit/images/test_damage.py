from __future__ import annotations

import io
import random
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from provenance.images.decode import frames_of
from provenance.images.frames import BadInput, Reading
from provenance.vocabulary import RejectReason


def noisy(mode: str = "RGB", size: tuple[int, int] = (150, 101)) -> Image.Image:
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    values = np.asarray(coarse).astype(int) + rng.integers(-30, 30, (*size[::-1], 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert(mode)


def saved(image: Image.Image, file_format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


PLAIN = saved(noisy())
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "progressive restarts": {"progressive": True, "restart_marker_blocks": 5},
    "optimized": {"optimize": True, "quality": 5},
    "not subsampled": {"subsampling": "4:4:4"},
}
SOUND = {
    f"{mode} {kind}": saved(noisy(mode), **options) for mode in ("L", "RGB", "CMYK") for kind, options in KINDS.items()
}
SOUND |= {
    f"{width} x {height}": saved(noisy(size=(width, height))) for width, height in ((1, 1), (7, 1), (17, 33), (900, 1))
}
SOUND |= {
    "colours as they are": saved(noisy(), keep_rgb=True),
    "a thumbnail in Exif": saved(noisy(), exif=b"Exif\0\0" + PLAIN[:3000]),
    "a profile in many segments": saved(noisy(), icc_profile=b"\xff\xd9" * 100_000),
    "a comment": saved(noisy(), comment=b"\xff\xd9\xff\xda" * 20),
    "several pictures": saved(noisy(), "MPO", save_all=True, append_images=[noisy(), noisy()]),
    "bytes behind it": PLAIN + b"junk" * 1000,
    "another one behind it": PLAIN * 2,
    "zeros before the end mark": PLAIN[:-2] + bytes(50) + b"\xff\xd9",
    "fill bytes before the end mark": PLAIN[:-2] + b"\xff" * 50 + b"\xd9",
    "in a TIFF": saved(noisy(), "TIFF", compression="jpeg"),
    "in strips of a TIFF": saved(noisy("L"), "TIFF", compression="jpeg", tiffinfo={278: 32}),
    "a PNG": saved(noisy(), "PNG"),
    "a PNG of grey": saved(noisy("L"), "PNG", bits=8),
    "an animated PNG": saved(noisy(), "PNG", save_all=True, append_images=[noisy("L").convert("RGB")]),
    "a fax in a TIFF": saved(noisy("1"), "TIFF", compression="group4"),
    "a white fax in a TIFF": saved(Image.new("1", (900, 900), 1), "TIFF", compression="group4", tiffinfo={278: 900}),
    "a black fax in a TIFF": saved(Image.new("1", (5000, 90), 0), "TIFF", compression="group4"),
    "Deflate in a TIFF": saved(noisy(), "TIFF", compression="tiff_adobe_deflate"),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_file_is_taken_as_pillow_gives_it(name: str) -> None:
    with Image.open(io.BytesIO(SOUND[name])) as image:
        (frame,) = frames_of(SOUND[name])
        assert np.array_equal(frame.rgb(), np.asarray(image.convert("RGB")))


def refusal(data: bytes) -> BadInput:
    with pytest.raises(BadInput) as caught:
        list(frames_of(data))
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_what_libjpeg_fills_up_is_damaged(kind: str) -> None:
    data = saved(noisy(), **KINDS[kind])
    code = data.index(b"\xff\xda") + 20
    for part in (0.05, 0.3, 0.6, 0.9):
        at = code + int((len(data) - code) * part)
        for end in (b"\xff\xd9", bytes(5000) + b"\xff\xd9", b"\xff\xd9" + data[at:]):
            failed = refusal(data[:at] + end)
            assert (failed.reason, "damaged" in failed.detail) == (RejectReason.BROKEN, True), (part, end[:3])
    assert list(frames_of(data[:at] + b"\xff\xd9", reading=Reading(is_on_record=True))), "it is held as it was"


def test_changed_bytes_are_noticed_wherever_libjpeg_notices_them() -> None:
    draw = random.Random(3)
    for name, least in (("RGB restarts", 20), ("RGB progressive", 20), ("in a TIFF", 15), ("Deflate in a TIFF", 40)):
        data, noticed = SOUND[name], 0
        for _ in range(40):
            at = draw.randrange(len(data) // 4, len(data) - 80)
            changed = data[:at] + draw.choice((bytes(40), b"\xff" * 8, draw.randbytes(20))) + data[at:][40:]
            try:
                list(frames_of(changed[: len(data)]))
            except BadInput:
                noticed += 1
        assert noticed >= least, name


@pytest.mark.parametrize(("name", "least"), [("a PNG", 60), ("a fax in a TIFF", 58)])
def test_changed_bytes_are_noticed_by_checksum_or_code(name: str, least: int) -> None:
    draw, data, noticed = random.Random(5), SOUND[name], 0
    sound = next(frames_of(data)).pixels
    for _ in range(60):
        at = draw.randrange(len(data) // 4, len(data) - 300)
        changed = data[:at] + bytes(40) + data[at + 40 :]
        try:
            noticed += np.array_equal(next(frames_of(changed)).pixels, sound)
        except BadInput:
            noticed += 1
    assert noticed >= least
    other_sum = re.sub(rb"(?s)....(?=....IEND)", b"1234", SOUND["a PNG"])
    assert "checksum" in refusal(other_sum).detail
    assert list(frames_of(other_sum, reading=Reading(is_on_record=True))), "it is held as it was"


def test_no_scan_may_be_missing() -> None:
    for options in ({"progressive": True}, {"progressive": True, "restart_marker_rows": 2}):
        data = saved(noisy(), **options)
        scans = [found.start() for found in re.finditer(b"\xff\xda", data)]
        assert len(scans) > 5
        for at in scans[1:]:
            assert "last scans" in refusal(data[:at] + b"\xff\xd9").detail
