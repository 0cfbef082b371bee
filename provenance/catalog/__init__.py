"""The catalog: every fact, in SQL. SQLite by default, PostgreSQL by URL.

``Catalog`` takes and gives frozen values; rows, sessions and SQLAlchemy's errors never leave this room.
"""

from __future__ import annotations

from provenance.catalog.migrate import current_revision, head_revision, migrations_folder, upgrade
from provenance.catalog.store import Catalog
from provenance.catalog.transfer import rename_collections, require_empty, restore_from_file, upgrade_copy
from provenance.catalog.vetting import vet_rows

__all__ = [
    "Catalog",
    "current_revision",
    "head_revision",
    "migrations_folder",
    "rename_collections",
    "require_empty",
    "restore_from_file",
    "upgrade",
    "upgrade_copy",
    "vet_rows",
]
