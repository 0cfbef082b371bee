"""What the catalog takes and gives: frozen values, never rows of the database.

Times are UTC and timezone-aware. An ``image_key`` is the catalog's own opaque key of an image; it stays in
verdicts and events after the image's digests, names and paths were erased.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from provenance.brief import Brief
from provenance.vocabulary import (
    Answer,
    Box,
    DatasetKind,
    Established,
    Gate,
    ImageFacts,
    ImageHeader,
    Label,
    Membership,
    Outcome,
    PointState,
    Rejection,
    RejectReason,
    Role,
    RunState,
    SourceItem,
    Subject,
    TechnicalHeader,
    covered,
)

if TYPE_CHECKING:
    from provenance.findings import Estimate, Findings


@dataclass(frozen=True, slots=True)
class Generator:
    """What made a release: name, architecture, and version or checkpoint digest ('' where not known)."""

    name: str
    architecture: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A real set (has a membership) or a release (has a generator)."""

    dataset_id: str
    name: str
    kind: DatasetKind
    membership: Membership | None
    generator: Generator | None
    modality: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Seal:
    """One sealed revision of a release: the digest over its image_ids at that time."""

    dataset_id: str
    revision: int
    release_digest: str
    image_count: int
    sealed_at: datetime
    run_id: str | None


@dataclass(frozen=True, slots=True, repr=False)
class DatasetSummary(Brief):
    """A dataset with its counts. ``image_count`` leaves forgotten images out, ``reject_count`` what was skipped."""

    dataset: Dataset
    image_count: int
    occurrence_count: int
    reject_count: int
    space_ids: tuple[str, ...]
    seals: tuple[Seal, ...]

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        kind, claim = self.dataset.kind, self.dataset.membership
        return {"name": self.name, "kind": kind, "membership": claim, "images": self.image_count}

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.dataset.name

    @property
    def created_at(self) -> datetime:
        """When the dataset was created."""
        return self.dataset.created_at


@dataclass(frozen=True, slots=True, repr=False)
class RunRecord(Brief):
    """One run of a service; ``counts`` is empty until it finished."""

    run_id: str
    kind: str
    dataset_id: str | None
    space_id: str | None
    arguments: Mapping[str, Any]
    software_version: str
    state: RunState
    started_at: datetime
    finished_at: datetime | None
    counts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectRecord(Rejection):
    """One rejected input of a dataset, as last seen."""

    reject_id: int
    run_id: str
    dataset_id: str
    rejected_at: datetime


@dataclass(frozen=True, slots=True)
class Collection:
    """One (dataset, space) by the immutable key that the index knows it by."""

    collection_key: str
    dataset_id: str
    space_id: str
    created_at: datetime


class VectorLocation(NamedTuple):
    """Where one stored vector is, and the digest it must have."""

    collection_key: str
    point_id: str
    vector_sha256: str


@dataclass(frozen=True, slots=True)
class PointRecord:
    """Where the vector of one image stands in one collection."""

    image_id: str
    image_key: str
    point_id: str
    vector_sha256: str
    state: PointState


class KnownOccurrence(NamedTuple):
    """One place where an already indexed image was found, with the file's facts at that time and its group."""

    source: str
    member: str | None
    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int
    image_id: str
    group_key: str | None


class PlaceOnRecord(NamedTuple):
    """One place where an image of a dataset was found; ``stamp``: times and inode of its file or archive at that time.

    ``stamp`` is modification time, change time (nanoseconds since the epoch) and inode.
    """

    image_id: str
    image_key: str
    name: str
    source: str
    member: str | None
    size_bytes: int
    stamp: tuple[int, int, int]


class PointFacts(NamedTuple):
    """What the index keeps beside a vector: opaque keys and the vector's digest, nothing that names anybody."""

    image_key: str
    group_key: str | None
    vector_sha256: str


@dataclass(frozen=True, slots=True)
class NewImage:
    """One image to record in a dataset.

    Attributes:
        facts: What its bytes say.
        items: Everywhere it was found; may be empty.
        group: Raw group key (patient, study ...); pseudonymised on entry. None where unknown.
        point_id: The point of its vector in the collection.
        vector_sha256: Digest of that vector; None leaves the point as it is (only new names of a known image).
        header: What is kept of a medical image's header; its series is pseudonymised on entry.
    """

    facts: ImageFacts
    items: tuple[SourceItem, ...] | list[SourceItem]
    group: str | None
    point_id: str
    vector_sha256: str | None
    header: ImageHeader | None = None


class RecordedHeader(NamedTuple):
    """What is on record of a medical image's header; the series as a keyed hash."""

    series_key: str | None
    technical: TechnicalHeader


class ClaimedElsewhere(NamedTuple):
    """A set that claims so many images of another set otherwise."""

    name: str
    membership: Membership
    images: int


class Member(NamedTuple):
    """One indexed image of a dataset in one space: a row of the frozen view that audits use."""

    image_id: str
    image_key: str
    point_id: str
    vector_sha256: str
    group_key: str | None
    collection_key: str


class Placement(NamedTuple):
    """One image in one dataset, and the group it has there."""

    image_key: str
    dataset_id: str
    group_key: str | None


@dataclass(frozen=True, slots=True, repr=False)
class AuditRecord(Brief):
    """One finished audit. Statistics that its rule does not have are None.

    Attributes:
        dataset_id: The audited release.
        population_count: How many scores mu and sigma were taken over.
        findings: What it found beside its verdicts.
        finished_at: When the audit was recorded as done (``audited_at``).
    """

    audit_id: str
    dataset_id: str
    subject: Subject
    rule: str
    policy_id: str
    space_id: str
    release_digest: str
    mu: float | None
    sigma: float | None
    alpha: float | None
    population_count: int | None
    threshold: float | None
    verdict_digest: str
    counts: Mapping[str, Any]
    findings: Findings
    software_version: str
    started_at: datetime
    finished_at: datetime
    duration_seconds: float

    @property
    def audited_at(self) -> datetime:
        """The time of the audit: when it was finished."""
        return self.finished_at

    def trips(self, gate: Gate) -> bool:
        """Whether it concludes what somebody fails on."""
        if gate is Gate.COPY:
            return any(self.counts.get(label, 0) for label in (Label.COPY, Label.PART_COPY))
        wanted = Outcome.LEAK_ESTABLISHED if gate is Gate.LEAK else Outcome.INCONCLUSIVE
        return self.findings.outcome is wanted

    @property
    def outcome(self) -> Outcome | None:
        """The conclusion for the release; ``None`` for rules without one."""
        return self.findings.outcome

    @property
    def settings(self) -> dict[str, Any]:
        """The findings as JSON values."""
        return self.findings.to_json()

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        auc = self.findings.auc
        facts = {"audit": self.audit_id[:8], "subject": self.subject, "rule": self.rule, "outcome": self.outcome}
        return facts | {"auc": auc and auc.value, "audited_at": self.audited_at}


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A rule with its parameters, as audits were made by it; ``created_at``: when it came on record."""

    policy_id: str
    rule: str
    parameters: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SensitivityRecord:
    """What an audit would have seen: one measurement, with figures and settings as JSON values."""

    audit_id: str
    measured_at: datetime
    result: Mapping[str, Any]


def latest_by_answer(recorded: Sequence[SensitivityRecord]) -> dict[str, SensitivityRecord]:
    """Of measurements, oldest first, the latest of each answer, in their order; of an audit by one rule under ''."""
    latest: dict[str, SensitivityRecord] = {}
    for each in recorded:
        answers = each.result.get("answers", {"": each.result})
        latest |= {name: replace(each, result=result) for name, result in answers.items()}
    return {name: latest[name] for name in ("", *Answer) if name in latest}


@dataclass(frozen=True, slots=True)
class AuditDataset:
    """One dataset in the role it played; ``name`` is its label at the time."""

    dataset_id: str
    role: Role
    name: str
    dataset_digest: str
    image_count: int


def in_order(datasets: Iterable[AuditDataset]) -> list[AuditDataset]:
    """As records and documents have them: by role and name."""
    return sorted(datasets, key=lambda played: (played.role.value, played.name))


class AuditWithSets(Brief):
    """An audit with its datasets and its answers, made or read: what is asked of either first."""

    __slots__ = ()

    if TYPE_CHECKING:
        audit: AuditRecord
        datasets: tuple[AuditDataset, ...]

        @property
        def answers(self) -> Mapping[Answer, Any]:
            """Of an audit of several: each as an audit by one rule."""

    @property
    def release_name(self) -> str:
        """Its release, as it was called then."""
        return next(row.name for row in self.datasets if row.role is Role.RELEASE)

    @property
    def outcome(self) -> Outcome | None:
        """The conclusion for the release: a leak established, not established, or inconclusive; ``None``: none."""
        return self.audit.outcome

    @property
    def tested_auc(self) -> Estimate | None:
        """Of the release test, its own or of the membership answer, with its interval; ``None``: there was none."""
        whole = self.answers.get(Answer.MEMBERSHIP)
        return (self.audit if whole is None else whole.audit).findings.auc

    @property
    def auc(self) -> float | None:
        """How often a used image scores higher than one never used: 0.5 is chance; ``None``: not tested."""
        return None if self.tested_auc is None else self.tested_auc.value

    def sets_by_role(self) -> dict[Role, tuple[str, ...]]:
        """Names of the real sets that took part, by the role they played."""
        roles = (Role.USED, Role.NOT_USED, Role.AGAINST)
        return {role: tuple(row.name for row in self.datasets if row.role is role) for role in roles}

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        judged = ", ".join(self.answers) or f"{self.audit.subject} by {self.audit.rule}"
        return {
            "audit": self.audit.audit_id[:8],
            "release": self.release_name,
            "judged": judged,
            "outcome": self.outcome,
            "auc": None if self.tested_auc is None else self.tested_auc.words,
            "reason": self.audit.findings.outcome_reason,
        }


@dataclass(frozen=True, slots=True)
class Drift:
    """How a dataset of an audit differs now from what the audit saw.

    Attributes:
        image_count_now: ``None`` where it was removed.
    """

    dataset: AuditDataset
    image_count_now: int | None
    changed: bool


@dataclass(frozen=True, slots=True)
class AuditReject:
    """One input that was rejected when the audit was made. ``reject`` is None where its names were erased since."""

    reject_id: int
    reason: RejectReason
    reject: RejectRecord | None = None

    @property
    def name(self) -> str | None:
        """As it was found."""
        return None if self.reject is None else self.reject.name

    @property
    def detail(self) -> str | None:
        """What was wrong with it."""
        return None if self.reject is None else self.reject.detail


@dataclass(frozen=True, slots=True)
class NeighborRecord:
    """One neighbor of a subject: rank from 1 within its role."""

    role: Role
    rank: int
    image_key: str
    similarity: float


@dataclass(frozen=True, slots=True)
class StoredNeighbor(NeighborRecord):
    """A recorded neighbor; ``image_id`` is None where the image was erased since."""

    image_id: str | None = None


@dataclass(frozen=True, slots=True)
class CopySource:
    """A real image that a generated one, or a region of it, agrees with; rank 1 is the best.

    Attributes:
        part: Whether it is a region that agrees.
        agreement: Of the whole, in [-1, 1]; ``None`` of a region.
        share: Of the generated image: how much of its structure follows the source, or its region's share of the image.
        box: The region in the generated image; ``None`` of a whole.
        source_box: The region in the real image; likewise.
        transformation: From the real to the generated image, in words.
        established_by: How this source is known; ``None``: it is named, not established.
    """

    rank: int
    image_key: str
    part: bool
    agreement: float | None
    share: float
    box: Box | None = None
    source_box: Box | None = None
    transformation: str = ""
    established_by: Established | None = None

    @property
    def covers(self) -> str:
        """Of a whole, how much of the generated image it is about, in words; '' where that is all, and of a part."""
        return "" if self.part else covered(self.share)


@dataclass(frozen=True, slots=True)
class StoredCopySource(CopySource):
    """A recorded source; ``image_id`` is None where the image was erased since."""

    image_id: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class VerdictRecord(Brief):
    """One subject's verdict with its evidence; ``sources`` where copies were looked for."""

    image_key: str
    subject_role: Role
    label: Label
    score: float | None
    s_used: float | None
    s_not_used: float | None
    s_against: float | None
    threshold: float | None
    p_value: float | None
    q_value: float | None
    near_threshold: bool
    verdict_sha256: str
    neighbors: tuple[NeighborRecord, ...] | list[NeighborRecord] = ()
    sources: tuple[CopySource, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class StoredVerdict(VerdictRecord):
    """A recorded verdict; ``image_id`` is None where the image was erased since.

    Its neighbors: ``neighbors_of``; its sources: ``sources_of``.
    """

    image_id: str | None = None
    verdict_id: int = 0


@dataclass(frozen=True, slots=True)
class CalibrationScore:
    """The score of an image that calibrated the verdicts of an audit."""

    image_key: str
    score: float


@dataclass(frozen=True, slots=True)
class StoredCalibrationScore(CalibrationScore):
    """A recorded one; ``image_id`` is None where the image was erased since."""

    image_id: str | None = None


@dataclass(frozen=True, slots=True)
class MembershipFigures:
    """What stands beside the label of a real image, judged or calibrating; what there is not is ``None``.

    Attributes:
        probability: Of having been used, at the stated prior.
        best_guess: ``used`` or ``not_used``: a bet.
        group_score: Of its group, where groups are judged too; p-value, q-value and label likewise.
        tail_p_value: By the model of the tail; its q-value likewise.
        storey_q_value: With the estimated share of images that were not used.
    """

    image_key: str
    probability: float | None = None
    best_guess: Label | None = None
    group_score: float | None = None
    group_p_value: float | None = None
    group_q_value: float | None = None
    group_label: Label | None = None
    tail_p_value: float | None = None
    tail_q_value: float | None = None
    storey_q_value: float | None = None


class StandingCopy(NamedTuple):
    """The generated image that shows a real one, or a part of it: its key, what it is called, and how it is known."""

    image_key: str
    label: Label
    established_by: Established


@dataclass(frozen=True, slots=True)
class NewAudit:
    """A finished audit with all it rests on, as it is recorded.

    Attributes:
        reject_ids: Inputs of its datasets that could not be read.
        calibration: Scores of the images that calibrated it.
        beside: What stands beside the labels of real images.
        parts: By answer, where it is an audit of several.
    """

    audit: AuditRecord
    datasets: Sequence[AuditDataset] = ()
    reject_ids: Sequence[int] = ()
    verdicts: Sequence[VerdictRecord] = ()
    calibration: Sequence[CalibrationScore] = ()
    beside: Sequence[MembershipFigures] = ()
    parts: Mapping[Answer, NewAudit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpeakingPosition:
    """One position of an image.

    Attributes:
        box: Where it lies, as shares of width and height.
        contribution: What it speaks for membership: standard deviations above the mean of all real images there.
        generated: The generated image whose part is most like it there.
        similarity: Cosine of the two parts.
    """

    box: Box
    contribution: float
    generated: Member
    similarity: float


@dataclass(frozen=True, slots=True, repr=False)
class Explanation(Brief):
    """What speaks for the use of one real image.

    Attributes:
        image_key: The image.
        score_name: The membership score.
        score: As it was judged.
        copy: What of it was added for being close to a single generated image.
        positions: Position by position, row by row.
        columns: Positions in a row, where they form a grid; 0 where they don't.
    """

    image_key: str
    score_name: str
    score: float
    copy: float
    positions: tuple[SpeakingPosition, ...]
    columns: int

    def strongest(self, count: int) -> tuple[SpeakingPosition, ...]:
        """The positions that speak most for it, the strongest first."""
        return tuple(sorted(self.positions, key=lambda p: (-p.contribution, p.box.top, p.box.left))[:count])


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One known image. ``forgotten_at`` is set while a forgetting is under way."""

    image_key: str
    facts: ImageFacts
    first_seen_at: datetime
    forgotten_at: datetime | None = None

    @property
    def image_id(self) -> str:
        """``sha256:<hex>`` of the file bytes."""
        return self.facts.image_id


@dataclass(frozen=True, slots=True, kw_only=True)
class OccurrenceRecord(SourceItem):
    """One name under which an image was found: something to read again."""

    dataset_id: str
    dataset_name: str
    found_at: datetime
    run_id: str | None


@dataclass(frozen=True, slots=True)
class MembershipRecord:
    """One dataset that an image is in, or was until it was retired, and the group it has there."""

    dataset: Dataset
    group_key: str | None
    added_at: datetime
    retired_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ImageSpace:
    """One vector of an image: its space, dataset and place in the index."""

    space_id: str
    backbone: str
    dataset_id: str
    dataset_name: str
    collection_key: str
    point_id: str
    vector_sha256: str
    state: PointState


_FINDINGS = (Label.COPY, Label.PART_COPY, Label.INCONCLUSIVE)


def strength_of_copy(label: Label, by: Established | None, evidence: float | None) -> tuple[int, bool, float]:
    """Where a generated image stands wherever copies are listed; the first is the least.

    Copies, part copies, what can't be told, the rest; in each what is identical to a real image, then by evidence.
    """
    kind = _FINDINGS.index(label) if label in _FINDINGS else len(_FINDINGS)
    return kind, by is not Established.IDENTITY, -(evidence or 0.0)


@dataclass(frozen=True, slots=True)
class CopyOfImage:
    """One verdict that names an image as a source: its subject, its evidence, and what that source is to it."""

    image_key: str
    image_id: str | None
    label: Label
    score: float | None
    rank: int
    part: bool
    agreement: float | None
    share: float
    established_by: Established | None


@dataclass(frozen=True, slots=True, repr=False)
class ReplacedImage(Brief):
    """A retired image, and the name and dataset by which another one is known since its file was overwritten."""

    name: str
    dataset_name: str
    image_id: str
    retired_at: datetime


@dataclass(frozen=True, slots=True)
class VerdictAbout:
    """One verdict in which an image is the subject."""

    audit_id: str
    release_name: str
    subject: Subject
    subject_role: Role
    rule: str
    label: Label
    score: float | None
    threshold: float | None
    p_value: float | None
    q_value: float | None
    audited_at: datetime


@dataclass(frozen=True, slots=True)
class VerdictCiting:
    """One verdict in which an image is evidence: a neighbor of the subject."""

    audit_id: str
    release_name: str
    subject_image_key: str
    subject_image_id: str | None
    role: Role
    rank: int
    similarity: float
    label: Label
    audited_at: datetime


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that happened to an image: when, what (a word), and its facts as JSON values."""

    at: datetime
    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict)
