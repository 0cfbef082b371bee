"""Whatever bytes come, preparing gives an image or a rejection, and a source gives these or one clear error."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from provenance.errors import SourceError
from provenance.images import PreparationSettings, Prepared, open_source, prepare
from provenance.vocabulary import Rejection, SourceItem

SETTINGS = PreparationSettings(size=8, max_pixels=10_000)


def prepare_bytes(data: bytes, name: str, settings: PreparationSettings) -> Prepared | Rejection:
    return prepare(SourceItem(name, "", None, len(data), content=data), settings)


def picture(mode: str) -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 256, (9, 13, 3)).astype(np.uint8)
    return Image.fromarray(noise).convert(mode)


def saved(mode: str, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, file_format, **options)
    return buffer.getvalue()


FILES = [
    *(saved(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
    *(saved(mode, "JPEG") for mode in ("L", "RGB", "CMYK")),
    *(saved(mode, "TIFF") for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK")),
    saved("RGB", "TIFF", compression="tiff_lzw"),
    saved("P", "GIF"),
    saved("RGB", "BMP"),
    saved("RGBA", "WEBP"),
    saved("RGB", "JPEG2000"),
    saved("L", "PPM"),
]


def zip_of(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", data)
        archive.writestr("b.png", data)
    return buffer.getvalue()


def tar_of(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a.png", "é" * 120 + ".png", "b.png"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


ARCHIVES = {
    "set.zip": zip_of(FILES[1]),
    "set.tar": tar_of(FILES[1]),
    "set.tgz": gzip.compress(tar_of(FILES[1])),
}
edits = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6)


def damaged(data: bytes, edits: list[tuple[int, int]], cut: int) -> bytes:
    """``data`` with some bytes replaced, cut to ``cut`` bytes where that is fewer."""
    changed = bytearray(data)
    for position, value in edits:
        changed[position % len(changed)] = value
    return bytes(changed[: cut % (2 * len(changed))])


def is_sound(result: Prepared | Rejection) -> bool:
    if isinstance(result, Prepared):
        return result.pixels.shape == (8, 8, 3) and result.pixels.dtype == np.uint8
    return bool(result.detail) and "object at 0x" not in result.detail


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(FILES), edits, st.integers(0, 10**6))
def test_a_damaged_image_is_prepared_or_rejected(data, edits, cut):
    assert is_sound(prepare_bytes(damaged(data, edits, cut), "a.png", SETTINGS))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_prepared_or_rejected(data):
    assert is_sound(prepare_bytes(data, "a.png", SETTINGS))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FILES))
def test_the_same_bytes_give_the_same_result(data):
    first, second = (prepare_bytes(data, "a.png", SETTINGS) for _ in range(2))

    assert isinstance(first, Prepared)
    assert isinstance(second, Prepared)
    assert first.facts == second.facts
    assert np.array_equal(first.pixels, second.pixels)


@pytest.mark.parametrize("name", ARCHIVES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits, st.integers(0, 10**6))
def test_a_damaged_archive_is_an_error_or_gives_sound_members(tmp_path, name, edits, cut):
    path = tmp_path / name
    path.write_bytes(damaged(ARCHIVES[name], edits, cut))
    try:
        source = open_source(path)
    except SourceError as error:
        assert error.hint  # noqa: PT017
        return

    for found in source:
        assert is_sound(found if isinstance(found, Rejection) else prepare(found, SETTINGS))
