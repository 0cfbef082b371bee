"""What stands beside the label of a real image: best guess, its group's answer, other p- and q-values.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from provenance.catalog.guards import guard

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "membership_figures",
        sa.Column("audit_id", TEXT, nullable=False),
        sa.Column("image_key", TEXT, nullable=False),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("best_guess", TEXT, nullable=True),
        sa.Column("group_score", sa.Double(), nullable=True),
        sa.Column("group_p_value", sa.Double(), nullable=True),
        sa.Column("group_q_value", sa.Double(), nullable=True),
        sa.Column("group_label", TEXT, nullable=True),
        sa.Column("tail_p_value", sa.Double(), nullable=True),
        sa.Column("tail_q_value", sa.Double(), nullable=True),
        sa.Column("storey_q_value", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["audit_id"], ["audits.audit_id"], name="fk_membership_figures_audit_id"),
        sa.ForeignKeyConstraint(["image_key"], ["images.image_key"], name="fk_membership_figures_image_key"),
        sa.PrimaryKeyConstraint("audit_id", "image_key", name="pk_membership_figures"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_membership_figures_image_key", "membership_figures", ["image_key"])
    guard({"membership_figures": [("audit_id", "image_key")]})


def downgrade() -> None:
    raise NotImplementedError("this is never taken back: it would drop the history")
