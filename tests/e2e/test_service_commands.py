"""The service's commands from outside: exit codes, JSON, the interrupt key, and a store that is held by another."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from provenance import Workspace
from provenance.index import open_index
from tests.runner import PROGRAM, process, refused, run

pytestmark = pytest.mark.slow

WAIT_SECONDS = 120
INGEST = ("ingest", "cohort/real_used", "--set", "used", "--membership", "used")


def provenance(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    small = {"PROVENANCE_WORKERS": "0", "PROVENANCE_BATCH_SIZE": "4"}
    return process(folder, *words, seconds=WAIT_SECONDS, **{**small, **environment})


def answer(folder: Path, *words: str, code: int = 0) -> Any:
    """The JSON document of a command in this process."""
    place, words = (folder / words[1], words[2:]) if words[0] == "--workspace" else (folder / ".provenance", words)
    with contextlib.chdir(folder):
        return json.loads(run(place, *words, "--json", code=code).stdout)


@pytest.fixture
def folder(cohort: Path, tiny_backbone: Path) -> Path:
    Workspace.create(cohort.parent / ".provenance", backbone_file=tiny_backbone, workers=0, batch_size=4).close()
    return cohort.parent


def lose_a_vector(folder: Path) -> None:
    with Workspace.open(folder / ".provenance") as workspace:
        (key,) = workspace.index.collections()
        workspace.index.delete(key, next(workspace.index.iterate(key)).ids[:1])


def test_a_workspace_that_may_only_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(folder, *INGEST)
    answer(folder, "ingest", "cohort/generated", "--release", "gen", "--generator", "g")
    made = answer(folder, "audit", "gen", "--used", "used", "--rule", "mu-alpha-sigma")["audit_id"]
    place = folder / ".provenance"
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or not Path(path).is_relative_to(place))
    before = {file: file.stat().st_size for file in place.rglob("*")}
    assert [each["name"] for each in answer(folder, "sets", "list")] == ["used"]
    assert answer(folder, "audits", "list")[0]["audit_id"] == made
    assert answer(folder, "duplicates", "used")["counts"]["images"] == 12
    assert answer(folder, "export", "used", "--format", "parquet", "-o", "used.parquet")["rows"] == 12
    assert answer(folder, "export", made, "--format", "csv", "-o", "v.csv")["rows"] > 0
    assert answer(folder, "report", made, "-o", "r.html")["cases"] > 0
    assert answer(folder, "reconcile", "--check-only")["clean"] is True
    with contextlib.chdir(folder):
        others = (("audit", "gen"), ("sets", "remove", "used", "--yes"), ("reconcile",), ("relocate", "cohort", "."))
        for words in (INGEST, *others, ("embed", "used", "--backbone", "pixels")):
            assert "the workspace is read-only" in refused(place, *words, code=6)
    assert {file: file.stat().st_size for file in place.rglob("*")} == before


def test_reconcile_says_by_its_exit_code_whether_anything_is_left(folder: Path) -> None:
    answer(folder, *INGEST)
    assert answer(folder, "reconcile")["clean"] is True
    lose_a_vector(folder)
    seen = provenance(folder, "reconcile", "--check-only")
    assert (seen.returncode, "missing" in seen.stdout) == (5, True)
    assert "1 problems are left" in seen.stderr
    assert "hint: run `provenance reconcile`" in seen.stderr
    document = answer(folder, "reconcile")
    assert (document["clean"], document["repaired"], document["findings"]) == (True, 1, [])
    (folder / "cohort" / "real_used").rename(folder / "moved")
    lose_a_vector(folder)
    document = answer(folder, "reconcile", code=5)
    assert [(f["problem"], f["dataset"]) for f in document["findings"]] == [("missing", "used")]
    assert "relocate" in getattr(run(folder / ".provenance", "reconcile", code=5).exception, "hint", "")
    answer(folder, "relocate", "cohort/real_used", "moved")
    assert answer(folder, "reconcile")["left"] == 0


def test_embed_adds_a_space_and_backup_and_restore_carry_it(folder: Path, other_backbone: Path) -> None:
    answer(folder, *INGEST)
    assert "which backbone" in refused(folder / ".provenance", "embed", "used")
    (folder / "cohort" / "real_used" / "img_0003.png").unlink()
    document = answer(folder, "embed", "used", "--backbone-file", str(other_backbone))
    assert document["counts"] == {"images": 12, "known": 0, "embedded": 11, "copied": 0, "unreadable": 1}
    assert [row["name"] for row in document["unreadable"]] == ["img_0003.png"]
    made = answer(folder, "backup", "all.zip")
    assert (made["vectors"], made["collections"]) == (23, 2)
    restored = answer(folder, "--workspace", "restored", "restore", "all.zip")
    assert (restored["vectors"], restored["reconcile"]["clean"]) == (23, True)
    with contextlib.chdir(folder):
        for words in (("backup", "all.zip"), ("restore", "all.zip"), ("restore", "none.zip")):
            refused(folder / ".provenance", *words, code=8)
        refused(folder / "third", "restore", "none.zip", code=3)


def test_watch_once_gives_a_line_of_json_for_each_batch(folder: Path) -> None:
    words = ("watch", "cohort/real_used", "--set", "used", "--membership", "used", "--settle-seconds", "0.1")
    done = provenance(folder, *words, "--once", "--json")
    assert done.returncode == 0, done.stderr
    batches = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(batch["counts"]["added"] for batch in batches) == 12
    with contextlib.chdir(folder):
        assert run(folder / ".provenance", *words, "--once", "--json").stdout == ""
        refused(folder / ".provenance", "watch", "nowhere", *words[2:], code=3)


def test_a_second_process_is_told_who_holds_the_index(folder: Path) -> None:
    with open_index(f"local:{folder / '.provenance' / 'index'}") as holder:
        held = provenance(folder, *INGEST, PROVENANCE_LOCK_TIMEOUT_SECONDS="0.3")
        assert held.returncode == 5
        assert f"held by process {os.getpid()} on " in held.stderr
        assert "hint: wait until it is done" in held.stderr
        threading.Timer(1.0, holder.close).start()
        assert provenance(folder, *INGEST, PROVENANCE_LOCK_TIMEOUT_SECONDS="60").returncode == 0


@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c_finishes_the_batch_in_flight_and_says_how_to_go_on(folder: Path, workers: str) -> None:
    slow = (  # the key is pressed during the first batch, so that nothing depends on the machine's speed
        "import os, signal, sys, time\n"
        "from provenance.embedding import inference\n"
        "embed = inference.Backbone.embed\n"
        "def pressed(self, pixels):\n"
        "    vectors = embed(self, pixels)\n"
        "    if not os.environ.get('PRESSED'):\n"
        "        os.environ['PRESSED'] = 'yes'\n"
        "        os.killpg(0, signal.SIGINT)\n"
        "    return vectors\n"
        "inference.Backbone.embed = pressed\n"
        "from provenance.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", slow, *INGEST, "--json"],
        cwd=folder,
        env={**os.environ, "PROVENANCE_WORKERS": workers, "PROVENANCE_BATCH_SIZE": "4"},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
        process_group=0,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "the same command goes on with used" in done.stderr
    document = json.loads(done.stdout)
    assert document["interrupted"] is True
    assert 4 <= document["counts"]["added"] < 12
    seen = answer(folder, "reconcile", "--check-only")
    assert (seen["clean"], seen["collections"][0]["recorded"]) == (True, document["counts"]["added"])
    rest = answer(folder, *INGEST)
    assert rest["counts"]["added"] == 12 - document["counts"]["added"]


def test_a_second_ctrl_c_stops_at_once_and_nothing_acknowledged_is_lost(folder: Path) -> None:
    stuck = (
        "import os, signal, sys, time\n"
        "from provenance.catalog import Catalog\n"
        "acknowledge = Catalog.acknowledge\n"
        "def pressed(*arguments):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    acknowledge(*arguments)\n"
        "Catalog.acknowledge = pressed\n"
        "from provenance.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", stuck, *INGEST],
        cwd=folder,
        env={**os.environ, "PROVENANCE_WORKERS": "0", "PROVENANCE_BATCH_SIZE": "4"},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "the same command goes on with used" in done.stderr
    assert answer(folder, *INGEST)["image_count"] == 12
    assert answer(folder, "reconcile")["clean"] is True


def test_a_terminating_signal_ends_a_watch_like_the_key(folder: Path) -> None:
    words = ("watch", "cohort/real_used", "--set", "used", "--membership", "used", "--settle-seconds", "0.1", "--json")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert json.loads(run.stdout.readline())["counts"]["added"] > 0
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=WAIT_SECONDS)
    assert run.returncode == 0
    assert "the same command goes on with used" in said
