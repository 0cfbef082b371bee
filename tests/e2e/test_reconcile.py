"""Catalog against index: every kind of difference is found, told, and put right as far as the sources still can."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from provenance import AuditRequest, IngestRequest, Policy, Workspace, run_audit, run_ingest
from provenance.audit.rules.mu_alpha_sigma import MuAlphaSigmaRule
from provenance.errors import VectorStoreError
from provenance.index import CollectionSpec, Points, point_id
from provenance.keeping.reconcile import CollectionCheck, reconcile
from provenance.keeping.removal import forget_image, remove_dataset
from provenance.records import Generator
from provenance.vocabulary import DatasetKind, Membership, Population

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.records import Member

MakeWorkspace = Callable[..., Workspace]


@pytest.fixture
def workspace(make_workspace: MakeWorkspace, cohort: Path) -> Workspace:
    workspace = make_workspace()
    backbone = workspace.load_backbone()
    run_ingest(workspace, IngestRequest((cohort / "real_used",), "used", DatasetKind.SET, Membership.USED), backbone)
    release = IngestRequest((cohort / "generated",), "release", DatasetKind.RELEASE, generator=Generator("toy"))
    run_ingest(workspace, release, backbone)
    return workspace


def members_of(workspace: Workspace, name: str = "used") -> tuple[str, list[Member]]:
    dataset = workspace.catalog.dataset(name)
    (collection,) = workspace.catalog.collections_of(dataset.dataset_id)
    return collection.collection_key, workspace.catalog.members(dataset.dataset_id, collection.collection_key)


def check_of(report: Any, name: str = "used") -> CollectionCheck:
    (found,) = [check for check in report.collections if check.dataset == name]
    return found


def vectors_of(workspace: Workspace, name: str = "used") -> dict[str, bytes]:
    key, members = members_of(workspace, name)
    points = workspace.index.get(key, [m.point_id for m in members])
    return dict(zip(points.ids, (vector.tobytes() for vector in points.vectors), strict=True))


def overwrite(workspace: Workspace, key: str, member: Member) -> None:
    stored = workspace.index.get(key, [member.point_id])
    workspace.index.upsert(key, Points(stored.ids, np.ascontiguousarray(stored.vectors[:, :, ::-1]), stored.payloads))
    workspace.index.flush(key)


def test_an_untouched_installation_is_clean_and_nothing_is_written(workspace: Workspace) -> None:
    before = vectors_of(workspace)
    report = reconcile(workspace)
    assert (report.is_clean, report.repaired, report.findings) == (True, 0, ())
    assert [(c.dataset, c.recorded, c.stored) for c in report.collections] == [("used", 12, 12), ("release", 9, 9)]
    assert vectors_of(workspace) == before
    assert [run.kind for run in workspace.catalog.runs()] == ["ingest", "ingest"]


def test_lost_damaged_and_unknown_points_are_put_right_to_the_last_byte(workspace: Workspace) -> None:
    audit = run_audit(workspace, AuditRequest("release", ("used",))).audit
    shutil.rmtree(workspace.vector_folder)
    before = vectors_of(workspace)
    key, members = members_of(workspace)
    workspace.index.delete(key, [members[2].point_id, members[3].point_id])
    overwrite(workspace, key, members[5])
    stranger = workspace.index.get(key, [members[7].point_id])
    workspace.index.upsert(key, Points([point_id("sha256:stranger", "space:x")], stranger.vectors, stranger.payloads))
    seen = reconcile(workspace, repair=False)
    check = check_of(seen)
    assert (check.missing, check.damaged, check.extra, check.left) == (2, 1, 1, 4)
    assert sorted(f.problem for f in seen.findings) == ["damaged", "missing", "missing"]
    assert check_of(reconcile(workspace, repair=False)) == check  # looking changes nothing
    report = reconcile(workspace)
    assert (report.is_clean, check_of(report).repaired, check_of(report).changed) == (True, 4, 0)
    assert vectors_of(workspace) == before
    assert workspace.index.count(key) == 12
    assert reconcile(workspace, repair=False).repaired == 0
    assert run_audit(workspace, AuditRequest("release", ("used",))).audit.verdict_digest == audit.verdict_digest


def test_a_vector_whose_source_is_gone_is_listed_and_the_rest_repaired(workspace: Workspace, cohort: Path) -> None:
    key, members = members_of(workspace)
    workspace.index.delete(key, [m.point_id for m in members])
    remove_dataset(workspace, workspace.catalog.dataset("release"))  # no other collection holds any of them
    (cohort / "real_used" / "img_0003.png").unlink()
    (cohort / "real_used" / "img_0004.png").write_bytes((cohort / "real_used" / "img_0005.png").read_bytes())
    report = reconcile(workspace)
    assert {(f.name, f.problem) for f in report.findings} == {("img_0003.png", "missing"), ("img_0004.png", "missing")}
    assert {f.name: f.detail for f in report.findings}["img_0004.png"].startswith("other bytes than recorded")
    assert (report.left, check_of(report).repaired) == (2, 10)
    assert reconcile(workspace).left == 2


def test_another_collection_or_another_name_serves_where_the_file_is_gone(workspace: Workspace, cohort: Path) -> None:
    key, members = members_of(workspace)
    copy_of_1 = workspace.catalog.resolve_image("copy_0001.png").image_id  # the release holds it too
    (cohort / "real_used" / "img_0001.png").unlink()
    (cohort / "generated" / "copy_0001.png").unlink()
    (cohort / "real_used" / "img_0005.png").unlink()  # its copy in the release can still be read
    workspace.index.delete(key, [m.point_id for m in members if m.image_id == copy_of_1])
    image_5 = workspace.catalog.resolve_image("copy_0005.png").image_id
    for name in ("used", "release"):
        other, others = members_of(workspace, name)
        workspace.index.delete(other, [m.point_id for m in others if m.image_id == image_5])
    report = reconcile(workspace)
    assert (report.is_clean, report.repaired) == (True, 3)


def test_pending_points_are_acknowledged_where_the_vector_is_there_and_made_where_not(
    make_workspace: MakeWorkspace, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace()
    backbone = workspace.load_backbone()
    request = IngestRequest((cohort / "real_used",), "used", DatasetKind.SET, Membership.USED)

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    for step in ("acknowledge", "upsert"):
        owner = type(workspace.catalog if step == "acknowledge" else workspace.index)
        monkeypatch.setattr(owner, step, dies)
        with pytest.raises(KeyboardInterrupt):
            run_ingest(workspace, request, backbone)
        monkeypatch.undo()
        assert check_of(reconcile(workspace, repair=False)).pending == 4
        report = reconcile(workspace)
        assert (report.is_clean, check_of(report).pending, check_of(report).repaired) == (True, 4, 4)
    assert [check_of(report).recorded, len(members_of(workspace)[1])] == [4, 8]
    assert run_ingest(workspace, request, backbone).counts["embedded"] == 4


def test_collections_are_made_dropped_and_those_of_others_left_alone(workspace: Workspace) -> None:
    removed, _ = members_of(workspace, "release")
    key, _ = members_of(workspace)
    before = vectors_of(workspace)
    workspace.catalog.remove_dataset(workspace.catalog.dataset("release").dataset_id)  # its index was not reached
    workspace.index.drop(key)
    workspace.index.create(CollectionSpec("of-another-catalog", 48))
    seen = reconcile(workspace, repair=False)
    assert (seen.dropped, seen.foreign, check_of(seen).missing, seen.left) == ((removed,), 1, 12, 13)
    report = reconcile(workspace)
    assert report.is_clean
    assert workspace.index.collections() == sorted([key, "of-another-catalog"])
    assert vectors_of(workspace) == before


def test_a_collection_the_engine_can_not_open_is_made_anew(workspace: Workspace) -> None:
    key, _ = members_of(workspace)
    before = vectors_of(workspace)
    workspace.close()
    (segment,) = (workspace.root / "index" / "collections" / key / "shard" / "segments").iterdir()
    (segment / "segment.json").write_text("{")
    seen = check_of(reconcile(workspace, repair=False))
    assert key in seen.unusable
    workspace.close()
    report = reconcile(workspace)
    assert (report.is_clean, check_of(report).repaired) == (True, 12)
    assert vectors_of(workspace) == before


def test_a_damaged_collection_is_made_anew_from_its_own_rows_without_backbone_and_sources(
    workspace: Workspace, cohort: Path, other_backbone: Path
) -> None:
    """Whatever file is damaged, it is noticed before the engine is let near; nothing but vectors is believed."""
    before = run_audit(workspace, AuditRequest("release", ("used",))).audit.verdict_digest
    key, _ = members_of(workspace)
    vectors = vectors_of(workspace)
    shutil.rmtree(cohort)
    shutil.rmtree(workspace.vector_folder)
    choice = {"backbone_file": other_backbone}
    for pattern in ("collection.json", "**/mutable_id_tracker.mappings", "**/flags_a.dat", "**/page_0.dat"):
        workspace.close()
        (file,) = (workspace.root / "index" / "collections" / key).glob(pattern)
        with file.open("r+b") as stream:
            stream.write(b"\xff" * 8)
        with pytest.raises(VectorStoreError, match=f"damaged.*{file.name}") as refused:
            run_audit(workspace, AuditRequest("release", ("used",)))
        assert "reconcile" in refused.value.hint
        assert file.name in check_of(reconcile(workspace, repair=False)).unusable
        workspace.close()
        report = reconcile(workspace, backbone=choice)
        assert (report.is_clean, check_of(report).repaired, check_of(report).copied) == (True, 12, 12)
        assert vectors_of(workspace) == vectors
        assert not list((workspace.root / "index" / "aside" / key).glob("*"))
    assert run_audit(workspace, AuditRequest("release", ("used",))).audit.verdict_digest == before


def test_what_is_left_of_a_collection_stays_until_it_is_whole_again(
    workspace: Workspace, cohort: Path, other_backbone: Path
) -> None:
    key, _ = members_of(workspace)
    before = vectors_of(workspace)
    workspace.close()
    collection = workspace.root / "index" / "collections" / key
    (collection / "collection.json").write_text("{")
    (vectors,) = collection.glob("**/chunk_0.mmap")
    with vectors.open("r+b") as stream:
        stream.write(b"\xff" * 4 * 48 * 3)
    images = (cohort / "real_used").rename(cohort / "away")
    report = reconcile(workspace, backbone={"backbone_file": other_backbone})
    assert 0 < report.left <= 3
    assert check_of(report).copied == 12 - report.left
    assert "--backbone-file" in report.findings[0].detail
    assert list((workspace.root / "index" / "aside" / key).glob("*"))
    images.rename(cohort / "real_used")
    assert reconcile(workspace).is_clean
    assert vectors_of(workspace) == before
    assert not (workspace.root / "index" / "aside" / key).exists()


@pytest.mark.parametrize("content", ["", "\x00\x01", '{"store_uuid": 7}', "[" * 100_000, None])
def test_a_damaged_identity_of_the_index_is_written_again(workspace: Workspace, content: str | None) -> None:
    before = vectors_of(workspace)
    workspace.close()
    file = workspace.root / "index" / "store.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(VectorStoreError, match="identity") as refused:
        reconcile(workspace, repair=False)
    assert "reconcile" in refused.value.hint
    assert reconcile(workspace).is_clean
    assert vectors_of(workspace) == before


def test_a_forgetting_that_was_begun_is_finished(workspace: Workspace) -> None:
    key, _members = members_of(workspace)
    image = workspace.catalog.resolve_image("img_0006.png")
    workspace.catalog.forget_image(image.image_key)
    seen = reconcile(workspace, repair=False)
    assert (check_of(seen).deleting, seen.left) == (1, 1)
    assert reconcile(workspace).is_clean
    assert workspace.index.count(key) == 11
    assert workspace.catalog.unfinished_forgets() == []


def test_moments_that_hold_what_the_collection_does_not_are_dropped(workspace: Workspace) -> None:
    run_audit(
        workspace,
        AuditRequest("release", ("used",), policy=Policy(rule=MuAlphaSigmaRule(population=Population.PAIRWISE))),
    )
    key, _ = members_of(workspace)
    file = workspace.root / "moments" / f"{key}.moments"
    kept = file.read_bytes()
    assert check_of(reconcile(workspace)).stale_moments is False
    forget_image(workspace, "img_0006.png")
    file.write_bytes(kept)  # as a crash between the two would leave it
    assert check_of(reconcile(workspace)).stale_moments is True
    assert not file.exists()
    file.write_bytes(kept[:-1])
    assert check_of(reconcile(workspace)).stale_moments is True
    assert not file.exists()


def test_what_is_forgotten_is_in_no_file_of_the_catalog(workspace: Workspace) -> None:
    """Neither in free pages nor in the log; where another process reads it, as soon as it is found alone."""

    def held() -> list[str]:
        return [file.name for file in workspace.root.glob("catalog.sqlite3*") if b"img_0006.png" in file.read_bytes()]

    image = workspace.catalog.resolve_image("img_0006.png")
    assert held()
    (workspace.root / ".restore-x").mkdir()
    (workspace.root / ".restore-x" / "catalog.sqlite3").write_bytes(b"img_0006.png")
    with closing(sqlite3.connect(workspace.root / "catalog.sqlite3", isolation_level=None)) as reader:
        reader.execute("BEGIN").close()
        reader.execute("SELECT count(*) FROM occurrences").fetchone()
        forget_image(workspace, image.image_id)
        assert workspace.is_erasing
    workspace.close()
    assert workspace.catalog.unfinished_forgets() == []
    assert (held(), workspace.is_erasing, (workspace.root / ".restore-x").exists()) == ([], False, False)
    other = workspace.catalog.resolve_image("img_0007.png")
    forget_image(workspace, other.image_id)
    assert not any(b"img_0007.png" in file.read_bytes() for file in workspace.root.glob("catalog.sqlite3*"))
