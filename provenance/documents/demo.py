"""What the demo made and found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provenance.documents.document import Document, Seconds, at
from provenance.documents.ingests import Ingest


class ChosenBackbone(Document):
    """Which backbone the demo used, why, and the setting that names it."""

    name: str
    reason: str
    setting: tuple[str, str]
    is_default: bool


class KindResult(Document):
    """Truth against verdicts for one kind of image."""

    kind: str
    total: int
    labelled_used: int
    source_named: int | None
    median_score: float


class Figures(Document):
    """How well the labels tell copies from fresh phantoms, beside what guessing would give."""

    total: int
    correct: int
    accuracy: float
    chance_low: float
    chance_high: float
    p_value: float
    precision: float | None
    recall: float


class Demo(Document):
    """Everything the demo made and found."""

    folder: Path
    workspace: Path
    patients: int
    seed: int
    backbone: ChosenBackbone
    ingests: tuple[Ingest, ...]
    audit: dict[str, Any]
    truth: tuple[KindResult, ...] = at("kinds")
    figures: Figures
    caveat: str
    next: tuple[str, ...]
    report: Path = at("page")
    duration_seconds: Seconds


DOCUMENTS = {"demo": Demo}
