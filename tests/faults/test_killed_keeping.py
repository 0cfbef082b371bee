"""Backups and restores that are killed: nothing stays behind after the next command, and the same one goes through."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from kept import faults_in, kept_in

from provenance.files import scratch_folder, sweep

if TYPE_CHECKING:
    from pathlib import Path

    from children import Children

BACKUP = "provenance.keeping.backup"


@pytest.fixture
def filled(children: Children, workspace: Path, cohort: Path) -> Path:
    ended = children.run("-w", workspace, "ingest", cohort / "used", "--set", "used", "--membership", "used")
    assert ended.code == 0
    return workspace


def left_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith((".backup-", ".restore-", ".making-"))]


def test_killed_backups_leave_nothing_and_can_be_repeated(children: Children, filled: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / ".backup-of-mine").mkdir()
    (place / ".backup-of-mine" / "letter.txt").write_text("not ours")
    target = place / "backup.zip"
    died = children.run("-w", filled, "backup", target, dies_at=f"{BACKUP}:_Packing._collection:1:before")
    assert (died.code, target.exists(), len(left_in(place))) == (-signal.SIGKILL, False, 2)
    assert children.run("-w", filled, "sets", "list").code == 0
    assert (left_in(place), left_in(filled)) == ([".backup-of-mine"], [])
    died = children.run("-w", filled, "backup", target, dies_at=f"{BACKUP}:sync_folder:1:before")
    assert (died.code, target.exists()) == (-signal.SIGKILL, True)
    again = children.run("-w", filled, "backup", target, "--json")
    assert (again.code, again.json()["vectors"]) == (0, 24), again.stderr
    assert (left_in(place), left_in(filled)) == ([".backup-of-mine"], [])
    assert children.run("-w", filled, "backup", target).code == 8


@pytest.mark.parametrize("step", ["_Unpacking.unpack:1:after", "restore_from_file:1:after", "reconcile:1:after"])
def test_killed_restores_leave_nothing_and_can_be_repeated(
    children: Children, filled: Path, tmp_path: Path, step: str
) -> None:
    backup, restored = tmp_path / "backup.zip", tmp_path / "restored"
    assert children.run("-w", filled, "backup", backup).code == 0
    died = children.run("-w", restored, "restore", backup, dies_at=f"{BACKUP}:{step}")
    assert died.code == -signal.SIGKILL
    again = children.run("-w", restored, "restore", backup, "--json")
    assert (again.code, again.json()["vectors"]) == (0, 24), again.stderr
    assert left_in(restored) == []
    assert not (restored / "restoring.json").exists()
    assert (kept_in(restored).vectors, faults_in(restored)) == (kept_in(filled).vectors, [])
    assert children.run("-w", restored, "restore", backup).code == 8


def test_what_a_living_process_is_making_is_left_alone(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, ".backup-") as folder:
        (folder / "archive").write_text("")
        sweep(tmp_path, ".backup-", ("archive",))
        assert folder.exists()
    assert not folder.exists()
