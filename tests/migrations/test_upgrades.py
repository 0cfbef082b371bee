"""Every older schema, with rows in it, becomes the newest one and loses nothing."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from provenance.catalog import Catalog, head_revision, migrations_folder, upgrade
from provenance.catalog.engine import make_engine, parse_url

AT = "2026-01-01T00:00:00.000000+00:00"
ROWS_OF_0001 = [
    "INSERT INTO catalog_facts VALUES ('catalog_uuid', 'u')",
    "INSERT INTO datasets VALUES ('D', 'r', 'set', 'used', NULL, '', :at, NULL)",
    "INSERT INTO images VALUES ('K', :at, NULL)",
    "INSERT INTO memberships VALUES ('D', 'K', NULL, :at, NULL, NULL)",
    "INSERT INTO image_identities VALUES ('K', 'sha256:aa', 'sha256:bb', 2, 3, 'PNG', 'L', 10)",
    "INSERT INTO events VALUES (1, :at, 'added', 'K', 'D', NULL, '{}')",
]


def make_catalog(url: str, revision: str, rows: list[str]) -> None:
    engine = make_engine(parse_url(url))
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations_folder()))
        command.upgrade(config, revision)
        for row in rows:
            connection.execute(text(row), {"at": AT})
    engine.dispose()


def test_from_the_first_schema(catalog_url: str) -> None:
    make_catalog(catalog_url, "0001", ROWS_OF_0001)
    assert upgrade(catalog_url) == ("0001", head_revision())
    with Catalog.open(catalog_url) as catalog:
        assert catalog.catalog_uuid == "u"
        assert catalog.image("K").image_id == "sha256:aa"
        assert catalog.perceptual_hashes("p", ["K"]) == {}
        assert catalog.member_count("D") == 1  # nothing is retired
        catalog.record_perceptual_hashes("p", {"K": "00ff"})
        assert catalog.perceptual_hashes("p", ["K"]) == {"K": "00ff"}
        with pytest.raises(DBAPIError, match="append-only: events"), catalog._engine.begin() as connection:
            connection.execute(text("DELETE FROM events"))
