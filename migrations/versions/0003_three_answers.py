"""Audits of several answers, sources of copies, and the scores that calibrated a verdict; what is there stays as it is.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from provenance.catalog.guards import guard

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

APPEND_ONLY: dict[str, list[tuple[str, ...]]] = {
    "audit_parts": [("audit_id", "answer"), ("part_id",)],
    "copy_sources": [("verdict_id", "rank")],
    "calibration_scores": [("audit_id", "image_key")],
}
"""The new tables that only grow, with their unique keys."""


def upgrade() -> None:
    op.create_table(
        "audit_parts",
        sa.Column("audit_id", TEXT, nullable=False),
        sa.Column("answer", TEXT, nullable=False),
        sa.Column("part_id", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["audit_id"], ["audits.audit_id"], name="fk_audit_parts_audit_id"),
        sa.ForeignKeyConstraint(["part_id"], ["audits.audit_id"], name="fk_audit_parts_part_id"),
        sa.PrimaryKeyConstraint("audit_id", "answer", name="pk_audit_parts"),
        sa.UniqueConstraint("part_id", name="uq_audit_parts_part_id"),
    )
    op.create_table(
        "copy_sources",
        sa.Column("verdict_id", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("image_key", TEXT, nullable=False),
        sa.Column("part", sa.Boolean(), nullable=False),
        sa.Column("agreement", sa.Double(), nullable=True),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("box", TEXT, nullable=True),
        sa.Column("source_box", TEXT, nullable=True),
        sa.Column("transformation", TEXT, nullable=False),
        sa.Column("established_by", TEXT, nullable=True),
        sa.ForeignKeyConstraint(["image_key"], ["images.image_key"], name="fk_copy_sources_image_key"),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdicts.verdict_id"], name="fk_copy_sources_verdict_id"),
        sa.PrimaryKeyConstraint("verdict_id", "rank", name="pk_copy_sources"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_copy_sources_image_key", "copy_sources", ["image_key"])
    op.create_table(
        "calibration_scores",
        sa.Column("audit_id", TEXT, nullable=False),
        sa.Column("image_key", TEXT, nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["audit_id"], ["audits.audit_id"], name="fk_calibration_scores_audit_id"),
        sa.ForeignKeyConstraint(["image_key"], ["images.image_key"], name="fk_calibration_scores_image_key"),
        sa.PrimaryKeyConstraint("audit_id", "image_key", name="pk_calibration_scores"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_calibration_scores_image_key", "calibration_scores", ["image_key"])
    guard(APPEND_ONLY)


def downgrade() -> None:
    raise NotImplementedError("this is never taken back: it would drop the history")
