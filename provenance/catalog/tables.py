"""The tables. What may be erased (digests, names, paths) stands apart from what never changes.

Append-only tables are held by triggers (see the migrations): ``APPEND_ONLY`` lists them. Rows of audits,
verdicts, neighbors and events know images only by ``image_key``, an opaque random key, so that an image's
digests, names and paths can be erased while the history stays whole.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Double,
    ForeignKey,
    Index,
    MetaData,
    UniqueConstraint,
    and_,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from provenance.catalog.types import BIG_KEY, TEXT, Json, OutsideText, Utc

APPEND_ONLY = (
    "release_seals",
    "policies",
    "audits",
    "audit_datasets",
    "audit_rejects",
    "verdicts",
    "neighbors",
    "events",
    "audit_parts",
    "copy_sources",
    "calibration_scores",
    "membership_figures",
)


class Base(DeclarativeBase):
    """Root of the tables. Constraints have names, so that later migrations can speak of them on any database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: TEXT, datetime: Utc, float: Double}  # noqa: RUF012


def _index_where(condition: str, name: str, *columns: str, unique: bool = False) -> Index:
    """An index over the rows of which a condition holds, which both databases know."""
    return Index(name, *columns, unique=unique, sqlite_where=text(condition), postgresql_where=text(condition))


class CatalogFact(Base):
    """Facts of the catalog itself: its uuid, the key of its pseudonyms, the uuid of its index."""

    __tablename__ = "catalog_facts"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class Image(Base):
    """An image by its opaque key; the row outlives the image's erasure."""

    __tablename__ = "images"
    image_key: Mapped[str] = mapped_column(primary_key=True)
    first_seen_at: Mapped[datetime]
    forgotten_at: Mapped[datetime | None]
    __table_args__ = (_index_where("forgotten_at IS NOT NULL", "ix_images_forgotten", "image_key"),)


class ImageIdentity(Base):
    """What is known of an image from its bytes. Erasable."""

    __tablename__ = "image_identities"
    image_key: Mapped[str] = mapped_column(ForeignKey("images.image_key"), primary_key=True)
    image_id: Mapped[str] = mapped_column(unique=True)
    pixel_digest: Mapped[str] = mapped_column(index=True)
    width: Mapped[int]
    height: Mapped[int]
    file_format: Mapped[str]
    mode: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012


class PerceptualHash(Base):
    """A hash of an image's looks, hex digits by kind; computed from its source when first needed. Erasable."""

    __tablename__ = "perceptual_hashes"
    image_key: Mapped[str] = mapped_column(ForeignKey("image_identities.image_key"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012


class ImageHeader(Base):
    """What is kept of a medical image's header, and nothing else of it; its series as a keyed hash. Erasable."""

    __tablename__ = "image_headers"
    image_key: Mapped[str] = mapped_column(ForeignKey("image_identities.image_key"), primary_key=True)
    series_key: Mapped[str] = mapped_column(index=True)
    decoder: Mapped[str]
    shown_in: Mapped[str]
    transfer_syntax: Mapped[str]
    sop_class: Mapped[str]
    modality: Mapped[str]
    slice_position: Mapped[float | None]
    slice_thickness: Mapped[float | None]
    row_spacing: Mapped[float | None]
    column_spacing: Mapped[float | None]
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012


class Generator(Base):
    """What made releases."""

    __tablename__ = "generators"
    generator_id: Mapped[int] = mapped_column(BIG_KEY, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(OutsideText)
    architecture: Mapped[str] = mapped_column(OutsideText)
    version: Mapped[str] = mapped_column(OutsideText)
    created_at: Mapped[datetime]
    __table_args__ = (UniqueConstraint("name", "architecture", "version"),)


class Dataset(Base):
    """A real set or a release. Its name is taken only as long as it is not removed."""

    __tablename__ = "datasets"
    dataset_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(OutsideText)
    kind: Mapped[str]
    membership: Mapped[str | None]
    generator_id: Mapped[int | None] = mapped_column(ForeignKey("generators.generator_id"))
    modality: Mapped[str] = mapped_column(OutsideText)
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    __table_args__ = (
        CheckConstraint(
            "(kind = 'set' AND membership IS NOT NULL AND generator_id IS NULL)"
            " OR (kind = 'release' AND membership IS NULL AND generator_id IS NOT NULL)",
            name="kind",
        ),
        _index_where("removed_at IS NULL", "uq_datasets_live_name", "name", unique=True),
    )


class Run(Base):
    """One run of a service: progress, so it may change."""

    __tablename__ = "runs"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.dataset_id"), index=True)
    space_id: Mapped[str | None] = mapped_column(ForeignKey("spaces.space_id"))
    arguments: Mapped[Any] = mapped_column(Json)
    software_version: Mapped[str]
    state: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    counts: Mapped[Any] = mapped_column(Json)
    sequence: Mapped[int] = mapped_column(BigInteger, server_default="0")


class Occurrence(Base):
    """One name under which an image was found. Erasable. ``base_name`` is the last part of the name."""

    __tablename__ = "occurrences"
    occurrence_id: Mapped[int] = mapped_column(BIG_KEY, primary_key=True, autoincrement=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.dataset_id"))
    image_key: Mapped[str] = mapped_column(ForeignKey("images.image_key"), index=True)
    name: Mapped[str] = mapped_column(OutsideText)
    base_name: Mapped[str] = mapped_column(OutsideText, index=True)
    source: Mapped[str] = mapped_column(OutsideText)
    member: Mapped[str] = mapped_column(OutsideText)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    modified_ns: Mapped[int] = mapped_column(BigInteger)
    changed_ns: Mapped[int] = mapped_column(BigInteger)
    inode: Mapped[str]  # inode numbers are unsigned 64-bit: more than either database's integers hold
    found_at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.run_id"))
    __table_args__ = (
        UniqueConstraint("dataset_id", "source", "member", "image_key"),
        Index(None, "dataset_id", "occurrence_id"),  # reading page by page
    )


class ReleaseSeal(Base):
    """One sealed revision of a release. Append-only."""

    __tablename__ = "release_seals"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.dataset_id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    release_digest: Mapped[str]
    image_count: Mapped[int]
    sealed_at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.run_id"))


class Group(Base):
    """A pseudonymised patient, study or scanner key."""

    __tablename__ = "groups"
    group_key: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]


class Membership(Base):
    """An image in a dataset; ``forgotten_at`` makes it a tombstone, ``retired_at`` keeps it out of what comes later."""

    __tablename__ = "memberships"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.dataset_id"), primary_key=True)
    image_key: Mapped[str] = mapped_column(ForeignKey("images.image_key"), primary_key=True, index=True)
    group_key: Mapped[str | None] = mapped_column(ForeignKey("groups.group_key"), index=True)
    added_at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.run_id"))
    forgotten_at: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    @classmethod
    def is_live(cls) -> ColumnElement[bool]:
        """Whether an image takes part: it is neither forgotten nor retired."""
        return and_(cls.forgotten_at.is_(None), cls.retired_at.is_(None))


class Space(Base):
    """An embedding space."""

    __tablename__ = "spaces"
    space_id: Mapped[str] = mapped_column(primary_key=True)
    backbone: Mapped[str]
    weights_sha256: Mapped[str]
    dimension: Mapped[int]
    parts: Mapped[int]
    preprocessing: Mapped[Any] = mapped_column(Json)
    created_at: Mapped[datetime]


class Collection(Base):
    """One (dataset, space) by the immutable key that the index knows it by."""

    __tablename__ = "collections"
    collection_key: Mapped[str] = mapped_column(primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.dataset_id"))
    space_id: Mapped[str] = mapped_column(ForeignKey("spaces.space_id"), index=True)
    created_at: Mapped[datetime]
    dropped_at: Mapped[datetime | None]
    __table_args__ = (_index_where("dropped_at IS NULL", "uq_collections_live", "dataset_id", "space_id", unique=True),)


class Point(Base):
    """Where the vector of one image stands in one collection."""

    __tablename__ = "points"
    collection_key: Mapped[str] = mapped_column(ForeignKey("collections.collection_key"), primary_key=True)
    image_key: Mapped[str] = mapped_column(ForeignKey("images.image_key"), primary_key=True, index=True)
    point_id: Mapped[str]
    vector_sha256: Mapped[str]
    state: Mapped[str]
    updated_at: Mapped[datetime]
    __table_args__ = (
        UniqueConstraint("collection_key", "point_id"),
        _index_where("state <> 'indexed'", "ix_points_unsettled", "collection_key", "state"),
        {"sqlite_with_rowid": False},
    )


class Reject(Base):
    """One rejected input of a dataset, as last seen. Erasable. Its number is never given to another."""

    __tablename__ = "rejects"
    reject_id: Mapped[int] = mapped_column(BIG_KEY, primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.dataset_id"))
    name: Mapped[str] = mapped_column(OutsideText)
    source: Mapped[str] = mapped_column(OutsideText)
    member: Mapped[str] = mapped_column(OutsideText)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str]
    detail: Mapped[str] = mapped_column(OutsideText)
    rejected_at: Mapped[datetime]
    __table_args__ = (
        UniqueConstraint("dataset_id", "source", "member", "name", "reason"),
        {"sqlite_autoincrement": True},
    )


class Policy(Base):
    """A rule with its parameters, by content. Append-only."""

    __tablename__ = "policies"
    policy_id: Mapped[str] = mapped_column(primary_key=True)
    rule: Mapped[str]
    parameters: Mapped[Any] = mapped_column(Json)
    created_at: Mapped[datetime]


class Audit(Base):
    """One finished audit. Append-only."""

    __tablename__ = "audits"
    audit_id: Mapped[str] = mapped_column(primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.dataset_id"), index=True)
    subject: Mapped[str]
    rule: Mapped[str]
    policy_id: Mapped[str] = mapped_column(ForeignKey("policies.policy_id"))
    space_id: Mapped[str] = mapped_column(ForeignKey("spaces.space_id"))
    release_digest: Mapped[str]
    mu: Mapped[float | None]
    sigma: Mapped[float | None]
    alpha: Mapped[float | None]
    population_count: Mapped[int | None] = mapped_column(BigInteger)
    threshold: Mapped[float | None]
    verdict_digest: Mapped[str]
    counts: Mapped[Any] = mapped_column(Json)
    settings: Mapped[Any] = mapped_column(Json)
    software_version: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    duration_seconds: Mapped[float]
    sequence: Mapped[int] = mapped_column(BigInteger, server_default="0")


class AuditDataset(Base):
    """One dataset in the role it played in an audit. Append-only."""

    __tablename__ = "audit_datasets"
    audit_id: Mapped[str] = mapped_column(ForeignKey("audits.audit_id"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.dataset_id"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(OutsideText)
    dataset_digest: Mapped[str]
    image_count: Mapped[int]


class AuditReject(Base):
    """One input that was rejected when an audit was made; its names stand in rejects. Append-only."""

    __tablename__ = "audit_rejects"
    audit_id: Mapped[str] = mapped_column(ForeignKey("audits.audit_id"), primary_key=True)
    reject_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    reason: Mapped[str]


class Verdict(Base):
    """One subject's label in one audit. Append-only."""

    __tablename__ = "verdicts"
    verdict_id: Mapped[int] = mapped_column(BIG_KEY, primary_key=True, autoincrement=True)
    audit_id: Mapped[str] = mapped_column(ForeignKey("audits.audit_id"))
    image_key: Mapped[str] = mapped_column(ForeignKey("images.image_key"), index=True)
    subject_role: Mapped[str]
    label: Mapped[str]
    score: Mapped[float | None]
    s_used: Mapped[float | None]
    s_not_used: Mapped[float | None]
    s_against: Mapped[float | None]
    threshold: Mapped[float | None]
    p_value: Mapped[float | None]
    q_value: Mapped[float | None]
    near_threshold: Mapped[bool]
    verdict_sha256: Mapped[str]
    __table_args__ = (UniqueConstraint("audit_id", "image_key"),)


class Neighbor(Base):
    """One neighbor of a verdict's subject. Append-only."""

    __tablename__ = "neighbors"
    verdict_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("verdicts.verdict_id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    image_key: Mapped[str] = mapped_column(ForeignKey("images.image_key"), index=True)
    similarity: Mapped[float]
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012


class AuditPart(Base):
    """An audit that is one answer of another. Append-only."""

    __tablename__ = "audit_parts"
    audit_id: Mapped[str] = mapped_column(ForeignKey("audits.audit_id"), primary_key=True)
    answer: Mapped[str] = mapped_column(primary_key=True)
    part_id: Mapped[str] = mapped_column(ForeignKey("audits.audit_id"), unique=True)


class CopySource(Base):
    """A real image that a verdict's subject agrees with, wholly or in a region. Append-only."""

    __tablename__ = "copy_sources"
    verdict_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("verdicts.verdict_id"), primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    image_key: Mapped[str] = mapped_column(ForeignKey("images.image_key"), index=True)
    part: Mapped[bool]
    agreement: Mapped[float | None]
    share: Mapped[float]
    box: Mapped[Any | None] = mapped_column(Json)
    source_box: Mapped[Any | None] = mapped_column(Json)
    transformation: Mapped[str]
    established_by: Mapped[str | None]
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012


class CalibrationScore(Base):
    """The score of an image that calibrated an audit's verdicts. Append-only."""

    __tablename__ = "calibration_scores"
    audit_id: Mapped[str] = mapped_column(ForeignKey("audits.audit_id"), primary_key=True)
    image_key: Mapped[str] = mapped_column(ForeignKey("images.image_key"), primary_key=True, index=True)
    score: Mapped[float]
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012


class MembershipFigures(Base):
    """What stands beside the label of a real image, judged or calibrating, in one audit. Append-only."""

    __tablename__ = "membership_figures"
    audit_id: Mapped[str] = mapped_column(ForeignKey("audits.audit_id"), primary_key=True)
    image_key: Mapped[str] = mapped_column(ForeignKey("images.image_key"), primary_key=True, index=True)
    probability: Mapped[float | None]
    best_guess: Mapped[str | None]
    group_score: Mapped[float | None]
    group_p_value: Mapped[float | None]
    group_q_value: Mapped[float | None]
    group_label: Mapped[str | None]
    tail_p_value: Mapped[float | None]
    tail_q_value: Mapped[float | None]
    storey_q_value: Mapped[float | None]
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012


class Event(Base):
    """One thing that happened to an image or a dataset; holds no digest, name or path. Append-only."""

    __tablename__ = "events"
    event_id: Mapped[int] = mapped_column(BIG_KEY, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    kind: Mapped[str]
    image_key: Mapped[str | None] = mapped_column(ForeignKey("images.image_key"), index=True)
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.dataset_id"), index=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.run_id"))
    detail: Mapped[Any] = mapped_column(Json)


class Suppression(Base):
    """A keyed digest of a forgotten image's bytes or pixels: it must not come back."""

    __tablename__ = "suppressions"
    suppressed_digest: Mapped[str] = mapped_column(primary_key=True)
    suppressed_at: Mapped[datetime]
