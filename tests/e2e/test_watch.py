"""A watched folder: what is there, what arrives, what is only half there, and stores that are away for a while."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest

from provenance import IngestRequest, Workspace
from provenance.errors import ConflictError, UsageError
from provenance.index import open_index
from provenance.ingest.watch import WatchBatch, watch
from provenance.keeping.removal import forget_image
from provenance.vocabulary import DatasetKind, Membership, RejectReason

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.errors import ProvenanceError

MakeWorkspace = Callable[..., Workspace]
WAIT_SECONDS = 30


def request_for(folder: Path, membership: Membership = Membership.USED) -> IngestRequest:
    return IngestRequest((folder,), "cohort", DatasetKind.SET, membership)


def refuse(error: ProvenanceError, _seconds: float) -> None:
    raise error


def take_all(workspace: Workspace, folder: Path, **more: Any) -> list[WatchBatch]:
    batches: list[WatchBatch] = []
    settings = {"settle_seconds": 0.2, "once": True} | more
    watch(workspace, request_for(folder), workspace.load_backbone(), batches.append, refuse, **settings)
    return batches


def test_a_watch_that_takes_nothing_leaves_no_set(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    workspace, folder = make_workspace(), tmp_path / "incoming"
    folder.mkdir()
    assert take_all(workspace, folder) == []
    (folder / "a.png").write_bytes(b"no image")
    assert [batch.counts["rejected"] for batch in take_all(workspace, folder)] == [1]
    assert workspace.catalog.datasets() == []
    with pytest.raises(UsageError, match="matched 0 of 1 names"):
        watch(
            workspace,
            IngestRequest((folder,), "cohort", DatasetKind.SET, Membership.USED, group_from="(P.)_"),
            workspace.load_backbone(),
            lambda _batch: None,
            refuse,
            once=True,
        )


class Watched:
    """A watch in a thread of its own, and what it told."""

    def __init__(self) -> None:
        self.batches: Queue[WatchBatch] = Queue()
        self.problems: Queue[str] = Queue()
        self.stop = threading.Event()

    def next(self) -> WatchBatch:
        return self.batches.get(timeout=WAIT_SECONDS)


@contextmanager
def watching(workspace: Workspace, folder: Path, settle_seconds: float) -> Iterator[Watched]:
    watched = Watched()
    backbone = workspace.load_backbone()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            watch(
                workspace,
                request_for(folder),
                backbone,
                watched.batches.put,
                lambda error, _seconds: watched.problems.put(error.message),
                settle_seconds=settle_seconds,
                stop=watched.stop,
            )
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield watched
    finally:
        watched.stop.set()
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
    assert failed == []


def test_what_is_there_goes_in_once_and_stays_in(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace, folder = make_workspace(), cohort / "real_used"
    (folder / "deeper").mkdir()
    shutil.copy(folder / "img_0001.png", folder / "deeper" / "again.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".img_0002.png.part").write_bytes(b"hidden")
    batches = take_all(workspace, folder)
    assert sum(batch.counts["added"] for batch in batches) == 12
    assert batches[-1].image_count == 12
    assert [r.name for batch in batches for r in batch.rejections] == ["*.txt"]
    assert sum(batch.counts["skipped"] for batch in batches) == 1
    image = workspace.catalog.resolve_image("img_0001.png")
    assert {o.name for o in workspace.catalog.occurrences_of(image.image_key)} == {"img_0001.png", "deeper/again.png"}
    again = take_all(workspace, folder)
    assert sum(batch.counts["read"] - batch.counts["rejected"] for batch in again) == 0


def test_what_arrives_goes_in_whole_and_the_index_is_free_in_between(
    make_workspace: MakeWorkspace, cohort: Path, tmp_path: Path
) -> None:
    workspace, folder = make_workspace(), tmp_path / "incoming"
    folder.mkdir()
    shutil.copy(cohort / "real_used" / "img_0000.png", folder)
    with watching(workspace, folder, settle_seconds=1.0) as watched:
        assert watched.next().counts["added"] == 1
        whole = (cohort / "real_used" / "img_0001.png").read_bytes()
        with (folder / "slow.png").open("wb") as file:
            for start in range(0, len(whole), len(whole) // 5):
                file.write(whole[start : start + len(whole) // 5])
                file.flush()
                threading.Event().wait(0.2)  # five parts of a second: longer than it takes to look at the first
        (tmp_path / "deep").mkdir()
        shutil.copy(cohort / "real_used" / "img_0002.png", tmp_path / "deep" / "moved.png")
        (tmp_path / "deep").rename(folder / "deep")
        found = [watched.next()]
        if found[0].counts["added"] == 1:
            found.append(watched.next())
        assert sum(batch.counts["added"] for batch in found) == 2
        assert [batch.rejections for batch in found] == [()] * len(found)
        with open_index(f"local:{workspace.root / 'index'}", lock_timeout_seconds=WAIT_SECONDS) as index:
            assert len(index.collections()) == 1
    names = [workspace.catalog.resolve_image(name).image_id for name in ("slow.png", "deep/moved.png")]
    assert len(set(names)) == 2


def test_a_rejected_file_goes_in_when_it_is_mended(make_workspace: MakeWorkspace, cohort: Path, tmp_path: Path) -> None:
    workspace, folder = make_workspace(), tmp_path / "incoming"
    folder.mkdir()
    whole = (cohort / "real_used" / "img_0001.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[:-30])
    with watching(workspace, folder, settle_seconds=0.2) as watched:
        assert [r.reason for r in watched.next().rejections] == [RejectReason.TRUNCATED]
        (folder / "cut.png").write_bytes(whole)
        assert watched.next().counts["added"] == 1
        assert watched.batches.empty()
    assert workspace.catalog.rejects(workspace.catalog.dataset("cohort").dataset_id) == []


def test_a_locked_store_is_waited_for(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace = make_workspace(lock_timeout_seconds=0)
    with (
        open_index(f"local:{workspace.root / 'index'}") as holder,
        watching(workspace, cohort / "real_used", settle_seconds=0.1) as watched,
    ):
        assert f"held by process {os.getpid()}" in watched.problems.get(timeout=WAIT_SECONDS)
        holder.close()
        assert watched.next().counts["added"] == 12


def test_what_was_forgotten_does_not_come_back(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace, folder = make_workspace(), cohort / "real_used"
    take_all(workspace, folder)
    forget_image(workspace, "img_0003.png")
    again = take_all(workspace, folder)
    assert [r.reason for batch in again for r in batch.rejections] == [RejectReason.FORGOTTEN]
    assert again[-1].image_count == 11


def test_wrong_calls_are_told_at_once(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace, folder = make_workspace(), cohort / "real_used"
    backbone = workspace.load_backbone()
    take_all(workspace, folder)
    with pytest.raises(ConflictError, match="membership"):
        watch(workspace, request_for(folder, Membership.UNKNOWN), backbone, print, refuse, once=True)
    with pytest.raises(UsageError, match="no folder"):
        watch(workspace, request_for(folder / "img_0000.png"), backbone, print, refuse, once=True)
