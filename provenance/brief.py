"""How a result shows itself where somebody looks at it: one line in a shell, a small table in a notebook."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sized
from dataclasses import fields
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from provenance.text import shown

LONGEST = 200
"""Characters of a line, at most."""
_LONGEST_VALUE = 48


class Brief:
    """A value that shows itself in one line of at most ``LONGEST`` characters, however much it holds.

    A dataclass that is one has ``repr=False``.
    """

    __slots__ = ()

    def told(self) -> Mapping[str, Any]:
        """What it shows of itself, by name: its fields, unless it knows better what somebody looks for."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.repr}  # type: ignore[arg-type]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={_short(value)}" for name, value in self.told().items() if value is not None)
        return _cut(f"{type(self).__name__}({values})", LONGEST, end=")")

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align:left">{html.escape(name.replace("_", " "))}</th>'
            f'<td style="text-align:left">{html.escape(_short(value, 4 * LONGEST, bare=True))}</td></tr>'
            for name, value in self.told().items()
            if value is not None
        )
        return f"<table><caption>{type(self).__name__}</caption><tbody>{rows}</tbody></table>"


def _short(value: Any, longest: int = _LONGEST_VALUE, *, bare: bool = False) -> str:
    """A value in a few characters: of what holds many, how many."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str | Path | Enum):
        text = _cut(shown(str(value.value if isinstance(value, Enum) else value)), longest)
        return text if bare else repr(text)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%SZ}"
    if value is None or isinstance(value, int):
        return str(value)
    if isinstance(value, Sized):
        return f"{len(value):,} item{'' if len(value) == 1 else 's'}"
    return type(value).__name__


def _cut(text: str, longest: int, end: str = "") -> str:
    return text if len(text) <= longest else f"{text[: longest - 1 - len(end)]}…{end}"
