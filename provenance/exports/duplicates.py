"""Pairs of duplicates as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.documents.rows import DuplicatePair
from provenance.files import write_csv

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provenance.duplicates import DuplicatePair as Pair

DUPLICATE_COLUMNS = tuple(DuplicatePair.model_fields)


def export_duplicates_csv(pairs: Iterable[Pair], file: Path, *, raw: bool = False) -> int:
    """Write pairs one at a time (see ``write_csv``); gives their number."""
    return write_csv(file, DUPLICATE_COLUMNS, map(_row, pairs), raw=raw)


def _row(pair: Pair) -> dict[str, Any]:
    """What ``DuplicatePair`` says of a pair, without checking each of the millions that there may be."""
    sides = (("left", pair.left), ("right", pair.right))
    row: dict[str, Any] = {}
    for side, image in sides:
        row |= {f"{side}_id": image.image_id, f"{side}_name": image.name, f"{side}_sets": list(image.sets)}
        row[f"{side}_memberships"] = [claim.value for claim in image.memberships]
    return row | {
        "same_bytes": pair.same_bytes,
        "same_pixels": pair.same_pixels,
        "hash_distance": pair.hash_distance,
        "similarity": pair.similarity,
        "used_and_not_used": pair.crosses,
        "real_and_generated": pair.is_of_both_kinds,
    }
