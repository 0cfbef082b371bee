"""Answers about images: show, history, neighbors, duplicates."""

from __future__ import annotations

from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, model_validator

from provenance.documents.document import Counts, Document, at
from provenance.documents.rows import DuplicatePair
from provenance.lookup import Neighbor
from provenance.records import VerdictAbout, VerdictCiting
from provenance.vocabulary import DatasetKind, Evidence, Membership, PointState


class Occurrence(Document):
    """One name under which an image was found."""

    dataset: str = at("dataset_name")
    name: str
    source: str
    member: str | None
    found_at: datetime


class MembershipOfImage(Document):
    """One dataset that an image is in; ``group`` is a pseudonym."""

    dataset: str = at("dataset", "name")
    kind: DatasetKind = at("dataset", "kind")
    membership: Membership | None = at("dataset", "membership")
    group: str | None = at("group_key")
    added_at: datetime


class SpaceOfImage(Document):
    """One vector of an image."""

    space_id: str
    backbone: str
    dataset: str = at("dataset_name")
    vector_sha256: str
    state: PointState


class Position(Document):
    """What one position speaks for use, in standard deviations; its box is left, top, right, bottom, as shares."""

    box: Annotated[tuple[float, float, float, float], BeforeValidator(attrgetter("left", "top", "right", "bottom"))]
    contribution: Annotated[float, AfterValidator(lambda value: round(value, 6))]
    generated_id: str = at("generated", "image_id")
    generated_name: str = at("name")
    similarity: float


class Explanation(Document):
    """What speaks for the use of an image; ``copy`` is the part of the score for one close copy."""

    audit_id: str
    score_name: str
    score: float
    copy_: float = at("copy", serialization_alias="copy")
    columns: int
    positions: tuple[Position, ...]

    @classmethod
    def told(cls, found: Any) -> Self:
        """What speaks for an image, with the names of the generated images."""
        positions = [
            Position.of(p, name=found.names.get(p.generated.image_key, "")) for p in found.explanation.positions
        ]
        return cls.of(found.explanation, audit_id=found.audit_id, positions=positions)


class Image(Document):
    """Everything on record about an image."""

    image_id: str = at("image", "facts", "image_id")
    pixel_digest: str = at("image", "facts", "pixel_digest")
    width: int = at("image", "facts", "width")
    height: int = at("image", "facts", "height")
    file_format: str = at("image", "facts", "file_format")
    mode: str = at("image", "facts", "mode")
    size_bytes: int = at("image", "facts", "size_bytes")
    first_seen_at: datetime = at("image", "first_seen_at")
    occurrences: tuple[Occurrence, ...]
    memberships: tuple[MembershipOfImage, ...]
    spaces: tuple[SpaceOfImage, ...]
    verdicts_about: tuple[VerdictAbout, ...]
    verdicts_citing: tuple[VerdictCiting, ...]
    explanation: Explanation | None


class HistoryEntry(Document):
    """One thing that happened to an image, and its facts."""

    model_config = ConfigDict(extra="allow")

    at: datetime
    kind: str

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, entry: Any) -> dict[str, Any]:
        return {"at": entry.at, "kind": entry.kind, **entry.facts}


class History(Document):
    """All that happened to an image, in order."""

    image_id: str
    history: tuple[HistoryEntry, ...]


class Neighbors(Document):
    """The nearest images on record."""

    query: str
    neighbors: tuple[Neighbor, ...]


class SetClaim(Document):
    """A set and what it claims of its images."""

    name: str
    membership: Membership | None


class DuplicateRule(Document):
    """What counted as a near-duplicate."""

    evidence: Evidence
    hash: str
    hash_distance: int
    min_similarity: float


class UnhashedImage(Document):
    """An image whose source could not be read for its perceptual hash."""

    name: str
    source: str
    detail: str


class Duplicates(Document):
    """Duplicates within sets and across them."""

    sets: tuple[SetClaim, ...]
    rule: DuplicateRule = at("rule", "parameters")
    space_id: str = at("space", "space_id")
    counts: Counts
    pairs: tuple[DuplicatePair, ...]
    unhashed: tuple[UnhashedImage, ...]
    file: Path | None


DOCUMENTS = {"show": Image, "history": History, "neighbors": Neighbors, "duplicates": Duplicates}
