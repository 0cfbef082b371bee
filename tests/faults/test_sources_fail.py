"""Sources that are cut, closed, gone or changing: an error or a reject with its reason, and the next run goes on."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kept import faults_in, rows
from refusals import SOURCE, refused

from provenance import IngestRequest, Workspace, run_ingest
from provenance.images import source as source_module
from provenance.vocabulary import DatasetKind, Membership, RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from children import Children

    from provenance.ingest import IngestReport

USED = ("--set", "used", "--membership", "used")


def test_truncated_zip_is_an_error_and_the_whole_one_goes_in(
    children: Children, workspace: Path, cohort: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "used.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted((cohort / "used").glob("*.png")):
            target.write(file, file.name)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    refused(children.run("-w", workspace, "ingest", archive, *USED), SOURCE, "used.zip")
    assert rows(workspace, "SELECT 1 FROM datasets") == []
    archive.write_bytes(whole)
    report = children.run("-w", workspace, "ingest", archive, *USED, "--json").json()
    assert (report["image_count"], report["counts"]["rejected"]) == (24, 1)
    assert faults_in(workspace) == []


def test_damaged_member_of_a_zip_is_rejected_alone(
    children: Children, workspace: Path, cohort: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "used.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted((cohort / "used").glob("img*.png")):
            target.write(file, file.name)
        place = target.getinfo("img_0007.png").header_offset
    content = bytearray(archive.read_bytes())
    content[place + 100] ^= 0xFF
    archive.write_bytes(content)
    report = children.run("-w", workspace, "ingest", archive, *USED, "--json").json()
    assert ([r["name"] for r in report["rejects"]], report["image_count"]) == (["img_0007.png"], 23)


def test_closed_folder_is_an_error_and_the_opened_one_goes_in(
    children: Children, workspace: Path, cohort: Path
) -> None:
    (cohort / "used").chmod(0)
    try:
        ended = children.run("-w", workspace, "ingest", cohort / "used", *USED, without_privilege=True)
    finally:
        (cohort / "used").chmod(0o755)
    refused(ended, SOURCE, str(cohort / "used"), "ermission")
    assert rows(workspace, "SELECT 1 FROM datasets") == []
    assert children.run("-w", workspace, "ingest", cohort / "used", *USED, without_privilege=True).code == 0


def test_closed_subfolder_and_file_are_rejected_and_go_in_once_they_are_open(
    children: Children, workspace: Path, cohort: Path
) -> None:
    closed = (cohort / "used" / "deeper", cohort / "used" / "img_0009.png")
    for path in closed:
        path.chmod(0)
    try:
        ended = children.run("-w", workspace, "ingest", cohort / "used", *USED, "--json", without_privilege=True)
    finally:
        for path in closed:
            path.chmod(0o755)
    report = ended.json()
    reasons = {r["name"]: r["reason"] for r in report["rejects"]}
    assert reasons == {"broken.png": "unsupported", "deeper": "unreadable", "img_0009.png": "unreadable"}
    assert report["image_count"] == 23
    again = children.run("-w", workspace, "ingest", cohort / "used", *USED, "--json", without_privilege=True).json()
    assert (again["image_count"], [r["name"] for r in again["rejects"]]) == (24, ["broken.png"])
    assert rows(workspace, "SELECT name FROM rejects") == [("broken.png",)]


def test_reject_of_a_folder_goes_when_what_is_in_it_is_known_already(
    children: Children, workspace: Path, cohort: Path
) -> None:
    words = ("-w", workspace, "ingest", cohort / "used", *USED)
    assert children.run(*words).code == 0
    (cohort / "used" / "deeper").chmod(0)
    try:
        assert children.run(*words, without_privilege=True).code == 0
    finally:
        (cohort / "used" / "deeper").chmod(0o755)
    assert len(rows(workspace, "SELECT 1 FROM rejects")) == 2
    assert children.run(*words).code == 0
    assert rows(workspace, "SELECT name FROM rejects") == [("broken.png",)]


@pytest.fixture
def ingest(workspace: Path) -> Callable[[Path], IngestReport]:
    def run(folder: Path) -> IngestReport:
        request = IngestRequest((folder,), "used", DatasetKind.SET, Membership.USED)
        with Workspace.open(workspace) as opened:
            return run_ingest(opened, request, opened.load_backbone())

    return run


def test_file_that_vanishes_or_changes_before_it_is_read_is_rejected_and_then_goes_in(
    ingest: Callable[[Path], IngestReport], cohort: Path, workspace: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """Between being listed and being read, one file goes away and another one is written to."""
    read = source_module._read_file
    vanishing, growing = (cohort / "used" / f"img_{seed:04d}.png" for seed in (4, 6))

    def disturbed(item: Any, *rest: Any) -> bytes:
        if item.source == str(vanishing):
            shutil.move(vanishing, tmp_path / "away.png")
        if item.source == str(growing):
            with growing.open("ab") as file:
                file.write(b"more")
        return read(item, *rest)

    monkeypatch.setattr(source_module, "_read_file", disturbed)
    report = ingest(cohort / "used")
    reasons = {r.name: (r.reason, r.detail) for r in report.rejections if r.name != "broken.png"}
    assert {name: reason for name, (reason, _) in reasons.items()} == {
        vanishing.name: RejectReason.UNREADABLE,
        growing.name: RejectReason.UNREADABLE,
    }
    assert "changed" in reasons[growing.name][1]
    assert report.image_count == 22
    monkeypatch.undo()
    shutil.move(tmp_path / "away.png", vanishing)
    again = ingest(cohort / "used")
    assert (again.image_count, [r.name for r in again.rejections]) == (24, ["broken.png"])
    assert faults_in(workspace) == []


def test_file_that_changes_while_it_is_read_is_rejected_and_then_goes_in(
    ingest: Callable[[Path], IngestReport], cohort: Path, workspace: Path, monkeypatch: Any
) -> None:
    """Bytes are read before and after somebody writes: neither the old nor the new picture is what was read."""
    changing = cohort / "used" / "img_0008.png"

    class Disturbed(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(-1 if size is None else size)
            if Path(f"/dev/fd/{self.fileno()}").resolve() == changing.resolve():
                content = bytearray(changing.read_bytes())
                content[-1] ^= 1
                changing.write_bytes(content)
            return data

    monkeypatch.setattr("provenance.images.source.io.FileIO", Disturbed)
    report = ingest(cohort / "used")
    assert [r.name for r in report.rejections] == ["broken.png", changing.name]
    assert "changed" in report.rejections[1].detail
    monkeypatch.undo()
    again = ingest(cohort / "used")
    assert (again.image_count, again.counts["added"]) == (24, 1)
    assert faults_in(workspace) == []
