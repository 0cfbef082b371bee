"""Tar archives: plain ones are listed and read by offset, compressed ones flow past in a stream."""

from __future__ import annotations

import tarfile
from typing import IO, TYPE_CHECKING, Self

from provenance.images.entries import BadInput, admitted, check_size, item_from, rejection_of, text_of
from provenance.images.members import (
    DAMAGE,
    Labels,
    by_name,
    is_member_left_out,
    member_of,
    name_of,
    no_such_member,
    rejected_link,
)
from provenance.vocabulary import Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

_MAX_TRAILING_BYTES = 16 * 1024**2


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


class TarReader:
    """An open tar archive without compression; see ``members.Reader``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.status = path.stat()
        self._tar = _NotingTar.open(path, "r:")
        self._damage: Exception | None = None
        labels = Labels()
        self._members = by_name((labels.of(info.name), info.name, info) for info in self._listed())

    def count(self) -> int:
        """How many members there are, and one more for damage."""
        return len(self._members) + (self._damage is not None)

    def found(self) -> Iterator[SourceItem | Rejection]:
        """The members by name, at last the damage that ended the listing."""
        for label, info in self._members.items():
            item = _item_of(self.status, self._path, info, label)
            yield admitted(item) if info.isreg() else rejected_link(item)
        if self._damage is not None:
            yield _rejected_rest(self.status, self._path, self._damage)

    def read(self, member: str, max_file_bytes: int) -> bytes:
        """The bytes of the member with this label."""
        return _bytes_of(self._tar, member_of(self._members, member), max_file_bytes)

    def close(self) -> None:
        """Closes the archive."""
        self._tar.close()

    def _listed(self) -> Iterator[tarfile.TarInfo]:
        try:
            while (info := self._tar.next()) is not None:
                if not info.isdir() and not is_member_left_out(info.name):
                    yield info
        except DAMAGE as error:
            self._damage = error
        self._damage = self._damage or self._tar.damage


class CompressedTarReader:
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
        """Unknown before it is read to the end."""
        return

    def found(self) -> Generator[SourceItem | Rejection, None, None]:
        """The members in the archive's order, with their bytes; at last the damage that ended the reading."""
        labels = Labels()
        try:
            with self._decompress(self._path) as raw, _NotingTar.open(fileobj=raw, mode="r|") as tar:
                while (info := tar.next()) is not None:
                    tar.members.clear()  # it would grow with the archive
                    if not info.isdir() and not is_member_left_out(info.name):
                        yield self._with_bytes(tar, info, labels.of(info.name))
                damage = tar.damage
                _read_to_end(raw)
        except DAMAGE as error:
            damage = error
        if damage is not None:
            yield _rejected_rest(self.status, self._path, damage)

    def read(self, member: str, max_file_bytes: int) -> bytes:
        """The bytes of the member with this label."""
        found = self._next(member)
        if found is None and not self._at_start:
            self._position = self.found()
            found = self._next(member)
        self._at_start = False
        if found is None:
            raise no_such_member()
        if isinstance(found, Rejection):
            raise BadInput(found.reason, found.detail)
        check_size(found.size_bytes, max_file_bytes)
        return found.content or b""

    def close(self) -> None:
        """Closes the archive."""
        self._position.close()

    def _next(self, member: str) -> SourceItem | Rejection | None:
        return next((found for found in self._position if found.member == member), None)

    def _with_bytes(self, tar: tarfile.TarFile, info: tarfile.TarInfo, label: str) -> SourceItem | Rejection:
        bare = _item_of(self.status, self._path, info, label)
        if not info.isreg():
            return rejected_link(bare)
        if isinstance(refused := admitted(bare), Rejection):
            return refused
        try:
            content = _bytes_of(tar, info, self._max_file_bytes)
        except BadInput as failure:
            return rejection_of(bare, failure.reason, failure.detail)
        except DAMAGE as error:
            return rejection_of(bare, _reason_of(error), f"in the archive: {text_of(error)}")
        return _item_of(self.status, self._path, info, label, content)


def _item_of(
    status: os.stat_result, path: Path, info: tarfile.TarInfo, label: str, content: bytes | None = None
) -> SourceItem:
    return item_from(status, path, name_of(info.name), member=label, size_bytes=info.size, content=content)


def _bytes_of(tar: tarfile.TarFile, info: tarfile.TarInfo, max_file_bytes: int) -> bytes:
    if not info.isreg():
        raise BadInput(RejectReason.UNSUPPORTED, "a link or device inside an archive, not a file")
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
    cut = isinstance(damage, _NoHeader)
    problem = "it ends without its end mark" if cut else text_of(damage)
    return rejection_of(item, _reason_of(damage), f"the archive is damaged; the members before it were read: {problem}")


def _reason_of(error: Exception) -> RejectReason:
    is_cut = isinstance(error, (_NoHeader, _CutHeader, EOFError)) or "unexpected end of data" in str(error)
    return RejectReason.TRUNCATED if is_cut else RejectReason.BROKEN
