"""The triggers that keep tables append-only, as migrations make them after the first."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def guard(tables: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Refuse UPDATE, DELETE, TRUNCATE and an INSERT over an existing key, within a migration.

    Args:
        tables: New tables that only grow, each with its unique keys: their columns.
    """
    from alembic import op

    guard_table = _on_sqlite if op.get_bind().dialect.name == "sqlite" else _on_postgresql
    for table, keys in tables.items():
        for statement in guard_table(table, keys):
            op.execute(statement)


@contextmanager
def unguarded(table: str) -> Iterator[None]:
    """Lets a migration fill a new column of a table that only grows."""
    from alembic import op
    from sqlalchemy import text

    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        op.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change")
        return
    named = {"name": f"{table}_no_update"}
    guard = connection.execute(text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = :name"), named)
    made = guard.scalar_one()
    op.execute(f"DROP TRIGGER {named['name']}")
    yield
    op.execute(made)


def _on_sqlite(table: str, keys: Sequence[Sequence[str]]) -> list[str]:
    refuse = f"BEGIN SELECT RAISE(ABORT, 'append-only: {table}'); END"
    taken = " OR ".join("(" + " AND ".join(f"{column} = NEW.{column}" for column in columns) + ")" for columns in keys)
    present = f"EXISTS (SELECT 1 FROM {table} WHERE {taken})"  # noqa: S608 (names of a migration)
    return [
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refuse}",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}",
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {present} {refuse}",
    ]


def _on_postgresql(table: str, _keys: Sequence[Sequence[str]]) -> list[str]:
    """By the function of the first schema, for replicating sessions too."""
    refuse = "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    return [
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} {refuse}",
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change",
    ]
