"""Vectors for reading: verified loads from the index, and immutable files named by the digest of what they hold.

A vector file is raw little-endian float32, one image's ``(parts, dimension)`` after another in image_id order. Its
name is the content digest, so that it can be kept, shared and thrown away freely; opening it verifies every row.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.errors import VectorStoreError
from provenance.files import UNFINISHED_SUFFIX, Outdated, sweep_unfinished, sync_folder, unfinished
from provenance.index.ahead import ahead
from provenance.index.search import available_threads
from provenance.logs import room, step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from provenance.arrays import Flags, Float32s
    from provenance.index.contract import VectorIndex

    Located = tuple[str, str, str]
    Fetch = Callable[[int, int], Float32s]

_log = room(__name__)

SUFFIX = ".f32"
MADE_SUFFIX = ".made"
"""Of arrays that were computed from vectors: thrown away with them."""
_BLOCK_ROWS, _BLOCK_BYTES = 1024, 2**24


def content_digest(space_id: str, members: Iterable[tuple[str, str]]) -> str:
    """Hex sha256 over a space and the ``(image_id, vector_sha256)`` of its members, whatever their order."""
    digest = hashlib.sha256(f"provenance vectors 1\n{space_id}\n".encode())
    digest.update("".join([f"{image_id} {vector_sha256}\n" for image_id, vector_sha256 in sorted(members)]).encode())
    return digest.hexdigest()


def vector_file(folder: Path, digest: str) -> Path:
    """Where the vector file of a content digest is, or would be."""
    return folder / f"{digest}{SUFFIX}"


def load_vectors(
    index: VectorIndex, located: Sequence[Located], *, parts: int, dimension: int, in_flight: int | None = None
) -> Float32s:
    """The vectors of points of several collections, each verified against its digest.

    ``located`` is ``(collection_key, point_id, vector_sha256)`` row by row; the result, float32
    ``(n, parts, dimension)``, is in its order. Without ``in_flight`` the index says how many are asked for at once.

    Raises:
        VectorStoreError: Naming the first point that is missing or damaged.
    """
    by_key: dict[str, list[int]] = {}
    for row, (key, _, _) in enumerate(located):
        by_key.setdefault(key, []).append(row)
    vectors = np.zeros((len(located), parts, dimension), dtype=np.float32)
    found = np.zeros(len(located), dtype=bool)
    at_once = in_flight or index.in_flight
    share = max(1, _block_rows(parts, dimension) // at_once)
    asked = ((key, rows[at : at + share]) for key, rows in by_key.items() for at in range(0, len(rows), share))
    for _ in ahead(lambda part: _fill(index, *part, located, vectors, found), asked, at_once):
        pass
    # a missing vector is all zeros here, which is nobody's: the first damaged row may be one
    wrong = _first_damaged(vectors, [digest for _, _, digest in located])
    if wrong is not None:
        key, point, _ = located[wrong]
        raise VectorStoreError(
            f"the vector of point {point} in collection {key} is {'damaged' if found[wrong] else 'missing'}",
            hint="run `provenance reconcile`, or ingest the source again",
        )
    return vectors


def ensure_vector_file(
    folder: Path,
    digest: str,
    vector_digests: Sequence[str],
    fetch: Fetch,
    *,
    parts: int,
    dimension: int,
    threads: int | None = None,
    in_flight: int = 1,
    is_current: Callable[[], bool] = lambda: True,
) -> Float32s:
    """The vector file of a content digest as a read-only memory map; made if it isn't there or is damaged.

    It is float32 ``(n, parts, dimension)``, every row verified by its ``vector_sha256`` (``vector_digests``). ``fetch``
    gives the vectors of rows ``start`` to ``stop`` (excluded) in that shape, from ``in_flight`` threads; without
    ``threads`` all cores verify. What is not ``is_current`` as soon as it is written, as an image was forgotten, is not
    kept (see ``kept_arrays``).

    Raises:
        VectorStoreError: If a fetched vector is not what its digest says, or the file can't be written.
    """
    shape = (len(vector_digests), parts, dimension)
    if not vector_digests:
        return np.zeros(shape, dtype=np.float32)
    file = vector_file(folder, digest)
    try:
        vectors = _opened(file, shape, vector_digests, threads)
        for last in (False, False, True):
            if vectors is not None:
                break
            folder.mkdir(parents=True, exist_ok=True)
            with step(_log, "make vector file", images=shape[0], parts=parts), _unless_cleared(raising=last):
                _write(file, shape, vector_digests, fetch, threads, in_flight, is_current)
            vectors = _opened(file, shape, vector_digests, threads)
    except OSError as error:
        raise VectorStoreError(
            f"the vector file {file} can't be made or read: {error}",
            hint="check that the disk has room and is writable",
        ) from error
    if vectors is None:
        raise VectorStoreError(f"the vector file {file} is damaged as soon as it is written", hint="check the disk")
    return vectors


@contextlib.contextmanager
def _unless_cleared(*, raising: bool) -> Iterator[None]:
    """Files that somebody clears while they are written are made again: an image was forgotten meanwhile."""
    try:
        yield
    except Outdated as error:
        if raising:
            raise FileNotFoundError("it was cleared while it was written") from error


def kept_arrays(
    folder: Path, digest: str, make: Callable[[], dict[str, NDArray[Any]]], is_current: Callable[[], bool]
) -> dict[str, NDArray[Any]]:
    """Arrays by their names, computed from vectors once, and kept by the digest of everything that they are made of.

    A file that is damaged is made anew. What is not ``is_current`` any more, as an image was forgotten, is not kept:
    that is asked when ``clear`` can see the file, so that one of the two finds the other.

    Raises:
        VectorStoreError: If the file can't be written.
    """
    file = folder / f"{digest}{MADE_SUFFIX}"
    try:
        content = file.read_bytes()
    except OSError:
        content = b""
    if content and hashlib.sha256(content[:-32]).digest() == content[-32:]:
        with contextlib.suppress(OSError):
            os.utime(file)
        with np.load(io.BytesIO(content[:-32]), allow_pickle=False) as stored:
            return dict(stored)
    arrays, written = make(), io.BytesIO()
    np.savez(written, allow_pickle=False, **arrays)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(Outdated), unfinished(file) as stream:
            stream.write(written.getvalue() + hashlib.sha256(written.getbuffer()).digest())
            if not is_current():
                raise Outdated
    except OSError as error:
        raise VectorStoreError(
            f"what was computed from vectors can't be kept in {folder}: {error}",
            hint="check that the disk has room and is writable",
        ) from error
    return arrays


def prune(folder: Path, max_bytes: int) -> list[Path]:
    """Removes the least recently used vector files until the rest takes up ``max_bytes`` at most, and dead leftovers.

    Returns:
        The removed files. A process that has one open keeps it until it is done.
    """
    sweep_unfinished(folder)
    kept_bytes, removed = 0, []
    files = [*_files(folder, SUFFIX), *_files(folder, MADE_SUFFIX)]
    for file, status in sorted(files, key=lambda entry: entry[1].st_mtime_ns, reverse=True):
        kept_bytes += status.st_size
        if kept_bytes > max_bytes:
            removed.append(file)
    for file in removed:
        file.unlink(missing_ok=True)
    return removed


def clear(folder: Path) -> None:
    """Removes every vector file: after a forgotten image none of them may stay.

    Unfinished ones first: what is finished meanwhile is found after them.
    """
    for suffix in (UNFINISHED_SUFFIX, SUFFIX, MADE_SUFFIX):
        for file, _ in _files(folder, suffix):
            file.unlink(missing_ok=True)


def _fill(
    index: VectorIndex, key: str, rows: list[int], located: Sequence[Located], vectors: Float32s, found: Flags
) -> None:
    points = index.get(key, list(dict.fromkeys(located[row][1] for row in rows)))
    if points.vectors.shape[1:] != vectors.shape[1:]:
        raise VectorStoreError(f"collection {key} holds vectors of another shape than {vectors.shape[1:]}")
    place = {point: position for position, point in enumerate(points.ids)}
    for row in rows:
        position = place.get(located[row][1])
        if position is not None:
            vectors[row] = points.vectors[position]
            found[row] = True


def _first_damaged(vectors: Float32s, vector_digests: Sequence[str], threads: int | None = None) -> int | None:
    """The first row that is not what its digest says; hashing lets go of the interpreter, so that threads share it."""
    if not vectors.size:
        return None
    data = np.asarray(vectors).data.cast("B")
    row_bytes = data.nbytes // len(vector_digests)

    def first_of(start: int) -> int | None:
        for row in range(start, min(start + _BLOCK_ROWS, len(vector_digests))):
            if hashlib.sha256(data[row * row_bytes : (row + 1) * row_bytes]).hexdigest() != vector_digests[row]:
                return row
        return None

    starts = range(0, len(vector_digests), _BLOCK_ROWS)
    workers = min(threads or available_threads(), len(starts))
    if workers <= 1:
        return next((row for row in map(first_of, starts) if row is not None), None)
    with ThreadPoolExecutor(workers) as pool:
        return next((row for row in pool.map(first_of, starts) if row is not None), None)


def _opened(
    file: Path, shape: tuple[int, int, int], vector_digests: Sequence[str], threads: int | None
) -> Float32s | None:
    """The verified memory map; ``None`` where there is no such file or it is not what its name says."""
    row_bytes = 4 * shape[1] * shape[2]
    if not file.is_file() or file.stat().st_size != shape[0] * row_bytes:
        return None
    vectors = np.memmap(file, dtype="<f4", mode="r", shape=shape)
    if _first_damaged(vectors, vector_digests, threads) is not None:
        return None
    with contextlib.suppress(OSError):  # only the order of pruning hangs on it
        os.utime(file)
    return vectors


def _write(
    file: Path,
    shape: tuple[int, int, int],
    vector_digests: Sequence[str],
    fetch: Fetch,
    threads: int | None,
    in_flight: int,
    is_current: Callable[[], bool],
) -> None:
    """Writes beside the file, verifies on the way, and puts it in place whole."""
    rows = _block_rows(*shape[1:])
    starts = range(0, shape[0], rows)
    with (
        unfinished(file) as stream,
        contextlib.closing(ahead(lambda start: fetch(start, min(start + rows, shape[0])), starts, in_flight)) as blocks,
    ):
        for start, fetched in zip(starts, blocks, strict=True):
            block = np.ascontiguousarray(fetched, dtype="<f4")
            stop = min(start + rows, shape[0])
            if block.shape != (stop - start, *shape[1:]):
                raise VectorStoreError(f"vectors of shape {block.shape} came for rows {start} to {stop}")
            wrong = _first_damaged(block, vector_digests[start:stop], threads)
            if wrong is not None:
                raise VectorStoreError(
                    f"the vector of row {start + wrong} is damaged", hint="run `provenance reconcile`"
                )
            stream.write(block.data)
        stream.flush()
        if not is_current():
            raise Outdated
    sync_folder(file.parent)


def _block_rows(parts: int, dimension: int) -> int:
    """How many images' vectors are held at a time."""
    return max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (4 * parts * dimension)))


def _files(folder: Path, suffix: str) -> list[tuple[Path, os.stat_result]]:
    found: list[tuple[Path, os.stat_result]] = []
    for file in folder.glob(f"*{suffix}"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            found.append((file, file.stat()))
    return found
