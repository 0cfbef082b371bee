"""Rows to values and back, by the names that both have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from provenance import vocabulary

if TYPE_CHECKING:
    from provenance.catalog.tables import Base

V = TypeVar("V")


def value_of(kind: Callable[..., V], *rows: Any, **given: Any) -> V:
    """A frozen value: each field as it is given, else from the first row that has a column of its name.

    Words of the vocabulary come back as its members; a field that no row has keeps its default.
    """
    for name, word in _layout(kind):
        row = None if name in given else next((row for row in rows if hasattr(row, name)), None)
        if row is not None:
            value = getattr(row, name)
            given[name] = value if word is None or value is None else word(value)
    return kind(**given)


def row_of(table: type[Base], value: Any, **given: Any) -> dict[str, Any]:
    """The columns of a table that a value has fields for, and those that are given."""
    return {name: _plain(getattr(value, name)) for name in _columns(table) if hasattr(value, name)} | given


@cache
def _columns(table: type[Base]) -> tuple[str, ...]:
    return tuple(table.__table__.columns.keys())


@cache
def _layout(kind: Any) -> tuple[tuple[str, type[StrEnum] | None], ...]:
    named = ((each.name, getattr(vocabulary, str(each.type).removesuffix(" | None"), None)) for each in fields(kind))
    return tuple((name, word if isinstance(word, type) and issubclass(word, StrEnum) else None) for name, word in named)


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value  # a database's driver may take a member for something else than its text
    return dict(value) if isinstance(value, Mapping) else value
