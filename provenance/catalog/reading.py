"""SQLite files of somebody who may only read: a mount, a folder or a file without leave to write."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from urllib.parse import quote_from_bytes


def may_only_be_read(file: Path) -> bool:
    """Whether a file is there, and it or its folder (which takes the write-ahead log) can't be written to."""
    return file.exists() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def reading_connection(file: Path, timeout_seconds: float) -> sqlite3.Connection:
    """A connection that changes no file and makes none.

    While a writer is at work its shared memory leads to what it has committed. Where there is none, the file is all
    there is; a log that a killed writer left is read in a copy, as SQLite would have to write to read it.
    """
    log, shared = (file.with_name(file.name + ending) for ending in ("-wal", "-shm"))
    if not shared.exists() and log.exists() and log.stat().st_size:
        with tempfile.TemporaryDirectory(prefix="provenance-") as folder:
            copy = Path(folder) / file.name
            shutil.copyfile(file, copy)
            shutil.copyfile(log, copy.with_name(log.name))
            connection = _connected(copy, "rw", timeout_seconds)
            connection.execute("SELECT count(*) FROM sqlite_master").close()  # opens the log before it loses its name
            return connection
    return _connected(file, "ro" if shared.exists() else "ro&immutable=1", timeout_seconds)


def _connected(file: Path, mode: str, timeout_seconds: float) -> sqlite3.Connection:
    uri = f"file:{quote_from_bytes(os.fsencode(file.absolute()))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=timeout_seconds, check_same_thread=False)
