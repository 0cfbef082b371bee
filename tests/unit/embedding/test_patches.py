"""Patches of pixels against a loop over positions and pixels; positions, flat patches, names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import convolve1d

from provenance.embedding import load_backbone
from provenance.errors import UsageError
from provenance.spaces import grid_of

EXACT = 2e-7


def pictures(count: int, size: int, seed: int = 1) -> np.ndarray:
    """Smooth colour pictures whose upper left quarter is black."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
        image = np.array(noise.filter(ImageFilter.GaussianBlur(1)))
        image[: size // 2, : size // 2] = 0
        images.append(image)
    return np.stack(images)


def blurred(grey: np.ndarray, sigma: float) -> np.ndarray:
    """The Gaussian blur written out: weights to 4 sigma, mirrored borders."""
    reach = int(4 * sigma + 0.5)
    weights = np.array([math.exp(-(x * x) / (2 * sigma * sigma)) for x in range(-reach, reach + 1)])
    weights /= weights.sum()
    return convolve1d(convolve1d(grey, weights, axis=0, mode="reflect"), weights, axis=1, mode="reflect")


def by_loops(image: np.ndarray, patch: int, stride: int, sigma: float | None, constant: float) -> np.ndarray:
    size = len(image)
    grey = np.array([[0.299 * r + 0.587 * g + 0.114 * b for r, g, b in row.tolist()] for row in image])
    if sigma is not None:
        grey = grey - blurred(grey, sigma)
    count = (size - patch) // stride + 1
    first = (size - (count - 1) * stride - patch) // 2
    parts = []
    for row in range(count):
        for column in range(count):
            top, left = first + row * stride, first + column * stride
            values = [grey[top + y, left + x] for y in range(patch) for x in range(patch)]
            mean = math.fsum(values) / len(values)
            centred = [value - mean for value in values] + [constant * math.sqrt(patch * patch)]
            norm = math.sqrt(math.fsum(value * value for value in centred))
            parts.append([value / norm for value in centred])
    return np.array(parts)


@pytest.mark.parametrize(
    ("name", "size", "patch", "stride", "sigma", "constant"),
    [
        ("patches-16-8@64", 64, 16, 8, None, 4.0),
        ("patches-7-5-c0.5@31", 31, 7, 5, None, 0.5),  # 31 = 7 + 4 * 5 + 4: a remainder on both sides
        ("patches-9-4@32", 32, 9, 4, None, 4.0),  # an odd remainder
        ("patches-20-3@20", 20, 20, 3, None, 4.0),  # one patch, the whole image
        ("highpass-8-8@40", 40, 8, 8, 4.0, 4.0),
        ("highpass-6-4-s1.5-c2@33", 33, 6, 4, 1.5, 2.0),
    ],
)
def test_parts_are_those_of_a_loop_over_pixels(name, size, patch, stride, sigma, constant):
    backbone = load_backbone(name, batch_size=3)
    images = pictures(3, size)
    vectors = backbone.embed(images)
    expected = np.stack([by_loops(image, patch, stride, sigma, constant) for image in images])
    assert backbone.space.backbone == name
    assert vectors.shape == expected.shape == (3, backbone.space.parts, backbone.space.dimension)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - expected).max() < EXACT
    assert np.abs(np.linalg.norm(vectors.astype(np.float64), axis=2) - 1).max() < EXACT


@pytest.mark.parametrize("name", ["patches-16-8@64", "highpass-16-8@64"])
def test_flat_patches_are_one_direction_and_noise_stays_near_it(name):
    rng = np.random.default_rng(5)
    flat = np.stack([np.full((64, 64, 3), colour, dtype=np.uint8) for colour in ((0, 0, 0), (250, 3, 77))])
    noise = (20 + rng.integers(-1, 2, (1, 64, 64, 1)) * np.ones(3, dtype=int)).astype(np.uint8)
    vectors = load_backbone(name).embed(np.concatenate([flat, noise]))
    constant = np.zeros(257, dtype=np.float32)
    constant[-1] = 1
    assert all(part.tobytes() == constant.tobytes() for part in vectors[:2].reshape(-1, 257))
    assert vectors[2, :, -1].min() > 0.9, "noise of less than one grey level"


def test_a_boxes_pixels_and_no_others_make_its_part():
    backbone = load_backbone("patches-16-12@64")  # 5 x 5 patches: 64 = 16 + 4 * 12
    image = pictures(1, 64)
    before = backbone.embed(image)[0]
    boxes = grid_of(backbone.space)
    assert (len(boxes), boxes[0].left, boxes[-1].bottom) == (25, 0.0, 1.0)
    for y, x in ((40, 3), (14, 30), (63, 63)):
        changed = image.copy()
        changed[0, y, x] = 255 - changed[0, y, x]
        touched = (backbone.embed(changed)[0] != before).any(axis=1)
        inside = [b.left * 64 <= x < b.right * 64 and b.top * 64 <= y < b.bottom * 64 for b in boxes]
        assert touched.tolist() == inside


@pytest.mark.parametrize("name", ["patches-16-8@64", "highpass-16-8@64"])
def test_an_image_has_the_same_bytes_whatever_its_batch(name):
    images = pictures(9, 64)
    alone = load_backbone(name, batch_size=1)
    together = load_backbone(name, batch_size=9)
    backwards = together.embed(images[::-1])[::-1]
    for row, image in enumerate(images):
        single = alone.embed(image[None])[0].tobytes()
        assert single == together.embed(images)[row].tobytes() == backwards[row].tobytes()


def test_every_option_is_a_space_of_its_own():
    names = (
        "patches-16-8@64",
        "patches-16-8@32",
        "patches-16-4@64",
        "patches-8-8@64",
        "patches-16-8-c3@64",
        "highpass-16-8@64",
        "highpass-16-8-s3@64",
    )
    spaces = [load_backbone(name).space for name in names]
    assert len({space.space_id for space in spaces}) == len(names)
    assert [space.backbone for space in spaces] == list(names)
    # defaults need not be written, and are the same space
    assert load_backbone("highpass-16-8-s4-c4").space == load_backbone("highpass-16-8@64").space
    assert load_backbone("patches-16-8", match_resolution=(32, 32)).space == spaces[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("patches-16", "names no patches"),
        ("patches-16-8-s2@64", "names no patches"),
        ("patches-65-8@64", "no patches of 65"),
        ("patches-16-0@64", "no patches of 16 pixels every 0"),
        ("patches-16-1@512", "numbers an image"),
        ("patches-16-8-c0@64", "must be above 0"),
        ("highpass-16-8-s0@64", "must be above 0"),
    ],
)
def test_names_that_make_no_patches_are_refused(name, message):
    with pytest.raises(UsageError, match=message):
        load_backbone(name)


def test_calls_that_contradict_the_name_are_refused(tmp_path):
    with pytest.raises(UsageError, match="square"):
        load_backbone("patches-16-8", match_resolution=(64, 48))
    with pytest.raises(UsageError, match="asks for 64"):
        load_backbone("patches-16-8@64", match_resolution=(32, 32))
    with pytest.raises(UsageError, match="no weights"):
        load_backbone("patches-16-8@64", weights=tmp_path / "w.pth")
