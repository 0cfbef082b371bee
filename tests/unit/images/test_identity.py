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


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("FLIP_LEFT_RIGHT", "mirrored"),
        ("ROTATE_180", "turned by 180 degrees"),
        ("FLIP_TOP_BOTTOM", "mirrored top to bottom"),
        ("ROTATE_90", "turned by 90 degrees"),
        ("ROTATE_270", "turned by 270 degrees"),
        ("TRANSPOSE", "mirrored and turned by 90 degrees"),
        ("TRANSVERSE", "mirrored and turned by 270 degrees"),
    ],
)
def test_an_exact_mirror_image_or_quarter_turn_is_the_same_picture(tmp_path, way, words):
    real = scan(6)
    turned = real.transpose(Image.Transpose[way])
    assert found(tmp_path, turned, real) == f"the same pixels, {words}"
    small = real.resize((40, 56), Image.Resampling.BICUBIC).transpose(Image.Transpose[way])
    assert found(tmp_path, small, real) == f"the same pixels, {words}, brought to 40x56 (bicubic)"
    colour = scan(7, colour=True)
    written = found(tmp_path, colour.transpose(Image.Transpose[way]), colour, "h.jpg", quality=70)
    assert written == f"the same pixels, {words}, written as JPEG"


def test_a_mirror_image_that_was_compressed_once_more_is_not(tmp_path):
    """As twins in collections are: another file of the same slice, mirrored."""
    real = scan(8)
    real.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "twin.jpg", quality=90)
    assert found(tmp_path, Image.open(tmp_path / "twin.jpg"), real) == ""


def test_what_is_symmetric_itself_was_not_mirrored(tmp_path):
    half = np.asarray(scan(9))[:, :48]
    real = Image.fromarray(np.concatenate([half, half[:, ::-1]], axis=1))
    assert found(tmp_path, real.transpose(Image.Transpose.FLIP_LEFT_RIGHT), real) == "the same pixels"


def test_what_was_changed_otherwise_is_no_identity(tmp_path):
    real = scan(4)
    brighter = Image.fromarray(np.clip(np.asarray(real).astype(int) + 2, 0, 255).astype(np.uint8))
    for changed in (brighter, real.rotate(1), scan(5)):
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
