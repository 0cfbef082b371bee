"""Folders and archives move; what the catalog says of where images were found moves with them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, literal, or_, update
from sqlalchemy.orm import aliased

from provenance.catalog import tables as t
from provenance.catalog.engine import affected, hold
from provenance.catalog.events import EventKind, add_event
from provenance.catalog.pseudonyms import pseudonyms
from provenance.catalog.types import TEXT, storable
from provenance.errors import UsageError
from provenance.text import forms_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    Table = type[t.Occurrence | t.Reject]


def relocate(session: Session, old_prefix: str, new_prefix: str) -> int:
    """Says that a folder, file or archive has moved: occurrences and rejects under the old place get the new one.

    Whole path components count: ``/data/set1`` does not move ``/data/set10``; letters may be composed or not. Where an
    occurrence of the same image is already on record at the new place, the two become one.

    Returns:
        How many occurrences were under the old place.

    Raises:
        UsageError: If a place is empty or both are the same.
    """
    separator = "\\" if "\\" in old_prefix and "/" not in old_prefix else "/"
    old, new = (storable(place).rstrip(separator) for place in (old_prefix, new_prefix))
    if not old_prefix or not new_prefix or old == new:
        raise UsageError("relocate needs an old and a new place that differ")
    hold(session, alone=True)
    moved = 0
    for form in forms_of(old):
        if form != new:
            _move(session, t.Reject, ("dataset_id", "member", "name", "reason"), form, new, separator)
            moved += _move(session, t.Occurrence, ("dataset_id", "member", "image_key"), form, new, separator)
    if moved:
        places = pseudonyms(session, [old, new])  # a path may name a person, and events are never erased
        detail = {"from": places[old], "to": places[new], "occurrences": moved}
        add_event(session, EventKind.RELOCATED, detail=detail)
    return moved


def _move(session: Session, table: Table, same: tuple[str, ...], old: str, new: str, separator: str) -> int:
    """Moves a table's rows; ``same`` are the columns that make two rows of one place the same."""
    start, moved = old, None
    if old.startswith(new + separator) or new.startswith(old + separator):
        # By way of a place of their own, so that rows which have not moved yet are not in the way (/a -> /a/b).
        start = f"relocating:{uuid.uuid4().hex}"
        moved = _replace(session, table, old, start, separator)
    doubles = _drop_doubles(session, table, same, start, new, separator)
    rest = _replace(session, table, start, new, separator)
    return doubles + rest if moved is None else moved


def _replace(session: Session, table: Table, old: str, new: str, separator: str) -> int:
    place = literal(new, TEXT).concat(_rest(table.source, old))
    statement = update(table).where(_under(table.source, old, separator)).values(source=place)
    return affected(session.execute(statement.execution_options(synchronize_session=False)))


def _drop_doubles(session: Session, table: Table, same: tuple[str, ...], old: str, new: str, separator: str) -> int:
    """Deletes moving rows whose counterpart already stands at the new place."""
    there = aliased(table)
    agree = and_(
        there.source == literal(new, TEXT).concat(_rest(table.source, old)),
        *(getattr(there, column) == getattr(table, column) for column in same),
    )
    statement = delete(table).where(_under(table.source, old, separator), exists().where(agree).correlate(table))
    return affected(session.execute(statement.execution_options(synchronize_session=False)))


def _under(source: Any, prefix: str, separator: str) -> ColumnElement[bool]:
    """The place itself, or anything inside it."""
    inside = func.substr(source, 1, len(prefix) + 1, type_=TEXT) == literal(prefix + separator, TEXT)
    return or_(source == literal(prefix, TEXT), inside)


def _rest(source: Any, prefix: str) -> ColumnElement[str]:
    return func.substr(source, len(prefix) + 1, type_=TEXT)
