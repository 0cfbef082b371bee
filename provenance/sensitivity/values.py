"""What is asked of a sensitivity, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from provenance.brief import Brief
from provenance.detection import Reach, plants_needed
from provenance.documents import measures
from provenance.documents.rows import PlantRow
from provenance.errors import UsageError
from provenance.images import DEFAULT_KINDS, PlantKind
from provenance.vocabulary import DEFAULT_PLANTS, Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.detection import Detected, ReleasePower, Sensitivity
    from provenance.vocabulary import Rejection


@dataclass(frozen=True, slots=True)
class SensitivityRequest:
    """What to plant, and into which audit, in the words of ``provenance.Workspace.sensitivity``.

    Attributes:
        plants: Copies of each kind, 1 or more: so many images that were used are copied, or all where there are fewer.
        backbone: ``backbone_file``, ``weights``: where the name of the audit's space does not find it.
        answers: Which of an audit of several; empty: all that it has.
    """

    audit: str
    plants: int = DEFAULT_PLANTS
    kinds: tuple[PlantKind, ...] = DEFAULT_KINDS
    seed: int = 0
    backbone: dict[str, Any] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()

    def __post_init__(self) -> None:
        if self.plants < 1:
            raise UsageError(f"one plant of a kind or more is needed, not {self.plants}")
        if not self.kinds:
            raise UsageError("no kind of plant was named")
        if self.seed < 0:
            raise UsageError(f"the seed is 0 or more, not {self.seed}")


@dataclass(frozen=True, slots=True, repr=False)
class SensitivityReport(Brief):
    """What an audit would have seen.

    Attributes:
        release_name: The audit's release, as it was called then.
        backbone: Name of the embedding space.
        form: What every plant went through, in words.
        originals: Images that were copied.
        available: Images that could have been.
        result: Detected shares, the claim, and its sentence.
        outranking: The same of plants with the smallest p-value there can be; ``None`` for rules without p-values.
        reach: ``None`` for rules without p-values.
        base_share: Share of the audit's subjects that are labelled so without any plant.
        found_without: Images that are labelled so without any plant, so that they were not copied; ``None`` where they
            are not what is judged.
        unreadable: Images that could not be read again, each once.
        unusable: Plants for which the backbone gave no vector.
        power: What the release test would have seen; ``None`` without one.
        notes: What a person should know.
        seconds: ``embedding`` (reading, planting, vectors; none where another answer's plants serve), ``scoring``.
    """

    audit_id: str
    release_name: str
    subject: str
    rule: str
    backbone: str
    request: SensitivityRequest
    form: str
    originals: int
    available: int
    result: Sensitivity
    outranking: Sensitivity | None
    reach: Reach | None
    base_share: float
    found_without: int | None
    unreadable: tuple[Rejection, ...]
    unusable: int
    notes: tuple[str, ...]
    seconds: dict[str, float]
    power: ReleasePower | None = None

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        return {"audit": self.audit_id[:8], "release": self.release_name, "sentence": self.sentence}

    @property
    def of_answers(self) -> Mapping[str, SensitivityReport]:
        """Itself, under no name: as in ``JointSensitivity``."""
        return {"": self}

    @property
    def rows(self) -> tuple[Detected, ...]:
        """One a kind and strength, closest to the originals first."""
        return self.result.rows

    @property
    def sentence(self) -> str:
        """The claim, or why there is none."""
        if self.reach is not None and self.reach.sentence and not any(row.found for row in self.rows):
            return self.reach.sentence
        return self.result.sentence

    def table(self) -> list[dict[str, Any]]:
        """Rows as JSON values under the columns of ``PlantRow``."""
        beside = {row.name: row for row in self.outranking.rows} if self.outranking else {}
        found = []
        for row in self.rows:
            same = beside.get(row.name)
            values = (row.kind, row.strength, row.plants, row.groups, row.found, row.share, row.low, row.high)
            more = (None,) * 4 if same is None else (same.found, same.share, same.low, same.high)
            found.append(dict(zip(PlantRow.model_fields, (*values, row.similarity, *more), strict=True)))
        return found

    def figures(self) -> dict[str, Any]:
        """Figures and settings as JSON values; no digest of an image, no name, no path: what is recorded."""
        return measures.SensitivityFigures.of(self, **self._more()).to_json()

    def document(self, **written: Any) -> measures.Sensitivity:
        """Everything, for people and programs outside; ``written`` are the ``files``."""
        return measures.Sensitivity.of(self, **self._more(), **written)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return self.document().to_json()

    def _more(self) -> dict[str, Any]:
        claimed = self.result.claimed
        reach = {each.name: None if self.reach is None else getattr(self.reach, each.name) for each in fields(Reach)}
        return {
            "claimed": None if claimed is None else claimed.name,
            "plants_needed": plants_needed(self.result.target),
            "rows": self.table(),
            **reach,
        }


@dataclass(frozen=True, slots=True, repr=False)
class JointSensitivity(Brief):
    """What an audit of several answers would have seen.

    Attributes:
        answers: Of each answer that was measured, in the order in which they are said.
        missing: Why others were not.
    """

    audit_id: str
    answers: Mapping[Answer, SensitivityReport]
    missing: Mapping[Answer, str]

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        return {"audit": self.audit_id[:8], "answers": ", ".join(self.answers), "sentence": self.sentence}

    @property
    def of_answers(self) -> Mapping[str, SensitivityReport]:
        """Of each answer by its name."""
        return {answer.value: each for answer, each in self.answers.items()}

    @property
    def sentence(self) -> str:
        """The claims, answer by answer."""
        return " ".join(f"{answer.value.capitalize()}: {each.sentence}" for answer, each in self.answers.items())

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know."""
        noted = [f"{answer.value}: {note}" for answer, each in self.answers.items() for note in each.notes]
        return (*noted, *(f"{answer.value}: not measured, as {reason}" for answer, reason in self.missing.items()))

    def table(self) -> list[dict[str, Any]]:
        """Rows of all answers, each with its ``answer``."""
        return [{"answer": answer.value, **row} for answer, each in self.answers.items() for row in each.table()]

    def figures(self) -> dict[str, Any]:
        """As ``SensitivityReport.figures``, by answer."""
        answers = {answer.value: each.figures() for answer, each in self.answers.items()}
        missing = {answer.value: reason for answer, reason in self.missing.items()}
        return {"sentence": self.sentence, "answers": answers, "missing": missing}

    def document(self, **written: Any) -> measures.JointSensitivity:
        """As ``SensitivityReport.document``, by answer."""
        answers = {answer: each.document() for answer, each in self.answers.items()}
        return measures.JointSensitivity.of(self, answers=answers, **written)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return self.document().to_json()


Measured = SensitivityReport | JointSensitivity
"""What an audit would have seen: by its rule, or by each of its answers."""
