"""A full disk under each thing that is written: a clear error, what was acknowledged stays, the next run goes on."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest
from kept import faults_in, kept_in, lost_in, rows
from refusals import CATALOG, SOURCE, STORE, refused
from samples import save_pictures

from provenance import IngestRequest, Workspace, run_ingest
from provenance.catalog import engine
from provenance.errors import CatalogError
from provenance.vocabulary import DatasetKind, Membership

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from children import Children

USED = ("--set", "used", "--membership", "used")
RELEASE = ("--release", "release", "--generator", "toy")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """So many images that their rows do not fit into a small catalog."""
    return save_pictures(tmp_path / "many", range(120))


def test_full_disk_under_the_catalog(
    children: Children, workspace: Path, many: Path, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("768k")
    shutil.move(workspace / "catalog.sqlite3", disk / "catalog.sqlite3")
    (workspace / "catalog.sqlite3").symlink_to(disk / "catalog.sqlite3")
    url = {"PROVENANCE_CATALOG_URL": f"sqlite:///{disk / 'catalog.sqlite3'}"}
    refused(children.run("-w", workspace, "ingest", many, *USED, environment=url), CATALOG, "full", "make room")
    _goes_on_from(children, workspace, disk / "catalog.sqlite3", many)


def test_catalog_that_can_not_grow(workspace: Path, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for those who can't mount a disk: SQLite itself says that there is no room for one page more."""
    prepare = engine._prepare_sqlite

    def prepare_small(connection: Any, record: object) -> None:
        prepare(connection, record)
        connection.execute("PRAGMA max_page_count = 120").close()

    request = IngestRequest((many,), "used", DatasetKind.SET, Membership.USED)
    monkeypatch.setattr(engine, "_prepare_sqlite", prepare_small)
    with Workspace.open(workspace) as opened:
        backbone = opened.load_backbone()
        with pytest.raises(CatalogError, match="full") as caught:
            run_ingest(opened, request, backbone)
    assert "make room" in caught.value.hint
    assert 0 < len(kept_in(workspace).vectors) < 120
    assert lost_in(workspace) == []
    monkeypatch.undo()
    with Workspace.open(workspace) as opened:
        assert run_ingest(opened, request, backbone).image_count == 120
    assert faults_in(workspace) == []


def _goes_on_from(children: Children, workspace: Path, catalog: Path, many: Path) -> None:
    """Puts the catalog on a larger disk, and runs the same command again."""
    (workspace / "catalog.sqlite3").unlink()
    for file in catalog.parent.glob("catalog.sqlite3*"):
        shutil.copy(file, workspace / file.name)
    assert 0 < len(kept_in(workspace).vectors) < 120
    assert lost_in(workspace) == []
    assert children.run("-w", workspace, "ingest", many, *USED).code == 0
    assert len(kept_in(workspace).vectors) == 120
    assert faults_in(workspace) == []


def test_disk_of_the_index_is_nearly_full(
    children: Children, workspace: Path, cohort: Path, small_disk: Callable[[str], Path]
) -> None:
    """The engine dies where its disk is full: room is kept, and too little of it is an error beforehand."""
    (workspace / "index").symlink_to(small_disk("8m"))
    refused(children.run("-w", workspace, "ingest", cohort / "used", *USED), STORE, "full", "run the command again")
    (workspace / "index").unlink()
    assert rows(workspace, "SELECT 1 FROM points") == []
    # the index that is gone held nothing, so that another one may take its place
    assert children.run("-w", workspace, "reconcile").code == 0
    assert children.run("-w", workspace, "ingest", cohort / "used", *USED).code == 0
    assert faults_in(workspace) == []


@pytest.fixture
def filled(children: Children, workspace: Path, cohort: Path) -> Path:
    for words in ((cohort / "used", *USED), (cohort / "generated", *RELEASE)):
        assert children.run("-w", workspace, "ingest", *words).code == 0
    return workspace


def test_full_disk_under_the_vector_files(children: Children, filled: Path, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("4k")
    (disk / "filling").write_bytes(b"\0" * 4096)
    (filled / "vectors").symlink_to(disk)
    refused(children.run("-w", filled, "audit", "release", "--subject", "generated"), STORE, "vector file", "room")
    assert rows(filled, "SELECT 1 FROM audits") == []
    (disk / "filling").unlink()
    (filled / "vectors").unlink()
    assert children.run("-w", filled, "audit", "release", "--subject", "generated").code == 0


def test_full_disk_under_the_moments(children: Children, filled: Path, small_disk: Callable[[str], Path]) -> None:
    (filled / "moments").symlink_to(small_disk("8k"))
    words = ("-w", filled, "audit", "release", "--subject", "generated", "--population", "pairwise")
    refused(children.run(*words), STORE, "moments", "room")
    assert rows(filled, "SELECT 1 FROM audits") == []
    (filled / "moments").unlink()
    assert children.run(*words).code == 0


@pytest.mark.parametrize("what", ["csv", "parquet"])
def test_full_disk_under_an_export_leaves_the_file_that_was_there(
    children: Children, filled: Path, small_disk: Callable[[str], Path], what: str
) -> None:
    audit = children.run("-w", filled, "audit", "release", "--subject", "generated", "--json").json()["audit_id"]
    disk = small_disk("8k")
    target = disk / f"export.{what}"
    target.write_text("what was there")
    (disk / "filling").write_bytes(b"\0" * 4096)
    name = audit if what == "csv" else "used"
    words = ("-w", filled, "export", name, "--format", what, "--force", "-o")
    refused(children.run(*words, target), SOURCE, str(target), "No space left")
    assert target.read_text() == "what was there"
    assert sorted(path.name for path in disk.iterdir()) == sorted(["filling", target.name])
    assert children.run(*words, filled / f"export.{what}").code == 0


@pytest.mark.parametrize(
    "dies_at", ["provenance.installation:_write_settings:1:before", "pathlib:Path.write_bytes:1:after"]
)
def test_init_that_dies_while_it_writes_its_settings_leaves_no_half_of_them(
    children: Children, backbone: Path, tmp_path: Path, dies_at: str
) -> None:
    root = tmp_path / "new"
    words = ("-w", root, "init", "--backbone-file", backbone)
    assert children.run(*words, dies_at=dies_at).code == -signal.SIGKILL
    assert children.run(*words).code == 0
    assert str(backbone) in (root / "provenance.toml").read_text()
