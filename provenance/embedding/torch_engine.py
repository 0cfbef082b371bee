"""torch as an engine, and its networks: TorchScript files, and classifiers of libraries without their last layer.

torch, torchvision, timm and EfficientNet-Lite are imported inside the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.embedding.inference import IMAGENET_MEAN, IMAGENET_STD, Engine, library_of_extra
from provenance.errors import EmbeddingError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from provenance.arrays import Float32s, Uint8s
    from provenance.embedding.parts import PartSpec

_IMAGENET_CLASSES = 1000
# Networks with auxiliary classifiers: built as their published weights were, so that every key is known.
_AUXILIARY: dict[str, tuple[str, ...]] = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


class TorchEngine(Engine):
    """A torch network behind the normalisation; ``parts`` says what of its output becomes a part."""

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: str,
        threads: int | None,
        parts: PartSpec | None = None,
    ) -> None:
        import torch

        self.device = device
        self._parts = parts
        if threads is not None:
            torch.set_num_threads(threads)
        self._threads = torch.get_num_threads()
        self._device = torch.device(device)
        self._scripted = isinstance(network, torch.jit.ScriptModule)
        # Channels-last is the faster layout on CPU and GPU alike, and the layout in which the pixels arrive.
        self._network = network.eval() if self._scripted else network.eval().to(memory_format=torch.channels_last)
        self._network = self._network.to(self._device)
        self._mean = torch.tensor(mean, device=self._device).view(3, 1, 1)
        self._std = torch.tensor(std, device=self._device).view(3, 1, 1)
        if self._device.type == "cuda":
            torch.set_float32_matmul_precision("highest")

    def __call__(self, pixels: Uint8s) -> Float32s:
        """Features of one whole batch."""
        import torch

        # The number of threads is kept per thread: inference may run on another one than loading did.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        # TorchScript's optimiser rewrites the graph during the first runs; without it every run gives the same bytes.
        with (
            torch.inference_mode(),
            torch.jit.optimized_execution(not self._scripted),  # type: ignore[attr-defined]
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            try:
                output = self._network(self._inputs(pixels))
                if self._parts is None or not isinstance(output, torch.Tensor):
                    output = _flat(output)
                features = np.asarray(output.to("cpu", torch.float32).numpy())
            except (RuntimeError, ValueError, TypeError, AssertionError) as error:
                reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
                raise EmbeddingError(
                    f"the network failed on a batch of {len(pixels)} images: {reason}",
                    hint="out of memory: try a smaller --batch-size; otherwise check that the network takes "
                    f"float32 images (n, 3, {pixels.shape[1]}, {pixels.shape[2]})",
                ) from error
        return features if self._parts is None else self._parts.arrange(features)

    def _inputs(self, pixels: Uint8s) -> Tensor:
        import torch

        images = torch.from_numpy(pixels)
        if self._device.type == "cuda":
            images = images.pin_memory().to(self._device, non_blocking=True)
        images = images.permute(0, 3, 1, 2).float().div_(255.0).sub_(self._mean).div_(self._std)
        return images.contiguous() if self._scripted else images


def choose_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where there is one, else ``cpu``; other words are checked.

    Raises:
        EmbeddingError: If there is no such device here.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EmbeddingError(
            f"there is no device {device!r} here: {str(error).splitlines()[0]}",
            hint="use --device auto, cpu, or cuda on a machine that has one",
        ) from error
    return device


def load_script(path: Path, parts: PartSpec | None, *, device: str, threads: int | None) -> Engine:
    """A TorchScript file in this process: a program that runs; ``EmbeddingError`` if it is none."""
    import warnings

    import torch

    try:
        # PyTorch advises other formats for new files; the old ones stay readable.
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            network: nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        raise EmbeddingError(
            f"the backbone file {path} is no TorchScript archive: {str(error).splitlines()[0]}",
            hint="save it with torch.jit.save; a state dict goes with --backbone NAME --weights FILE",
        ) from error
    device = choose_device(device)
    return TorchEngine(network, mean=IMAGENET_MEAN, std=IMAGENET_STD, device=device, threads=threads, parts=parts)


def _flat(output: Any) -> Tensor:
    """A network's output as (n, d): feature maps (n, d, h, w) are averaged over h and w."""
    import torch

    if not isinstance(output, torch.Tensor):
        raise TypeError(f"the network gives a {type(output).__name__}, not one tensor")
    return output.mean(dim=(2, 3)) if output.ndim == 4 else output


def torchvision_network(architecture: str) -> tuple[nn.Module, tuple[str, ...]]:
    """A torchvision classifier without its last layer (output: (n, d) features), and the names of removed heads."""
    import torchvision

    auxiliary = _AUXILIARY.get(architecture, ())
    options: dict[str, Any] = {"transform_input": True, "init_weights": False} if auxiliary else {}
    network = torchvision.models.get_model(architecture, weights=None, **options)
    head = _last_classifier(network)
    for name in (head, *auxiliary):
        _replace_by_identity(network, name)
    if auxiliary:
        network.aux_logits = False
    return network, (head, *auxiliary)


def timm_network(architecture: str) -> tuple[nn.Module, tuple[str, ...]]:
    """A timm network that gives pooled features (``num_classes=0``), and the names of its classifiers."""
    network = library_of_extra("timm", "timm").create_model(architecture, pretrained=False, num_classes=0)
    heads = network.pretrained_cfg.get("classifier") or ()
    return network, (heads,) if isinstance(heads, str) else tuple(heads)


def efficientnet_lite_network(architecture: str) -> tuple[nn.Module, tuple[str, ...]]:
    """EfficientNet-Lite of the ``offline`` extra: average-pooled features before its classifier."""
    library = library_of_extra("efficientnet_lite_pytorch", "offline")
    network: nn.Module = library.EfficientNet.from_name(architecture)
    _replace_by_identity(network, "_fc")
    return network, ("_fc",)


def up_to_layer(network: nn.Module, layer: str) -> nn.Module:
    """A network that gives a layer's output (its name without a leading underscore will do), and nothing after it.

    Raises:
        EmbeddingError: If there is no such layer, or the network does not come to it.
    """
    import torch

    known = dict(network.named_modules())
    module = known.get(layer, known.get(f"_{layer}"))
    if module is None:
        choice = [name.lstrip("_") for name in known if name and name.count(".") <= 1][:40]
        raise EmbeddingError(f"the network has no layer {layer!r}", hint=f"layers are {', '.join(choice)} ...")

    class Reached(Exception):  # noqa: N818 - no error
        """Carries the output past the layers that are not wanted."""

    def reached(_module: nn.Module, _inputs: Any, output: Any) -> None:
        raise Reached(output)

    class UpToLayer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> Any:
            try:
                self.network(images)
            except Reached as arrived:
                return arrived.args[0]
            raise RuntimeError(f"the network does not come to its layer {layer}")

    module.register_forward_hook(reached)
    return UpToLayer()


def fuse_batch_norms(network: nn.Module) -> None:
    """Folds a torchvision ResNet's batch normalisations into the convolutions before them: fewer passes over memory.

    Networks of other families stay as they are: only here is it known which normalisation follows which convolution.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval
    from torchvision.models import ResNet

    if not isinstance(network, ResNet):
        return
    for module in list(network.modules()):
        names = [name for name, _ in module.named_children()]
        pairs = [(name, name.replace("conv", "bn")) for name in names if name.startswith("conv")]
        if isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[1], nn.BatchNorm2d):
            pairs = [("0", "1")]  # the shortcut of a stage's first block
        for convolution, norm in pairs:
            fused = fuse_conv_bn_eval(module.get_submodule(convolution), module.get_submodule(norm))
            setattr(module, convolution, fused)
            setattr(module, norm, nn.Identity())


def _last_classifier(network: nn.Module) -> str:
    """Name of the last layer that maps features to classes; a convolution in SqueezeNet, linear elsewhere."""
    from torch import nn

    main: list[str] = [
        name
        for name, module in network.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features == _IMAGENET_CLASSES)
        or (isinstance(module, nn.Conv2d) and module.out_channels == _IMAGENET_CLASSES)
        if not name.lower().startswith("aux")
    ]
    if not main:
        raise EmbeddingError(f"no classifier found in {type(network).__name__}: it can't serve as a backbone")
    return main[-1]


def _replace_by_identity(network: nn.Module, name: str) -> None:
    from torch import nn

    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
