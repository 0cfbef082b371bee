"""The migrations against the tables, on both databases, and the triggers that keep the history append-only."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from provenance.catalog import Catalog, current_revision, head_revision, migrations_folder, upgrade
from provenance.catalog.engine import make_engine, parse_url
from provenance.catalog.tables import APPEND_ONLY, Base
from provenance.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = [
    "INSERT INTO datasets VALUES ('D', 'r', 'set', 'used', NULL, '', :at, NULL)",
    "INSERT INTO spaces VALUES ('S', 'b', 'w', 2, 1, '{}', :at)",
    "INSERT INTO images VALUES ('K', :at, NULL)",
    "INSERT INTO release_seals VALUES ('D', 1, 'd', 1, :at, NULL)",
    "INSERT INTO policies VALUES ('P', 'r', '{}', :at)",
    "INSERT INTO audits VALUES ('A', 'D', '', 'r', 'P', 'S', '', 1, 1, 1, 1, 1, '', '{}', '{}', '', :at, :at, 1, 1)",
    "INSERT INTO audit_datasets VALUES ('A', 'D', 'release', 'r', 'd', 1)",
    "INSERT INTO audit_rejects VALUES ('A', 1, 'empty')",
    "INSERT INTO verdicts VALUES (1, 'A', 'K', 'release', 'used', 1, 1, 1, 1, 1, 1, 1, :no, 'v')",
    "INSERT INTO neighbors VALUES (1, 'used', 1, 'K', 1)",
    "INSERT INTO events VALUES (1, :at, 'added', 'K', 'D', NULL, '{}')",
    "INSERT INTO audit_parts VALUES ('A', 'copies', 'A')",
    "INSERT INTO copy_sources VALUES (1, 1, 'K', :no, 1, 1, NULL, NULL, '', NULL)",
    "INSERT INTO calibration_scores VALUES ('A', 'K', 1)",
    "INSERT INTO membership_figures VALUES ('A', 'K', 1, 'used', 1, 1, 1, 'established', 1, 1, 1)",
]
"""One row in every append-only table."""
SQLITE = pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize(
    "catalog_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
REFERRED_TO = ("policies", "audits", "verdicts")


@pytest.fixture
def engine(catalog_url: str) -> Iterator[Engine]:
    upgrade(catalog_url)
    made = make_engine(parse_url(catalog_url))
    with made.begin() as connection:
        for statement in ROWS:
            connection.execute(text(statement), {"at": "2026-01-01T00:00:00.000000+00:00", "no": False})
    yield made
    made.dispose()


def refused(engine: Engine, statement: str) -> str:
    with pytest.raises(DBAPIError) as error, engine.begin() as connection:
        connection.execute(text(statement))
    return str(error.value.orig)


def counted(connection: Connection, table: str) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_update_is_refused(engine: Engine) -> None:
    for table in APPEND_ONLY:
        column = inspect(engine).get_columns(table)[-1]["name"]
        assert f"append-only: {table}" in refused(engine, f"UPDATE {table} SET {column} = {column}")


def test_delete_is_refused(engine: Engine) -> None:
    for table in APPEND_ONLY:
        assert f"append-only: {table}" in refused(engine, f"DELETE FROM {table}")
        with engine.connect() as connection:
            assert counted(connection, table) == 1


@POSTGRESQL
def test_truncate_is_refused(engine: Engine) -> None:
    for table in APPEND_ONLY:
        statement = f"TRUNCATE {table}" + (" CASCADE" if table in REFERRED_TO else "")
        assert "append-only: " in refused(engine, statement)
        with engine.connect() as connection:
            assert counted(connection, table) == 1


def test_writing_over_a_row_is_refused(engine: Engine) -> None:
    for table in APPEND_ONLY:
        keys = ", ".join(inspect(engine).get_pk_constraint(table)["constrained_columns"])
        column = inspect(engine).get_columns(table)[-1]["name"]
        upsert = f"ON CONFLICT ({keys}) DO UPDATE SET {column} = EXCLUDED.{column}"
        # SQLite's parser needs the WHERE to tell the upsert from a join
        assert f"append-only: {table}" in refused(
            engine, f"INSERT INTO {table} SELECT * FROM {table} WHERE true {upsert}"
        )
        if engine.dialect.name == "sqlite":
            statement = f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"
            assert f"append-only: {table}" in refused(engine, statement)


@SQLITE
def test_replace_is_refused_without_recursive_triggers(engine: Engine) -> None:
    stranger = sqlite3.connect(str(engine.url.database))
    try:
        assert stranger.execute("PRAGMA recursive_triggers").fetchone() == (0,)
        for table in APPEND_ONLY:
            with pytest.raises(sqlite3.IntegrityError, match=f"append-only: {table}"):
                stranger.execute(f"REPLACE INTO {table} SELECT * FROM {table}")
    finally:
        stranger.close()


@SQLITE
def test_verdict_of_an_image_is_not_written_over_under_another_number(engine: Engine) -> None:
    columns = ", ".join(column["name"] for column in inspect(engine).get_columns("verdicts")[1:])
    statement = f"REPLACE INTO verdicts SELECT 2, {columns} FROM verdicts"
    assert "append-only: verdicts" in refused(engine, statement)


@POSTGRESQL
def test_replicating_sessions_are_held_too(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        with pytest.raises(DBAPIError, match="append-only: events"):
            connection.execute(text("DELETE FROM events"))


def test_other_tables_are_not_guarded(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE datasets SET modality = 'CT'"))


def test_migrated_schema_is_the_metadata(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_alembic_check_passes(catalog_url: str) -> None:
    upgrade(catalog_url)
    made = make_engine(parse_url(catalog_url))
    with made.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations_folder()))
        command.check(config)
    made.dispose()


def test_partial_indexes_keep_their_conditions(engine: Engine) -> None:
    """What alembic does not compare: a removed dataset frees its name."""
    again = "INSERT INTO datasets VALUES ('{}', 'r', 'set', 'used', NULL, '', :at, {})"
    at = {"at": "2026-01-01T00:00:00.000000+00:00"}
    with engine.begin() as connection:
        connection.execute(text(again.format("E", ":at")), at)
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(text(again.format("F", "NULL")), at)


@pytest.mark.parametrize(
    "values", ["'set', NULL, NULL", "'release', NULL, NULL", "'release', 'used', NULL", "'heap', 'used', NULL"]
)
def test_a_dataset_is_a_set_or_a_release(engine: Engine, values: str) -> None:
    assert refused(engine, f"INSERT INTO datasets VALUES ('X', 'x', {values}, '', '2026-01-01', NULL)")


def test_revisions_are_a_line_numbered_by_file(catalog_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [head_revision()]
    for revision in script.walk_revisions():
        assert revision.path.rsplit("/", 1)[-1].startswith(f"{revision.revision}_")


def test_upgrade_tells_before_and_after(catalog_url: str) -> None:
    assert current_revision(catalog_url) is None
    assert upgrade(catalog_url) == (None, head_revision())
    assert upgrade(catalog_url) == (head_revision(), head_revision())
    assert current_revision(catalog_url) == head_revision()


def test_a_second_upgrade_keeps_the_catalog_and_its_key(catalog_url: str) -> None:
    upgrade(catalog_url)
    with Catalog.open(catalog_url) as catalog:
        first = (catalog.catalog_uuid, catalog.pseudonym("patient 1"))
    upgrade(catalog_url)
    with Catalog.open(catalog_url, create=True) as catalog:
        assert (catalog.catalog_uuid, catalog.pseudonym("patient 1")) == first


def test_an_upgrade_that_fails_leaves_nothing(catalog_url: str) -> None:
    """A table of somebody else's is in the way of the last but a few: the transaction takes all back."""
    made = make_engine(parse_url(catalog_url))
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE verdicts (x INTEGER)"))
    with pytest.raises(CatalogError, match="verdicts"):
        upgrade(catalog_url)
    assert inspect(made).get_table_names() == ["verdicts"]
    made.dispose()


def set_revision(url: str, revision: str) -> None:
    made = make_engine(parse_url(url))
    with made.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
    made.dispose()


@pytest.mark.parametrize("create", [False, True])
def test_older_catalog_is_not_opened_and_not_changed(catalog_url: str, create: bool) -> None:
    upgrade(catalog_url)
    set_revision(catalog_url, "0000")
    with pytest.raises(CatalogError, match=f"at revision 0000, this software needs {head_revision()}") as error:
        Catalog.open(catalog_url, create=create)
    assert error.value.hint == "run `provenance db upgrade`"
    assert current_revision(catalog_url) == "0000"


def test_newer_catalog_is_not_opened_and_not_upgraded(catalog_url: str) -> None:
    upgrade(catalog_url)
    set_revision(catalog_url, "9999")
    for attempt in (Catalog.open, upgrade):
        with pytest.raises(CatalogError, match="newer software") as error:
            attempt(catalog_url)
        assert error.value.hint == "upgrade provenance-audit"


def test_database_without_a_catalog(catalog_url: str) -> None:
    with pytest.raises(CatalogError, match="there is no catalog") as error:
        Catalog.open(catalog_url)
    assert error.value.hint == "run `provenance init`"
    assert error.value.exit_code == 6
