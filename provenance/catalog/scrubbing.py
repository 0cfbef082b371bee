"""What deleted rows leave in a database's own files, and its end."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from provenance.catalog import tables as t
from provenance.catalog.engine import let_work, sqlite_file

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

_ALONE_SECONDS, _POLL_SECONDS = 2.0, 0.1
_ERASED = (t.Occurrence, t.Point, t.PerceptualHash, t.ImageHeader, t.ImageIdentity, t.Membership, t.Reject)


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
    """False also while a transaction that began before reads a table, or may still ask for rows deleted since."""
    deadline = time.monotonic() + _ALONE_SECONDS
    left = [table.__tablename__ for table in _ERASED]
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.detach()  # what is set here ends with it
            let_work(connection)
            connection.exec_driver_sql(f"SET lock_timeout = '{_ALONE_SECONDS:.0f}s'")
            while left := [name for name in left if _keeps_deleted(connection, name)]:
                if time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_SECONDS)
    except DBAPIError:
        return False
    return True


def _keeps_deleted(connection: Connection, name: str) -> bool:
    """Writes a table anew; gives whether the server says of any deleted row that it can't be left out yet."""
    said: list[str] = []
    driver: Any = connection.connection.dbapi_connection

    def note(diagnostic: Any) -> None:
        said.append(diagnostic.message_detail or "")

    driver.add_notice_handler(note)
    try:
        connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE, VERBOSE) {name}")
    finally:
        driver.remove_notice_handler(note)
    counts = [int(found[0]) for detail in said if (found := re.match(r"\D*(\d+)", detail)) is not None]
    return not counts or any(counts)
