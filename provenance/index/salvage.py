"""Vectors found again by their digests in files of plain float32 rows, whatever became of the files around them.

Both the engine and our own vector files keep vectors row by row. The catalog has the digest of each, so that a row is
known for what it is wherever it lies: no index of a damaged collection is believed, and nothing wrong can come back.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from provenance.index.vectorfile import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from provenance.arrays import Float32s
    from provenance.index.contract import CollectionSpec

_BLOCK_ROWS = 1024


class Salvage:
    """What ``folders`` hold of the vectors that are ``wanted`` (by ``vector_sha256``).

    Args:
        spec: The shape of one image's vectors.
        wanted: Digests of the vectors that are looked for.
        folders: Folders of collections of the in-process engine, and of vector files.
    """

    def __init__(self, spec: CollectionSpec, wanted: Iterable[str], folders: Iterable[Path]) -> None:
        self._shape = spec.shape
        self._places: dict[str, tuple[Sequence[Path], int]] = {}
        missing = set(wanted)
        for folder in folders:
            for files in _row_files(folder, spec):
                if not missing:
                    return
                self._look_through(files, missing)

    def get(self, vector_sha256: str) -> Float32s | None:
        """The vectors ``(parts, dimension)`` of that digest, if they were found."""
        if (place := self._places.get(vector_sha256)) is None:
            return None
        rows = self._rows(place[0], place[1], place[1] + 1)
        return rows[0] if len(rows) else None

    def _look_through(self, files: Sequence[Path], missing: set[str]) -> None:
        start = 0
        while missing and len(rows := self._rows(files, start, start + _BLOCK_ROWS)):
            for row in np.flatnonzero(rows.any(axis=(1, 2))).tolist():
                digest = hashlib.sha256(rows[row].tobytes()).hexdigest()
                if digest in missing:
                    self._places[digest] = files, start + row
                    missing.discard(digest)
            start += _BLOCK_ROWS

    def _rows(self, files: Sequence[Path], start: int, stop: int) -> Float32s:
        """Rows of the files put together, ``(n, parts, dimension)``: as many as there are of all of them."""
        parts, dimension = self._shape
        numbers = parts * dimension // len(files)
        try:
            found = [np.fromfile(file, "<f4", (stop - start) * numbers, offset=4 * start * numbers) for file in files]
        except OSError:
            found = [np.zeros(0, dtype=np.float32)]
        count = min(len(each) // numbers for each in found)
        together: Float32s = np.stack([each[: count * numbers].reshape(count, numbers) for each in found], axis=1)
        return together.reshape(count, parts, dimension)


def _row_files(folder: Path, spec: CollectionSpec) -> Iterator[Sequence[Path]]:
    """Files of rows: one for whole images, or those of the parts, whose rows go together."""
    storages = [f"vector_storage{'-' if name else ''}{name}" for name in spec.vector_names]
    for first in sorted(folder.rglob(f"{storages[0]}/vectors/*.mmap")):
        segment = first.parents[2]
        files = [segment / storage / "vectors" / first.name for storage in storages]
        if all(file.is_file() for file in files):
            yield files
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        yield (file,)
