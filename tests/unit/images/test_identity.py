"""A real image is the generated one where size and file format alone differ; anything else is not identity."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageFilter

from provenance.images import IdentityOrder, PreparationSettings, RecordedImage, identities_of
from provenance.vocabulary import SourceItem

if TYPE_CHECKING:
    from pathlib import Path


def scan(seed: int, edge: int = 96, colour: bool = False) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (edge, edge, 3 if colour else 1), dtype=np.uint8)
    image = Image.fromarray(noise if colour else noise[..., 0]).filter(ImageFilter.GaussianBlur(1.5))
    return Image.fromarray(np.clip((np.asarray(image, np.float32) - 100) * 4, 0, 255).astype(np.uint8))


def recorded(path: Path) -> RecordedImage:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return RecordedImage(f"sha256:{digest}", (SourceItem(path.name, str(path)),))


def found(folder: Path, generated: Image.Image, real: Image.Image, name: str = "g.png", **options) -> str:
    generated.save(folder / name, **options)
    real.save(folder / "r.png")
    scan(99).save(folder / "other.png")
    reals = recorded(folder / "r.png"), recorded(folder / "other.png")
    made = identities_of(IdentityOrder(recorded(folder / name), reals), settings=PreparationSettings())
    assert reals[1].image_id not in made
    return made.get(reals[0].image_id, "")


@pytest.mark.parametrize("way", ["NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS"])
def test_every_filter_is_undone_by_itself(tmp_path, way):
    real = scan(1)
    small = real.resize((40, 56), Image.Resampling[way])
    assert f"brought to 40x56 ({way.capitalize() if way in ('HAMMING', 'LANCZOS') else way.lower()})" in found(
        tmp_path, small, real
    )


def test_a_jpeg_file_goes_through_its_own_tables(tmp_path):
    real = scan(2)
    small = real.resize((48, 48), Image.Resampling.BICUBIC)
    assert found(tmp_path, small, real, "g.jpg", quality=60).endswith("(bicubic), written as JPEG")
    assert found(tmp_path, real, real, "h.jpg", quality=35) == "the same pixels, written as JPEG"


def test_colour_made_grey_and_a_grey_file_of_three_channels(tmp_path):
    real = scan(3, colour=True)
    assert found(tmp_path, real.convert("L"), real) == "the same pixels"
    assert found(tmp_path, real.convert("L").convert("RGB"), real) == "the same pixels"
    assert found(tmp_path, real.resize((50, 50), Image.Resampling.LANCZOS), real, "h.jpg", quality=80)


def test_what_was_changed_otherwise_is_no_identity(tmp_path):
    real = scan(4)
    brighter = Image.fromarray(np.clip(np.asarray(real).astype(int) + 2, 0, 255).astype(np.uint8))
    for changed in (real.transpose(Image.Transpose.FLIP_LEFT_RIGHT), brighter, real.rotate(1), scan(5)):
        assert found(tmp_path, changed, real) == ""
    spot = np.array(real)
    spot[10, 10] = 255 - spot[10, 10] // 2
    assert found(tmp_path, Image.fromarray(spot), real) == ""


def test_flat_and_unreadable_images_are_nothing(tmp_path):
    flat = Image.fromarray(np.full((20, 20), 7, np.uint8))
    assert found(tmp_path, flat, flat.resize((40, 40))) == ""
    generated = recorded(tmp_path / "g.png")
    gone = RecordedImage("sha256:" + "0" * 64, (SourceItem("gone", str(tmp_path / "gone.png")),))
    assert identities_of(IdentityOrder(generated, (gone,)), settings=PreparationSettings()) == {}
    assert identities_of(IdentityOrder(gone, (generated,)), settings=PreparationSettings()) == {}
