"""What the demo made and found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from provenance.documents.audits import Audit
from provenance.documents.document import Document, Seconds, at
from provenance.documents.ingests import Ingest
from provenance.documents.measures import EvaluatedPart
from provenance.vocabulary import Answer


@dataclass(frozen=True, slots=True)
class KindResult:
    """Truth against the first answer for one kind of generated image.

    Attributes:
        kind: A kind of planted copy; the generator's images by the share of the largest used image in their body; or
            ``control``, phantoms of nobody.
        images: Of this kind in the release.
        copy: How many of them the audit called so; likewise the other labels.
        largest_source_first: For how many the real image named first is the one with the largest share; ``None``:
            there is no source.
        true_source_first: For how many it is any that the image came from.
    """

    kind: str
    images: int
    copy: int
    part_copy: int
    inconclusive: int
    no_copy_seen: int
    largest_source_first: int | None
    true_source_first: int | None


@dataclass(frozen=True, slots=True)
class CopyTotals:
    """The first answer against truth, over all kinds.

    Attributes:
        planted: Copies that were planted.
        planted_found: Of these, how many the audit called ``copy``.
        copied_by_generator: Images that the generator itself made of one used image (90 % of the body or more).
        called_copy: Images that the audit called ``copy``.
        called_copy_rightly: Of these, planted ones and ones that the generator copied.
        called_copy_mostly: Of these, other ones with half of the body or more from one used image.
        called_copy_wrongly: Of these, all others.
        source_right: Of these, how many have a true source named first.
        established_by: How they are known, and how many so.
        controls: Phantoms of nobody in the release.
        controls_called_copy: Of these, how many the audit called ``copy``: each one is an error.
        controls_called_part_copy: Likewise ``part_copy``.
    """

    planted: int
    planted_found: int
    copied_by_generator: int
    called_copy: int
    called_copy_rightly: int
    called_copy_mostly: int
    called_copy_wrongly: int
    source_right: int
    established_by: dict[str, int]
    controls: int
    controls_called_copy: int
    controls_called_part_copy: int


@dataclass(frozen=True, slots=True)
class ChosenBackbone:
    """Which backbone the demo used, and why.

    Attributes:
        name: The name of its space.
        reason: Why this one.
        setting: The setting that names it (``backbone`` or ``backbone_file``), and its value.
        is_default: Whether a call that names no backbone takes it.
    """

    name: str
    reason: str
    setting: tuple[str, str]
    is_default: bool


@dataclass(frozen=True, slots=True)
class Made:
    """How many images were made of each sort.

    Attributes:
        reals: Real images: ``used``, ``not_used`` and ``unknown`` ones.
        unknown_used: How many of the unknown ones were used, which the audit is not told.
        training: What the generator was trained on: the used ones, known and unknown.
        generated: Images of the release: ``by_generator``, ``planted`` copies and ``controls``.
    """

    reals: int
    used: int
    not_used: int
    unknown: int
    unknown_used: int
    training: int
    generated: int
    by_generator: int
    planted: int
    controls: int


class Demo(Document):
    """Everything the demo made and found: the answers (their audits' ids), and the truth against each of them."""

    folder: Path
    workspace: Path
    patients: int
    seed: int
    backbone: ChosenBackbone
    ingests: tuple[Ingest, ...]
    made: Made
    audit: Audit
    answers: dict[Answer, str] = at("found", "answers")
    copies: tuple[KindResult, ...] = at("found", "kinds")
    copies_in_all: CopyTotals | None = at("found", "totals")
    membership: EvaluatedPart | None = at("found", "membership")
    guess: EvaluatedPart | None = at("found", "guess")
    baseline: EvaluatedPart | None = at("found", "baseline")
    caveat: str
    next: tuple[str, ...]
    report: Path = at("page")
    duration_seconds: Seconds


DOCUMENTS = {"demo": Demo}
