"""ONNX Runtime as an engine: sequential and deterministic. It is imported inside the functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.embedding.inference import IMAGENET_MEAN, IMAGENET_STD, Engine, library_of_extra
from provenance.errors import EmbeddingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provenance.arrays import Float32s, Uint8s
    from provenance.embedding.parts import PartSpec


class OnnxEngine(Engine):
    """A session behind the normalisation."""

    def __init__(self, session: Any, path: Path, parts: PartSpec | None) -> None:
        self.input_size, self.batch_size = _shape(session, path)
        self.device = "cuda" if "CUDAExecutionProvider" in session.get_providers() else "cpu"
        self._parts = parts
        self._session = session
        self._input = session.get_inputs()[0].name
        self._mean = np.array(IMAGENET_MEAN, dtype=np.float32).reshape(3, 1, 1)
        self._std = np.array(IMAGENET_STD, dtype=np.float32).reshape(3, 1, 1)

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
        features = np.asarray(output, dtype=np.float32)
        if self._parts is not None:
            return self._parts.arrange(features)
        return features.mean(axis=(2, 3), dtype=np.float32) if features.ndim == 4 else features


def open_file(path: Path, parts: PartSpec | None, *, device: str, threads: int | None) -> Engine:
    """An ONNX file; ``parts``: what of its output becomes a part. ``EmbeddingError`` if the runtime refuses it."""
    return OnnxEngine(_session(path.read_bytes(), path, device=device, threads=threads), path, parts)


def _session(content: bytes, path: Path, *, device: str, threads: int | None) -> Any:
    onnxruntime = library_of_extra("onnxruntime", "onnx")
    _refuse_more_than_a_network(content, path)
    options = onnxruntime.SessionOptions()
    options.use_deterministic_compute = True
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    # Threads that spin while they wait would take the cores from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    gpu, available = "CUDAExecutionProvider", onnxruntime.get_available_providers()
    providers = [gpu] if device.startswith("cuda") or (device == "auto" and gpu in available) else []
    try:
        return onnxruntime.InferenceSession(content, options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors share no base class
        raise EmbeddingError(
            f"ONNX Runtime refuses the backbone file {path}: {error}", hint="check it with onnx.checker.check_model"
        ) from error


def _refuse_more_than_a_network(content: bytes, path: Path) -> None:
    """Weights in a second file are not covered by the digest, and may be any file; a loop need not end."""
    onnx = library_of_extra("onnx", "onnx")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors share no base class that can be imported without it
        raise EmbeddingError(
            f"ONNX Runtime refuses the backbone file {path}: it is no ONNX model", hint="check it with onnx.checker"
        ) from error
    for message in _messages_in(model):
        if isinstance(message, onnx.TensorProto) and (message.external_data or message.data_location):
            raise EmbeddingError(
                f"the ONNX file {path} keeps its weights in a second file",
                hint="save it as one file (save_as_external_data=False)",
            )
        if isinstance(message, onnx.NodeProto) and message.op_type == "Loop":
            raise EmbeddingError(
                f"the ONNX file {path} has a loop, which need not end", hint="export the network without one"
            )


def _messages_in(message: Any) -> Iterator[Any]:
    """A protobuf message and every one in it, however deep and in whatever order it was written."""
    waiting = [message]
    while waiting:
        found = waiting.pop()
        yield found
        for field, value in found.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


def _shape(session: Any, path: Path) -> tuple[int | None, int | None]:
    """(input size, batch size) as far as the file fixes them."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 and inputs[0].type == "tensor(float)" else []
    # A free dimension is a name or None.
    batch, channels, height, width = (n if isinstance(n, int) else None for n in shape) if len(shape) == 4 else (0,) * 4
    if channels not in (3, None) or (height and width and height != width):
        told = ", ".join(f"{each.type} {each.shape}" for each in inputs)
        raise EmbeddingError(
            f"the backbone file {path} takes {told}", hint="it must take one float32 input (n, 3, size, size)"
        )
    return height or width, batch
