"""Pairs of duplicates as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.documents.rows import DuplicatePair
from provenance.files import write_csv

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.duplicates import DuplicateReport

DUPLICATE_COLUMNS = tuple(DuplicatePair.model_fields)


def duplicate_row(pair: object) -> dict[str, Any]:
    """A pair as the columns' values: lists for sets and memberships, ``None`` for a distance that is not known."""
    return DuplicatePair.of(pair).to_json()


def export_duplicates_csv(report: DuplicateReport, file: Path) -> int:
    """Write every pair (see ``write_csv``); gives their number."""
    return write_csv(file, DUPLICATE_COLUMNS, map(duplicate_row, report.pairs))
