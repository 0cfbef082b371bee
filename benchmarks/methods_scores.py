"""Every rule and score of the product on arrays, and its judgement against the truth, for ``methods.py``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from methods_combination import choose_score, combine_by_logistic

from provenance.audit.scoring import one_thread
from provenance.detection import (
    SCORES,
    ChanceBand,
    Estimate,
    FitSettings,
    Resampling,
    calibrate,
    combine_by_rank,
    compare,
    decide_real,
    evaluate,
    judge_release,
    membership_scores,
    neighborhoods,
    threshold_of_scores,
)
from provenance.detection.learnt.features import EDGE, features
from provenance.detection.learnt.learner import Learner
from provenance.detection.metrics.folds import folds_of
from provenance.detection.scores.local_memory import local_scores, referenced
from provenance.detection.scores.local_neighbors import local_nearest_scores
from provenance.embedding.grey import GreyImages
from provenance.index import available_threads
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from provenance.detection.learnt.features import Features
    from provenance.detection.release.membership_test import Learning

    Floats = NDArray[np.float64]
    Flagged = NDArray[np.bool_]
    Vectors = NDArray[np.float32]

SEED_RULE, LOGISTIC, LOGISTIC_ALL = "mu-alpha-sigma", "logistic", "logistic, all scores"
RANK_AVERAGE, CHOSEN = "rank average", "chosen by nested CV"
LOCAL, LOCAL_REFERENCED = "local", "referenced:local"
LEARNT = "learnt"
ALPHA = 0.5
NEIGHBORS = 10
LOCAL_NEIGHBORS = (10, 30)
FOLDS = 5
FPR = 0.01
Q_LEVELS = (0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is drawn: resamples of the bootstrap, permutations of the release test, and the seed of all."""

    resamples: int = 2000
    permutations: int = 9999
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """What a method said of a pool.

    Attributes:
        scores: Of every image, higher: rather used.
        labels: Called used by the method's own rule; ``None``: it has none, and the median of its scores decides.
        learned: Whether truth shaped the scores. Then neither permutations nor p-values against the same images hold.
        features: Where it learns from these, made without labels: it can learn again from others.
    """

    scores: Floats
    labels: Flagged | None = None
    learned: bool = False
    features: Features | None = None

    def learner(self, members: NDArray[np.int64], others: NDArray[np.int64]) -> Learner:
        """What it learns from some of the images."""
        assert self.features is not None, "it learns"
        return Learner.of(self.features.columns, self.features.copies, members, others, None)

    @property
    def called(self) -> Flagged:
        """The labels that accuracy is about."""
        return self.scores > np.median(self.scores) if self.labels is None else self.labels


@dataclass(frozen=True, slots=True)
class Truth:
    """Who was used, who is judged, and who calibrates; flags of every image of a pool."""

    members: Flagged
    subjects: Flagged
    calibration: Flagged
    is_control: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One method in one space on one release.

    Attributes:
        auc: With its interval; ``tpr`` (at 1 % FPR) and ``accuracy`` likewise.
        chance: The band of a guesser's accuracy.
        own_labels: Whether accuracy is of the method's own rule, not of the median.
        p_value: Of the release test; ``None``: none holds, as for what is learned.
        outcome: Of the release test; ``reason`` in words.
        established: By level q as text: established images of ``real_unknown``, and how many of them falsely.
        difference: AUC less that of the seed method's score, paired; ``None``: that score was not computed.
    """

    method: str
    space: str
    release: str
    auc: Estimate
    tpr: Estimate
    accuracy: Estimate
    chance: ChanceBand | None
    own_labels: bool
    p_value: float | None = None
    outcome: str = ""
    reason: str = ""
    established: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    difference: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """All attributes as JSON values."""
        return asdict(self)


def whole_methods(
    pool: Vectors, release: Vectors, reference: Vectors | None, members: Flagged, seed: int = 0
) -> dict[str, Scored]:
    """Rules, scores and combinations over whole-image vectors, (n, dimension) each.

    Args:
        pool: All reals.
        release: Generated images.
        reference: Images of a generator that was trained on others; ``None``: no referenced scores.
        members: Who was used; for what is learned alone.
        seed: Of the folds.
    """
    against = None if reference is None else neighborhoods(pool, reference, k=NEIGHBORS)
    scores = membership_scores(neighborhoods(pool, release, k=NEIGHBORS), against)
    two = {name: scores[name] for name in ("nearest", "nearest-mean")}
    return {
        SEED_RULE: Scored(scores["nearest"], seed_labels(scores["nearest"])),
        LOGISTIC: held_out(two, members, seed, FitSettings()),
        **{name: Scored(values) for name, values in scores.items()},
        RANK_AVERAGE: Scored(combine_by_rank(scores)),
        LOGISTIC_ALL: held_out(varying(scores, members, seed), members, seed, FitSettings(standardise=True)),
        CHOSEN: chosen(scores, members, seed),
    }


def seed_labels(nearest: Floats) -> Flagged:
    """The seed rule for real subjects: S(r) > mu + alpha sigma over all of them."""
    threshold = threshold_of_scores(nearest.tolist(), ALPHA)
    return np.array([decide_real(value, threshold).label is Label.USED for value in nearest.tolist()])


def held_out(scores: Mapping[str, Floats], members: Flagged, seed: int, settings: FitSettings) -> Scored:
    """Logistic regression, every image scored by the model of the folds without it."""
    fit = combine_by_logistic(scores, members, folds=FOLDS, seed=seed, settings=settings)
    odds = np.array(fit.held_out)
    splits = folds_of(members, None, FOLDS, seed)
    return Scored(ranked_by_fold(odds, [test for _, test in splits]), odds > 0, learned=True)


def varying(scores: Mapping[str, Floats], members: Flagged, seed: int) -> dict[str, Floats]:
    """Scores that can be standardised: not constant on the training part of any fold."""
    splits = folds_of(members, None, FOLDS, seed)
    return {
        name: values for name, values in scores.items() if all(np.ptp(values[training]) > 0 for training, _ in splits)
    }


def chosen(scores: Mapping[str, Floats], members: Flagged, seed: int) -> Scored:
    """The score that cross-validation on the other folds chooses, applied to each fold."""
    values, splits = np.empty(len(members)), folds_of(members, None, FOLDS, seed)
    for training, test in splits:
        choice = choose_score(
            {name: column[training] for name, column in scores.items()}, members[training], folds=FOLDS, seed=seed
        )
        values[test] = choice.apply({name: column[test] for name, column in scores.items()})
    return Scored(ranked_by_fold(values, [test for _, test in splits]), learned=True)


def ranked_by_fold(values: Floats, folds: list[NDArray[np.int64]]) -> Floats:
    """Ranks within each held-out fold, in (0, 1): scores of several models are not on one scale."""
    from scipy.stats import rankdata

    ranks = np.empty(len(values))
    for test in folds:
        ranks[test] = rankdata(values[test]) / (len(test) + 1)
    return ranks


def local_methods(pool: Vectors, release: Vectors, reference: Vectors | None, *, nearest: bool) -> dict[str, Scored]:
    """Local scores over (n, parts, dimension); ``nearest``: the forms by nearest neighbors too."""
    found = {}
    if nearest:
        for k in LOCAL_NEIGHBORS:
            found[f"local-nearest, k = {k}"] = Scored(local_nearest_scores(pool, release, k=k).score)
    own = local_scores(pool, release)
    found[LOCAL] = Scored(own.score)
    if reference is not None:
        found[LOCAL_REFERENCED] = Scored(referenced(own, local_scores(pool, reference)).score)
    return found


def methods_of(
    pool: Vectors, release: Vectors, reference: Vectors | None, members: Flagged, seed: int = 0
) -> dict[str, Scored]:
    """All methods that a space of this shape, (n, parts, dimension), allows."""
    whole = pool.shape[1] == 1
    found: dict[str, Scored] = {}
    if whole and pool.shape[2] == EDGE**2 + 1:
        return learnt_method(pool, release, members)
    if whole:
        vectors = (each if each is None else each[:, 0] for each in (pool, release, reference))
        found |= whole_methods(*vectors, members, seed)  # type: ignore[misc]
    return found | local_methods(pool, release, reference, nearest=not whole)


def learnt_method(pool: Vectors, release: Vectors, members: Flagged) -> dict[str, Scored]:
    """The score that learns, cross-fitted over all images with truth."""
    with one_thread():
        found = features(GreyImages(pool), GreyImages(release), threads=available_threads())
    empty = Scored(np.zeros(len(pool)), features=found)
    scores = empty.learner(np.flatnonzero(members), np.flatnonzero(~members)).scores
    return {LEARNT: Scored(scores, scores > 0, learned=True, features=found)}


def sum_of_z(views: list[Scored]) -> Scored:
    """Sum of z-scores over the pool: label-free, each view with the same say."""
    return Scored(sum((each.scores - each.scores.mean()) / each.scores.std() for each in views))


def judge(
    scored: Scored,
    truth: Truth,
    plan: Plan,
    *,
    control: Scored | None = None,
    baseline: Scored | None = None,
    name: tuple[str, str, str] = ("", "", ""),
) -> Cell:
    """All figures of one method on one release.

    Args:
        scored: What it said.
        truth: Of the same images.
        plan: How much is drawn.
        control: The same method on the same images against a release that saw none of them.
        baseline: The seed method's score, for the paired difference.
        name: Method, space and release.
    """
    resampling = Resampling(plan.resamples, seed=plan.seed)
    seen = evaluate(truth.members, scored.called, scored.scores, fpr_levels=(FPR,), resampling=resampling)
    cell = Cell(
        *name,
        auc=seen.estimates["auc"],
        tpr=seen.estimates[f"tpr@{FPR:g}"],
        accuracy=seen.estimates["accuracy"],
        chance=seen.chance,
        own_labels=scored.labels is not None,
    )
    if baseline is not None:
        pair = ((each.called, each.scores) for each in (scored, baseline))
        cell = replace(cell, difference=compare(truth.members, *pair, resampling=resampling).auc_difference)
    if scored.learned and scored.features is None:
        return cell
    tested = judge_release(
        scored.scores,
        truth.members,
        control_scores=None if control is None else control.scores,
        learning=None if scored.features is None else learning(scored, control, truth.members),
        permutations=plan.permutations,
        resampling=Resampling(100, seed=plan.seed),  # its interval is not read: evaluate's is the finer one
        seed=plan.seed,
    )
    return replace(
        cell,
        p_value=tested.permutation.p_value,
        outcome=tested.outcome.value,
        reason=tested.reason,
        established={f"{q:g}": established_at(scored, truth, q) for q in Q_LEVELS},
    )


def learning(scored: Scored, control: Scored | None, members: Flagged) -> Learning:
    """What the release test learns again from every permutation."""
    sides = np.flatnonzero(members), np.flatnonzero(~members)
    own, other = scored.learner(*sides), None if control is None else control.learner(*sides)
    return lambda rows: (own.relearnt(rows), None if other is None else other.relearnt(rows))


def established_at(scored: Scored, truth: Truth, q: float) -> tuple[int, int]:
    """How many subjects the rule ``calibrated`` establishes at q, and how many of them were not used.

    A score that learns has learnt from the known sets alone.
    """
    scores, p_values = scored.scores, None
    if scored.features is not None:
        known = np.flatnonzero(truth.calibration)
        learner = scored.learner(np.flatnonzero(~truth.subjects & ~truth.calibration), known)
        scores, p_values = learner.scores, learner.p_values(np.flatnonzero(truth.subjects), known)
    labels = calibrate(scores[truth.subjects], scores[truth.calibration], q=q, p_values=p_values).labels
    found = np.array([label is Label.ESTABLISHED for label in labels])
    used = np.zeros(len(found), dtype=np.bool_) if truth.is_control else truth.members[truth.subjects]
    return int(found.sum()), int((found & ~used).sum())


def method_order() -> list[str]:
    """Methods in the order of the table; others stand last."""
    scores = [*SCORES, *(f"referenced:{name}" for name in SCORES)]
    nearest = [f"local-nearest, k = {k}" for k in LOCAL_NEIGHBORS]
    return [SEED_RULE, LOGISTIC, *scores, RANK_AVERAGE, LOGISTIC_ALL, CHOSEN, *nearest, LOCAL, LOCAL_REFERENCED, LEARNT]
