"""The embedding room: images in, unit vectors of a declared space out.

torch, torchvision, timm and ONNX Runtime are imported when a backbone is loaded, not by importing this package.
"""

from provenance.embedding.backbones import DEFAULT_BACKBONE, check_backbone, load_backbone
from provenance.embedding.executor import Executor, Processes
from provenance.embedding.inference import Backbone

__all__ = ["DEFAULT_BACKBONE", "Backbone", "Executor", "Processes", "check_backbone", "load_backbone"]
