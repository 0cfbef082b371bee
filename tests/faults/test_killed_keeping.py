"""Backups and restores that are killed: nothing stays behind after the next command, and the same one goes through."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from kept import copied, faults_in, kept_in, rows

from provenance.files import answering, replace_file, scratch_folder, sweep

if TYPE_CHECKING:
    from pathlib import Path

    from children import Children, Ended
    from killing import Undisturbed

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
    for moment in (f"{BACKUP}:sync_folder:1:before", "provenance.files:shutil.rmtree:1:after"):
        died = children.run("-w", filled, "backup", target, dies_at=moment)
        assert (died.code, target.exists()) == (-signal.SIGKILL, True)
        again = children.run("-w", filled, "backup", target, "--json")
        assert (again.code, again.json()["vectors"]) == (0, 24), again.stderr
        assert (left_in(place), left_in(filled)) == ([".backup-of-mine"], [])
        assert children.run("-w", filled, "backup", target).code == 8
        target.unlink()


STEPS = (
    *(f"{BACKUP}:{step}:1:after" for step in ("_Unpacking.unpack", "restore_from_file", "reconcile")),
    "provenance.cli.app:_answered:1:after",
)


@pytest.mark.parametrize("step", STEPS)
def test_killed_restores_leave_nothing_and_can_be_repeated(
    children: Children, filled: Path, tmp_path: Path, step: str
) -> None:
    backup, restored = tmp_path / "backup.zip", tmp_path / "restored"
    assert children.run("-w", filled, "backup", backup).code == 0
    died = children.run("-w", restored, "restore", backup, dies_at=step)
    assert died.code == -signal.SIGKILL
    again = children.run("-w", restored, "restore", backup, "--json")
    assert (again.code, again.json()["vectors"]) == (0, 24), again.stderr
    assert left_in(restored) == []
    assert not (restored / "restoring.json").exists()
    assert (kept_in(restored).vectors, faults_in(restored)) == (kept_in(filled).vectors, [])
    assert children.run("-w", restored, "restore", backup).code == 8
    if step == STEPS[-1]:
        other = tmp_path / "other"
        assert children.run("-w", other, "restore", backup, dies_at=step).code == -signal.SIGKILL
        assert children.run("-w", other, "sets", "list").code == 0
        assert (left_in(other), (other / "restoring.json").exists()) == ([], False)


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (("sets", "remove", "used", "--yes"), ("remove_dataset:1:after", "scrub:1:before")),
        (
            ("sets", "forget", "img_0007.png", "--yes"),
            ("forget_image:1:after", "finish_forget:1:after", "scrub:1:before"),
        ),
    ],
    ids=["remove", "forget"],
)
def test_what_is_taken_out_is_gone_after_the_repeat_and_whatever_comes_next(
    children: Children, filled: Path, tmp_path: Path, words: tuple[str, ...], steps: tuple[str, ...]
) -> None:
    for step in steps:
        workspace = copied(filled, tmp_path / step.partition(":")[0])
        died = children.run("-w", workspace, *words, dies_at=f"provenance.catalog.store:Catalog.{step}")
        assert died.code == -signal.SIGKILL, died.stderr
        assert (workspace / "erasing").exists()
        repeat = children.run("-w", workspace, *words)
        assert repeat.code in (0, 7), repeat.stderr  # it was done, and is not known any more
        assert not (workspace / "erasing").exists()
        looked = children.run("-w", workspace, "reconcile", "--check-only", "--json")
        assert (looked.code, looked.json()["clean"]) == (0, True), looked.stdout
        assert b"img_0007" not in (workspace / "catalog.sqlite3").read_bytes()


def test_what_a_living_process_is_making_is_left_alone(tmp_path: Path) -> None:
    with answering(tmp_path), scratch_folder(tmp_path, ".backup-") as (folder, _):
        (folder / "archive").write_text("")
        sweep(tmp_path, [".backup-"], ("archive",))
        assert folder.exists()
        with pytest.raises(ZeroDivisionError):
            replace_file(tmp_path / "file", lambda _: [sweep(tmp_path, [".backup-"], ()), 1 / 0])
        assert len(left_in(tmp_path)) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_somebody_forged_takes_nothing_away(tmp_path: Path) -> None:
    """A workspace that was received may hold any."""
    workspace, mine = tmp_path / "workspace", tmp_path / "mine"
    for folder in (workspace, mine, mine / ".backup-of-mine"):
        folder.mkdir()
    things = [mine / ".backup-of-mine" / "letter.txt", mine / ".provenance.toml", mine / "letter.txt"]
    for number, thing in enumerate(things):
        thing.write_text("not ours")
        for named in (thing, thing.parent):
            note = {"thing": str(named), "target": str(thing)}
            (workspace / f".making-{number}-{len(str(named))}.json").write_text(json.dumps(note))
    sweep(workspace, [".backup-", ".restore-"], ("archive",))
    assert all(thing.read_text() == "not ours" for thing in things)


WRITING = {
    "export": ("export", "AUDIT", "--format", "csv", "-o", "OUT.csv"),
    "duplicates": ("duplicates", "used", "-o", "OUT.csv"),
    "declare": ("audit", "release", "--subject", "generated", "--declare", "OUT.json"),
    "sweep": ("sweep", "AUDIT", "--labels", "LABELS", "-o", "OUT.csv", "--figure", "OUT.svg"),
    "backup": ("backup", "OUT.zip"),
}


@pytest.fixture(scope="session")
def audited(children: Children, peace: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Path]:
    """A workspace with an audit, its id, and truth about its subjects."""
    folder = tmp_path_factory.mktemp("audited")
    command = next(command for command in peace.commands if command.name == "audit")
    workspace = copied(command.start, folder / "workspace")
    audit = children.run("-w", workspace, *command.arguments).json()["audit_id"]
    names = [name for (name,) in rows(workspace, "SELECT name FROM occurrences WHERE name LIKE '%gen%'")]
    copies = [name for (name,) in rows(workspace, "SELECT name FROM occurrences WHERE name LIKE '%copy%'")]
    lines = [f"{name},{int(name in copies)}" for name in names + copies]
    labels = folder / "labels.csv"
    labels.write_text("\n".join(["name,used", *lines]))
    return workspace, audit, labels


@pytest.mark.parametrize("name", WRITING)
def test_a_killed_command_that_writes_files_leaves_nothing_and_can_be_repeated(
    children: Children, audited: tuple[Path, str, Path], tmp_path: Path, name: str
) -> None:
    workspace, audit, labels = copied(audited[0], tmp_path / "workspace"), *audited[1:]
    place = tmp_path / "elsewhere"
    place.mkdir()
    given = {"AUDIT": audit, "LABELS": str(labels)}
    words = [given.get(word, word.replace("OUT", str(place / "out"))) for word in WRITING[name]]

    def ended(code: int, *arguments: str, **how: str) -> Ended:
        found = children.run("-w", workspace, *arguments, **how)
        assert found.code == code, found.stderr
        return found

    def files() -> dict[str, int]:
        return {str(file.relative_to(place)): file.stat().st_ino for file in place.rglob("*") if file.is_file()}

    ended(-signal.SIGKILL, *words, dies_at="provenance.files:_Note.finished:1:after")
    assert len(list(place.rglob(".*"))) == len(left_in(workspace)) == 1
    ended(0, "sets", "list")
    assert (files(), left_in(workspace)) == ({}, [])
    # it was whole, and nobody heard of it; and so was its repeat
    for _ in range(2):
        ended(-signal.SIGKILL, *words, dies_at="provenance.cli.app:_answered:1:after")
    made = files()
    assert made
    again = ended(0, *words, "--json").json()
    assert again
    assert (files().keys(), left_in(workspace)) == (made.keys(), [])
    # heard of, it is as any other file there; and so is one that somebody changed
    assert ended(8, *words).stderr
    for file in place.rglob("*"):
        file.unlink() if file.is_file() else None
    ended(-signal.SIGKILL, *words, dies_at="provenance.cli.app:_answered:1:after")
    changed = next(file for file in place.rglob("*") if file.is_file())
    changed.write_bytes(b"mine")
    ended(8, *words)
    assert changed.read_bytes() == b"mine"
