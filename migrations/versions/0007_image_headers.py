"""What is kept of the headers of medical images.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TEXTS = ("series_key", "decoder", "shown_in", "transfer_syntax", "sop_class", "modality")
NUMBERS = ("slice_position", "slice_thickness", "row_spacing", "column_spacing")


def upgrade() -> None:
    # Refers to the identity, not to the image: nothing of an erased image can stay behind.
    op.create_table(
        "image_headers",
        sa.Column("image_key", TEXT, nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in TEXTS),
        *(sa.Column(name, sa.Double(), nullable=True) for name in NUMBERS),
        sa.ForeignKeyConstraint(["image_key"], ["image_identities.image_key"], name="fk_image_headers_image_key"),
        sa.PrimaryKeyConstraint("image_key", name="pk_image_headers"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_image_headers_series_key", "image_headers", ["series_key"])


def downgrade() -> None:
    op.drop_table("image_headers")
