"""Backbones to test with: seeded weights, tiny ONNX and TorchScript files, images."""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

# Worker processes import what they run; they are handed this path.
sys.path.append(str(Path(__file__).parent))

SHARED_ONNX = Path(__file__).resolve().parents[4] / "shared" / "weights" / "resnet50_caffe_msra_c4.onnx"


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="session")
def seeded_weights(weights_folder):
    """Gives the path of a seeded state dict of a torchvision network, classifier included."""
    import torch
    import torchvision

    def make(architecture):
        path = weights_folder / f"{architecture}.pth"
        if not path.exists():
            with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # about default initial weights
                torch.manual_seed(7)
                network = torchvision.models.get_model(architecture, weights=None)
                for module in network.modules():
                    if isinstance(module, torch.nn.BatchNorm2d):  # else a wrongly folded one would not show
                        torch.nn.init.normal_(module.running_mean, std=0.2)
                        torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
                        torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                        torch.nn.init.normal_(module.bias, std=0.2)
            torch.save(network.state_dict(), path)
        return path

    return make


@pytest.fixture(scope="session")
def images():
    """Ten images 224 x 224: smooth ones, noise, black and white."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (8, 7, 7, 3), dtype=np.uint8)
    smooth = coarse.repeat(32, axis=1).repeat(32, axis=2)
    smooth[4:] ^= rng.integers(0, 64, (4, 224, 224, 3), dtype=np.uint8)
    return np.concatenate([smooth, np.zeros_like(smooth[:1]), np.full_like(smooth[:1], 255)])


@pytest.fixture(scope="session")
def tiny_onnx(weights_folder):
    """Gives the path of a one-convolution ONNX network, (batch, 3, size, size) -> (batch, 5, 1, 1)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def make(batch="n", size=224, channels=3):
        kernel = np.random.default_rng(5).normal(size=(5, channels, 3, 3)).astype(np.float32)
        graph = helper.make_graph(
            [
                helper.make_node("Conv", ["input", "kernel"], ["maps"], strides=[2, 2]),
                helper.make_node("Relu", ["maps"], ["active"]),
                helper.make_node("GlobalAveragePool", ["active"], ["features"]),
            ],
            "tiny",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, channels, size, size])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 5, 1, 1])],
            [numpy_helper.from_array(kernel, "kernel")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = weights_folder / f"tiny-{batch}-{size}-{channels}.onnx"
        onnx.save(model, path)
        return path

    return make


@pytest.fixture(scope="session")
def tiny_torchscript(weights_folder):
    """The path of a small scripted network whose feature is NaN for a black image, by 0 / 0."""
    import torch

    class Tiny(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = torch.nn.Conv2d(3, 6, 5, stride=3, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            darkest = x - x.amin(dim=(1, 2, 3), keepdim=True)
            spread = darkest.amax(dim=(1, 2, 3), keepdim=True)
            black = (x.amax(dim=(1, 2, 3), keepdim=True) < -1.5).to(x.dtype)
            return self.convolution(darkest / (spread * (1 - black))) * (spread / spread)

    path = weights_folder / "tiny.ts"
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(11)
        torch.jit.script(Tiny()).save(str(path))
    return path


@pytest.fixture
def hub_folder(tmp_path):
    """An empty torch hub cache."""
    import torch

    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


@pytest.fixture
def shared_onnx():
    if not SHARED_ONNX.is_file():
        reason = f"the real ONNX backbone is not beside the checkout ({SHARED_ONNX.name})"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED_ONNX
