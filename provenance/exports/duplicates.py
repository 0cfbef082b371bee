"""Pairs of duplicates as CSV."""

from __future__ import annotations

import csv
import io
from typing import IO, TYPE_CHECKING, Any

from provenance.files import replace_file, writable

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.duplicates import DuplicatePair, DuplicateReport

DUPLICATE_COLUMNS = (
    "left_id",
    "left_name",
    "left_sets",
    "left_memberships",
    "right_id",
    "right_name",
    "right_sets",
    "right_memberships",
    "same_bytes",
    "same_pixels",
    "hash_distance",
    "similarity",
    "used_and_not_used",
)


def duplicate_row(pair: DuplicatePair) -> dict[str, Any]:
    """A pair as the columns' values: lists for sets and memberships, ``None`` for a distance that is not known."""
    row: dict[str, Any] = {}
    for side, image in (("left", pair.left), ("right", pair.right)):
        row[f"{side}_id"] = image.image_id
        row[f"{side}_name"] = image.name
        row[f"{side}_sets"] = list(image.sets)
        row[f"{side}_memberships"] = [claim.value for claim in image.memberships]
    return row | {
        "same_bytes": pair.same_bytes,
        "same_pixels": pair.same_pixels,
        "hash_distance": pair.hash_distance,
        "similarity": pair.similarity,
        "used_and_not_used": pair.crosses,
    }


def export_duplicates_csv(report: DuplicateReport, file: Path) -> int:
    """Write every pair; several sets or memberships of an image are joined by ``;``. Gives the number of pairs.

    Raises:
        SourceError: If the file can't be written.
    """

    def write(stream: IO[bytes]) -> int:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        rows = csv.writer(text)
        rows.writerow(DUPLICATE_COLUMNS)
        for pair in report.pairs:
            row = duplicate_row(pair)
            rows.writerow([_cell(row[column]) for column in DUPLICATE_COLUMNS])
        text.flush()
        text.detach()
        return len(report.pairs)

    return replace_file(file, write)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ";".join(writable(str(each)) for each in value)
    return repr(value) if isinstance(value, float) else writable(str(value))
