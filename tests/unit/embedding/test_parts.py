"""Feature maps on a grid and transformer tokens as parts, against torch and plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from provenance.embedding import load_backbone
from provenance.embedding.parts import PartSpec
from provenance.errors import EmbeddingError, UsageError
from provenance.spaces import grid_of

CLOSE = 2e-5


def at_unit_length(features: np.ndarray) -> np.ndarray:
    extended = np.concatenate([features, np.full((*features.shape[:2], 1), 1e-3)], axis=2)
    return extended / np.linalg.norm(extended, axis=2, keepdims=True)


@pytest.fixture
def make_onnx(weights_folder):
    """Gives the path of an ONNX network, (n, 3, 32, 32) -> (n, tokens, 6) or the map (n, 6, 8, 8) they come from."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def make(output, class_token=True):
        rng = np.random.default_rng(11)
        kernel = rng.normal(size=(6, 3, 4, 4)).astype(np.float32)
        first = rng.normal(size=(1, 1, 6)).astype(np.float32)
        nodes = [
            helper.make_node("Conv", ["input", "kernel"], ["map"], strides=[4, 4]),
            helper.make_node("Reshape", ["map", "flat"], ["channels"]),
            helper.make_node("Transpose", ["channels"], ["patches"], perm=[0, 2, 1]),
            # a class token that depends on the image: the mean of its patches, plus something learned
            helper.make_node("ReduceMean", ["patches"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Add", ["mean", "first"], ["class"]),
            helper.make_node("Concat", ["class", "patches"], ["tokens"], axis=1),
        ]
        name = "map" if output == "map" else "tokens" if class_token else "patches"
        shape = ["n", 6, 8, 8] if output == "map" else ["n", 64 + class_token, 6]
        graph = helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 32, 32])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
            [
                numpy_helper.from_array(kernel, "kernel"),
                numpy_helper.from_array(first, "first"),
                numpy_helper.from_array(np.array([0, 6, 64]), "flat"),
            ],
        )
        path = weights_folder / f"small-{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path, kernel, first

    return make


def patches_by_loops(pixels: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """(n, 64, 6): what the small network makes of each 4 x 4 patch, row by row."""
    scaled = (pixels / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    found = np.empty((len(pixels), 64, 6))
    for row in range(8):
        for column in range(8):
            patch = scaled[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            found[:, 8 * row + column] = np.einsum("nyxc,dcyx->nd", patch, kernel.astype(np.float64))
    return found


@pytest.fixture
def small_images(images):
    return np.ascontiguousarray(images[:5, 96:128, 64:96])


def test_patch_tokens_are_parts_without_the_class_token(make_onnx, small_images):
    path, kernel, first = make_onnx("tokens")
    backbone = load_backbone(backbone_file=path, parts="tokens", batch_size=5, threads=1)
    expected = patches_by_loops(small_images, kernel)
    assert (backbone.space.parts, backbone.space.dimension) == (64, 7)
    assert np.abs(backbone.embed(small_images) - at_unit_length(expected)).max() < CLOSE
    boxes = grid_of(backbone.space)
    assert (boxes[9].left, boxes[9].top, boxes[9].right, boxes[9].bottom) == (0.125, 0.125, 0.25, 0.25)
    kept = load_backbone(backbone_file=path, parts="all-tokens", batch_size=5, threads=1)
    with_class = np.concatenate([expected.mean(axis=1, keepdims=True) + first, expected], axis=1)
    assert np.abs(kept.embed(small_images) - at_unit_length(with_class)).max() < CLOSE
    assert grid_of(kept.space)[0].right == 1.0
    assert grid_of(kept.space)[1:] == boxes
    assert kept.space.space_id != backbone.space.space_id


def test_tokens_without_a_class_token(make_onnx, small_images):
    path, kernel, _ = make_onnx("tokens", class_token=False)
    backbone = load_backbone(backbone_file=path, parts="all-tokens", batch_size=5, threads=1)
    assert np.abs(backbone.embed(small_images) - at_unit_length(patches_by_loops(small_images, kernel))).max() < CLOSE
    with pytest.raises(EmbeddingError, match="no row of tokens"):
        load_backbone(backbone_file=path, parts="tokens")


@pytest.mark.parametrize("grid", [8, 4, 3])
def test_cells_of_a_file_s_feature_map(make_onnx, small_images, grid):
    import torch

    path, kernel, _ = make_onnx("map")
    backbone = load_backbone(backbone_file=path, parts=f"map/{grid}", batch_size=5, threads=1)
    maps = torch.from_numpy(patches_by_loops(small_images, kernel).transpose(0, 2, 1).reshape(5, 6, 8, 8))
    cells = torch.nn.functional.adaptive_avg_pool2d(maps, grid).flatten(2).permute(0, 2, 1).numpy()
    assert np.abs(backbone.embed(small_images) - at_unit_length(cells)).max() < CLOSE
    assert backbone.space.backbone.endswith(f":map/{grid}")
    averaged = load_backbone(backbone_file=path)
    assert (averaged.space.parts, averaged.space.dimension) == (1, 6), "without --parts it is one vector"


@pytest.mark.slow
def test_cells_of_a_layer_are_those_of_torchvisions_feature_extractor(seeded_weights, images):
    import torch
    import torchvision
    from torchvision.models.feature_extraction import create_feature_extractor

    weights = seeded_weights("resnet18")
    backbone = load_backbone("resnet18:layer3/7", weights=weights, batch_size=3, threads=1)
    network = torchvision.models.resnet18(weights=None)
    network.load_state_dict(torch.load(weights, weights_only=True))
    extractor = create_feature_extractor(network.eval(), ["layer3"])
    pixels = (images[:3] / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.inference_mode():
        maps = extractor(torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float())["layer3"]
        cells = torch.nn.functional.adaptive_avg_pool2d(maps, 7).flatten(2).permute(0, 2, 1).double().numpy()
    vectors = backbone.embed(images[:3])
    assert backbone.space.backbone == "resnet18:layer3/7"
    assert vectors.shape == (3, 49, 257)
    assert np.abs(vectors - at_unit_length(cells)).max() < CLOSE
    alone = [backbone.embed(image[None])[0].tobytes() for image in images[:3]]
    assert alone == [vector.tobytes() for vector in vectors]
    # the grid may be left out, and the layer in which images are first reduced is another space
    assert load_backbone("torchvision:resnet18:layer3", weights=weights).space == backbone.space
    reduced = load_backbone("resnet18:layer3/7@64", weights=weights).space
    assert reduced.matched_to(None) == backbone.space


def test_a_cell_without_any_feature_has_a_direction():
    maps = np.zeros((1, 5, 7, 7), dtype=np.float32)
    maps[0, 2, 3, 3] = 4
    arranged = PartSpec("map", 7).arrange(maps)
    lengths = np.linalg.norm(arranged, axis=2)
    assert lengths.min() > 0
    assert arranged[0, 0].tolist() == pytest.approx([0, 0, 0, 0, 0, 1e-3])
    assert (arranged[0, 24] / lengths[0, 24]).tolist() == pytest.approx([0, 0, 1, 0, 0, 2.5e-4])


def test_what_makes_no_parts_is_refused(seeded_weights, tiny_onnx):
    weights = seeded_weights("resnet18")
    for name, error, message in (
        ("resnet18:layer9", EmbeddingError, "no layer 'layer9'"),
        ("resnet18:layer3/20", EmbeddingError, "no feature map of 20 x 20"),
        ("resnet18:fc", EmbeddingError, "no feature map"),
        ("resnet18:layer3/0", UsageError, "is no layer"),
        ("resnet18:layer1/56", EmbeddingError, "numbers"),
    ):
        with pytest.raises(error, match=message):
            load_backbone(name, weights=weights, batch_size=1, threads=1)
    with pytest.raises(UsageError, match="--backbone-file"):
        load_backbone("resnet18", weights=weights, parts="map/7")
    for text in ("map/0", "tokens/3", "cells"):
        with pytest.raises(UsageError, match="names no parts"):
            load_backbone(backbone_file=tiny_onnx(), parts=text)
    with pytest.raises(EmbeddingError, match="no row of tokens"):
        load_backbone(backbone_file=tiny_onnx(), parts="tokens")
