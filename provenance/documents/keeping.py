"""What keeps an installation whole: reconcile, backup, restore."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from provenance.documents.document import Document, at
from provenance.keeping.backup import BackupReport
from provenance.keeping.reconcile import CollectionCheck, Finding


class Reconciliation(Document):
    """Catalog against index; clean where no problem is left."""

    clean: bool = at("is_clean")
    repaired: int
    left: int
    collections: tuple[CollectionCheck, ...]
    dropped_collections: tuple[str, ...] = at("dropped")
    foreign_collections: int = at("foreign")
    findings: tuple[Finding, ...]


class Restoration(Document):
    """What was restored, and what the comparison of catalog and index says of it."""

    file: Path
    catalog_uuid: str
    collections: int
    vectors: int
    backed_up_at: datetime
    reconcile: Reconciliation = at("reconciled")


DOCUMENTS = {"reconcile": Reconciliation, "backup": BackupReport, "restore": Restoration}
