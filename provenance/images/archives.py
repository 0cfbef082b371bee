"""Zip and tar archives: members are listed and read in place, nothing is ever unpacked to disk.

Zips are listed by their central directory; plain tars are listed and read by offset; compressed tars flow past in a
stream. A member's name is a label only. Where an archive holds a name more than once, the later members are labelled
``name (2)``, ``name (3)`` ... in the archive's own order, so that each label finds its own bytes again.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Self, TypeVar, cast

from provenance.images.entries import ARCHIVE_SUFFIXES, admitted, check_size, is_left_out, item_from, rejection_of
from provenance.images.frames import BadInput, text_of
from provenance.vocabulary import Found, Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

T = TypeVar("T")

_ENCRYPTED = 0x1
_LINK = "a link or device inside an archive, not a file"
_MAX_TRAILING_BYTES = 16 * 1024**2
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_COMPRESSIONS = cast(
    "dict[bytes, Callable[[Path], IO[bytes]]]", {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
)

# What the readers of the standard library raise over damaged bytes: their own errors, and what slips through.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
)


class Reader(ABC):
    """One open archive.

    Attributes:
        status: The archive file as it was when it was opened.
    """

    status: os.stat_result

    @abstractmethod
    def count(self) -> int | None:
        """How many items and rejections ``found`` gives; ``None`` where only reading would tell."""

    @abstractmethod
    def found(self) -> Iterator[Found]:
        """The members, in order; at last the damage that ended their listing."""

    @abstractmethod
    def read(self, member: str, max_file_bytes: int) -> bytes:
        """The bytes of the member with this label; ``BadInput`` if there is none, or it is too large or no file."""

    @abstractmethod
    def close(self) -> None:
        """Closes the archive."""


def is_archive(path: Path) -> bool:
    """Whether the name or the first bytes say that the file is an archive, of a kind that is read here or not."""
    head = _head(path)
    has_magic = head.startswith((*_ZIP_MAGIC, *_COMPRESSIONS)) or head[257:262] == b"ustar"
    return has_magic or path.suffix.lower() in ARCHIVE_SUFFIXES


def open_reader(path: Path, max_file_bytes: int) -> Reader:
    """Opens an archive by what its first bytes say; raises one of ``DAMAGE`` where it can't."""
    head = _head(path)
    for magic, decompress in _COMPRESSIONS.items():
        if head.startswith(magic):
            return _CompressedTarReader(path, decompress, max_file_bytes)
    is_zip = head.startswith(_ZIP_MAGIC) or path.suffix.lower() == ".zip"
    return _ZipReader(path) if is_zip else _TarReader(path)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def reason_of(error: Exception) -> RejectReason:
    """What to call a failure of reading a member."""
    match error:
        case EOFError() | tarfile.ReadError():
            return RejectReason.TRUNCATED
        case NotImplementedError():
            return RejectReason.UNSUPPORTED
        case OSError(errno=int()) | RuntimeError():
            return RejectReason.UNREADABLE
        case _:  # an OSError without a number is the bz2 reader's word for bad data
            return RejectReason.BROKEN


class _Labels:
    """Gives each member a label of its own: its name, or ``name (N)`` where that was taken before."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def of(self, name: str) -> str:
        """The next label for a member of this name."""
        label = name
        while label in self._taken:
            self._taken[name] += 1
            label = f"{name} ({self._taken[name]})"
        self._taken[label] = 1
        return label


def _labelled(members: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Members by label, in the order of their names' parts; equal names keep the archive's order."""
    labels = _Labels()
    named = [(_name_of(path).split("/"), labels.of(path), member) for path, member in members]
    return {label: member for _, label, member in sorted(named, key=lambda each: each[0])}


def _name_of(path: str) -> str:
    """A member's path as a label: without empty parts and ``.``; ``..`` stays, for nothing is ever written there."""
    return "/".join(part for part in path.split("/") if part not in ("", ".")) or path


def _is_member_left_out(path: str) -> bool:
    return any(is_left_out(part) for part in path.split("/"))


def _there(member: T | None) -> T:
    if member is None:
        raise BadInput(RejectReason.UNREADABLE, "the archive has no such member")
    return member


class _ZipReader(Reader):
    """An open zip archive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.status = path.stat()
        self._zip = zipfile.ZipFile(path)
        files = (info for info in self._zip.infolist() if not info.is_dir() and not _is_member_left_out(info.filename))
        self._members = _labelled((info.filename, info) for info in files)

    def count(self) -> int:
        return len(self._members)

    def found(self) -> Iterator[Found]:
        for label, info in self._members.items():
            name = _name_of(info.filename)
            item = item_from(self.status, self._path, name, member=label, size_bytes=info.file_size)
            if info.flag_bits & _ENCRYPTED:
                yield rejection_of(item, RejectReason.UNREADABLE, "it is encrypted")
            elif stat.S_ISLNK(info.external_attr >> 16):
                yield rejection_of(item, RejectReason.UNSUPPORTED, _LINK)
            else:
                yield admitted(item)

    def read(self, member: str, max_file_bytes: int) -> bytes:
        info = _there(self._members.get(member))
        check_size(info.file_size, max_file_bytes)
        return self._zip.read(info)  # never more than file_size

    def close(self) -> None:
        self._zip.close()


# Named in no documentation, but what tarfile has told its own ends by since Python 3.2.
_EndMark: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_NoHeader: type[Exception] = tarfile.EmptyHeaderError  # type: ignore[attr-defined]
_CutHeader: type[Exception] = tarfile.TruncatedHeaderError  # type: ignore[attr-defined]
_HeaderError = tarfile.HeaderError  # the parameter of fromtarfile hides the module there


class _NotingTarInfo(tarfile.TarInfo):
    """Notes why a listing ended: ``tarfile`` itself takes any bad header after the first for the end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except _HeaderError as error:
            if isinstance(tarfile, _NotingTar) and not isinstance(error, _EndMark):
                tarfile.damage = error
            raise


class _NotingTar(tarfile.TarFile):
    tarinfo = _NotingTarInfo
    damage: Exception | None = None
    members: list[tarfile.TarInfo]


class _TarReader(Reader):
    """An open tar archive without compression."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.status = path.stat()
        self._tar = _NotingTar.open(path, "r:")
        self._damage: Exception | None = None
        self._members = _labelled((info.name, info) for info in self._listed())

    def count(self) -> int:
        return len(self._members) + (self._damage is not None)

    def found(self) -> Iterator[Found]:
        for label, info in self._members.items():
            item = _item_of(self.status, self._path, info, label)
            yield admitted(item) if info.isreg() else rejection_of(item, RejectReason.UNSUPPORTED, _LINK)
        if self._damage is not None:
            yield _rejected_rest(self.status, self._path, self._damage)

    def read(self, member: str, max_file_bytes: int) -> bytes:
        return _bytes_of(self._tar, _there(self._members.get(member)), max_file_bytes)

    def close(self) -> None:
        self._tar.close()

    def _listed(self) -> Iterator[tarfile.TarInfo]:
        try:
            while (info := self._tar.next()) is not None:
                if not info.isdir() and not _is_member_left_out(info.name):
                    yield info
        except DAMAGE as error:
            self._damage = error
        self._damage = self._damage or self._tar.damage


class _CompressedTarReader(Reader):
    """A compressed tar archive, which can be read one way only: each item is found together with its bytes.

    Reading by label goes on from where the last reading ended, and starts over at most once: in the archive's own
    order, all members cost one pass.
    """

    def __init__(self, path: Path, decompress: Callable[[Path], IO[bytes]], max_file_bytes: int) -> None:
        self._path = path
        self._decompress = decompress
        self._max_file_bytes = max_file_bytes
        self.status = path.stat()
        with decompress(path) as raw, _NotingTar.open(fileobj=raw, mode="r|"):
            pass  # there is a tar inside: its first header is sound
        self._position = self.found()
        self._at_start = True

    def count(self) -> None:
        return

    def found(self) -> Generator[Found, None, None]:
        """The members in the archive's order, with their bytes; at last the damage that ended the reading."""
        labels = _Labels()
        try:
            with self._decompress(self._path) as raw, _NotingTar.open(fileobj=raw, mode="r|") as tar:
                while (info := tar.next()) is not None:
                    tar.members.clear()  # it would grow with the archive
                    if not info.isdir() and not _is_member_left_out(info.name):
                        yield self._with_bytes(tar, info, labels.of(info.name))
                damage = tar.damage
                _read_to_end(raw)
        except DAMAGE as error:
            damage = error
        if damage is not None:
            yield _rejected_rest(self.status, self._path, damage)

    def read(self, member: str, max_file_bytes: int) -> bytes:
        found = self._next(member)
        if found is None and not self._at_start:
            self._position = self.found()
            found = self._next(member)
        self._at_start = False
        if isinstance(found, Rejection):
            raise BadInput(found.reason, found.detail)
        item = _there(found)
        check_size(item.size_bytes, max_file_bytes)
        return item.content or b""

    def close(self) -> None:
        self._position.close()

    def _next(self, member: str) -> Found | None:
        return next((found for found in self._position if found.member == member), None)

    def _with_bytes(self, tar: tarfile.TarFile, info: tarfile.TarInfo, label: str) -> Found:
        bare = _item_of(self.status, self._path, info, label)
        if not info.isreg():
            return rejection_of(bare, RejectReason.UNSUPPORTED, _LINK)
        if isinstance(refused := admitted(bare), Rejection):
            return refused
        try:
            return replace(bare, content=_bytes_of(tar, info, self._max_file_bytes))
        except BadInput as failure:
            return rejection_of(bare, failure.reason, failure.detail)
        except DAMAGE as error:
            return rejection_of(bare, _reason_of_damage(error), f"in the archive: {text_of(error)}")


def _item_of(status: os.stat_result, path: Path, info: tarfile.TarInfo, label: str) -> SourceItem:
    return item_from(status, path, _name_of(info.name), member=label, size_bytes=info.size)


def _bytes_of(tar: tarfile.TarFile, info: tarfile.TarInfo, max_file_bytes: int) -> bytes:
    if not info.isreg():
        raise BadInput(RejectReason.UNSUPPORTED, _LINK)
    check_size(info.size, max_file_bytes)
    file = tar.extractfile(info)
    data = b"" if file is None else file.read()
    if len(data) != info.size:
        raise BadInput(RejectReason.TRUNCATED, "the archive ends within it")
    return data


def _read_to_end(raw: IO[bytes]) -> None:
    """Reads past the tar's end mark, for the checksum of the compression stands behind the last byte."""
    block = 1024**2
    for _ in range(_MAX_TRAILING_BYTES // block):
        if not raw.read(block):
            return


def _rejected_rest(status: os.stat_result, path: Path, damage: Exception) -> Rejection:
    """The rejection, under the archive's own name, of whatever stood behind the damage."""
    item = item_from(status, path, path.name, member=None, size_bytes=status.st_size)
    problem = "it ends without its end mark" if isinstance(damage, _NoHeader) else text_of(damage)
    detail = f"the archive is damaged; the members before it were read: {problem}"
    return rejection_of(item, _reason_of_damage(damage), detail)


def _reason_of_damage(error: Exception) -> RejectReason:
    is_cut = isinstance(error, (_NoHeader, _CutHeader, EOFError)) or "unexpected end of data" in str(error)
    return RejectReason.TRUNCATED if is_cut else RejectReason.BROKEN
