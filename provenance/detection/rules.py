"""Decision rules. Pure: numbers in, values out; no I/O, no clock.

All similarities are cosines in [-1, 1], higher = closer. A score equal to a threshold is not above it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provenance.errors import UsageError
from provenance.vocabulary import POLICY_ID_PREFIX, Label, Population, RuleName, Subject, digest_of_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provenance.detection.seed.logistic import LogisticModel

DECIMALS = 9
"""mu, sigma and T enter decisions and digests rounded to this many decimals."""

SIMILARITY_TOLERANCE = 1e-5
"""Across machines, builds and devices a similarity is equal within this; closer decisions are marked."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule with its parameters. Evidence: content-addressed by ``policy_id`` and recorded with every audit.

    ``alpha`` and ``population`` belong to ``mu-alpha-sigma``, ``model`` and ``space_id`` to ``logistic``, and to
    ``calibrated``: what a rule does not use is not part of its parameters. Coefficients mean something in the embedding
    space they were fitted in only: ``space_id`` names it.

    Attributes of ``calibrated``:
        score: The membership score with all its parameters, ``{"score": NAME, ...}``; ``None`` for generated images,
            which have S_u, and until an audit fills in the default.
        q: Level of the false discovery rate, in (0, 1).
        level: Of the release test, in (0, 1).
        permutations: Of the release test, 1 or more.
        seed: Of permutations and bootstrap.
    """

    subject: Subject = Subject.GENERATED
    rule: RuleName = RuleName.MU_ALPHA_SIGMA
    alpha: float = 0.5
    population: Population = Population.MAXIMA
    top_k: int = 10
    model: LogisticModel | None = None
    space_id: str | None = None
    score: Mapping[str, Any] | None = None
    q: float = 0.05
    level: float = 0.05
    permutations: int = 9999
    seed: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.alpha):
            raise UsageError(f"alpha must be a finite number, not {self.alpha}")
        if self.top_k < 1:
            raise UsageError(f"top-k must be 1 or more, not {self.top_k}")
        if self.rule is RuleName.LOGISTIC and self.model is None:
            raise UsageError(
                "the rule logistic needs a fitted model", hint="`provenance fit` makes one; give it with --policy"
            )
        if self.rule is not RuleName.LOGISTIC and self.model is not None:
            raise UsageError(f"the rule {self.rule.value} takes no fitted model")
        self._check_calibrated()

    def _check_calibrated(self) -> None:
        if not 0 < self.q < 1:
            raise UsageError(f"q lies between 0 and 1, not {self.q}", hint="0.05 is usual (--fdr)")
        if not 0 < self.level < 1:
            raise UsageError(f"the level lies between 0 and 1, not {self.level}", hint="0.05 is usual")
        if self.permutations < 1:
            raise UsageError(f"the release test needs one permutation or more, not {self.permutations}")
        if self.score is not None and self.rule is not RuleName.CALIBRATED:
            raise UsageError(
                f"the rule {self.rule.value} takes no membership score", hint="--score goes with --rule calibrated"
            )
        if self.score is not None and self.subject is Subject.GENERATED:
            raise UsageError(
                "membership scores are of real images; a generated one is judged by its greatest similarity",
                hint="add --subject real, or leave the score out",
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters as JSON values."""
        if self.model is not None:
            return {
                "subject": self.subject.value,
                "model": self.model.to_json(),
                "top_k": self.top_k,
                "decimals": DECIMALS,
                **({"space_id": self.space_id} if self.space_id else {}),
            }
        if self.rule is RuleName.CALIBRATED:
            return {
                "subject": self.subject.value,
                **(self.score or {}),
                "q": float(self.q),
                "level": float(self.level),
                "permutations": self.permutations,
                "seed": self.seed,
                "top_k": self.top_k,
                "decimals": DECIMALS,
            }
        return {
            "subject": self.subject.value,
            "alpha": float(self.alpha),
            "population": self.population.value,
            "top_k": self.top_k,
            "ddof": 0,
            "decimals": DECIMALS,
        }

    @property
    def policy_id(self) -> str:
        """``policy:<hex>``, sha256 of rule and parameters."""
        return POLICY_ID_PREFIX + digest_of_json({"rule": self.rule.value, "parameters": self.parameters})


@dataclass(frozen=True, slots=True)
class Threshold:
    """T = mu + alpha * sigma over ``n`` similarities (seed paper, eq. 3); rounded to ``DECIMALS`` decimals."""

    mu: float
    sigma: float
    alpha: float
    n: int
    value: float


def threshold_of_scores(scores: Iterable[float], alpha: float) -> Threshold:
    """T over a population of scores (seed paper, eq. 3): mean and standard deviation with ddof = 0.

    Sums are exact (``math.fsum``), so that the order of the scores does not matter.

    Args:
        scores: Similarities, without dimension; at least one.
        alpha: The tunable factor; 0.5 in the paper.

    Raises:
        UsageError: If there is no score.
    """
    values = list(scores)
    if not values:
        raise UsageError("no scores: mu and sigma of an empty population are undefined")
    mu = math.fsum(values) / len(values)
    variance = math.fsum((value - mu) ** 2 for value in values) / len(values)
    return threshold_of_moments(mu, math.sqrt(variance), len(values), alpha)


def threshold_of_moments(mu: float, sigma: float, n: int, alpha: float) -> Threshold:
    """T from a known mean and standard deviation of ``n`` similarities (seed paper, eq. 3)."""
    return Threshold(
        mu=round(mu, DECIMALS),
        sigma=round(sigma, DECIMALS),
        alpha=alpha,
        n=n,
        value=round(mu + alpha * sigma, DECIMALS),
    )


def near_rounding_boundary(mu: float, sigma: float, alpha: float, error: float = 1e-12) -> bool:
    """Whether an error of ``error`` in mu, sigma or T could change its ``DECIMALS`` decimals."""
    return any(
        round(value - error, DECIMALS) != round(value + error, DECIMALS) for value in (mu, sigma, mu + alpha * sigma)
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """A label, the score it was decided on, and whether a tolerance-sized change could have turned it.

    Attributes:
        p_value: In (0, 1], where the rule has one; ``q_value`` likewise.
    """

    label: Label
    score: float
    near_threshold: bool
    p_value: float | None = None
    q_value: float | None = None


def decide_generated(s_candidate: float | None, s_not_used: float | None, threshold: Threshold) -> Decision:
    """Label of a generated image: ``used`` iff S_u > S_n and S_u > T (seed paper, eq. 4).

    Args:
        s_candidate: Greatest similarity to a candidate source: an image that was used, or that may have
            been used (the paper's inference puts the unknown images in this place). ``None`` without any.
        s_not_used: S_n, greatest similarity to an image known not to be used; ``None`` without any.
        threshold: T of this audit.

    Without candidates S_u is the maximum over nothing, minus infinity: the label is ``not_used`` and the
    recorded score is S_n. T is compared with the score rounded to the same number of decimals.
    """
    if s_candidate is None:
        if s_not_used is None:
            raise UsageError("a generated image can't be judged against no real image")
        return Decision(Label.NOT_USED, s_not_used, near_threshold=False)
    margins = [s_candidate - threshold.value]
    above = [round(s_candidate, DECIMALS) > threshold.value]
    if s_not_used is not None:
        margins.append(s_candidate - s_not_used)
        above.append(s_candidate > s_not_used)
    return Decision(_label(all(above)), s_candidate, _could_turn(margins))


def decide_real(score: float, threshold: Threshold) -> Decision:
    """Label of a real image: ``used`` iff S(r) > T, with S(r) its greatest similarity to a generated image."""
    above = round(score, DECIMALS) > threshold.value
    return Decision(_label(above), score, _could_turn([score - threshold.value]))


def population_of_maxima(s_candidate: Sequence[float | None], s_not_used: Sequence[float | None]) -> list[float]:
    """The paper's histogram: all S_u and all S_n of one audit; 2m scores with both kinds of set, m with one."""
    return [score for score in (*s_candidate, *s_not_used) if score is not None]


def _label(used: bool) -> Label:
    return Label.USED if used else Label.NOT_USED


def _could_turn(margins: Sequence[float]) -> bool:
    # The label is "used" iff every margin is positive: it turns when the smallest one changes its sign.
    return abs(min(margins)) <= SIMILARITY_TOLERANCE
