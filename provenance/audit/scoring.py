"""The scoring step: frozen inputs in, membership scores of all reals out. The one place that knows scores by name.

    inputs = ScoringInputs(vectors, release, groups)            vectors of the pool (n, parts, dim), image_id order
    scored = score_reals("local", inputs)                       scored.scores: (n,), higher = more likely used

``learnt`` is the default of an audit that knows enough images of both kinds: it is over the space ``pixels``, and the
one score that labels enter. Its figures are cross-fitted by group (``provenance.detection.learnt``).

Audits, planted copies and benchmarks all score by ``score_reals``: what is judged, what is planted and what is
compared are the same numbers. The pool is calibration, subjects and the images known to be used, treated alike; no
label enters any other score. ``evidence.scoring_inputs`` reads the vectors of a frozen audit, verified.

Scores of a local space (``parts`` > 1): ``local`` (the default there), ``local-matching``, ``local-nearest``; of a
whole-image space all of ``provenance.detection.SCORES``, and ``rank-average`` of them. ``referenced:NAME`` is any of
these less the same against a reference release. ``local-matching`` and ``local`` are float32 products: each runs on one
BLAS thread, over rows in the order of their contents, while threads share the positions, so that neither the number of
threads nor the order of anything shows in a score.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provenance.audit.learning import Learnt, learnt_of
from provenance.detection import SCORES, combine_by_rank, membership_scores, neighborhoods
from provenance.detection.learnt.features import parameters as feature_parameters
from provenance.detection.learnt.learner import BONUS, PENALTY
from provenance.detection.learnt.learner import VERSION as LEARNER_VERSION
from provenance.detection.learnt.sets import LEVEL as SETS_LEVEL
from provenance.detection.scores.local import Matching, matching_scores
from provenance.detection.scores.local_memory import COPY_FROM, COPY_WEIGHT, local_scores, referenced
from provenance.detection.scores.local_neighbors import local_nearest_scores
from provenance.detection.scores.membership import RANK_AVERAGE, RANKED, REFERENCED
from provenance.errors import SpaceMismatchError, UsageError
from provenance.index import available_threads
from provenance.vocabulary import PIXELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.arrays import Float32s, Float64s
    from provenance.audit.scoring_inputs import Progress, ScoringInputs
    from provenance.detection import Neighborhoods
    from provenance.detection.scores.local import LocalScores


LEARNT = "learnt"
DEFAULT_LOCAL_SCORE = "local"
DEFAULT_WHOLE_SCORE = "relative"
DEFAULT_LOCAL_BACKBONE = "patches-24-8@64"
"""The defaults of the rule ``calibrated``: docs/method.md says what they follow from."""

LOCAL_SCORES = ("local", "local-matching", "local-nearest")


@dataclass(frozen=True, slots=True)
class ScoredReals:
    """Scores of a pool of reals.

    Attributes:
        scores: Higher = more likely used, float64 (n,), all finite.
        control: The same score against the reference release; ``None`` without one, or where it is subtracted already.
        contributions: What each position speaks for membership, (n, parts); ``None`` for whole-image scores.
        copies: What the score ``local`` added for being a copy, (n,); ``None`` for whole-image scores.
        learnt: Of a score that learns, all that it learnt: its p-values and its release test are its own.
    """

    scores: Float64s
    control: Float64s | None
    contributions: Float64s | None
    copies: Float64s | None = None
    learnt: Learnt | None = None


def default_score(*, is_local: bool) -> str:
    """The score of the rule ``calibrated`` where none is asked for."""
    return DEFAULT_LOCAL_SCORE if is_local else DEFAULT_WHOLE_SCORE


def score_names() -> tuple[str, ...]:
    """All names but the ``referenced:`` ones."""
    return (LEARNT, *LOCAL_SCORES, *SCORES, RANK_AVERAGE)


def is_local_score(name: str) -> bool:
    """Whether a score is one of a local space.

    Raises:
        UsageError: If there is no such score.
    """
    plain = name.removeprefix(REFERENCED)
    if plain not in score_names() or (plain == LEARNT and plain != name):
        raise UsageError(f"no membership score is called {name}", hint=f"there are {', '.join(score_names())}")
    return plain in LOCAL_SCORES


def takes_k(name: str) -> bool:
    """Whether the number of neighbors shapes a score."""
    plain = name.removeprefix(REFERENCED)
    return SCORES[plain].takes_k if plain in SCORES else plain in ("local-nearest", RANK_AVERAGE)


def score_parameters(name: str, k: int) -> dict[str, Any]:
    """Everything that shapes a score beside the vectors, as JSON values for a policy."""
    plain = name.removeprefix(REFERENCED)
    if name == LEARNT:
        gates = {"sets_level": SETS_LEVEL, "excess_level": "level", "lower_level": "level"}  # of the release test
        learner = {"version": LEARNER_VERSION, "penalty": PENALTY, "bonus": BONUS, **gates}
        return {"score": name, "space_kind": PIXELS, "features": feature_parameters(), "learner": learner}
    found: dict[str, Any] = {"score": name, "space_kind": "local" if is_local_score(name) else "whole"}
    if takes_k(name):
        found["k"] = k
    if plain in ("local", "local-matching"):
        found["matching"] = Matching().to_json()
    if plain == RANK_AVERAGE:
        found["of"] = list(RANKED)
    if plain == "local":
        found["copies"] = {"from": COPY_FROM, "weight": COPY_WEIGHT}
    return found


def score_reals(name: str, inputs: ScoringInputs, *, k: int = 10, progress: Progress | None = None) -> ScoredReals:
    """Membership scores of every real of the pool, by the score's name.

    Args:
        name: One of ``score_names()``, or ``referenced:`` and one of them.
        inputs: Float32s and groups.
        k: Neighbors, for the scores that take it (``takes_k``).
        progress: Called with steps done and steps in all, for local scores.

    Raises:
        SpaceMismatchError: If the score is of a local space and the vectors are not, or the other way round.
        UsageError: If the name is unknown, k is beyond the pool or the release, a reference is needed and missing, or
            the pool has fewer than two groups.
    """
    if name == LEARNT:
        with one_thread():
            return _learnt(inputs, progress)
    local = is_local_score(name)
    if local != (inputs.pool.shape[1] > 1):
        kinds = ("whole-image", "local")
        raise SpaceMismatchError(
            f"the score {name} is over a {kinds[local]} space; these vectors are of a {kinds[not local]} one",
            hint="choose another with --space, or another score",
        )
    is_referenced = name.startswith(REFERENCED)
    if is_referenced and inputs.reference is None:
        raise UsageError(f"{name} needs a reference release", hint="name one with --reference-release")
    with one_thread():
        if local:
            return _local(name.removeprefix(REFERENCED), inputs, k, progress, subtract=is_referenced)
        return _whole(name, inputs, k, subtract=is_referenced)


@contextmanager
def one_thread() -> Iterator[None]:
    """One BLAS thread: how float32 products are summed depends on how many there are."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def _learnt(inputs: ScoringInputs, progress: Progress | None) -> ScoredReals:
    found = learnt_of(inputs, progress)
    control = None if found.control is None else found.control.scores
    copies = BONUS * found.features.copies
    return ScoredReals(found.learner.scores, control, found.contributions, copies, found)


def _whole(name: str, inputs: ScoringInputs, k: int, *, subtract: bool) -> ScoredReals:
    # only scores that take k need more than the nearest neighbor
    kept = k if takes_k(name) else 1
    pool, groups = inputs.pool[:, 0], inputs.groups
    found = neighborhoods(pool, inputs.release[:, 0], groups, k=kept)
    if inputs.reference is None:
        return ScoredReals(whole_scores(name, found, None), None, None)
    other = neighborhoods(pool, inputs.reference[:, 0], groups, k=kept)
    return ScoredReals(whole_scores(name, found, other), None if subtract else whole_scores(name, other, None), None)


def whole_scores(name: str, found: Neighborhoods, reference: Neighborhoods | None) -> Float64s:
    """A whole-image score by its name: one of ``provenance.detection``, or the average of the ranks of all of them."""
    plain = name.removeprefix(REFERENCED)
    if plain != RANK_AVERAGE:
        return membership_scores(found, reference, [name])[name]
    average = combine_by_rank(membership_scores(found, names=RANKED))
    if plain == name:
        return average
    assert reference is not None, "checked before"
    return average - combine_by_rank(membership_scores(reference, names=RANKED))


def _local(name: str, inputs: ScoringInputs, k: int, progress: Progress | None, *, subtract: bool) -> ScoredReals:
    found = _local_against(name, inputs, inputs.release, k, progress)
    if inputs.reference is None:
        return ScoredReals(found.score, None, found.contributions, found.copy)
    other = _local_against(name, inputs, inputs.reference, k, progress)
    if subtract:
        found = referenced(found, other)
    return ScoredReals(found.score, None if subtract else other.score, found.contributions, found.copy)


def _local_against(
    name: str, inputs: ScoringInputs, release: Float32s, k: int, progress: Progress | None
) -> LocalScores:
    threads = inputs.threads or available_threads()
    if name == "local-nearest":
        return local_nearest_scores(inputs.pool, release, inputs.groups, k=k, threads=threads, progress=progress)
    score = local_scores if name == "local" else matching_scores
    return score(inputs.pool, release, inputs.groups, threads=threads, progress=progress)
