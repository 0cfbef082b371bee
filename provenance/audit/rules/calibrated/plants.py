"""Plants judged by the rule ``calibrated``, each alone: what it takes for one copy to be established.

Real images are judged by their scores with one more generated image in the release, in an incremental form.
What a plant leaves as it is, is computed once: neighborhoods and reference terms of whole-image scores, affinities and
inverses of local ones. The scores are those of ``scoring.score_reals`` with the plant in the release: exactly for
whole-image scores (but for ``monte-carlo``, whose radius stays that of the release without the plant, and the rank
average that it is part of), to within 1e-5 for local ones. Scores without an incremental form (``referenced`` local
ones, ``local-nearest`` with k > 1) are computed anew for each plant. Of the score ``learnt``, features are those with
the plant, what was learnt stays what it was without it, and calibration images are compared by their cross-fitted
scores.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.bench import JudgedCopies
from provenance.audit.learning import learnt_of
from provenance.audit.rules.calibrated.judging import calibration_of
from provenance.audit.scoring import LEARNT, is_local_score, one_thread, score_reals, takes_k, whole_scores
from provenance.detection import ReleaseDesign, judge_as_generated, judge_as_real, neighborhoods
from provenance.detection.learnt.features import seen
from provenance.detection.learnt.plants import scores_with_each_plant as with_each_plant
from provenance.detection.scores.local_memory import SINGLE, SPREAD, scores_with_each_plant
from provenance.detection.scores.membership import REFERENCED
from provenance.detection.scores.neighborhoods import cosine_blocks, fixed_point
from provenance.embedding.grey import GreyImages
from provenance.index import available_threads
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provenance.arrays import Float32s, Float64s
    from provenance.audit.bench import PlantBench, PlantVectors
    from provenance.audit.rules.calibrated.parameters import CalibratedParameters
    from provenance.audit.scoring_inputs import ScoringInputs


_LOCAL_TERMS = {"local": (SPREAD, SINGLE), "local-matching": (SPREAD,), "local-nearest": (SINGLE,)}
_NUMBERS_AT_ONCE = 8_000_000
"""Scores that are in memory at a time: 64 MB, a few times over."""


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
    design = _release_design(bench, rule, inputs) if claim is Role.USED else None
    return JudgedCopies(found.found, found.outranks, found, None if design is None else found.scores, design)


def _release_design(bench: PlantBench, rule: CalibratedParameters, inputs: ScoringInputs) -> ReleaseDesign:
    """The release test of the audit; its scores are on record of the judged images alone, and are computed again."""
    scores = score_reals(rule.score_name, inputs, k=rule.score_k).scores
    role_of = bench.frozen.role_of
    rows = [row for row, m in enumerate(bench.frozen.judged_reals) if role_of[m.image_id] is not Role.AGAINST]
    used = [role_of[bench.frozen.judged_reals[row].image_id] is Role.USED for row in rows]
    groups = [inputs.groups[row] for row in rows]
    return ReleaseDesign.of(
        scores[rows], used, groups, level=rule.level, permutations=rule.permutations, seed=rule.seed
    )


def is_incremental(name: str, k: int) -> bool:
    """Whether a plant's scores are had without scoring everything again."""
    return not is_local_score(name) or (not name.startswith(REFERENCED) and (name != "local-nearest" or k == 1))


def scores_with_plants(
    name: str,
    inputs: ScoringInputs,
    plants: Float32s,
    *,
    k: int = 10,
    progress: Callable[[float], None] | None = None,
) -> Iterator[Float64s]:
    """For each plant, the scores (n,) of the whole pool, as if it alone had been added to the release.

    Args:
        name: As in ``score_reals``, like ``k``.
        inputs: Of the audit, without any plant.
        plants: Unit vectors, float32 (p, parts, dim).
        k: Neighbors, for the scores that take it.
        progress: Told the share of the plants that is scored, while a block of them is under way.
    """
    if name == LEARNT:
        yield from _learnt(inputs, plants, progress)
    elif not is_incremental(name, k):
        for plant in plants:
            yield score_reals(name, replace(inputs, release=np.concatenate([inputs.release, plant[None]])), k=k).scores
    elif is_local_score(name):
        yield from _local(name, inputs, plants, progress)
    else:
        yield from _whole(name, inputs, plants, k)


def _learnt(inputs: ScoringInputs, plants: Float32s, progress: Callable[[float], None] | None) -> Iterator[Float64s]:
    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(done / total)

    with one_thread():
        learner = learnt_of(inputs).learner
        threads = inputs.threads or available_threads()
        pool = seen(GreyImages(inputs.pool), GreyImages(inputs.release), inputs.groups, threads=threads)
    scores = with_each_plant(learner, pool, GreyImages(plants), progress=told)
    while True:
        with one_thread():  # not while whoever asks for the scores works at them
            found = next(scores, None)
        if found is None:
            return
        yield found


def _local(
    name: str, inputs: ScoringInputs, plants: Float32s, progress: Callable[[float], None] | None
) -> Iterator[Float64s]:
    step = max(64, _NUMBERS_AT_ONCE // len(inputs.pool))
    for start in range(0, len(plants), step):
        block = plants[start : start + step]

        def told(done: int, of: int, start: int, size: int) -> None:
            if progress is not None:
                progress((start + size * done / of) / len(plants))

        with one_thread():
            scores = scores_with_each_plant(
                inputs.pool,
                inputs.release,
                block,
                inputs.groups,
                terms=_LOCAL_TERMS[name],
                threads=inputs.threads or available_threads(),
                progress=partial(told, start=start, size=len(block)),
            )
        yield from scores


def _whole(name: str, inputs: ScoringInputs, plants: Float32s, k: int) -> Iterator[Float64s]:
    kept = k if takes_k(name) else 1
    pool, groups = inputs.pool[:, 0], inputs.groups
    with one_thread():
        base = neighborhoods(pool, inputs.release[:, 0], groups, k=kept)
        other = None if inputs.reference is None else neighborhoods(pool, inputs.reference[:, 0], groups, k=kept)
    for _, similarities in cosine_blocks(fixed_point(plants[:, 0], "plants"), fixed_point(pool, "pool")):
        for row in similarities:
            yield whole_scores(name, base.with_planted(row, groups), other)
