"""What a report is made of: frozen values, gathered by somebody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provenance.vocabulary import RuleName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from provenance.findings import CalibratedFindings
    from provenance.vocabulary import Label, Role, Subject


@dataclass(frozen=True, slots=True)
class GeneratorLine:
    """What made the release; '' where it is not known."""

    name: str
    architecture: str
    version: str


@dataclass(frozen=True, slots=True)
class SpaceLine:
    """The embedding space in which images were compared."""

    space_id: str
    backbone: str
    weights_sha256: str
    dimension: int
    preprocessing: Mapping[str, Any]
    parts: int = 1


@dataclass(frozen=True, slots=True)
class DatasetLine:
    """One dataset in the role it played, and what became of it since.

    Attributes:
        modality: DICOM's code; '' where it was not stated.
        image_count: Images when the audit was made.
        digest: ``sha256:<hex>`` over their image_ids.
        image_count_now: ``None`` where the dataset was removed.
        changed: Whether it holds other images now.
    """

    role: Role
    name: str
    modality: str
    image_count: int
    digest: str
    image_count_now: int | None
    changed: bool


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
        role: The role of the datasets it stands in.
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
    role: Role
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
class HeatCell:
    """One position of an image: its place in percent, and what it speaks for use.

    Attributes:
        contribution: Standard deviations above the mean of all real images there.
        strength: From 0 (does not speak for use) to 1 (the strongest position of this image).
    """

    left: float
    top: float
    width: float
    height: float
    contribution: float
    strength: float


@dataclass(frozen=True, slots=True)
class SpeakingPair:
    """One of the strongest positions (place in percent), with the generated image that is most like it there."""

    number: int
    left: float
    top: float
    width: float
    height: float
    contribution: float
    similarity: float
    picture: Picture


@dataclass(frozen=True, slots=True)
class HeatMap:
    """What speaks for the use of one image, position by position.

    Attributes:
        copy: What of the score was added for being close to a single generated image.
        numbered: Whether a number fits into a cell.
    """

    cells: tuple[HeatCell, ...]
    pairs: tuple[SpeakingPair, ...]
    score: float
    copy: float
    numbered: bool


@dataclass(frozen=True, slots=True)
class EstablishedLine:
    """One established image; ``image_id`` is ``None`` and the name '' where these were erased."""

    image_id: str | None
    name: str
    role: Role
    score: float | None
    p_value: float | None
    q_value: float | None


@dataclass(frozen=True, slots=True)
class CalibratedPart:
    """What a calibrated audit concluded, as it was recorded.

    Attributes:
        outcome: ``leak_established``, ``leak_not_established`` or ``inconclusive``.
        found: Calibration figures, release test, and what else the rule found.
        p_values: Of all judged images, claim by claim.
        established: The first of the established images: those of unknown use, then by q-value.
        sensitivity: What was last measured of what the audit would have seen; ``None`` where it never was.
    """

    outcome: str
    reason: str
    found: CalibratedFindings
    p_values: tuple[Series, ...]
    established: tuple[EstablishedLine, ...]
    established_count: int
    counts: Mapping[str, int]
    sensitivity: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One judged image with the neighbor its score comes from.

    Attributes:
        rank: From 1, the greatest score first.
        nearest: The nearest image that could be its source (of the release, for a real image); the score is its
            similarity, but for scores that are none. ``None`` only where no neighbor is on record.
        control: The nearest image known not to be used; ``None`` for real subjects and where there is no such set.
        p_value: ``None`` for rules without one, like ``q_value``.
        heat: Which positions speak for its use; ``None`` where scores are not local.
    """

    rank: int
    subject: Picture
    label: Label
    score: float | None
    s_used: float | None
    s_not_used: float | None
    s_against: float | None
    near_threshold: bool
    nearest: Neighborhood | None
    control: Neighborhood | None
    p_value: float | None = None
    q_value: float | None = None
    heat: HeatMap | None = None


@dataclass(frozen=True, slots=True)
class RejectLine:
    """One input that could not be read; ``name`` is '' where it was erased since."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ReportContent:
    """Everything that stands in the report of one audit.

    Attributes:
        counts: The audit's own counts, by name.
        parameters: The policy's parameters.
        search: How neighbors were found, such as ``exact``.
        mu: ``None`` for rules without a threshold, like sigma, alpha, population_count and threshold.
        series: The scores in the order they are drawn; the first one is filled.
        by_role: Labels by claim; empty unless real images were judged.
        cases: The closest pairs; may be empty.
        reject_reasons: How many inputs were rejected for each reason.
        rejects: The first of them.
        compare_command: The call that makes this audit again beside it, and lists what differs.
        audit_command: The call that makes this audit anywhere.
        ingest_commands: The calls that bring in its datasets, with the places of the images left open.
        report_version: Version of the software that wrote the report.
        euclidean: What Euclidean distance says beside cosine, in words; '' where nothing is recorded.
        policy_file: The policy as the text of a file, where a command needs it; else ''.
        calibrated: Outcome and tests of a calibrated audit; ``None`` for other rules.
        not_explained: Why there are no heat maps, where there could be some.
    """

    audit_id: str
    release: str
    generator: GeneratorLine | None
    subject: Subject
    rule: str
    policy_id: str
    parameters: Mapping[str, Any]
    space: SpaceLine
    search: str
    index: str
    catalog_uuid: str
    verdict_digest: str
    software_version: str
    audited_at: datetime
    duration_seconds: float
    mu: float | None
    sigma: float | None
    alpha: float | None
    population_count: int | None
    threshold: float | None
    counts: Mapping[str, int]
    datasets: tuple[DatasetLine, ...]
    series: tuple[Series, ...]
    by_role: tuple[RoleLine, ...]
    cases: tuple[Case, ...]
    reject_reasons: Mapping[str, int]
    rejects: tuple[RejectLine, ...]
    compare_command: str
    audit_command: str
    ingest_commands: tuple[str, ...]
    report_version: str
    euclidean: str = ""
    policy_file: str = ""
    calibrated: CalibratedPart | None = None
    not_explained: str = ""

    @property
    def by_probability(self) -> bool:
        """Whether scores are probabilities of a fitted model, compared with a cutoff, and no similarities."""
        return self.rule == RuleName.LOGISTIC
