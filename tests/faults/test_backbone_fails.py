"""A backbone that gives no numbers, and a decoding process that is killed: clear errors, and the next run goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from kept import faults_in, rows
from refusals import EMBEDDING, refused
from samples import save_backbone, save_pictures

from provenance import IngestRequest, Workspace, run_ingest
from provenance.vocabulary import DatasetKind, Membership, RejectReason

if TYPE_CHECKING:
    from children import Children

    from provenance.ingest import Progress

USED = ("--set", "used", "--membership", "used")


def test_backbone_that_gives_nan_for_all_is_named_and_another_one_goes_on(
    children: Children, workspace: Path, cohort: Path, tmp_path: Path
) -> None:
    broken = save_backbone(tmp_path / "broken.onnx", gives_nan=True)
    ended = children.run("-w", workspace, "ingest", cohort / "used", *USED, "--backbone-file", broken)
    refused(ended, EMBEDDING, "finite", "onnx:")
    release = ("--release", "release", "--generator", "toy")
    assert children.run("-w", workspace, "ingest", cohort / "generated", *release, "--backbone-file", broken).code == 4
    for words in ((cohort / "used", *USED), (cohort / "generated", *release)):
        assert children.run("-w", workspace, "ingest", *words).code == 0
    assert rows(workspace, "SELECT name FROM rejects") == [("broken.png",)]
    assert faults_in(workspace) == []
    assert children.run("-w", workspace, "audit", "release", "--subject", "generated").code == 0


def test_killed_decoding_process_costs_its_image_and_the_next_run_takes_it(workspace: Path, tmp_path: Path) -> None:
    """None, if it had just handed over its image: then another one is killed."""
    with Workspace.open(workspace, workers=1) as opened:
        backbone, lost, sets = opened.load_backbone(), 0, 0
        while not lost and sets < 5:
            sets += 1
            folder = save_pictures(tmp_path / str(sets), range(150 * sets, 150 * sets + 150))
            killed: list[int] = []

            def kill_the_worker(step: Progress, killed: list[int] = killed) -> None:
                if not killed:
                    killed.append(_worker_of(os.getpid()))
                    os.kill(killed[0], signal.SIGKILL)

            request = IngestRequest((folder,), f"used{sets}", DatasetKind.SET, Membership.USED)
            report = run_ingest(opened, request, backbone, kill_the_worker)
            lost = len(report.rejections)
            assert report.image_count == 150 - lost
        (rejection,) = report.rejections
        assert rejection.reason is RejectReason.OVERSIZED
        assert "was ended by SIGKILL" in rejection.detail
        again = run_ingest(opened, request, backbone)
    assert (again.image_count, again.counts["known"], again.counts["added"]) == (150, 149, 1)
    assert rows(workspace, "SELECT name FROM rejects") == []
    assert faults_in(workspace) == []


def _worker_of(parent: int) -> int:
    for entry in Path("/proc").iterdir():
        is_child = entry.name.isdigit() and f"PPid:\t{parent}\n" in (entry / "status").read_text()
        if is_child and b"embedding.executor" in (entry / "cmdline").read_bytes():
            return int(entry.name)
    raise AssertionError("no worker is there")
