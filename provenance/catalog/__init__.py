"""The catalog: every fact, in SQL. SQLite by default, PostgreSQL by URL.

``Catalog`` takes and gives frozen values; rows, sessions and SQLAlchemy's errors never leave this room.
"""

from __future__ import annotations

from provenance.catalog.copies import require_empty, restore_from_file, upgrade_copy
from provenance.catalog.events import EventKind
from provenance.catalog.migrate import current_revision, head_revision, migrations_folder, upgrade
from provenance.catalog.store import Catalog
from provenance.catalog.values import (
    AuditDataset,
    AuditRecord,
    AuditReject,
    Collection,
    ContentChanges,
    Dataset,
    DatasetSummary,
    Generator,
    HistoryEntry,
    ImageRecord,
    ImageSpace,
    KnownOccurrence,
    Member,
    MembershipRecord,
    NeighborRecord,
    NewImage,
    OccurrenceRecord,
    PointFacts,
    PointRecord,
    PolicyRecord,
    RejectRecord,
    RunRecord,
    Seal,
    StoredNeighbor,
    StoredVerdict,
    VectorLocation,
    VerdictAbout,
    VerdictCiting,
    VerdictRecord,
)

__all__ = [
    "AuditDataset",
    "AuditRecord",
    "AuditReject",
    "Catalog",
    "Collection",
    "ContentChanges",
    "Dataset",
    "DatasetSummary",
    "EventKind",
    "Generator",
    "HistoryEntry",
    "ImageRecord",
    "ImageSpace",
    "KnownOccurrence",
    "Member",
    "MembershipRecord",
    "NeighborRecord",
    "NewImage",
    "OccurrenceRecord",
    "PointFacts",
    "PointRecord",
    "PolicyRecord",
    "RejectRecord",
    "RunRecord",
    "Seal",
    "StoredNeighbor",
    "StoredVerdict",
    "VectorLocation",
    "VerdictAbout",
    "VerdictCiting",
    "VerdictRecord",
    "current_revision",
    "head_revision",
    "migrations_folder",
    "require_empty",
    "restore_from_file",
    "upgrade",
    "upgrade_copy",
]
