"""Where images come from: a folder, a file, a list or an archive, opened as an ordered iterable of items."""

from __future__ import annotations

import atexit
import contextlib
import csv
import io
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from provenance.errors import SourceError
from provenance.images.archives import DAMAGE, Reader, UnreadKind, is_archive, open_reader, reason_of
from provenance.images.decode import is_claimed
from provenance.images.dicomdir import DicomdirSource, is_dicomdir
from provenance.images.entries import (
    DEFAULT_MAX_FILE_BYTES,
    Source,
    SourceKind,
    check_size,
    few_empty,
    file_item,
    identity_of,
    is_left_out,
    is_unchanged,
    rejection_of,
)
from provenance.images.frames import BadInput, text_of
from provenance.text import forms_of
from provenance.vocabulary import Found, RejectReason, SourceItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LAYOUT_FOLDERS = ("real_used", "real_not_used", "real_unknown", "generated")
_SET_FOLDERS = frozenset(LAYOUT_FOLDERS[:3])
_LISTED = 10
_NO_LAYOUT = (
    "Rename its folders, give the folder above them, or ingest each by itself: "
    "provenance ingest FOLDER --set NAME --membership used|not-used|unknown."
)
_CHECK_PATH = "Check the path and its permissions."
_OPEN_ARCHIVES = 4
_LIST_SUFFIXES = (".txt", ".lst", ".list", ".csv")


def open_source(path: Path, *, max_file_bytes: int = DEFAULT_MAX_FILE_BYTES) -> Source:
    """Opens a folder, an image file, a list of paths, a DICOMDIR, or a zip or tar archive; links to it are resolved.

    Members of a compressed tar that are larger than ``max_file_bytes`` become rejections; all others are held to the
    limit when they are read.

    Raises:
        SourceError: If there is nothing at ``path``, it can't be read, or it is of no kind that is read here.
    """
    try:
        root = path.resolve(strict=True)
        if root.is_dir():
            os.scandir(root).close()
            return _FolderSource(root)
        if not root.is_file():
            raise SourceError(
                f"{path} is a device, pipe or socket", hint="Give a folder, a file, a list or an archive."
            )
        root.open("rb").close()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links; ValueError: a NUL
        raise SourceError(f"can't read {path}: {text_of(error)}", hint=_CHECK_PATH) from error
    if root.suffix.lower() in _LIST_SUFFIXES:
        return _ListSource(root)
    if is_archive(root) and not is_claimed(root.name):
        return _ArchiveSource(root, max_file_bytes=max_file_bytes)
    return DicomdirSource(root) if is_dicomdir(root) else _FileSource(root)


def items_at(root: Path, paths: Iterable[Path]) -> Iterator[Found]:
    """What the folder ``root`` (resolved) as a source would give for some paths below it, under the same names.

    Folders among ``paths`` are walked; what is hidden, elsewhere or gone is left out.
    """
    for path in sorted(set(paths)):
        parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
        if not parts or any(is_left_out(part) for part in parts):
            continue
        if path.is_dir():
            with contextlib.suppress(SourceError):  # gone since, or closed to us: the next listing of all says so
                for item in _FolderSource(path):
                    yield replace(item, name=f"{path.relative_to(root).as_posix()}/{item.name}")
        elif os.path.lexists(path):
            yield file_item(path, path.relative_to(root).as_posix())


@dataclass(frozen=True, slots=True)
class Layout:
    """What a folder in the layout of the challenge holds.

    Attributes:
        folders: The ``LAYOUT_FOLDERS`` that are there, in their order.
        ignored: All else that stands beside them, folders with a slash.
    """

    folders: dict[str, Path]
    ignored: tuple[str, ...]

    def __str__(self) -> str:
        """What is not there, and what is ignored, in words; empty where there is nothing to be said."""
        absent = ", ".join(f"{name}/" for name in LAYOUT_FOLDERS if name not in self.folders)
        told = {"not there": absent, "ignored": _listed_few(self.ignored)}
        return "; ".join(f"{what}: {words}" for what, words in told.items() if words)


def layout_of(root: Path) -> Layout:
    """What of the layout is present under ``root``.

    Raises:
        SourceError: If no folder of real images is.
    """
    try:
        folders = {name: root / name for name in LAYOUT_FOLDERS if (root / name).is_dir()}
        beside = [entry for entry in reversed(_entries_reversed(root)) if entry.name not in folders]
        inside = [entry.path for entry in beside if _is_folder(entry) and _holds_sets(Path(entry.path))]
    except OSError as error:
        raise SourceError(f"can't read {root}: {text_of(error)}", hint=_CHECK_PATH) from error
    layout = Layout(folders, tuple(f"{entry.name}/" if _is_folder(entry) else entry.name for entry in beside))
    if not _SET_FOLDERS & folders.keys():
        there = _listed_few((*(f"{name}/" for name in folders), *layout.ignored)) or "nothing"
        raise SourceError(
            f"{root} holds no set of real images, none of {', '.join(LAYOUT_FOLDERS[:3])}; there is {there}",
            hint=f"Give {inside[0]}." if inside else _NO_LAYOUT,
        )
    return layout


def _holds_sets(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in _SET_FOLDERS)


def _listed_few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def read_item(item: SourceItem, *, max_file_bytes: int = DEFAULT_MAX_FILE_BYTES) -> bytes:
    """The bytes of one item: of its file, or of its archive's member (the archive stays open for the next one).

    Raises:
        BadInput: If it can't be read, is larger than ``max_file_bytes``, or changed since it was listed.
    """
    if item.content is not None:
        check_size(len(item.content), max_file_bytes)
        return item.content
    if item.member is not None:
        try:
            return _archives.read(item, max_file_bytes)
        except (*DAMAGE, RuntimeError) as error:  # RuntimeError: zipfile's word for an encrypted member
            raise BadInput(reason_of(error), f"in the archive: {text_of(error)}") from error
    try:
        return _read_file(item, max_file_bytes)
    except (OSError, ValueError) as error:
        raise BadInput(RejectReason.UNREADABLE, text_of(error)) from error


def _read_file(item: SourceItem, max_file_bytes: int) -> bytes:
    # O_NONBLOCK: a pipe that has taken the file's place must not hold up the worker.
    descriptor = os.open(item.source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with io.FileIO(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        check_size(before.st_size, max_file_bytes)
        data = file.read(before.st_size + 1)
        while len(data) < before.st_size and (more := file.read(before.st_size - len(data))):
            data += more  # one read call gives 2 GiB at most
        after = os.fstat(descriptor)
    if not (is_unchanged(item, before, before.st_size) and is_unchanged(item, after, len(data))):
        raise BadInput(RejectReason.UNREADABLE, "it changed between being listed and being read")
    return data


class _OpenArchives:
    """The archives this process has open, the longest unused first. One thread reads at a time."""

    def __init__(self) -> None:
        self._readers: OrderedDict[tuple[str, int], Reader] = OrderedDict()
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

    def listed(self, path: Path, max_file_bytes: int) -> Reader:
        """The archive for its listing, which needs it open no longer: to list a large one takes seconds."""
        with self._lock:
            return self._reader(path, max_file_bytes)

    def _reader(self, path: Path, max_file_bytes: int) -> Reader:
        key = str(path), max_file_bytes
        reader = self._readers.pop(key, None)
        if reader is not None and identity_of(path.stat()) != identity_of(reader.status):
            reader.close()
            reader = None
        self._readers[key] = reader or open_reader(path, max_file_bytes)
        if len(self._readers) > _OPEN_ARCHIVES:
            self._readers.popitem(last=False)[1].close()
        return self._readers[key]


_archives = _OpenArchives()
atexit.register(_archives.close)


class _FolderSource(Source):
    """All files below a folder. Links are followed, save those that lead back to a folder they are in."""

    kind: ClassVar[SourceKind] = "folder"

    def count(self) -> int:
        return sum(1 for _ in self._walk())

    def __iter__(self) -> Iterator[Found]:
        return few_empty(self._found())

    def _found(self) -> Iterator[Found]:
        for path, problem in self._walk():
            name = path.relative_to(self.path).as_posix()
            if problem is None:
                yield file_item(path, name)
            else:
                detail = f"a folder that can't be listed: {problem}"
                yield rejection_of(SourceItem(name, str(path)), RejectReason.UNREADABLE, detail)

    def _walk(self) -> Iterator[tuple[Path, str | None]]:
        """Depth first, by name: each file, and each folder that can't be listed with what went wrong."""
        try:
            # One level per open folder: the folder's key and its entries still to come, last first.
            levels = [(_folder_key(self.path), _entries_reversed(self.path))]
        except OSError as error:
            raise SourceError(f"can't read {self.path}: {text_of(error)}", hint=_CHECK_PATH) from error
        while levels:
            _, entries = levels[-1]
            if not entries:
                levels.pop()
                continue
            entry = entries.pop()
            path = Path(entry.path)
            if not _is_folder(entry):
                yield path, None
                continue
            try:
                key = _folder_key(path)
                if all(key != above for above, _ in levels):
                    levels.append((key, _entries_reversed(path)))
            except OSError as error:
                yield path, text_of(error)


class _FileSource(Source):
    """One image file."""

    kind: ClassVar[SourceKind] = "file"

    def count(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Found]:
        yield file_item(self.path, self.path.name)


class _ListSource(Source):
    """A list of image files: one path a line, or the column ``path`` of a CSV file.

    Relative paths count from the list's own folder. Blank lines and lines that start with ``#`` are skipped;
    a path that is listed twice is one occurrence.
    """

    kind: ClassVar[SourceKind] = "list"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._names = sorted(set(_listed_paths(path)), key=lambda name: Path(name).parts)

    def count(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Found]:
        for name in self._names:
            path = self.path.parent / name
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # file_item says what is wrong with it
                path = next((other for form in forms_of(name) if (other := self.path.parent / form).exists()), path)
                path = path.resolve() if ".." in path.parts else path
            yield file_item(path, Path(name).as_posix())


class _ArchiveSource(Source):
    """The members of a zip or tar archive. A compressed tar is read in a stream: its items carry their bytes."""

    kind: ClassVar[SourceKind] = "archive"

    def __init__(self, path: Path, *, max_file_bytes: int) -> None:
        super().__init__(path)
        self._max_file_bytes = max_file_bytes
        self._count = self._listed().count()

    def count(self) -> int | None:
        return self._count

    def __iter__(self) -> Iterator[Found]:
        yield from few_empty(self._listed().found())

    def _listed(self) -> Reader:
        try:
            return _archives.listed(self.path, self._max_file_bytes)
        except UnreadKind as error:
            raise SourceError(f"{self.path} is {error}", hint=error.hint) from error
        except DAMAGE as error:
            raise SourceError(
                f"can't open the archive {self.path}: {text_of(error)}",
                hint="Give an undamaged .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz, or unpack it and give the folder.",
            ) from error


def _listed_paths(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                return _csv_paths(path, csv.DictReader(file))
            lines = [line.strip() for line in file.read().splitlines()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"can't read the list {path}: {text_of(error)}", hint="Save it as UTF-8 text.") from error
    return [line for line in lines if line and not line.startswith("#")]


def _csv_paths(path: Path, rows: csv.DictReader[str]) -> list[str]:
    column = next((name for name in rows.fieldnames or () if name.strip().lower() == "path"), None)
    if column is None:
        raise SourceError(
            f"{path} has no column named path", hint="Its first line must name the columns, path among them."
        )
    return [value for row in rows if (value := (row[column] or "").strip())]


def _entries_reversed(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not is_left_out(entry.name)), key=attrgetter("name"), reverse=True)


def _folder_key(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in circles: reading it says so
        return False
