"""Logs: one logger a room (``provenance.ingest``), the id of the run in every line, and no secret in any.

Rooms write to ``room(__name__)`` and measure with ``step``; nothing is shown unless somebody asks: the command line by
``configure`` (``-v``, ``-vv``, ``--log-format``), a program by handlers of its own on the logger ``provenance``. What
the command line says to people goes to ``MESSAGES`` and is always shown, but for ``--quiet``.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from threading import Timer
from typing import TYPE_CHECKING, Any

from provenance.text import shown, shown_json, shown_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RUN_ID: ContextVar[str] = ContextVar("run_id", default="-")
_HIDDEN = "***"
SAID_AFTER_SECONDS, HANGS_AFTER_SECONDS = 3.0, 0.5
_WAITS: dict[object, float] = {}  # since when
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@:]*:[^\s@]*@")
_NAMED_SECRETS = re.compile(
    r"(?i)((?:password|passwd|passfile|api[-_]?key|token|secret)[\"']?\s*[=:]\s*[\"']?)[^\s&,;'\"]+"
)

logging.getLogger("provenance").addHandler(logging.NullHandler())


class LogFormat(StrEnum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


def without_secrets(text: str) -> str:
    """``text`` without the users and passwords of URLs, and without what is called a password, a key or a token."""
    return _NAMED_SECRETS.sub(rf"\1{_HIDDEN}", _CREDENTIALS.sub(f"{_HIDDEN}@", text))


def _clean(fact: Any) -> Any:
    return fact if isinstance(fact, int | float) else without_secrets(str(fact))


class _Stamp(logging.Filter):
    """Gives every line its run's id, and takes out of it what nobody is to read."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_secrets(record.getMessage()), None
        record.run_id = _RUN_ID.get()
        record.facts = {name: _clean(fact) for name, fact in _facts(record).items()}
        return True


_STAMP = _Stamp()


def room(module: str) -> logging.Logger:
    """The logger of a module's room: ``provenance.ingest`` for ``provenance.ingest.run``."""
    logger = logging.getLogger(".".join(module.split(".")[:2]))
    logger.addFilter(_STAMP)  # once, however often
    return logger


@contextmanager
def run_of(run_id: str | None = None) -> Iterator[str]:
    """Within it, lines bear this id: that of an ingest in the catalog, of an audit, or a new one."""
    token = _RUN_ID.set(run_id or uuid.uuid4().hex)
    try:
        yield _RUN_ID.get()
    finally:
        _RUN_ID.reset(token)


def note(logger: logging.Logger, message: str, *, level: int = logging.INFO, **facts: Any) -> None:
    """One line with facts beside it; those that are ``None`` are left out."""
    logger.log(level, message, extra={"facts": {name: fact for name, fact in facts.items() if fact is not None}})


@contextmanager
def step(logger: logging.Logger, what: str, *, level: int = logging.INFO, **facts: Any) -> Iterator[dict[str, Any]]:
    """Says how long a step took and how it ended; what it puts into the dictionary is said with it.

    Also a decorator of functions.
    """
    started = time.monotonic()
    note(logger, f"{what}: begun", level=logging.DEBUG, **facts)
    try:
        yield facts
    except BaseException as error:
        note(logger, f"{what}: ended by {type(error).__name__}", level=level, **facts, seconds=_since(started))
        raise
    note(logger, f"{what}: done", level=level, **facts, seconds=_since(started))


@contextmanager
def steps(logger: logging.Logger, on_step: Callable[[str], None] | None) -> Iterator[Callable[[str], None]]:
    """An ``on_step`` that also says how long each step took, once the next one begins or all are done."""
    current: list[tuple[str, float]] = []

    def finish() -> None:
        for what, started in current:
            note(logger, f"{what}: done", seconds=_since(started))
        current.clear()

    def begin(what: str) -> None:
        finish()
        current.append((what, time.monotonic()))
        note(logger, f"{what}: begun", level=logging.DEBUG)
        if on_step is not None:
            on_step(what)

    yield begin
    finish()


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """``2026-01-31T12:00:00.000Z INFO provenance.ingest [run] message name=fact``."""
        facts = "".join(f" {name}={_quoted(fact)}" for name, fact in _facts(record).items())
        head = f"{_moment(record)} {record.levelname} {record.name} [{_run_id(record)}]"
        return f"{head} {shown(record.getMessage())}{facts}"


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """A message as people read it; an error with its traceback, where there is one, and its hint."""
        facts = _facts(record)
        hint = f"\nhint: {shown(str(facts['hint']))}" if "hint" in facts else ""
        trace = shown_lines(str(facts.get("traceback", "")))
        return trace + _PREFIXES.get(record.levelno, "") + shown(record.getMessage()) + hint


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One JSON object a line; facts are members of their own."""
        line = {
            **{name: _clean(fact) for name, fact in _facts(record).items()},
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "run_id": _run_id(record),
            "message": without_secrets(record.getMessage()),
        }
        return shown_json(json.dumps(line, ensure_ascii=False, default=str), sys.stderr.encoding)


class _Stderr(logging.Handler):
    """Writes to what is stderr at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


def configure(verbosity: int = 0, log_format: LogFormat = LogFormat.TEXT, *, quiet: bool = False) -> None:
    """What goes to stderr.

    Args:
        verbosity: Lines of the rooms: 0 none, 1 what an operator wants (INFO and above), 2 all.
        log_format: ``json`` makes every line an object, messages for people and errors too.
        quiet: Of the messages for people, errors only, and no progress. Lines of the rooms are as ``verbosity`` says.
    """
    is_json = log_format is LogFormat.JSON
    _show(logging.getLogger("provenance"), _Json() if is_json else _Text(), _LEVELS[min(verbosity, 2)])
    _show(MESSAGES, _Json() if is_json else _Plain(), logging.ERROR if quiet else logging.INFO)


def _show(logger: logging.Logger, formatter: logging.Formatter, level: int) -> None:
    for handler in [one for one in logger.handlers if isinstance(one, _Stderr)]:
        logger.removeHandler(handler)
    handler = _Stderr()
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.setLevel(level)


def may_draw() -> bool:
    """Whether a progress bar has a place on stderr: messages are wanted, and as text."""
    return MESSAGES.isEnabledFor(logging.INFO) and isinstance(MESSAGES.handlers[0].formatter, _Plain)


class Waiting:
    """Tells people who look on what is waited for, once until it is there.

    Args:
        words: The message; empty where there is nothing to be said any more.
    """

    def __init__(self, words: Callable[[], str]) -> None:
        self._words = words
        self._said = False

    def say(self) -> None:
        """Says it now, if it was not said and somebody looks on."""
        if not self._said and may_draw() and sys.stderr.isatty() and (words := self._words()):
            self._said = True
            MESSAGES.info(words)

    def over(self) -> None:
        """It is there: the next wait is said again."""
        self._said = False

    @contextmanager
    def said_if_slow(self) -> Iterator[None]:
        """Says it when what is done here takes long."""
        timer = Timer(SAID_AFTER_SECONDS, self.say)
        timer.daemon = True
        timer.start()
        wait = object()
        _WAITS[wait] = time.monotonic()
        try:
            yield
            self.over()
        finally:
            del _WAITS[wait]
            timer.cancel()


def something_hangs() -> bool:
    """Whether an answer is waited for that may never come."""
    return any(time.monotonic() - since >= HANGS_AFTER_SECONDS for since in list(_WAITS.values()))


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts: dict[str, Any] = getattr(record, "facts", {})
    return facts


def _run_id(record: logging.LogRecord) -> str:
    return str(getattr(record, "run_id", _RUN_ID.get()))


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(fact: object) -> str:
    text = str(fact)
    plain = text and text.isprintable() and " " not in text
    return text if plain else shown_json(json.dumps(text, ensure_ascii=False))


_PREFIXES = {logging.WARNING: "note: ", logging.ERROR: "error: "}
_LEVELS = (logging.CRITICAL + 1, logging.INFO, logging.DEBUG)

MESSAGES = logging.getLogger("provenance.messages")
MESSAGES.propagate = False
_show(MESSAGES, _Plain(), logging.INFO)
