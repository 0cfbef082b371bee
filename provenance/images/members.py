"""What zip and tar readers share: labels of members, their order, and what damaged bytes make them raise."""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING, Protocol, TypeVar

from provenance.images.entries import BadInput, is_left_out, rejection_of
from provenance.vocabulary import Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

T = TypeVar("T")

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


class Reader(Protocol):
    """One open archive.

    Attributes:
        status: The archive file as it was when it was opened.
    """

    status: os.stat_result

    def count(self) -> int | None:
        """How many items and rejections ``found`` gives; ``None`` where only reading would tell."""

    def found(self) -> Iterator[SourceItem | Rejection]:
        """The members, in order."""
        ...

    def read(self, member: str, max_file_bytes: int) -> bytes:
        """The bytes of the member with this label.

        Raises:
            BadInput: If there is no such member, or it is too large or no file.
        """
        ...

    def close(self) -> None:
        """Closes the archive."""


class Labels:
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


def by_name(labelled: Iterable[tuple[str, str, T]]) -> dict[str, T]:
    """Members by label, in the order of their names' parts; equal names keep the archive's order."""
    ordered = sorted(labelled, key=lambda entry: name_of(entry[1]).split("/"))
    return {label: member for label, _, member in ordered}


def name_of(path: str) -> str:
    """A member's path as a label: without empty parts and ``.``; ``..`` stays, for nothing is ever written there."""
    return "/".join(part for part in path.split("/") if part not in ("", ".")) or path


def is_member_left_out(path: str) -> bool:
    """Whether a part of the member's path is hidden or litter."""
    return any(is_left_out(part) for part in path.split("/"))


def member_of(members: Mapping[str, T], label: str) -> T:
    """The member with this label.

    Raises:
        BadInput: If there is none.
    """
    try:
        return members[label]
    except KeyError:
        raise no_such_member() from None


def no_such_member() -> BadInput:
    """The failure of a label that the archive doesn't hold."""
    return BadInput(RejectReason.UNREADABLE, "the archive has no such member")


def rejected_link(item: SourceItem) -> Rejection:
    """The rejection of a link, device or pipe inside an archive."""
    return rejection_of(item, RejectReason.UNSUPPORTED, "a link or device inside an archive, not a file")
