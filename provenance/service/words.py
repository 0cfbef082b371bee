"""Words of the fixed lists, as a caller spells them."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from provenance.errors import UsageError
from provenance.vocabulary import ExportFormat, RuleName

ANOTHER_FILE = "give another name, or overwrite=True"
W = TypeVar("W", bound=StrEnum)


def word_of(kind: type[W], given: str) -> W:
    """The word of a list.

    Raises:
        UsageError: If it is not in the list.
    """
    try:
        return kind(given)
    except ValueError:
        word = {ExportFormat: "format", RuleName: "rule"}.get(kind, kind.__name__.lower())
        raise UsageError(f"{given!r} is no {word}", hint=f"one of {', '.join(kind)}") from None
