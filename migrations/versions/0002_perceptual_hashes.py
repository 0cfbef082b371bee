"""Perceptual hashes of images, kept so that sources are read for them once.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    # Refers to the identity, not to the image: no hash of an erased image can stay behind.
    op.create_table(
        "perceptual_hashes",
        sa.Column("image_key", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["image_key"], ["image_identities.image_key"], name="fk_perceptual_hashes_image_key"),
        sa.PrimaryKeyConstraint("image_key", "kind", name="pk_perceptual_hashes"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("perceptual_hashes")
