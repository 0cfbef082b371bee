"""What comes from outside as JSON, and the numbers in it: brought to a size that everything behind it can hold."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

from provenance.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 64 * 1024**2
_MOST_WHOLE = 2**63 - 1
_SHOWN = 60


def read_json(file: Path, *, most_bytes: int = MOST_BYTES) -> Any:
    """A JSON file (see ``parse_json``), of which no more is read than it may have.

    Raises:
        OSError: If it can't be read.
        ValueError: If it is too large, or as ``parse_json``.
    """
    with file.open("rb") as stream:
        return parse_json(stream.read(most_bytes + 1), most_bytes=most_bytes)


def parse_json(content: bytes, *, most_bytes: int = MOST_BYTES) -> Any:
    """A JSON document (RFC 8259: no NaN, no infinity) whose numbers fit 64 bits.

    Raises:
        ValueError: If it is none, too large or too deep, or a number in it is too great; the message is short.
    """
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    try:
        return json.loads(content, parse_int=_whole, parse_float=_finite, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > _MOST_WHOLE:
        raise ValueError(f"the number {shortened(text)} is too great")
    return int(text)


def _finite(text: str) -> float:
    if len(text) > 400 or not math.isfinite(float(text)):
        raise ValueError(f"the number {shortened(text)} is too great or too long")
    return float(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def shortened(value: Any) -> str:
    """A value as an error names it, whatever it is."""
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ... ({len(text):,} characters)"


def require_whole(name: str, value: Any, least: int, most: int) -> None:
    """Refuse what is no whole number within bounds.

    Raises:
        UsageError: If it is not.
    """
    if type(value) is not int or not least <= value <= most:
        raise UsageError(f"{name} must be a whole number from {least} to {most:,}, not {shortened(value)}")
