"""What keeps an installation whole: reconcile, backup, restore."""

from __future__ import annotations

from pathlib import Path

from provenance.documents.document import Document, Moment, at
from provenance.vocabulary import DatasetKind


class CollectionCheck(Document):
    """One collection: what the catalog says, what the index holds, what was done."""

    dataset: str
    kind: DatasetKind
    backbone: str
    space_id: str
    collection_key: str
    recorded: int
    stored: int
    missing: int
    damaged: int
    pending: int
    deleting: int
    extra: int
    without_vector: int
    unusable: str
    stale_moments: bool
    repaired: int
    changed: int
    left: int


class Finding(Document):
    """One vector that is not as the catalog says, and was not repaired."""

    dataset: str
    backbone: str
    image_id: str
    name: str
    problem: str
    detail: str


class Reconciliation(Document):
    """Catalog against index; clean where no problem is left."""

    clean: bool = at("is_clean")
    repaired: int
    left: int
    collections: tuple[CollectionCheck, ...]
    dropped_collections: tuple[str, ...] = at("dropped")
    foreign_collections: int = at("foreign")
    findings: tuple[Finding, ...]


class Backup(Document):
    """What a backup holds."""

    file: Path
    size_bytes: int
    catalog_uuid: str
    collections: int
    vectors: int
    created_at: Moment


class Restoration(Document):
    """What was restored, and what the comparison of catalog and index says of it."""

    file: Path
    catalog_uuid: str
    collections: int
    vectors: int
    backed_up_at: Moment
    reconcile: Reconciliation = at("reconciled")


DOCUMENTS = {"reconcile": Reconciliation, "backup": Backup, "restore": Restoration}
