"""The in-process store of somebody who may only read it: what is asked for is copied aside, as the engine writes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from provenance.errors import StoreLockedError, VectorStoreError
from provenance.index.edge import EdgeIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.index.contract import Points

_POLL_SECONDS = 0.05
_BLOCK_BYTES = 2**20


class _NoLock:
    """Nothing is held: each copy takes the store's lock for as long as it reads."""

    descriptor = None

    def release(self) -> None:
        """Lets go of nothing."""


class EdgeCopy(EdgeIndex):
    """A store folder that is only read; the collections that are asked for lie in a temporary folder until the end."""

    def __init__(self, folder: Path, *, lock_timeout_seconds: float) -> None:
        self._timeout = lock_timeout_seconds
        self._aside = tempfile.TemporaryDirectory(prefix="provenance-")
        try:
            super().__init__(folder, lock_timeout_seconds=lock_timeout_seconds)
        except BaseException:
            self._aside.cleanup()
            raise

    def close(self) -> None:
        """See ``VectorIndex``."""
        super().close()
        self._aside.cleanup()

    def create(self, spec: object) -> None:
        """Refused, like all that writes."""
        self._refuse()

    def drop(self, key: str) -> None:
        """Refused."""
        self._refuse()

    def set_aside(self, key: str) -> None:
        """Refused."""
        self._refuse()

    def discard(self, key: str) -> None:
        """Refused."""
        self._refuse()

    def upsert(self, key: str, points: Points) -> None:
        """Refused."""
        self._refuse()

    def delete(self, key: str, ids: object) -> None:
        """Refused."""
        self._refuse()

    def compact(self, key: str) -> bool:
        """Refused."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise VectorStoreError(
            f"the vector index at {self._folder} is read-only", hint="run it as a user who may write there"
        )

    def _enter(self, timeout_seconds: float) -> _NoLock:
        if not (self._folder / "store.json").exists():
            raise VectorStoreError(f"there is no vector index at {self._folder}", hint="check the index URL")
        return _NoLock()

    def _clean_up(self) -> None:
        pass

    def _read_ahead(self, key: str, count: int) -> None:
        pass

    def _place(self, key: str) -> Path:
        target = Path(self._aside.name) / key
        if not target.exists():
            with self._held():
                for folder, _, files in os.walk(self._collections / key):
                    place = target / os.path.relpath(folder, self._collections / key)
                    place.mkdir(parents=True)
                    for file in files:
                        _copy(Path(folder) / file, place / file)
        return target

    def _shard_path(self, name: str) -> str:
        return str(self._place(name) / "shard")

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Keeps writers out; no file is made for it."""
        try:
            descriptor = os.open(self._folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield
            return
        deadline = time.monotonic() + self._timeout
        try:
            while not _shared(descriptor):
                if time.monotonic() >= deadline:
                    raise StoreLockedError(
                        f"the vector index at {self._folder} is held by a process that writes",
                        hint="try again when it has finished",
                    )
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)


def _shared(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks for readers
        return True
    return True


def _copy(source: Path, target: Path) -> None:
    """A copy with the holes of the original: the engine's files are far larger than what is in them."""
    with source.open("rb", buffering=0) as read, target.open("xb", buffering=0) as written:
        size = os.fstat(read.fileno()).st_size
        for start, end in _filled(read.fileno(), size):
            for place in range(start, end, _BLOCK_BYTES):
                block = os.pread(read.fileno(), min(_BLOCK_BYTES, end - place), place)
                if block.strip(b"\0"):
                    os.pwrite(written.fileno(), block, place)
        os.truncate(written.fileno(), size)
    target.chmod(0o600)


def _filled(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    place = 0
    while place < size:
        try:
            start = os.lseek(descriptor, place, os.SEEK_DATA)
            place = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError:  # nothing but holes from here on
            return
        yield start, place
