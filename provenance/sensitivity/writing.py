"""A sensitivity as files: JSON, its rows as CSV, and the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance import files
from provenance.report import ShareLine, draw_power, draw_sensitivity
from provenance.sensitivity.values import ROW_COLUMNS
from provenance.vocabulary import Subject

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.report import Drawing
    from provenance.sensitivity.values import SensitivityReport

REPORT_FILE, ROWS_FILE, FIGURE, POWER = "sensitivity.json", "sensitivity.csv", "sensitivity", "power"
FILES = (REPORT_FILE, ROWS_FILE, *(f"{name}.{end}" for name in (FIGURE, POWER) for end in ("svg", "png")))


def require_free(folder: Path, *, replace: bool = False) -> None:
    """Refuse a folder that holds files of this kind, before anything long is begun.

    Raises:
        ConflictError: If one is there and may not be replaced.
    """
    files.require_free(*(folder / name for name in FILES), replace=replace, hint=files.ANOTHER_FOLDER)


def write_sensitivity(report: SensitivityReport, folder: Path, *, replace: bool = False) -> tuple[Path, ...]:
    """Write ``sensitivity.json``, ``sensitivity.csv`` and the figures (SVG and PNG) into a folder, which is made.

    ``power`` is the figure of the release test, where there is one that could have called a leak.

    Raises:
        ConflictError: If a file is there and may not be replaced.
        SourceError: If the folder or a file can't be written.
    """
    drawing = drawn(report)
    rows = files.csv_bytes(ROW_COLUMNS, report.table())
    contents = [files.json_bytes(report.to_json()), rows, drawing.svg, drawing.png]
    if report.power is not None and report.power.curves:
        power = draw_power(report.power.curves, report.power.level, report.power.target)
        contents += [power.svg, power.png]
    return files.write_files(folder, dict(zip(FILES, contents, strict=False)), replace=replace)


def drawn(report: SensitivityReport) -> Drawing:
    """The figure of a sensitivity."""
    beside = {row.name: row.share for row in report.outranking.rows} if report.outranking else {}
    lines = [
        ShareLine(row.name, row.similarity, row.share, row.low, row.high, beside.get(row.name)) for row in report.rows
    ]
    word = "established" if report.reach is not None else "labelled used"
    found = f"{word} ({'the planted image' if report.subject == Subject.GENERATED else 'the image it copies'})"
    return draw_sensitivity(lines, report.result.target, plants=max(row.plants for row in report.rows), found=found)
