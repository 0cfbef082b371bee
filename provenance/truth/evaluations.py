"""What an evaluation is asked for, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from provenance.detection import Resampling
from provenance.documents import measures
from provenance.documents.rows import MetricRow
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from provenance.detection import Calibration, Comparison, Evaluation
    from provenance.truth.judged import JudgedAudit, JudgedImage
    from provenance.truth.labels import TruthRow
    from provenance.truth.matching import Truth

METRIC_COLUMNS = tuple(MetricRow.model_fields)
"""Columns of ``metrics.csv``: one row for each figure of each part."""


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to evaluate.

    Attributes:
        audits: Audit ids (beginnings will do); several make one table.
        labels: Rows of truth: none (the audits' own claims), one for all audits, or one for each.
        against: Another audit, to compare the only one with.
        resampling: How the bootstrap is run.
        skip_unknown: Leave labels of unknown images out; otherwise they are an error.
    """

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


@dataclass(frozen=True, slots=True)
class Sample:
    """Judged images with truth, as arrays in one order.

    Attributes:
        truth: Whether each was used, shape (n,).
        called: Whether each was labelled used.
        scores: Behind the labels, float64; all 0 where a verdict has none.
        groups: A number for each group; an image without one has its own.
        inconclusive: Whether each was labelled ``inconclusive``.
        unscored: Verdicts without a score.
    """

    truth: NDArray[Any]
    called: NDArray[Any]
    scores: NDArray[Any]
    groups: tuple[int, ...]
    inconclusive: NDArray[Any]
    unscored: int

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True, slots=True)
class EvaluatedAudit:
    """One audit with the truth of its images.

    Attributes:
        judged: What it said.
        truth: What is known.
        images: Its judged images with truth, by image_id.
        sample: These as arrays.
        evaluation: Of them.
        calibration: Of the p-values of the not-used ones; ``None`` where the rule has no p-values.
    """

    judged: JudgedAudit
    truth: Truth
    images: tuple[JudgedImage, ...]
    sample: Sample
    evaluation: Evaluation
    calibration: Calibration | None


@dataclass(frozen=True, slots=True)
class EvaluatedPart:
    """A row of the table: all images, or those of one audit, generator, architecture or modality.

    Attributes:
        by: ``all``, ``audit``, ``generator``, ``architecture`` or ``modality``.
        value: Which one; for ``all`` the same word.
        rule: The rule that judged.
        inconclusive: Images labelled so; they count as not called used.
        evaluation: Of these images.
    """

    by: str
    value: str
    rule: str
    inconclusive: int
    evaluation: Evaluation

    def metric_rows(self) -> Iterator[dict[str, Any]]:
        """One row for each figure, with ``METRIC_COLUMNS``; what is not estimable is ``None``, with its reason."""
        metrics, chance = self.evaluation.metrics, self.evaluation.chance
        common = {"by": self.by, "value": self.value, "rule": self.rule, "n": metrics.n}
        common["groups"] = self.evaluation.groups
        empty = {"estimate": None, "low": None, "high": None, "reason": ""}
        for name, estimate in self.evaluation.estimates.items():
            numbers = {"estimate": estimate.value, "low": estimate.low, "high": estimate.high}
            yield common | {"metric": name} | numbers | {"reason": estimate.reason}
        if chance is None:
            yield common | {"metric": "chance_accuracy"} | empty | {"reason": "not estimable: one class only"}
            yield common | {"metric": "chance_p_value"} | empty | {"reason": "not estimable: one class only"}
        else:
            band = {"estimate": chance.chance, "low": chance.low, "high": chance.high}
            yield common | empty | {"metric": "chance_accuracy"} | band
            yield common | empty | {"metric": "chance_p_value", "estimate": chance.p_value}
        counts = {"positives": metrics.positives, "negatives": metrics.negatives}
        counts |= {
            name: getattr(metrics, name)
            for name in ("true_positives", "false_positives", "false_negatives", "true_negatives")
        }
        for name, count in (counts | {"inconclusive": self.inconclusive}).items():
            yield common | empty | {"metric": name, "estimate": count}


class ComparedAudit(NamedTuple):
    """One of two audits: what it said of the images that both judged, in one order, and the figures of it."""

    judged: JudgedAudit
    sample: Sample
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class ComparedAudits:
    """Two audits on the images that both judged and whose truth is known.

    Attributes:
        sides: The evaluated audit, and the one it is compared with.
        comparison: McNemar's test and the differences.
    """

    sides: tuple[ComparedAudit, ComparedAudit]
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Audits against truth.

    Attributes:
        audits: Each one.
        parts: The rows of the table.
        comparison: With another audit, where one was given.
        resampling: Of all intervals.
        notes: What a reader should know, in plain language.
    """

    audits: tuple[EvaluatedAudit, ...]
    parts: tuple[EvaluatedPart, ...]
    comparison: ComparedAudits | None
    resampling: Resampling
    notes: tuple[str, ...]

    def metric_rows(self) -> Iterator[dict[str, Any]]:
        """The table as one row for each figure of each part, with ``METRIC_COLUMNS``."""
        for part in self.parts:
            yield from part.metric_rows()

    def to_json(self) -> dict[str, Any]:
        """All attributes as JSON values; ``null`` stands for what is not estimable."""
        return measures.Evaluation.of(self).to_json()


def notes_in_order(notes: Sequence[str]) -> tuple[str, ...]:
    """Each note once, in the order given."""
    return tuple(dict.fromkeys(notes))
