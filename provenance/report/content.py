"""What a report is made of: frozen values, gathered by somebody else."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provenance.vocabulary import Answer, Label, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.findings import Statements
    from provenance.records import (
        AuditRecord,
        AuditReject,
        Dataset,
        Drift,
        Explanation,
        StoredCopySource,
        StoredVerdict,
    )
    from provenance.vocabulary import Space


_FEW = 2


@dataclass(frozen=True, slots=True)
class Series:
    """The scores of one kind, for the histogram: ``symbol`` as in the formulas, ``words`` as they follow it."""

    symbol: str
    words: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RoleLine:
    """How the judged images of one role were labelled."""

    role: Role
    judged: int
    labelled_used: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a case.

    Attributes:
        image_id: ``None`` where the image was forgotten since.
        name: The name it was found under; '' where that was erased.
        role: The role of the datasets it stands in; ``None`` where that was erased.
        datasets: Their names.
        group: Pseudonym of its patient or study; '' where there is none.
        facts: Size and format in words; '' where they were erased.
        png: Thumbnail as PNG bytes; ``None`` where the source can't be read any more.
        width_percent: Share of a square frame that the image is wide: its square thumbnail is stretched to its shape.
        height_percent: Likewise how high.
        missing: Why there is no thumbnail; '' where there is one.
    """

    image_id: str | None
    name: str
    role: Role | None
    datasets: tuple[str, ...]
    group: str
    facts: str
    png: bytes | None
    width_percent: int
    height_percent: int
    missing: str


@dataclass(frozen=True, slots=True)
class Neighborhood:
    """A neighbor of the judged image: the picture, its cosine similarity, and how literally it is the same.

    Attributes:
        same: ``file`` (the same bytes), ``pixels`` (the same picture in another file), or ''.
    """

    picture: Picture
    similarity: float
    same: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """What speaks for the use of one image, position by position.

    Attributes:
        pictures: The generated images at its strongest positions, the strongest first.
    """

    found: Explanation
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class RulePart:
    """What the page says of a rule that finds more than labels, in place of what it says of labels.

    Attributes:
        template: Jinja macros ``summary``, ``links``, ``decided_by``, ``sections``, without arguments. They see what
            the page sees, and draw by ``p_value_figure``, ``tail_figure``, ``roc_figure`` and ``power_figure``.
        own: The rule's own values, which they see by this name.
        series: Scores that stand beside those of judged images in the histogram.
    """

    template: str
    own: Any
    series: tuple[Series, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceShown:
    """A real image that a generated one agrees with, as a whole or in a region, with its picture."""

    found: StoredCopySource
    picture: Picture


@dataclass(frozen=True, slots=True)
class Case:
    """One judged image with the neighbor its score comes from.

    Attributes:
        rank: From 1, the greatest score first.
        nearest: The nearest image that could be its source (of the release, for a real image); the score is its
            similarity, but for scores that are none. ``None`` only where no neighbor is on record.
        control: The nearest image known not to be used; ``None`` for real subjects and where there is no such set.
        heat: Which positions speak for its use; ``None`` where scores are not local.
        sources: Where copies were looked for: what it agrees with best as a whole, and regions; by rank.
    """

    rank: int
    verdict: StoredVerdict
    subject: Picture
    nearest: Neighborhood | None
    control: Neighborhood | None
    heat: HeatMap | None = None
    sources: tuple[SourceShown, ...] = ()

    @property
    def source(self) -> SourceShown | None:
        """The source that every output names: the best one."""
        return next(iter(self.sources), None)

    @property
    def rows(self) -> tuple[SourceShown, ...]:
        """The sources in the table of copies: of the label, and of an image that is called no copy both kinds."""
        if self.verdict.label in (Label.COPY, Label.PART_COPY):
            return tuple(each for each in self.sources if each.found.part is (self.verdict.label is Label.PART_COPY))
        return tuple(each for each in self.sources if not each.found.part or each in self.parts[:_FEW])

    @property
    def parts(self) -> tuple[SourceShown, ...]:
        """The sources of regions."""
        return tuple(each for each in self.sources if each.found.part)


@dataclass(frozen=True, slots=True)
class ReportContent:
    """Everything that stands in the report of one audit.

    Attributes:
        parameters: The policy's parameters.
        datasets: Release and sets, in the order they are listed.
        known: What is on record of them, by dataset_id.
        series: The scores in the order they are drawn; the first one is filled.
        by_role: Labels by claim; empty unless real images were judged.
        cases: The closest pairs; may be empty.
        compare_command: The call that makes this audit again beside it, and lists what differs.
        audit_command: The call that makes this audit anywhere.
        ingest_commands: The calls that bring in its datasets, with the places of the images left open.
        report_version: Version of the software that wrote the report.
        policy_file: The policy as the text of a file, where a command needs it; else ''.
        by_probability: Whether scores are probabilities of a fitted model, compared with a cutoff, and no similarities.
        labels: Those of the rule; the first is that of an image that it holds for used, or for a copy.
        symbol: What scores are called; '' where they are greatest similarities.
        part: What the rule says for itself; ``None`` where labels are all.
        outcome_words: Why the outcome is what it is, with what was measured since; '' where there is none.
        not_explained: Why there are no heat maps, where there could be some.
    """

    audit: AuditRecord
    parameters: Mapping[str, Any]
    space: Space
    catalog_uuid: str
    datasets: tuple[Drift, ...]
    known: Mapping[str, Dataset]
    series: tuple[Series, ...]
    by_role: tuple[RoleLine, ...]
    cases: tuple[Case, ...]
    rejects: tuple[AuditReject, ...]
    compare_command: str
    audit_command: str
    ingest_commands: tuple[str, ...]
    report_version: str
    policy_file: str = ""
    by_probability: bool = False
    labels: tuple[Label, ...] = (Label.USED, Label.NOT_USED)
    symbol: str = ""
    part: RulePart | None = None
    outcome_words: str = ""
    not_explained: str = ""

    @property
    def release(self) -> str:
        """The release's name at the time."""
        return next(row.dataset.name for row in self.datasets if row.dataset.role is Role.RELEASE)

    @property
    def reject_reasons(self) -> Mapping[str, int]:
        """How many inputs were rejected for each reason."""
        return dict(sorted(Counter(reject.reason.value for reject in self.rejects).items()))


@dataclass(frozen=True, slots=True)
class JointContent:
    """Everything that stands in the report of an audit of several answers.

    Attributes:
        reason: Why the outcome is what it is, in plain language.
        answers: Each as its own page would have it, in the order in which they are said.
        missing: Of answers that there are not, why not.
        statements: What all of them say, apart by what it is worth.
        weakening: Notes that weaken a finding.
        notes: The others.
        looks: How many looks at the same release there were, this one included.
        measured: Of answers whose sensitivity was measured, what it says in a sentence.
        compare_command: As in ``ReportContent``; likewise the others.
    """

    audit: AuditRecord
    reason: str
    answers: Mapping[Answer, ReportContent]
    missing: Mapping[Answer, str]
    statements: Statements
    weakening: tuple[str, ...]
    notes: tuple[str, ...]
    looks: int
    measured: Mapping[Answer, str]
    compare_command: str
    audit_command: str
    ingest_commands: tuple[str, ...]
    policy_file: str

    @property
    def first(self) -> ReportContent:
        """Any of them, for what all have in common: sets, rejected inputs, the catalog."""
        return next(iter(self.answers.values()))
