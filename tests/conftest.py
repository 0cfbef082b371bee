"""Fixtures that every kind of test shares."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, make_url, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

os.environ.pop("COLUMNS", None)  # where tests run side by side something sets it; lines are as wide as for pipes

POSTGRES_VARIABLE = "PROVENANCE_TEST_POSTGRES_URL"
DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A schema of its own on the PostgreSQL at PROVENANCE_TEST_POSTGRES_URL, dropped after the test."""
    given = os.environ.get(POSTGRES_VARIABLE)
    if not given:
        message = f"no PostgreSQL: {POSTGRES_VARIABLE} is not set (scripts/with-postgres sets it)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    schema = f"test_{uuid.uuid4().hex}"
    base = make_url(given).set(drivername="postgresql+psycopg")
    engine = create_engine(base)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    options = base.set(drivername="postgresql").update_query_dict({"options": f"-csearch_path={schema}"})
    yield options.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(params=DATABASES)
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that holds nothing yet: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))
