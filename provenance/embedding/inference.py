"""A loaded backbone: batches of one fixed shape in, unit vectors out.

An image's vector does not depend on its batch-mates: every forward pass has the same shape, short batches are
padded with black images, and no network here mixes the images of a batch. torch and ONNX Runtime are imported
inside the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from provenance.embedding.networks import missing_extra
from provenance.errors import EmbeddingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

    from provenance.arrays import Float32s, Uint8s
    from provenance.vocabulary import Resolution, Space

    Arrange = Callable[[Float32s], Float32s]


class Forward(Protocol):
    """One forward pass: uint8 pixels (batch, size, size, 3) -> float32 features, not normalised.

    Features are (batch, dimension), or (batch, parts, dimension) in a local space.
    """

    def __call__(self, pixels: Uint8s) -> Float32s:
        """Features of one whole batch."""


class Backbone:
    """A loaded backbone of one embedding space.

    Attributes:
        space: The embedding space its vectors belong to.
        batch_size: Images in one forward pass; the most that ``embed`` takes at once.
        device: Where it runs, such as ``cpu`` or ``cuda``.
    """

    def __init__(self, space: Space, forward: Forward, *, batch_size: int, device: str) -> None:
        self.space = space
        self.batch_size = batch_size
        self.device = device
        self._forward = forward

    def at_resolution(self, resolution: Resolution | None) -> Backbone:
        """The same network for images that are first brought to ``(width, height)``: a space of its own."""
        space = self.space.matched_to(resolution)
        return Backbone(space, self._forward, batch_size=self.batch_size, device=self.device)

    @property
    def input_size(self) -> int:
        """Edge of the square input images, in pixels."""
        return int(self.space.preprocessing["size"])

    def embed(self, pixels: Uint8s) -> Float32s:
        """Embeds up to ``batch_size`` images.

        Args:
            pixels: uint8 RGB, (n, size, size, 3).

        Returns:
            float32 (n, parts, dimension), every part of unit length (the norm is taken in float64). An image for
            which the network gives a non-finite or a zero feature has NaN throughout: it has no vector.

        Raises:
            EmbeddingError: If the pixels have another shape or type, or the network fails.
        """
        size = self.input_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3) or len(pixels) > self.batch_size:
            raise EmbeddingError(
                f"{self.space.backbone} takes uint8 pixels of shape (n <= {self.batch_size}, {size}, {size}, 3), "
                f"not {pixels.dtype} {pixels.shape}"
            )
        batch = np.zeros((self.batch_size, size, size, 3), dtype=np.uint8)
        batch[: len(pixels)] = pixels
        features = self._forward(batch)
        features = features.reshape(len(features), -1)
        expected = (self.batch_size, self.space.parts * self.space.dimension)
        if features.shape != expected:
            raise EmbeddingError(f"{self.space.backbone} gave features of shape {features.shape}, not {expected}")
        return normalized(features[: len(pixels)].reshape(-1, self.space.parts, self.space.dimension))


def normalized(features: Float32s) -> Float32s:
    """Features (n, parts, dimension) at unit length per part; images without a finite, non-zero feature become NaN."""
    wide = features.astype(np.float64)
    norms = np.sqrt(np.sum(wide * wide, axis=-1, keepdims=True))
    usable = np.isfinite(norms) & (norms > 0)
    vectors = np.divide(wide, norms, out=np.full_like(wide, np.nan), where=usable)
    vectors[~usable.all(axis=(1, 2))] = np.nan
    unit: Float32s = vectors.astype(np.float32)
    return unit


class TorchForward:
    """A torch network behind the normalisation (x / 255 - mean) / std, in float32.

    ``arrange`` makes features (n, d) of its output where that is not to be averaged.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: str,
        threads: int | None,
        arrange: Arrange | None = None,
    ) -> None:
        import torch

        self._arrange = arrange

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
                if self._arrange is None or not isinstance(output, torch.Tensor):
                    output = _flat(output)
                features = np.asarray(output.to("cpu", torch.float32).numpy())
            except (RuntimeError, ValueError, TypeError, AssertionError) as error:
                reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
                raise EmbeddingError(
                    f"the network failed on a batch of {len(pixels)} images: {reason}",
                    hint="out of memory: try a smaller --batch-size; otherwise check that the network takes "
                    f"float32 images (n, 3, {pixels.shape[1]}, {pixels.shape[2]})",
                ) from error
        return features if self._arrange is None else self._arrange(features)

    def _inputs(self, pixels: Uint8s) -> Tensor:
        import torch

        images = torch.from_numpy(pixels)
        if self._device.type == "cuda":
            images = images.pin_memory().to(self._device, non_blocking=True)
        images = images.permute(0, 3, 1, 2).float().div_(255.0).sub_(self._mean).div_(self._std)
        return images.contiguous() if self._scripted else images


class OnnxForward:
    """An ONNX Runtime session behind the same normalisation; sequential and deterministic."""

    def __init__(
        self, session: Any, *, mean: tuple[float, ...], std: tuple[float, ...], arrange: Arrange | None = None
    ) -> None:
        self._arrange = arrange
        self._session = session
        self._input = session.get_inputs()[0].name
        self._mean = np.array(mean, dtype=np.float32).reshape(3, 1, 1)
        self._std = np.array(std, dtype=np.float32).reshape(3, 1, 1)

    def __call__(self, pixels: Uint8s) -> Float32s:
        """Features of one whole batch."""
        images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32)
        images /= np.float32(255.0)
        images -= self._mean
        images /= self._std
        try:
            output = self._session.run(None, {self._input: images})[0]
        except Exception as error:  # the runtime's errors share no base class
            raise EmbeddingError(f"ONNX Runtime failed on a batch of {len(pixels)} images: {error}") from error
        return _flat_array(output) if self._arrange is None else self._arrange(np.asarray(output, dtype=np.float32))


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


def open_torchscript(path: Path) -> nn.Module:
    """A TorchScript module.

    Raises:
        EmbeddingError: If the file is no TorchScript archive.
    """
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            # PyTorch advises other formats for new files; the old ones stay readable.
            warnings.simplefilter("ignore", FutureWarning)
            network: nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        raise EmbeddingError(
            f"the backbone file {path} is no TorchScript archive: {str(error).splitlines()[0]}",
            hint="save it with torch.jit.save; a state dict goes with --backbone NAME --weights FILE",
        ) from error
    return network


def open_onnx(content: bytes, path: Path, *, device: str, threads: int | None) -> Any:
    """An ONNX Runtime session on the file's bytes.

    Raises:
        EmbeddingError: If the runtime is not installed, or refuses the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("onnxruntime", "onnx") from error
    # The field name of weights that lie in a second file, as the format writes it: the digest would not cover them.
    if b"\n\x08location\x12" in content:
        raise EmbeddingError(
            f"the ONNX file {path} keeps its weights in a second file",
            hint="save it as one file (save_as_external_data=False)",
        )
    options = onnxruntime.SessionOptions()
    options.use_deterministic_compute = True
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    # Threads that spin while they wait would take the cores from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = onnxruntime.get_available_providers()
    cuda = device.startswith("cuda") or (device == "auto" and "CUDAExecutionProvider" in available)
    try:
        return onnxruntime.InferenceSession(
            content, options, providers=[*(["CUDAExecutionProvider"] if cuda else []), "CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime's errors share no base class
        raise EmbeddingError(
            f"ONNX Runtime refuses the backbone file {path}: {error}", hint="check it with onnx.checker.check_model"
        ) from error


def _flat(output: Any) -> Tensor:
    """A network's output as (n, d): feature maps (n, d, h, w) are averaged over h and w."""
    import torch

    if not isinstance(output, torch.Tensor):
        raise TypeError(f"the network gives a {type(output).__name__}, not one tensor")
    if output.ndim == 4:
        return output.mean(dim=(2, 3))
    return output


def _flat_array(output: Any) -> Float32s:
    features = np.asarray(output, dtype=np.float32)
    if features.ndim == 4:
        features = features.mean(axis=(2, 3), dtype=np.float32)
    return features
