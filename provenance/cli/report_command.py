"""The command report: an audit as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from provenance.cli.app import JsonOption, app, open_workspace


@app.command()
def report(
    audit_id: Annotated[str, typer.Argument(metavar="AUDIT", help="Audit id (prefix).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")],
    cases: Annotated[int, typer.Option("--cases", min=0, help="How many of the closest pairs to show.")] = 12,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write an audit as one HTML page.

    Sets and policy, mu, sigma and T, the histogram of scores, the closest pairs side by side, rejected inputs, and
    how to reproduce it. The page loads nothing and runs nothing. It shows real images: --cases 0 leaves them out.

    \b
    Example:
      provenance report 1f3c9a2b -o report.html
      provenance report 1f3c9a2b -o report.html --cases 40 --force
    """
    from provenance.cli.output import message, print_json, warn
    from provenance.exports.report import write_report

    with open_workspace() as workspace:
        written = write_report(workspace, workspace.catalog.audit(audit_id), output, cases=cases, replace=force)
    if json:
        print_json(
            {
                "file": written.path,
                "audit_id": written.audit_id,
                "size_bytes": written.size_bytes,
                "cases": written.cases,
                "pictures_missing": written.pictures_missing,
            }
        )
        return
    if written.pictures_missing:
        warn(f"{written.pictures_missing} images can't be shown: their sources are gone or changed; the page says so")
    message(f"{written.path}: {written.cases} cases, {written.size_bytes / 1e6:.1f} MB")
