"""Zip archives, listed by their central directory."""

from __future__ import annotations

import stat
import zipfile
from typing import TYPE_CHECKING

from provenance.images.entries import admitted, check_size, item_from, rejection_of
from provenance.images.members import Labels, by_name, is_member_left_out, member_of, name_of, rejected_link
from provenance.vocabulary import Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ENCRYPTED = 0x1


class ZipReader:
    """An open zip archive; see ``members.Reader``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.status = path.stat()
        self._zip = zipfile.ZipFile(path)
        labels = Labels()
        files = (info for info in self._zip.infolist() if not info.is_dir() and not is_member_left_out(info.filename))
        self._members = by_name((labels.of(info.filename), info.filename, info) for info in files)

    def count(self) -> int:
        """How many members there are."""
        return len(self._members)

    def found(self) -> Iterator[SourceItem | Rejection]:
        """The members, by name."""
        for label, info in self._members.items():
            name = name_of(info.filename)
            item = item_from(self.status, self._path, name, member=label, size_bytes=info.file_size)
            if info.flag_bits & _ENCRYPTED:
                yield rejection_of(item, RejectReason.UNREADABLE, "it is encrypted")
            elif stat.S_ISLNK(info.external_attr >> 16):
                yield rejected_link(item)
            else:
                yield admitted(item)

    def read(self, member: str, max_file_bytes: int) -> bytes:
        """The bytes of the member with this label; its CRC is checked."""
        info = member_of(self._members, member)
        check_size(info.file_size, max_file_bytes)
        return self._zip.read(info)  # never more than file_size

    def close(self) -> None:
        """Closes the archive."""
        self._zip.close()
