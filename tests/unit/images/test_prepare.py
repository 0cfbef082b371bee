from __future__ import annotations

import hashlib
import io
import multiprocessing
import pickle
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from provenance.images import (
    PreparationSettings,
    Prepared,
    RecordedImage,
    open_source,
    prepare,
    reading_again,
)
from provenance.images.decode import frames_of
from provenance.images.frames import pixel_digest
from provenance.vocabulary import ImageFacts, Rejection, RejectReason, SourceItem

SETTINGS = PreparationSettings()
SHARED_DATA = Path(__file__).parents[4] / "shared" / "data"


def prepare_bytes(data: bytes, name: str, settings: PreparationSettings) -> Prepared | Rejection:
    return prepare(SourceItem(name, "", None, len(data), content=data), settings)


def photo(mode: str, width: int = 300, height: int = 200) -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(noise).convert(mode)


def saved(image: Image.Image, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def read_known(source, member, image_id, settings):
    place = SourceItem("label", source, member, 0, 0, 0, 0)
    (outcome,) = reading_again(RecordedImage(image_id, (place,)), settings)
    return outcome if isinstance(outcome, Rejection) else outcome.prepared(settings)


def only_item(path: Path) -> SourceItem:
    (item,) = open_source(path)
    assert isinstance(item, SourceItem)
    return item


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_matched_image_has_the_pixels_of_a_file_of_that_size(mode):
    image = photo(mode)
    settings = PreparationSettings(size=96, match_resolution=(64, 48))
    prepared = prepare_bytes(saved(image), "a.png", settings)
    small = image.convert("RGB").resize((64, 48), Image.Resampling.BILINEAR)
    as_file = prepare_bytes(saved(small), "b.png", PreparationSettings(size=96))
    again = prepare_bytes(saved(small), "b.png", settings)
    assert isinstance(prepared, Prepared)
    assert isinstance(as_file, Prepared)
    assert isinstance(again, Prepared)
    assert np.array_equal(prepared.pixels, np.asarray(small.resize((96, 96), Image.Resampling.BILINEAR)))
    assert np.array_equal(prepared.pixels, as_file.pixels)
    assert np.array_equal(again.pixels, as_file.pixels), "an image of that size stays as it is"
    assert (prepared.facts.width, prepared.facts.height) == (300, 200)


@pytest.mark.parametrize("size", [224, 32, 600])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_pixels_are_bit_for_bit_those_of_pillows_plain_pipeline(mode, size):
    data = saved(photo(mode))

    prepared = prepare_bytes(data, "a.png", PreparationSettings(size=size))

    plain = Image.open(io.BytesIO(data)).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    assert isinstance(prepared, Prepared)
    assert np.array_equal(prepared.pixels, np.asarray(plain))
    assert prepared.pixels.shape == (size, size, 3)
    assert prepared.pixels.flags.writeable
    assert prepared.pixels.flags.c_contiguous


def test_the_facts_are_of_the_file_and_its_pixels_before_resizing(tmp_path):
    data = saved(photo("L"), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    item = only_item(tmp_path / "a.jpg")

    prepared = prepare(item, SETTINGS)

    assert isinstance(prepared, Prepared)
    assert prepared.item == item
    assert prepared.facts == ImageFacts(
        image_id="sha256:" + hashlib.sha256(data).hexdigest(),
        pixel_digest=pixel_digest(np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))),
        width=300,
        height=200,
        file_format="JPEG",
        mode="L",
        size_bytes=len(data),
    )


def test_the_items_bytes_are_dropped():
    data = saved(photo("L"))
    item = SourceItem("a.png", "/set.tgz", "a.png", len(data), 1, 2, 3, content=data)

    prepared = prepare(item, SETTINGS)

    assert isinstance(prepared, Prepared)
    assert prepared.item == SourceItem("a.png", "/set.tgz", "a.png", len(data), 1, 2, 3)


def test_results_and_the_call_itself_pass_between_processes(tmp_path):
    (tmp_path / "a.png").write_bytes(saved(photo("RGB")))
    item = only_item(tmp_path / "a.png")
    call = pickle.loads(pickle.dumps((prepare, item, SETTINGS)))

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(call[0], call[1:])

    here = prepare(item, SETTINGS)
    assert isinstance(here, Prepared)
    assert there.facts == here.facts
    assert np.array_equal(there.pixels, here.pixels)


def reason_of(data: bytes, settings: PreparationSettings = SETTINGS, name: str = "a.png") -> RejectReason:
    rejected = prepare_bytes(data, name, settings)
    assert isinstance(rejected, Rejection)
    assert (rejected.name, rejected.size_bytes) == (name, len(data))
    assert rejected.detail
    return rejected.reason


def test_bad_inputs_are_values():
    png = saved(photo("RGB"))

    assert reason_of(b"") is RejectReason.EMPTY
    assert reason_of(png[:-2000]) is RejectReason.TRUNCATED
    assert reason_of(bytes(100)) is RejectReason.BROKEN
    assert reason_of(b"<html></html>", name="page.png") is RejectReason.UNSUPPORTED
    assert reason_of(b"<html></html>", name="page.meta") is RejectReason.SKIPPED
    assert reason_of(b"<html></html>", name="page") is RejectReason.SKIPPED
    assert reason_of(bytes(100), name="scan.meta") is RejectReason.SKIPPED
    assert reason_of(bytes(100), name="scan.dcm") is RejectReason.BROKEN
    assert reason_of(bytes(128) + b"DICM", name="scan.001") in (RejectReason.UNSUPPORTED, RejectReason.TRUNCATED)
    assert reason_of(png, PreparationSettings(max_pixels=100)) is RejectReason.OVERSIZED
    assert reason_of(png, PreparationSettings(max_file_bytes=100)) is RejectReason.OVERSIZED


def test_a_missing_file_is_a_value_too(tmp_path):
    item = SourceItem("a.png", str(tmp_path / "a.png"), None, 1, 2, 3, 4)

    rejected = prepare(item, SETTINGS)

    assert isinstance(rejected, Rejection)
    assert rejected.reason is RejectReason.UNREADABLE


def test_a_known_image_is_read_again_and_verified(tmp_path):
    data = saved(photo("RGB"))
    image_id = "sha256:" + hashlib.sha256(data).hexdigest()
    (tmp_path / "a.png").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("sub/a.png", data)
    file, inside = str(tmp_path / "a.png"), str(tmp_path / "set.zip")

    for again in (
        read_known(file, None, image_id, SETTINGS),
        read_known(file, "", image_id, SETTINGS),
        read_known(inside, "sub/a.png", image_id, SETTINGS),
    ):
        assert isinstance(again, Prepared)
        assert again.facts.image_id == image_id


def test_other_bytes_or_none_in_a_known_place_are_rejected(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(saved(photo("RGB")))

    other = read_known(str(path), None, "sha256:" + "0" * 64, SETTINGS)
    gone = read_known(str(tmp_path / "gone.png"), None, "sha256:" + "0" * 64, SETTINGS)

    assert isinstance(other, Rejection)
    assert other.reason is RejectReason.UNREADABLE
    assert "other bytes than recorded" in other.detail
    assert isinstance(gone, Rejection)
    assert gone.reason is RejectReason.UNREADABLE


def test_importing_the_room_brings_no_other_rooms_libraries():
    code = "import sys, provenance.images; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"torch", "torchvision", "sqlalchemy", "qdrant_client", "qdrant_edge", "typer", "scipy", "pandas"} & {
        *loaded
    }
    assert "PIL" in loaded


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real images are not beside the checkout")
def test_real_images_equal_pillows_plain_pipeline():
    sample = [one for one in open_source(SHARED_DATA / "brain-mri") if isinstance(one, SourceItem)][::40]
    for item in sample:
        prepared = prepare(item, SETTINGS)
        plain = Image.open(item.source).convert("RGB")

        assert isinstance(prepared, Prepared)
        assert prepared.facts.pixel_digest == pixel_digest(np.asarray(plain))
        assert np.array_equal(prepared.pixels, np.asarray(plain.resize((224, 224), Image.Resampling.BILINEAR)))
    assert len(sample) == 40


def test_decoding_is_the_same_in_any_thread():

    files = [saved(photo("RGB", 50 + number, 40)) for number in range(20)]
    with ThreadPoolExecutor(8) as threads:
        digests = list(threads.map(lambda data: pixel_digest(next(frames_of(data)).rgb()), files * 3))

    assert digests == [pixel_digest(next(frames_of(data)).rgb()) for data in files] * 3
