"""Pairs of duplicates as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.files import write_csv

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.duplicates import DuplicatePair, DuplicateReport

_OF_PAIR = ("same_bytes", "same_pixels", "hash_distance", "similarity")
DUPLICATE_COLUMNS = (
    *(f"{side}_{word}" for side in ("left", "right") for word in ("id", "name", "sets", "memberships")),
    *_OF_PAIR,
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
    return row | {word: getattr(pair, word) for word in _OF_PAIR} | {"used_and_not_used": pair.crosses}


def export_duplicates_csv(report: DuplicateReport, file: Path) -> int:
    """Write every pair (see ``write_csv``); gives their number."""
    return write_csv(file, DUPLICATE_COLUMNS, map(duplicate_row, report.pairs))
