"""Truth as people give it: rows that say of an image, by id or by name, whether it was used."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.errors import SourceError, UsageError
from provenance.text import as_named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY_COLUMNS = ("image_id", "name")
TRUTH_COLUMNS = ("label", "used")
SET_COLUMN = "set"

_WORDS = {"used": True, "1": True, "true": True, "not_used": False, "0": False, "false": False}
_FIRST_LINE = "first line: name,used (or image_id,label); then a row an image with used or not_used, 1 or 0"


@dataclass(frozen=True, slots=True)
class TruthRow:
    """What one row says of an image, by its id (or a beginning of it) or by its name.

    ``place`` is where it stands, for messages, such as ``truth.csv, line 3``; ``set_name`` the set or release whose
    image is meant; empty: any of the audit's.
    """

    key: str
    is_id: bool
    used: bool
    place: str
    set_name: str = ""


def read_truth(path: Path) -> tuple[TruthRow, ...]:
    """The rows of a CSV file with a column ``image_id`` or ``name`` (or both), and a column ``label`` or ``used``.

    Values are ``used``/``not_used``, ``1``/``0`` or ``true``/``false``, in any case. A column ``set`` may name the set
    or release whose image is meant. Other columns play no part; empty rows are skipped.

    Raises:
        SourceError: If the file can't be read, lacks a column, or a row can't be understood.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
            keys = [columns[name] for name in KEY_COLUMNS if name in columns]
            truths = [columns[name] for name in TRUTH_COLUMNS if name in columns]
            if not keys or not truths:
                missing = "image_id or name" if not keys else "label or used"
                raise SourceError(f"{path} lacks a column {missing}", hint=_FIRST_LINE)
            if len(truths) > 1:
                raise SourceError(f"{path} has a column label and a column used", hint="leave one of them out")
            rows = tuple(
                _row(path, reader.line_num, columns, row, truths[0])
                for row in reader
                if any(value.strip() for value in row.values() if isinstance(value, str))
            )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            f"{path} can't be read: {getattr(error, 'strerror', None) or error}", hint="--labels takes a CSV file"
        ) from error
    if not rows:
        raise SourceError(f"{path} holds no row", hint=_FIRST_LINE)
    return rows


def truth_of_mapping(labels: Mapping[str, object]) -> tuple[TruthRow, ...]:
    """The rows of a mapping from image id (``sha256:...``) or name to truth: as in a file, or a bool.

    Raises:
        UsageError: If it is empty, or a value is neither.
    """
    if not labels:
        raise UsageError("no labels: an empty mapping says nothing")
    rows = []
    for key, value in labels.items():
        used = _said(str(value))
        if used is None:
            raise UsageError(f"the label of {key!r} is {value!r}", hint="give True or False, 'used' or 'not_used'")
        rows.append(TruthRow(key, key.startswith("sha256:"), used, f"the label of {key}"))
    return tuple(rows)


def _row(
    path: Path, line: int, columns: Mapping[str, str], row: Mapping[str, str | None], truth_column: str
) -> TruthRow:
    def cell(column: str) -> str:
        return as_named((row.get(columns.get(column, ""), "") or "").strip())

    place = f"{path.name}, line {line}"
    said = (row.get(truth_column) or "").strip()
    used = _said(said)
    if used is None:
        raise SourceError(
            f"{place}: {said!r} is no label" if said else f"{place}: no label",
            hint="used or not_used, 1 or 0, true or false; leave out the rows of images without known truth",
        )
    for column in KEY_COLUMNS:
        if key := cell(column):
            return TruthRow(key, column == "image_id", used, place, cell(SET_COLUMN))
    raise SourceError(f"{place}: neither an image_id nor a name", hint=_FIRST_LINE)


def _said(text: str) -> bool | None:
    return _WORDS.get(text.strip().lower().replace("-", "_").replace(" ", "_"))
