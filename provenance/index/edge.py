"""The vector store in process: Qdrant Edge, the default engine.

    PATH/lock                       held (flock) from opening to closing; the holder's pid for people
    PATH/store.json                 the store's identity
    PATH/collections/KEY/           collection.json (its shape), shard/ (the engine's files), closed.json (``seals``)
    PATH/aside/KEY/                 what is left of a collection that could not be opened, until it is made anew

Facts about the engine (0.9) that shape this file:

* A second open of a shard not only fails but damages the first one's next flush: our own lock comes before any open.
* Rows must be passed as lists; NumPy rows are several times slower. It raises bare ``Exception``.
* The write-ahead log is off: it would hold deleted vectors beyond ``compact``, and a flush (fsync and msync of
  every file, versions of points last) is what acknowledges a point, with or without it.
* What it maps it reads page by page, two disk reads a vector of 2048 numbers, and it drops pages from the cache as it
  flushes: where many vectors are read, going through the whole files once beforehand is ten times faster.
* ``optimize`` with the thresholds below rewrites a segment that holds any deleted vector, and builds no HNSW graph:
  every search here is exact.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import re
import shutil
import socket
import threading
import time
import uuid
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import qdrant_edge

from provenance.errors import ProvenanceError, StoreLockedError, VectorStoreError
from provenance.files import sync_folder
from provenance.index.contract import (
    LOCK_TIMEOUT_SECONDS,
    Ailment,
    CollectionSpec,
    Points,
    by_score,
    checked_ids,
    checked_points,
    checked_queries,
    no_collection,
    other_shape,
)
from provenance.index.seals import MENDING, changed_file, read_json, require_opens, seal, unseal, write_json
from provenance.logs import note, room, step
from provenance.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from provenance.arrays import Float32s

STORE_VERSION = 1
IDENTITY_FILE = "store.json"
UPSERT_BATCH = 100
READ_BATCH = 1000
SEARCH_BATCH = 64
READ_AHEAD_SHARE = 32  # whole files are read once one of so many points of a collection is asked for
READ_AHEAD_BYTES = 2**20
BLOCK_BYTES = 512  # what ``st_blocks`` counts
DENSE_BYTES = 2**26  # so much more than its vectors take up, and a collection was copied without its holes
DENSE = "copied without holes"
_DENSE = (
    "its files take up {:,.0f} MB of the disk: `reconcile` or `forget` gives them back; copy workspaces with `backup`"
)
HOLE_BYTES = 4096
_PUNCH_HOLE = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
# The engine writes through memory maps: a full disk is no error there but the death of the process.
FREE_BYTES_KEPT = 128 * 2**20
_LOCK_POLL_SECONDS = 0.05
_log = room(__name__)
_PERMISSIONS = "check the permissions of the folder"
_ROOM = "its disk is full: make room and run the command again"
_HINTS = dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _PERMISSIONS) | dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM
)


_FULL = re.compile(r"No space left|File too large|os error (28|27|122)\b")


class StoreLock:
    """The lock of one store folder: at most one ``EdgeIndex`` on this machine has it open."""

    def __init__(self, folder: Path, timeout_seconds: float) -> None:
        self._folder = folder
        self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._acquire(timeout_seconds)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _acquire(self, timeout_seconds: float) -> None:
        if self._taken():
            return
        deadline = time.monotonic() + timeout_seconds
        with step(_log, "wait for lock", reason=self._locked().message):
            while not self._taken():
                if time.monotonic() >= deadline:
                    raise self._locked()
                time.sleep(_LOCK_POLL_SECONDS)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _locked(self) -> StoreLockedError:
        pid, _, host = os.pread(self._descriptor, 200, 0).decode(errors="replace").strip().partition(" ")
        holder = f"process {pid} on {host}" if pid else "another process"
        return StoreLockedError(
            f"the vector index at {self._folder} is held by {holder}",
            hint="wait until it is done, or end it; a store is open in one process at a time",
        )

    @property
    def descriptor(self) -> int:
        """What holds the lock; a child process that has it too holds the lock with us."""
        return self._descriptor

    def release(self) -> None:
        """Lets go; the file stays, as removing it would let two processes lock two files."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


class Held(Protocol):
    """What a store that is open holds."""

    @property
    def descriptor(self) -> int | None:
        """What holds it, for a child process to hold it too."""

    def release(self) -> None:
        """Lets go."""


class EdgeIndex(Resource):
    """A store folder with one Edge shard per collection; see ``VectorIndex``."""

    in_flight = 1

    def __init__(self, folder: Path, *, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> None:
        self._folder = folder.absolute()
        self._collections = self._folder / "collections"
        self._remains = self._folder / "aside"
        self._guard = threading.RLock()
        self._shards: dict[str, qdrant_edge.EdgeShard] = {}
        self._specs: dict[str, CollectionSpec] = {}
        self._sealed: set[str] = set()
        self._points_read: dict[str, int] = {}
        self._descriptor: int | None = None
        with _translated(f"the vector index at {folder} can't be opened"):
            self._lock: Held | None = self._enter(lock_timeout_seconds)
        try:
            with _translated(f"the vector index at {folder} can't be opened"):
                self.store_uuid = self._identity()
                self._clean_up()
        except BaseException:
            self.close()
            raise

    def create(self, spec: CollectionSpec) -> None:
        """See ``VectorIndex``. A collection appears whole, by a rename, or not at all."""
        with self._guard:
            if (self._collections / spec.key).exists():
                found = self._spec(spec.key)
                if found.shape != spec.shape:
                    raise other_shape(spec, found.shape)
                return
            self._open_lock()
            with _translated(f"collection {spec.key} can't be made"):
                self._require_space(0)
                self._make(spec)

    def drop(self, key: str) -> None:
        """See ``VectorIndex``."""
        with self._guard, _translated(f"collection {key} can't be removed"):
            self._open_lock()
            self._specs.pop(key, None)
            self._points_read.pop(key, None)
            shard = self._shards.pop(key, None)
            if shard is not None:
                shard.close()
            folder = self._collections / CollectionSpec(key, 1).key
            if folder.exists():
                dropped = folder.rename(self._collections / f".dropped-{uuid.uuid4().hex}")
                sync_folder(self._collections)
                shutil.rmtree(dropped)
            self.discard(key)

    def agreed(self) -> str | None:
        """See ``VectorIndex``: there are no replicas."""
        return None

    def tend(self, specs: Sequence[CollectionSpec], *, repair: bool) -> list[Ailment]:
        """See ``VectorIndex``: whether a collection's files were copied without their holes."""
        found = []
        for key in (spec.key for spec in specs):
            try:
                dense = self._dense_bytes(key)
                if dense and repair:
                    shard = self._shard(key)
                    shard.flush()
                    self._dug(key, shard)
            except (OSError, VectorStoreError):  # it can't be opened: whoever compares it says so
                continue
            if dense:
                is_mended = repair and not self._dense_bytes(key)
                found.append(Ailment(key, DENSE, _DENSE.format(dense / 1e6), is_mended, is_lasting=False))
        return found

    def _dense_bytes(self, key: str) -> int:
        """What the files of a collection take up of their disk, where that is far more than what is in them; else 0."""
        taken = sum(status.st_blocks for _, status in _files(self._collections / key)) * BLOCK_BYTES
        if taken <= DENSE_BYTES:
            return 0
        spec = self._spec(key)
        return taken if taken > 4 * (4 * spec.parts * spec.dimension * self.count(key)) + DENSE_BYTES else 0

    def set_aside(self, key: str) -> None:
        """See ``VectorIndex``."""
        with self._guard, _translated(f"collection {key} can't be set aside"):
            self._open_lock()
            self._specs.pop(key, None)
            self._points_read.pop(key, None)
            if (shard := self._shards.pop(key, None)) is not None:
                with contextlib.suppress(Exception):
                    shard.close()
            place = self._remains / key / uuid.uuid4().hex
            place.parent.mkdir(parents=True, exist_ok=True)
            (self._collections / key).rename(place)
            sync_folder(place.parent)
            sync_folder(self._collections)
            note(_log, "collection set aside", collection=key)

    def remains(self, key: str) -> list[Path]:
        """See ``VectorIndex``."""
        return sorted((self._remains / key).glob("*"))

    def discard(self, key: str) -> None:
        """See ``VectorIndex``."""
        with _translated(f"what is left of collection {key} can't be removed"):
            if (self._remains / key).exists():
                shutil.rmtree(self._remains / key)

    def collections(self) -> list[str]:
        """See ``VectorIndex``."""
        self._open_lock()
        with _translated(f"the vector index at {self._folder} can't be read"):
            return _keys(self._collections)

    def upsert(self, key: str, points: Points) -> None:
        """See ``VectorIndex``."""
        spec, shard = self._spec(key), self._shard(key)
        checked = checked_points(points, spec)
        self._require_space(checked.vectors.nbytes)
        with _translated(f"collection {key} did not take {len(checked)} points"):
            for start in range(0, len(checked), UPSERT_BATCH):
                batch = _edge_points(checked, slice(start, start + UPSERT_BATCH), spec)
                shard.update(qdrant_edge.UpdateOperation.upsert_points(batch))

    def delete(self, key: str, ids: Sequence[str]) -> None:
        """See ``VectorIndex``."""
        shard = self._shard(key)
        wanted: list[Any] = list(checked_ids(ids))
        with _translated(f"collection {key} did not delete {len(wanted)} points"):
            for start in range(0, len(wanted), READ_BATCH):
                shard.update(qdrant_edge.UpdateOperation.delete_points(wanted[start : start + READ_BATCH]))

    def get(self, key: str, ids: Sequence[str], *, payloads: bool = True) -> Points:
        """See ``VectorIndex``."""
        spec, shard = self._spec(key), self._shard(key)
        wanted: list[Any] = list(checked_ids(ids))
        records: dict[str, Any] = {}
        with _translated(f"points of collection {key} can't be read"):
            self._read_ahead(key, len(wanted))
            for start in range(0, len(wanted), READ_BATCH):
                these = wanted[start : start + READ_BATCH]
                for record in shard.retrieve(these, with_payload=payloads, with_vector=True):
                    records[str(record.id)] = record
            return _points([records[point] for point in wanted if point in records], spec)

    def lacking(self, key: str, ids: Sequence[str]) -> list[str]:
        """See ``VectorIndex``."""
        held = set(self.get(key, ids, payloads=False).ids)
        return [point for point in ids if point not in held]

    def iterate(self, key: str, batch: int = 1000) -> Iterator[Points]:
        """See ``VectorIndex``."""
        spec = self._spec(key)
        offset = None
        while True:
            with _translated(f"collection {key} can't be read"):
                request = qdrant_edge.ScrollRequest(offset=offset, limit=batch, with_payload=True, with_vector=True)
                records, offset = self._shard(key).scroll(request)
                points = _points(records, spec)
            if records:
                yield points
            if offset is None:
                return

    def count(self, key: str) -> int:
        """See ``VectorIndex``."""
        with _translated(f"collection {key} can't be read"):
            return int(self._shard(key).count(qdrant_edge.CountRequest(exact=True)))

    def search(
        self, key: str, queries: Float32s, k: int, *, exact: bool = True, part: int = 0
    ) -> list[list[tuple[str, float]]]:
        """See ``VectorIndex``; exact whatever is asked, as no graph is built."""
        spec, shard = self._spec(key), self._shard(key)
        rows = checked_queries(queries, k, part, spec)
        using = spec.vector_names[part] or None
        params = qdrant_edge.SearchParams(exact=exact)
        found: list[list[tuple[str, float]]] = []
        with _translated(f"collection {key} can't be searched"):
            for start in range(0, len(rows), SEARCH_BATCH):
                requests = [
                    qdrant_edge.QueryRequest(limit=k, query=qdrant_edge.Query.Nearest(row, using=using), params=params)
                    for row in rows[start : start + SEARCH_BATCH].tolist()
                ]
                answers = shard.query_batch(qdrant_edge.QueryBatchRequest(requests))
                found += [by_score([(str(point.id), point.score) for point in answer]) for answer in answers]
        return found

    def flush(self, key: str) -> None:
        """See ``VectorIndex``."""
        with _translated(f"collection {key} can't be flushed to disk"):
            self._shard(key).flush()

    def compact(self, key: str) -> bool:
        """See ``VectorIndex``: the segment is rewritten without its deleted vectors, about 30,000 a second."""
        spec, shard = self._spec(key), self._shard(key)
        held = 4 * spec.parts * spec.dimension * self.count(key)
        self._require_space(held)
        with _translated(f"collection {key} can't be rewritten"):
            shard.flush()
            if self._dense_bytes(key):
                shard = self._dug(key, shard)
            shard.optimize()
            shard.flush()
        return True

    def _dug(self, key: str, shard: qdrant_edge.EdgeShard) -> qdrant_edge.EdgeShard:
        """The shard, opened again when its files have their holes again.

        A copy that kept none has files many times larger than what is in them, and the engine rewrites nothing unless
        twice as much is free.
        """
        del self._shards[key]
        shard.close()
        with step(_log, "dig holes", collection=key):
            for file, _ in _files(self._place(key)):
                dig_holes(file)
        self._shards[key] = qdrant_edge.EdgeShard.load(self._shard_path(key))
        return self._shards[key]

    def may_keep(self, key: str) -> list[str]:
        """See ``VectorIndex``."""
        del key
        return ["blocks of this disk until they are written again, and copies of it"]

    def close(self) -> None:
        """See ``VectorIndex``."""
        with self._guard:
            if self._lock is None:
                return
            lock, self._lock = self._lock, None
            try:
                with _translated(f"the vector index at {self._folder} can't be closed"):
                    for key, shard in self._shards.items():
                        shard.flush()
                        shard.close()
                        seal(self._place(key))
            finally:
                self._shards.clear()
                if self._descriptor is not None:
                    os.close(self._descriptor)
                lock.release()

    def _enter(self, timeout_seconds: float) -> Held:
        """Makes the folder if it is not there, and takes its lock."""
        self._collections.mkdir(parents=True, exist_ok=True)
        return StoreLock(self._folder, timeout_seconds)

    def _clean_up(self) -> None:
        for unfinished in self._collections.glob(".*"):
            shutil.rmtree(unfinished)

    def _open_lock(self) -> Held:
        if self._lock is None:
            raise VectorStoreError(f"the vector index at {self._folder} is closed")
        return self._lock

    def _identity(self) -> str:
        file = self._folder / IDENTITY_FILE
        held = _keys(self._collections)
        if not held and not file.exists():
            _write_identity(file, str(uuid.uuid4()))
        if (found := _read_identity(file)) is None:
            state = "damaged" if file.exists() else "gone, and the index holds vectors"
            raise VectorStoreError(f"{file}, the identity of the vector index, is {state}", hint=MENDING)
        return found

    def _make(self, spec: CollectionSpec) -> None:
        unfinished = self._collections / f".making-{spec.key}"
        shutil.rmtree(unfinished, ignore_errors=True)
        (unfinished / "shard").mkdir(parents=True)
        shard = qdrant_edge.EdgeShard.create(self._shard_path(unfinished.name), _edge_config(spec))
        shard.flush()
        shard.close()
        write_json(unfinished / "collection.json", {"dimension": spec.dimension, "parts": spec.parts})
        seal(unfinished)
        unfinished.rename(self._collections / spec.key)
        sync_folder(self._collections)

    def _spec(self, key: str) -> CollectionSpec:
        with self._guard:
            self._open_lock()
            if key not in self._specs:
                if key not in self.collections():
                    raise no_collection(key)
                with _translated(f"collection {key} can't be opened"):
                    self._specs[key] = self._read_spec(key)
            return self._specs[key]

    def _read_spec(self, key: str) -> CollectionSpec:
        folder = self._place(key)
        changed = changed_file(folder)
        if changed:
            raise VectorStoreError(
                f"collection {key} is damaged: its file {changed} is not as it was when it was closed", hint=MENDING
            )
        if changed == "":
            self._sealed.add(key)
        shape = read_json(folder / "collection.json")
        return CollectionSpec(key, int(shape["dimension"]), int(shape["parts"]))

    def _shard(self, key: str) -> qdrant_edge.EdgeShard:
        with self._guard:
            spec = self._spec(key)
            if key not in self._shards:
                folder = self._place(key)
                with _translated(f"collection {key} can't be opened"):
                    if key not in self._sealed:
                        with step(_log, "open an unsealed collection in a child process", collection=key):
                            require_opens(folder, spec, self._open_lock().descriptor)
                    unseal(folder)
                    self._sealed.discard(key)
                    self._shards[key] = qdrant_edge.EdgeShard.load(self._shard_path(key))
            return self._shards[key]

    def _place(self, key: str) -> Path:
        """The folder of the collection that is opened."""
        return self._collections / key

    def _shard_path(self, name: str) -> str:
        """A shard's folder as the engine takes it: it knows no path that is not Unicode, but goes by a descriptor."""
        try:
            str(self._collections).encode()
        except UnicodeEncodeError:
            if self._descriptor is None:
                self._descriptor = os.open(self._collections, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return f"/dev/fd/{self._descriptor}/{name}/shard"
        return str(self._collections / name / "shard")

    def _read_ahead(self, key: str, count: int) -> None:
        """Brings the vector files of a collection into the system's cache, once, when most of it may be read."""
        before = self._points_read.get(key, 0)
        self._points_read[key] = before + count
        few = self.count(key) / READ_AHEAD_SHARE
        if before >= few or before + count < few:
            return
        room = memoryview(bytearray(READ_AHEAD_BYTES))
        for file in (self._collections / key / "shard").glob("segments/*/vector_storage*/**/*"):
            if file.is_file():
                with file.open("rb", buffering=0) as stream:
                    # the engine makes files larger than what is in them: nothing is on the disk behind the last point
                    end = os.fstat(stream.fileno()).st_blocks * BLOCK_BYTES
                    while stream.tell() < end and stream.readinto(room):
                        pass

    def _require_space(self, needed_bytes: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < needed_bytes + FREE_BYTES_KEPT:
            raise VectorStoreError(
                f"the disk of the vector index at {self._folder} is nearly full: {free:,} bytes are left",
                hint=f"free at least {needed_bytes + FREE_BYTES_KEPT:,} bytes and run the command again",
            )


def _files(collection: Path) -> list[tuple[Path, os.stat_result]]:
    return [(file, file.stat()) for file in collection.rglob("*") if file.is_file()]


def dig_holes(file: Path) -> None:
    """Gives the blocks of a file that hold nothing but zeros back to its disk, if its file system can."""
    punch = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if punch is None:
        return
    punch.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    empty = bytes(HOLE_BYTES)
    with file.open("r+b", buffering=0) as stream:
        start = 0
        while read := stream.read(READ_AHEAD_BYTES):
            blocks = range(0, len(read) - HOLE_BYTES + 1, HOLE_BYTES)
            for is_empty, run in groupby(blocks, lambda at: read[at : at + HOLE_BYTES] == empty):
                here = list(run)
                if is_empty and punch(stream.fileno(), _PUNCH_HOLE, start + here[0], HOLE_BYTES * len(here)):
                    return
            start += len(read)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turns what the engine and the file system raise into ``VectorStoreError``; a panic of the engine included."""
    try:
        yield
    except ProvenanceError:
        raise
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}" if error.strerror and error.filename else error
        raise VectorStoreError(f"{what}: {reason}", hint=_HINTS.get(error.errno or 0, MENDING)) from error
    except BaseException as error:
        hint = _ROOM if _FULL.search(str(error)) else MENDING
        raise VectorStoreError(f"{what}: {error or type(error).__name__}", hint=hint) from error


def _edge_config(spec: CollectionSpec) -> Any:
    vector = qdrant_edge.EdgeVectorParams(
        size=spec.dimension, distance=qdrant_edge.Distance.Dot, memory=qdrant_edge.Memory.Cold
    )
    return qdrant_edge.EdgeConfig(
        vectors=vector if spec.parts == 1 else dict.fromkeys(spec.vector_names, vector),
        payload_memory=qdrant_edge.Memory.Cold,
        optimizers=qdrant_edge.EdgeOptimizersConfig(
            deleted_threshold=0.0, vacuum_min_vector_number=0, indexing_threshold=0, default_segment_number=1
        ),
        wal_enabled=False,
    )


def _edge_points(points: Points, rows: slice, spec: CollectionSpec) -> list[Any]:
    return [
        qdrant_edge.Point(point, spec.named(vectors), payload)
        for point, vectors, payload in zip(
            points.ids[rows], points.vectors[rows].tolist(), points.payloads[rows], strict=True
        )
    ]


def _points(records: list[Any], spec: CollectionSpec) -> Points:
    vectors = np.empty((len(records), *spec.shape), dtype=np.float32)
    for row, record in enumerate(records):
        # every access to ``vector`` makes its numbers anew, as Python objects: most of the time of reading goes there
        found = record.vector
        for part, name in enumerate(spec.vector_names):
            vectors[row, part] = np.fromiter(found if spec.parts == 1 else found[name], np.float32, spec.dimension)
    return Points([str(record.id) for record in records], vectors, [record.payload or {} for record in records])


def mend_identity(
    folder: Path, store_uuid: str, is_ours: Callable[[list[str]], bool], *, lock_timeout_seconds: float
) -> bool:
    """Writes a damaged or lost identity file of a store again, if the collections there are ours; gives whether.

    Raises:
        StoreLockedError: If another process holds the store.
        VectorStoreError: If the file can't be written.
    """
    file, collections = folder / IDENTITY_FILE, folder / "collections"
    if _read_identity(file) is not None or not collections.is_dir():
        return False
    with _translated(f"the vector index at {folder} can't be mended"):
        lock = StoreLock(folder, lock_timeout_seconds)
        try:
            if _read_identity(file) is not None or not is_ours(_keys(collections)):
                return False
            _write_identity(file, store_uuid)
        finally:
            lock.release()
    return True


def _keys(collections: Path) -> list[str]:
    return sorted(entry.name for entry in collections.iterdir() if not entry.name.startswith("."))


def _write_identity(file: Path, store_uuid: str) -> None:
    write_json(
        file, {"store_uuid": store_uuid, "version": STORE_VERSION, "check": _check_of(store_uuid, STORE_VERSION)}
    )


def _read_identity(file: Path) -> str | None:
    """The store's UUID; ``None`` if the file is not there or not what was written (earlier software wrote no check)."""
    try:
        stored = read_json(file)
        found = str(uuid.UUID(stored["store_uuid"]))
        version = int(stored["version"])
        is_whole = stored.get("check", _check_of(found, version)) == _check_of(found, version)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if is_whole and version > STORE_VERSION:
        raise VectorStoreError(f"{file} is of version {version}, this software reads {STORE_VERSION}")
    return found if is_whole and version == STORE_VERSION else None


def _check_of(store_uuid: str, version: int) -> str:
    return hashlib.sha256(f"{store_uuid} {version}".encode()).hexdigest()[:16]
