"""Each kind of planted copy against arithmetic of its own; the release's size and format; seeds."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from provenance.errors import UsageError
from provenance.images import (
    DEFAULT_KINDS,
    PlantKind,
    PlantOrder,
    Plants,
    PreparationSettings,
    RecordedImage,
    jpeg_tables_of,
    kinds_named,
    open_source,
    plants_of,
    prepare,
)
from provenance.images import ReleaseFormat as Form
from provenance.images.plants import altered, in_release_size, jpeg_quality, through_format
from provenance.vocabulary import Rejection, SourceItem

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
GREY = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (6, 5), dtype=np.uint8)).resize((60, 48), Image.Resampling.BICUBIC)
)
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)


def made(kind: str, strength: float = 0.0, pixels: np.ndarray = GREY, seed: int = 0, **more: object) -> np.ndarray:
    return altered(pixels, PlantKind(kind, strength), np.random.default_rng(seed), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_kinds_that_are_plain_arithmetic(pixels: np.ndarray) -> None:
    other = 255 - pixels
    wide, against = pixels.astype(np.float64), other.astype(np.float64)
    assert np.array_equal(made("exact", pixels=pixels), pixels)
    assert np.array_equal(made("flip", pixels=pixels), pixels[:, ::-1])
    assert np.array_equal(made("gamma", 1.3, pixels), np.rint(255 * (wide / 255) ** 1.3))
    blend = made("blend", 0.7, pixels, partner=other)
    assert np.abs(blend - (0.7 * wide + 0.3 * against)).max() <= 0.5 + 1e-9
    noise = np.random.default_rng(5).standard_normal(pixels.shape)
    assert np.array_equal(made("noise", 10, pixels, seed=5), np.clip(np.rint(wide + 10 * noise), 0, 255))
    for kind in DEFAULT_KINDS:
        plant = altered(pixels, kind, np.random.default_rng(1), other)
        assert plant.dtype == np.uint8
        assert plant.shape == pixels.shape


def test_blur_is_gaussian_and_rotation_and_crop_are_bilinear() -> None:
    wide = GREY.astype(np.float64)
    gauss = ndimage.gaussian_filter(wide, 2, mode="nearest")
    assert np.abs(made("blur", 2)[8:-8, 8:-8] - gauss[8:-8, 8:-8]).max() <= 3
    turned = ndimage.rotate(wide, 5, reshape=False, order=1)
    assert np.abs(made("rotate", 5)[8:-8, 8:-8] - turned[8:-8, 8:-8]).max() <= 2
    assert made("rotate", 45)[0, 0] == 0
    # the middle 0.8 of 48 x 60 pixels: 4.8 and 6 are cut away on each side
    rows, columns = ((np.arange(size) + 0.5) * 0.8 + size * 0.1 - 0.5 for size in GREY.shape)
    sampled = ndimage.map_coordinates(wide, np.meshgrid(rows, columns, indexing="ij"), order=1)
    assert np.abs(made("crop", 0.8) - sampled)[2:-2, 2:-2].max() <= 2


def test_shift_moves_whole_pixels_and_contrast_turns_about_the_middle() -> None:
    moved = made("shift", 0.1)  # 48 x 60 pixels: 5 down, 6 right
    assert np.array_equal(moved[5:, 6:], GREY[:-5, :-6])
    assert not moved[:5].any()
    assert not moved[:, :6].any()
    assert np.array_equal(made("shift", -0.1)[:-5, :-6], GREY[5:, 6:])
    assert np.abs(made("contrast", 0.5) - (GREY / 2 + 64)).max() <= 0.5
    assert np.array_equal(made("contrast", 1), GREY)


def test_resize_goes_to_half_and_back_and_jpeg_loses_more_at_lower_quality() -> None:
    half = Image.fromarray(GREY).resize((30, 24), Image.Resampling.BILINEAR)
    assert np.array_equal(made("resize", 0.5), np.asarray(half.resize((60, 48), Image.Resampling.BILINEAR)))
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "JPEG", quality=50)
    assert np.array_equal(made("jpeg", 50), np.asarray(Image.open(buffer)))
    losses = [np.abs(made("jpeg", quality).astype(int) - GREY).mean() for quality in (95, 50, 10)]
    assert losses == sorted(losses)
    assert losses[0] < losses[2]


def test_words_for_kinds_and_what_is_refused() -> None:
    assert kinds_named(["exact,blend:0.6", "jpeg", "exact"]) == (
        PlantKind("exact"),
        PlantKind("blend", 0.6),
        PlantKind("jpeg", 90),
        PlantKind("jpeg", 50),
    )
    assert [str(kind) for kind in kinds_named(["flip", "noise:2.5"])] == ["flip", "noise:2.5"]
    for wrong in (["melt"], ["flip:2"], ["blend:2"], ["jpeg:50.5"], ["blur:x"], ["noise:nan"], ["", ","]):
        with pytest.raises(UsageError):
            kinds_named(wrong)
    with pytest.raises(UsageError, match="same shape"):
        made("blend", 0.5)
    with pytest.raises(UsageError, match="no kind"):
        made("melt")


def test_size_channels_and_format_of_the_release(tmp_path: Path) -> None:
    grey = Form(30, 24, True, "PNG")
    assert np.array_equal(
        in_release_size(RGB, grey),
        np.asarray(Image.fromarray(RGB).convert("L").resize((30, 24), Image.Resampling.BILINEAR)),
    )
    assert in_release_size(GREY, Form(30, 24, False, "PNG")).shape == (24, 30, 3)
    assert through_format(GREY, grey) is GREY
    for pixels, quality in ((GREY, 61), (RGB, 83)):
        path = tmp_path / f"{quality}.jpg"
        Image.fromarray(pixels).save(path, "JPEG", quality=quality)
        stored = recorded(path, PreparationSettings())
        tables, subsampling = jpeg_tables_of(stored, PreparationSettings())
        form = Form(60, 48, pixels.ndim == 2, "JPEG", tables, subsampling)
        assert jpeg_quality(tables) == quality
        assert f"quality {quality}" in form.words
        # written as the release's own files were
        assert np.array_equal(through_format(pixels, form), np.asarray(Image.open(path)))
    assert jpeg_tables_of(RecordedImage("sha256:other", stored.places), PreparationSettings()) == ((), -1)
    assert "unknown" in Form(60, 48, True, "JPEG").words
    assert "taken as lossless" in Form(60, 48, True, "WEBP").words
    assert jpeg_quality([[7] * 64]) is None


def recorded(path: Path, settings: PreparationSettings) -> RecordedImage:
    (item,) = open_source(path)
    assert isinstance(item, SourceItem)
    return RecordedImage(prepare(item, settings).facts.image_id, (item,))  # type: ignore[union-attr]


def test_plants_of_a_file_depend_on_seed_and_image_alone(tmp_path: Path) -> None:
    settings = PreparationSettings(size=32)
    for name, pixels in (("a", GREY), ("b", 255 - GREY), ("g", GREY.T)):
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / f"{name}.png")
    a, b, partner = (recorded(tmp_path / f"{name}.png", settings) for name in "abg")
    form = Form(60, 48, True, "PNG")

    def plants(original: RecordedImage, kinds: tuple[PlantKind, ...], seed: int = 0) -> Plants:
        order = PlantOrder(original, (partner,))
        found = plants_of(order, kinds=kinds, form=form, seed=seed, settings=(settings,))
        assert isinstance(found, Plants)
        return found

    both = kinds_named(["noise:10", "blend:0.5"])
    first = plants(a, both)
    assert [pixels.shape for (pixels,) in first.pixels] == [(32, 32, 3)] * 2
    assert np.array_equal(first.pixels[0], plants(a, both[:1]).pixels[0])  # whatever else is planted
    assert not np.array_equal(first.pixels[0], plants(a, both, seed=1).pixels[0])
    assert first.identical == (False, False)
    kinds = PlantKind("exact"), PlantKind("flip"), PlantKind("gamma", 1.3)
    assert plants(a, kinds).identical == (True, True, False)
    exact = plants(a, (PlantKind("exact"),)).pixels[0][0]
    assert np.array_equal(exact, prepare(a.places[0], settings).pixels)  # type: ignore[union-attr]
    noises = [plants(each, both).pixels[0][0].astype(int) for each in (a, b)]
    assert not np.array_equal(noises[0], 255 - noises[1])  # every image has noise of its own


def test_lost_files_are_named_and_a_lost_partner_costs_the_blends_only(tmp_path: Path) -> None:
    settings = PreparationSettings(size=32)
    Image.fromarray(GREY).save(tmp_path / "a.png")
    there = recorded(tmp_path / "a.png", settings)
    gone = RecordedImage("sha256:00", (SourceItem("gone.png", str(tmp_path / "gone.png"), None, 0, 0, 0, 0),))
    form, kinds = Form(60, 48, True, "PNG"), kinds_named(["exact", "blend:0.5"])
    lost = plants_of(PlantOrder(gone), kinds=kinds, form=form, seed=0, settings=(settings,))
    assert isinstance(lost, Rejection)
    assert lost.name == "gone.png"
    half = plants_of(PlantOrder(there, (gone,)), kinds=kinds, form=form, seed=0, settings=(settings,))
    assert isinstance(half, Plants)
    assert half.kinds == (PlantKind("exact"),)
    assert [each.name for each in half.unreadable] == ["gone.png"]
    swapped = RecordedImage("sha256:11", there.places)
    other = plants_of(PlantOrder(swapped), kinds=kinds, form=form, seed=0, settings=(settings,))
    assert isinstance(other, Rejection)
    assert "other bytes" in other.detail
