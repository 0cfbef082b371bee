"""Rule ``logistic`` (seed paper, 4.5): logistic regression on similarity scores. Pure.

    z(x) = b + sum over features f of w_f (x_f - m_f) / s_f          P(used | x) = 1 / (1 + exp(-z))
    x is labelled used  iff  z(x) > log(cutoff / (1 - cutoff)); at cutoff 0.5: iff z(x) > 0

The paper's features are S_u and S_n of a generated image, as they are (m = 0, s = 1). For real subjects any named
scores serve. scikit-learn fits; what is kept are plain numbers. Assumptions: truth is known for the images it is
fitted on, images of different groups are independent, and new images come from the same mix. The penalty shrinks
w, not b, and is not free of scale: cosines that differ by hundredths are shrunk to almost nothing, so that a model on
raw scores tends to give every image about the same probability. ``standardise`` is the way out.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from provenance.detection.checks import both_classes, checked_flags, checked_scores, group_codes
from provenance.detection.decision import DECIMALS, SIMILARITY_TOLERANCE, Decision
from provenance.detection.metrics.classification import Metrics, metrics_of
from provenance.detection.metrics.folds import split_of
from provenance.errors import UsageError
from provenance.findings import JsonValue
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.detection.checks import FlagsLike, Groups, Numbers

MAX_ITERATIONS = 1000
# Far beyond what any fit gives, and small enough that no sum of products of them overflows.
_MOST = 1e12


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How a model was fitted; the rest are scikit-learn's defaults (L2 penalty, lbfgs, tolerance 1e-4).

    Attributes:
        c: Inverse strength of the penalty, scikit-learn's ``C``.
        standardise: Bring each feature to mean 0 and standard deviation 1 (ddof = 0) on the training part
            first. Off in the paper, which does not speak of it.
        held_out_share: Of the images, for the test; 0.2 in the paper.
        seed: Of the split.
        cutoff: A probability equal to it is not above it.
    """

    c: float = 1.0
    standardise: bool = False
    held_out_share: float = 0.2
    seed: int = 0
    cutoff: float = 0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.c) and self.c > 0):
            raise UsageError(f"C must be a number above 0, not {self.c}")
        if not 0 < self.cutoff < 1:
            raise UsageError(f"the cutoff lies between 0 and 1, not {self.cutoff}")
        if not 0 < self.held_out_share < 1:
            raise UsageError(f"the held-out share lies between 0 and 1, not {self.held_out_share}")

    def to_json(self) -> dict[str, Any]:
        """All attributes as JSON values; equal settings give equal text (1 and 1.0)."""
        return asdict(self) | {name: float(getattr(self, name)) for name in ("c", "held_out_share", "cutoff")}


@dataclass(frozen=True, slots=True)
class LogisticModel(JsonValue):
    """A fitted model as plain numbers; all of it is part of the policy's content address.

    Attributes:
        features: Names of the scores, in the order of the coefficients.
        coefficients: w, one for each feature, per unit of the scaled feature.
        intercept: b.
        mean: m, one for each feature; 0 where the model is not standardised.
        scale: s, one for each feature, above 0; 1 where the model is not standardised.
        settings: How it was fitted.
    """

    features: tuple[str, ...]
    coefficients: tuple[float, ...]
    intercept: float
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    settings: FitSettings = field(default_factory=FitSettings)

    def __post_init__(self) -> None:
        numbers = (*self.coefficients, self.intercept, *self.mean, *self.scale)
        lengths = {len(self.features), len(self.coefficients), len(self.mean), len(self.scale)}
        if not self.features or len(lengths) > 1 or len(set(self.features)) < len(self.features):
            raise UsageError("a model needs one coefficient, mean and scale for each feature, each named once")
        if not all(abs(number) <= _MOST for number in numbers) or min(self.scale) < 1 / _MOST:
            raise UsageError(f"a model's numbers lie within {_MOST:g} of 0, and its scales are {1 / _MOST:g} or more")

    def to_json(self) -> dict[str, Any]:
        """All attributes as JSON values; equal models give equal text (1 and 1.0)."""
        numbers = {name: list(map(float, getattr(self, name))) for name in ("coefficients", "mean", "scale")}
        rest = {"intercept": float(self.intercept), "settings": self.settings.to_json()}
        return JsonValue.to_json(self) | numbers | rest

    def log_odds(self, scores: Mapping[str, Numbers]) -> Float64s:
        """z(x) of every image; sums in the order of the features, so that the last bit is the same everywhere.

        Args:
            scores: A column for each feature, shape (n,); others are ignored.

        Raises:
            UsageError: If a feature is missing, lengths differ, or a score is not finite.
        """
        columns = _columns({name: scores[name] for name in self.features if name in scores}, self.features)
        odds = np.full(len(columns[0]), self.intercept)
        for values, weight, mean, scale in zip(columns, self.coefficients, self.mean, self.scale, strict=True):
            odds = odds + weight * ((values - mean) / scale)
        return odds

    def probability(self, scores: Mapping[str, Numbers]) -> Float64s:
        """P(used | x) of every image, in [0, 1], shape (n,). Arguments and errors as in ``log_odds``."""
        odds = self.log_odds(scores)
        small = np.exp(-np.abs(odds))  # never overflows
        return np.where(odds >= 0, 1 / (1 + small), small / (1 + small))

    def decide(self, scores: Mapping[str, Numbers]) -> list[Decision]:
        """A decision for every image: ``used`` iff z > log-odds of the cutoff.

        The recorded score is the probability, rounded to ``DECIMALS``. It is near the threshold where scores that
        each change by ``SIMILARITY_TOLERANCE`` could turn it. Arguments and errors as in ``log_odds``.
        """
        margins = self.log_odds(scores) - math.log(self.settings.cutoff / (1 - self.settings.cutoff))
        steepness = sum(abs(w) / s for w, s in zip(self.coefficients, self.scale, strict=True))
        return [
            Decision(
                Label.USED if margin > 0 else Label.NOT_USED,
                round(probability, DECIMALS),
                near_threshold=abs(margin) <= steepness * SIMILARITY_TOLERANCE,
            )
            for margin, probability in zip(margins.tolist(), self.probability(scores).tolist(), strict=True)
        ]

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """A model from the JSON values of ``to_json``, to the last bit.

        Raises:
            UsageError: If anything is missing, unknown, or not what it should be.
        """
        document = _exact_keys(values, cls, "model")
        names = document["features"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UsageError("a model's features must be a list of names")
        return cls(
            features=tuple(names),
            intercept=_number(document["intercept"], "intercept"),
            settings=_settings(document["settings"]),
            **{name: _numbers(document[name], name) for name in ("coefficients", "mean", "scale")},
        )


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """A model, and how it does on the part it was fitted on and on the other (seed paper, table 1).

    Attributes:
        model: The model, fitted on the training part alone.
        training: Metrics on the training part.
        held_out: Metrics on the held-out part: the one to believe.
        training_rows: Row numbers of the training part in what was given, in the order of the split.
        held_out_rows: Row numbers of the other part.
        grouped: Whether some images share a group; each group is then on one side.
    """

    model: LogisticModel
    training: Metrics
    held_out: Metrics
    training_rows: tuple[int, ...]
    held_out_rows: tuple[int, ...]
    grouped: bool


def fit_logistic(
    scores: Mapping[str, Numbers],
    truth: FlagsLike,
    *,
    groups: Groups | None = None,
    settings: FitSettings | None = None,
) -> LogisticFit:
    """Split, fit on the training part, measure on both parts (seed paper, 4.5).

    Without groups the split is ``train_test_split(stratify=truth, random_state=seed)``; with groups a fold of
    ``StratifiedGroupKFold``. The model is ``LogisticRegression(C=c, max_iter=1000)``, all else by default.

    Args:
        scores: Columns by name, shape (n,) each; the features, in this order.
        truth: Whether each image was used.
        groups: Patient or study of each image; ``None`` in a place: a group of its own.
        settings: See ``FitSettings``.

    Raises:
        UsageError: If there are too few images or groups to split, one class only, a score that is not finite,
            lengths that differ, a standardised feature that does not vary, or the fit does not converge.
    """
    settings = settings or FitSettings()
    known = checked_flags(truth, "truth")
    both_classes(known)
    columns = _columns(scores, tuple(scores), len(known))
    if all(column.min() == column.max() for column in columns):
        raise UsageError("all scores are equal: there is nothing to fit")
    training, held_out = split_of(known, groups, settings.held_out_share, settings.seed)
    model = fit_model(tuple(scores), np.stack(columns, axis=1)[training], known[training], settings)
    return LogisticFit(
        model=model,
        training=_measured(model, scores, known, training),
        held_out=_measured(model, scores, known, held_out),
        training_rows=tuple(training.tolist()),
        held_out_rows=tuple(held_out.tolist()),
        grouped=group_codes(groups, len(known))[1] < len(known),
    )


def fit_model(features: tuple[str, ...], matrix: Float64s, truth: Flags, settings: FitSettings) -> LogisticModel:
    """``LogisticRegression(C=c, max_iter=1000)`` on all rows of a matrix (n, features), without a split.

    Raises:
        UsageError: If a standardised feature does not vary, or the fit does not converge.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    mean, scale = np.zeros(len(features)), np.ones(len(features))
    if settings.standardise:
        still = [name for name, column in zip(features, matrix.T, strict=True) if column.min() == column.max()]
        if still:
            raise UsageError(f"{', '.join(still)}: no variation to standardise", hint="leave it out")
        scaler = StandardScaler().fit(matrix)
        mean, scale = scaler.mean_, scaler.scale_
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            fitted = LogisticRegression(C=settings.c, max_iter=MAX_ITERATIONS).fit((matrix - mean) / scale, truth)
        except ConvergenceWarning as error:
            raise UsageError("the logistic regression does not converge", hint="a smaller C, or standardise") from error
    return LogisticModel(
        features=features,
        coefficients=tuple(fitted.coef_[0].tolist()),
        intercept=float(fitted.intercept_[0]),
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        settings=settings,
    )


def _measured(model: LogisticModel, scores: Mapping[str, Numbers], truth: Flags, rows: Int64s) -> Metrics:
    part = {name: np.asarray(scores[name], dtype=np.float64)[rows] for name in model.features}
    labels = [decision.label is Label.USED for decision in model.decide(part)]
    # Ranked by z, not by the probability: far out, different z round to the same probability.
    return metrics_of(truth[rows], labels, model.log_odds(part))


def _columns(scores: Mapping[str, Numbers], features: Sequence[str], length: int | None = None) -> list[Float64s]:
    missing = [name for name in features if name not in scores]
    if missing or not features:
        raise UsageError(f"scores are missing: {', '.join(missing)}" if missing else "no scores to fit")
    first = checked_scores(scores[features[0]], features[0], length)
    return [first, *(checked_scores(scores[name], name, len(first)) for name in features[1:])]


def _settings(value: Any) -> FitSettings:
    document = _exact_keys(value, FitSettings, "settings")
    if not isinstance(document["standardise"], bool) or type(document["seed"]) is not int:
        raise UsageError("a model's settings need standardise as true or false, and a whole number as seed")
    return FitSettings(**document | {name: _number(document[name], name) for name in ("c", "held_out_share", "cutoff")})


def _exact_keys(value: Any, kind: Any, what: str) -> dict[str, Any]:
    keys = {each.name for each in fields(kind)}
    if not isinstance(value, dict) or set(value) != keys:
        raise UsageError(f"not a {what} of logistic regression: it needs exactly {', '.join(sorted(keys))}")
    return value


def _numbers(value: Any, name: str) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise UsageError(f"a model's {name} must be a list of numbers")
    return tuple(_number(number, name) for number in value)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"a model's {name} must be a number, not {value!r}")
    return float(value)
