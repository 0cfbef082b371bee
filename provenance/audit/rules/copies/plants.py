"""Plants judged by the rule ``copies``, each alone, as one more generated image: whether it would be called a copy.

The calibration is the one on record; so are the p-values of the release's own images, which the plant joins. Those on
record for a region stand in for no p-value of the whole: 1, which makes it harder for a plant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.bench import JudgedCopies
from provenance.audit.inputs import CANDIDATES
from provenance.audit.nearest import nearest_by_parts
from provenance.audit.rules.copies.gallery import Gallery, group_of
from provenance.detection.copies.calibration import agreement_scores, calibrated_copies
from provenance.embedding.grey import grey_levels
from provenance.errors import UsageError
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from provenance.arrays import Flags, Float64s
    from provenance.audit.bench import PlantBench, PlantVectors
    from provenance.audit.rules.copies.parameters import CopiesParameters

BLOCK = 64
_OF_WHOLES = (Label.COPY, Label.NO_COPY_SEEN)


def plants_as_copies(bench: PlantBench, rule: CopiesParameters, plants: PlantVectors) -> JudgedCopies:
    """A plant is found where it is identical to its original, or established as a copy of it."""
    scores = _agreements(bench, Gallery(bench), plants)
    found, outranks = _established(bench, rule, scores)
    return JudgedCopies(plants.identical | found, outranks)


def _agreements(bench: PlantBench, gallery: Gallery, plants: PlantVectors) -> Float64s:
    images = grey_levels(plants.further[gallery.space.space_id], gallery.space)
    near = _nearest(bench, gallery, plants)
    rows_of = [gallery.row_of[member.image_id] for member in plants.originals]
    found: list[float] = []
    for start in range(0, len(images), BLOCK):
        rows = slice(start, start + BLOCK)
        for each, own in zip(gallery.found(images[rows], near[rows]), rows_of[rows], strict=True):
            found.append(next((match.agreement for match in each.matches if match.source == own), -1.0))
        bench.on_judged(len(found))
    return agreement_scores(found)


def _nearest(bench: PlantBench, gallery: Gallery, plants: PlantVectors) -> list[list[int]]:
    near: list[list[int]] = [[] for _ in plants.originals]
    for role in CANDIDATES:
        if theirs := bench.frozen.reals.get(role, ()):
            k = min(bench.frozen.top_k, len(theirs))
            rows, _ = nearest_by_parts(plants.vectors, bench.vectors.of(theirs), k, threads=bench.vectors.threads)
            for mine, found in zip(near, rows.tolist(), strict=True):
                mine += [gallery.row_of[theirs[row].image_id] for row in found]
    return near


def _established(bench: PlantBench, rule: CopiesParameters, scores: Float64s) -> tuple[Flags, Flags]:
    """Which scores are established, each beside the release's own p-values; and which outrank all calibration."""
    from scipy.stats import false_discovery_control

    everyone = {member.image_key: member for member in bench.frozen.judged_reals}
    known = bench.workspace.catalog.calibration_scores(bench.record.audit_id)
    twins = {twin.not_used.image_key for twin in bench.frozen.twins.twins} if bench.frozen.twins else set()
    if not known or any(each.image_key not in everyone for each in known):
        return np.zeros(len(scores), dtype=np.bool_), np.zeros(len(scores), dtype=np.bool_)
    try:
        judged = calibrated_copies(
            scores,
            agreement_scores([each.score for each in known]),
            calibration_groups=[group_of(everyone[each.image_key]) for each in known],
            flagged=np.array([each.image_key in twins for each in known]),
        )
    except UsageError:
        return np.zeros(len(scores), dtype=np.bool_), np.zeros(len(scores), dtype=np.bool_)
    own = [v.p_value if v.label in _OF_WHOLES and v.p_value is not None else 1.0 for v in bench.verdicts.values()]
    p_values = np.where(np.isnan(judged.tail), judged.conformal, judged.tail)
    beside = [float(false_discovery_control(np.append(own, p))[-1]) for p in p_values.tolist()]
    return np.array(beside) <= rule.q, judged.conformal <= 1 / (judged.groups + 1) + 1e-12
