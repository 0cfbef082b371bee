"""A store whose files are damaged: noticed or harmless, whatever file it is, and found again row by row."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from provenance.errors import VectorStoreError
from provenance.index import CollectionSpec, Points, Salvage, point_id, vector_digest
from provenance.index.edge import EdgeIndex
from provenance.index.seals import SEAL_FILE, changed_file
from tests.damages import DAMAGES, copied, copied_store, damage, files_of
from tests.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPECS = (CollectionSpec("whole", 48), CollectionSpec("parts", 32, 3))
MOST_BYTES_ON_DISK = 2**24
MOST_MEMORY = 6 * 2**30


def digests_in(store: Path) -> dict[str, dict[str, str]]:
    with EdgeIndex(store) as index:
        return {
            key: {
                point: vector_digest(vector)
                for points in index.iterate(key)
                for point, vector in zip(points.ids, points.vectors, strict=True)
            }
            for key in index.collections()
        }


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("pristine") / "store"
    with EdgeIndex(store) as index:
        for number, spec in enumerate(SPECS):
            vectors = unit(np.random.default_rng(number).standard_normal((40, *spec.shape)))
            ids = [point_id(f"sha256:{row}", spec.key) for row in range(40)]
            index.create(spec)
            index.upsert(spec.key, Points(ids, vectors, [{"row": row} for row in range(40)]))
            index.delete(spec.key, ids[:2])
            index.flush(spec.key)
    return store


def test_every_damage_of_a_closed_store_is_noticed_or_harmless(pristine: Path, tmp_path: Path) -> None:
    """Each of six damages at a random place of every kind of file: some 230; the engine never sees the harmful ones."""
    before = digests_in(copied_store(pristine, tmp_path / "store"))
    store, chance, seen = tmp_path / "store", random.Random(11), Counter[str]()
    copied_store(pristine, store)
    for file in files_of(pristine):
        collection = store / "collections" / file.parts[1] if file.parts[0] == "collections" else None
        for how in DAMAGES:
            at = damage(store / file, how, chance)
            if collection is not None and file.name != SEAL_FILE and changed_file(collection):
                seen["changed"] += 1
            else:
                seen[_read(store, before, f"{how} at {at} of {file}")] += 1
                copied_store(pristine, store)
            copied(pristine / file, store / file)
    assert sum(seen.values()) > 200
    assert set(seen) == {"changed", "refused", "other digests", "harmless"}


def _read(store: Path, before: dict[str, dict[str, str]], what: str) -> str:
    try:
        found = digests_in(store)
    except VectorStoreError as error:
        return "refused" if "reconcile" in error.hint else f"{what}: {error.hint}"
    return "harmless" if found == before else "other digests"


def test_damage_of_a_store_that_was_not_closed_stays_in_a_child_process(pristine: Path, tmp_path: Path) -> None:
    """The id map of an unsealed collection claims more points than any machine has room for."""
    store = copied_store(pristine, tmp_path / "store")
    (seal,) = store.glob(f"collections/whole/{SEAL_FILE}")
    (ids,) = store.glob("collections/whole/shard/segments/*/mutable_id_tracker.mappings")
    seal.unlink()
    whole = ids.read_bytes()
    ends = Counter[str]()
    for record in range(6):  # 21 bytes each: what it is, the id, the place of the point
        ids.write_bytes(whole)
        with ids.open("r+b") as stream:
            stream.seek(21 * (record + 3) + 17 if record % 2 else 21 * record + 1)
            stream.write(b"\xff\xff\xff\x7f")
        ends[_in_a_small_child(lambda: _read_whole(store))] += 1
        seal.unlink(missing_ok=True)
        assert sum(512 * file.stat().st_blocks for file in store.rglob("*")) < MOST_BYTES_ON_DISK
    assert ends["0"] + ends["3"] == 6, ends
    assert ends["3"] > 0


def _read_whole(store: Path) -> int:
    try:
        digests_in(store)
    except VectorStoreError as error:
        sys.stderr.write(f"{error.message}\n")
        return 3 if "can't be opened" in error.message and "reconcile" in error.hint else 4
    return 0


def _in_a_small_child(work: Callable[[], int]) -> str:
    """Runs it in a process with little memory and time, so that a test that fails harms nobody."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, 2**28))
        signal.alarm(60)
        try:
            os._exit(work())
        except BaseException as error:  # noqa: BLE001 - a child must not go on with its parent's tests
            sys.stderr.write(f"{error!r}\n")
            os._exit(5)
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def test_vectors_are_found_again_in_what_is_left_of_a_collection(pristine: Path, tmp_path: Path) -> None:
    """No index is believed: only rows and digests. What was deleted is not asked for, and damaged rows do not come."""
    store = copied_store(pristine, tmp_path / "store")
    before = digests_in(store)
    with EdgeIndex(store) as index:
        for spec in SPECS:
            index.set_aside(spec.key)
            (folder,) = index.remains(spec.key)
            (first, *_rest) = sorted(folder.rglob("chunk_0.mmap"))
            with first.open("r+b") as stream:
                stream.seek(10 * 4 * spec.dimension)
                stream.write(b"\xff" * 5 * 4 * spec.dimension)  # five rows, of which two may be of deleted points
            for file in folder.rglob("*"):
                if file.is_file() and file.suffix != ".mmap":
                    file.write_bytes(b"\xff" * 100)
            wanted = set(before[spec.key].values())
            salvage = Salvage(spec, wanted, [folder])
            found = {digest: salvage.get(digest) for digest in wanted}
            assert 3 <= sum(vectors is None for vectors in found.values()) <= 5
            assert all(vector_digest(vectors) == digest for digest, vectors in found.items() if vectors is not None)
            assert spec.key not in index.collections()
            index.discard(spec.key)
            assert index.remains(spec.key) == []


def test_a_store_copied_with_its_holes_filled_is_as_it_was(pristine: Path, tmp_path: Path) -> None:
    store = copied_store(pristine, tmp_path / "store")
    (payloads,) = store.glob("collections/whole/shard/segments/*/payload_storage/page_0.dat")
    content = payloads.read_bytes()
    payloads.unlink()
    payloads.write_bytes(content)
    assert payloads.stat().st_blocks * 512 >= len(content)
    assert changed_file(store / "collections" / "whole") == ""


def test_a_store_whose_path_is_no_unicode_is_opened_without_its_seal(pristine: Path, tmp_path: Path) -> None:
    before = digests_in(copied_store(pristine, tmp_path / "store"))
    store = copied_store(pristine, tmp_path / os.fsdecode(b"caf\xe9"))
    for seal in store.rglob(SEAL_FILE):
        seal.unlink()
    assert digests_in(store) == before
