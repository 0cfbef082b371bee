"""Files that are whole or not there: written beside the target, then renamed over it."""

from __future__ import annotations

import csv
import fcntl
import functools
import io
import json
import operator
import os
import re
import shutil
import threading
import uuid
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from provenance.errors import ConflictError, SourceError, UsageError
from provenance.text import inert

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")
_NOTE = ".making-"
_BESIDE = ".provenance."
UNFINISHED_SUFFIX = ".unfinished"


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

    What is there by the same call, which was killed before it could say so, is nobody else's: it is made again.

    Raises:
        ConflictError: If one of the targets is there and may not be replaced.
    """
    present = [target for target in targets if target is not None and target.exists()]
    if present and not replace and not all(map(made_before, present)):
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
    with made_together(*targets):
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
    place = target.with_name(f"{_BESIDE}{uuid.uuid4().hex}")
    with _noted(place, target) as note:
        try:
            with _made_private(place) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            place.chmod(0o666 & ~_umasks.of_the_user())
            note.finished(place)
            place.replace(target)
        except BaseException:
            place.unlink(missing_ok=True)
            raise


def _made_private(place: Path) -> IO[bytes]:
    return os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


class Outdated(Exception):  # noqa: N818 (no error: there is nothing to keep)
    """What a file of a cache is made of is there no more."""


@contextmanager
def unfinished(file: Path) -> Iterator[IO[bytes]]:
    """A file of a cache while it is written, beside its place, which it takes in the end, whole.

    A body that finds it outdated raises ``Outdated``, and it is gone.

    Raises:
        Outdated: If it was cleared meanwhile.
    """
    place = file.with_name(f"{file.stem}-{uuid.uuid4().hex}{UNFINISHED_SUFFIX}")
    try:
        with place.open("wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            try:
                place.replace(file)
            except FileNotFoundError as error:
                raise Outdated from error
    finally:
        place.unlink(missing_ok=True)


def sweep_unfinished(folder: Path) -> None:
    """Takes away what killed processes left of ``unfinished`` in a folder."""
    for place in folder.glob(f"*{UNFINISHED_SUFFIX}"):
        with suppress(OSError), place.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            place.unlink()


def sync_folder(folder: Path) -> None:
    """Returns when the names in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(eq=False)
class _Desk:
    """Where a call notes what it makes, what it stands in for, and what it does when its answer has been given."""

    folder: Path
    taken_over: dict[Path, Path] = field(default_factory=dict)
    together: tuple[Path, ...] = ()
    answered: ExitStack = field(default_factory=ExitStack)


_desks: list[_Desk] = []


@contextmanager
def answering(workspace: Path) -> Iterator[None]:
    """A call, to the end of its answer: what it makes is noted in the workspace until then.

    If it is killed, the next command there takes away what is half done, and its repeat finds what was done
    (``made_before``).
    """
    desk = _Desk(workspace.expanduser().resolve())
    _desks.append(desk)
    try:
        with desk.answered:
            yield
    finally:
        _desks.remove(desk)


def when_answered(call: Callable[[], object]) -> None:
    """Call something when the answer of the present call has been given; at once where there is none."""
    if (desk := _desk()) is None:
        call()
    else:
        desk.answered.callback(call)


@contextmanager
def made_together(*targets: Path | None) -> Iterator[None]:
    """What is made here is of one piece: of what a killed process made, the next command leaves all or nothing."""
    desk = _desk() or _Desk(Path())
    desk.together = tuple(target.expanduser().resolve() for target in targets if target is not None)
    try:
        yield
    finally:
        desk.together = ()


def _desk() -> _Desk | None:
    """That of the outermost call in the workspace of the innermost."""
    return next((desk for desk in _desks if desk.folder == _desks[-1].folder), None)


class _Note:
    """What a process says of something that it makes, locked as long as it lives: what it is, and of which file.

    It may be a file that takes the place of its target, or a folder; a second line tells the file when it is whole.
    """

    def __init__(self, file: Path | None, thing: Path, target: Path, among: tuple[Path, ...]) -> None:
        self._file = file
        self._stream: IO[str] | None = None
        with suppress(OSError):
            self._stream = None if file is None else _locked(file, "x")
        self._say({"thing": os.fspath(thing), "target": os.fspath(target), "among": list(map(os.fspath, among))})

    def finished(self, file: Path) -> None:
        """The file is whole, and gets its name now."""
        self._say(_identity(file))

    def _say(self, value: object) -> None:
        if self._stream is not None:
            with suppress(OSError):
                self._stream.write(json.dumps(value) + "\n")
                self._stream.flush()

    def release(self) -> None:
        if self._stream is not None and self._file is not None:
            self._file.unlink(missing_ok=True)
            with suppress(OSError):
                self._stream.close()


@contextmanager
def _noted(thing: Path, target: Path) -> Iterator[_Note]:
    """Notes a thing before it is made, until the answer is given; or until it has come to nothing."""
    desk = _desk()
    file = None if desk is None else desk.folder / f"{_NOTE}{uuid.uuid4().hex}.json"
    note = _Note(file, thing, target, desk.together if desk else ())
    try:
        yield note
    except BaseException:
        note.release()
        raise
    when_answered(note.release)


def _locked(file: Path, mode: str) -> IO[str]:
    """An open file that nobody else has locked; ``BlockingIOError`` if somebody has."""
    stream = file.open(mode, encoding="utf-8")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        stream.close()
        raise
    return stream


def _identity(file: Path) -> list[int]:
    """What tells a file from another one in its place, and from itself when it was written to."""
    found = file.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns]


def made_before(target: Path) -> bool:
    """Whether a file was made by a call that was killed before its answer was given, and is as that one left it.

    Then the present call stands in for it, to the end of its own answer.
    """
    desk = _desk()
    if desk is not None:
        _take_over(desk)
    return desk is not None and target.resolve() in desk.taken_over


def _take_over(desk: _Desk) -> None:
    for file in desk.folder.glob(f"{_NOTE}*.json"):
        with suppress(OSError), ExitStack() as stack:
            said = _said_in(stack.enter_context(_locked(file, "r+")))
            if said is not None and said.finished == _identity(said.target):
                if not all(map(Path.exists, said.among)):
                    said.target.unlink()
                    continue
                desk.answered.push(stack.pop_all())
                desk.answered.callback(file.unlink, missing_ok=True)
                desk.taken_over[said.target] = said.thing


def hold(file: Path) -> bool:
    """Locks a file until the answer is given; gives whether nobody else had."""
    with suppress(OSError):
        when_answered(_locked(file, "r+").close)
        return True
    return False


class _Said(NamedTuple):
    """What a note says: the thing, its target, the files it is made among, and the finished file's identity."""

    thing: Path
    target: Path
    among: tuple[Path, ...]
    finished: list[int] | None


def _said_in(stream: IO[str]) -> _Said | None:
    """``None`` if it was killed as it wrote this."""
    try:
        made, *finished = map(json.loads, stream.read(2**16).splitlines())
        among = tuple(map(Path, made.get("among", ())))
        return _Said(Path(made["thing"]), Path(made["target"]), among, finished[0] if finished else None)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


@contextmanager
def scratch_folder(parent: Path, prefix: str, *, target: Path | None = None) -> Iterator[tuple[Path, _Note]]:
    """A folder of one's own that goes in the end; if the process is killed, ``sweep`` takes it away.

    Args:
        parent: Where it is made.
        prefix: What its name begins with.
        target: The file that will be made of what is in it.

    Yields:
        The folder, and its note: ``finished`` is told of the target's file before it is put in place.
    """
    folder = parent / f"{prefix}{uuid.uuid4().hex}"
    with _noted(folder, target or folder) as note:
        folder.mkdir(0o700)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder, note
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def sweep(workspace: Path, prefixes: Collection[str], contents: Collection[str]) -> None:
    """Takes away what killed processes left half done in a workspace, or noted there.

    What a living process makes is left alone, and so is a folder that holds anything but ``contents``: it is not ours.
    """
    if desk := _desk():
        _take_over(desk)
    for file in workspace.glob(f"{_NOTE}*.json"):
        with suppress(OSError), _locked(file, "r+") as stream:
            said = _said_in(stream)
            if said is None or _sweep_thing(said.thing, prefixes, contents):
                file.unlink()
    for thing in desk.taken_over.values() if desk else ():
        with suppress(OSError):
            _sweep_thing(thing, prefixes, contents)
    for prefix in prefixes:
        for folder in workspace.glob(f"{prefix}*"):
            with suppress(OSError):
                _sweep_folder(folder, contents)


def _sweep_thing(thing: Path, prefixes: Collection[str], contents: Collection[str]) -> bool:
    """Gives whether it is gone; a note that names anything but what we make is none of ours."""
    if re.fullmatch(re.escape(_BESIDE) + "[0-9a-f]{32}", thing.name) and thing.is_file() and not thing.is_symlink():
        thing.unlink()
    elif thing.name.startswith(tuple(prefixes)) and thing.exists():
        return _sweep_folder(thing, contents)
    return True


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
