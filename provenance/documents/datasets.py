"""What is on record of sets and releases, and what was taken out or moved: sets, releases, relocate, db."""

from __future__ import annotations

from datetime import datetime

from provenance.documents.document import Document, at
from provenance.documents.ingests import LostImage, UnreadableInput
from provenance.records import Generator, RunRecord
from provenance.vocabulary import DatasetKind, Membership


class SpaceName(Document):
    """An embedding space."""

    space_id: str
    backbone: str


class Seal(Document):
    """One sealed revision of a release: the digest over its image_ids at that time."""

    revision: int
    digest: str = at("release_digest")
    image_count: int
    sealed_at: datetime


class Dataset(Document):
    """A set or release with its counts; forgotten images are left out."""

    name: str = at("summary", "dataset", "name")
    kind: DatasetKind = at("summary", "dataset", "kind")
    dataset_id: str = at("summary", "dataset", "dataset_id")
    membership: Membership | None = at("summary", "dataset", "membership")
    generator: Generator | None = at("summary", "dataset", "generator")
    modality: str = at("summary", "dataset", "modality")
    image_count: int = at("summary", "image_count")
    occurrence_count: int = at("summary", "occurrence_count")
    reject_count: int = at("summary", "reject_count")
    spaces: tuple[SpaceName, ...]
    seals: tuple[Seal, ...] = at("summary", "seals")
    created_at: datetime = at("summary", "created_at")


class Reject(UnreadableInput):
    """One input that could not be read, as last seen."""

    rejected_at: datetime


class DatasetInFull(Dataset):
    """A set or release with its groups, its runs and rejected inputs."""

    group_count: int
    largest_group_count: int
    ungrouped_count: int
    retired_count: int
    runs: tuple[RunRecord, ...]
    rejects: tuple[Reject, ...]


class SourcesHeld(Document):
    """Which images of a set or release its sources still hold: ``images`` in ``places``, and those that none holds."""

    name: str
    kind: DatasetKind
    images: int
    places: int
    changed: int
    gone: int
    unreadable: int
    retired: int
    lost: tuple[LostImage, ...]


class Regrouping(Document):
    """Images that were given other groups: names that were matched, groups found, and images that changed."""

    name: str
    names: int = at("matches", "names")
    matched: int = at("matches", "matched")
    groups: int = at("matches", "groups")
    changed: int


class Removal(Document):
    """A set or release that was taken out."""

    removed: str
    kind: DatasetKind
    image_count: int


class Forgotten(Document):
    """An image that was erased, and the key that verdicts keep of it.

    ``certain``: what is certain of its vectors. ``may_remain``: where bytes of them, or of its record, may still be.
    """

    forgotten: str
    image_key: str
    certain: tuple[str, ...] = ()
    may_remain: tuple[str, ...] = ()


class Relocation(Document):
    """How many occurrences moved."""

    relocated: int


class Upgrade(Document):
    """The catalog's schema before (null: empty) and after."""

    before: str | None
    after: str


class Revisions(Document):
    """The catalog's schema (null: empty), and the one this software needs."""

    current: str | None
    head: str


DOCUMENTS = {
    "sets list": tuple[Dataset, ...],
    "sets show": DatasetInFull,
    "sets check": SourcesHeld,
    "sets regroup": Regrouping,
    "sets remove": Removal,
    "sets forget": Forgotten,
    "releases list": tuple[Dataset, ...],
    "releases show": DatasetInFull,
    "releases check": SourcesHeld,
    "releases regroup": Regrouping,
    "releases remove": Removal,
    "relocate": Relocation,
    "db upgrade": Upgrade,
    "db current": Revisions,
}
