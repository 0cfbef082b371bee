"""The embedding room: images in, unit vectors of a declared space out.

torch, torchvision, timm and ONNX Runtime are imported when a backbone is loaded, not by importing this package.
"""

from provenance.embedding.backbones import (
    DEFAULT_BACKBONE,
    DEFAULT_BATCH_SIZE,
    BackboneSpec,
    available_backbones,
    backbone_spec,
    load_backbone,
)
from provenance.embedding.executor import Embedder, Executor, Processes
from provenance.embedding.inference import Backbone

__all__ = [
    "DEFAULT_BACKBONE",
    "DEFAULT_BATCH_SIZE",
    "Backbone",
    "BackboneSpec",
    "Embedder",
    "Executor",
    "Processes",
    "available_backbones",
    "backbone_spec",
    "load_backbone",
]
