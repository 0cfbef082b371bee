"""The ingest service on small files: what goes in, what is rejected, what a second run does, what is refused."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from provenance import AuditRequest, IngestRequest, Policy, Workspace, run_audit, run_ingest
from provenance.audit.plan import planned_again
from provenance.documents.ingests import Ingest
from provenance.errors import ConflictError, SourceError, SpaceMismatchError, UsageError
from provenance.ingest import Inside, run_embed
from provenance.records import Generator
from provenance.vocabulary import Canonical, DatasetKind, Membership, Pages, PointState, Rejection, RejectReason

if TYPE_CHECKING:
    from provenance.ingest import IngestReport

MakeWorkspace = Callable[..., Workspace]


def ingest_set(workspace: Workspace, *sources: Path, name: str = "cohort", **more: Any) -> IngestReport:
    request = IngestRequest(tuple(sources), name, DatasetKind.SET, Membership.USED, **more)
    return run_ingest(workspace, request, workspace.load_backbone())


def ingest_release(workspace: Workspace, *sources: Path, name: str = "release") -> IngestReport:
    request = IngestRequest(tuple(sources), name, DatasetKind.RELEASE, generator=Generator("toy"))
    return run_ingest(workspace, request, workspace.load_backbone())


@pytest.fixture
def used(cohort: Path) -> Path:
    return cohort / "real_used"


def test_bad_files_are_rejected_one_by_one_and_the_rest_goes_in(make_workspace: MakeWorkspace, used: Path) -> None:
    whole = (used / "img_0000.png").read_bytes()
    (used / "empty.png").write_bytes(b"")
    (used / "cut.png").write_bytes(whole[: len(whole) // 2])
    (used / "noise.jpg").write_bytes(os.urandom(500))
    (used / "notes.txt").write_text("not an image")
    workspace = make_workspace()
    report = ingest_set(workspace, used)
    assert report.image_count == 12
    assert report.counts | {"read": 15, "added": 12, "rejected": 3, "skipped": 1} == report.counts
    assert workspace.catalog.datasets()[0].reject_count == 3  # as the run says it: what is skipped is not rejected
    reasons = {r.name: r.reason for r in report.rejections}
    assert reasons["empty.png"] is RejectReason.EMPTY
    assert reasons["cut.png"] is RejectReason.TRUNCATED
    assert reasons.keys() == {"empty.png", "cut.png", "noise.jpg", "*.txt"}
    on_record = workspace.catalog.rejects(report.dataset_id)
    assert {r.name: r.reason for r in on_record} == reasons


def test_files_that_are_no_images_are_counted_by_extension(
    make_workspace: MakeWorkspace, used: Path, tmp_path: Path
) -> None:
    for number in range(40):
        (used / f"{number}.JSON").write_text("{}")
        (used / f"{number}.meta").write_text("by its bytes")
    (used / "deeper" / "note").parent.mkdir()
    (used / "deeper" / "note").write_text("text without an extension")
    (used / "page.png").write_text("<html>not found</html>")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as made:
        for file in sorted(used.rglob("*.*")):
            made.write(file, file.name)
    workspace = make_workspace()
    report = ingest_set(workspace, used, tmp_path / "set.zip")
    assert report.counts | {"read": 26, "added": 12, "rejected": 2, "skipped": 161} == report.counts
    lines = {(r.source, r.member): (r.name, r.detail) for r in report.rejections if r.reason is RejectReason.SKIPPED}
    plain, by_bytes = "40 files: .json is not an image format", "40 files: text, not an image"
    assert lines == {
        (str(used / "*.json"), None): ("*.json", plain),
        (str(used / "*.meta"), None): ("*.meta", by_bytes),
        (str(used / "files without an extension"), None): (
            "files without an extension",
            "1 file: text, not an image",
        ),
        (str(tmp_path / "set.zip"), "*.json"): ("*.json", plain),
        (str(tmp_path / "set.zip"), "*.meta"): ("*.meta", by_bytes),
    }
    # as an older version recorded them
    first = Rejection("7.json", str(used / "7.json"), None, 2, RejectReason.UNSUPPORTED, ".json is not an image format")
    elsewhere = replace(first, source=f"{used}-2/7.json")
    inner = replace(first, source=str(tmp_path / "set.zip"), member="7.json")
    workspace.catalog.add_rejects(report.run_id, report.dataset_id, [first, elsewhere, inner])
    again = ingest_set(workspace, used, tmp_path / "set.zip")
    assert again.counts | {"known": 24, "rejected": 2, "skipped": 161} == again.counts
    recorded = workspace.catalog.rejects(report.dataset_id)
    assert len(recorded) == len(lines) + 3
    assert [one.source for one in recorded if one.name == "7.json"] == [elsewhere.source]


def test_mended_file_goes_in_and_its_reject_goes_out(make_workspace: MakeWorkspace, used: Path) -> None:
    whole = (used / "img_0000.png").read_bytes()
    (used / "late.png").write_bytes(whole[:50])
    workspace = make_workspace()
    assert ingest_set(workspace, used).counts["rejected"] == 1
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(used / "late.png")
    report = ingest_set(workspace, used)
    assert (report.counts["added"], report.counts["known"], report.image_count) == (1, 12, 13)
    assert workspace.catalog.rejects(report.dataset_id) == []


def test_same_bytes_are_one_image_with_every_name_kept(make_workspace: MakeWorkspace, used: Path) -> None:
    shutil.copy(used / "img_0003.png", used / "again.png")
    (used / "deeper").mkdir()
    shutil.copy(used / "img_0003.png", used / "deeper" / "img_0003.png")
    workspace = make_workspace()
    report = ingest_set(workspace, used)
    assert (report.image_count, report.counts["added"], report.counts["repeated"]) == (12, 12, 2)
    image = workspace.catalog.resolve_image("again.png")
    names = {o.name for o in workspace.catalog.occurrences_of(image.image_key)}
    assert names == {"img_0003.png", "again.png", "deeper/img_0003.png"}


def test_second_run_embeds_the_new_files_only(
    make_workspace: MakeWorkspace, used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace()
    ingest_set(workspace, used)
    os.utime(used / "img_0002.png", ns=(1, 1))  # touched: read again, and found to be the same
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(used / "new.png")
    backbone = workspace.load_backbone()
    batches: list[int] = []
    embed = type(backbone).embed

    def counting(self: Any, pixels: Any) -> Any:
        batches.append(len(pixels))
        return embed(self, pixels)

    monkeypatch.setattr(type(backbone), "embed", counting)
    request = IngestRequest((used,), "cohort", DatasetKind.SET, Membership.USED)
    report = run_ingest(workspace, request, backbone)
    assert sum(batches) == 1
    assert (report.counts["known"], report.counts["added"], report.image_count) == (12, 1, 13)


def test_moved_file_is_the_same_image(make_workspace: MakeWorkspace, used: Path) -> None:
    workspace = make_workspace()
    before = ingest_set(workspace, used)
    (used / "sub").mkdir()
    (used / "img_0004.png").rename(used / "sub" / "renamed.png")
    after = ingest_set(workspace, used)
    assert after.dataset_digest == before.dataset_digest
    assert after.counts["embedded"] == 0


def test_archives_give_the_images_of_their_folder(make_workspace: MakeWorkspace, used: Path, tmp_path: Path) -> None:
    archive = tmp_path / "cohort.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted(used.iterdir()):
            target.write(file, file.name)
    tar = shutil.make_archive(str(tmp_path / "cohort"), "gztar", used)
    workspace = make_workspace()
    digests = {
        ingest_set(workspace, source, name=name).dataset_digest
        for name, source in (("folder", used), ("zip", archive), ("tar", Path(tar)))
    }
    assert len(digests) == 1


def test_what_a_killed_run_left_pending_is_unseen_and_finished_by_the_next(
    make_workspace: MakeWorkspace, used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace()
    backbone = workspace.load_backbone()
    request = IngestRequest((used,), "cohort", DatasetKind.SET, Membership.USED)
    acknowledge = type(workspace.catalog).acknowledge
    calls: list[int] = []

    def dies_at_the_second(self: Any, *arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        acknowledge(self, *arguments)

    monkeypatch.setattr(type(workspace.catalog), "acknowledge", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run_ingest(workspace, request, backbone)
    monkeypatch.undo()
    dataset = workspace.catalog.dataset("cohort")
    (collection,) = workspace.catalog.collections_of(dataset.dataset_id)
    seen = workspace.catalog.members(dataset.dataset_id, collection.collection_key)
    pending = workspace.catalog.pending_points(collection.collection_key)
    assert len(seen) == 4
    assert {p.state for p in pending} == {PointState.PENDING}
    ingest_release(workspace, used.parent / "generated")
    with pytest.raises(SpaceMismatchError, match="no vector"):
        run_audit(workspace, AuditRequest("release", ("cohort",)))
    report = run_ingest(workspace, request, backbone)
    assert report.image_count == 12
    assert workspace.index.count(collection.collection_key) == 12
    assert workspace.catalog.pending_points(collection.collection_key) == []


def test_nothing_readable_is_an_error_that_names_the_first_reason(
    make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"x\.png"):
        ingest_set(make_workspace(), tmp_path / "bad")


def test_source_that_is_not_there_records_nothing(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    workspace = make_workspace()
    with pytest.raises(SourceError):
        ingest_set(workspace, tmp_path / "nowhere")
    assert workspace.catalog.datasets() == []


def test_release_is_sealed_and_refuses_other_content(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace = make_workspace()
    generated = cohort / "generated"
    assert ingest_release(workspace, generated).sealed is True
    again = ingest_release(workspace, generated)
    assert (again.counts["known"], len(workspace.catalog.datasets()[0].seals)) == (9, 1)
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(generated / "late.png")
    with pytest.raises(ConflictError, match=r"sealed and does not hold late\.png"):
        ingest_release(workspace, generated)
    (generated / "late.png").unlink()
    (generated / "gen_0300.png").unlink()
    with pytest.raises(ConflictError, match="1 images that this source does not"):
        ingest_release(workspace, generated)


def test_once_rejected_file_of_a_release_makes_a_revision(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace = make_workspace()
    generated = cohort / "generated"
    (generated / "late.png").write_bytes(b"")
    ingest_release(workspace, generated)
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(generated / "late.png")
    report = ingest_release(workspace, generated)
    (summary,) = workspace.catalog.datasets()
    assert [seal.revision for seal in summary.seals] == [1, 2]
    assert summary.seals[-1].release_digest == report.dataset_digest
    assert summary.seals[-1].image_count == 10


def test_unsealed_release_is_not_audited(
    make_workspace: MakeWorkspace, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace()
    ingest_set(workspace, cohort / "real_used")

    def full(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(type(workspace.catalog), "seal", full)
    with pytest.raises(OSError, match="disk full"):
        ingest_release(workspace, cohort / "generated")
    monkeypatch.undo()
    with pytest.raises(ConflictError, match="not complete"):
        run_audit(workspace, AuditRequest("release", ("cohort",)))
    assert ingest_release(workspace, cohort / "generated").sealed


def test_images_that_another_set_claims_otherwise_are_counted(make_workspace: MakeWorkspace, used: Path) -> None:
    def ingested(name: str, membership: Membership) -> list[tuple[object, ...]]:
        request = IngestRequest((some,), name, DatasetKind.SET, membership)
        report = run_ingest(workspace, request, workspace.load_backbone())
        document = Ingest.of(report)
        assert [(each.name, each.images) for each in document.claimed_elsewhere] == [
            (each.name, each.images) for each in report.claimed_elsewhere
        ]
        return [tuple(each) for each in report.claimed_elsewhere]

    some = used.parent / "some"
    some.mkdir()
    for file in sorted(used.iterdir())[:3]:
        shutil.copy(file, some / f"again-{file.name}")
    workspace = make_workspace()
    assert ingest_set(workspace, used, name="a").claimed_elsewhere == ()
    assert ingested("same", Membership.USED) == []
    workspace.remove("same")
    assert ingested("b", Membership.NOT_USED) == [("a", "used", 3)]
    assert ingested("c", Membership.UNKNOWN) == [("a", "used", 3), ("b", "not_used", 3)]
    assert ingest_set(workspace, used, name="a").claimed_elsewhere == (("b", "not_used", 3),)  # "c" claims nothing
    workspace.remove("b")
    assert ingest_set(workspace, used, name="a").claimed_elsewhere == ()


def test_set_keeps_its_membership_and_a_name_its_kind(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace = make_workspace()
    ingest_set(workspace, cohort / "real_used")
    with pytest.raises(ConflictError):
        run_ingest(
            workspace,
            IngestRequest((cohort / "real_used",), "cohort", DatasetKind.SET, Membership.NOT_USED),
            workspace.load_backbone(),
        )
    with pytest.raises(ConflictError):
        ingest_release(workspace, cohort / "generated", name="cohort")


def test_groups_are_pseudonyms_shared_by_sets(make_workspace: MakeWorkspace, used: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("name,group\nimg_0000.png,Jane Doe\nimg_0001.png,Jane Doe\nimg_0002.png,John Roe\n")
    workspace = make_workspace()
    ingest_set(workspace, used, name="by-table", group_from=str(table))
    ingest_set(workspace, used, name="by-regex", group_from=r"img_000([0-2])")
    keys = {}
    for name in ("by-table", "by-regex"):
        dataset = workspace.catalog.dataset(name)
        (collection,) = workspace.catalog.collections_of(dataset.dataset_id)
        keys[name] = [m.group_key for m in workspace.catalog.members(dataset.dataset_id, collection.collection_key)]
    assert sorted(map(str, keys["by-table"])).count("None") == 9
    assert len({key for key in keys["by-table"] if key}) == 2
    assert workspace.catalog.pseudonym("Jane Doe") in keys["by-table"]
    everything = b"".join(p.read_bytes() for p in workspace.root.rglob("*") if p.is_file())
    assert b"Jane" not in everything


def test_backbone_that_gives_nan_rejects_that_image_only(
    make_workspace: MakeWorkspace, used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace()
    backbone = workspace.load_backbone()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(used / "black.png")
    embed = type(backbone).embed

    def black_is_nan(self: Any, pixels: Any) -> Any:
        vectors = embed(self, pixels)
        vectors[(pixels == 0).all(axis=(1, 2, 3))] = np.nan
        return vectors

    monkeypatch.setattr(type(backbone), "embed", black_is_nan)
    report = run_ingest(workspace, IngestRequest((used,), "cohort", DatasetKind.SET, Membership.USED), backbone)
    assert [(r.name, r.reason) for r in report.rejections] == [("black.png", RejectReason.NOT_FINITE)]
    assert report.image_count == 12


def test_a_run_that_is_asked_to_stop_ends_after_its_batch_and_the_next_goes_on(
    make_workspace: MakeWorkspace, used: Path
) -> None:
    workspace = make_workspace()
    stop = Event()
    request = IngestRequest((used,), "cohort", DatasetKind.SET, Membership.USED)
    report = run_ingest(workspace, request, workspace.load_backbone(), lambda _step: stop.set(), stop)
    assert (report.interrupted, report.counts["added"], report.image_count) == (True, 4, 4)
    rest = run_ingest(workspace, request, workspace.load_backbone())
    assert (rest.interrupted, rest.counts["known"], rest.counts["added"]) == (False, 4, 8)
    assert [run.state.value for run in workspace.catalog.runs()] == ["finished", "interrupted"]


def test_a_release_that_is_stopped_is_not_sealed(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace = make_workspace()
    stop = Event()
    request = IngestRequest((cohort / "generated",), "release", DatasetKind.RELEASE, generator=Generator("toy"))
    report = run_ingest(workspace, request, workspace.load_backbone(), lambda _step: stop.set(), stop)
    assert (report.interrupted, report.sealed) == (True, False)
    assert run_ingest(workspace, request, workspace.load_backbone()).sealed is True


def test_groups_that_are_given_later_are_recorded_without_rehash(make_workspace: MakeWorkspace, used: Path) -> None:
    workspace = make_workspace()
    ingest_set(workspace, used)
    rule = r"img_000([0-2])"
    report = ingest_set(workspace, used, group_from=rule)
    assert (report.counts["known"], report.counts["embedded"]) == (12, 0)
    (collection,) = workspace.catalog.collections_of(report.dataset_id)
    members = workspace.catalog.members(report.dataset_id, collection.collection_key)
    assert sum(member.group_key is not None for member in members) == 3
    with pytest.raises(ConflictError, match="group"):
        ingest_set(workspace, used, group_from=r"(img)_000[0-2]")


def test_groups_are_counted_and_a_rule_that_matches_no_name_is_refused_before_anything_is_embedded(
    make_workspace: MakeWorkspace, used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, said = make_workspace(), list[str]()
    (used / "notes.txt").write_text("no image, and no name to be matched")
    backbone = workspace.load_backbone()
    request = IngestRequest((used,), "cohort", DatasetKind.SET, Membership.USED, group_from="(PAT[0-9]+)/")
    with monkeypatch.context() as patched:
        patched.setattr(type(backbone), "embed", None)
        with pytest.raises(UsageError, match="matched 0 of 12 names, 0 groups"):
            run_ingest(workspace, request, backbone)
    assert workspace.catalog.datasets() == []
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive, tarfile.open(tmp_path / "set.tgz", "w:gz") as stream:
        for file in sorted(used.iterdir()):
            archive.write(file, file.name)
            stream.add(file, file.name)
    for source in ("set.zip", "set.tgz"):  # a stream tells its names only while it is read
        with pytest.raises(UsageError, match="matched 0 of 12 names"):
            run_ingest(workspace, replace(request, sources=(tmp_path / source,)), backbone)
    forced = run_ingest(workspace, replace(request, force=True), backbone)
    assert forced.groups is not None
    assert (forced.groups.names, forced.groups.matched, forced.groups.groups) == (12, 0, 0)
    few = replace(request, name="few", group_from=r"img_000([0-2])")
    counted = [
        run_ingest(workspace, replace(few, name=source.name, sources=(source,)), backbone, on_step=said.append).groups
        for source in (used, tmp_path / "set.zip", tmp_path / "set.tgz")
    ]
    assert {(found.names, found.matched, found.groups) for found in counted if found} == {(12, 3, 3)}
    assert said == ["--group-from matched 3 of 12 names, 3 groups; the first without a group: 'img_0003.png'"] * 2
    assert ingest_set(workspace, used, name="none").groups is None


def test_images_are_regrouped_by_their_names_and_audits_keep_what_they_said(
    make_workspace: MakeWorkspace, cohort: Path
) -> None:
    workspace = make_workspace()
    ingest_set(workspace, cohort / "real_used", group_from=r"img_00(0)")
    ingest_release(workspace, cohort / "generated")
    audit = run_audit(workspace, AuditRequest("release", policy=Policy()))
    before = workspace.show_dataset("cohort")
    assert (before.group_count, before.largest_group_count, before.ungrouped_count) == (1, 10, 2)
    for path in (cohort / "real_used").iterdir():
        path.unlink()  # no file is read
    with pytest.raises(UsageError, match="matched 0 of 12 names"):
        workspace.regroup("cohort", "(P.)_")
    report = workspace.regroup("cohort", r"img_00(\d)")
    assert (report.matches.matched, report.matches.groups, report.changed) == (12, 2, 2)
    after = workspace.show_dataset("cohort")
    assert (list(after.group_sizes.values()), after.ungrouped_count) == ([10, 2], 0)
    recorded = workspace.show_audit(audit.audit.audit_id)
    assert recorded.audit.verdict_digest == audit.audit.verdict_digest
    assert not any(drift.changed for drift in recorded.drift)
    with pytest.raises(ConflictError, match="cohort was given other groups"):
        planned_again(workspace, audit.audit, lambda _step: None)
    history = [entry.kind for entry in workspace.history_of("img_0011.png")[1]]
    assert history.count("regrouped") == 1
    assert workspace.regroup("cohort", "(P.)_", force=True).changed == 12
    assert workspace.show_dataset("cohort").group_count == 0


def test_an_image_whose_names_stand_for_two_groups_is_not_regrouped(make_workspace: MakeWorkspace, used: Path) -> None:
    workspace = make_workspace()
    (used / "P1").mkdir()
    (used / "P2").mkdir()
    for folder in ("P1", "P2"):
        shutil.copy(used / "img_0000.png", used / folder / "same.png")
    ingest_set(workspace, used)
    with pytest.raises(ConflictError, match=r"'P1/same.png' and 'P2/same.png'"):
        workspace.regroup("cohort", "(P[0-9])/")
    assert workspace.show_dataset("cohort").group_count == 0


def test_what_gets_nothing_leaves_no_set_no_release_and_no_space(
    make_workspace: MakeWorkspace, used: Path, tmp_path: Path, other_backbone: Path
) -> None:
    workspace, empty = make_workspace(), tmp_path / "empty"
    empty.mkdir()
    (empty / "a.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"1 rejected: 1 unsupported; the first: a\.png") as failed:
        ingest_set(workspace, empty)
    assert "provenance -v" in failed.value.hint
    with pytest.raises(SourceError):
        ingest_release(workspace, empty)
    stop = Event()
    stop.set()
    request = IngestRequest((used,), "cohort", DatasetKind.SET, Membership.USED)
    assert run_ingest(workspace, request, workspace.load_backbone(), stop=stop).interrupted

    def at_once(_step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # the first batch has gone in before it is told
        run_ingest(workspace, request, workspace.load_backbone(), at_once)
    assert [summary.image_count for summary in workspace.catalog.datasets()] == [4]
    with pytest.raises(SourceError) as failed:
        ingest_set(workspace, empty)
    assert "sets show cohort" in failed.value.hint  # the set was there, and stays
    other = workspace.load_backbone(backbone_file=other_backbone)
    with pytest.raises(SourceError):
        run_ingest(workspace, replace(request, sources=(empty,)), other)
    shutil.move(used, tmp_path / "moved")
    with pytest.raises(SourceError, match="none of the 4 images"):
        workspace.embed("cohort", backbone=other)
    assert len(workspace.show_dataset("cohort").spaces) == 1
    assert set(workspace.index.collections()) == {c.collection_key for c in workspace.catalog.live_collections()}


def test_a_file_that_changed_back_is_known_by_its_first_bytes(make_workspace: MakeWorkspace, used: Path) -> None:
    workspace = make_workspace()
    first, second = (used / "img_0000.png").read_bytes(), (used / "img_0001.png").read_bytes()
    for content in (first, second, first):
        (used / "img_0000.png").write_bytes(content)
        report = ingest_set(workspace, used)
    assert report.image_count == 12
    monitored = ingest_set(workspace, used)
    assert (monitored.counts["known"], monitored.counts["read"]) == (12, 12)


def test_pages_go_in_each_by_itself_and_are_read_again(
    make_workspace: MakeWorkspace, other_backbone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stacks"
    folder.mkdir()
    pages = [Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 30, 3), np.uint8)) for seed in range(5)]
    pages[0].save(folder / "volume.tif", save_all=True, append_images=pages[1:])
    first, *others = (page.convert("P") for page in pages)
    first.save(folder / "cine.gif", save_all=True, append_images=others)
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        pages[2].save(tmp_path / "pair.tif", save_all=True, append_images=pages[3:4])
        archive.write(tmp_path / "pair.tif", "patient-7/pair.tif")
    workspace = make_workspace()
    report = ingest_set(workspace, folder, tmp_path / "more.zip", group_from=r"^(\w+)")
    assert report.inside == Inside(files=2, images=7, left_out=4, left_out_files=1)
    assert (report.image_count, report.counts["rejected"]) == (8, 0)
    third = workspace.catalog.resolve_image("volume.tif#3")
    assert third.facts.image_id.endswith("#3")
    assert ingest_set(workspace, folder, tmp_path / "more.zip", group_from=r"^(\w+)").counts["known"] == 8
    again = run_embed(workspace, "cohort", workspace.load_backbone(backbone_file=other_backbone))
    assert (again.counts["embedded"], again.counts["unreadable"]) == (8, 0)
    frames = ingest_set(workspace, folder / "cine.gif", name="frames", pages=Pages.ALL)
    assert (frames.image_count, frames.inside.images) == (5, 5)


def test_one_range_of_grey_holds_for_the_whole_workspace(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    folder = tmp_path / "twelve"
    folder.mkdir()
    for seed in range(3):
        values = np.random.default_rng(seed).integers(0, 1024, (30, 30)).astype(np.uint16)
        Image.fromarray(values).save(folder / f"{seed}.png")
    workspace = make_workspace()
    with pytest.raises(SourceError, match=r"4 grey levels are left .* --grey-range=0:1023"):
        ingest_set(workspace, folder)
    workspace.state_grey_range("0:1023")
    report = ingest_set(workspace, folder)
    assert (report.image_count, report.inside.coarse) == (3, 0)
    assert workspace.catalog.space(report.space_id).canonical == Canonical(2, (0, 1023))
    workspace.state_grey_range("0:4095")
    with pytest.raises(ConflictError, match="read by 0:1023 in this workspace, not by 0:4095"):
        ingest_set(workspace, folder)
    workspace.state_grey_range("")
    assert ingest_release(workspace, folder).space_id == report.space_id
    for wrong in ("5", "9:9", "a:b", "1:inf"):
        with pytest.raises(UsageError, match="is none"):
            workspace.state_grey_range(wrong)


def test_a_workspace_of_the_first_rule_keeps_it(make_workspace: MakeWorkspace, used: Path, tmp_path: Path) -> None:
    workspace = make_workspace()
    backbone = workspace.load_backbone().decoding(Canonical(version=1))
    request = IngestRequest((used,), "cohort", DatasetKind.SET, Membership.USED)
    first = run_ingest(workspace, request, backbone)
    dark = np.random.default_rng(1).integers(0, 1024, (30, 30)).astype(np.uint16)
    (tmp_path / "more").mkdir()
    pages = [Image.fromarray(dark), Image.fromarray(dark.T.copy())]
    pages[0].save(tmp_path / "more" / "pair.tif", save_all=True, append_images=pages[1:])
    later = ingest_set(workspace, tmp_path / "more")
    assert later.space_id == first.space_id
    assert later.inside == Inside(left_out=1, left_out_files=1, coarse=1)
