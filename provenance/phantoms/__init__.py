"""Phantoms: computed CT-like axial slices of people who do not exist, and releases with copies planted in them.

Every phantom has an anatomy of its own (outline, fat, muscle, lungs or abdominal organs, spine, ribs, vessels,
noise) that follows from a seed alone. They serve the demo and tests. They are no patients' images, and nothing
that is found on them says anything about real scanners or real generators.
"""

from provenance.phantoms.anatomy import PHANTOM_VERSION, patient_slices
from provenance.phantoms.release import CopyKind, PlannedImage, plan_release, planted_image

__all__ = [
    "PHANTOM_VERSION",
    "CopyKind",
    "PlannedImage",
    "patient_slices",
    "plan_release",
    "planted_image",
]
