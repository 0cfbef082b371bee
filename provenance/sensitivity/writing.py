"""A sensitivity as files: JSON, its rows as CSV, and the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance import files
from provenance.report import ShareLine, draw_power, draw_sensitivity
from provenance.vocabulary import Answer, Subject

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.report import Drawing
    from provenance.sensitivity.values import Measured, SensitivityReport

REPORT_FILE, ROWS_FILE, FIGURE, POWER = "sensitivity.json", "sensitivity.csv", "sensitivity", "power"
_FIGURES = (FIGURE, *(f"{FIGURE}-{answer.value}" for answer in Answer), POWER)
FILES = (REPORT_FILE, ROWS_FILE, *(f"{name}.{end}" for name in _FIGURES for end in ("svg", "png")))


def require_free(folder: Path, *, replace: bool = False) -> None:
    """Refuse a folder that holds files of this kind, before anything long is begun.

    Raises:
        ConflictError: If one is there and may not be replaced.
    """
    files.require_free(*(folder / name for name in FILES), replace=replace, hint=files.ANOTHER_FOLDER)


def write_sensitivity(report: Measured, folder: Path, *, replace: bool = False) -> tuple[Path, ...]:
    """Write ``sensitivity.json``, ``sensitivity.csv`` and the figures (SVG and PNG) into a folder, which is made.

    Of several answers, each has its figure. ``power`` is that of the release test, where it could have called a leak.

    Raises:
        ConflictError: If a file is there and may not be replaced.
        SourceError: If the folder or a file can't be written.
    """
    drawings, rows = {}, report.table()
    for answer, each in report.of_answers.items():
        drawings[f"{FIGURE}-{answer}" if answer else FIGURE] = drawn(each)
        if each.power is not None and each.power.curves:
            drawings[POWER] = draw_power(each.power.curves, each.power.level, each.power.target)
    contents = {REPORT_FILE: files.json_bytes(report.to_json()), ROWS_FILE: files.csv_bytes(tuple(rows[0]), rows)}
    for name, drawing in drawings.items():
        contents |= {f"{name}.svg": drawing.svg, f"{name}.png": drawing.png}
    return files.write_files(folder, contents, replace=replace)


def drawn(report: SensitivityReport) -> Drawing:
    """The figure of a sensitivity."""
    beside = {row.name: row.share for row in report.outranking.rows} if report.outranking else {}
    lines = [
        ShareLine(row.name, row.similarity, row.share, row.low, row.high, beside.get(row.name)) for row in report.rows
    ]
    word = "established" if report.reach is not None else "labelled used"
    found = f"{word} ({'the planted image' if report.subject == Subject.GENERATED else 'the image it copies'})"
    return draw_sensitivity(lines, report.result.target, plants=max(row.plants for row in report.rows), found=found)
