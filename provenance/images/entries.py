"""What the files of this room share: what a source is, which names it takes, and how a bad input is told.

Nothing that is found is dropped in silence: every name is either a ``SourceItem`` or a ``Rejection``. Left out
are only hidden files (a leading dot) and the litter of operating systems.
"""

from __future__ import annotations

import hashlib
import stat
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Literal

from provenance.images.decode import is_claimed
from provenance.images.frames import BadInput, text_of
from provenance.vocabulary import Found, Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

SourceKind = Literal["folder", "file", "list", "archive"]

DEFAULT_MAX_FILE_BYTES = 256 * 1024**2

_ARCHIVES = ".zip .tar .tgz .tbz .tbz2 .txz .gz .bz2 .xz"
_TEXTS = ".txt .lst .list .csv .tsv .json .jsonl .md .rst .xml .yaml .yml .toml .ini .cfg .log .html .htm .css .js"
_DOCUMENTS = ".pdf .doc .docx .xls .xlsx .ppt .pptx .rtf .odt .svg .ps .eps .md5 .sha1 .sha256 .sha512"
_PROGRAMS = ".py .ipynb .sh .r .m .c .h .sql .lock .bak .tmp .part .pt .pth .onnx .safetensors"
_DATA = ".db .sqlite .parquet .feather .pkl .pickle .npy .npz .h5 .hdf5 .mat"
_IMAGES = (
    ".png .apng .jpg .jpeg .jpe .jfif .tif .tiff .bmp .dib .gif .webp .jp2 .j2k .jpf .jpx .jls .jxl .heic .heif .avif "
    ".tga .pgm .ppm .pbm .pnm .dcm .dicom .ima .nii .mha .mhd .nrrd"
)
_VIDEOS = ".mp4 .avi .mov .mkv .wmv"
UNREAD_ARCHIVES = {
    ".7z": "a 7z archive",
    ".rar": "a RAR archive",
    **dict.fromkeys((".zst", ".tzst"), "compressed by Zstandard"),
    **dict.fromkeys((".lzma", ".tlz"), "compressed by LZMA"),
    ".lz": "compressed by lzip",
    ".lz4": "compressed by LZ4",
    ".lzo": "compressed by lzop",
    ".lrz": "compressed by lrzip",
    ".br": "compressed by Brotli",
    **dict.fromkeys((".z", ".taz"), "compressed by compress"),
    ".iso": "an image of a disc",
    ".dmg": "an image of a disc of a Mac",
    ".wim": "a Windows image",
    ".cab": "a cabinet",
    ".cpio": "a cpio archive",
    ".rpm": "an RPM package",
    ".deb": "a Debian package",
    ".xar": "a xar archive",
    ".ace": "an ACE archive",
    ".arj": "an ARJ archive",
    **dict.fromkeys((".lzh", ".lha"), "an LHA archive"),
    ".zpaq": "a ZPAQ archive",
    ".sitx": "a StuffIt archive",
}
"""What archives and compressed files are that are not read, by their names' ends."""
ARCHIVE_SUFFIXES = frozenset(_ARCHIVES.split()) | UNREAD_ARCHIVES.keys()
_OTHER_SUFFIXES = frozenset(" ".join((_TEXTS, _DOCUMENTS, _PROGRAMS, _DATA, _VIDEOS)).split())
_IMAGE_SUFFIXES = frozenset(_IMAGES.split())
_LITTER = frozenset(("__macosx", "thumbs.db", "desktop.ini", "@eadir"))
_NESTED = "an archive inside a source is not opened: ingest it as a source of its own"
_MOST_EMPTY = 1000
_MANY_EMPTY = f"empty, beside {_MOST_EMPTY:,} empty ones that are rejected one by one"
_MOST_NAME_BYTES = 2400
"""Of name, source and member together: what a row of an index of PostgreSQL holds (2,704 bytes), less its own keys."""
_TOLD_BY_CONTENT = ".nii.gz"
"""Not an archive, whatever its ending."""
_MOST_SHOWN = 300
"""Characters of each of these that are kept where they are longer together."""


class Source(ABC):
    """A place that images come from: an iterable of items and rejections, the same each time while nothing changes.

    Order is by name, path part by path part; a compressed tar, which is read in a stream, keeps its own order.

    Attributes:
        path: Absolute path of the folder, file, list or archive.
        kind: Which of these it is.
    """

    kind: ClassVar[SourceKind]

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def count(self) -> int | None:
        """How many items and rejections to expect; ``None`` where only reading would tell."""

    @abstractmethod
    def __iter__(self) -> Iterator[Found]: ...


def is_left_out(name: str) -> bool:
    """Whether one part of a path is hidden or litter (``.DS_Store``, ``__MACOSX``, ``Thumbs.db`` ...).

    A tool that unpacks a zip of old Windows tools makes one name, with backslashes in it, of what was a path.
    """
    parts = name.lower().split("\\")
    return any((part.startswith(".") and part not in (".", "..")) or part in _LITTER for part in parts)


def is_named_as_image(name: str) -> bool:
    """Whether the name's extension is that of an image, read here or not."""
    return PurePosixPath(name).suffix.lower() in _IMAGE_SUFFIXES or is_claimed(name)


def rejection_of(item: SourceItem, reason: RejectReason, detail: str) -> Rejection:
    """The rejection of ``item``; its texts are made printable, and short enough to be recorded."""
    shown = _shortened if _is_too_long(item) else _printable
    member = None if item.member is None else shown(item.member)
    return Rejection(shown(item.name), shown(item.source), member, item.size_bytes, reason, _printable(detail))


def admitted(item: SourceItem) -> Found:
    """The item itself, or its rejection where the name alone shows that it is no image."""
    for text in (item.name, item.source, item.member or ""):
        if text != _printable(text):
            return rejection_of(item, RejectReason.UNREADABLE, "its name is not valid Unicode: rename it")
    if _is_too_long(item):
        return rejection_of(item, RejectReason.UNREADABLE, "its name and path are too long: shorten them")
    is_known = is_claimed(item.name) or item.name.lower().endswith(_TOLD_BY_CONTENT)
    suffix = "" if is_known else PurePosixPath(item.name).suffix.lower()
    if suffix in ARCHIVE_SUFFIXES:
        kind = UNREAD_ARCHIVES.get(suffix)
        detail = f"{kind}, which is not read: unpack it" if kind else _NESTED
        return rejection_of(item, RejectReason.UNSUPPORTED, detail)
    if suffix in _OTHER_SUFFIXES:
        return rejection_of(item, RejectReason.SKIPPED, f"{suffix} is not an image format")
    return item


def few_empty(found: Iterable[Found]) -> Iterator[Found]:
    """The same, where of more than a thousand empty files the others are counted and no longer told one by one."""
    empty = 0
    for one in found:
        empty += not one.size_bytes
        if isinstance(one, SourceItem) and not one.size_bytes and empty > _MOST_EMPTY:
            yield Rejection(one.name, one.source, one.member, 0, RejectReason.SKIPPED, _MANY_EMPTY)
        else:
            yield one


def file_item(path: Path, name: str) -> Found:
    """The file at ``path`` (absolute) under the label ``name``, as the directory states it."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in a listed path
        return rejection_of(SourceItem(name, str(path)), RejectReason.UNREADABLE, text_of(error))
    item = item_from(status, path, name, member=None, size_bytes=status.st_size)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
        return rejection_of(item, RejectReason.UNSUPPORTED, f"{kind}, not a file")
    return admitted(item)


def item_from(status: os.stat_result, path: Path, name: str, *, member: str | None, size_bytes: int) -> SourceItem:
    """A source item with the times and inode of ``status``; all numbers are such as a database can hold."""
    times = _in_64_bits(status.st_mtime_ns), _in_64_bits(status.st_ctime_ns)
    return SourceItem(name, str(path), member, min(size_bytes, 2**63 - 1), *times, _inode_of(status))


def identity_of(status: os.stat_result) -> tuple[int, int, int]:
    """What tells that a file is still the same: size, modification time, inode."""
    return status.st_size, status.st_mtime_ns, _inode_of(status)


def is_unchanged(item: SourceItem, status: os.stat_result, size_bytes: int) -> bool:
    """Whether a file, or an archive's file, still is what the listing saw."""
    seen = (item.size_bytes, item.modified_ns, item.inode)
    return seen == (size_bytes, _in_64_bits(status.st_mtime_ns), _inode_of(status))


def check_size(size_bytes: int, max_file_bytes: int) -> None:
    """Holds a file to the limit: raises ``BadInput`` if it is larger."""
    if size_bytes > max_file_bytes:
        raise BadInput(RejectReason.OVERSIZED, f"{size_bytes} bytes, where the limit is {max_file_bytes}")


def _inode_of(status: os.stat_result) -> int:
    """The inode number in 63 bits: some file systems use 64, which a database's signed integer can't hold."""
    return status.st_ino & (2**63 - 1)


def _in_64_bits(number: int) -> int:
    """A signed integer of a database: what is beyond (a file of the year 292 billion) goes round, but stays itself."""
    return (number + 2**63) % 2**64 - 2**63


def _is_too_long(item: SourceItem) -> bool:
    texts = (item.name, item.source, item.member or "")
    most = _MOST_NAME_BYTES
    if 4 * sum(map(len, texts)) <= most and all(map(str.isascii, texts)):
        return False
    return sum(map(len, texts)) > most or sum(len(_printable(text).encode()) for text in texts) > most


def _shortened(text: str) -> str:
    """A long text's beginning and end, with a digest between them that keeps it apart from others like it."""
    text = _printable(text)
    if len(text.encode()) <= _MOST_SHOWN:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    cut = _MOST_SHOWN // 3
    return f"{text[:cut]}...({digest})...{text[-cut:]}"


def _printable(text: str) -> str:
    """``text`` with whatever UTF-8 or a database can't hold (lone surrogates, NUL) written as escapes."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
