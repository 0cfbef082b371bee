"""Whether a run file of the challenge is one: every line, every id, with a message of its own for each mistake."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from provenance.errors import ConflictError, SourceError
from provenance.exports.imageclef import id_of_name
from provenance.images import open_source
from provenance.text import as_named, composed
from provenance.vocabulary import Rejection, RejectReason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_BOM = b"\xef\xbb\xbf"
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_LIST_SUFFIXES = frozenset((".txt", ".csv", ".tsv", ".lst", ".list"))
_HEADER_WORDS = frozenset(("id", "image", "image_id", "imageid", "name", "file", "filename", "path"))


class RunFileMistake(StrEnum):
    """What can be wrong with a run file."""

    EMPTY_FILE = "empty_file"
    ENCODING = "encoding"
    BYTE_ORDER_MARK = "byte_order_mark"
    LINE_END = "line_end"
    EMPTY_LINE = "empty_line"
    FIELDS = "fields"
    UNKNOWN_ID = "unknown_id"
    DUPLICATE_ID = "duplicate_id"
    VALUE = "value"
    MISSING_ID = "missing_id"


@dataclass(frozen=True, slots=True)
class RunFileProblem:
    """One mistake; ``line`` counts from 1 and is ``None`` where no line is at fault."""

    line: int | None
    mistake: RunFileMistake
    message: str


@dataclass(frozen=True, slots=True)
class RunFileCheck:
    """The result of a check: valid if there is no problem. Problems stand by line, missing ids last."""

    row_count: int
    id_count: int
    problems: tuple[RunFileProblem, ...]

    @property
    def valid(self) -> bool:
        """Whether the file can be submitted."""
        return not self.problems


def check_run_file(file: Path, ids: Path) -> RunFileCheck:
    """Check a run file against the ids it must have, each once (see ``ids_at``).

    Raises:
        SourceError: If either can't be read, or no id is found.
        ConflictError: If two images would have the same id.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SourceError(f"{file} can't be read: {error.strerror or error}") from error
    return check_run(data, ids_at(ids))


def ids_at(place: Path) -> list[str]:
    """The ids of a folder or archive of images (names without extension), or those listed in a text file.

    In a text file, blank lines, lines that start with ``#``, a header line and all but the first column are left out.

    Raises:
        SourceError: If it can't be read, or holds no id.
        ConflictError: If an id stands twice.
    """
    seen: dict[str, str] = {}
    for name in _names_at(place):
        image = composed(id_of_name(name))
        if image in seen:
            raise ConflictError(f"{place} has the id {image!r} twice: {seen[image]!r} and {name!r}")
        seen[image] = name
    if not seen:
        raise SourceError(f"{place} holds no id", hint="give the folder of the images, or a file with an id a line")
    return list(seen)


def _names_at(place: Path) -> list[str]:
    if place.suffix.lower() in _LIST_SUFFIXES and place.is_file():
        return _listed_names(place)
    source = open_source(place)
    if source.kind == "file":
        return _listed_names(place)
    # all but sidecars, which are no images by their names
    sidecar = (RejectReason.SKIPPED, RejectReason.UNSUPPORTED)
    return [item.name for item in source if not (isinstance(item, Rejection) and item.reason in sidecar)]


def _listed_names(place: Path) -> list[str]:
    try:
        text = place.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"{place} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{place} is no UTF-8 text: {error}", hint="give a file with an id in each line") from error
    try:
        rows = [row[0].strip() for row in csv.reader(io.StringIO(text)) if row and row[0].strip()]
    except csv.Error as error:
        raise SourceError(f"{place} can't be read as a list of ids: {error}") from error
    names = [as_named(name) for name in rows if not name.startswith("#")]
    return names[1:] if names and names[0].lower() in _HEADER_WORDS else names


def check_run(data: bytes, ids: Collection[str]) -> RunFileCheck:
    """Check the bytes of a run file. One mistake gives one problem: an id whose line is wrong is not missing too.

    Rules: UTF-8 without byte order mark, lines end with a line feed (the last may lack it), no empty line, each
    line ``id,0`` or ``id,1``, every id exactly once and no other. An id is the same composed or not (as a Mac does).
    """
    check = _Check(frozenset(map(composed, ids)))
    for number, line in check.lines(data):
        check.line(number, line)
    problems = sorted(check.problems, key=lambda problem: problem.line or 0)
    return RunFileCheck(check.row_count, len(check.ids), (*problems, *check.missing()))


@dataclass
class _Check:
    """What was seen so far."""

    ids: frozenset[str]
    first_line: dict[str, int] = field(default_factory=dict)
    problems: list[RunFileProblem] = field(default_factory=list)
    row_count: int = 0

    def say(self, line: int | None, mistake: RunFileMistake, message: str) -> None:
        self.problems.append(RunFileProblem(line, mistake, message))

    def lines(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The lines without their ends; says what is wrong with the file as a whole."""
        if not data.removeprefix(_BOM):
            self.say(None, RunFileMistake.EMPTY_FILE, "the file is empty")
            return
        if data[:2] in _OTHER_ENCODINGS:
            self.say(1, RunFileMistake.ENCODING, f"the file is {_OTHER_ENCODINGS[data[:2]]}; save it as UTF-8")
            data = data.decode("utf-16", "replace").encode()
        if data.startswith(_BOM):
            message = "a byte order mark stands before the first id; save it as UTF-8 without one"
            self.say(1, RunFileMistake.BYTE_ORDER_MARK, message)
            data = data[len(_BOM) :]
        lines = data.split(b"\n")
        if len(lines) == 1 and b"\r" in data:
            self.say(1, RunFileMistake.LINE_END, "lines end with a carriage return (CR); a line feed (LF) is needed")
            lines = data.split(b"\r")
        if not lines[-1]:
            del lines[-1]
        returns = [number for number, line in enumerate(lines, start=1) if line.endswith(b"\r")]
        if returns:
            message = f"{len(returns)} lines, this one first, end with CR LF; a line feed (LF) alone is needed"
            self.say(returns[0], RunFileMistake.LINE_END, message)
        yield from ((number, line.removesuffix(b"\r")) for number, line in enumerate(lines, start=1))

    def line(self, number: int, raw: bytes) -> None:
        if not raw.strip():
            blank = "empty" if not raw else "blank"
            self.say(number, RunFileMistake.EMPTY_LINE, f"the line is {blank}; remove it")
            return
        self.row_count += 1
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            self.say(number, RunFileMistake.ENCODING, f"byte {error.start + 1} of the line is no UTF-8")
            text = raw.decode(errors="replace")
        image, *values = composed(text).split(",")
        image = image if image in self.ids else as_named(image)
        if len(values) != 1:
            found = "1 field" if not values else f"{len(values) + 1} fields"
            message = f"{found} where 2 are needed (id,0 or id,1): {_shown(text)}"
            self.say(number, RunFileMistake.FIELDS, message)
            if image in self.ids:
                self.first_line.setdefault(image, number)
            return
        self._identity(number, image)
        if values[0] not in ("0", "1"):
            self.say(number, RunFileMistake.VALUE, _value_message(values[0]))

    def _identity(self, number: int, image: str) -> None:
        known = image
        if image not in self.ids:
            known, reason = self._meant(image)
            if number == 1 and known not in self.ids and image.strip().lower() in _HEADER_WORDS:
                reason = " (a run file has no header)"
            self.say(number, RunFileMistake.UNKNOWN_ID, f"unknown id {_shown(image)}{reason}")
        if known in self.first_line:
            if image in self.ids:
                message = f"duplicate id {_shown(image)}: it stands on line {self.first_line[known]} already"
                self.say(number, RunFileMistake.DUPLICATE_ID, message)
        elif known in self.ids:
            self.first_line[known] = number

    def _meant(self, image: str) -> tuple[str, str]:
        """The id that a wrong one stands for, if that is plain, and what is wrong with it."""
        spaceless = image.strip()
        unquoted = spaceless.strip("\"'")
        for meant, reason in (
            (spaceless, "spaces around it"),
            (unquoted, "quotes around it"),
            (id_of_name(unquoted), "its extension or folder"),
        ):
            if meant in self.ids:
                return meant, f" (it is one without {reason})"
        return image, ""

    def missing(self) -> Iterator[RunFileProblem]:
        for image in sorted(self.ids - self.first_line.keys()):
            yield RunFileProblem(None, RunFileMistake.MISSING_ID, f"missing id {_shown(image)}")


def _value_message(value: str) -> str:
    if not value.strip():
        return "no value after the comma; 0 or 1 is needed"
    if value.strip() in ("0", "1"):
        return f"value {_shown(value)} has spaces around it; 0 or 1 alone is needed"
    return f"value {_shown(value)} is not 0 or 1"


def _shown(text: str, most: int = 80) -> str:
    return repr(text if len(text) <= most else text[: most - 1] + "…")
