"""Pairs of duplicates as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.documents.rows import DuplicatePair
from provenance.files import write_csv

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provenance.duplicates import DuplicatePair as Pair

DUPLICATE_COLUMNS = tuple(DuplicatePair.model_fields)


def export_duplicates_csv(pairs: Iterable[Pair], file: Path, *, raw: bool = False) -> int:
    """Write pairs one at a time (see ``write_csv``); gives their number."""
    return write_csv(file, DUPLICATE_COLUMNS, (DuplicatePair.of(pair).to_json() for pair in pairs), raw=raw)
