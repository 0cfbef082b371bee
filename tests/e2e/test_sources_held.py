"""Files that were overwritten, deleted or moved since they were ingested: what is said, and what --sync does."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from provenance import AuditRequest, IngestRequest, Policy, Workspace, run_audit, run_ingest
from provenance.audit.plan import planned_again
from provenance.errors import ConflictError
from provenance.ingest.watch import WatchBatch, watch
from provenance.records import Generator
from provenance.vocabulary import DatasetKind, Membership
from tests.e2e.conftest import save_pictures
from tests.runner import process

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.ingest import IngestReport, LostImage

MakeWorkspace = Callable[..., Workspace]


def ingest(workspace: Workspace, *sources: Path, **more: Any) -> tuple[IngestReport, list[str]]:
    said: list[str] = []
    request = IngestRequest(sources, "cohort", DatasetKind.SET, Membership.USED, **more)
    return run_ingest(workspace, request, workspace.load_backbone(), on_step=said.append), said


def named(lost: tuple[LostImage, ...]) -> list[tuple[str, str]]:
    return [(one.name, one.problem.value) for one in lost]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures; others to put in their places are in ``other``."""
    save_pictures(tmp_path / "other", range(50, 56))
    return save_pictures(tmp_path / "real", range(6))


def test_what_was_overwritten_or_deleted_is_said_and_retired_on_request(
    make_workspace: MakeWorkspace, folder: Path, tmp_path: Path
) -> None:
    workspace = make_workspace()
    _, said = ingest(workspace, folder)
    assert said == []
    release = IngestRequest((tmp_path / "other",), "release", DatasetKind.RELEASE, generator=Generator("toy"))
    run_ingest(workspace, release, workspace.load_backbone())
    audit = run_audit(workspace, AuditRequest("release", policy=Policy())).audit
    overwritten, deleted = folder / "img_0000.png", folder / "img_0001.png"
    before = workspace.catalog.resolve_image("img_0000.png").image_id
    shutil.copy(tmp_path / "other" / "img_0050.png", overwritten)
    deleted.unlink()
    (folder / "img_0002.png").rename(folder / "renamed.png")  # the image is where it was, but for its name
    os.utime(folder / "img_0003.png", ns=(1, 1))
    report, said = ingest(workspace, folder)
    assert named(report.lost) == [("img_0000.png", "changed"), ("img_0001.png", "gone")]
    assert (report.image_count, report.retired) == (7, 0)
    assert said == [
        (
            "2 images are no longer where they were found (1 overwritten, 1 deleted): 'img_0000.png', 'img_0001.png'; "
            "they stay until --sync retires them"
        )
    ]
    report, said = ingest(workspace, folder, sync=True)
    assert (report.image_count, report.retired, len(report.lost)) == (5, 2, 2)
    assert said[0].endswith("; 2 retired")
    view = workspace.show_dataset("cohort")
    assert (view.summary.image_count, view.retired_count) == (5, 2)
    assert ingest(workspace, folder)[0].lost == ()
    # what is said of the retired image stays, and the name means what is there now
    now = workspace.catalog.resolve_image("img_0000.png").image_id
    assert now != before
    for asked in ("img_0000.png", "cohort/img_0000", now):
        told = workspace.earlier_named(asked)
        assert [(one.dataset_name, one.name, one.image_id) for one in told] == [("cohort", "img_0000.png", before)]
    for asked in (before, "img_0003.png", "nothing"):
        assert workspace.earlier_named(asked) == []
    assert [m.retired_at is not None for m in workspace.show(before).memberships] == [True]
    assert [entry.kind for entry in workspace.history_of(before)[1]] == ["added", "cited", "retired"]
    recorded = workspace.show_audit(audit.audit_id)
    assert recorded.audit.verdict_digest == audit.verdict_digest
    with pytest.raises(ConflictError, match="cohort has changed since"):
        planned_again(workspace, audit, lambda _step: None)
    later = run_audit(workspace, AuditRequest("release", policy=Policy())).audit
    played = {row.name: row.image_count for row in workspace.catalog.audit_datasets(later.audit_id)}
    assert played["cohort"] == 5
    # what comes back takes part again, with the vector that it had
    save_pictures(folder, range(2))
    back, _ = ingest(workspace, folder)
    assert (back.image_count, back.counts["embedded"], named(back.lost)) == (7, 0, [("img_0000.png", "changed")])
    assert workspace.history_of(before)[1][-1].kind == "returned"


def test_archives_lists_and_other_folders_are_looked_at_as_what_they_are(
    make_workspace: MakeWorkspace, folder: Path, tmp_path: Path
) -> None:
    workspace = make_workspace()
    files = sorted(folder.iterdir())

    def pack(members: dict[str, Path]) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, tarfile.open(tmp_path / "b.tgz", "w:gz") as stream:
            for name, file in members.items():
                archive.write(file, "zip/" + name)
                stream.add(file, "tgz/" + name)

    pack({file.name: file for file in files[:3]})
    save_pictures(tmp_path / "more", range(10, 12))
    (tmp_path / "list.txt").write_text("real/img_0004.png\nreal/img_0005.png\n")
    ingest(workspace, tmp_path / "a.zip", tmp_path / "b.tgz", tmp_path / "list.txt")
    ingest(workspace, tmp_path / "more")
    shutil.rmtree(tmp_path / "more")
    files[5].unlink()
    pack({files[0].name: files[0], files[1].name: tmp_path / "other" / "img_0050.png"})
    checked = workspace.check_sources("cohort").held
    lost = [("img_0010.png", "gone"), ("img_0011.png", "gone"), ("real/img_0005.png", "gone")]
    lost += [("tgz/img_0001.png", "changed"), ("tgz/img_0002.png", "gone")]
    assert (checked.images, checked.places, sorted(named(checked.lost))) == (7, 10, lost)
    report, _ = ingest(workspace, tmp_path / "a.zip", tmp_path / "b.tgz", tmp_path / "list.txt", sync=True)
    assert sorted(named(report.lost)) == lost[2:]  # another source of the set is not this call's
    assert report.retired == 3
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 broken")
    (tmp_path / "b.tgz").write_bytes((tmp_path / "b.tgz").read_bytes()[:700])
    damaged = workspace.check_sources("cohort", sync=True)
    assert (damaged.held.unreadable, damaged.retired, damaged.left) == (2, 2, 2)  # what can't be read may be there


def test_a_missing_disk_retires_nothing_and_a_sealed_release_never_changes(
    make_workspace: MakeWorkspace, folder: Path, tmp_path: Path
) -> None:
    workspace = make_workspace()
    ingest(workspace, folder)
    request = IngestRequest((tmp_path / "other",), "release", DatasetKind.RELEASE, generator=Generator("toy"))
    run_ingest(workspace, request, workspace.load_backbone())
    folder.rename(tmp_path / "away")
    with pytest.raises(ConflictError, match="none of the 6 images of cohort is where it was found"):
        workspace.check_sources("cohort", sync=True)
    assert workspace.check_sources("cohort", sync=True, force=True).retired == 6
    (tmp_path / "away").rename(folder)
    assert ingest(workspace, folder)[0].image_count == 6
    (tmp_path / "other" / "img_0050.png").unlink()
    with pytest.raises(ConflictError, match="release is sealed"):
        run_ingest(workspace, replace(request, sync=True), workspace.load_backbone())
    with pytest.raises(ConflictError, match="release is sealed"):
        workspace.check_sources("release", sync=True)
    assert workspace.check_sources("release").held.gone == 1


def test_a_watch_says_what_was_overwritten(make_workspace: MakeWorkspace, folder: Path, tmp_path: Path) -> None:
    workspace = make_workspace()
    batches: list[WatchBatch] = []
    request = IngestRequest((folder,), "cohort", DatasetKind.SET, Membership.USED, sync=True)

    def fail(error: Exception, _seconds: float) -> None:
        raise error

    for _ in range(2):
        watch(workspace, request, workspace.load_backbone(), batches.append, fail, settle_seconds=0.1, once=True)
        shutil.copy(tmp_path / "other" / "img_0050.png", folder / "img_0000.png")
    assert [(named(batch.lost), batch.retired, batch.image_count) for batch in batches] == [
        ([], 0, 6),
        ([("img_0000.png", "changed")], 1, 6),
    ]


def test_the_check_is_a_command_with_an_exit_code(make_workspace: MakeWorkspace, folder: Path, tmp_path: Path) -> None:
    workspace = make_workspace(".provenance")
    ingest(workspace, folder)
    workspace.close()
    assert process(tmp_path, "sets", "check", "cohort").returncode == 0
    (folder / "img_0003.png").unlink()
    done = process(tmp_path, "sets", "check", "cohort", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["gone"], document["lost"][0]["name"]) == (3, 1, "img_0003.png")
    assert "1 of 6 images are no longer where they were found" in done.stderr
    done = process(tmp_path, "sets", "check", "cohort", "--sync")
    assert (done.returncode, "1 retired" in done.stderr) == (0, True)
