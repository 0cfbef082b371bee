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
from provenance.embedding.inference import Backbone
from provenance.embedding.pipeline import Embedder, embed_stream, prepared_stream

__all__ = [
    "DEFAULT_BACKBONE",
    "DEFAULT_BATCH_SIZE",
    "Backbone",
    "BackboneSpec",
    "Embedder",
    "available_backbones",
    "backbone_spec",
    "embed_stream",
    "load_backbone",
    "prepared_stream",
]
