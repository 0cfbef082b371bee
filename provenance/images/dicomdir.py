"""The files that a DICOMDIR names: walked, not parsed, and never outside of its own folder."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar

from provenance.errors import SourceError
from provenance.images.dicomheader import file_ids_of
from provenance.images.entries import Source, SourceKind, file_item, rejection_of
from provenance.images.frames import BadInput, text_of
from provenance.vocabulary import Found, RejectReason, SourceItem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MOST_BYTES = 256 * 1024**2
_KIND = b"1.2.840.10008.1.3.10"


def is_dicomdir(path: Path) -> bool:
    """Whether a file is a directory of DICOM files, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(512)
    return head[128:132] == b"DICM" and _KIND in head


class DicomdirSource(Source):
    """The files that a DICOMDIR names, in its order; the folder that it lies in is their root."""

    kind: ClassVar[SourceKind] = "list"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise SourceError(f"{path} is larger than {_MOST_BYTES >> 20} MiB", hint="Give its folder.")
            self._ids = list(dict.fromkeys(file_ids_of(path.read_bytes())))
        except (OSError, BadInput, struct.error) as error:
            detail = "it is damaged" if isinstance(error, struct.error) else text_of(error)
            raise SourceError(f"can't read the DICOMDIR {path}: {detail}", hint="Give its folder.") from error

    def count(self) -> int:
        """Every file that it names."""
        return len(self._ids)

    def __iter__(self) -> Iterator[Found]:
        return map(self._found, self._ids)

    def _found(self, file_id: str) -> Found:
        parts = file_id.split("\\")
        name = "/".join(parts)
        root = self.path.parent
        if all(part not in ("", ".", "..") and "/" not in part and "\0" not in part for part in parts):
            path = root.joinpath(*parts)
            try:
                is_inside = path.resolve().is_relative_to(root)
            except (OSError, RuntimeError):  # a loop of links
                is_inside = False
            if is_inside:
                return file_item(path, name)
        outside = SourceItem(name, str(self.path), name)
        return rejection_of(outside, RejectReason.UNREADABLE, "the DICOMDIR names a file outside of its folder")
