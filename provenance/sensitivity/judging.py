"""Every plant judged alone by the policy of its audit; what the audit has on record is not judged again.

generated subjects   one more generated image: S_u and S_n of the plants are new, those of the release are on record
real subjects        one more generated image in the release; the label of the used image that it copies counts
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.calibrated import own_maxima
from provenance.audit.evidence import VectorSearch, scoring_inputs
from provenance.audit.features import NEAREST, NEAREST_MEAN, S_NOT_USED, S_USED
from provenance.audit.inputs import CANDIDATES
from provenance.audit.nearest import concatenated, nearest_by_parts
from provenance.audit.planted_scores import scores_with_plants
from provenance.audit.scoring import one_thread
from provenance.detection import (
    Threshold,
    decide_generated,
    decide_real,
    judge_as_generated,
    judge_as_real,
    population_of_maxima,
    threshold_of_moments,
    threshold_of_scores,
)
from provenance.detection.scores.neighborhoods import fixed_point
from provenance.errors import UsageError
from provenance.sensitivity.values import Reach
from provenance.vocabulary import Label, Population, Role, RuleName, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from provenance.detection import JudgedPlants
    from provenance.installation import Installation
    from provenance.records import Member
    from provenance.sensitivity.planting import EmbeddedPlants
    from provenance.sensitivity.replay import ReplayedAudit

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What the audit's policy says of plants.

    Attributes:
        found: Whether each is labelled as a copy, or its original as used; bool (p,).
        outranks: Whether its p-value is the smallest there can be; ``None`` for rules without p-values.
        reach: ``None`` likewise.
    """

    found: Flags
    outranks: Flags | None = None
    reach: Reach | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """What plants are judged with: the workspace, the audit, and who is told."""

    workspace: Installation
    audit: ReplayedAudit
    on_step: Callable[[str], None]
    on_judged: Tell

    @property
    def search(self) -> VectorSearch:
        """Vectors of the audit's images."""
        return VectorSearch(self.workspace, self.audit.frozen.space, self.on_step)

    def acting(self, *roles: Role) -> list[Member]:
        """The real images that act in some roles, by image_id."""
        reals = self.audit.frozen.reals
        return sorted((m for role in roles for m in reals.get(role, ())), key=lambda m: m.image_id)


def judge_plants(bench: Bench, plants: EmbeddedPlants) -> Judged:
    """Judge every plant alone.

    Raises:
        UsageError: If the audit's rule is not one that plants are judged by.
    """
    policy = bench.audit.policy
    judges = {
        (RuleName.CALIBRATED, Subject.GENERATED): _calibrated_generated,
        (RuleName.CALIBRATED, Subject.REAL): _calibrated_real,
        (RuleName.MU_ALPHA_SIGMA, Subject.GENERATED): _threshold_generated,
        (RuleName.MU_ALPHA_SIGMA, Subject.REAL): _threshold_real,
        (RuleName.LOGISTIC, Subject.GENERATED): _model_generated,
        (RuleName.LOGISTIC, Subject.REAL): _model_real,
    }
    if (policy.rule, policy.subject) not in judges:
        raise UsageError(f"plants are not judged by the rule {policy.rule.value}")
    return judges[policy.rule, policy.subject](bench, plants)


def _calibrated_generated(bench: Bench, plants: EmbeddedPlants) -> Judged:
    known = bench.acting(Role.NOT_USED)
    candidates = bench.acting(*CANDIDATES)
    to_used, to_not_used = (_maxima(bench, plants, members) for members in (candidates, known))
    s_used, s_not_used = _recorded_maxima(bench)
    bench.on_step(f"comparing {len(known):,} not-used images with the real ones")
    own_to_used, own_to_not_used = (own_maxima(bench.search, known, members) for members in (candidates, known))
    judged = judge_as_generated(
        to_used,
        to_not_used,
        s_used,
        s_not_used,
        own_to_used,
        own_to_not_used,
        calibration_groups=[member.group_key for member in known],
        q=bench.audit.policy.q,
    )
    bench.on_judged(len(judged.found))
    return _with_reach(judged)


def _calibrated_real(bench: Bench, plants: EmbeddedPlants) -> Judged:
    policy, frozen = bench.audit.policy, bench.audit.frozen
    assert policy.score is not None, "recorded with every calibrated audit of real images"
    inputs = scoring_inputs(bench.workspace, frozen, bench.on_step)
    row_of = {member.image_id: row for row, member in enumerate(frozen.judged_reals)}
    # As in ``audit.families``: each claim is a family of its own, and the calibration has no group of any.
    claim = next(role for role in CANDIDATES if plants.originals[0] in frozen.reals.get(role, ()))
    groups = {member.group_key for member in bench.acting(*CANDIDATES)} - {None}
    calibration = [member for member in bench.acting(Role.NOT_USED) if member.group_key not in groups]
    targets, judged, known = (
        np.array([row_of[member.image_id] for member in members], dtype=np.int64)
        for members in (plants.originals, bench.acting(claim), calibration)
    )
    name, k = str(policy.score["score"]), int(policy.score.get("k", policy.top_k))
    bench.on_step(f"scoring {len(inputs.pool):,} real images by {name} with each of {len(targets):,} plants")
    scores = scores_with_plants(
        name, inputs, plants.vectors, k=k, progress=lambda share: bench.on_judged(int(share * len(targets)))
    )
    found = judge_as_real(scores, targets, judged, known, inputs.groups, q=policy.q, on_done=bench.on_judged)
    return _with_reach(found)


def _with_reach(judged: JudgedPlants) -> Judged:
    reach = Reach(judged.k_min, judged.sufficient_groups, judged.subject_groups, judged.calibration_groups)
    return Judged(judged.found, judged.outranks, reach)


def _threshold_generated(bench: Bench, plants: EmbeddedPlants) -> Judged:
    policy, record = bench.audit.policy, bench.audit.record
    candidates, known = (bench.acting(*roles) for roles in (CANDIDATES, (Role.NOT_USED,)))
    own, others = (
        _maxima(bench, plants, each).tolist() if each else [None] * len(plants.kinds) for each in (candidates, known)
    )
    verdicts = bench.audit.verdicts.values()
    base = population_of_maxima([_greater(v.s_used, v.s_against) for v in verdicts], [v.s_not_used for v in verdicts])
    pairwise = _pairwise_with(bench, plants, bench.acting(*Role)) if policy.population is Population.PAIRWISE else None
    found = []
    for place, (candidate, other) in enumerate(zip(own, others, strict=True)):
        more = population_of_maxima([candidate], [other])
        threshold = pairwise[place] if pairwise else threshold_of_scores([*base, *more], record.alpha or 0.0)
        found.append(decide_generated(candidate, other, threshold).label is Label.USED)
        bench.on_judged(place + 1)
    return Judged(np.array(found, dtype=np.bool_))


def _threshold_real(bench: Bench, plants: EmbeddedPlants) -> Judged:
    policy, record = bench.audit.policy, bench.audit.record
    reals = bench.acting(*Role)
    row_of = {member.image_id: row for row, member in enumerate(reals)}
    base = np.array([bench.audit.verdicts[member.image_key].score for member in reals], dtype=np.float64)
    pairwise = _pairwise_with(bench, plants, reals) if policy.population is Population.PAIRWISE else None
    found = []
    for place, (similarities, original) in enumerate(
        zip(_to_reals(bench, plants, reals), plants.originals, strict=True)
    ):
        scores = np.maximum(base, similarities)
        threshold = pairwise[place] if pairwise else threshold_of_scores(scores.tolist(), record.alpha or 0.0)
        decision = decide_real(float(scores[row_of[original.image_id]]), threshold)
        found.append(decision.label is Label.USED)
        bench.on_judged(place + 1)
    return Judged(np.array(found, dtype=np.bool_))


def _pairwise_with(bench: Bench, plants: EmbeddedPlants, reals: Sequence[Member]) -> list[Threshold]:
    """T over all pairs of release and reals, with the pairs of one plant beside them: from the recorded moments."""
    record = bench.audit.record
    mu, sigma, n, alpha = record.mu, record.sigma, record.population_count, record.alpha
    assert mu is not None and sigma is not None and n is not None and alpha is not None, "the seed rule records them"  # noqa: PT018
    found = []
    for row in _to_reals(bench, plants, reals):
        total = n + len(row)
        mean = (mu * n + math.fsum(row)) / total
        square = ((sigma**2 + mu**2) * n + math.fsum(row * row)) / total
        found.append(threshold_of_moments(mean, math.sqrt(max(square - mean**2, 0.0)), total, alpha))
    return found


def _model_generated(bench: Bench, plants: EmbeddedPlants) -> Judged:
    columns = {
        name: _maxima(bench, plants, bench.acting(*roles))
        for name, roles in ((S_USED, CANDIDATES), (S_NOT_USED, (Role.NOT_USED,)))
        if bench.acting(*roles)
    }
    return _by_model(bench, columns)


def _model_real(bench: Bench, plants: EmbeddedPlants) -> Judged:
    near = bench.workspace.catalog.neighbors_of(bench.audit.record.audit_id)
    own = plants.similarities.tolist()
    kept = []
    for original, similarity in zip(plants.originals, own, strict=True):
        ranked = [n.similarity for n in near[original.image_key] if n.role is Role.RELEASE]
        kept.append(sorted([*ranked, similarity], reverse=True)[: bench.audit.policy.top_k])
    columns = {
        NEAREST: np.array([values[0] for values in kept]),
        NEAREST_MEAN: np.array([math.fsum(values) / len(values) for values in kept]),
    }
    return _by_model(bench, columns)


def _by_model(bench: Bench, columns: dict[str, Floats]) -> Judged:
    model = bench.audit.policy.model
    assert model is not None, "a policy of the rule logistic has a model"
    decisions = model.decide({name: columns[name] for name in model.features})
    bench.on_judged(len(decisions))
    return Judged(np.array([decision.label is Label.USED for decision in decisions], dtype=np.bool_))


def _recorded_maxima(bench: Bench) -> tuple[Floats, Floats]:
    verdicts = bench.audit.verdicts.values()
    candidates = [_greater(verdict.s_used, verdict.s_against) for verdict in verdicts]
    return np.array(candidates, dtype=np.float64), np.array([v.s_not_used for v in verdicts], dtype=np.float64)


def _greater(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _maxima(bench: Bench, plants: EmbeddedPlants, members: Sequence[Member]) -> Floats:
    """The greatest cosine of each plant to some real images."""
    threads = bench.workspace.settings.threads
    return nearest_by_parts(plants.vectors, bench.search.vectors(members), 1, threads=threads)[1][:, 0]


def _to_reals(bench: Bench, plants: EmbeddedPlants, reals: Sequence[Member]) -> Iterator[Floats]:
    """For each plant its cosines to all reals, (n,)."""
    with one_thread():
        references = fixed_point(concatenated(bench.search.vectors(reals))[:, 0], "reals")
        step = max(1, 8_000_000 // len(reals))
        for start in range(0, len(plants.vectors), step):
            block = fixed_point(concatenated(plants.vectors[start : start + step])[:, 0], "plants")
            yield from np.clip(block @ references.T, -1, 1)
