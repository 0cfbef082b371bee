"""SIGKILL of commands at random moments and before random system calls, each followed by another command and a repeat.

    python benchmarks/attack.py --kills 300
    python benchmarks/attack.py --kills 40 --only forget,backup --first-seed 7000

Half of the kills fall at a random moment, the others before the Nth fsync, rename, write or unlink of the process, its
database and its engine (a small library is compiled and loaded before them, so a C compiler is needed). Right is: the
next command leaves nothing of it behind, the repeat ends as an undisturbed one does, and then the workspace holds what
it holds undisturbed, catalog and index agree, and what was forgotten is in no file.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "faults"))

from children import Children, Ended
from kept import Kept, copied, faults_in, kept_in, rows
from killing import make_workspace
from samples import save_backbone, save_cohort

CALLS = ("fsync", "rename", "write", "unlink")
FORGOTTEN = "img_0007.png"
LEFT = (".making-*", ".backup-*", ".restore-*", ".dropped-*", ".provenance.*", "*.unfinished")
IN_THE_END = ("restoring.json", "erasing", "unanswered/*")
LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>
static long counts[4], kill_at[4];
void provenance_arm(int kind, long at) { for (int i = 0; i < 4; i++) counts[i] = kill_at[i] = 0; kill_at[kind] = at; }
static void called(int kind) {
  if (__sync_add_and_fetch(&counts[kind], 1) == kill_at[kind]) kill(getpid(), SIGKILL);
}
#define WRAP(kind, result, name, typed, given) \
  result name typed { \
    static result (*real) typed; \
    if (!real) real = (result (*) typed) dlsym(RTLD_NEXT, #name); \
    called(kind); \
    return real given; \
  }
WRAP(0, int, fsync, (int fd), (fd))
WRAP(0, int, fdatasync, (int fd), (fd))
WRAP(0, int, msync, (void *a, size_t n, int f), (a, n, f))
WRAP(1, int, rename, (const char *a, const char *b), (a, b))
WRAP(1, int, renameat, (int x, const char *a, int y, const char *b), (x, a, y, b))
WRAP(2, ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n))
WRAP(2, ssize_t, pwrite64, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o))
WRAP(3, int, unlink, (const char *a), (a))
WRAP(3, int, unlinkat, (int x, const char *a, int f), (x, a, f))
__attribute__((destructor)) static void tell(void) {
  const char *place = getenv("KILL_COUNTS");
  FILE *file = place ? fopen(place, "w") : 0;
  if (file) { fprintf(file, "%ld %ld %ld %ld", counts[0], counts[1], counts[2], counts[3]); fclose(file); }
}
"""


@dataclass(frozen=True)
class Operation:
    """One command, where it starts, and what it does undisturbed.

    Attributes:
        arguments: ``OUT`` stands for a folder of its own.
        codes: Of a first call, and of one that comes after it.
        calls: How many of each kind of system call it makes.
        lines: Of its answer.
    """

    name: str
    start: Path
    arguments: tuple[str, ...]
    codes: tuple[int, int]
    seconds: float
    calls: tuple[int, ...]
    lines: int
    kept: Kept
    audits: int


def library(folder: Path) -> Path:
    source, built = folder / "kill.c", folder / "kill.so"
    source.write_text(LIBRARY)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", built, source, "-ldl"], check=True)
    return built


class Attack:
    """Workspaces to start from, and the operations that are killed."""

    def __init__(self, children: Children, folder: Path) -> None:
        self.children, self.folder = children, folder
        self.cohort = save_cohort(folder / "images", used=16, not_used=12, generated=10)
        self.backbone = save_backbone(folder / "tiny.onnx")

    def _run(self, workspace: Path, arguments: tuple[str, ...], out: Path, **how: object) -> Ended:
        return self.children.run("-w", workspace, *(word.replace("OUT", str(out)) for word in arguments), **how)

    def _starts(self) -> dict[str, Path]:
        """The workspaces that the operations start from."""
        empty = make_workspace(self.children, self.folder / "empty", self.backbone)
        full = copied(empty, self.folder / "full")
        images = {name: str(self.cohort / name) for name in ("used", "not_used", "generated")}
        for arguments in (
            ("ingest", images["used"], "--set", "used", "--membership", "used"),
            ("ingest", images["not_used"], "--set", "not-used", "--membership", "not-used"),
            ("ingest", images["generated"], "--release", "release", "--generator", "toy"),
            ("audit", "release", "--subject", "generated"),
            ("audit", "release", "--subject", "real", "--rule", "mu-alpha-sigma"),
            ("backup", str(self.folder / "backup.zip")),
        ):
            ended = self._run(full, arguments, self.folder)
            assert ended.code == 0, ended.stderr
        changed, damaged, begun = (copied(full, self.folder / name) for name in ("changed", "damaged", "begun"))
        for segments in (damaged / "index" / "collections").glob("*/shard/segments/*/segment.json"):
            segments.write_bytes(b"\xff" * 8)
            break
        died = self._run(begun, ("sets", "forget", FORGOTTEN, "--yes"), self.folder, dies_at=_FINISHING)
        assert died.code < 0
        (self.cohort / "used" / "img_0002.png").rename(self.folder / "away.png")
        layout = self.folder / "layout"
        for name, source in (("real_used", "used"), ("real_not_used", "not_used"), ("generated", "generated")):
            shutil.copytree(self.cohort / source, layout / name)
        return {"empty": empty, "full": full, "changed": changed, "damaged": damaged, "begun": begun}

    def operations(self) -> list[Operation]:
        """Each with what it does undisturbed."""
        starts = self._starts()
        return [self._undisturbed(name, starts[start], arguments) for name, start, arguments in self._asked()]

    def _asked(self) -> list[tuple[str, str, tuple[str, ...]]]:
        audit, of_real = (
            each for (each,) in rows(self.folder / "full", "SELECT audit_id FROM audits ORDER BY sequence")
        )
        layout = ("ingest-layout", str(self.folder / "layout"), "--prefix", "clef", "--generator", "toy")
        return [
            ("ingest-layout", "empty", layout),
            ("restore", "empty", ("restore", str(self.folder / "backup.zip"))),
            ("backup", "full", ("backup", "OUT/backup.zip")),
            ("audit again", "full", ("audit", "release", "--subject", "generated")),
            ("check --sync", "changed", ("sets", "check", "used", "--sync")),
            ("regroup", "full", ("sets", "regroup", "used", "--group-from", r"img_00(\d)", "--force")),
            ("forget", "full", ("sets", "forget", FORGOTTEN, "--yes")),
            ("forget, begun", "begun", ("reconcile",)),
            ("reconcile, damaged", "damaged", ("reconcile",)),
            ("remove", "full", ("sets", "remove", "not-used", "--yes")),
            ("export", "full", ("export", audit, "--format", "csv", "-o", "OUT/audit.csv")),
            ("embeddings", "full", ("export", "used", "--format", "parquet", "-o", "OUT/used.parquet")),
            ("duplicates", "full", ("duplicates", "used", "not-used", "-o", "OUT/pairs.csv")),
            ("declare", "full", ("audit", "release", "--subject", "generated", "--declare", "OUT/policy.json")),
            ("evaluate", "full", ("evaluate", of_real, "--bootstrap", "100", "-o", "OUT/evaluation")),
            ("fit", "full", ("fit", of_real, "-o", "OUT/fitted.json")),
            ("sweep", "full", ("sweep", of_real, "-o", "OUT/sweep.csv", "--figure", "OUT/sweep.png")),
            ("report", "full", ("report", audit, "-o", "OUT/report.html")),
            ("sensitivity", "full", ("sensitivity", audit, "--plants", "5", "--kinds", "exact", "-o", "OUT/planted")),
        ]

    def _undisturbed(self, name: str, start: Path, arguments: tuple[str, ...]) -> Operation:
        workspace, counts = copied(start, self.folder / "undisturbed"), self.folder / "counts"
        out = self.folder / "out-undisturbed"
        out.mkdir()
        began = time.monotonic()
        environment = {"KILL_COUNTS": str(counts)}
        first = self._run(workspace, arguments, out, environment=environment, before_call="0:0")
        seconds = time.monotonic() - began
        kept, audits = kept_in(workspace), len(rows(workspace, "SELECT 1 FROM audits"))
        second = self._run(workspace, arguments, out)
        shutil.rmtree(workspace)
        shutil.rmtree(out)
        calls = tuple(map(int, counts.read_text().split()))
        print(
            f"{name}: {seconds:.2f} s, {dict(zip(CALLS, calls, strict=True))}, {first.code} and {second.code}",
            flush=True,
        )
        return Operation(
            name,
            start,
            arguments,
            (first.code, second.code),
            seconds,
            calls,
            len(first.stdout.splitlines()),
            kept,
            audits,
        )

    def kill(self, operation: Operation, seed: int) -> tuple[str, list[str]]:
        """Kills it once; gives how, and what was wrong after that."""
        chance = random.Random(seed)
        workspace, out = copied(operation.start, self.folder / f"killed-{seed}"), self.folder / f"out-{seed}"
        out.mkdir()
        kind = chance.randrange(4)
        if chance.random() < 0.5 and operation.calls[kind]:
            how, number = CALLS[kind], chance.randint(1, operation.calls[kind])
            ended = self._run(workspace, operation.arguments, out, before_call=f"{kind}:{number}")
        else:
            how = "moment"
            words = (word.replace("OUT", str(out)) for word in operation.arguments)
            child = self.children.start("-w", workspace, *words)
            time.sleep(operation.seconds * chance.random())
            child.kill()
            ended = child.ended()
        died = ended.code < 0
        if not died:
            how = "over before"
        wrong = self._wrong(operation, workspace, out, died=died, said=ended.stdout)
        shutil.rmtree(workspace)
        shutil.rmtree(out)
        return how, wrong

    def _wrong(self, operation: Operation, workspace: Path, out: Path, *, died: bool, said: str) -> list[str]:
        found = []
        answered = operation.codes[0] if died else operation.codes[1]
        if operation.name not in ("restore", "audit again"):  # of these the repeat itself is the next command
            next_one = self._run(workspace, ("sets", "list"), out)
            found += [f"next command: {next_one.stderr}"] if next_one.code else []
            found += [f"left: {each}" for each in left_in(workspace) + left_in(out) if "index/" not in each]
            if "-o" in operation.arguments or operation.name in ("backup", "declare"):
                answered = operation.codes[1] if any(each.is_file() for each in out.rglob("*")) else operation.codes[0]
        repeat = self._run(workspace, operation.arguments, out)
        if repeat.code not in {answered, *(operation.codes if operation.name in _ENDS_IT else ())}:
            found.append(f"repeat ended with {repeat.code}: {repeat.stderr}")
        looked = self._run(workspace, ("reconcile", "--check-only", "--json"), out)
        found += [] if looked.code == 0 and looked.json()["clean"] else [f"reconcile: {looked.stdout}{looked.stderr}"]
        found += [f"left in the end: {each}" for each in [*left_in(workspace), *left_in(out), *held_in(workspace)]]
        found += [each for each in faults_in(workspace) if not each.startswith(_TOMBSTONES.get(operation.name, "none"))]
        kept = kept_in(workspace)
        found += [
            f"{word} is {getattr(kept, word)} in place of {getattr(operation.kept, word)}"
            for word in Kept.__dataclass_fields__
            if getattr(kept, word) != getattr(operation.kept, word)
        ]
        audits = len(rows(workspace, "SELECT 1 FROM audits"))
        whole = not died or len(said.splitlines()) >= operation.lines
        right = {operation.audits + (not died and operation.name == "audit again")}
        if whole:  # a repeat of what was answered is a call of its own
            right.add(operation.audits + (operation.name == "audit again"))
        found += [] if audits in right else [f"{audits} audits"]
        measured = len(rows(workspace, "SELECT 1 FROM events WHERE kind = 'sensitivity_measured'"))
        found += [f"{measured} measurements"] if measured > 1 and not whole else []
        if operation.name.startswith("forget"):
            found += [f"holds what was forgotten: {each}" for each in holding(workspace, FORGOTTEN.encode())]
        return found


_FINISHING = "provenance.catalog.store:Catalog.finish_forget:1:before"
_TOMBSTONES = {
    "forget": "member without a point",
    "forget, begun": "member without a point",
    "remove": "image without a member",
}
_ENDS_IT = ("forget", "remove", "check --sync", "regroup", "restore")
"""A next command, or one that had committed, brings these to their end: the repeat finds it done."""


def left_in(folder: Path) -> list[str]:
    return [str(each.relative_to(folder)) for pattern in LEFT for each in folder.rglob(pattern)]


def held_in(workspace: Path) -> list[str]:
    return [each.name for pattern in IN_THE_END for each in workspace.glob(pattern)]


def holding(workspace: Path, name: bytes) -> list[str]:
    return [file.name for file in workspace.glob("catalog.sqlite3*") if name in file.read_bytes()]


def run_kills(count: int, first_seed: int, only: str) -> int:
    """Kills so often, operation by operation in turn; gives the exit code."""
    ends: Counter[tuple[str, str]] = Counter()
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = folder / "output"
        output.mkdir()
        os.environ["LD_PRELOAD"] = str(library(folder))
        children = Children(output)
        del os.environ["LD_PRELOAD"]
        try:
            attack = Attack(children, folder)
            operations = [each for each in attack.operations() if not only or each.name in only.split(",")]
            for number in range(count):
                operation, seed = operations[number % len(operations)], first_seed + number
                how, wrong = attack.kill(operation, seed)
                ends[operation.name, how] += 1
                bad += bool(wrong)
                if wrong:
                    print(f"seed {seed}, {operation.name}, {how}: {'; '.join(wrong)}"[:2000], flush=True)
        finally:
            children.close()
    for (operation_name, how), number in sorted(ends.items()):
        print(f"{number:4d}  {operation_name}: {how}")
    print(f"{count} runs, {sum(n for (_, how), n in ends.items() if how != 'over before')} killed; {bad} went wrong")
    return 1 if bad else 0
