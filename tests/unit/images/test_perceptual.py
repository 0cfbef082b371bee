"""The perceptual hash: the library's own, on canonical pixels, of images that still are what was recorded."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import imagehash
import numpy as np
import pytest
from PIL import Image

from provenance.images import PreparationSettings, RecordedImage, Reread, perceptual_hash, reading_again
from provenance.images.decode import frames_of
from provenance.phantoms.anatomy import fresh_phantom
from provenance.vocabulary import Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = PreparationSettings()


@pytest.fixture(scope="module")
def slice_pixels() -> Any:
    return fresh_phantom(1, seed=5)


def stored(pixels: Any, file_format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format, **options)
    return stream.getvalue()


def hash_of(data: bytes) -> str:
    return perceptual_hash(next(frames_of(data)).pixels)


def bits_between(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def hash_known(source: str, image_id: str, settings: PreparationSettings) -> str | Rejection:
    place = SourceItem("a.png", source, None, 0, 0, 0, 0)
    (outcome,) = reading_again(RecordedImage(image_id, (place,)), settings)
    return perceptual_hash(outcome.frame.pixels) if isinstance(outcome, Reread) else outcome


def image_id(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def test_hash_is_the_librarys(slice_pixels: Any) -> None:
    expected = str(imagehash.phash(Image.fromarray(slice_pixels)))
    assert len(expected) == 16
    assert hash_of(stored(slice_pixels)) == expected


def test_hash_is_that_of_the_canonical_pixels(slice_pixels: Any) -> None:
    expected = hash_of(stored(slice_pixels))
    assert hash_of(stored(slice_pixels.astype(np.uint16) * 257)) == expected
    assert hash_of(stored(np.repeat(slice_pixels[:, :, None], 3, axis=2))) == expected
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    assert hash_of(stored(np.rot90(slice_pixels), exif=turned)) == expected


def test_small_changes_move_few_bits_and_other_slices_many(slice_pixels: Any) -> None:
    expected = hash_of(stored(slice_pixels))
    half = Image.fromarray(slice_pixels).resize([side // 2 for side in slice_pixels.shape[::-1]])
    noise = np.random.default_rng(1).integers(-1, 2, slice_pixels.shape)
    shaken = np.clip(slice_pixels.astype(int) + noise, 0, 255).astype(np.uint8)
    for data in (stored(slice_pixels, "JPEG", quality=60), stored(np.asarray(half)), stored(shaken)):
        assert bits_between(hash_of(data), expected) <= 4
    others = [hash_of(stored(fresh_phantom(number, seed=5))) for number in range(2, 12)]
    assert min(bits_between(other, expected) for other in others) > 4


def test_an_image_is_hashed_from_where_it_was_found(tmp_path: Path, slice_pixels: Any) -> None:
    data = stored(slice_pixels)
    (tmp_path / "a.png").write_bytes(data)
    assert hash_known(str(tmp_path / "a.png"), image_id(data), SETTINGS) == hash_of(data)


def test_other_bytes_missing_files_and_limits_are_rejections(tmp_path: Path, slice_pixels: Any) -> None:
    data = stored(slice_pixels)
    file = tmp_path / "a.png"
    file.write_bytes(data)

    def refused(recorded: str, settings: PreparationSettings = SETTINGS, name: str = "a.png") -> Rejection:
        outcome = hash_known(str(tmp_path / name), recorded, settings)
        assert isinstance(outcome, Rejection)
        return outcome

    assert "other bytes than recorded" in refused(image_id(b"something else")).detail
    assert refused(image_id(data), name="gone.png").reason is RejectReason.UNREADABLE
    assert refused(image_id(data), PreparationSettings(max_file_bytes=100)).reason is RejectReason.OVERSIZED
    assert refused(image_id(data), PreparationSettings(max_pixels=100)).reason is RejectReason.OVERSIZED
    broken = data[: len(data) // 2]
    file.write_bytes(broken)
    assert refused(image_id(broken)).reason is RejectReason.TRUNCATED
