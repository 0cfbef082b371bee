"""Files that are whole or not there: written beside the target, then renamed over it."""

from __future__ import annotations

import csv
import fcntl
import functools
import io
import json
import operator
import os
import shutil
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from provenance.errors import ConflictError, SourceError, UsageError
from provenance.text import inert

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")
_NOTE = ".making-"


class _Umasks:
    """The process's umask while workspaces are open: nothing is granted that the user or one of them withholds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._held: list[int] = []

    def of_the_user(self) -> int:
        with self._lock:
            if self._held:
                return self._users
            umask = os.umask(0o077)
            os.umask(umask)
            return umask

    def hold(self, umask: int) -> None:
        with self._lock:
            if not self._held:
                self._users = os.umask(0o077)
            self._held.append(umask)
            os.umask(self._all())

    def release(self, umask: int) -> None:
        with self._lock:
            self._held.remove(umask)
            os.umask(self._all())

    def _all(self) -> int:
        return functools.reduce(operator.or_, self._held, self._users)


_umasks = _Umasks()


@contextmanager
def readable_like(file: Path) -> Iterator[None]:
    """What anybody in this process makes until the end is readable by those only who may read ``file``.

    The umask does it: a database and an engine make files of their own. Files that a user asked for by name
    (``replace_file``) keep to the user's umask.
    """
    mode = file.stat().st_mode
    umask = 0o077 & ~mode
    umask &= ~((mode & 0o044) >> 2)  # who may read a file may enter a folder
    _umasks.hold(umask)
    try:
        yield
    finally:
        _umasks.release(umask)


ANOTHER_NAME = "give -o another name, or --force to replace it"
ANOTHER_FOLDER = "give -o another folder, or --force to replace its files"


def require_free(*targets: Path | None, replace: bool, hint: str = ANOTHER_NAME) -> None:
    """Refuse to write over what is there, before anything long is begun; ``None`` is a file that nobody asked for.

    Raises:
        ConflictError: If one of the targets is there and may not be replaced.
    """
    present = [target for target in targets if target is not None and target.exists()]
    if present and not replace:
        raise ConflictError(f"{present[0]} is there already", hint=hint)


def figure_format(target: Path) -> str:
    """``png`` or ``svg``, by the ending of a figure's name.

    Raises:
        UsageError: If it is neither.
    """
    ending = target.suffix.lower().removeprefix(".")
    if ending not in ("png", "svg"):
        raise UsageError(f"{target} is no name of a figure", hint="end it in .png or .svg")
    return ending


def replace_file(target: Path, write: Callable[[IO[bytes]], T]) -> T:
    """Make or replace ``target`` with what ``write`` writes; whatever fails, what was there stays.

    A link is followed, and what it leads to is replaced. A device, pipe or folder is never replaced: a file renamed
    over ``/dev/null`` would take its place.

    Returns:
        What ``write`` gives.

    Raises:
        SourceError: If the file can't be written, or something else than a file is in its place.
    """
    try:
        place = target.resolve()
        if place.exists() and not place.is_file():
            raise SourceError(f"{target} is no file that could be replaced", hint="give -o another place")
        with _beside(place) as file:
            return write(file)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise SourceError(
            f"{target} can't be written: {getattr(error, 'strerror', None) or error}", hint="give -o another place"
        ) from error


def write_files(folder: Path, contents: Mapping[str, bytes], *, replace: bool) -> tuple[Path, ...]:
    """Write a set of files into a folder, which is made; gives their paths.

    Raises:
        ConflictError: If one of them is there and may not be replaced.
        SourceError: If the folder or a file can't be written.
    """
    folder = folder.expanduser().absolute()
    targets = {folder / name: data for name, data in contents.items()}
    require_free(*targets, replace=replace, hint=ANOTHER_FOLDER)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"{folder} can't be made: {error.strerror or error}", hint="give -o another place") from error
    for target, data in targets.items():
        write_bytes(target, data)
    return tuple(targets)


def write_bytes(target: Path, data: bytes) -> int:
    """Make or replace a file (see ``replace_file``); gives the number of its bytes."""
    return replace_file(target, lambda file: file.write(data))


def json_bytes(value: Any) -> bytes:
    """A value as a JSON file holds it: indented, UTF-8, a line feed last."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace")


def write_csv(target: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, raw: bool = False) -> int:
    """Write rows as CSV, one at a time (UTF-8, RFC 4180, header line); gives their number.

    Floats are written with all their digits; a missing value is empty; the parts of a list are joined by ``;``. What a
    spreadsheet would run as a formula is made ``inert``, unless it is wanted ``raw``.

    Raises:
        SourceError: If the file can't be written.
    """
    return replace_file(target, lambda file: _put_csv(file, columns, rows, raw=raw))


def csv_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, raw: bool = False) -> bytes:
    """What ``write_csv`` writes."""
    file = io.BytesIO()
    _put_csv(file, columns, rows, raw=raw)
    return file.getvalue()


def _put_csv(file: IO[bytes], columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, raw: bool) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(columns)
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007 the last one is their number
        cells = (_cell(row[column]) for column in columns)
        writer.writerow(cells if raw else map(inert, cells))
    text.detach()
    return count


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ";".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def _beside(target: Path) -> Iterator[IO[bytes]]:
    handle, name = tempfile.mkstemp(prefix=".provenance.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umasks.of_the_user())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Returns when the names in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def scratch_folder(
    parent: Path, prefix: str, *, known_to: Path | None = None, target: Path | None = None
) -> Iterator[Path]:
    """A folder of one's own that goes in the end; if the process is killed, ``sweep`` takes it away.

    Args:
        parent: Where it is made.
        prefix: What its name begins with.
        known_to: Another folder, where a note is kept of it as long as it is there: ``sweep`` of that one finds it.
        target: The file that will be made of what is in it; for ``noted_targets``.
    """
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    note = None if known_to is None else known_to / f"{_NOTE}{folder.name}.json"
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if note is not None:
            note.write_text(json.dumps({"folder": os.fspath(folder), "target": os.fspath(target or folder)}))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        if note is not None:
            note.unlink(missing_ok=True)


def sweep(parent: Path, prefix: str, contents: Collection[str]) -> None:
    """Takes away what killed processes left of ``scratch_folder`` in a folder, or noted there.

    A folder whose process lives is left alone, and so is one that holds anything but ``contents``: it is not ours.
    """
    with suppress(OSError):
        for folder in parent.glob(f"{prefix}*"):
            _sweep_folder(folder, contents)
        for note, noted in _notes(parent):
            if not noted[0].name.startswith(prefix) or not noted[0].exists() or _sweep_folder(noted[0], contents):
                note.unlink(missing_ok=True)


def noted_targets(parent: Path) -> set[Path]:
    """The files that killed processes were making, by the notes that they left in a folder."""
    return {target for _, (_, target) in _notes(parent)}


def _notes(parent: Path) -> list[tuple[Path, tuple[Path, Path]]]:
    found = []
    for note in sorted(parent.glob(f"{_NOTE}*.json")):
        try:
            said = json.loads(note.read_text())
            found.append((note, (Path(said["folder"]), Path(said["target"]))))
        except (OSError, ValueError, KeyError, TypeError):
            note.unlink(missing_ok=True)
    return found


def _sweep_folder(folder: Path, contents: Collection[str]) -> bool:
    """Gives whether it is gone."""
    if folder.is_symlink() or not folder.is_dir() or not {entry.name for entry in folder.iterdir()} <= set(contents):
        return False
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
