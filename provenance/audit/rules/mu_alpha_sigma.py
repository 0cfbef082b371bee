"""Rule ``mu-alpha-sigma``, the published baseline: T = mu + alpha * sigma (seed paper, eqs. 2-4)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from provenance.audit.bench import JudgedCopies
from provenance.audit.features import S_NOT_USED, S_USED, features_of, there
from provenance.audit.inputs import CANDIDATES
from provenance.audit.rule import Judgement, Rule
from provenance.detection import (
    check_by_distance,
    decide_generated,
    decide_real,
    near_rounding_boundary,
    population_of_maxima,
    threshold_of_moments,
    threshold_of_scores,
)
from provenance.errors import UsageError
from provenance.findings import Statements
from provenance.index import direct_pairwise, needs_direct, pairwise
from provenance.received import shortened
from provenance.vocabulary import Label, Population, Role, RuleName, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provenance.audit.bench import Bench, PlantBench, PlantVectors
    from provenance.audit.evidence import SubjectEvidence
    from provenance.detection import Threshold
    from provenance.records import AuditRecord

_BASELINE = (
    "The mu-alpha-sigma rule is the published baseline. On GAN data with known truth it is at chance: "
    "a label is a lead to look at, not a finding."
)


_MOST_ALPHA = 1_000_000


@dataclass(frozen=True, slots=True)
class MuAlphaSigmaRule(Rule):
    """Used iff S_u > S_n and S_u > T; a real image iff S(r) > T. Whatever sets there are, mu and sigma are defined.

    Attributes:
        alpha: No unit; 0.5 in the paper.
        population: What mu and sigma are taken over.
    """

    name: ClassVar[RuleName] = RuleName.MU_ALPHA_SIGMA
    options: ClassVar[Mapping[str, str]] = {"alpha": "--alpha", "population": "--population"}
    behind: ClassVar[tuple[str, ...]] = ("ddof", "decimals")
    score_axis: ClassVar[str] = "greatest cosine similarity (no unit; 1 = same direction)"

    alpha: float = 0.5
    population: Population = Population.MAXIMA

    def __post_init__(self) -> None:
        if not abs(self.alpha) <= _MOST_ALPHA:  # not a number is no number within it either
            raise UsageError(f"alpha must be a finite number within {_MOST_ALPHA:,} of 0, not {shortened(self.alpha)}")

    @classmethod
    def from_json(cls, parameters: Mapping[str, Any]) -> Self:
        """See ``Rule``."""
        return cls(float(parameters["alpha"]), Population(parameters["population"]))

    def to_json(self) -> dict[str, Any]:
        """See ``Rule``; sigma is taken with ddof = 0."""
        return {"alpha": float(self.alpha), "population": self.population.value, "ddof": 0}

    def judge(self, bench: Bench, subjects: Sequence[SubjectEvidence]) -> Judgement:
        """See ``Rule``; mu, sigma, alpha and n are on record."""
        others: list[float | None]
        if bench.frozen.subject is Subject.REAL:
            scores = [there(subject.greatest(Role.RELEASE)) for subject in subjects]
            candidates, others = list[float | None](scores), [None] * len(subjects)
            threshold = self._threshold(bench, scores)
            decisions = [decide_real(score, threshold) for score in scores]
        else:
            rows = [features_of(Subject.GENERATED, subject.neighbors) for subject in subjects]
            candidates, others = [row[S_USED] for row in rows], [row[S_NOT_USED] for row in rows]
            threshold = self._threshold(bench, population_of_maxima(candidates, others))
            decisions = [decide_generated(s, other, threshold) for s, other in zip(candidates, others, strict=True)]
        notes = [_BASELINE]
        if bench.frozen.subject is Subject.GENERATED and not set(CANDIDATES) & bench.frozen.reals.keys():
            notes.append("No used or unknown set was given: nothing can be labelled used.")
        by_distance = self._labels_by_distance(candidates, others)
        return Judgement(
            tuple(decisions), threshold.value, asdict(threshold), threshold, by_distance, notes=tuple(notes)
        )

    @classmethod
    def statements(cls, audit: AuditRecord) -> Statements:
        """See ``Rule``: leads, and no more."""
        found, total = audit.counts["used"], audit.counts["subjects"]
        said = f"The published baseline labels {found:,} of {total:,} {audit.subject.value} images used."
        return Statements(guessed=(f"{said} It has no error rate: these are leads to look at.",))

    @classmethod
    def threshold_words(cls, audit: AuditRecord) -> str:
        """See ``Rule``."""
        return (
            f"T = {audit.threshold:.9f} = mu {audit.mu:.9f} + {audit.alpha:g} x sigma {audit.sigma:.9f} "
            f"(n = {audit.population_count:,})"
        )

    def judge_plants(self, bench: PlantBench, plants: PlantVectors) -> JudgedCopies:
        """See ``Rule``; mu, sigma and T are taken anew with each plant."""
        judged = self._with_generated if bench.frozen.subject is Subject.GENERATED else self._with_real
        pairwise = self._pairwise_with(bench, plants) if self.population is Population.PAIRWISE else None
        found = []
        for label in judged(bench, plants, pairwise):
            found.append(label is Label.USED)
            bench.on_judged(len(found))
        return JudgedCopies(np.array(found, dtype=np.bool_))

    def _with_generated(
        self, bench: PlantBench, plants: PlantVectors, pairwise: Sequence[Threshold] | None
    ) -> Iterator[Label]:
        own, others = (
            bench.maxima(plants, members).tolist() if members else [None] * len(plants.originals)
            for members in (bench.frozen.candidates, bench.frozen.acting(Role.NOT_USED))
        )
        base = population_of_maxima(*zip(*bench.recorded_maxima(), strict=True))
        for place, (candidate, other) in enumerate(zip(own, others, strict=True)):
            more = population_of_maxima([candidate], [other])
            threshold = pairwise[place] if pairwise else threshold_of_scores([*base, *more], self.alpha)
            yield decide_generated(candidate, other, threshold).label

    def _with_real(
        self, bench: PlantBench, plants: PlantVectors, pairwise: Sequence[Threshold] | None
    ) -> Iterator[Label]:
        reals = bench.frozen.judged_reals
        row_of = {member.image_id: row for row, member in enumerate(reals)}
        base = np.array([bench.verdicts[member.image_key].score for member in reals], dtype=np.float64)
        for place, similarities in enumerate(bench.to_reals(plants)):
            scores = np.maximum(base, similarities)
            threshold = pairwise[place] if pairwise else threshold_of_scores(scores.tolist(), self.alpha)
            yield decide_real(float(scores[row_of[plants.originals[place].image_id]]), threshold).label

    def _pairwise_with(self, bench: PlantBench, plants: PlantVectors) -> list[Threshold]:
        """T over all pairs of release and reals, with the pairs of one plant beside: from the recorded moments."""
        mu, sigma, n = bench.record.mu, bench.record.sigma, bench.record.population_count
        assert mu is not None and sigma is not None and n is not None, "recorded by this rule"  # noqa: PT018
        found = []
        for row in bench.to_reals(plants):
            total = n + len(row)
            mean = (mu * n + math.fsum(row)) / total
            square = ((sigma**2 + mu**2) * n + math.fsum(row * row)) / total
            found.append(threshold_of_moments(mean, math.sqrt(max(square - mean**2, 0.0)), total, self.alpha))
        return found

    def _threshold(self, bench: Bench, population: Sequence[float]) -> Threshold:
        if self.population is Population.MAXIMA:
            return threshold_of_scores(population, self.alpha)
        return pairwise_threshold(bench, self.alpha)

    def _labels_by_distance(self, scores: Sequence[float | None], others: Sequence[float | None]) -> Mapping[str, int]:
        """How many labels stay when mu, sigma and T are those of Euclidean distances.

        Nothing where T is not over these scores, or some image has no score.
        """
        known = [score for score in scores if score is not None]
        s_not_used = [other for other in others if other is not None]
        complete = len(known) == len(scores) and len(s_not_used) in (0, len(known))
        if self.population is not Population.MAXIMA or not complete:
            return {}
        found = check_by_distance(known, s_not_used or None, self.alpha)
        return {"labels": found.n, "same_label": found.agreeing}


def pairwise_threshold(bench: Bench, alpha: float) -> Threshold:
    """T over ALL cosines between the release and the acting reals, from the collections' moments.

    No pair is visited: the cost does not depend on how many images there are (``provenance.index.moments``).
    Where the moments' rounding error could show in the recorded decimals, mu and sigma are computed again
    from the vectors, centred and in image_id order.
    """
    frozen, vectors = bench.frozen, bench.vectors
    release, reals = vectors.moments(frozen.release), vectors.moments_of_reals(frozen)
    mu, variance = pairwise(release, reals)
    sigma = math.sqrt(variance)
    if needs_direct(mu, variance) or near_rounding_boundary(mu, sigma, alpha):
        mu, sigma = direct_pairwise(vectors.of(frozen.release.members), vectors.of(frozen.judged_reals))
    return threshold_of_moments(mu, sigma, release.n * reals.n, alpha)


RULE = MuAlphaSigmaRule
