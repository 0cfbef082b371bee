"""Damages to the files of an in-process store, hundreds of them, each in a process with little memory, disk and time.

    python benchmarks/attack.py --damages 300
    python benchmarks/attack.py --damages 300 --unsealed --first-seed 5000 --files mappings
    python benchmarks/attack.py --kills 300         (see ``benchmarks/kills.py``)

The longer version of ``tests/unit/index/test_damage.py``: a store is damaged at a random place, closed cleanly before
or not (``--unsealed``), read, written to and compacted. Right is whatever is harmless, refused with a way out, or seen
by the digests of the vectors; then every vector whose own bytes are whole must be found again. Exit code 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.kills import run_kills
from provenance.errors import VectorStoreError
from provenance.index import CollectionSpec, Points, Salvage, point_id, vector_digest
from provenance.index.edge import EdgeIndex
from provenance.index.seals import SEAL_FILE
from tests.damages import DAMAGES, copied_store, damage, files_of

SPECS = (CollectionSpec("whole", 48), CollectionSpec("parts", 32, 3))
POINTS = 60
MEMORY_BYTES, FILE_BYTES, DISK_BYTES, SECONDS = 6 * 2**30, 2**28, 2**26, 120
ENDS = ("harmless", "refused", "seen by digests")


def points_of(spec: CollectionSpec, seed: int, count: int) -> Points:
    vectors = np.random.default_rng(seed).standard_normal((count, *spec.shape))
    vectors = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    ids = [point_id(f"sha256:{seed}-{row}", spec.key) for row in range(count)]
    return Points(ids, vectors, [{"vector_sha256": vector_digest(vector)} for vector in vectors])


def made(store: Path, *, sealed: bool) -> dict[str, dict[str, str]]:
    """Makes the store; gives the digest of every vector in it."""
    held = {}
    with EdgeIndex(store) as index:
        for number, spec in enumerate(SPECS):
            points = points_of(spec, number, POINTS)
            index.create(spec)
            index.upsert(spec.key, points)
            index.flush(spec.key)
            held[spec.key] = {point: vector_digest(v) for point, v in zip(points.ids, points.vectors, strict=True)}
    for seal in [] if sealed else store.rglob(SEAL_FILE):
        seal.unlink()
    return held


def used(store: Path, held: dict[str, dict[str, str]]) -> str:
    """Reads a damaged store and writes to it, as a command would."""
    end = "harmless"
    try:
        with EdgeIndex(store) as index:
            for spec in SPECS:
                found = {
                    point: vector_digest(vector)
                    for points in index.iterate(spec.key)
                    for point, vector in zip(points.ids, points.vectors, strict=True)
                }
                end = end if found == held[spec.key] else "seen by digests"
                new = points_of(spec, 99, 5)
                index.upsert(spec.key, new)
                index.delete(spec.key, new.ids)
                index.flush(spec.key)
                index.compact(spec.key)
    except VectorStoreError as error:
        return "refused" if "reconcile" in error.hint else f"refused without a way out: {error.message}"
    return end


def lost(store: Path, held: dict[str, dict[str, str]]) -> int:
    """How many vectors are not found again by their digests."""
    count = 0
    for spec in SPECS:
        salvage = Salvage(spec, held[spec.key].values(), [store / "collections" / spec.key])
        count += sum(salvage.get(digest) is None for digest in held[spec.key].values())
    return count


def in_a_child(store: Path, held: dict[str, dict[str, str]]) -> str:
    """What becomes of a damaged store, in a process that can't do harm."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
        signal.alarm(SECONDS)
        try:
            end = used(store, held)
        except BaseException:  # noqa: BLE001 - whatever it is, it is told
            end = "defect: " + traceback.format_exc().strip().splitlines()[-1]
        os.write(write, end.encode()[:1000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        said = stream.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    on_disk = sum(512 * file.stat().st_blocks for file in store.rglob("*"))
    if on_disk > DISK_BYTES:
        return f"{on_disk:,} bytes on the disk"
    return said if code == 0 else f"died with {code}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damages", type=int, default=300)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--unsealed", action="store_true", help="as after a kill, or made by earlier software")
    parser.add_argument("--files", default="", help="only files with this in their names")
    parser.add_argument("--kills", type=int, default=0, help="kill commands so often, in place of damages")
    parser.add_argument("--only", default="", help="of the kills: only these operations, parted by commas")
    arguments = parser.parse_args()
    if arguments.kills:
        return run_kills(arguments.kills, arguments.first_seed, arguments.only)
    ends, wrong = Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        pristine, store = Path(folder) / "pristine", Path(folder) / "store"
        held = made(pristine, sealed=not arguments.unsealed)
        files = [file for file in files_of(pristine) if arguments.files in file.name]
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.damages):
            chance = random.Random(seed)
            file, how = chance.choice(files), chance.choice(list(DAMAGES))
            at = damage(copied_store(pristine, store) / file, how, chance)
            gone = lost(store, held)
            end = in_a_child(store, held)
            ends[end] += 1
            if end not in ENDS or (gone and file.suffix != ".mmap"):
                wrong += 1
                print(f"seed {seed}: {how} at {at} of {file}: {end}; {gone} vectors not found again", flush=True)
    print(f"{dict(ends)}; {wrong} of {arguments.damages} went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
