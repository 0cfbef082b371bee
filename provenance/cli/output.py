"""What people and programs see: tables and JSON to stdout, messages and progress bars to stderr."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from provenance.errors import UsageError
from provenance.glossary import terms_in
from provenance.logs import MESSAGES, may_draw
from provenance.text import shown, shown_json, unsaid

if TYPE_CHECKING:
    import logging

    from rich.console import Console

    from provenance.service import OnProgress, Progress

WIDTH_OF_PIPES = 160
WIDTH_OF_NAMES = 100
"""Of a table whose names can be shortened, where nobody's terminal sets a width."""
_SHORTEST_NAME = 9
_LONGEST_WORD = 12
"""Of a table's words: longer ones may be broken."""
_FIGURES = re.compile(r"(?=.*\d)[-+.,:/%()\[\]\s\deE]+|n/e|-")

_printed: ContextVar[list[str] | None] = ContextVar("printed", default=None)
"""What is printed, for somebody who wants its words explained."""


def print_json(value: Any, indent: int | None = 2) -> None:
    """One JSON document with a final newline; keys in the order given."""
    sys.stdout.write(shown_json(json_text(value, indent), sys.stdout.encoding) + "\n")


def answer(document: Any, *, json: bool) -> bool:
    """Print a document (or several) if JSON was asked for; gives whether it was."""
    if json:
        print_json(document)
    return json


def json_text(value: Any, indent: int | None = 2) -> str:
    """A document, or several of them, as text."""
    from provenance.documents.document import plain

    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def message(*lines: str) -> None:
    """Lines for people, on stderr."""
    for line in lines:
        MESSAGES.info(line)


def warn(*lines: str) -> None:
    """Lines for people that want attention, on stderr."""
    for line in lines:
        MESSAGES.warning(line)


@contextmanager
def to_stdout(*, json: bool) -> Iterator[Path]:
    """A place whose content goes to stdout in the end (a folder's as a tar archive), and all else to stderr."""
    if json:
        raise UsageError("--json and -o - would both write to stdout", hint="give -o a file, or leave --json out")
    with tempfile.TemporaryDirectory(prefix="provenance-") as folder:
        place = Path(folder) / "stdout"

        def unplaced(record: logging.LogRecord) -> bool:
            record.msg = str(record.msg).replace(str(place), "-")
            return True

        MESSAGES.addFilter(unplaced)
        try:
            with redirect_stdout(sys.stderr):
                yield place
        finally:
            MESSAGES.removeFilter(unplaced)
        if place.is_dir():
            with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
                for file in sorted(place.iterdir()):
                    archive.add(file, file.name)
        elif place.exists():
            with place.open("rb") as written:
                shutil.copyfileobj(written, sys.stdout.buffer)
        sys.stdout.flush()


def console(*, stderr: bool = False, piped: int = WIDTH_OF_PIPES) -> Console:
    """A rich console; honours NO_COLOR and COLUMNS, and is ``piped`` wide where nobody sets a width."""
    from rich.console import Console

    width = None if _is_wide_as_said(stderr=stderr) else piped
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


def _is_wide_as_said(*, stderr: bool = False) -> bool:
    """Whether a terminal, or somebody by COLUMNS, says how wide lines may be."""
    return (sys.stderr if stderr else sys.stdout).isatty() or os.environ.get("COLUMNS", "").isdigit()


_SHOWN_OF_A_KIND = 5
"""Inputs of one extension with one detail that are told one by one."""


def print_rejects(
    rejects: Iterable[tuple[str, str, str]], columns: Sequence[str] = ("rejected", "reason", "detail")
) -> None:
    """Inputs that did not become images, each with its name and detail; many of one extension and detail: one line."""
    kinds: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for row in rejects:
        kinds.setdefault((PurePath(row[0]).suffix.lower(), row[2]), []).append(row)
    rows = []
    for alike in kinds.values():
        name, what, detail = alike[0]
        is_few = len(alike) <= _SHOWN_OF_A_KIND
        rows += alike if is_few else [(f"{name} and {len(alike) - 1:,} more (all: --json)", what, detail)]
    if rows:
        print_table(columns, rows)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "", names: Sequence[str] = ()
) -> None:
    """A plain table as wide as the screen; numbers to the right, and never broken.

    Where not even the shortest form of its columns fits, each row is a block of lines with a name and a value.

    Args:
        columns: Their titles.
        rows: A value a column.
        title: Stands above.
        names: Columns whose values may lose their middle where the table is wider than the screen; numbers never do.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    filled = [[_cell(value) for value in row] for row in rows]
    _note(title, *columns, *(value for row in filled for value in row))
    screen = console(piped=WIDTH_OF_NAMES if names else WIDTH_OF_PIPES)
    widths = _widths(columns, filled, names, screen.width)
    if widths is None:
        _print_blocks(columns, filled, title, screen.width)
        return
    if title:
        screen.print(Text(_line(title), style="bold"))  # a table's own would be broken where the table is narrow
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for index, (name, width) in enumerate(zip(columns, widths, strict=True)):
        numeric = bool(filled) and all(_is_number(row[index]) for row in filled)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold", width=width)
    for row in filled:
        cells = zip(columns, row, widths, strict=True)
        table.add_row(*(Text(without_middle(c, width) if name in names else c) for name, c, width in cells))
    screen.print(table)


def _widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], names: Sequence[str], screen: int
) -> list[int] | None:
    """How wide each column is: the widest give up most, figures nothing; ``None`` where they do not fit."""
    wide, least = [], []
    for n, name in enumerate(columns):
        cells = [row[n] for row in rows]
        wide.append(max(map(_cells_of, (name, *cells))))
        words = [word for text in (name, *cells) for word in text.split()]
        shortest = _SHORTEST_NAME if name in names else min(max(map(_cells_of, words), default=1), _LONGEST_WORD)
        figures = bool(cells) and all(map(_FIGURES.fullmatch, cells))
        least.append(wide[n] if figures else min(wide[n], max(shortest, *map(_cells_of, name.split() or ("",)))))
    excess = sum(wide) + 2 * len(wide) - screen  # two spaces stand between columns, one at either end
    for _ in range(excess):
        longest = max(range(len(wide)), key=lambda n: (wide[n] > least[n], wide[n]))
        if wide[longest] == least[longest]:
            return None
        wide[longest] -= 1
    return wide


def _print_blocks(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str, screen: int) -> None:
    sys.stdout.write(_line(title) + "\n" if title else "")
    width = max(map(len, columns))
    for row in rows:
        lines = (_wrapped(f"  {name:<{width}}  ", value, screen) for name, value in zip(columns, row, strict=True))
        sys.stdout.write("\n".join(lines) + "\n\n")


def without_middle(text: str, width: int) -> str:
    """A text of at most ``width`` columns of a screen, with an ellipsis for its middle; its end is kept longest."""
    mark = shown("\u2026", sys.stdout.encoding)
    mark = mark if len(mark) == 1 else "~"
    found, kept = text, width - 1
    while _cells_of(found) > width:
        head = kept // 2
        found, kept = f"{text[:head]}{mark}{text[len(text) - (kept - head) :]}", kept - 1
    return found


def _cells_of(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def print_facts(facts: Mapping[str, Any], *, title: str = "") -> None:
    """Names and values, one a line; on a screen long values go on below."""
    if title:
        sys.stdout.write(_line(title) + "\n")
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        sys.stdout.write(_folded(f"  {name:<{width}}  ", _cell(value)) + "\n")
    _note(title, *facts, *map(_cell, facts.values()))


def print_words(text: str) -> None:
    """A sentence or two, on a screen in lines as wide as it is."""
    sys.stdout.write(_folded("", _line(text)) + "\n")
    _note(text)


def _folded(head: str, text: str) -> str:
    if not _is_wide_as_said():
        return head + text
    return _wrapped(head, text, console().width)


def _wrapped(head: str, text: str, width: int) -> str:
    lines = textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)
    return "\n".join(lines) or head


def _line(text: str) -> str:
    """A line of ours with names in it; an empty one may stand before it."""
    return text[: text.startswith("\n")] + shown(text.removeprefix("\n"), sys.stdout.encoding)


@contextmanager
def explaining(*, wanted: bool) -> Iterator[None]:
    """Print what a block prints, then what its names and units mean, where that is wanted."""
    words: list[str] = []
    token = _printed.set(words)
    try:
        yield
    finally:
        _printed.reset(token)
    if wanted:
        sys.stdout.write("\nwhat the words mean\n")
        for term in terms_in("\n".join(words)):
            sys.stdout.write(_folded("  ", f"{term.name} ({term.unit})" if term.unit else term.name) + "\n")
            sys.stdout.write(_folded("      ", f"{term.meaning} {term.place}".rstrip()) + "\n")


def not_printed(notes: Iterable[str]) -> list[str]:
    """Those of some notes that nobody printed yet in this block (``explaining``)."""
    return unsaid(notes, _printed.get() or ())


def _note(*texts: str) -> None:
    if (words := _printed.get()) is not None:
        words += texts


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6f}"
    return shown(str(value), sys.stdout.encoding)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return text == "-"
    return True


def short(identity: str | None, digits: int = 12) -> str:
    """An id as people read it: the first digits, without its prefix; of a frame with its number."""
    digest, mark, frame = ("(forgotten)" if identity is None else identity).rpartition(":")[2].partition("#")
    return (digest if identity is None else digest[:digits]) + mark + frame


@contextmanager
def progress_bar(label: str) -> Iterator[OnProgress]:
    """A bar with images done, images/s and time left; where stderr is no terminal, a line every ten seconds."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    screen = console(stderr=True)
    if not (screen.is_terminal and may_draw()):
        yield _lines(label)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} images/s"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=screen) as bars:
        task = bars.add_task(shown(label, sys.stderr.encoding), total=None, rate="-")

        def show(step: Progress) -> None:
            speed = bars.tasks[0].speed
            rate = f"{speed:.1f}" if speed else "-"
            bars.update(task, completed=step.done, total=step.total, rate=rate)

        yield show


def _lines(label: str) -> OnProgress:
    import time

    from provenance.pace import throttled

    started, say = time.monotonic(), throttled(message, 10.0)

    def show(step: Progress) -> None:
        rate = step.done / max(time.monotonic() - started, 1e-9)
        left = f", {max(step.total - step.done, 0) / rate:.0f} s left" if step.total and rate else ""
        of = f"{step.total:,}" if step.total else "?"
        say(f"{label}: {step.done:,} of {of} images, {rate:.1f} images/s{left}")

    return show
