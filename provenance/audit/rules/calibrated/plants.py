"""Plants judged by the rule ``calibrated``, each alone: what it takes for one copy to be established."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.bench import JudgedCopies
from provenance.audit.rules.calibrated.judging import calibration_of
from provenance.audit.rules.calibrated.planted_scores import scores_with_plants
from provenance.detection import judge_as_generated, judge_as_real
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from provenance.audit.bench import PlantBench, PlantVectors
    from provenance.audit.rules.calibrated.parameters import CalibratedParameters


def plants_as_generated(bench: PlantBench, rule: CalibratedParameters, plants: PlantVectors) -> JudgedCopies:
    """Each plant as one more generated image."""
    candidates, known = bench.frozen.candidates, bench.frozen.acting(Role.NOT_USED)
    s_used, s_not_used = np.array(bench.recorded_maxima(), dtype=np.float64).T
    judged = judge_as_generated(
        bench.maxima(plants, candidates),
        bench.maxima(plants, known),
        s_used,
        s_not_used,
        *calibration_of(bench),
        calibration_groups=[member.group_key for member in known],
        q=rule.q,
    )
    bench.on_judged(len(judged.found))
    return JudgedCopies(judged.found, judged.outranks, judged)


def plants_beside_real(bench: PlantBench, rule: CalibratedParameters, plants: PlantVectors) -> JudgedCopies:
    """Each plant in the release, and the verdict on the image that it copies.

    As in ``families``: each claim is a family of its own, and the calibration has no group of any.
    """
    frozen, inputs = bench.frozen, bench.vectors.scoring_inputs(bench.frozen)
    row_of = {member.image_id: row for row, member in enumerate(frozen.judged_reals)}
    claim = frozen.role_of[plants.originals[0].image_id]
    groups = {member.group_key for member in frozen.candidates} - {None}
    calibration = [member for member in frozen.acting(Role.NOT_USED) if member.group_key not in groups]
    targets, judged, known = (
        np.array([row_of[member.image_id] for member in members], dtype=np.int64)
        for members in (plants.originals, frozen.acting(claim), calibration)
    )
    bench.on_step(f"scoring {len(inputs.pool):,} real images by {rule.score_name} with each of {len(targets):,} plants")
    scores = scores_with_plants(
        rule.score_name,
        inputs,
        plants.vectors,
        k=rule.score_k,
        progress=lambda share: bench.on_judged(int(share * len(targets))),
    )
    found = judge_as_real(scores, targets, judged, known, inputs.groups, q=rule.q, on_done=bench.on_judged)
    return JudgedCopies(found.found, found.outranks, found)
