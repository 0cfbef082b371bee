"""What people and programs see: tables and JSON to stdout, messages and progress bars to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from provenance.logs import MESSAGES, may_draw

if TYPE_CHECKING:
    from rich.console import Console

    from provenance.service import OnProgress, Progress

WIDTH_OF_PIPES = 160


def print_json(value: Any) -> None:
    """One JSON document with a final newline; keys in the order given."""
    sys.stdout.write(json_text(value) + "\n")


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


def console(*, stderr: bool = False) -> Console:
    """A rich console; honours NO_COLOR, and is wide where nobody's terminal sets a width."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr, highlight=False, markup=False, emoji=False, width=None if stream.isatty() else WIDTH_OF_PIPES
    )


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """A plain table; numbers to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    filled = [[_cell(value) for value in row] for row in rows]
    table = Table(box=box.SIMPLE, title=title or None, title_justify="left", title_style="bold", pad_edge=False)
    for index, name in enumerate(columns):
        numeric = bool(filled) and all(_is_number(row[index]) for row in filled)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in filled:
        table.add_row(*(Text(value) for value in row))
    console().print(table)


def print_facts(facts: Mapping[str, Any], *, title: str = "") -> None:
    """Names and values, one a line."""
    if title:
        sys.stdout.write(title + "\n")
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        sys.stdout.write(f"  {name:<{width}}  {_cell(value)}\n")


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
    return "".join(c if c.isprintable() else "\ufffd" for c in str(value))


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
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} images/s"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=screen) as bars:
        task = bars.add_task(label, total=None, rate="-")

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
        say(f"{label}: {step.done:,} of {step.total or '?'} images, {rate:.1f} images/s{left}")

    return show
