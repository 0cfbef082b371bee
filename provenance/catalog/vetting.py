"""Whether the rows of a stranger's catalog hold what this software would have written, column by column.

A file of SQLite holds any value in any column, whatever its schema declares. So kinds and bounds are asked of the
database, one query a column; free text is read once, and JSON is parsed and held to what its reader expects.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Boolean, Double, Integer

from provenance.catalog import tables as t
from provenance.catalog.events import EventKind
from provenance.catalog.types import Json, Utc, readable
from provenance.errors import CatalogError
from provenance.findings import CalibratedFindings, CopiesFindings, Findings, JointFindings, ReleaseTest, misfit
from provenance.received import parse_json, shortened
from provenance.vocabulary import (
    POLICY_ID_PREFIX,
    SPACE_ID_PREFIX,
    Answer,
    DatasetKind,
    Established,
    Label,
    Membership,
    PointState,
    RejectReason,
    Role,
    RunState,
    Space,
    Subject,
    digest_of_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Column

_MOST_TEXT = 65_536
_MOST_DEEP = 40
# What the readers of our own values raise over others.
_NOT_ITS_OWN = (sqlite3.Error, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
_HASH = re.compile(r"[0-9a-f]{1,16}|([0-9a-f]{1,16}:){7}(nan|-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,2})?)")
"""Of an image as it is; or of its turned and mirrored forms, with how far apart these are."""
_DIGITS = "[0-9]"
_DAY = f"{_DIGITS * 4}-{_DIGITS * 2}-{_DIGITS * 2}"
_MOMENT = f"{_DAY}T{_DIGITS * 2}:{_DIGITS * 2}:{_DIGITS * 2}.{_DIGITS * 6}+00:00"
_DIGESTS = {"release_digest", "verdict_digest", "dataset_digest", "pixel_digest"}
_IDS = {"dataset_id", "run_id", "audit_id", "part_id", "point_id", "image_key", "group_key", "collection_key"}
_HEX = {"vector_sha256", "verdict_sha256", "weights_sha256", "suppressed_digest"}
_WORDS: dict[str, Any] = {
    "datasets.kind": DatasetKind,
    "datasets.membership": Membership,
    "runs.state": RunState,
    "points.state": PointState,
    "rejects.reason": RejectReason,
    "audit_rejects.reason": RejectReason,
    "audits.subject": Subject,
    "audit_datasets.role": Role,
    "verdicts.subject_role": Role,
    "verdicts.label": Label,
    "neighbors.role": Role,
    "audit_parts.answer": Answer,
    "copy_sources.established_by": Established,
    "membership_figures.best_guess": Label,
    "membership_figures.group_label": Label,
    "events.kind": EventKind,
}
_BOUNDS = {
    "width": (1, 2**31 - 1),
    "height": (1, 2**31 - 1),
    "dimension": (1, 2**20),
    "parts": (1, 2**12),
    "modified_ns": (-(2**63), 2**63 - 1),
    "changed_ns": (-(2**63), 2**63 - 1),
}
_PARTS_OF_EVENTS: dict[EventKind, dict[str, Any]] = {
    EventKind.AUDITED: {"audit_id": str},
    EventKind.POLICY_DECLARED: {"policy_id": str, "conditions": dict},
    EventKind.SENSITIVITY_MEASURED: {"audit_id": str, "result": dict},
}


def vet_rows(file: Path, misfit_of_measured: Callable[[dict[str, Any]], str] = lambda _: "") -> None:
    """Lets a catalog's file pass whose rows are sound; its schema is that of this software.

    Args:
        file: The catalog.
        misfit_of_measured: Gives the place where a recorded sensitivity is not what it should be.

    Raises:
        CatalogError: If a row is not; the message names table and column.
    """
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.create_function("is_hash", 1, lambda value: _HASH.fullmatch(value) is not None)
        for table in t.Base.metadata.sorted_tables:
            for column in table.columns:
                try:
                    problem = _problem_of(connection, column) or _misfit_of_event(
                        connection, column, misfit_of_measured
                    )
                except _NOT_ITS_OWN as error:
                    problem = shortened(error)
                if problem:
                    raise CatalogError(
                        f"the copied catalog is damaged: {table.name}.{column.name}: {problem}",
                        hint="use another backup",
                    )


def _problem_of(connection: sqlite3.Connection, column: Column[Any]) -> str:
    name, sound = f'"{column.name}"', _condition(column)
    allowed = f"{name} IS NULL OR ({sound})" if column.nullable else f"{name} IS NOT NULL AND ({sound})"
    # names and conditions are of the schema and of this file
    query = f'SELECT {name} FROM "{column.table.name}" WHERE NOT coalesce({allowed}, 0) LIMIT 1'  # noqa: S608
    if (row := connection.execute(query).fetchone()) is not None:
        return f"{shortened(repr(row[0]))} does not belong there"
    if isinstance(column.type, Json):
        return _problem_of_json(connection, column)
    for _ in _values(connection, column) if _is_free(column) else ():
        pass  # it is valid UTF-8
    return ""


def _condition(column: Column[Any]) -> str:
    """What SQL asks of a value that is there."""
    name, kind = f'"{column.name}"', column.type
    if isinstance(kind, Utc):
        known = f"{name} GLOB '{_MOMENT}' AND date({name}) = substr({name}, 1, 10)"
        known += f" AND time({name}) = substr({name}, 12, 8) AND {name} BETWEEN '1900' AND '3000'"
        return f"typeof({name}) = 'text' AND {known}"
    if isinstance(kind, Boolean):
        return f"typeof({name}) = 'integer' AND {name} IN (0, 1)"
    if isinstance(kind, Double):
        return f"typeof({name}) IN ('real', 'integer') AND abs({name}) <= 1e300"
    if isinstance(kind, Integer | BigInteger):
        most = 2**63 - 1 if isinstance(kind, BigInteger) or column.autoincrement is True else 2**31 - 1
        low, high = _BOUNDS.get(column.name, (0, most))
        return f"typeof({name}) = 'integer' AND {name} BETWEEN {low} AND {high}"
    return f"typeof({name}) = 'text' AND instr({name}, char(0)) = 0 AND {_text_condition(column, name)}"


def _text_condition(column: Column[Any], name: str) -> str:
    place = f"{column.table.name}.{column.name}"
    if place in _WORDS:
        return f"{name} IN ({', '.join(repr(word.value) for word in _WORDS[place])})"
    if column.name in _DIGESTS:
        return _hex_behind(name, "sha256:")
    if column.name in _HEX:
        return _hex_behind(name, "")
    if column.name in ("space_id", "policy_id"):
        return _hex_behind(name, SPACE_ID_PREFIX if column.name == "space_id" else POLICY_ID_PREFIX)
    if column.name == "image_id":
        digest, page = f"substr({name}, 1, 71)", f"substr({name}, 72)"
        is_page = f"{page} GLOB '#[1-9]*' AND substr({page}, 2) NOT GLOB '*[^0-9]*' AND length({page}) <= 11"
        return f"{_hex_behind(digest, 'sha256:')} AND ({page} = '' OR {is_page})"
    if column.name in _IDS:
        return f"length({name}) BETWEEN 1 AND 128 AND {name} NOT GLOB '*[^A-Za-z0-9_-]*'"
    if place == "occurrences.inode":
        return f"length({name}) BETWEEN 1 AND 20 AND {name} NOT GLOB '*[^0-9]*'"
    if place == "perceptual_hashes.value":
        return f"is_hash({name})"
    if isinstance(column.type, Json):
        return "1"
    return f"length({name}) BETWEEN {int(place == 'datasets.name')} AND {_MOST_TEXT}"


def _hex_behind(name: str, prefix: str) -> str:
    rest = f"substr({name}, {len(prefix) + 1})"
    starts = f"substr({name}, 1, {len(prefix)}) = '{prefix}' AND " if prefix else ""
    return f"{starts}length({rest}) = 64 AND {rest} NOT GLOB '*[^0-9a-f]*'"


def _is_free(column: Column[Any]) -> bool:
    return _condition(column).endswith(f"AND {_MOST_TEXT}")


def _values(connection: sqlite3.Connection, column: Column[Any]) -> Iterator[Any]:
    query = f'SELECT "{column.name}" FROM "{column.table.name}" WHERE "{column.name}" IS NOT NULL'  # noqa: S608
    return (value for (value,) in connection.execute(query))


def _problem_of_json(connection: sqlite3.Connection, column: Column[Any]) -> str:
    table, check = column.table.name, _JSON_CHECKS.get(f"{column.table.name}.{column.name}", _plain)
    beside = {"spaces": "*", "policies": "*", "audits": "rule", "events": "kind"}.get(table, "NULL")
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    query = f'SELECT "{column.name}" AS json_text, {beside} FROM "{table}" WHERE "{column.name}" IS NOT NULL'  # noqa: S608
    for row in cursor.execute(query):
        value = parse_json(readable(row["json_text"]).encode())
        if not isinstance(value, dict) or _is_deep(value, _MOST_DEEP):
            return "it is no JSON object, or nested too deeply"
        if problem := check(value, row):
            return problem
    return ""


def _is_deep(value: Any, most: int) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return most == 0 or any(_is_deep(child, most - 1) for child in children)


def _plain(value: dict[str, Any], row: sqlite3.Row) -> str:
    return ""


def _numbers(value: dict[str, Any], row: sqlite3.Row) -> str:
    return "" if all(type(each) is int for each in value.values()) else "it holds something else than numbers"


def _box(value: dict[str, Any], row: sqlite3.Row) -> str:
    is_box = value.keys() == {"left", "top", "right", "bottom"}
    is_box = is_box and all(type(each) in (int, float) and abs(each) <= 1000 for each in value.values())
    return "" if is_box else "it is no box"


def _space(value: dict[str, Any], row: sqlite3.Row) -> str:
    space = Space(row["backbone"], row["weights_sha256"], value, row["dimension"], row["parts"])
    _ = space.matched_resolution, space.canonical
    return "" if space.space_id == row["space_id"] else "it is not what the id of the space says"


def _policy(value: dict[str, Any], row: sqlite3.Row) -> str:
    digest = digest_of_json({"rule": row["rule"], "parameters": value})
    return "" if POLICY_ID_PREFIX + digest == row["policy_id"] else "they are not what the id of the policy says"


def _findings(value: dict[str, Any], row: sqlite3.Row) -> str:
    kinds: list[tuple[Any, Any]] = [(Findings, value)]
    kinds += [
        (kind, value) for key, kind in (("looks", JointFindings), ("calibrated", CalibratedFindings)) if key in value
    ]
    if row["rule"] == "copies":
        kinds.append((CopiesFindings, value))
    if value.get("release_test") is not None:
        kinds.append((ReleaseTest, value["release_test"]))
    places = filter(None, (misfit(kind, recorded) for kind, recorded in kinds))
    return next((f"{place.lstrip('.')} is not what it should be" for place in places), "")


def _event(value: dict[str, Any], row: sqlite3.Row) -> str:
    parts = _PARTS_OF_EVENTS.get(EventKind(row["kind"]), {})
    wrong = [name for name, kind in parts.items() if not isinstance(value.get(name), kind)]
    return f"{wrong[0]} is not what it should be" if wrong else ""


def _misfit_of_event(
    connection: sqlite3.Connection, column: Column[Any], misfit_of_measured: Callable[[dict[str, Any]], str]
) -> str:
    if column is not t.Event.__table__.c.detail:
        return ""
    query = "SELECT detail FROM events WHERE kind = ?"
    found = connection.execute(query, (EventKind.SENSITIVITY_MEASURED.value,))
    places = (misfit_of_measured(parse_json(readable(text).encode())["result"]) for (text,) in found)
    return next((f"result.{place} is not what it should be" for place in places if place), "")


_JSON_CHECKS: dict[str, Callable[[dict[str, Any], sqlite3.Row], str]] = {
    "audits.counts": _numbers,
    "audits.settings": _findings,
    "runs.counts": _numbers,
    "spaces.preprocessing": _space,
    "policies.parameters": _policy,
    "events.detail": _event,
    "copy_sources.box": _box,
    "copy_sources.source_box": _box,
}
