"""What only the in-process engine can get wrong: locks, killed processes, files that keep what was deleted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from provenance.errors import StoreLockedError, VectorStoreError
from provenance.index import CollectionSpec, Points, open_index, point_id
from provenance.index import edge as edge_module
from provenance.index.edge import EdgeIndex
from tests.vectors import unit

ROOT = Path(__file__).resolve().parents[3]
DIMENSION = 64
SPEC = CollectionSpec("set", DIMENSION)


def make_points(start: int, stop: int) -> Points:
    rows = [np.random.default_rng(number).standard_normal((1, DIMENSION)) for number in range(start, stop)]
    vectors = unit(np.array(rows).reshape(-1, 1, DIMENSION))
    ids = [point_id(f"sha256:{number}", "space:test") for number in range(start, stop)]
    return Points(ids, vectors, [{"number": number} for number in range(start, stop)])


def run_child(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python process that has ``make_points`` and the index at hand."""
    source = f"from tests.unit.index.test_edge import *\n{textwrap.dedent(code)}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )


def files_with(folder: Path, vector: npt.NDArray[np.float32]) -> list[str]:
    return [str(file) for file in folder.rglob("*") if file.is_file() and vector.tobytes() in file.read_bytes()]


def test_a_folder_of_any_name_holds_its_own_store(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("per%20cent", "what?", "a#b", "n\nl", "bad\udcff", "bad\udcfe")]
    for number, folder in enumerate(folders):
        with open_index(f"local:{folder}") as index:
            index.create(SPEC)
            index.upsert("set", make_points(number, 2 * number + 1))
    for number, folder in enumerate(folders):
        with open_index(f"local:{folder}") as index:
            assert (
                index.get("set", make_points(number, 2 * number + 1).ids).ids == make_points(number, 2 * number + 1).ids
            )
            assert index.count("set") == number + 1
    assert sorted(tmp_path.iterdir()) == sorted(folders)


def test_a_store_that_may_only_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EdgeIndex(tmp_path / "store") as index:
        index.create(SPEC)
        index.upsert("set", make_points(0, 120))
        index.delete("set", make_points(0, 20).ids)
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*")}
    expected = make_points(20, 120)
    with open_index(f"local:{tmp_path / 'store'}") as copy, open_index(f"local:{tmp_path / 'store'}") as second:
        assert (copy.count("set"), second.collections(), copy.store_uuid) == (100, ["set"], second.store_uuid)
        found = copy.get("set", expected.ids)
        assert found.ids == expected.ids
        assert np.array_equal(found.vectors, expected.vectors)
        with pytest.raises(VectorStoreError, match="is read-only"):
            copy.upsert("set", expected)
        with pytest.raises(VectorStoreError, match="is read-only"):
            copy.drop("set")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*")} == before
    copy = open_index(f"local:{tmp_path / 'store'}", lock_timeout_seconds=0)
    with copy, EdgeIndex(tmp_path / "store"), pytest.raises(StoreLockedError, match="process that writes"):
        copy.count("set")
    with pytest.raises(VectorStoreError, match="there is no vector index"):
        open_index(f"local:{tmp_path}")


def test_a_second_process_is_told_who_holds_the_store_and_harms_nobody(tmp_path: Path) -> None:
    with EdgeIndex(tmp_path) as index:
        index.create(SPEC)
        index.upsert("set", make_points(0, 50))
        started = time.monotonic()
        code = """
        try:
            EdgeIndex(Path(sys.argv[1]), lock_timeout_seconds=0.2)
        except StoreLockedError as error:
            print(error.message, "|", error.hint)
        """
        out, err = run_child(code, str(tmp_path)).communicate(timeout=60)
        assert f"held by process {os.getpid()} on" in out, err
        assert "one process at a time" in out
        assert time.monotonic() - started < 30
        index.upsert("set", make_points(50, 80))
        index.flush("set")
        assert index.count("set") == 80
    with EdgeIndex(tmp_path, lock_timeout_seconds=0) as again:
        found = again.get("set", make_points(0, 80).ids)
        assert found.vectors.tobytes() == make_points(0, 80).vectors.tobytes()


def test_the_same_process_can_not_open_it_twice_either(tmp_path: Path) -> None:
    with EdgeIndex(tmp_path):
        started = time.monotonic()
        with pytest.raises(StoreLockedError, match=str(os.getpid())):
            EdgeIndex(tmp_path, lock_timeout_seconds=0)
        assert time.monotonic() - started < 5


def test_whoever_waits_gets_the_store_when_it_is_free(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    threading.Timer(0.1, index.close).start()
    with EdgeIndex(tmp_path, lock_timeout_seconds=30) as second:
        assert second.collections() == []


@pytest.mark.parametrize("parts", [1, 2])
def test_acknowledged_points_survive_sigkill(tmp_path: Path, parts: int) -> None:
    code = """
    index = EdgeIndex(Path(sys.argv[1]))
    parts = int(sys.argv[2])
    index.create(CollectionSpec("set", DIMENSION, parts))
    for start in range(0, 10**6, 16):
        points = make_points(start, start + 16)
        index.upsert("set", Points(points.ids, np.repeat(points.vectors, parts, axis=1), points.payloads))
        index.flush("set")
        print(start + 16, flush=True)
    """
    acknowledged = 0
    for batches in (3, 1, 6):
        child = run_child(code, str(tmp_path), str(parts))
        assert child.stdout is not None
        for _ in range(batches):
            acknowledged = max(acknowledged, int(child.stdout.readline()))
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate(timeout=60)
        acknowledged = max([acknowledged, *(int(line) for line in rest.split() if line)])
        with EdgeIndex(tmp_path, lock_timeout_seconds=0) as index:
            wanted = make_points(0, acknowledged)
            found = index.get("set", wanted.ids)
            assert found.ids == wanted.ids
            assert found.vectors.tobytes() == np.repeat(wanted.vectors, parts, axis=1).tobytes()
            assert found.payloads == wanted.payloads


def test_deleted_vectors_leave_the_files_with_compact(tmp_path: Path) -> None:
    points = make_points(0, 300)
    with EdgeIndex(tmp_path) as index:
        index.create(SPEC)
        index.upsert("set", points)
        index.flush("set")
        assert files_with(tmp_path, points.vectors[7])
        index.delete("set", [points.ids[7]])
        index.flush("set")
        assert index.compact("set")
        assert files_with(tmp_path, points.vectors[7]) == []
        assert files_with(tmp_path, points.vectors[8])
        assert index.compact("set")  # nothing left to do
        index.upsert("set", make_points(300, 310))
        assert index.count("set") == 309
    assert files_with(tmp_path, points.vectors[7]) == []
    with EdgeIndex(tmp_path) as index:
        assert index.count("set") == 309
        assert index.search("set", points.vectors[8:9], 1)[0][0][0] == points.ids[8]
        index.delete("set", [*points.ids, *make_points(300, 310).ids])
        assert index.compact("set")
        assert index.count("set") == 0
        index.upsert("set", points)
        assert index.count("set") == 300


def test_a_dropped_collection_leaves_no_file(tmp_path: Path) -> None:
    points = make_points(0, 20)
    with EdgeIndex(tmp_path) as index:
        index.create(SPEC)
        index.upsert("set", points)
        index.flush("set")
        index.drop("set")
        assert files_with(tmp_path, points.vectors[0]) == []
        assert list((tmp_path / "collections").iterdir()) == []


def test_what_a_crash_left_half_made_or_half_dropped_is_cleared_away(tmp_path: Path) -> None:
    with EdgeIndex(tmp_path) as index:
        index.create(SPEC)
    for name in (".making-other", ".dropped-abc"):
        (tmp_path / "collections" / name / "shard").mkdir(parents=True)
    with EdgeIndex(tmp_path) as index:
        assert index.collections() == ["set"]
        index.create(CollectionSpec("other", 3))
    assert sorted(entry.name for entry in (tmp_path / "collections").iterdir()) == ["other", "set"]


def test_a_damaged_collection_is_named_and_the_others_work(tmp_path: Path) -> None:
    with EdgeIndex(tmp_path) as index:
        for key in ("good", "bad"):
            index.create(CollectionSpec(key, DIMENSION))
            index.upsert(key, make_points(0, 5))
    (segment,) = (tmp_path / "collections" / "bad" / "shard" / "segments").iterdir()
    (segment / "segment.json").write_text("{")
    with EdgeIndex(tmp_path) as index:
        with pytest.raises(VectorStoreError, match="bad") as raised:
            index.count("bad")
        assert "reconcile" in raised.value.hint
        assert index.count("good") == 5
        index.drop("bad")
        assert index.collections() == ["good"]


def test_a_store_of_newer_software_is_refused(tmp_path: Path) -> None:
    EdgeIndex(tmp_path).close()
    stored = json.loads((tmp_path / "store.json").read_text())
    del stored["check"]
    (tmp_path / "store.json").write_text(json.dumps(stored | {"version": 99}))
    with pytest.raises(VectorStoreError, match="version 99"):
        EdgeIndex(tmp_path)
    (tmp_path / "store.json").write_text("not json")
    with pytest.raises(VectorStoreError, match="damaged"):
        EdgeIndex(tmp_path, lock_timeout_seconds=0)


def test_a_path_that_can_not_be_a_store_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VectorStoreError, match="can't be opened"):
        open_index(f"local:{tmp_path / 'file'}")


def test_a_nearly_full_disk_is_an_error_and_not_the_death_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EdgeIndex(tmp_path) as index:
        index.create(SPEC)
        monkeypatch.setattr(edge_module, "FREE_BYTES_KEPT", 2**62)
        for call in (lambda: index.upsert("set", make_points(0, 1)), lambda: index.compact("set")):
            with pytest.raises(VectorStoreError, match="nearly full"):
                call()
        assert index.count("set") == 0


def test_each_store_has_its_own_identity(tmp_path: Path) -> None:
    with open_index(f"local:{tmp_path / 'a'}") as a, open_index(f"local:{tmp_path / 'b'}") as b:
        assert a.store_uuid != b.store_uuid


def test_a_copy_without_holes_has_them_again_before_it_is_rewritten(tmp_path: Path) -> None:
    def blocks(folder: Path) -> int:
        return sum(512 * file.stat().st_blocks for file in folder.rglob("*") if file.is_file())

    spec = CollectionSpec("key", 16, 3)
    rows = np.random.default_rng(0).standard_normal((20, 3, 16))
    vectors = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    ids = [point_id(f"sha256:{row}", "key") for row in range(20)]
    with EdgeIndex(tmp_path / "sparse") as index:
        index.create(spec)
        index.upsert("key", Points(ids, vectors, [{}] * 20))
    shutil.copytree(
        tmp_path / "sparse", tmp_path / "dense", copy_function=lambda a, b: Path(b).write_bytes(Path(a).read_bytes())
    )
    if blocks(tmp_path / "dense") < 2**26:
        pytest.skip("this file system makes holes by itself")
    with EdgeIndex(tmp_path / "dense") as index, pytest.MonkeyPatch.context() as patch:
        dug: list[int] = []

        def dig(file: Path, original: Any = edge_module.dig_holes) -> None:
            original(file)
            dug.append(file.stat().st_blocks)

        patch.setattr(edge_module, "dig_holes", dig)
        (told,) = index.tend([spec], repair=False)
        assert (told.is_mended, told.is_lasting, dug) == (False, False, [])
        assert f"{blocks(tmp_path / 'dense' / 'collections' / 'key') / 1e6:,.0f} MB" in told.detail
        assert "`backup`" in told.detail
        (mended,) = index.tend([spec], repair=True)
        assert mended.is_mended
        assert index.tend([spec], repair=False) == []
        assert index.get("key", ids).vectors.tobytes() == vectors.tobytes()
        for file in (tmp_path / "dense").rglob("*"):  # filled once more: forgetting gives them back too
            if file.is_file() and file.stat().st_size > 2**20:
                with file.open("r+b") as stream:
                    os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
        dug.clear()
        index.delete("key", ids[:1])
        index.compact("key")
        assert 0 < 512 * sum(dug) < 2**24
        count = len(dug)
        index.delete("key", ids[1:2])
        index.compact("key")  # not dense any more
        assert len(dug) == count
        kept = index.get("key", ids)
        assert (kept.ids, kept.vectors.tobytes()) == (ids[2:], vectors[2:].tobytes())
