"""The first schema: everything up to audits, with an append-only history.

Revision ID: 0001
Revises: none
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

APPEND_ONLY: dict[str, list[tuple[str, ...]]] = {
    "release_seals": [("dataset_id", "revision")],
    "policies": [("policy_id",)],
    "audits": [("audit_id",)],
    "audit_datasets": [("audit_id", "dataset_id", "role")],
    "audit_rejects": [("audit_id", "reject_id")],
    "verdicts": [("verdict_id",), ("audit_id", "image_key")],
    "neighbors": [("verdict_id", "role", "rank")],
    "events": [("event_id",)],
}
"""The tables that only grow, with their unique keys."""


def upgrade() -> None:

    _make_datasets()
    _make_images()
    _make_names()
    _make_points()
    _make_audits()
    _make_history()
    if op.get_bind().dialect.name == "sqlite":
        _guard_on_sqlite()
    else:
        _guard_on_postgresql()


def downgrade() -> None:
    raise NotImplementedError("the first schema is never taken back: it would drop the history")


def _only(where: str) -> dict[str, Any]:
    """An index of the rows that fulfil a condition, on either database."""
    return {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}


def _make_datasets() -> None:
    """What images are found in, and the runs that found them."""
    op.create_table(
        "catalog_facts",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_catalog_facts"),
    )
    op.create_table(
        "suppressions",
        sa.Column("suppressed_digest", TEXT, nullable=False),
        sa.Column("suppressed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("suppressed_digest", name="pk_suppressions"),
    )
    op.create_table(
        "generators",
        sa.Column("generator_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("architecture", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("generator_id", name="pk_generators"),
        sa.UniqueConstraint("name", "architecture", "version", name="uq_generators_name_architecture_version"),
    )
    op.create_table(
        "datasets",
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("membership", TEXT, nullable=True),
        sa.Column("generator_id", BIG_KEY, nullable=True),
        sa.Column("modality", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("removed_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "(kind = 'set' AND membership IS NOT NULL AND generator_id IS NULL)"
            " OR (kind = 'release' AND membership IS NULL AND generator_id IS NOT NULL)",
            name="ck_datasets_kind",
        ),
        sa.ForeignKeyConstraint(["generator_id"], ["generators.generator_id"], name="fk_datasets_generator_id"),
        sa.PrimaryKeyConstraint("dataset_id", name="pk_datasets"),
    )
    op.create_index("uq_datasets_live_name", "datasets", ["name"], unique=True, **_only("removed_at IS NULL"))
    op.create_table(
        "spaces",
        sa.Column("space_id", TEXT, nullable=False),
        sa.Column("backbone", TEXT, nullable=False),
        sa.Column("weights_sha256", TEXT, nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("preprocessing", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("space_id", name="pk_spaces"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("dataset_id", TEXT, nullable=True),
        sa.Column("space_id", TEXT, nullable=True),
        sa.Column("arguments", TEXT, nullable=False),
        sa.Column("software_version", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("counts", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.dataset_id"], name="fk_runs_dataset_id"),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.space_id"], name="fk_runs_space_id"),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
    )
    op.create_index("ix_runs_dataset_id", "runs", ["dataset_id"])
    op.create_table(
        "release_seals",
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("release_digest", TEXT, nullable=False),
        sa.Column("image_count", sa.Integer(), nullable=False),
        sa.Column("sealed_at", MOMENT, nullable=False),
        sa.Column("run_id", TEXT, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.dataset_id"], name="fk_release_seals_dataset_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_release_seals_run_id"),
        sa.PrimaryKeyConstraint("dataset_id", "revision", name="pk_release_seals"),
    )


def _make_images() -> None:
    """Images, and what can be erased of them."""
    op.create_table(
        "images",
        sa.Column("image_key", TEXT, nullable=False),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("forgotten_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("image_key", name="pk_images"),
    )
    op.create_index("ix_images_forgotten", "images", ["image_key"], **_only("forgotten_at IS NOT NULL"))
    op.create_table(
        "image_identities",
        sa.Column("image_key", TEXT, nullable=False),
        sa.Column("image_id", TEXT, nullable=False),
        sa.Column("pixel_digest", TEXT, nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("file_format", TEXT, nullable=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["image_key"], ["images.image_key"], name="fk_image_identities_image_key"),
        sa.PrimaryKeyConstraint("image_key", name="pk_image_identities"),
        sa.UniqueConstraint("image_id", name="uq_image_identities_image_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_image_identities_pixel_digest", "image_identities", ["pixel_digest"])
    op.create_table(
        "groups",
        sa.Column("group_key", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("group_key", name="pk_groups"),
    )
    op.create_table(
        "memberships",
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("image_key", TEXT, nullable=False),
        sa.Column("group_key", TEXT, nullable=True),
        sa.Column("added_at", MOMENT, nullable=False),
        sa.Column("run_id", TEXT, nullable=True),
        sa.Column("forgotten_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.dataset_id"], name="fk_memberships_dataset_id"),
        sa.ForeignKeyConstraint(["group_key"], ["groups.group_key"], name="fk_memberships_group_key"),
        sa.ForeignKeyConstraint(["image_key"], ["images.image_key"], name="fk_memberships_image_key"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_memberships_run_id"),
        sa.PrimaryKeyConstraint("dataset_id", "image_key", name="pk_memberships"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_memberships_group_key", "memberships", ["group_key"])
    op.create_index("ix_memberships_image_key", "memberships", ["image_key"])


def _make_names() -> None:
    """Where images and rejects were found."""
    op.create_table(
        "occurrences",
        sa.Column("occurrence_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("image_key", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("base_name", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("member", TEXT, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("modified_ns", sa.BigInteger(), nullable=False),
        sa.Column("changed_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", TEXT, nullable=False),
        sa.Column("found_at", MOMENT, nullable=False),
        sa.Column("run_id", TEXT, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.dataset_id"], name="fk_occurrences_dataset_id"),
        sa.ForeignKeyConstraint(["image_key"], ["images.image_key"], name="fk_occurrences_image_key"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_occurrences_run_id"),
        sa.PrimaryKeyConstraint("occurrence_id", name="pk_occurrences"),
        sa.UniqueConstraint(
            "dataset_id", "source", "member", "image_key", name="uq_occurrences_dataset_id_source_member_image_key"
        ),
    )
    op.create_index("ix_occurrences_dataset_id_occurrence_id", "occurrences", ["dataset_id", "occurrence_id"])
    op.create_index("ix_occurrences_base_name", "occurrences", ["base_name"])
    op.create_index("ix_occurrences_image_key", "occurrences", ["image_key"])
    op.create_table(
        "rejects",
        sa.Column("reject_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("member", TEXT, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("rejected_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.dataset_id"], name="fk_rejects_dataset_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_rejects_run_id"),
        sa.PrimaryKeyConstraint("reject_id", name="pk_rejects"),
        sa.UniqueConstraint(
            "dataset_id", "source", "member", "name", "reason", name="uq_rejects_dataset_id_source_member_name_reason"
        ),
        sqlite_autoincrement=True,
    )


def _make_points() -> None:
    """What the index holds."""
    op.create_table(
        "collections",
        sa.Column("collection_key", TEXT, nullable=False),
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("space_id", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("dropped_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.dataset_id"], name="fk_collections_dataset_id"),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.space_id"], name="fk_collections_space_id"),
        sa.PrimaryKeyConstraint("collection_key", name="pk_collections"),
    )
    op.create_index("ix_collections_space_id", "collections", ["space_id"])
    op.create_index(
        "uq_collections_live", "collections", ["dataset_id", "space_id"], unique=True, **_only("dropped_at IS NULL")
    )
    op.create_table(
        "points",
        sa.Column("collection_key", TEXT, nullable=False),
        sa.Column("image_key", TEXT, nullable=False),
        sa.Column("point_id", TEXT, nullable=False),
        sa.Column("vector_sha256", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["collection_key"], ["collections.collection_key"], name="fk_points_collection_key"),
        sa.ForeignKeyConstraint(["image_key"], ["images.image_key"], name="fk_points_image_key"),
        sa.PrimaryKeyConstraint("collection_key", "image_key", name="pk_points"),
        sa.UniqueConstraint("collection_key", "point_id", name="uq_points_collection_key_point_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_points_image_key", "points", ["image_key"])
    op.create_index("ix_points_unsettled", "points", ["collection_key", "state"], **_only("state <> 'indexed'"))


def _make_audits() -> None:
    """Audits, and what they were made of."""
    op.create_table(
        "policies",
        sa.Column("policy_id", TEXT, nullable=False),
        sa.Column("rule", TEXT, nullable=False),
        sa.Column("parameters", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("policy_id", name="pk_policies"),
    )
    op.create_table(
        "audits",
        sa.Column("audit_id", TEXT, nullable=False),
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("rule", TEXT, nullable=False),
        sa.Column("policy_id", TEXT, nullable=False),
        sa.Column("space_id", TEXT, nullable=False),
        sa.Column("release_digest", TEXT, nullable=False),
        sa.Column("mu", sa.Double(), nullable=True),
        sa.Column("sigma", sa.Double(), nullable=True),
        sa.Column("alpha", sa.Double(), nullable=True),
        sa.Column("population_count", sa.BigInteger(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("verdict_digest", TEXT, nullable=False),
        sa.Column("counts", TEXT, nullable=False),
        sa.Column("settings", TEXT, nullable=False),
        sa.Column("software_version", TEXT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=False),
        sa.Column("duration_seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.dataset_id"], name="fk_audits_dataset_id"),
        sa.ForeignKeyConstraint(["policy_id"], ["policies.policy_id"], name="fk_audits_policy_id"),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.space_id"], name="fk_audits_space_id"),
        sa.PrimaryKeyConstraint("audit_id", name="pk_audits"),
    )
    op.create_index("ix_audits_dataset_id", "audits", ["dataset_id"])
    op.create_table(
        "audit_datasets",
        sa.Column("audit_id", TEXT, nullable=False),
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("dataset_digest", TEXT, nullable=False),
        sa.Column("image_count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["audit_id"], ["audits.audit_id"], name="fk_audit_datasets_audit_id"),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.dataset_id"], name="fk_audit_datasets_dataset_id"),
        sa.PrimaryKeyConstraint("audit_id", "dataset_id", "role", name="pk_audit_datasets"),
    )
    op.create_index("ix_audit_datasets_dataset_id", "audit_datasets", ["dataset_id"])
    op.create_table(
        "audit_rejects",
        sa.Column("audit_id", TEXT, nullable=False),
        sa.Column("reject_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["audit_id"], ["audits.audit_id"], name="fk_audit_rejects_audit_id"),
        sa.PrimaryKeyConstraint("audit_id", "reject_id", name="pk_audit_rejects"),
    )


def _make_history() -> None:
    """Verdicts with their evidence, and everything that happened."""
    op.create_table(
        "verdicts",
        sa.Column("verdict_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("audit_id", TEXT, nullable=False),
        sa.Column("image_key", TEXT, nullable=False),
        sa.Column("subject_role", TEXT, nullable=False),
        sa.Column("label", TEXT, nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("s_used", sa.Double(), nullable=True),
        sa.Column("s_not_used", sa.Double(), nullable=True),
        sa.Column("s_against", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("p_value", sa.Double(), nullable=True),
        sa.Column("q_value", sa.Double(), nullable=True),
        sa.Column("near_threshold", sa.Boolean(), nullable=False),
        sa.Column("verdict_sha256", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["audit_id"], ["audits.audit_id"], name="fk_verdicts_audit_id"),
        sa.ForeignKeyConstraint(["image_key"], ["images.image_key"], name="fk_verdicts_image_key"),
        sa.PrimaryKeyConstraint("verdict_id", name="pk_verdicts"),
        sa.UniqueConstraint("audit_id", "image_key", name="uq_verdicts_audit_id_image_key"),
    )
    op.create_index("ix_verdicts_image_key", "verdicts", ["image_key"])
    op.create_table(
        "neighbors",
        sa.Column("verdict_id", sa.BigInteger(), nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("rank", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("image_key", TEXT, nullable=False),
        sa.Column("similarity", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["image_key"], ["images.image_key"], name="fk_neighbors_image_key"),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdicts.verdict_id"], name="fk_neighbors_verdict_id"),
        sa.PrimaryKeyConstraint("verdict_id", "role", "rank", name="pk_neighbors"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_neighbors_image_key", "neighbors", ["image_key"])
    op.create_table(
        "events",
        sa.Column("event_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("image_key", TEXT, nullable=True),
        sa.Column("dataset_id", TEXT, nullable=True),
        sa.Column("run_id", TEXT, nullable=True),
        sa.Column("detail", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.dataset_id"], name="fk_events_dataset_id"),
        sa.ForeignKeyConstraint(["image_key"], ["images.image_key"], name="fk_events_image_key"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_events_run_id"),
        sa.PrimaryKeyConstraint("event_id", name="pk_events"),
    )
    op.create_index("ix_events_dataset_id", "events", ["dataset_id"])
    op.create_index("ix_events_image_key", "events", ["image_key"])


def _guard_on_sqlite() -> None:
    """Triggers refuse UPDATE, DELETE and an INSERT over an existing key.

    The last also holds INSERT OR REPLACE from connections without recursive_triggers, whose DELETE fires no trigger.
    """
    for table, keys in APPEND_ONLY.items():
        refuse = f"BEGIN SELECT RAISE(ABORT, 'append-only: {table}'); END"
        taken = " OR ".join(
            "(" + " AND ".join(f"{column} = NEW.{column}" for column in columns) + ")" for columns in keys
        )
        op.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refuse}")
        op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}")
        present = f"EXISTS (SELECT 1 FROM {table} WHERE {taken})"  # noqa: S608 (names of this file)
        op.execute(f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {present} {refuse}")


def _guard_on_postgresql() -> None:
    """Triggers refuse UPDATE, DELETE and TRUNCATE, for replicating sessions too."""
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'append-only: %', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change")
