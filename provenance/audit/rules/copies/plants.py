"""Plants judged by the rule ``copies``, each alone, as one more generated image: whether it would be called a copy.

Never-used images and impostors are searched again; of the release's own images the p-values on record stand, which the
plant joins. Those on record for a region stand in for no p-value of the whole: 1, which makes it harder for a plant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.bench import JudgedCopies
from provenance.audit.inputs import CANDIDATES
from provenance.audit.nearest import nearest_by_parts
from provenance.audit.rules.copies.calibrating import never_used
from provenance.audit.rules.copies.gallery import Gallery
from provenance.audit.rules.copies.judging import verdicts_of
from provenance.detection.copies.structure import flattened
from provenance.embedding.grey import grey_levels
from provenance.findings import CopiesFindings
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from provenance.audit.bench import PlantBench, PlantVectors
    from provenance.audit.rules.copies.parameters import CopiesParameters
    from provenance.detection.copies.found import Found

BLOCK = 64
_OF_WHOLES = (Label.COPY, Label.NO_COPY_SEEN)


def plants_as_copies(bench: PlantBench, rule: CopiesParameters, plants: PlantVectors) -> JudgedCopies:
    """A plant is found where it is identical to its original, or established as a copy of it."""
    from scipy.stats import false_discovery_control

    gallery = Gallery(bench)
    found = _found(bench, gallery, plants)
    unlike = bench.record.findings.own_as(CopiesFindings).unlike
    verdicts = verdicts_of(gallery, rule, found, None if unlike else never_used(gallery))
    p_values = np.array([test.p_value if test.p_value is not None else 1.0 for test in verdicts.whole])
    rows = [gallery.row_of[member.image_id] for member in plants.originals]
    right = np.array([each.matches[0].source == row for each, row in zip(verdicts.found, rows, strict=True)])
    own = [v.p_value if v.label in _OF_WHOLES and v.p_value is not None else 1.0 for v in bench.verdicts.values()]
    beside = np.array([float(false_discovery_control(np.append(own, p))[-1]) for p in p_values.tolist()])
    groups = verdicts.whole_family.groups if verdicts.whole_family else 0
    return JudgedCopies(plants.identical | (right & (beside <= rule.q)), p_values <= 1 / (groups + 1) + 1e-12)


def _found(bench: PlantBench, gallery: Gallery, plants: PlantVectors) -> list[Found]:
    images = flattened(grey_levels(plants.further[gallery.space.space_id], gallery.space))
    near = _nearest(bench, gallery, plants)
    found: list[Found] = []
    for start in range(0, len(images), BLOCK):
        rows = slice(start, start + BLOCK)
        found += gallery.found(images[rows], near[rows])
        bench.on_judged(len(found))
    return found


def _nearest(bench: PlantBench, gallery: Gallery, plants: PlantVectors) -> list[list[int]]:
    near: list[list[int]] = [[] for _ in plants.originals]
    for role in CANDIDATES:
        if theirs := bench.frozen.reals.get(role, ()):
            k = min(bench.frozen.top_k, len(theirs))
            rows, _ = nearest_by_parts(plants.vectors, bench.vectors.of(theirs), k, threads=bench.vectors.threads)
            for mine, found in zip(near, rows.tolist(), strict=True):
                mine += [gallery.row_of[theirs[row].image_id] for row in found]
    return near
