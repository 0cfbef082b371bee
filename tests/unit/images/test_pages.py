"""Files of several pages or frames: which become images, under which id, and how one of them is read again."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from provenance import Workspace
from provenance.errors import NotFoundError
from provenance.images import PreparationSettings, Prepared, RecordedImage, Reread, prepare_frames, read_again
from provenance.images.decode import frames_of
from provenance.images.frames import BadInput, Reading
from provenance.vocabulary import Canonical, Pages, Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = PreparationSettings(size=8)
PICTURES = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)) for seed in range(4)
]
LOSSLESS = {"TIFF": {}, "WEBP": {"lossless": True}, "PNG": {}}


def stack_of(pictures: list[Image.Image], file_format: str = "TIFF", **options: Any) -> bytes:
    buffer = io.BytesIO()
    first, *others = (picture.copy() for picture in pictures)  # Pillow leaves in an image how it was saved
    first.save(buffer, file_format, save_all=True, append_images=others, **options)
    return buffer.getvalue()


def tiff_of(*pages: tuple[Image.Image, dict[int, int]]) -> bytes:
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as writer:
        for picture, tags in pages:
            picture.save(writer, "TIFF", tiffinfo=tags)
            writer.newFrame()
    return buffer.getvalue()


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_every_page_is_an_image_with_its_own_pixels(file_format: str) -> None:
    data = stack_of(PICTURES, file_format, **LOSSLESS[file_format])
    file_id = "sha256:" + hashlib.sha256(data).hexdigest()
    frames = list(frames_of(data, reading=Reading(pages=Pages.ALL)))
    assert [frame.image_id for frame in frames] == [f"{file_id}#{number}" for number in (1, 2, 3, 4)]
    for frame, picture in zip(frames, PICTURES, strict=True):
        assert np.array_equal(frame.rgb(), np.asarray(picture))
    (third,) = frames_of(data, reading=Reading(page=3))
    assert third.image_id == f"{file_id}#3"
    assert np.array_equal(third.rgb(), np.asarray(PICTURES[2]))
    with pytest.raises(BadInput, match="no page 5"):
        list(frames_of(data, reading=Reading(page=5)))


@pytest.mark.parametrize(
    ("file_format", "pages", "canonical", "images", "left_out"),
    [
        ("TIFF", None, Canonical(), 4, 0),
        ("TIFF", Pages.FIRST, Canonical(), 1, 3),
        ("TIFF", None, Canonical(version=1), 1, 3),
        ("TIFF", Pages.ALL, Canonical(version=1), 4, 0),
        ("GIF", None, Canonical(), 1, 3),
        ("GIF", Pages.ALL, Canonical(), 4, 0),
        ("PNG", None, Canonical(), 1, 3),
        ("WEBP", None, Canonical(), 1, 3),
        ("MPO", None, Canonical(), 1, 3),
    ],
)
def test_what_is_no_image_is_counted(
    file_format: str, pages: Pages | None, canonical: Canonical, images: int, left_out: int
) -> None:
    pictures = list(frames_of(stack_of(PICTURES, file_format), reading=Reading(canonical=canonical, pages=pages)))
    assert len(pictures) == images
    assert [frame.picture.left_out for frame in pictures] == [left_out] + [0] * (images - 1)
    assert (pictures[0].picture.number is None) == (images == 1)


def test_pages_that_can_not_be_read_are_told_behind_the_others() -> None:
    data = bytearray(stack_of(PICTURES, compression="tiff_deflate"))
    with Image.open(io.BytesIO(bytes(data))) as image:
        for page in (1, 2):
            image.seek(page)
            (start,) = image.tag_v2[273]  # type: ignore[attr-defined]
            data[start : start + 40] = bytes(40)
    found: list[str] = []
    with pytest.raises(BadInput, match=r"page 2 of 4, and 1 other page: TIFF"):
        found.extend(frame.image_id[-2:] for frame in frames_of(bytes(data)))
    assert found == ["#1", "#4"]


@pytest.mark.parametrize("tags", [{254: 1}, {254: 4}, {255: 2}])
def test_thumbnails_and_masks_in_a_tiff_are_no_images(tags: dict[int, int]) -> None:
    small = PICTURES[1].resize((6, 4))
    (alone,) = frames_of(tiff_of((PICTURES[0], {}), (small, tags)))
    assert "#" not in alone.image_id
    assert (alone.picture.left_out, alone.picture.reduced) == (0, 1)
    (behind,) = frames_of(tiff_of((small, tags), (PICTURES[0], {})))
    assert np.array_equal(behind.rgb(), np.asarray(PICTURES[0]))
    first, second = frames_of(tiff_of((PICTURES[0], {}), (small, tags), (PICTURES[2], {})))
    assert (first.image_id[-2:], second.image_id[-2:]) == ("#1", "#3")
    assert np.array_equal(second.rgb(), np.asarray(PICTURES[2]))


def test_pages_before_the_damage_go_in_and_the_damage_is_told() -> None:
    data = bytearray(stack_of(PICTURES))
    with Image.open(io.BytesIO(bytes(data))) as image:
        image.seek(2)
        third = image._frame_pos[2]  # type: ignore[attr-defined]
    data[third : third + 2] = b"\xff\xff"  # so many entries its directory has not
    item = SourceItem("stack.tif", "", None, len(data), content=bytes(data))
    *images, last = prepare_frames(item, SETTINGS)
    assert [image.item.name for image in images if isinstance(image, Prepared)] == ["stack.tif#1", "stack.tif#2"]
    assert isinstance(last, Rejection)
    assert last.reason in (RejectReason.BROKEN, RejectReason.TRUNCATED)


def test_a_page_is_read_again_by_its_id_and_the_first_by_the_files(tmp_path: Path) -> None:
    data = stack_of(PICTURES)
    (tmp_path / "a.tif").write_bytes(data)
    place = SourceItem("a.tif#3", str(tmp_path / "a.tif"), None, 0, 0, 0, 0)
    file_id = "sha256:" + hashlib.sha256(data).hexdigest()
    for image_id, number in ((f"{file_id}#3", 2), (file_id, 0)):
        found = read_again(RecordedImage(image_id, (place,)), SETTINGS)
        assert isinstance(found, Reread)
        assert found.frame.image_id == image_id
        assert np.array_equal(found.frame.rgb(), np.asarray(PICTURES[number]))
    (tmp_path / "a.tif").write_bytes(stack_of(PICTURES[:1]))
    lost = read_again(RecordedImage(f"{file_id}#3", (place,)), SETTINGS)
    assert isinstance(lost, Rejection)
    assert "other bytes than recorded" in lost.detail


def test_a_file_named_as_a_page_of_another_is_an_image_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "s.tif").write_bytes(stack_of(PICTURES[:3]))
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (30, 40), dtype=np.uint8)).save(folder / "s.tif#2", "PNG")
    with Workspace.create(tmp_path / "workspace", backbone="pixels", workers=0) as workspace:
        report = workspace.ingest(folder, set="a", membership="used")
        assert (report.counts["added"], report.counts["read"], report.rejections) == (4, 4, ())
        with pytest.raises(NotFoundError, match="could mean 2 images") as caught:
            workspace.show("s.tif#2")
        hint = str(caught.value.hint)
        own = hashlib.sha256((folder / "s.tif#2").read_bytes()).hexdigest()
        stack = hashlib.sha256((folder / "s.tif").read_bytes()).hexdigest()
        assert f"'a/s.tif#2' (sha256:{own})" in hint
        assert f"'a/s.tif#2' (page 2 of a file, sha256:{stack}#2)" in hint
        for image_id in (f"sha256:{own}", f"sha256:{stack}#2"):
            assert workspace.show(image_id).image.image_id == image_id
        again = workspace.ingest(folder, set="a", membership="used", rehash=True)
        assert (again.counts["known"], again.counts.get("added", 0)) == (4, 0)
