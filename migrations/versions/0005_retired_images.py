"""An image whose sources hold it no more can leave a set: it is retired, and what was said of it stays.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.Text() if op.get_bind().dialect.name == "sqlite" else sa.DateTime(timezone=True)
    op.add_column("memberships", sa.Column("retired_at", moment, nullable=True))


def downgrade() -> None:
    raise NotImplementedError("this is never taken back: it would drop the history")
