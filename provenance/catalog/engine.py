"""The way to the database: URLs, connections, transactions, and the one edge where its errors become ours."""

from __future__ import annotations

import glob
import math
import resource
import shutil
import sqlite3
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, func, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from provenance.catalog.reading import may_only_be_read, reading_connection
from provenance.catalog.tables import APPEND_ONLY, Audit, Base, Run
from provenance.errors import CatalogError
from provenance.logs import note, room

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BUSY_TIMEOUT_SECONDS = 30
ROOM_BYTES = 2**18
"""Less room than this, and what can't be written is a full disk: a page, its log and what SQLite keeps beside them."""
STATEMENT_TIMEOUT_SECONDS = 1800
_LONG_WAIT_SECONDS = 0.5
_log = room(__name__)
CHUNK = 5000
"""Values in one IN list: far below SQLite's limit on variables."""

_WRITING = "provenance_writing"
_READ_ONLY = "provenance_read_only"
_POSTGRES = ("postgres", "postgresql", "postgresql+psycopg")
_ADVISORY_LOCK = 0x70726F76  # any fixed number; one catalog per schema is the usual case
_SECRET_KEYS = ("password", "sslpassword", "passfile")

# What the databases say of a cause that a person can do something about: words of theirs, message, hint.
_CAUSES = (
    (
        ("no answer within", "no answer from"),
        "does not answer",
        "the server hangs, or its answers are lost: see its log; `?connect_timeout=` in the URL sets the limit",
    ),
    (
        ("disk is full", "No space left on device", "could not extend file"),
        "can't be written to",
        "its disk is full: make room and run the command again; what was acknowledged is kept",
    ),
    (
        ("is not a database", "malformed", "disk I/O error"),
        "is damaged or can't be read",
        "keep the file, check the disk, and restore a backup into a new workspace",
    ),
    (
        ("readonly database", "unable to open database file", "read-only transaction", "permission denied for"),
        "can't be opened or written to",
        "check the permissions of the file and of its folder",
    ),
)

T = TypeVar("T")


def now() -> datetime:
    """The current moment, UTC."""
    return datetime.now(UTC)


def chunked(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """``values`` in pieces of at most ``size``."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def rows_by(session: Session, query: Any, column: Any, values: Sequence[Any]) -> Iterator[Any]:
    """Rows of a query whose column is among many values, asked for in pieces."""
    for chunk in chunked(values):
        yield from session.execute(query.where(column.in_(chunk)))


def parse_url(place: str | Path) -> URL:
    """Where a catalog is: a path is the file of a SQLite catalog, whatever its name; text is a database URL.

    PostgreSQL is reached through psycopg 3.

    Raises:
        CatalogError: If it is no URL, or of another database. The message hides it: it may hold a password.
    """
    if isinstance(place, Path):
        return URL.create("sqlite", database=str(place.absolute()))
    try:
        parsed = make_url(place)
    except ArgumentError as error:
        raise CatalogError(
            "the catalog's URL is not a database URL",
            hint="use sqlite:///FILE or postgresql://USER@HOST/DATABASE",
        ) from error
    if parsed.drivername in _POSTGRES:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        raise CatalogError(
            f"the catalog can't be kept in {parsed.drivername!r}",
            hint="use sqlite:///FILE or postgresql://USER@HOST/DATABASE",
        )
    if not parsed.database or parsed.database == ":memory:":
        raise CatalogError("a catalog in memory would be lost", hint="use sqlite:///FILE")
    if "?" in place:
        raise CatalogError(
            "the catalog's URL has a ?, and what follows it would be lost", hint="use sqlite:///FILE, %3F for a ? in it"
        )
    return parsed


def for_people(url: URL) -> str:
    """The URL with every secret in it hidden; a file's path as it is."""
    if file := sqlite_file(url):
        return f"sqlite:///{file}"
    hidden = {key: "***" for key in url.query if key.lower() in _SECRET_KEYS}
    return url.set(drivername=url.get_backend_name()).update_query_dict(hidden).render_as_string(hide_password=True)


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite catalog; None for PostgreSQL."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def make_engine(url: URL) -> Engine:
    """An engine whose SQLite connections are safe (WAL, full sync, foreign keys) and write one at a time.

    Raises:
        CatalogError: If the database's driver is not installed.
    """
    try:
        file = sqlite_file(url)
        if file is not None and may_only_be_read(file):
            reader = create_engine(
                url, creator=partial(reading_connection, file, BUSY_TIMEOUT_SECONDS), poolclass=NullPool
            )
            event.listen(reader, "connect", _prepare_reading)
            event.listen(reader, "begin", _begin_sqlite)
            return reader.execution_options(**{_READ_ONLY: True})
        if file is not None:
            engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        return _server_engine(url)
    except (ImportError, NoSuchModuleError) as error:
        raise CatalogError(
            "PostgreSQL's driver is not installed", hint="pip install 'provenance-audit[postgres]'"
        ) from error


def _server_engine(url: URL) -> Engine:
    """A server that accepts connections and never answers, or falls silent later, is no reason to wait for ever."""
    from provenance.catalog import silence

    place = for_people(url)
    engine = create_engine(url, pool_pre_ping=True)
    event.listen(
        engine, "do_connect", lambda _dialect, _record, given, settings: silence.connect(place, given, settings)
    )
    event.listen(engine, "connect", _limit_statements)
    return engine


def _limit_statements(connection: Any, _record: object) -> None:
    """Unless role, database or URL have a limit of their own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, false) WHERE current_setting('statement_timeout') = '0'",
            (f"{STATEMENT_TIMEOUT_SECONDS}s",),
        )
        cursor.execute("SELECT setting::float / 1000 FROM pg_settings WHERE name = 'statement_timeout'")
        connection.statement_seconds = cursor.fetchone()[0]
    connection.commit()


def let_work(connection: Connection) -> None:
    """From now on a PostgreSQL's statements on this connection may take as long as they are at work."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET statement_timeout = 0")
        driver: Any = connection.connection.dbapi_connection  # also of one that has left the pool
        driver.statement_seconds = math.inf


@contextmanager
def opened(url: URL) -> Iterator[Engine]:
    """The engine of ``make_engine``, with its errors translated, as long as it is needed."""
    engine = make_engine(url)
    try:
        with translated(url):
            yield engine
    finally:
        engine.dispose()


def is_missing(url: URL) -> bool:
    """Whether it is the URL of a file that is not there."""
    file = sqlite_file(url)
    return file is not None and not file.exists()


def writing_engine(engine: Engine) -> Engine:
    """The same connections, for transactions that write."""
    return engine.execution_options(**{_WRITING: True})


def is_read_only(engine: Engine) -> bool:
    """Whether it is an engine that only reads."""
    return bool(engine.get_execution_options().get(_READ_ONLY))


def require_writable(engine: Engine) -> None:
    """Lets a catalog pass that can be written to.

    Raises:
        CatalogError: If it can only be read.
    """
    if is_read_only(engine):
        raise CatalogError(
            f"the workspace is read-only: {sqlite_file(engine.url)} or its folder can't be written to",
            hint="commands that only read go on; for others, run it as a user who may write there, or on a copy",
        )


def _prepare_reading(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only = ON").close()


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not by the driver
    _write_ahead(connection)
    for pragma in (
        "synchronous = FULL",
        "foreign_keys = ON",
        "cache_size = -65536",  # KiB: evidence is indexed by random keys, which 2 MiB of pages would not hold
        "secure_delete = ON",  # what is forgotten is overwritten, too
        "recursive_triggers = ON",  # INSERT OR REPLACE then fires the DELETE triggers of append-only tables
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switches a new file to a write-ahead log. SQLite does not wait there while another process does the same."""
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

    busy = retry_if_exception(lambda error: getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY)
    for attempt in Retrying(
        retry=busy, stop=stop_after_delay(BUSY_TIMEOUT_SECONDS), wait=wait_random(0.01, 0.05), reraise=True
    ):
        with attempt:
            connection.execute("PRAGMA journal_mode = WAL").close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that comes to write after another has written can't wait: it fails at once.
    writing = connection.get_execution_options().get(_WRITING, False)
    if writing:
        require_writable(connection.engine)
    with _waited_for():
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """The room's edge: errors of the database leave as CatalogError, without its password.

    Raises:
        CatalogError: For whatever SQLAlchemy or the driver raised.
    """
    try:
        yield
    except SQLAlchemyError as error:
        message, hint = _explain(error, for_people(url), also=_what_else(error, url))
        if url.password:
            message = message.replace(str(url.password), "***")
        raise CatalogError(message, hint=hint) from error
    except (OverflowError, UnicodeEncodeError) as error:  # drivers raise these bare
        raise CatalogError(f"the catalog {for_people(url)} could not take a value: {error}") from error


def _what_else(error: SQLAlchemyError, url: URL) -> str:
    """That the disk is full, where SQLite says no more than that it could not read or write the file."""
    file = sqlite_file(url)
    return _CAUSES[1][0][0] if file is not None and "disk I/O error" in str(error) and _has_no_room(file) else ""


def _has_no_room(file: Path) -> bool:
    try:
        free = shutil.disk_usage(file.parent).free
        largest = max(each.stat().st_size for each in file.parent.glob(f"{glob.escape(file.name)}*"))
    except (OSError, ValueError):
        return False
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return free < ROOM_BYTES or (limit != resource.RLIM_INFINITY and largest + ROOM_BYTES > limit)


def _explain(error: SQLAlchemyError, place: str, *, also: str) -> tuple[str, str]:
    cause = str(error.orig if isinstance(error, StatementError) and error.orig is not None else error).strip()
    first = cause.splitlines()[0] if cause else type(error).__name__
    for table in APPEND_ONLY:
        if f"append-only: {table}" in cause:
            return f"append-only: {table}", "history is never changed; record a new audit instead"
    if "database is locked" in cause:
        return f"the catalog {place} is busy: another process writes to it", "try again when it has finished"
    if "no such table" in cause or "UndefinedTable" in type(getattr(error, "orig", None)).__name__:
        return f"the catalog {place} is not migrated: {first}", "run `provenance db upgrade`"
    for words, message, hint in _CAUSES:
        if any(word in cause or word == also for word in words):
            return f"the catalog {place} {message}: {first}", hint
    if isinstance(error, IntegrityError):
        return f"the catalog {place} refused the change: {first}", ""
    if isinstance(error, (OperationalError, InterfaceError)):
        return f"the catalog {place} can't be used: {first}", "check that the database is there and lets you in"
    if isinstance(error, DBAPIError):
        return f"the catalog {place} failed: {first}", ""
    return f"the catalog {place} could not take a value: {first}", ""


def upserting(session: Session, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of the session's database that can say what to do on a conflict."""
    core = cast("Table", table.__table__)  # rows go in by thousands: past the object mapper
    return sqlite.insert(core) if session.get_bind().dialect.name == "sqlite" else postgresql.insert(core)


def hold(connection: Connection | Session, *, alone: bool) -> None:
    """Keeps writers that must not meet apart until the transaction ends.

    SQLite has one writer at a time anyhow. On PostgreSQL writers of new facts go together, and one that takes facts
    away (forgetting, removing, moving, migrating) goes ``alone``: nothing is added to what it is taking away.
    """
    bind = connection.get_bind() if isinstance(connection, Session) else connection
    if bind.dialect.name == "postgresql":
        function = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        with _waited_for():
            connection.execute(text(f"SELECT {function}(:key)"), {"key": _ADVISORY_LOCK})


@contextmanager
def _waited_for() -> Iterator[None]:
    """Says how long another writer was waited for, where that was long."""
    started = time.monotonic()
    yield
    seconds = round(time.monotonic() - started, 3)
    if seconds >= _LONG_WAIT_SECONDS:
        note(_log, "waited for another writer", seconds=seconds)


def next_of(session: Session, table: type[Run | Audit]) -> int:
    """The place of a new row in the order of a table's rows."""
    return int(session.scalar(select(func.coalesce(func.max(table.sequence), 0) + 1)) or 1)


def affected(result: Any) -> int:
    """How many rows a statement changed."""
    return int(result.rowcount)
