"""Catalog and index that are locked, gone, foreign, damaged or closed: a clear error, and the next run goes on."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from kept import copied, faults_in, kept_in, rows
from refusals import CATALOG, CONFLICT, STORE, refused
from samples import save_cohort

from provenance.index import open_index

if TYPE_CHECKING:
    from pathlib import Path

    from children import Children

USED = ("--set", "used", "--membership", "used")
OTHER = ("--set", "other", "--membership", "not-used")


@pytest.fixture(scope="module")
def filled_once(children: Children, empty_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    cohort = save_cohort(folder / "cohort")
    workspace = copied(empty_workspace, folder / "workspace")
    release = ("--release", "release", "--generator", "toy")
    for words in ((cohort / "used", *USED), (cohort / "generated", *release)):
        assert children.run("-w", workspace, "ingest", *words).code == 0
    return workspace


@pytest.fixture
def filled(filled_once: Path, tmp_path: Path) -> Path:
    """A workspace of its own with a set and a release."""
    return copied(filled_once, tmp_path / "workspace")


def test_locked_index_names_its_holder_and_nothing_is_touched(children: Children, filled: Path, cohort: Path) -> None:
    before = kept_in(filled)
    briefly = {"PROVENANCE_LOCK_TIMEOUT_SECONDS": "0.1"}
    with open_index(f"local:{filled / 'index'}"):
        for words in (("ingest", cohort / "not_used", *OTHER), ("audit", "release", "--subject", "generated")):
            ended = children.run("-w", filled, *words, environment=briefly)
            refused(ended, STORE, "held by process", str(os.getpid()))
    assert kept_in(filled) == before
    assert children.run("-w", filled, "ingest", cohort / "not_used", *OTHER).code == 0
    assert children.run("-w", filled, "audit", "release", "--subject", "generated").code == 0
    assert faults_in(filled) == []


def test_audited_again_while_the_index_is_locked(children: Children, filled: Path) -> None:
    """The vectors were copied by the first audit; the second one needs no index."""
    first = children.run("-w", filled, "audit", "release", "--subject", "generated", "--json").json()
    with open_index(f"local:{filled / 'index'}"):
        again = children.run("-w", filled, "audit", "release", "--subject", "generated", "--json")
    assert again.json()["verdict_digest"] == first["verdict_digest"]


def test_deleted_index_is_noticed_and_goes_on_where_it_is_put_back(
    children: Children, filled: Path, cohort: Path
) -> None:
    (filled / "index").rename(filled.parent / "away")
    for words in (("ingest", cohort / "not_used", *OTHER), ("audit", "release", "--subject", "generated")):
        refused(children.run("-w", filled, *words), CONFLICT, "index", "reconcile")
    shutil.rmtree(filled / "index")
    (filled.parent / "away").rename(filled / "index")
    assert children.run("-w", filled, "ingest", cohort / "not_used", *OTHER).code == 0
    assert faults_in(filled) == []


def test_lost_index_is_made_again_by_reconcile(children: Children, filled: Path, cohort: Path) -> None:
    before = children.run("-w", filled, "audit", "release", "--subject", "generated", "--json").json()
    shutil.rmtree(filled / "index")
    refused(children.run("-w", filled, "reconcile", "--check-only"), CONFLICT, "reconcile")
    report = children.run("-w", filled, "reconcile", "--json").json()
    assert (report["clean"], report["left"]) == (True, 0)
    assert faults_in(filled) == []
    shutil.rmtree(filled / "vectors")
    after = children.run("-w", filled, "audit", "release", "--subject", "generated", "--json").json()
    assert after["verdict_digest"] == before["verdict_digest"]
    assert children.run("-w", filled, "ingest", cohort / "not_used", *OTHER).code == 0


def test_empty_index_at_a_url_is_adopted_only_when_told_so(
    children: Children, filled: Path, cohort: Path, tmp_path: Path
) -> None:
    """The URL may be mistyped: nothing is embedded again there, and the catalog keeps its index."""
    before = children.run("-w", filled, "audit", "release", "--subject", "generated", "--json").json()
    mistyped = {"PROVENANCE_INDEX_URL": f"local:{tmp_path / 'mistyped'}"}
    refused(children.run("-w", filled, "reconcile", environment=mistyped), CONFLICT, "--adopt-index")
    assert (
        children.run("-w", filled, "audit", "release", "--subject", "generated", "--json").json()["verdict_digest"]
        == before["verdict_digest"]
    )
    adopted = children.run("-w", filled, "reconcile", "--adopt-index", "--json", environment=mistyped).json()
    assert (adopted["clean"], adopted["left"]) == (True, 0)
    refused(children.run("-w", filled, "ingest", cohort / "not_used", *OTHER), CONFLICT, "index")
    shutil.rmtree(filled / "vectors")  # cached vectors are read without the index
    after = children.run(
        "-w", filled, "audit", "release", "--subject", "generated", "--json", environment=mistyped
    ).json()
    assert after["verdict_digest"] == before["verdict_digest"]


def test_index_of_another_catalog_is_refused_and_left_as_it_is(
    children: Children, filled: Path, cohort: Path, empty_workspace: Path, tmp_path: Path
) -> None:
    stranger = copied(empty_workspace, tmp_path / "stranger")
    assert children.run("-w", stranger, "ingest", cohort / "not_used", *OTHER).code == 0
    foreign = {"PROVENANCE_INDEX_URL": f"local:{stranger / 'index'}"}
    for words in (("ingest", cohort / "not_used", *OTHER), ("audit", "release", "--subject", "generated")):
        refused(children.run("-w", filled, *words, environment=foreign), CONFLICT, "belongs to")
    assert faults_in(stranger) == []
    assert children.run("-w", filled, "ingest", cohort / "not_used", *OTHER).code == 0
    assert faults_in(filled) == []


def test_new_catalog_does_not_take_over_an_index_that_holds_something(
    children: Children, filled: Path, cohort: Path, empty_workspace: Path, tmp_path: Path
) -> None:
    """A catalog that was never bound could be bound to anything; vectors of another catalog are not its own."""
    stranger = copied(empty_workspace, tmp_path / "stranger")
    foreign = {"PROVENANCE_INDEX_URL": f"local:{filled / 'index'}"}
    ended = children.run("-w", stranger, "ingest", cohort / "not_used", *OTHER, environment=foreign)
    refused(ended, CONFLICT, "another catalog")
    assert faults_in(filled) == []
    assert children.run("-w", stranger, "ingest", cohort / "not_used", *OTHER).code == 0


@pytest.mark.parametrize("command", ["ingest", "audit"])
def test_read_only_workspace_is_an_error(children: Children, filled: Path, cohort: Path, command: str) -> None:
    words = {
        "ingest": ("ingest", cohort / "not_used", *OTHER),
        "audit": ("audit", "release", "--subject", "generated"),
    }[command]
    folders = [filled, *(path for path in filled.rglob("*") if path.is_dir())]
    files = [path for path in filled.rglob("*") if path.is_file()]
    for path in (*files, *folders):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        ended = children.run("-w", filled, *words, without_privilege=True)
    finally:
        for path in (*folders, *files):
            path.chmod(0o755 if path.is_dir() else 0o644)
    refused(ended, CATALOG if "catalog" in ended.stderr else STORE, str(filled), "read-only")
    assert children.run("-w", filled, *words, without_privilege=True).code == 0
    assert faults_in(filled) == []


def test_workspace_that_can_not_be_made_is_an_error(children: Children, backbone: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    ended = children.run("-w", closed / "new", "init", "--backbone-file", backbone, without_privilege=True)
    refused(ended, 2, str(closed / "new"), "ermission")


def test_closed_workspace_is_an_error(children: Children, filled: Path, cohort: Path) -> None:
    filled.chmod(0)
    try:
        for words in (("sets", "list"), ("ingest", cohort / "not_used", *OTHER), ("init",)):
            refused(children.run("-w", filled, *words, without_privilege=True), 2, str(filled), "ermission")
    finally:
        filled.chmod(0o755)


def test_closed_settings_file_is_an_error(children: Children, filled: Path) -> None:
    (filled / "provenance.toml").chmod(0)
    ended = children.run("-w", filled, "sets", "list", without_privilege=True)
    (filled / "provenance.toml").chmod(0o644)
    refused(ended, 2, "provenance.toml", "ermission")


@pytest.mark.parametrize("damage", ["header", "pages", "cut", "empty", "text"])
def test_damaged_catalog_is_an_error_that_names_it_and_the_backup_goes_on(
    children: Children, filled: Path, cohort: Path, damage: str
) -> None:
    file = filled / "catalog.sqlite3"
    whole = file.read_bytes()
    broken = {
        "header": b"\0" * 100 + whole[100:],
        "pages": whole[:4096] + b"\xa5" * (len(whole) - 4096),
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"this is no database\n" * 500,
    }[damage]
    file.write_bytes(broken)
    for words in (
        ("ingest", cohort / "not_used", *OTHER),
        ("audit", "release", "--subject", "generated"),
        ("sets", "list"),
    ):
        ended = children.run("-w", filled, *words)
        refused(ended, CATALOG, "catalog", "backup")
    assert file.read_bytes() == broken
    for rest in filled.glob("catalog.sqlite3-*"):
        rest.unlink()
    file.write_bytes(whole)
    assert children.run("-w", filled, "ingest", cohort / "not_used", *OTHER).code == 0
    assert faults_in(filled) == []


@pytest.mark.parametrize("file", ["store.json", "collection.json"])
def test_damaged_index_is_an_error_that_names_it(children: Children, filled: Path, file: str) -> None:
    found = sorted((filled / "index").rglob(file))
    for path in found:
        path.write_text(path.read_text()[:-5])
    refused(
        children.run("-w", filled, "audit", "release", "--subject", "generated"),
        STORE,
        "index" if file == "store.json" else "collection",
    )


def test_vector_that_was_changed_on_disk_is_found_before_it_is_evidence(children: Children, filled: Path) -> None:
    """One byte of one stored vector, in every file of the index that holds it."""
    (sha,) = rows(filled, "SELECT vector_sha256 FROM points LIMIT 1")[0]
    with open_index(f"local:{filled / 'index'}") as index:
        vectors = {
            payload["vector_sha256"]: vector.tobytes()
            for key in index.collections()
            for points in index.iterate(key)
            for vector, payload in zip(points.vectors, points.payloads, strict=True)
        }
    for path in (path for path in (filled / "index").rglob("*") if path.is_file()):
        content = path.read_bytes()
        if vectors[sha] in content:
            path.write_bytes(content.replace(vectors[sha], vectors[sha][:-1] + bytes([vectors[sha][-1] ^ 1])))
    refused(children.run("-w", filled, "audit", "release", "--subject", "generated"), STORE, "damaged", "reconcile")
    assert json.loads(children.run("-w", filled, "audits", "list", "--json").stdout) == []
