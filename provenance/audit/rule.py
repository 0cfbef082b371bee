"""What a rule is: a frozen value with its parameters, and everything that differs by rule; and what it says.

A rule that joins is a name in ``vocabulary.RuleName`` and a module or folder of that name in ``audit.rules`` with its
class as ``RULE``. Nothing outside that folder asks which rule it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from provenance.errors import UsageError
from provenance.findings import Statements
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from provenance.audit.bench import Bench, JudgedCopies, PlantBench, PlantVectors
    from provenance.audit.evidence import SubjectEvidence
    from provenance.audit.inputs import FrozenAudit, Parties
    from provenance.detection import Decision, Threshold
    from provenance.findings import JsonValue
    from provenance.installation import Installation
    from provenance.records import (
        AuditRecord,
        CalibrationScore,
        CopySource,
        Member,
        MembershipFigures,
        StoredVerdict,
    )
    from provenance.report import RulePart
    from provenance.vocabulary import Outcome, Role, RuleName, Space, Subject

    OnStep = Callable[[str], None]


class LackingError(UsageError):
    """The images that there are don't do for what a rule asks."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule says of the subjects of one audit.

    Attributes:
        decisions: One a subject, in their order.
        threshold: What scores were compared with; ``None`` for a rule without one number for all.
        basis: The rule's figures as JSON values, as they enter the verdict digest.
        moments: mu, sigma, alpha and n, where the rule has them.
        by_distance: How many labels there are by Euclidean distance, and how many of them are the same.
        outcome: The conclusion for the release; ``None`` for rules without one.
        own: What the rule found beside, as the audit records it.
        sources: Of each subject, the real images that it agrees with, best first; ``None``: it looks for none.
        calibration: Scores of the images that calibrated the verdicts.
        beside: What stands beside the labels of real images.
    """

    decisions: tuple[Decision, ...]
    threshold: float | None
    basis: Mapping[str, Any]
    moments: Threshold | None = None
    by_distance: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    outcome: Outcome | None = None
    outcome_reason: str | None = None
    own: JsonValue | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[tuple[CopySource, ...], ...] | None = None
    calibration: tuple[CalibrationScore, ...] = ()
    beside: tuple[MembershipFigures, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule(ABC):
    """A rule with its own parameters, which are validated when it is made.

    Attributes:
        name: As it is asked for and recorded.
        options: Options of a call that belong to this rule alone, with their flags.
        judges_parts: Whether it judges in local spaces, too.
        calibrates: Whether not-used images calibrate it: it judges none of them, has p-values, and concludes something
            for the release.
        by_model: Whether scores are probabilities of a fitted model, which only a policy can state.
        labels: That its verdicts have; the first is that of an image that it holds for used, or for a copy.
        score_axis: What a figure of its scores says below.
        behind: Of a policy's parameters as JSON, those that stand last.
    """

    name: ClassVar[RuleName]
    options: ClassVar[Mapping[str, str]] = {}
    judges_parts: ClassVar[bool] = False
    calibrates: ClassVar[bool] = False
    by_model: ClassVar[bool] = False
    labels: ClassVar[tuple[Label, ...]] = (Label.USED, Label.NOT_USED)
    score_axis: ClassVar[str] = "score (no unit)"
    behind: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of_options(cls, options: Mapping[str, Any], _top_k: int) -> Self:
        """The rule by its options of a call; what is left out has its default."""
        return cls(**options)

    @classmethod
    def from_json(cls, parameters: Mapping[str, Any]) -> Self:
        """The rule from what ``to_json`` gave; a ``KeyError`` names what is missing, a ``ValueError`` what is wrong."""
        return cls(**parameters)

    def to_json(self) -> dict[str, Any]:
        """Its own parameters as JSON values: what they say is part of ``policy_id``."""
        return asdict(self)

    @classmethod
    def is_default(cls, _roles: Collection[Role]) -> bool:
        """Whether an audit with sets in these roles is judged by it where no rule is asked for."""
        return False

    def check_subject(self, _subject: Subject) -> None:  # noqa: B027 - most rules take both
        """Refuse parameters that don't go with what is judged (``UsageError``)."""

    @property
    def judges_whole_images(self) -> bool:
        """Whether it judges by whole images with the parameters it has."""
        return True

    @property
    def fitted_space(self) -> str | None:
        """The ``space_id`` in which its parameters mean something; ``None``: any."""
        return None

    def own_space(self, _workspace: Installation, _parties: Parties, _subject: Subject, _on_step: OnStep) -> str | None:
        """The ``space_id`` that it judges in where none is asked for; ``None``: the one that all have in common."""
        return None

    def make_spaces(self, _workspace: Installation, _parties: Parties, _on_step: OnStep) -> None:  # noqa: B027
        """Make the spaces that it needs beside the audit's own (``SourceError`` where an image can't be read again)."""

    def completed(self, _frozen: FrozenAudit) -> Self:
        """The rule with what the audit's space decides filled in."""
        return self

    def judged_reals(self, frozen: FrozenAudit) -> tuple[Member, ...]:
        """The real images that it gives verdicts on, by image_id: all of them."""
        return frozen.judged_reals

    @classmethod
    def lacks(cls, _roles: Collection[Role]) -> str | None:
        """What it would need beside sets in these roles, in a sentence; ``None``: nothing."""
        return None

    @property
    def error_level(self) -> float | None:
        """How often one audit may find something where there is nothing; ``None``: it states no error rate."""
        return None

    def check(self, _frozen: FrozenAudit) -> None:  # noqa: B027 - a rule may judge whatever there is
        """Refuse what it can't judge, before any vector is read (``UsageError``, ``SpaceMismatchError``)."""

    @abstractmethod
    def judge(self, bench: Bench, subjects: Sequence[SubjectEvidence]) -> Judgement:
        """Say of every subject what it is."""

    def further_spaces(self, _bench: Bench) -> tuple[Space, ...]:
        """Spaces, beside the audit's own, in which it needs the vectors of plants."""
        return ()

    def judge_plants(self, _bench: PlantBench, _plants: PlantVectors) -> JudgedCopies:
        """Judge every plant alone, as one more generated image; what the audit has on record is not judged again.

        With real subjects the label of the real image that it copies counts.

        Raises:
            UsageError: If the rule can't.
        """
        raise UsageError(f"plants are not judged by the rule {self.name.value}")

    @classmethod
    def facts(cls, _audit: AuditRecord) -> dict[str, str]:
        """What is printed of an audit by it, beside what every audit has: facts in words, by their titles."""
        return {}

    @classmethod
    def statements(cls, _audit: AuditRecord) -> Statements:
        """What an audit by it says, for people who don't know the rule: known, guessed, not known."""
        return Statements()

    @classmethod
    def report_part(
        cls, _workspace: Installation, _audit: AuditRecord, _verdicts: Sequence[StoredVerdict]
    ) -> RulePart | None:
        """What the report says of an audit by it, beside what it says of every one; ``None``: nothing."""
        return None

    @classmethod
    def local_score(cls, _audit: AuditRecord) -> str | None:
        """The local score that an audit by it judged by, which can be explained; ``None``: by none."""
        return None

    @classmethod
    def threshold_words(cls, audit: AuditRecord) -> str:
        """What its one threshold for all is, where it has one."""
        return f"{audit.threshold:g}"

    @classmethod
    def symbol(cls, _parameters: Mapping[str, Any]) -> str:
        """What a score is called in figures, by the parameters on record; '' where it is a greatest similarity."""
        return ""
