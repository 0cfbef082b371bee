"""What each command prints as JSON is its document, whatever is on record: the schemas on file hold for all of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from provenance.cli.main import app
from provenance.documents.registry import schema_of
from tests.e2e.conftest import save_pictures

if TYPE_CHECKING:
    from pathlib import Path


def run(root: Path, *words: str) -> Any:
    done = CliRunner().invoke(app, ["--workspace", str(root), *words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def root(tmp_path: Path, tiny_backbone: Path) -> Path:
    save_pictures(tmp_path / "used", range(6))
    save_pictures(tmp_path / "generated", range(4, 9))
    (tmp_path / "used" / "broken.png").write_bytes(b"no image")
    (tmp_path / "layout").mkdir()
    (tmp_path / "used").rename(tmp_path / "layout" / "real_used")
    (tmp_path / "generated").rename(tmp_path / "layout" / "generated")
    run(tmp_path / "ws", "init", "--backbone-file", str(tiny_backbone))
    return tmp_path / "ws"


def test_documents_hold_over_the_life_of_a_workspace(root: Path, other_backbone: Path) -> None:
    layout, seen = root.parent / "layout", {}

    def document(command: str, *words: str, at: Path = root) -> Any:
        text = run(at, *command.split(), *words)
        documents = [json.loads(line) for line in text.splitlines()] if command == "watch" else [json.loads(text)]
        for one in documents:
            Draft202012Validator(schema_of(command)).validate(one)
        seen[command] = documents[0]
        return documents[0]

    document("ingest-layout", str(layout), "--prefix", "a", "--generator", "g")
    document("ingest", str(layout / "real_used"), "--set", "b", "--membership", "not-used", "--modality", "CT")
    save_pictures(layout / "incoming", range(20, 22))
    (layout / "incoming" / "broken.png").write_bytes(b"no image either")
    document(
        "watch", str(layout / "incoming"), "--set", "w", "--membership", "unknown", "--once", "--settle-seconds", "0"
    )
    assert seen["watch"]["counts"]["added"] == 2
    for kind, name in (("sets", "b"), ("releases", "a-generated")):
        document(f"{kind} list")
        assert document(f"{kind} show", name)["runs"]
    run(root, "audit", "a-generated", "--used", "a-used")
    image = "img_0005.png"
    assert document("show", image)["verdicts_about"]
    assert {entry["kind"] for entry in document("history", image)["history"]} >= {"added", "verdict"}
    assert document("neighbors", image, "--in", "a-used")["neighbors"]
    assert document("duplicates", "a-used", "b")["pairs"]
    document("embed", "w", "--backbone-file", str(other_backbone))
    document("reconcile")
    document("backup", str(root.parent / "b.zip"))
    document("restore", str(root.parent / "b.zip"), at=root.parent / "other")
    document("sets forget", image, "--yes")
    document("sets remove", "w", "--yes")
    document("releases remove", "a-generated", "--yes")
    layout.rename(layout.with_name("moved"))
    document("relocate", str(layout), str(layout.with_name("moved")))
    document("db current")
    document("db upgrade")


def test_documents_of_audits_hold_whatever_was_asked(root: Path) -> None:
    layout, place = root.parent / "layout", root.parent

    def document(command: str, *words: str) -> Any:
        found = json.loads(run(root, *command.split(), *words))
        Draft202012Validator(schema_of(command)).validate(found)
        return found

    run(root, "ingest-layout", str(layout), "--prefix", "a", "--generator", "g")
    save_pictures(place / "fresh", range(20, 32))
    run(root, "ingest", str(place / "fresh"), "--set", "b", "--membership", "not-used")
    both = ("a-generated", "--used", "a-used", "--not-used", "b", "--subject", "real")
    seed = document("audit", *both, "--rule", "mu-alpha-sigma")
    assert document("audit", *both, "--rule", "mu-alpha-sigma", "--alpha", "2", "--compare", seed["audit_id"])[
        "changes"
    ]
    assert document("audit", *both, "--score", "relative")["release_test"]
    assert len(document("audits list")) == 3
    assert document("sensitivity", seed["audit_id"], "--plants", "2", "--kinds", "exact")["rows"]
    assert document("audits show", seed["audit_id"])["sensitivities"]
    other = ("--against", document("audits list")[1]["audit_id"])
    assert document("evaluate", seed["audit_id"], *other, "--bootstrap", "100")["comparison"]
    assert document("sweep", seed["audit_id"], "--adaptive", "--folds", "2")["adaptive"]
    assert document("fit", seed["audit_id"], "-o", str(place / "policy.json"))["fitted"]
    assert document("report", seed["audit_id"], "-o", str(place / "report.html"))["cases"]
    assert "sets" not in document("export", seed["audit_id"], "--format", "csv", "-o", str(place / "v.csv"))
    exported = ("--format", "imageclef", "--set", "used", "-o", str(place / "run.csv"))
    assert document("export", seed["audit_id"], *exported)["sets"] == ["a-used"]
    (layout / "real_used" / "broken.png").unlink()
    assert document("check-run", str(place / "run.csv"), "--ids", str(layout / "real_used"))["valid"]
