"""Documents: made from the rooms' values, written as they were before there were types, and their schemas on file."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from provenance.cli.main import app
from provenance.documents.document import Counts, Document, Seconds, at
from provenance.documents.registry import DOCUMENTS, schema_file, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


@dataclass(frozen=True)
class Inner:
    word: str


@dataclass(frozen=True)
class Outer:
    inner: Inner
    counts: MappingProxyType[str, int]
    found_at: datetime
    seconds: float


class Shape(Document):
    name: str = at("inner", "word")
    counts: Counts
    found_at: datetime
    seconds: Seconds
    file: Path | None
    note: str = ""


VALUE = Outer(
    Inner("a"), MappingProxyType({"read": 2}), datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=1))), 1 / 3
)
WRITTEN = {"name": "a", "counts": {"read": 2}, "found_at": "2026-01-02T02:00:00+00:00", "seconds": 0.333, "file": None}


def test_a_document_reads_attributes_paths_and_further_facts_and_keeps_their_order() -> None:
    written = Shape.of(VALUE, file=None).to_json()
    assert written == WRITTEN
    assert list(written) == list(WRITTEN)


def test_a_field_with_a_default_is_there_where_it_was_given() -> None:
    assert Shape.of(VALUE, file=Path("x"), note="").to_json() == WRITTEN | {"file": "x", "note": ""}


def test_a_fact_that_is_missing_or_wrong_makes_no_document() -> None:
    with pytest.raises(ValidationError, match="file"):
        Shape.of(VALUE)
    with pytest.raises(ValidationError, match="counts"):
        Shape.of(VALUE, file=None, counts={"read": "many"})


def commands_with_json(group: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[str]:
    for command in group.registered_commands:
        assert command.callback is not None
        if "json" in inspect.signature(command.callback).parameters:
            yield " ".join((*path, command.name or command.callback.__name__.replace("_", "-")))
    for child in group.registered_groups:
        assert child.typer_instance is not None
        yield from commands_with_json(child.typer_instance, (*path, str(child.name)))


def test_every_command_with_json_has_a_document() -> None:
    assert set(commands_with_json(app)) == {command.partition(" --")[0] for command in DOCUMENTS}


def test_the_schemas_on_file_are_those_of_the_code() -> None:
    """``python -m provenance.documents docs/reference`` writes them."""
    assert {file.name for file in REFERENCE.glob("*.json")} == {schema_file(command) for command in DOCUMENTS}
    for command in DOCUMENTS:
        assert json.loads((REFERENCE / schema_file(command)).read_text(encoding="utf-8")) == schema_of(command), command


def test_a_schema_knows_every_key_and_says_what_a_thing_is() -> None:
    schema = schema_of("show")
    assert schema["required"] == list(schema["properties"])
    assert schema["additionalProperties"] is False
    assert schema["properties"]["first_seen_at"] == {"format": "date-time", "type": "string"}
    assert "description" in schema["$defs"]["Occurrence"]


def test_the_command_writes_the_files_that_are_on_record_into_a_folder_that_it_makes(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    subprocess.run([sys.executable, "-m", "provenance.documents", str(folder)], check=True, timeout=120)
    written, kept = ({file.name: file.read_bytes() for file in place.iterdir()} for place in (folder, REFERENCE))
    assert written == kept
