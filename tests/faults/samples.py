"""Small pictures, and backbone files of some kilobytes that need no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


def save_pictures(folder: Path, seeds: range, prefix: str = "img", side: int = 40) -> Path:
    """One smooth random PNG per seed; the same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{prefix}_{seed:04d}.png")
    return folder


def save_cohort(root: Path, *, used: int = 24, not_used: int = 12, generated: int = 14) -> Path:
    """Folders ``used``, ``not_used`` and ``generated``; two of the generated are copies, one name comes twice."""
    save_pictures(root / "used", range(used))
    save_pictures(root / "not_used", range(1000, 1000 + not_used))
    save_pictures(root / "generated", range(2000, 2000 + generated), "gen")
    for seed in (1, 5):
        whole = (root / "used" / f"img_{seed:04d}.png").read_bytes()
        (root / "generated" / f"copy_{seed:04d}.png").write_bytes(whole)
    (root / "used" / "deeper").mkdir()
    (root / "used" / "deeper" / "img_0003.png").write_bytes((root / "used" / "img_0003.png").read_bytes())
    (root / "used" / "broken.png").write_bytes(b"no picture")
    return root


def save_backbone(path: Path, *, seed: int = 7, gives_nan: bool = False) -> Path:
    """An ONNX file: 224 x 224 RGB -> 48 features; or the logarithm of numbers below zero."""
    from onnx import helper

    rng = np.random.default_rng(seed)
    kernels: dict[str, Any] = {"k1": rng.normal(0, 0.05, (24, 3, 16, 16)), "k2": rng.normal(0, 0.1, (12, 24, 3, 3))}
    nodes = [
        helper.make_node("Conv", ["image", "k1"], ["a"], strides=[16, 16]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "k2"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("AveragePool", ["d"], ["e"], kernel_shape=[6, 6], strides=[6, 6]),
        helper.make_node("Flatten", ["e"], ["f"]),
    ]
    if gives_nan:
        nodes += [
            helper.make_node("Neg", ["f"], ["g"]),
            helper.make_node("Sub", ["g", "one"], ["h"]),
            helper.make_node("Log", ["h"], ["features"]),
        ]
        kernels["one"] = np.ones(1)
    else:
        nodes.append(helper.make_node("Identity", ["f"], ["features"]))
    return save_network(path, nodes, kernels, ["n", 48])


def save_map(path: Path) -> Path:
    """An ONNX file: 224 x 224 RGB -> 8 feature maps of 7 x 7."""
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["image", "k"], ["a"], strides=[32, 32]),
        helper.make_node("Relu", ["a"], ["features"]),
    ]
    return save_network(path, nodes, {"k": np.random.default_rng(3).normal(0, 0.05, (8, 3, 32, 32))}, ["n", 8, 7, 7])


def save_network(path: Path, nodes: list[Any], weights: dict[str, Any], output: list[Any]) -> Path:
    """An ONNX file from ``image`` to ``features``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 224, 224])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
