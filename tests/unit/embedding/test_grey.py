"""The backbone of grey levels: what it holds, what comes back, images without light, and that it is no choice."""

from __future__ import annotations

import numpy as np
import pytest

from provenance.embedding import load_backbone
from provenance.embedding.grey import grey_levels
from provenance.errors import SpaceMismatchError, UsageError
from provenance.spaces import is_plain

EXACT = 2e-7


def pictures(count: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def test_a_vector_is_the_grey_levels_and_a_constant_at_unit_length():
    images = pictures(3)
    backbone = load_backbone("pixels", batch_size=2)
    vectors = backbone.embed(images)
    for image, vector in zip(images.astype(np.float64), vectors[:, 0], strict=True):
        grey = 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]
        expected = np.append(grey.ravel(), 64.0)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=EXACT)
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, 1, 4097)
    assert (backbone.space.parts, backbone.space.dimension) == (1, 4097)


def test_grey_levels_come_back_to_the_last_thousandth():
    dark, light = np.zeros((1, 64, 64, 3), np.uint8), np.full((1, 64, 64, 3), 255, np.uint8)
    faint = np.random.default_rng(0).integers(0, 2, (1, 64, 64, 3), dtype=np.uint8)
    images = np.concatenate([pictures(2), dark, light, faint])
    backbone = load_backbone("pixels")
    levels = grey_levels(backbone.embed(images), backbone.space)
    thousandths = images.astype(np.int64) @ np.array([299, 587, 114])
    assert np.array_equal(np.rint(levels.astype(np.float64) * 1000), thousandths)
    assert np.ptp(levels[2:4], axis=(1, 2)).tolist() == [0, 0]


def test_an_image_has_the_same_bytes_whatever_its_batch():
    images = pictures(5)
    together = load_backbone("pixels", batch_size=5).embed(images)
    backwards = load_backbone("pixels", batch_size=5).embed(images[::-1])[::-1]
    alone = load_backbone("pixels", batch_size=1)
    assert all(alone.embed(image[None]).tobytes() == row.tobytes() for image, row in zip(images, together, strict=True))
    assert together.tobytes() == backwards.tobytes()


def test_its_space_is_no_choice_for_neighbors_and_takes_no_weights(tmp_path):
    space = load_backbone("pixels").space
    small = load_backbone("pixels@32").space
    assert not is_plain(space)
    assert (small.matched_resolution, small.is_of_pixels) == ((32, 32), True)
    assert small.space_id != space.space_id
    with pytest.raises(UsageError, match="pixels has no weights"):
        load_backbone("pixels", weights=tmp_path / "weights.pth")
    other = load_backbone("patches-64-64@64")
    with pytest.raises(SpaceMismatchError, match="are no pixels"):
        grey_levels(other.embed(pictures(1)), other.space)
