"""Answers about images: show, history, neighbors, duplicates."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, model_validator

from provenance.documents.document import Counts, Document, at
from provenance.documents.rows import DuplicatePair
from provenance.lookup import Neighbor
from provenance.records import MembershipFigures, VerdictAbout, VerdictCiting
from provenance.vocabulary import Answer, DatasetKind, Established, Evidence, Label, Membership, PointState


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
    retired_at: datetime | None


class SpaceOfImage(Document):
    """One vector of an image."""

    space_id: str
    backbone: str
    dataset: str = at("dataset_name")
    vector_sha256: str
    state: PointState


def _edges(box: Any) -> Any:
    return None if box is None else attrgetter("left", "top", "right", "bottom")(box)


Edges = Annotated[tuple[float, float, float, float] | None, BeforeValidator(_edges)]


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


class PlaceOfImage(Document):
    """Where an image's file is: a path, and what in it where that is an archive."""

    source: str
    member: str | None


class SourceOfCopy(Document):
    """A real image that this one agrees with, wholly or in a region; ``box`` as left, top, right, bottom, as shares."""

    rank: int
    image_id: str | None
    name: str
    part: bool
    agreement: float | None
    share: float
    box: Edges
    source_box: Edges
    transformation: str
    established_by: Established | None
    places: tuple[PlaceOfImage, ...]


class CopyOfImage(Document):
    """An image that agrees with this one, wholly or in a region, and its verdict."""

    image_id: str | None
    name: str
    label: Label
    rank: int
    part: bool
    agreement: float | None
    share: float
    established_by: Established | None
    places: tuple[PlaceOfImage, ...]


_BESIDE = [each for each in fields(MembershipFigures) if each.name != "image_key"]


class AnswerOnImage(Document):
    """What an answer of an audit says of an image; null where it judged it not, or has no such figure."""

    answer: Answer | None
    audit_id: str
    rule: str
    label: Label | None
    score: float | None
    p_value: float | None
    q_value: float | None
    probability: float | None
    best_guess: Label | None
    group_score: float | None
    group_p_value: float | None
    group_q_value: float | None
    group_label: Label | None
    tail_p_value: float | None
    tail_q_value: float | None
    storey_q_value: float | None
    calibration_score: float | None
    sources: tuple[SourceOfCopy, ...]
    copies: tuple[CopyOfImage, ...]

    @classmethod
    def told(cls, found: Any) -> Self:
        """One answer, with the names and places of the images that it names."""
        figures = {name: getattr(found.verdict, name, None) for name in ("label", "score", "p_value", "q_value")}
        return cls.of(
            found,
            **figures,
            **{each.name: getattr(found.beside, each.name, None) for each in _BESIDE},
            audit_id=found.audit.audit_id,
            rule=found.audit.rule,
            sources=[SourceOfCopy.of(source, name=image.name, places=image.places) for source, image in found.sources],
            copies=[CopyOfImage.of(copy, name=image.name, places=image.places) for copy, image in found.copies],
        )


class Image(Document):
    """Everything on record about an image; ``answers``: what the audit ``audit_id`` says of it."""

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
    places: tuple[PlaceOfImage, ...]
    audit_id: str | None
    answers: tuple[AnswerOnImage, ...]
    verdicts_about: tuple[VerdictAbout, ...]
    verdicts_citing: tuple[VerdictCiting, ...]
    explanation: Explanation | None

    @classmethod
    def told(cls, view: Any, explained: Any) -> Self:
        """All of an image, with what one audit says of it, and why where that is explained."""
        return cls.of(
            view,
            audit_id=None if view.audit is None else view.audit.audit.audit_id,
            answers=[AnswerOnImage.told(each) for each in view.answers],
            explanation=None if explained is None else Explanation.told(explained),
        )


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
    """A set and what it claims of its images, or a release."""

    name: str
    kind: DatasetKind
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


class ClusteredImage(Document):
    """One image of a cluster."""

    image_id: str
    name: str
    sets: tuple[str, ...]


class DuplicateCluster(Document):
    """Images that are joined by pairs of duplicates, and how many pairs that are."""

    image_count: int
    pairs: int
    sets: tuple[str, ...]
    memberships: tuple[Membership, ...]
    used_and_not_used: bool = at("crosses")
    images: tuple[ClusteredImage, ...]


class Duplicates(Document):
    """Duplicates within sets and releases and across them; too many ``pairs`` are not ``listed``."""

    sets: tuple[SetClaim, ...]
    rule: DuplicateRule = at("rule", "parameters")
    space_id: str = at("space", "space_id")
    counts: Counts
    listed: bool
    pairs: tuple[DuplicatePair, ...]
    clusters: tuple[DuplicateCluster, ...]
    unhashed: tuple[UnhashedImage, ...]
    file: Path | None


DOCUMENTS = {"show": Image, "history": History, "neighbors": Neighbors, "duplicates": Duplicates}
