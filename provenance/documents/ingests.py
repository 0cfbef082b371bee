"""What came in: init, ingest, ingest-layout, watch, embed."""

from __future__ import annotations

from pathlib import Path

from provenance.documents.document import Counts, Document, Seconds, at
from provenance.ingest.held import Problem
from provenance.vocabulary import DatasetKind, Membership, RejectReason


class Workspace(Document):
    """A workspace, and where its catalog (without password) and index are."""

    workspace: Path = at("root")
    catalog: str = at("catalog", "url_for_people")
    index: str = at("index_url")


class UnreadableFile(Document):
    """An input of a watched folder that did not become an image."""

    name: str
    source: str
    reason: RejectReason
    detail: str


class UnreadableInput(Document):
    """An input that did not become an image, or an image that can't be read again."""

    name: str
    source: str
    member: str | None
    reason: RejectReason
    detail: str


class GroupMatches(Document):
    """How far a rule found groups: names it was asked about, those that have one, and how many groups these are."""

    names: int
    matched: int
    groups: int


class Inside(Document):
    """Files of several pages or frames and the images of them, pages that are left out, images with few grey levels."""

    files: int
    images: int
    left_out: int
    left_out_files: int
    reduced: int
    coarse: int


class LostImage(Document):
    """An image that no file holds any more: it was overwritten (``changed``), deleted (``gone``) or can't be read."""

    image_id: str
    name: str
    source: str
    member: str | None
    problem: Problem


class ClaimedElsewhere(Document):
    """A set that claims so many images of this one otherwise."""

    name: str
    membership: Membership
    images: int


class Ingest(Document):
    """One run of an ingest: ``read`` inputs are ``added``, ``known``, ``repeated`` or ``rejected``."""

    run_id: str
    name: str
    kind: DatasetKind
    dataset_id: str
    space_id: str
    counts: Counts
    image_count: int
    sealed: bool | None
    interrupted: bool
    dataset_digest: str
    duration_seconds: Seconds
    groups: GroupMatches | None
    inside: Inside
    retired: int
    lost: tuple[LostImage, ...]
    claimed_elsewhere: tuple[ClaimedElsewhere, ...]
    rejects: tuple[UnreadableInput, ...] = at("rejections")


class WatchBatch(Document):
    """One batch of a watched folder."""

    run_id: str
    name: str
    counts: Counts
    image_count: int
    groups: GroupMatches | None
    inside: Inside
    retired: int
    lost: tuple[LostImage, ...]
    rejects: tuple[UnreadableFile, ...] = at("rejections")


class Embedding(Document):
    """A backbone's space added to a set or release."""

    run_id: str
    name: str
    dataset_id: str
    space_id: str
    backbone: str
    counts: Counts
    unreadable: tuple[UnreadableInput, ...]
    interrupted: bool
    duration_seconds: Seconds


DOCUMENTS = {
    "init": Workspace,
    "ingest": Ingest,
    "ingest-layout": tuple[Ingest, ...],
    "watch": WatchBatch,
    "embed": Embedding,
}
