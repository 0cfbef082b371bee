"""Zip and tar archives: members are listed and read in place, nothing is ever unpacked to disk.

Zips are listed by their central directory; plain tars are listed and read by offset; compressed tars flow past in a
stream. A member's name is a label only. Where an archive holds a name more than once, the later members are labelled
``name (2)``, ``name (3)`` ... in the archive's own order, so that each label finds its own bytes again. The label is
the member's path as the archive's directory has it; its name as people wrote it (``membernames``) is what is shown.
A hard link of a tar stands for the member before it that it names; nothing outside the archive is ever followed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache, partial
from itertools import count
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar, cast

from provenance.images.entries import (
    ARCHIVE_SUFFIXES,
    UNREAD_ARCHIVES,
    admitted,
    check_size,
    is_left_out,
    item_from,
    rejection_of,
)
from provenance.images.frames import BadInput, text_of
from provenance.images.membernames import tar_name, zip_names
from provenance.vocabulary import Found, Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Container, Generator, Iterable, Iterator
    from pathlib import Path

T = TypeVar("T")

_ENCRYPTED = 0x1
_UTF8_FLAG = 0x800
_PLAIN_VERSION = struct.pack("<H", 20)
_LOCAL_HEADER_BYTES = 30
_ENTRY_BYTES = 46
"""Of a member in the directory at a zip's end, less its name, extra fields and comment."""
_FOLDER_OF_DOS = 0x10
_IS_ENCRYPTED = "it is encrypted: unpack the archive with its password and give the folder"
_LINK = "a link or device inside an archive, not a file"
_UNPACK = "Unpack it and give the folder."
_MAX_TRAILING_BYTES = 16 * 1024**2
_MOST_MEMBERS = 500_000
_MOST_DIRECTORY_BYTES = 128 * 1024**2
_TOO_MANY = f"more than {_MOST_MEMBERS:,} members, which is the limit: unpack it and give the folder"
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_COMPRESSIONS = cast(
    "dict[bytes, tuple[str, Callable[[Path], IO[bytes]]]]",
    {b"\x1f\x8b": ("gzip", gzip.open), b"BZh": ("bzip2", bz2.open), b"\xfd7zXZ\0": ("xz", lzma.open)},
)
_UNREAD = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard",
    b"\x04\x22\x4d\x18": "compressed by LZ4",
    b"LZIP": "compressed by lzip",
    b"\x1f\x9d": "compressed by compress",
    b"MSCF": "a cabinet",
    b"xar!": "a xar archive",
    b"\x5d\0\0": "compressed by LZMA",
    b"\x89LZO": "compressed by lzop",
    b"LRZI": "compressed by lrzip",
    b"!<arch>\n": "an ar archive",
    b"070701": "a cpio archive",
    b"070707": "a cpio archive",
    b"\xed\xab\xee\xdb": "an RPM package",
    b"MSWIM\0": "a Windows image",
}

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


class UnreadKind(tarfile.TarError):
    """An archive of a kind that is not read here: what it is, and what to do."""

    def __init__(self, kind: str, hint: str) -> None:
        super().__init__(kind)
        self.hint = hint


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
    has_magic = head.startswith((*_ZIP_MAGIC, *_COMPRESSIONS, *_UNREAD)) or _is_tar(head)
    return has_magic or path.suffix.lower() in ARCHIVE_SUFFIXES


def open_reader(path: Path, max_file_bytes: int) -> Reader:
    """Opens an archive by what its first bytes say; raises one of ``DAMAGE`` where it can't.

    Raises:
        UnreadKind: One of them: if it is an archive of another kind, or one compressed file.
    """
    head = _head(path)
    for magic, kind in _UNREAD.items():
        if head.startswith(magic):
            raise UnreadKind(f"{kind}, which is not read here", _UNPACK)
    for magic, (kind, decompress) in _COMPRESSIONS.items():
        if head.startswith(magic):
            _refuse_one_file(path, kind, decompress)
            return _CompressedTarReader(path, decompress, max_file_bytes)
    suffix, is_zip = path.suffix.lower(), head.startswith(_ZIP_MAGIC)
    if suffix in UNREAD_ARCHIVES and not is_zip and not _is_tar(head):
        raise UnreadKind(f"{UNREAD_ARCHIVES[suffix]} by its name, which is not read here", _UNPACK)
    return _ZipReader(path) if is_zip or (suffix == ".zip" and not _is_tar(head)) else _TarReader(path)


def _is_tar(head: bytes) -> bool:
    """Whether a member's header comes first: marked, or of the time before there was a mark, told by its checksum."""
    if head[257:262] == b"ustar":
        return True
    with suppress(tarfile.TarError, ValueError):
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        return True
    return False


def is_streamed(path: Path) -> bool:
    """Whether it is an archive that can only be read from its beginning."""
    return _head(path).startswith(tuple(_COMPRESSIONS))


def streamed_members(path: Path, labels: Container[str], max_file_bytes: int) -> Generator[SourceItem, None, None]:
    """The members of a compressed tar that have these labels, with their bytes, in one pass.

    What is no longer there, or can't be read, is left out.
    """
    with suppress(*DAMAGE), closing(open_reader(path, max_file_bytes)) as reader:
        if isinstance(reader, _CompressedTarReader):
            yield from (one for one in reader.found(labels) if isinstance(one, SourceItem))


def _refuse_one_file(path: Path, kind: str, decompress: Callable[[Path], IO[bytes]]) -> None:
    with decompress(path) as raw:
        head = raw.read(tarfile.BLOCKSIZE)
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError) as error:
        if len(head) == tarfile.BLOCKSIZE and head.count(0) == len(head):
            return  # a tar without members
        hint = f"Decompress it ({kind} -dk) and give the file. An archive has to be a .tar.gz, .tar.bz2 or .tar.xz."
        raise UnreadKind(f"one file compressed by {kind}, not an archive", hint) from error


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
    """Gives each member a label of its own: its path, or ``path (N)`` where that was taken before."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def __contains__(self, label: str) -> bool:
        return label in self._taken

    def of(self, name: str) -> str:
        """The next label for a member of this name."""
        label = name
        while label in self._taken:
            self._taken[name] += 1
            label = f"{name} ({self._taken[name]})"
        self._taken[label] = 1
        return label


def _labelled(members: Iterable[tuple[str, str, T]]) -> dict[str, tuple[str, T]]:
    """Members of a path and name by label, in the order of their names' parts; equal names keep the archive's order."""
    labels = _Labels()
    named = [(_name_of(name), labels.of(path), member) for path, name, member in members]
    ordered = sorted(named, key=lambda each: each[0].split("/"))
    return {label: (name, member) for name, label, member in ordered}


def _name_of(path: str) -> str:
    """A member's path as a name: without empty parts and ``.``; ``..`` stays, for nothing is ever written there."""
    return "/".join(part for part in path.split("/") if part not in ("", ".")) or path


def _is_member_left_out(path: str) -> bool:
    return any(is_left_out(part) for part in path.split("/"))


def _there(found: T | None) -> T:
    if found is None:
        raise BadInput(RejectReason.UNREADABLE, "the archive has no such member")
    return found


class _Bounded(io.BufferedReader):
    """A zip whose directory is held to the limits before ``zipfile`` makes an object of each of its entries."""

    is_open = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.is_open or size is None or size <= _MOST_MEMBERS * _ENTRY_BYTES:
            return super().read(size)
        data = b"" if size > _MOST_DIRECTORY_BYTES else super().read(size)
        if not data or data.count(b"PK\1\2") > _MOST_MEMBERS:
            raise zipfile.BadZipFile(_TOO_MANY)
        return data


class _Unflagged(_Bounded):
    """A zip without the UTF-8 flags and versions of its members: one that is wrong keeps the whole from opening."""

    _is_read = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = bytearray(super().read(size))
        if data.startswith(b"PK\3\4") and len(data) == _LOCAL_HEADER_BYTES:
            data[7] &= 0xFF ^ _UTF8_FLAG >> 8
        elif data.startswith(b"PK\1\2") and not self._is_read:
            self._is_read, at = True, 0
            while len(data) >= at + _ENTRY_BYTES:
                data[at + 6 : at + 8] = _PLAIN_VERSION
                data[at + 9] &= 0xFF ^ _UTF8_FLAG >> 8
                at += _ENTRY_BYTES + sum(struct.unpack_from("<3H", data, at + 28))
        return bytes(data)


def _opened_zip(path: Path) -> zipfile.ZipFile:
    with suppress(UnicodeDecodeError, NotImplementedError):
        return _zip_in(_Bounded(io.FileIO(path)))
    return _zip_in(_Unflagged(io.FileIO(path)))


def _zip_in(file: _Bounded) -> zipfile.ZipFile:
    try:
        opened = zipfile.ZipFile(file)
    except BaseException:
        file.close()
        raise
    file.is_open = True
    return opened


class _ZipReader(Reader):
    """An open zip archive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.status = path.stat()
        self._zip = _opened_zip(path)
        infos = self._zip.infolist()
        named = zip(zip_names(infos), infos, strict=True)
        files = ((name, info) for name, info in named if not _is_folder(name, info) and not _is_member_left_out(name))
        self._members = _labelled((info.filename, name, info) for name, info in files)

    def count(self) -> int:
        return len(self._members)

    def found(self) -> Iterator[Found]:
        for label, (name, info) in self._members.items():
            item = item_from(self.status, self._path, name, member=label, size_bytes=info.file_size)
            if info.flag_bits & _ENCRYPTED:
                yield rejection_of(item, RejectReason.UNREADABLE, _IS_ENCRYPTED)
            elif stat.S_ISLNK(info.external_attr >> 16):
                yield rejection_of(item, RejectReason.UNSUPPORTED, _LINK)
            else:
                yield admitted(item)

    def read(self, member: str, max_file_bytes: int) -> bytes:
        _, info = _there(self._members.get(member))
        check_size(info.file_size, max_file_bytes)
        try:
            return self._zip.read(info)  # never more than file_size
        except NotImplementedError as error:
            method = zipfile.compressor_names.get(info.compress_type, f"method {info.compress_type}")  # type: ignore[attr-defined]
            detail = f"compressed by {method}, which is not read: unpack the archive and give the folder"
            raise BadInput(RejectReason.UNSUPPORTED, detail) from error

    def close(self) -> None:
        file = self._zip.fp
        self._zip.close()
        if file is not None:
            file.close()


def _is_folder(name: str, info: zipfile.ZipInfo) -> bool:
    """Whether it is the entry of a folder: by its name's end, or by what DOS says of an empty one."""
    return name.endswith("/") or (bool(info.external_attr & _FOLDER_OF_DOS) and not info.file_size)


_MOST_HEADER_BYTES = 1024**2
_MOST_GLOBAL = 100
# Named in no documentation, but what tarfile has told its own ends by since Python 3.2.
_EndMark: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_NoHeader: type[Exception] = tarfile.EmptyHeaderError  # type: ignore[attr-defined]
_CutHeader: type[Exception] = tarfile.TruncatedHeaderError  # type: ignore[attr-defined]
_InvalidHeader: type[Exception] = tarfile.InvalidHeaderError  # type: ignore[attr-defined]
_HeaderError = tarfile.HeaderError  # the parameter of fromtarfile hides the module there


class _Headers(io.RawIOBase):
    """What the headers of one member may read: long names, sparse maps and chains of them were made to fill memory."""

    def __init__(self, file: Any) -> None:
        self._file, self._left = file, _MOST_HEADER_BYTES
        self.tell, self.seek = file.tell, file.seek  # type: ignore[method-assign]

    def read(self, size: int = -1, /) -> bytes:
        self._left -= size
        if not 0 <= size <= _MOST_HEADER_BYTES or self._left < 0:
            raise _InvalidHeader(f"a member has headers of more than {_MOST_HEADER_BYTES >> 20} MiB")
        return cast("bytes", self._file.read(size))


class _NotingTarInfo(tarfile.TarInfo):
    """Notes why a listing ended: ``tarfile`` itself takes any bad header after the first for the end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        if not isinstance(tarfile, _NotingTar) or isinstance(tarfile.fileobj, _Headers):  # the next of a chain
            return super().fromtarfile(tarfile)
        file, tarfile.fileobj = tarfile.fileobj, _Headers(tarfile.fileobj)
        try:
            found = super().fromtarfile(tarfile)
            if len(tarfile.pax_headers) > _MOST_GLOBAL:
                raise _InvalidHeader(f"more than {_MOST_GLOBAL} headers for all members")
        except _HeaderError as error:
            if not isinstance(error, _EndMark):
                tarfile.damage = error
            raise
        except RecursionError as error:  # each of a chain is read within the one before it
            tarfile.damage = _InvalidHeader("a member has a chain of headers without an end")
            raise tarfile.damage from error
        finally:
            tarfile.fileobj = file
        return found

    def _block(self, count: int) -> int:
        """Bytes in whole blocks. A negative size, which a header can state, would lead back, and round for ever."""
        if not 0 <= count < 2**63:
            raise _InvalidHeader(f"a header states a size of {count}")
        return super()._block(count)  # type: ignore[misc, no-any-return]


class _NotingTar(tarfile.TarFile):
    tarinfo = _NotingTarInfo
    damage: Exception | None = None
    members: list[tarfile.TarInfo]
    pax_headers: dict[str, str]


class _Files:
    """Which member holds the bytes of each: itself, or of a hard link the file before it that it names."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def of(self, place: int, info: tarfile.TarInfo) -> int | None:
        """The place of the file in the archive; ``None``: there is none. To be asked of all members, in order."""
        found = place if info.isreg() else None
        if info.islnk():
            found = self._last.get(posixpath.normpath(info.linkname))
        if found is not None:
            self._last[posixpath.normpath(info.name)] = found
        return found


class _TarReader(Reader):
    """An open tar archive without compression."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.status = path.stat()
        self._tar = _NotingTar.open(path, "r:")
        self._damage: Exception | None = None
        self._members = _labelled(self._listed())

    def count(self) -> int:
        return len(self._members) + (self._damage is not None)

    def found(self) -> Iterator[Found]:
        for label, (name, (info, file)) in self._members.items():
            size = info.size if file is None else file.size
            item = item_from(self.status, self._path, name, member=label, size_bytes=size)
            yield _no_file(item, info) if file is None else admitted(item)
        if self._damage is not None:
            yield _rejected_rest(self.status, self._path, self._damage)

    def read(self, member: str, max_file_bytes: int) -> bytes:
        _, (_, file) = _there(self._members.get(member))
        return _bytes_of(self._tar, file, max_file_bytes)

    def close(self) -> None:
        self._tar.close()

    def _listed(self) -> Iterator[tuple[str, str, tuple[tarfile.TarInfo, tarfile.TarInfo | None]]]:
        files = _Files()
        try:
            place = 0
            while (info := self._tar.next()) is not None:
                _check_count(place)
                at, name = files.of(place, info), tar_name(info.name)
                if not info.isdir() and not _is_member_left_out(name):
                    yield name, name, (info, None if at is None else self._tar.members[at])
                place += 1
        except DAMAGE as error:
            self._damage = error
        self._damage = self._damage or self._tar.damage


class _CompressedTarReader(Reader):
    """A compressed tar archive, which can be read one way only: each item is found together with its bytes.

    Reading by label goes on from where the last reading ended, and starts over at most once: in the archive's own
    order, all members cost one pass. Hard links come last, and cost another one.
    """

    def __init__(self, path: Path, decompress: Callable[[Path], IO[bytes]], max_file_bytes: int) -> None:
        self._path = path
        self._decompress = decompress
        self._max_file_bytes = max_file_bytes
        self._damage: Exception | None = None
        self._all: _Labels | None = None
        self.status = path.stat()
        with decompress(path) as raw, _NotingTar.open(fileobj=raw, mode="r|"):
            pass  # there is a tar inside: its first header is sound
        self._position = self.found()
        self._at_start = True

    def count(self) -> None:
        return

    def found(self, wanted: Container[str] | None = None) -> Iterator[Found]:
        """The members in the archive's order, with their bytes; at last the damage that ended the reading.

        Of files whose label is not ``wanted`` nothing is given.
        """
        labels, files = _Labels(), _Files()
        links: dict[int, list[tuple[str, str]]] = {}
        for place, tar, info in self._members():
            at, name = files.of(place, info), tar_name(info.name)
            if info.isdir() or _is_member_left_out(name):
                continue
            named = _name_of(name), labels.of(name)
            if wanted is not None and named[1] not in wanted:
                continue
            if at is None or at == place:
                yield self._with_bytes(info, *named, partial(self._read, tar, info))
            else:
                links.setdefault(at, []).append(named)
        damage = self._damage
        for place, tar, info in self._members() if links else ():
            once = cache(partial(self._read, tar, info))  # the bytes flow past but once
            yield from (self._with_bytes(info, *named, once) for named in links.get(place, ()))
        if damage is not None:
            yield _rejected_rest(self.status, self._path, damage)
        self._all = labels

    def read(self, member: str, max_file_bytes: int) -> bytes:
        is_missing = self._all is not None and member not in self._all
        found = None if is_missing else self._next(member)
        if found is None and not self._at_start and not is_missing:
            self._position = self.found()
            found = self._next(member)
        self._at_start = False
        if isinstance(found, Rejection):
            raise BadInput(found.reason, found.detail)
        item = _there(found)
        check_size(item.size_bytes, max_file_bytes)
        return item.content or b""

    def close(self) -> None:
        self._position = iter(())

    def _next(self, member: str) -> Found | None:
        return next((found for found in self._position if found.member == member), None)

    def _members(self) -> Iterator[tuple[int, tarfile.TarFile, tarfile.TarInfo]]:
        """One pass over the archive; what damage ended it is noted."""
        self._damage = None
        try:
            with self._decompress(self._path) as raw, _NotingTar.open(fileobj=raw, mode="r|") as tar:
                for place in count():
                    if (info := tar.next()) is None:
                        break
                    _check_count(place)
                    tar.members.clear()  # it would grow with the archive
                    yield place, tar, info
                self._damage = tar.damage
                _read_to_end(raw)
        except DAMAGE as error:
            self._damage = error

    def _with_bytes(self, info: tarfile.TarInfo, name: str, label: str, read: Callable[[], bytes]) -> Found:
        bare = item_from(self.status, self._path, name, member=label, size_bytes=info.size)
        if not info.isreg():
            return _no_file(bare, info)
        if isinstance(refused := admitted(bare), Rejection):
            return refused
        try:
            return replace(bare, content=read())
        except BadInput as failure:
            return rejection_of(bare, failure.reason, failure.detail)
        except DAMAGE as error:
            return rejection_of(bare, _reason_of_damage(error), f"in the archive: {text_of(error)}")

    def _read(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
        return _bytes_of(tar, info, self._max_file_bytes)


def _check_count(members: int) -> None:
    if members >= _MOST_MEMBERS:
        raise tarfile.ReadError(_TOO_MANY)


def _no_file(item: SourceItem, info: tarfile.TarInfo) -> Rejection:
    if info.islnk():
        detail = f"a hard link to {info.linkname}, which does not stand before it in the archive"
        return rejection_of(item, RejectReason.UNSUPPORTED, detail)
    return rejection_of(item, RejectReason.UNSUPPORTED, _LINK)


def _bytes_of(tar: tarfile.TarFile, info: tarfile.TarInfo | None, max_file_bytes: int) -> bytes:
    if info is None or not info.isreg():
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
