"""Whole copies of a catalog: into one SQLite file while it is in use, and from such a file into an empty database.

The file is itself a catalog, of whatever database the original is: a copy can be opened, migrated and read by itself,
and be restored into either kind.
"""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, delete, func, insert, inspect, select, text

from provenance.catalog import tables as t
from provenance.catalog.engine import (
    BUSY_TIMEOUT_SECONDS,
    for_people,
    is_missing,
    make_engine,
    opened,
    parse_url,
    sqlite_file,
    writing_engine,
)
from provenance.catalog.migrate import STORE_UUID, upgrade
from provenance.catalog.reading import may_only_be_read, reading_connection
from provenance.errors import CatalogError, ConflictError
from provenance.received import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import URL, Engine

_ROWS = 1000
_MOST_CELL_BYTES = 256 * 1024**2
_OWN_FACTS = (t.CatalogFact.__tablename__,)


def copy_to_file(engine: Engine, url: URL, file: Path) -> None:
    """Writes the catalog as it is at one moment into a new SQLite file; writers go on meanwhile.

    Raises:
        CatalogError: If the catalog can't be read or the file can't be written.
    """
    original = sqlite_file(url)
    try:
        if original is not None:
            with (
                contextlib.closing(_source(original)) as source,
                contextlib.closing(sqlite3.connect(file)) as target,
            ):
                source.backup(target)
                target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            return
        upgrade(file)
        copied = make_engine(parse_url(file))
        try:
            # the source is seen as it was at the first look
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True, "stream_results": True}
            with engine.connect() as source_connection, writing_engine(copied).begin() as target_connection:
                _copy_rows(source_connection.execution_options(**options), target_connection)
            with copied.connect() as connection:
                connection.connection.driver_connection.execute("PRAGMA journal_mode = DELETE")  # type: ignore[union-attr]
        finally:
            copied.dispose()
    except (sqlite3.Error, OSError) as error:
        raise CatalogError(
            f"the catalog {for_people(url)} can't be copied: {error}", hint="check that the disk has room"
        ) from error


def _source(file: Path) -> sqlite3.Connection:
    return reading_connection(file, BUSY_TIMEOUT_SECONDS) if may_only_be_read(file) else sqlite3.connect(file)


def restore_from_file(url: str | Path, file: Path) -> None:
    """Fills the empty database at ``url`` from a copy; bound to no index yet. All of it goes in, or nothing.

    Raises:
        ConflictError: If the database holds anything.
        CatalogError: If the file is no undamaged catalog of this or an older revision, or the database fails.
    """
    parsed = parse_url(url)
    upgrade_copy(file)
    upgrade(url)
    require_empty(url)
    with (
        opened(parse_url(file)) as source,
        opened(parsed) as target,
        source.connect() as source_connection,
        writing_engine(target).begin() as connection,
    ):
        _copy_rows(source_connection, connection)
        connection.execute(delete(t.CatalogFact).where(t.CatalogFact.key == STORE_UUID))


def upgrade_copy(file: Path) -> None:
    """Checks a copy, and brings it to this software's schema. Its triggers are dropped: programs are not restored.

    Raises:
        CatalogError: If it is no undamaged catalog of this or an older revision.
    """
    try:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            _take_programs_out(connection)
            problems = [str(row[0]) for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            orphans = connection.execute("PRAGMA foreign_key_check")
            problems += [f"a row of {row[0]} refers to nothing" for row in orphans]
    except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeDecodeError) as error:
        problems = [str(error)]
    if problems:
        raise CatalogError(f"the copied catalog is damaged: {problems[0]}", hint="use another backup")
    upgrade(file)


def rename_collections(file: Path) -> dict[str, str]:
    """Gives every collection of a copy a new key, those that are dropped too: on a server the old ones are another's.

    Gives the new key of each old one.
    """
    named = [table for table in t.Base.metadata.sorted_tables if "collection_key" in table.columns]
    with contextlib.closing(sqlite3.connect(file)) as connection:
        known = connection.execute("SELECT collection_key FROM collections").fetchall()
        renamed = {key: uuid.uuid4().hex for (key,) in known}
        for table in named:
            statement = f"UPDATE {table.name} SET collection_key = ? WHERE collection_key = ?"  # noqa: S608 - our own name
            connection.executemany(statement, [(new, old) for old, new in renamed.items()])
        connection.commit()
    return renamed


def _take_programs_out(connection: sqlite3.Connection) -> None:
    """A view or a virtual table in a table's place computes what is read of it; tables themselves hold data."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_CELL_BYTES)
    schema = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    for kind, name, definition in schema:
        if kind == "view" or (definition or "").lstrip()[:14].upper() == "CREATE VIRTUAL":
            raise CatalogError(
                f"the copied catalog has a {kind} where tables belong: {shortened(name)}", hint="use another backup"
            )
        if kind == "table" and any(
            column[6] > 1 for column in connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,))
        ):
            raise CatalogError(
                f"the copied catalog has a computed column in {shortened(name)}", hint="use another backup"
            )
    for kind, name, _ in schema:
        if kind == "trigger":
            connection.execute(f"DROP TRIGGER {_quoted(name)}")
    connection.commit()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def require_empty(url: str | Path) -> None:
    """Lets a database pass that holds no catalog, or one without a single fact.

    Raises:
        ConflictError: If it holds anything.
    """
    parsed = parse_url(url)
    if is_missing(parsed):
        return
    with opened(parsed) as engine, engine.connect() as connection:
        there = set(inspect(connection).get_table_names())
        for table in _tables():
            if table.name in there and connection.execute(select(text("1")).select_from(table).limit(1)).first():
                raise ConflictError(
                    f"the catalog {for_people(parsed)} is not empty: {table.name} has rows",
                    hint="restore into a new workspace"
                    if sqlite_file(parsed)
                    else "restore into a new database, or into a schema of its own: CREATE SCHEMA name, and "
                    "?options=-csearch_path%3Dname behind the URL",
                )


def _tables() -> Iterator[Table]:
    """Every table of facts, each after those it refers to."""
    return (table for table in t.Base.metadata.sorted_tables if table.name not in _OWN_FACTS)


def _copy_rows(source: Connection, target: Connection) -> None:
    for name in _OWN_FACTS:
        target.execute(delete(t.Base.metadata.tables[name]))
    for table in chain((t.Base.metadata.tables[name] for name in _OWN_FACTS), _tables()):
        rows = source.execute(select(table).order_by(*table.primary_key.columns)).mappings()
        for part in rows.partitions(_ROWS):
            target.execute(insert(table), [dict(row) for row in part])
    _set_counters(target)


def _set_counters(target: Connection) -> None:
    """The next number of each table comes after all that were ever given, also where the row is gone since."""
    for table in _tables():
        column = table.autoincrement_column
        if column is None or not isinstance(column.autoincrement, bool):
            continue
        numbers: list[Any] = [target.scalar(select(func.max(column)))]
        if table.name == t.Reject.__tablename__:
            numbers.append(target.scalar(select(func.max(t.AuditReject.reject_id))))
        last = max((number for number in numbers if number is not None), default=None)
        if last is None:
            continue
        if target.dialect.name == "postgresql":
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            target.execute(select(func.setval(sequence, last)))
        elif table.dialect_options["sqlite"]["autoincrement"]:
            statement = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)")
            target.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
            target.execute(statement, {"name": table.name, "last": last})
