"""What an evaluation is asked for, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from provenance.brief import Brief
from provenance.detection import Estimate, Resampling
from provenance.detection.metrics.evaluation import ONE_CLASS
from provenance.documents import measures
from provenance.documents.rows import MetricRow
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provenance.arrays import Flags, Float64s
    from provenance.detection import Calibration, Comparison, Evaluation
    from provenance.truth.judged import JudgedAudit
    from provenance.truth.labels import TruthRow
    from provenance.truth.matching import Truth

METRIC_COLUMNS = tuple(MetricRow.model_fields)
"""Columns of ``metrics.csv``: one row for each figure of each part."""

COUNTS = ("positives", "negatives", "true_positives", "false_positives", "false_negatives", "true_negatives")


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to evaluate, as ``Workspace.evaluate`` tells it: ids of audits, and rows of truth in place of files."""

    audits: tuple[str, ...]
    labels: tuple[tuple[TruthRow, ...], ...] = ()
    against: str | None = None
    resampling: Resampling = field(default_factory=Resampling)
    skip_unknown: bool = False

    def __post_init__(self) -> None:
        if not self.audits:
            raise UsageError("no audit was given to evaluate")
        if len(self.labels) not in (0, 1, len(self.audits)):
            raise UsageError(
                f"{len(self.labels)} files of labels for {len(self.audits)} audits",
                hint="give none, one for all audits, or one for each in their order",
            )
        if self.against is not None and len(self.audits) > 1:
            raise UsageError("--against compares one audit with another", hint="give one audit beside it")


@dataclass(frozen=True, slots=True, repr=False)
class Sample(Brief):
    """Judged images with truth, as arrays in one order.

    Attributes:
        truth: Whether each was used, shape (n,).
        called: Whether each was labelled used.
        scores: Behind the labels, float64; all 0 where a verdict has none.
        groups: A number for each group; an image without one has its own.
        inconclusive: Whether each was labelled ``inconclusive``.
        unscored: Verdicts without a score.
        unlabelled: Images that calibrate, and have a score but no label.
    """

    truth: Flags
    called: Flags
    scores: Float64s
    groups: tuple[int, ...]
    inconclusive: Flags
    unscored: int
    unlabelled: int = 0

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def lacks_labels(self) -> str:
        """Why there are no figures of labels of not-used images; '' where there are."""
        if not self.unlabelled:
            return ""
        return f"not estimable: the not-used images ({self.unlabelled:,}) calibrate, and have no label"


@dataclass(frozen=True, slots=True, repr=False)
class EvaluatedAudit(Brief):
    """What one audit said, what is known of its images, and those with truth, by image_id, evaluated.

    ``calibration`` is that of the p-values of the not-used ones; ``None`` where the rule has no p-values.
    """

    judged: JudgedAudit
    truth: Truth
    sample: Sample
    evaluation: Evaluation
    calibration: Calibration | None


BEST_GUESS = "best guess"
"""What stands for ``by`` where the rows are best guesses."""


@dataclass(frozen=True, slots=True, repr=False)
class EvaluatedPart(Brief):
    """A row of the table: all images, or those of one audit, generator, architecture or modality; or its best guesses.

    ``by`` is one of these words, ``value`` which one (of ``all`` the same word); ``inconclusive`` counts images
    labelled so, which are not called used. ``lacks_labels``: why labels of not-used images are not counted; '': they
    are.
    """

    by: str
    value: str
    rule: str
    inconclusive: int
    evaluation: Evaluation
    lacks_labels: str = ""

    @property
    def is_guess(self) -> bool:
        """Whether its rows are best guesses: bets, not findings."""
        return self.by == BEST_GUESS

    @property
    def confusion(self) -> dict[str, int | None]:
        """Images by truth and label; ``None`` of what has no label."""
        found = {name: getattr(self.evaluation.metrics, name) for name in COUNTS[2:]}
        return found | (dict.fromkeys(("false_positives", "true_negatives")) if self.lacks_labels else {})

    def metric_rows(self) -> Iterator[dict[str, Any]]:
        """One row for each figure, with ``METRIC_COLUMNS``; what is not estimable is ``None``, with its reason."""
        found, chance = self.evaluation, self.evaluation.chance
        common = {"by": self.by, "value": self.value, "rule": self.rule, "n": found.metrics.n, "groups": found.groups}
        lacking = Estimate(None, reason=self.lacks_labels or ONE_CLASS)
        figures = {
            **found.estimates,
            "chance_accuracy": Estimate(chance.chance, chance.low, chance.high) if chance else lacking,
            "chance_p_value": Estimate(chance.p_value) if chance else lacking,
            **{name: Estimate(getattr(found.metrics, name)) for name in COUNTS[:2]},
            **{
                name: Estimate(count, reason=self.lacks_labels if count is None else "")
                for name, count in self.confusion.items()
            },
            "inconclusive": Estimate(self.inconclusive),
        }
        for name, each in figures.items():
            numbers = {"estimate": each.value, "low": each.low, "high": each.high, "reason": each.reason}
            yield common | {"metric": name} | numbers


class ComparedAudit(NamedTuple):
    """One of two audits: what it said of the images that both judged, in one order, and the figures of it."""

    judged: JudgedAudit
    sample: Sample
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class ComparedAudits:
    """The evaluated audit and the one it is compared with, on the images that both judged and whose truth is known."""

    sides: tuple[ComparedAudit, ComparedAudit]
    comparison: Comparison


@dataclass(frozen=True, slots=True, repr=False)
class EvaluationReport(Brief):
    """Audits against truth, the rows of the table, and what a reader should know, in plain language."""

    audits: tuple[EvaluatedAudit, ...]
    parts: tuple[EvaluatedPart, ...]
    comparison: ComparedAudits | None
    resampling: Resampling
    notes: tuple[str, ...]

    @property
    def figures(self) -> Mapping[str, Estimate] | None:
        """Of all images with truth, by name; ``None`` where scores of several audits can't be pooled."""
        return next((part.evaluation.estimates for part in self.parts if part.by == "all"), None)

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        names = ("accuracy", "kappa", "auc")
        figures = {} if self.figures is None else {name: self.figures[name].words for name in names}
        audits = ", ".join(each.judged.short_id for each in self.audits)
        return {"audits": audits, "images": sum(len(each.sample) for each in self.audits)} | figures

    def metric_rows(self) -> Iterator[dict[str, Any]]:
        """The table as one row for each figure of each part, with ``METRIC_COLUMNS``."""
        for part in self.parts:
            yield from part.metric_rows()

    def to_json(self) -> dict[str, Any]:
        """All attributes as JSON values; ``null`` stands for what is not estimable."""
        return measures.Evaluation.of(self).to_json()
