"""The command report: an audit as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from provenance.cli.app import JsonOption, app, open_workspace
from provenance.cli.output import answer, message, warn
from provenance.vocabulary import DEFAULT_CASES


@app.command()
def report(
    audit_id: Annotated[str, typer.Argument(metavar="AUDIT", help="Audit id (prefix).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write; - for standard output.")],
    cases: Annotated[
        int, typer.Option("--cases", min=0, help="How many of the closest pairs to show.")
    ] = DEFAULT_CASES,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write an audit as one HTML page.

    It opens with the outcome: what is known, what is guessed, what is not known. Then copies beside their sources,
    membership with its figures, and the published baseline; notes, rejected inputs, how to reproduce it, and what each
    name means. An audit by one rule has that rule's figures and closest pairs. The page loads nothing and runs nothing.
    It shows real images: --cases 0 leaves them out.

    \b
    Example:
      provenance report 1f3c9a2b -o report.html
      provenance report 1f3c9a2b -o report.html --cases 40 --force
    """
    from provenance.documents.exports import Report

    with open_workspace() as workspace:
        written = workspace.write_report(audit_id, output, cases=cases, overwrite=force)
    if answer(Report.of(written), json=json):
        return
    if written.pictures_missing:
        warn(f"{written.pictures_missing} images can't be shown: their sources are gone or changed; the page says so")
    message(f"{written.path}: {written.cases} cases, {written.size_bytes / 1e6:.1f} MB")
