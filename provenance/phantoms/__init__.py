"""Phantoms: computed CT-like slices of people who do not exist, and releases made from them with a known truth.

A release is made by a generator that puts pieces of its training images together and knows which.

Every phantom has an anatomy of its own (outline, fat, muscle, lungs or abdominal organs, spine, ribs, vessels,
noise) that follows from a seed alone. They serve the demo and tests. They are no patients' images, and nothing
that is found on them says anything about real scanners or real generators.
"""

from provenance.phantoms.anatomy import PHANTOM_VERSION, fresh_phantom, patient_slices
from provenance.phantoms.generator import GeneratedImage, LocalDenoiser, Source

__all__ = [
    "PHANTOM_VERSION",
    "GeneratedImage",
    "LocalDenoiser",
    "Source",
    "fresh_phantom",
    "patient_slices",
]
