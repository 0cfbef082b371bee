"""What the demo made and found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from provenance.documents.audits import Audit
from provenance.documents.document import Document, Seconds, at
from provenance.documents.ingests import Ingest


@dataclass(frozen=True, slots=True)
class KindResult:
    """Truth against verdicts for one kind of image.

    Attributes:
        total: Images of this kind in the release.
        labelled_used: How many of them the rule labelled ``used``.
        source_named: For how many the nearest real image is the one that was copied; ``None`` for fresh phantoms.
        median_score: Median of their greatest similarity to a used image.
    """

    kind: str
    total: int
    labelled_used: int
    source_named: int | None
    median_score: float


@dataclass(frozen=True, slots=True)
class Figures:
    """How well the labels tell copies from fresh phantoms, beside what guessing would give.

    Attributes:
        total: Images judged.
        correct: Copies labelled ``used`` and fresh phantoms labelled ``not_used``.
        accuracy: correct / total.
        chance_low: Lower end of the accuracies that a coin gives in 95 of 100 cases (exact binomial, share 1/2).
        chance_high: Upper end.
        p_value: Probability that a coin is right at least as often.
        precision: Copies among the images labelled ``used``; ``None`` where there are none.
        recall: Share of the copies that are labelled ``used``.
    """

    total: int
    correct: int
    accuracy: float
    chance_low: float
    chance_high: float
    p_value: float
    precision: float | None
    recall: float


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


class Demo(Document):
    """Everything the demo made and found."""

    folder: Path
    workspace: Path
    patients: int
    seed: int
    backbone: ChosenBackbone
    ingests: tuple[Ingest, ...]
    audit: Audit
    truth: tuple[KindResult, ...] = at("kinds")
    figures: Figures
    caveat: str
    next: tuple[str, ...]
    report: Path = at("page")
    duration_seconds: Seconds


DOCUMENTS = {"demo": Demo}
