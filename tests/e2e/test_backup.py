"""A backup holds everything, of either database; a restore is whole, checked, and refuses what it must not touch."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, text

from provenance import AuditRequest, IngestRequest, Workspace, run_audit, run_ingest
from provenance.catalog.engine import parse_url
from provenance.errors import CatalogError, ConflictError, SourceError, VectorStoreError
from provenance.files import write_bytes
from provenance.index import CollectionSpec, open_index
from provenance.ingest import run_embed
from provenance.keeping import backup as backup_module
from provenance.keeping.backup import backup, restore
from provenance.keeping.reconcile import reconcile
from provenance.keeping.removal import forget_image
from provenance.lookup import history_of
from provenance.records import Generator
from provenance.vocabulary import DatasetKind, Membership

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MakeWorkspace = Callable[..., Workspace]
APPEND_ONLY = ("release_seals", "policies", "audits", "audit_datasets", "verdicts", "neighbors", "events")


def fill(workspace: Workspace, cohort: Path, other_backbone: Path) -> None:
    """Two spaces, a group, a rejected file that is gone, a forgotten image, an audit."""
    (cohort / "real_used" / "empty.png").write_bytes(b"")
    used = IngestRequest(
        (cohort / "real_used",), "used", DatasetKind.SET, Membership.USED, group_from=r"(img_000[0-3])"
    )
    release = IngestRequest((cohort / "generated",), "release", DatasetKind.RELEASE, generator=Generator("toy"))
    backbone = workspace.load_backbone()
    run_ingest(workspace, used, backbone)
    run_ingest(workspace, release, backbone)
    run_embed(workspace, "used", workspace.load_backbone(backbone_file=other_backbone))
    forget_image(workspace, "img_0009.png")
    run_audit(workspace, AuditRequest("release", ("used",)))


def facts_of(workspace: Workspace) -> dict[str, Any]:
    """Everything that people can ask for."""
    catalog = workspace.catalog
    datasets = catalog.datasets()
    stored = {}
    for key in workspace.index.collections():
        for points in workspace.index.iterate(key):
            for point, vector, payload in zip(points.ids, points.vectors, points.payloads, strict=True):
                stored[key, point] = (vector.tobytes(), payload)
    return {
        "uuid": catalog.catalog_uuid,
        "datasets": datasets,
        "runs": catalog.runs(),
        "rejects": [catalog.rejects(summary.dataset.dataset_id) for summary in datasets],
        "audits": catalog.audits(),
        "verdicts": [list(catalog.verdicts(audit.audit_id)) for audit in catalog.audits()],
        "history": history_of(workspace, "img_0001.png"),
        "pseudonym": catalog.pseudonym("somebody"),
        "spaces": catalog.spaces(),
        "vectors": stored,
    }


def url_of(request: pytest.FixtureRequest, kind: str) -> dict[str, str]:
    return {"catalog_url": str(request.getfixturevalue("postgres_url"))} if kind == "postgres" else {}


@pytest.fixture
def filled(make_workspace: MakeWorkspace, cohort: Path, other_backbone: Path) -> Workspace:
    workspace = make_workspace()
    fill(workspace, cohort, other_backbone)
    return workspace


def modes(folder: Path) -> set[str]:
    """The rights of a folder and of everything in it."""
    return {stat.filemode(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}


def test_what_a_workspace_holds_is_its_owners_whatever_the_umask(
    make_workspace: MakeWorkspace, cohort: Path, other_backbone: Path, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        with make_workspace() as workspace:
            fill(workspace, cohort, other_backbone)
            assert modes(workspace.root) == {"drwx------", "-rw-------"}  # the catalog's journal among them
            backup(workspace, tmp_path / "all.zip")
            write_bytes(tmp_path / "report.html", b"for everybody")
        assert os.umask(0) == 0  # as it was, for whatever else this process makes
        with make_workspace("restored") as restored:
            restore(restored, tmp_path / "all.zip")
            assert modes(restored.root) == {"drwx------", "-rw-------"}
        assert stat.filemode((tmp_path / "report.html").stat().st_mode) == "-rw-rw-rw-"
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("original", "copy"),
    [
        ("sqlite", "sqlite"),
        pytest.param("sqlite", "postgres", marks=pytest.mark.postgres),
        pytest.param("postgres", "sqlite", marks=pytest.mark.postgres),
    ],
)
def test_a_restored_workspace_answers_as_the_original(
    original: str,
    copy: str,
    request: pytest.FixtureRequest,
    make_workspace: MakeWorkspace,
    cohort: Path,
    other_backbone: Path,
    tmp_path: Path,
) -> None:
    workspace = make_workspace(**url_of(request, original))
    fill(workspace, cohort, other_backbone)
    before = facts_of(workspace)
    made = backup(workspace, tmp_path / "all.zip")
    assert (made.vectors, made.collections, made.catalog_uuid) == (11 + 11 + 9, 3, before["uuid"])
    assert (tmp_path / "all.zip").stat().st_mode & 0o077 == 0
    workspace.close()
    restored = make_workspace("restored", **url_of(request, copy))
    report = restore(restored, tmp_path / "all.zip")
    assert report.reconciled.is_clean
    assert report.reconciled.repaired == 0
    assert facts_of(restored) == before
    require_guarded(restored)
    again = run_audit(restored, AuditRequest("release", ("used",), space=before["audits"][0].space_id)).audit
    assert again.verdict_digest == before["audits"][0].verdict_digest
    used = IngestRequest((cohort / "real_used",), "used", DatasetKind.SET, Membership.USED)
    known = run_ingest(restored, used, restored.load_backbone())
    assert (known.counts["known"], known.counts["added"], known.image_count) == (11, 0, 11)
    restored.close()
    kept = {"provenance.toml", "catalog.sqlite3", "index", "vectors", "erasures"}
    assert {p.name for p in restored.root.iterdir()} <= kept


@pytest.mark.postgres
def test_postgres_to_postgres(
    make_workspace: MakeWorkspace, cohort: Path, other_backbone: Path, postgres_url: str, tmp_path: Path
) -> None:
    workspace = make_workspace(catalog_url=postgres_url)
    fill(workspace, cohort, other_backbone)
    before = facts_of(workspace)
    backup(workspace, tmp_path / "all.zip")
    workspace.close()
    taken = make_workspace("refused", catalog_url=postgres_url)
    with pytest.raises(ConflictError, match="is not empty") as refused:
        restore(taken, tmp_path / "all.zip")
    taken.close()
    assert "?options=-csearch_path%3Dname" in str(refused.value.hint)
    with another_schema(postgres_url) as beside:
        restored = make_workspace("restored", catalog_url=beside)
        assert restore(restored, tmp_path / "all.zip").reconciled.is_clean
        assert facts_of(restored) == before
        require_guarded(restored)
        with Workspace.open(workspace.root) as unchanged:
            assert facts_of(unchanged) == before


@contextmanager
def another_schema(postgres_url: str) -> Iterator[str]:
    """A schema beside that one, of the same database."""
    schema = postgres_url.rpartition("search_path%3D")[2]
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}_2"))
    yield f"{postgres_url}_2"
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema}_2 CASCADE"))
    engine.dispose()


def require_guarded(workspace: Workspace) -> None:
    """Append-only tables refuse to be changed, by a connection that knows nothing of us."""
    workspace.close()
    engine = create_engine(parse_url(workspace.catalog_place))
    for table in APPEND_ONLY:
        with engine.connect() as connection:
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() > 0
        with pytest.raises(Exception, match=f"append-only: {table}"), engine.begin() as connection:
            connection.execute(text(f"DELETE FROM {table}"))
    engine.dispose()


def test_numbers_of_rejects_are_never_given_again(
    filled: Workspace, make_workspace: MakeWorkspace, cohort: Path, tmp_path: Path
) -> None:
    (audit,) = filled.catalog.audits()
    (old,) = filled.catalog.audit_rejects(audit.audit_id)
    (cohort / "real_used" / "empty.png").write_bytes((cohort / "real_unknown" / "img_0200.png").read_bytes())
    used = IngestRequest((cohort / "real_used",), "used", DatasetKind.SET, Membership.USED)
    run_ingest(filled, used, filled.load_backbone())  # its reject is gone now
    backup(filled, tmp_path / "all.zip")
    restored = make_workspace("restored")
    restore(restored, tmp_path / "all.zip")
    (cohort / "real_used" / "worse.png").write_bytes(b"")
    run_ingest(restored, used, restored.load_backbone())
    rejects = restored.catalog.rejects(restored.catalog.dataset("used").dataset_id)
    (new,) = [reject for reject in rejects if reject.name == "worse.png"]
    assert new.reject_id > old.reject_id
    assert restored.catalog.audit_rejects(audit.audit_id)[0].reject is None


def test_a_restore_touches_nothing_that_is_there(
    filled: Workspace, make_workspace: MakeWorkspace, cohort: Path, tmp_path: Path
) -> None:
    backup(filled, tmp_path / "all.zip")
    before = facts_of(filled)
    with pytest.raises(ConflictError, match="is not empty"):
        restore(filled, tmp_path / "all.zip")
    assert facts_of(filled) == before
    with pytest.raises(ConflictError, match="exists"):
        backup(filled, tmp_path / "all.zip")
    occupied = make_workspace("occupied")
    with open_index(f"local:{occupied.root / 'index'}") as index:
        index.create(CollectionSpec("somebody-else", 4))
    with pytest.raises(ConflictError, match="somebody-else"):
        restore(occupied, tmp_path / "all.zip")
    with open_index(f"local:{occupied.root / 'index'}") as index:
        assert index.collections() == ["somebody-else"]
    assert occupied.catalog.datasets() == []


def damaged(original: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = change(name, source.read(name))
            if content is not None:
                copy.writestr(name, content)
    return target


def test_a_damaged_backup_is_refused_before_anything_is_written(
    filled: Workspace, make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    whole = tmp_path / "all.zip"
    backup(filled, whole)
    flip = bytearray(whole.read_bytes())
    flip[len(flip) // 2] ^= 1
    (tmp_path / "flipped.zip").write_bytes(flip)
    (tmp_path / "cut.zip").write_bytes(whole.read_bytes()[:-2000])
    (tmp_path / "text.zip").write_text("no archive")
    last = max(zipfile.ZipFile(whole).namelist())

    def changed(name: str, content: bytes) -> bytes:
        return content[:-1] + b"x" if name == last else content

    def newer(name: str, content: bytes) -> bytes:
        return json.dumps(json.loads(content) | {"version": 9}).encode() if name == "manifest.json" else content

    damaged(whole, tmp_path / "changed.zip", changed)
    damaged(whole, tmp_path / "lacking.zip", lambda name, content: None if name == last else content)
    damaged(whole, tmp_path / "no-manifest.zip", lambda name, content: None if "manifest" in name else content)
    damaged(whole, tmp_path / "newer.zip", newer)
    said = {"changed": "another digest", "lacking": "differ", "no-manifest": "no backup", "newer": "newer software"}
    restored = make_workspace("restored")
    for name in ("flipped", "cut", "text", "changed", "lacking", "no-manifest", "newer", "absent"):
        with pytest.raises(SourceError, match=said.get(name, "backup")):
            restore(restored, tmp_path / f"{name}.zip")
        assert restored.index.collections() == []
        assert restored.catalog.datasets() == []
    assert restore(restored, whole).reconciled.is_clean


def test_a_restore_that_was_cut_off_goes_through_the_next_time(
    filled: Workspace, make_workspace: MakeWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(filled, tmp_path / "all.zip")
    before = facts_of(filled)
    restored = make_workspace("restored")

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    for owner, name in ((type(restored.index), "flush"), (None, "provenance.keeping.backup.restore_from_file")):
        if owner is None:
            monkeypatch.setattr(name, dies)
        else:
            monkeypatch.setattr(owner, name, dies)
        with pytest.raises(KeyboardInterrupt):
            restore(restored, tmp_path / "all.zip")
        monkeypatch.undo()
        assert restored.catalog.datasets() == []
        restored.close()
    assert restore(restored, tmp_path / "all.zip").reconciled.is_clean
    assert facts_of(restored) == before


def test_no_backup_is_written_of_what_is_not_whole(filled: Workspace, tmp_path: Path) -> None:
    dataset = filled.catalog.dataset("used")
    key = filled.catalog.collections_of(dataset.dataset_id)[0].collection_key  # of the workspace's own backbone
    points = next(filled.index.iterate(key))
    filled.index.delete(key, points.ids[:1])
    with pytest.raises(VectorStoreError, match="is missing: no backup was written"):
        backup(filled, tmp_path / "all.zip")
    assert not any(path.name.startswith((".backup", "all")) for path in tmp_path.iterdir())
    assert reconcile(filled).is_clean
    backup(filled, tmp_path / "all.zip")
    with pytest.raises(SourceError, match="can't be written"):
        backup(filled, tmp_path / "no-such-folder" / "all.zip")


def test_a_catalog_of_another_kind_of_file_is_told(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    from provenance.catalog import upgrade_copy

    (tmp_path / "copy").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(CatalogError, match="damaged"):
        upgrade_copy(tmp_path / "copy")


@pytest.mark.parametrize("year", [1970, 1980, 2026, 2150])
def test_a_clock_that_is_wrong_breaks_no_backup(year: int) -> None:
    entry = zipfile.ZipInfo("name", backup_module._as_zips_know(datetime(year, 3, 4, 5, 6, 7, tzinfo=UTC)))
    assert 1980 <= entry.date_time[0] <= 2107
    assert entry.date_time[1:] == (3, 4, 5, 6, 7)
    with zipfile.ZipFile(io.BytesIO(), "w") as archive:
        archive.writestr(entry, b"content")
