"""Zip and tar archives as sources: members are listed and read in place, nothing is ever unpacked to disk.

A member's name is a label only. Where an archive holds a name more than once, the later members are labelled
``name (2)``, ``name (3)`` ... in the archive's own order, so that each label finds its own bytes again.
"""

from __future__ import annotations

import atexit
import bz2
import gzip
import lzma
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, cast

from provenance.errors import SourceError
from provenance.images.entries import (
    ARCHIVE_SUFFIXES,
    BadInput,
    Source,
    SourceKind,
    identity_of,
    is_unchanged,
    text_of,
)
from provenance.images.members import DAMAGE, Reader
from provenance.images.tars import CompressedTarReader, TarReader
from provenance.images.zips import ZipReader
from provenance.vocabulary import Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN_ARCHIVES = 4
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_Decompress = Callable[[Path], IO[bytes]]
_COMPRESSIONS: dict[bytes, _Decompress] = {
    b"\x1f\x8b": cast("_Decompress", gzip.open),
    b"BZh": cast("_Decompress", bz2.open),
    b"\xfd7zXZ\0": cast("_Decompress", lzma.open),
}


def is_archive(path: Path) -> bool:
    """Whether the name or the first bytes say that the file is an archive, of a kind that is read here or not."""
    head = _head(path)
    has_magic = head.startswith((*_ZIP_MAGIC, *_COMPRESSIONS)) or head[257:262] == b"ustar"
    return has_magic or path.suffix.lower() in ARCHIVE_SUFFIXES


class ArchiveSource(Source):
    """The members of a zip or tar archive. A compressed tar is read in a stream: its items carry their bytes.

    Raises:
        SourceError: If the archive can't be opened.
    """

    kind: ClassVar[SourceKind] = "archive"

    def __init__(self, path: Path, *, max_file_bytes: int) -> None:
        super().__init__(path)
        self._max_file_bytes = max_file_bytes
        with closing(self._open()) as reader:
            self._count = reader.count()

    def count(self) -> int | None:
        """Members to expect; ``None`` for a compressed tar."""
        return self._count

    def __iter__(self) -> Iterator[SourceItem | Rejection]:
        with closing(self._open()) as reader:
            yield from reader.found()

    def _open(self) -> Reader:
        try:
            return _open_reader(self.path, self._max_file_bytes)
        except DAMAGE as error:
            raise SourceError(
                f"can't open the archive {self.path}: {text_of(error)}",
                hint="Give an undamaged .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz, or unpack it and give the folder.",
            ) from error


def read_member(item: SourceItem, *, max_file_bytes: int) -> bytes:
    """The bytes of an archive's member; the archive stays open in this process for the next call.

    Raises:
        BadInput: If the member can't be read or is too large, or if the archive changed since it was listed.
    """
    try:
        return _archives.read(item, max_file_bytes)
    except (*DAMAGE, RuntimeError) as error:  # RuntimeError: zipfile's word for an encrypted member
        raise BadInput(_reason_of(error), f"in the archive: {text_of(error)}") from error


def _reason_of(error: Exception) -> RejectReason:
    match error:
        case EOFError() | tarfile.ReadError():
            return RejectReason.TRUNCATED
        case NotImplementedError():
            return RejectReason.UNSUPPORTED
        case OSError(errno=int()) | RuntimeError():
            return RejectReason.UNREADABLE
        case _:  # an OSError without a number is the bz2 reader's word for bad data
            return RejectReason.BROKEN


def _open_reader(path: Path, max_file_bytes: int) -> Reader:
    head = _head(path)
    for magic, decompress in _COMPRESSIONS.items():
        if head.startswith(magic):
            return CompressedTarReader(path, decompress, max_file_bytes)
    is_zip = head.startswith(_ZIP_MAGIC) or path.suffix.lower() == ".zip"
    return ZipReader(path) if is_zip else TarReader(path)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


class _OpenArchives:
    """The archives this process has open, the longest unused first. One thread reads at a time."""

    def __init__(self) -> None:
        self._readers: OrderedDict[str, Reader] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, item: SourceItem, max_file_bytes: int) -> bytes:
        path = Path(item.source)
        with self._lock:
            reader = self._reader(path, max_file_bytes)
            if not is_unchanged(item, reader.status, item.size_bytes):
                raise BadInput(RejectReason.UNREADABLE, "its archive changed after it was listed")
            data = reader.read(cast("str", item.member), max_file_bytes)
            if identity_of(path.stat()) != identity_of(reader.status):
                raise BadInput(RejectReason.UNREADABLE, "its archive changed while it was read")
        return data

    def close(self) -> None:
        with self._lock:
            while self._readers:
                self._readers.popitem()[1].close()

    def _reader(self, path: Path, max_file_bytes: int) -> Reader:
        key = str(path)
        reader = self._readers.pop(key, None)
        if reader is not None and identity_of(path.stat()) != identity_of(reader.status):
            reader.close()
            reader = None
        self._readers[key] = reader or _open_reader(path, max_file_bytes)
        if len(self._readers) > _OPEN_ARCHIVES:
            self._readers.popitem(last=False)[1].close()
        return self._readers[key]


_archives = _OpenArchives()
atexit.register(_archives.close)
