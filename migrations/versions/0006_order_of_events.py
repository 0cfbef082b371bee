"""Audits and runs in the order in which they were recorded, whatever the clock said.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from provenance.catalog.guards import unguarded

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("audits", "runs"):
        op.add_column(table, sa.Column("sequence", sa.BigInteger(), nullable=False, server_default="0"))
    connection = op.get_bind()
    runs = connection.execute(sa.text("SELECT run_id FROM runs ORDER BY started_at, run_id")).scalars()
    _number("runs", "run_id", list(runs))
    audited = connection.execute(sa.text("SELECT detail FROM events WHERE kind = 'audited' ORDER BY event_id"))
    recorded = {json.loads(detail)["audit_id"]: number for number, detail in enumerate(audited.scalars())}
    audits = connection.execute(sa.text("SELECT audit_id FROM audits ORDER BY finished_at, audit_id")).scalars()
    with unguarded("audits"):  # earlier software recorded no event of an audit: these come first, as the clock said
        _number("audits", "audit_id", sorted(audits, key=lambda audit: recorded.get(audit, -1)))


def _number(table: str, key: str, values: list[str]) -> None:
    statement = sa.text(f"UPDATE {table} SET sequence = :number WHERE {key} = :key")  # noqa: S608
    rows = [{"number": number, "key": value} for number, value in enumerate(values, start=1)]
    if rows:
        op.get_bind().execute(statement, rows)


def downgrade() -> None:
    raise NotImplementedError("this is never taken back: it would drop the history")
