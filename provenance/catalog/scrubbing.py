"""What deleted rows leave in a database's own files, and its end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from provenance.catalog import tables as t
from provenance.catalog.engine import sqlite_file

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

_ALONE_SECONDS = 2.0
_ERASED = (t.Occurrence, t.Point, t.PerceptualHash, t.ImageIdentity, t.Membership, t.Reject)


def scrub(engine: Engine, url: URL) -> bool:
    """Writes the database's files anew without what was deleted; gives whether nothing of it is left in them.

    It is where another process has the catalog open: then its log and free pages are left for the next call. Of a
    PostgreSQL the tables are written anew (a mere VACUUM leaves the bytes of deleted rows in their pages) and analysed
    anew (statistics hold values); its write-ahead log and its backups are its own.
    """
    file = sqlite_file(url)
    if file is None:
        return _vacuumed(engine)
    try:
        with closing(sqlite3.connect(file, timeout=_ALONE_SECONDS, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete = ON").close()
            connection.execute("VACUUM").close()
            busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError:
        return False
    return not busy


def may_keep(url: URL) -> list[str]:
    """Where bytes of what was erased may be beyond what ``scrub`` reaches, in words, each of one place."""
    if sqlite_file(url) is None:
        return [
            "PostgreSQL's write-ahead log until it is recycled, its replicas' logs, and its backups",
            "old pages of PostgreSQL's statistics (pg_statistic) until they are vacuumed",
        ]
    return []


def _vacuumed(engine: Engine) -> bool:
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in _ERASED:
                connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {table.__tablename__}")
    except DBAPIError:
        return False
    return True
