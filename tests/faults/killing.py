"""Runs that are killed at a random moment and run again, compared with runs that nobody disturbed."""

from __future__ import annotations

import json
import random
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kept import Kept, copied, faults_in, kept_in, lost_in, rows

if TYPE_CHECKING:
    from pathlib import Path

    from children import Children

MOST_TRIES = 6


@dataclass(frozen=True, slots=True)
class Command:
    """A command to kill.

    Attributes:
        start: The workspace it starts from, where everything else is done already.
        seconds: From its first write to its last.
    """

    name: str
    arguments: tuple[str | Path, ...]
    start: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """The commands with their starting points, and what is there when all have run."""

    commands: tuple[Command, ...]
    kept: Kept
    audit: dict[str, Any]


@dataclass(frozen=True, slots=True)
class KilledRun:
    """One killed and resumed run.

    Attributes:
        phase: What the killed run had done, see ``phase_of``.
        after_seconds: From its first write to its death.
        problems: Every difference from the undisturbed run; empty where all is well.
    """

    command: str
    phase: str
    after_seconds: float
    problems: tuple[str, ...]


def make_workspace(children: Children, root: Path, backbone: Path, *, batch_size: int = 2) -> Path:
    """A workspace with quick settings, by the real command."""
    ended = children.run("-w", root, "init", "--backbone-file", backbone)
    assert ended.code == 0, ended.stderr
    with (root / "provenance.toml").open("a") as settings:
        settings.write(f"workers = 0\nthreads = 1\nbatch_size = {batch_size}\n")
    return root


def undisturbed(children: Children, folder: Path, backbone: Path, images: Path) -> Undisturbed:
    """Runs everything once, in peace.

    Args:
        children: Starts the commands.
        folder: Takes the workspaces.
        backbone: A backbone file.
        images: Folder with ``used``, ``not_used`` and ``generated``.
    """
    others = make_workspace(children, folder / "others", backbone)
    used = ("ingest", images / "used", "--set", "used", "--membership", "used")
    release = ("ingest", images / "generated", "--release", "release", "--generator", "toy")
    _done(children, others, "ingest", images / "not_used", "--set", "not-used", "--membership", "not-used")
    before_used = copied(others, folder / "before-used")
    _done(children, before_used, *release)
    before_release = copied(others, folder / "before-release")
    _done(children, before_release, *used)
    before_audit = copied(before_release, folder / "before-audit")
    _done(children, before_audit, *release)
    whole = copied(before_audit, folder / "whole")
    commands = [
        _timed(children, Command(name, arguments, start, 0.0), folder / f"timed-{name}")
        for name, arguments, start in (
            ("ingest of a set", used, before_used),
            ("ingest of a release", release, before_release),
            ("audit", ("audit", "release", "--subject", "generated", "--json"), before_audit),
        )
    ]
    audit = json.loads(_done(children, whole, "audit", "release", "--subject", "generated", "--json"))
    assert faults_in(whole) == []
    return Undisturbed(tuple(commands), kept_in(whole), audit)


def killed_run(children: Children, peace: Undisturbed, seed: int, folder: Path) -> KilledRun:
    """Kills one command at a random moment between its first write and its end, runs it again, and compares.

    A run that comes to its end before its moment does not count: it is tried again, and dies earlier.
    """
    chance = random.Random(seed)
    command = chance.choices(peace.commands, weights=(5, 3, 2))[0]
    share = chance.random()
    for attempt in range(MOST_TRIES):
        workspace = copied(command.start, folder / f"killed-{seed}-{attempt}")
        after = _killed(children, command, workspace, command.seconds * share / 2**attempt)
        if after is not None:
            phase = phase_of(command, workspace)
            found = differences(children, peace, command, workspace, folder / f"seen-{seed}")
            shutil.rmtree(workspace)
            return KilledRun(command.name, phase, after, tuple(found))
        shutil.rmtree(workspace)
    raise AssertionError(f"{command.name} was over before it could be killed, {MOST_TRIES} times")


def phase_of(command: Command, workspace: Path) -> str:
    """How far a killed run had come, by what it left."""
    if command.name == "audit":
        if rows(workspace, "SELECT 1 FROM audits"):
            return "audit recorded"
        written = sorted(file.suffix for file in (workspace / "vectors").glob("*"))
        if ".unfinished" in written:
            return "writing a vector file"
        return f"{len(written)} vector files written, audit not recorded"
    run = rows(workspace, "SELECT state, run_id FROM runs ORDER BY started_at DESC LIMIT 1")
    if not run or len(rows(workspace, "SELECT 1 FROM runs")) == len(rows(command.start, "SELECT 1 FROM runs")):
        return "before the run is on record"
    if run[0][0] != "running":
        return "run finished"
    mine = f"JOIN collections c USING (collection_key) JOIN runs r USING (dataset_id) WHERE r.run_id = '{run[0][1]}'"
    states = [state for (state,) in rows(workspace, f"SELECT p.state FROM points p {mine}")]
    if "pending" in states:
        return "in the middle of a batch"
    return "between batches" if states else "before the first batch"


def differences(children: Children, peace: Undisturbed, command: Command, workspace: Path, seen: Path) -> list[str]:
    """Runs a killed command again, and gives every difference from the undisturbed run; none where all is well."""
    copied(workspace, seen)
    problems = [f"lost: {each}" for each in lost_in(seen)]
    acknowledged = kept_in(seen).vectors
    shutil.rmtree(seen)
    ended = children.run("-w", workspace, *command.arguments)
    if ended.code != 0:
        return [*problems, f"run again: exit code {ended.code}: {ended.stderr}"]
    problems += faults_in(workspace)
    looked = children.run("-w", workspace, "reconcile", "--check-only", "--json")
    if looked.code != 0 or not looked.json()["clean"]:
        problems.append(f"reconcile: {looked.stdout}{looked.stderr}")
    kept = kept_in(workspace)
    problems += [
        f"acknowledged, and another now: {key}" for key, sha in acknowledged.items() if kept.vectors[key] != sha
    ]
    for name in Kept.__dataclass_fields__:
        if getattr(kept, name) != getattr(peace.kept, name):
            problems.append(f"{name}: {getattr(kept, name)} in place of {getattr(peace.kept, name)}")
    return problems + _audit_problems(children, peace, command, workspace, ended.stdout)


def _audit_problems(
    children: Children, peace: Undisturbed, command: Command, workspace: Path, printed: str
) -> list[str]:
    """The audit of the resumed workspace against the undisturbed one; also one that was recorded before the kill."""
    if command.name != "audit":
        printed = _done(children, workspace, "audit", "release", "--subject", "generated", "--json")
    audit = json.loads(printed)
    problems = [
        f"audit's {name}: {audit[name]} in place of {peace.audit[name]}"
        for name in ("verdict_digest", "counts", "release_digest", "threshold")
        if audit[name] != peace.audit[name]
    ]
    whole = len(rows(workspace, "SELECT 1 FROM verdicts")) / audit["counts"]["subjects"]
    recorded = [digest for (digest,) in rows(workspace, "SELECT verdict_digest FROM audits")]
    if whole != len(recorded) or set(recorded) != {peace.audit["verdict_digest"]}:
        problems.append(f"{len(recorded)} audits with the verdicts of {whole}: {recorded}")
    return problems


def _killed(children: Children, command: Command, workspace: Path, seconds: float) -> float | None:
    """Lets a command work for some seconds from its first write on, then kills it; ``None`` if it was faster."""
    child = children.start("-w", workspace, *command.arguments)
    first = _first_write(child, workspace)
    while first is not None and child.code() is None:
        left = first + seconds - time.monotonic()
        if left <= 0:
            child.kill()
            died = time.monotonic() - first
            return died if child.ended().code < 0 else None
        time.sleep(min(left, 0.002))
    return None


def _timed(children: Children, command: Command, workspace: Path) -> Command:
    """The command with the time that it takes from its first write to its last."""
    copied(command.start, workspace)
    child = children.start("-w", workspace, *command.arguments)
    first = _first_write(child, workspace)
    assert first is not None, "it was over before anybody could look"
    last, log = first, (0, 0)
    while child.code() is None:
        if log != (log := _log_of(workspace)) and log[0]:
            last = time.monotonic()
        time.sleep(0.001)
    assert child.ended().code == 0, child.ended().stderr
    return Command(command.name, command.arguments, command.start, last - first)


def _first_write(child: Any, workspace: Path) -> float | None:
    """When a command first wrote: a row of the catalog, or a vector file; ``None`` if it ended before."""
    while child.code() is None:
        if _log_of(workspace)[0] or (workspace / "vectors").exists():
            return time.monotonic()
        time.sleep(0.001)
    return None


def _log_of(workspace: Path) -> tuple[int, int]:
    """Size and time of the catalog's log; a command that closes the catalog removes it."""
    try:
        status = (workspace / "catalog.sqlite3-wal").stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _done(children: Children, workspace: Path, *arguments: str | Path) -> str:
    ended = children.run("-w", workspace, *arguments)
    assert ended.code == 0, ended.stderr
    return ended.stdout


__all__ = ["Command", "KilledRun", "Undisturbed", "differences", "killed_run", "make_workspace", "undisturbed"]
