"""The schema's revisions. Revisions are numbered (0001, 0002, ...) and form one line, so they compare by number."""

from __future__ import annotations

import secrets
import uuid
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, inspect, select, text

from provenance.catalog.engine import (
    for_people,
    hold,
    is_missing,
    let_work,
    opened,
    parse_url,
    sqlite_file,
    writing_engine,
)
from provenance.catalog.tables import CatalogFact
from provenance.errors import CatalogError

CATALOG_UUID = "catalog_uuid"
PSEUDONYM_KEY = "pseudonym_key"
STORE_UUID = "store_uuid"


def migrations_folder() -> Path:
    """Where the migrations are: inside the installed package, else at the root of the source tree.

    Raises:
        CatalogError: If they are in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise CatalogError("the migrations are missing from this installation", hint="install provenance-audit again")


def head_revision() -> str:
    """The newest revision that this software knows."""
    return max(path.name[:4] for path in (migrations_folder() / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def current_revision(url: str | Path) -> str | None:
    """The revision of the database at ``url`` (see ``parse_url``); None where it has no catalog.

    Raises:
        CatalogError: If the database can't be reached.
    """
    parsed = parse_url(url)
    if is_missing(parsed):
        return None
    with opened(parsed) as engine, engine.connect() as connection:
        return revision_of(connection)


def revision_of(connection: Connection) -> str | None:
    """The revision that a database says it has; None where it has no catalog."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)


def upgrade(url: str | Path) -> tuple[str | None, str]:
    """Brings the database at ``url`` to the newest revision; an empty one gets its tables.

    All in one transaction: it is there wholly or not at all. A second process waits for the first.

    Returns:
        The revision before and after.

    Raises:
        CatalogError: If the database can't be reached or was made by newer software.
    """
    parsed = parse_url(url)
    try:
        with opened(parsed) as engine:
            if file := sqlite_file(parsed):
                file.parent.mkdir(parents=True, exist_ok=True)
            return upgrade_engine(engine)
    except OSError as error:
        raise CatalogError(
            f"the catalog {for_people(parsed)} can't be made: {error.strerror}", hint="check the folder's permissions"
        ) from error


def upgrade_engine(engine: Engine) -> tuple[str | None, str]:
    """``upgrade`` over an engine at hand; errors of the database pass through untranslated."""
    from alembic import command
    from alembic.config import Config

    with writing_engine(engine).begin() as connection:
        hold(connection, alone=True)
        let_work(connection)
        before = revision_of(connection)
        refuse_newer(before, for_people(engine.url))
        if before != head_revision():
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
            command.upgrade(config, "head")
        _name_catalog(connection)
        return before, head_revision()


def refuse_newer(revision: str | None, place: str) -> None:
    """Lets only revisions pass that this software knows.

    Raises:
        CatalogError: If newer software made the database.
    """
    if revision is not None and revision > head_revision():
        raise CatalogError(
            f"the catalog {place} was made by newer software (revision {revision}, this one knows {head_revision()})",
            hint="upgrade provenance-audit",
        )


def require_head(revision: str | None, place: str) -> None:
    """Lets only the newest revision pass.

    Raises:
        CatalogError: If the database has no catalog, an older one, or one made by newer software.
    """
    if revision is None:
        raise CatalogError(f"there is no catalog in {place}", hint="run `provenance init`")
    refuse_newer(revision, place)
    if revision != head_revision():
        raise CatalogError(
            f"the catalog {place} is at revision {revision}, this software needs {head_revision()}",
            hint="run `provenance db upgrade`",
        )


def _name_catalog(connection: Connection) -> None:
    """Gives a new catalog its uuid and the key of its pseudonyms, once."""
    known = set(connection.execute(select(CatalogFact.key)).scalars())
    for key, value in ((CATALOG_UUID, str(uuid.uuid4())), (PSEUDONYM_KEY, secrets.token_hex(32))):
        if key not in known:
            connection.execute(insert(CatalogFact), {"key": key, "value": value})
