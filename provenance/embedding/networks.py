"""Feature networks: classification networks of torchvision, timm and EfficientNet-Lite without their classifier.

torch and the model libraries are imported inside the functions: importing this module costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.errors import EmbeddingError

if TYPE_CHECKING:
    from torch import nn

_IMAGENET_CLASSES = 1000
# Networks with auxiliary classifiers: built as their published weights were, so that every key is known.
_AUXILIARY: dict[str, tuple[str, ...]] = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


def torchvision_network(architecture: str) -> tuple[nn.Module, tuple[str, ...]]:
    """A torchvision classification network whose last layer is removed.

    Returns:
        The network (output: (n, d) features) and the names of the removed heads.
    """
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
    timm = import_timm()
    network = timm.create_model(architecture, pretrained=False, num_classes=0)
    heads = network.pretrained_cfg.get("classifier") or ()
    return network, (heads,) if isinstance(heads, str) else tuple(heads)


def efficientnet_lite_network(architecture: str) -> tuple[nn.Module, tuple[str, ...]]:
    """EfficientNet-Lite of the ``offline`` extra: average-pooled features before its classifier."""
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise missing_extra("efficientnet_lite_pytorch", "offline") from error
    network: nn.Module = EfficientNet.from_name(architecture)
    _replace_by_identity(network, "_fc")
    return network, ("_fc",)


def import_timm() -> Any:
    """The timm library.

    Raises:
        EmbeddingError: If it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise missing_extra("timm", "timm") from error
    return timm


def missing_extra(library: str, extra: str) -> EmbeddingError:
    """The error for a library that an extra brings and that is not installed."""
    return EmbeddingError(
        f"the library {library} is not installed", hint=f"install it with `pip install 'provenance-audit[{extra}]'`"
    )


def up_to_layer(network: nn.Module, layer: str) -> nn.Module:
    """A network that gives a layer's output and computes nothing after it.

    Args:
        network: The whole network.
        layer: Name of a module in it, such as ``layer3``; a leading underscore may be left out.

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
    """Folds the batch normalisations of a torchvision ResNet into the convolutions before them, in place.

    The same function in evaluation mode, in fewer passes over memory. Networks of other families are left as
    they are: only here is it known which normalisation follows which convolution.
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

    names: list[str] = [
        name
        for name, module in network.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features == _IMAGENET_CLASSES)
        or (isinstance(module, nn.Conv2d) and module.out_channels == _IMAGENET_CLASSES)
    ]
    main = [name for name in names if not name.lower().startswith("aux")]
    if not main:
        raise EmbeddingError(f"no classifier found in {type(network).__name__}: it can't serve as a backbone")
    return main[-1]


def _replace_by_identity(network: nn.Module, name: str) -> None:
    from torch import nn

    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
