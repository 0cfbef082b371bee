"""Whether the files of an in-process collection are as the engine left them, and whether they can be opened at all.

The engine checks none of its files, and believes what they say of sizes and counts: a few changed bytes make it ask
for more memory, or write more, than the machine has. So a collection that is closed is *sealed*: size and digest of
every file, of the vectors' own files the size alone (each vector has its digest in the catalog). The seal is compared
before the engine is let near, and broken before it is. A collection without one was not closed cleanly, or made by
earlier software: it is opened by a child process first, within limits of memory, file size and time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.errors import VectorStoreError
from provenance.files import sync_folder
from provenance.index import probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.index.contract import CollectionSpec

SEAL_FILE = "closed.json"
MENDING = "run `provenance reconcile`: the catalog is the truth, damaged collections can be made anew"
MOST_JSON_BYTES = 2**24
SPARE_BYTES, SPARE_FILE_BYTES = 2**30, 2**20
SECONDS, BYTES_A_SECOND = 20, 20 * 2**20
_VERSION = 1
_BLOCK_BYTES = 4096
_READ_BYTES = 2**20
_UNFINISHED = ".unfinished"
_END_SECONDS = 5


def seal(collection: Path) -> None:
    """Notes what is in the folder of a collection that has been closed. On a full disk it stays unsealed."""
    with contextlib.suppress(OSError):
        write_json(collection / SEAL_FILE, {"version": _VERSION, "files": _files_of(collection)})


def unseal(collection: Path) -> None:
    """Breaks the seal, for good before anything is written."""
    (collection / SEAL_FILE).unlink(missing_ok=True)
    sync_folder(collection)


def changed_file(collection: Path) -> str | None:
    """The first file that is not as it was sealed; empty if none is, ``None`` if there is no seal to go by."""
    try:
        sealed = read_json(collection / SEAL_FILE)
        noted = {name: list(entry) for name, entry in sealed["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    found = _files_of(collection)
    return next((name for name in sorted(noted.keys() | found.keys()) if noted.get(name) != found.get(name)), "")


def require_opens(collection: Path, spec: CollectionSpec, descriptor: int | None) -> None:
    """Lets a child process open and read a collection. It holds the store's lock (``descriptor``) as long as it lives.

    Raises:
        VectorStoreError: If it could not, within its limits.
    """
    files = list(_walk(collection))
    held = sum(512 * status.st_blocks for _, status in files)
    seconds = SECONDS + held // BYTES_A_SECOND
    asked = {
        "path": [str(Path(place).absolute()) for place in sys.path],  # its folder holds what others made
        "names": spec.vector_names,
        "dimension": spec.dimension,
        "memory_bytes": SPARE_BYTES + 2 * held,
        # what it has may be written again, but no file of vectors or payloads be added: these are made whole at once
        "file_bytes": SPARE_FILE_BYTES + max((s.st_size for f, s in files if not _is_page(f)), default=0),
        "seconds": seconds,
    }
    code, said = _asked_of_child(collection, json.dumps(asked), descriptor, seconds + _END_SECONDS)
    if code != 0 or said != probe.ANSWER:
        raise VectorStoreError(f"collection {spec.key} can't be opened: {_reason(code, said)}", hint=MENDING)


def _asked_of_child(collection: Path, question: str, descriptor: int | None, seconds: float) -> tuple[int, str]:
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", probe.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=collection,
        pass_fds=() if descriptor is None else (descriptor,),
        process_group=0,
        text=True,
        errors="replace",
    )
    try:
        said, _ = child.communicate(question, seconds)
    except subprocess.TimeoutExpired:
        said = ""
    finally:
        child.kill()
        child.communicate()
    return child.returncode, said


def _reason(code: int, said: str) -> str:
    if code in (-signal.SIGALRM, -signal.SIGKILL):
        return "the engine did not come to an end with it"
    if code < 0:
        return f"the engine died of it ({signal.Signals(-code).name})"
    return " ".join(said.split())[:300] or "the engine ended without an answer"


def _files_of(collection: Path) -> dict[str, list[Any]]:
    return {
        str(file.relative_to(collection)): [status.st_size, None if _holds_vectors(file) else _digest(file)]
        for file, status in _walk(collection)
    }


def _walk(collection: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for file in sorted(collection.rglob("*")):
        if file.is_file() and file.name not in (SEAL_FILE, SEAL_FILE + _UNFINISHED):
            yield file, file.stat()


def _holds_vectors(file: Path) -> bool:
    return file.suffix == ".mmap" and file.parent.name == "vectors"


def _is_page(file: Path) -> bool:
    return _holds_vectors(file) or file.name.startswith("page_")


def _digest(file: Path) -> str:
    """Over every block that holds anything, with its place: holes in a file are as good as zeros."""
    digest, empty = hashlib.sha256(), bytes(_BLOCK_BYTES)
    with file.open("rb", buffering=0) as stream:
        for start, stop in _extents(stream.fileno()):
            stream.seek(start)
            while start < stop and (read := stream.read(min(_READ_BYTES, stop - start))):
                for offset in range(0, len(read), _BLOCK_BYTES):
                    block = read[offset : offset + _BLOCK_BYTES]
                    if block != empty[: len(block)]:
                        digest.update((start + offset).to_bytes(8, "little") + block)
                start += len(read)
    return digest.hexdigest()


def _extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where a file holds data, in whole blocks."""
    end = os.fstat(descriptor).st_size
    stop = 0
    while stop < end:
        try:
            start = os.lseek(descriptor, stop, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            return
        start -= start % _BLOCK_BYTES
        stop = min(end, -(-os.lseek(descriptor, start, os.SEEK_HOLE) // _BLOCK_BYTES) * _BLOCK_BYTES)
        yield start, stop


def read_json(file: Path) -> Any:
    """A small JSON file; ``ValueError`` if it is none, or not small."""
    with file.open("rb") as stream:
        content = stream.read(MOST_JSON_BYTES + 1)
    if len(content) > MOST_JSON_BYTES:
        raise ValueError(f"{file} is larger than it ever is")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(f"{file} is no file of ours") from error


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all, for good."""
    unfinished = file.with_name(file.name + _UNFINISHED)
    try:
        with unfinished.open("w") as stream:
            json.dump(value, stream)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.rename(file)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(file.parent)
