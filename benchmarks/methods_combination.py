"""Several membership scores made into one by what is known of them, and the choice among them by cross-validation.

A logistic combination, or a choice, learns from images with truth. Those images are spent: no image that shaped a
score may be judged by it or calibrate it, or p-values promise too much. Held-out scores say how good a combination
is; they come from several models, so that they must not be calibrated against one another.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.detection.checks import both_classes, checked_flags
from provenance.detection.decision import DECIMALS
from provenance.detection.metrics.folds import folds_of
from provenance.detection.scores.membership import RANK_AVERAGE, combine_by_rank, score_matrix
from provenance.detection.seed.logistic import FitSettings, LogisticModel, fit_model
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.detection.checks import FlagsLike, Groups, Numbers


LOGISTIC = "logistic"

SETTINGS = FitSettings(c=1.0, standardise=True)
"""Scores differ in unit, so that the penalty must not see it."""


@dataclass(frozen=True, slots=True)
class LogisticCombination:
    """A logistic combination.

    Attributes:
        model: Fitted on all images that were given: for judging others, never them.
        held_out: Log-odds of each image by the model of the folds without its group; to see how good it is.
    """

    model: LogisticModel
    held_out: tuple[float, ...]


def combine_by_logistic(
    scores: Mapping[str, Numbers],
    truth: FlagsLike,
    *,
    groups: Groups | None = None,
    folds: int = 5,
    seed: int = 0,
    settings: FitSettings = SETTINGS,
) -> LogisticCombination:
    """Logistic regression on standardised scores, with held-out log-odds by group; see the module.

    Args:
        scores: Columns by name, shape (n,) each.
        truth: Whether each image was used. Non-members among them are spent: they calibrate nothing.
        groups: Patient or study; ``None`` in a place: a group of its own.
        folds: How many, 2 or more.
        seed: Of the shuffle.
        settings: Of the fit; the split in it plays no part.

    Raises:
        UsageError: As in ``folds_of`` and ``fit_model``.
    """
    matrix, names = score_matrix(scores), tuple(scores)
    known = checked_flags(truth, "truth")
    _of_images(matrix, known)
    held_out = np.zeros(len(known))
    for training, test in folds_of(known, groups, folds, seed):
        model = fit_model(names, matrix[training], known[training], settings)
        held_out[test] = _log_odds(model, matrix[test])
    return LogisticCombination(
        model=replace(fit_model(names, matrix, known, settings), settings=settings),
        held_out=tuple(np.round(held_out, DECIMALS).tolist()),
    )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A score and its mean AUC over held-out folds."""

    name: str
    auc: float


@dataclass(frozen=True, slots=True)
class ScoreChoice:
    """A score that was chosen among several.

    Attributes:
        name: A score's name, ``rank-average`` or ``logistic``.
        candidates: All, best first; the first flatters itself, since it was chosen for it.
        nested_auc: Mean AUC over held-out folds when the choice is made again without each fold: the one to believe.
        chosen_in_folds: What was chosen there.
        names: The scores that were offered, in order.
        model: Of ``logistic``, fitted on all; else ``None``.
    """

    name: str
    candidates: tuple[Candidate, ...]
    nested_auc: float
    chosen_in_folds: tuple[str, ...]
    names: tuple[str, ...]
    model: LogisticModel | None = None

    def apply(self, scores: Mapping[str, Numbers]) -> Float64s:
        """The chosen score of other images, from the same scores; shape (n,).

        Raises:
            UsageError: If a score is missing, lengths differ, or one is not finite.
        """
        missing = [name for name in self.names if name not in scores]
        if missing:
            raise UsageError(f"scores are missing: {', '.join(missing)}")
        offered = {name: scores[name] for name in self.names}
        matrix = score_matrix(offered)
        if self.model is not None:
            odds: Float64s = np.round(self.model.log_odds(offered), DECIMALS)
            return odds
        return combine_by_rank(offered) if self.name == RANK_AVERAGE else matrix[:, self.names.index(self.name)]

    def to_json(self) -> dict[str, Any]:
        """All attributes as JSON values."""
        return asdict(self) | {"model": None if self.model is None else self.model.to_json()}


def choose_score(
    scores: Mapping[str, Numbers],
    truth: FlagsLike,
    *,
    groups: Groups | None = None,
    folds: int = 5,
    seed: int = 0,
) -> ScoreChoice:
    """The best of the scores, their rank average and their logistic combination by mean AUC over held-out folds.

    Nested cross-validation by group (Varma & Simon 2006). AUCs are averaged over folds and not taken over all held-out
    scores together, since these come from several models (Forman & Scholz 2010).

    Args:
        scores: Columns by name, shape (n,) each, two scores or more for a combination to be offered.
        truth: Whether each image was used. All of them are spent; see the module.
        groups: Patient or study; ``None`` in a place: a group of its own.
        folds: Outer and inner, 2 or more.
        seed: Of the shuffles.

    Raises:
        UsageError: As in ``folds_of``; if a name is taken; or a fold holds one class only.
    """
    matrix, names = score_matrix(scores), tuple(scores)
    known = checked_flags(truth, "truth")
    _of_images(matrix, known)
    both_classes(known)
    if {RANK_AVERAGE, LOGISTIC} & set(names):
        raise UsageError(f"{RANK_AVERAGE} and {LOGISTIC} are names of combinations, not of scores")
    nested, chosen = [], []
    keys = list(groups) if groups is not None else [None] * len(known)
    for training, test in folds_of(known, groups, folds, seed):
        inner = [keys[row] for row in training.tolist()]
        best = _cross_validated(matrix[training], names, known[training], inner, folds, seed)[0].name
        chosen.append(best)
        nested.append(_auc(known[test], _fit_and_score(best, matrix, names, known, training, test)))
    candidates = _cross_validated(matrix, names, known, keys, folds, seed)
    name = candidates[0].name
    model = _fit_varying(names, matrix, known) if name == LOGISTIC else None
    return ScoreChoice(name, candidates, float(np.mean(nested)), tuple(chosen), names, model)


def _cross_validated(
    matrix: Float64s, names: tuple[str, ...], known: Flags, groups: Groups, folds: int, seed: int
) -> tuple[Candidate, ...]:
    splits = folds_of(known, groups, folds, seed)
    offered = (*names, RANK_AVERAGE, LOGISTIC) if len(names) > 1 else names
    found = [
        Candidate(
            name,
            float(
                np.mean(
                    [
                        _auc(known[test], _fit_and_score(name, matrix, names, known, training, test))
                        for training, test in splits
                    ]
                )
            ),
        )
        for name in offered
    ]
    # Of equals the plainer: single scores stand first.
    return tuple(sorted(found, key=lambda each: (-round(each.auc, DECIMALS), offered.index(each.name))))


def _fit_and_score(
    name: str, matrix: Float64s, names: tuple[str, ...], known: Flags, training: Int64s, test: Int64s
) -> Float64s:
    if name == LOGISTIC:
        model = _fit_varying(names, matrix[training], known[training])
        if model is None:
            return np.zeros(len(test))
        return _log_odds(model, matrix[test][:, [names.index(each) for each in model.features]])
    if name == RANK_AVERAGE:
        return combine_by_rank({each: matrix[test, column] for column, each in enumerate(names)})
    column_of: Float64s = matrix[test, names.index(name)]
    return column_of


def _fit_varying(names: tuple[str, ...], matrix: Float64s, known: Flags) -> LogisticModel | None:
    # A score without spread can't be standardised and says nothing.
    varying: list[int] = np.flatnonzero(np.ptp(matrix, axis=0) > 0).tolist()
    if not varying:
        return None
    kept = [name for column, name in enumerate(names) if column in varying]
    return fit_model(tuple(kept), matrix[:, varying], known, SETTINGS)


def _auc(truth: Flags, scores: Float64s) -> float:
    from sklearn.metrics import roc_auc_score

    if truth.all() or not truth.any():
        raise UsageError("a fold holds images of one class only", hint="use fewer folds, or more groups")
    return float(roc_auc_score(truth, scores))


def _log_odds(model: LogisticModel, matrix: Float64s) -> Float64s:
    return model.log_odds({name: matrix[:, column] for column, name in enumerate(model.features)})


def _of_images(matrix: Float64s, known: Flags) -> None:
    if len(matrix) != len(known):
        raise UsageError(f"truth has {len(known)} values for {len(matrix)} images")
