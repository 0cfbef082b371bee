"""Commands about files that leave the workspace: export, check-run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provenance.cli.app import JsonOption, RawOption, SpaceOption, app, open_workspace
from provenance.cli.output import answer, message, print_table, warn
from provenance.errors import ConflictError
from provenance.text import pasted
from provenance.vocabulary import Answer, ExportFormat, RunLabels, Subject

if TYPE_CHECKING:
    from provenance.service import RunFile


@app.command()
def export(
    what: Annotated[str, typer.Argument(help="Audit id (prefix), or name of a set or release.")],
    fmt: Annotated[ExportFormat, typer.Option("--format", help="parquet for sets and releases; any for audits.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; - for standard output.")],
    set_name: Annotated[
        str | None,
        typer.Option("--set", help="imageclef: a set of the audit, or a role (against, used, not-used)."),
    ] = None,
    space: SpaceOption = None,
    which: Annotated[
        Answer | None,
        typer.Option("--answer", help="Of an audit of the release.", show_default="the one that the format is for"),
    ] = None,
    labels: Annotated[
        RunLabels | None,
        typer.Option(
            "--labels", help="imageclef: what its rows follow.", show_default="the best guess if there is one"
        ),
    ] = None,
    raw: RawOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write an audit or embeddings to a file.

    Of an audit of the release one answer: copies (a row an image and source, the best first; default of csv, parquet
    and jsonl), membership (a row a real image, with those that calibrate; default of imageclef) or baseline.

    An audit by one rule as CSV, Parquet or JSON Lines (of copies with these rows); as the challenge's run file
    (imageclef), with the unknown (--against) images where there are any, or the generated ones if these were judged; or
    as S_u, S_n and their nearest images (max-similarity, CSV). A set or release, with its embeddings, as Parquet.

    A run file follows the best guess where there is one: a bet, and how good it is stands on stderr. --labels strict
    follows the labels, where only what is established is a 1. An image that stands in the release as it is has a 1
    either way.

    In CSV, text that a spreadsheet would run as a formula (it begins with =, +, -, @ or a tab) has an apostrophe before
    it; --labels, --group-from and check-run read it as it was, and --raw leaves it out.

    \b
    Example:
      provenance export 1f3c9a2b --format csv -o copies.csv
      provenance export 1f3c9a2b --answer membership --format parquet -o membership.parquet
      provenance export 1f3c9a2b --format imageclef -o run.csv
      provenance export 1f3c9a2b --format imageclef --labels strict -o strict.csv
      provenance export 1f3c9a2b --format max-similarity -o max_similarity.csv
      provenance export cohort-2024 --format parquet -o cohort.parquet
    """
    from provenance.documents.exports import Export
    from provenance.service import require_free

    require_free(output, replace=force)
    with open_workspace() as workspace:
        options = {"set": set_name, "space": space, "answer": which, "labels": labels}
        exported = workspace.write_export(what, output, format=fmt, **options, raw=raw, overwrite=True)
    if exported.answer is not None and which is None:
        others = f" (others: --answer {' or '.join(exported.others)})" if exported.others else ""
        message(f"written: the answer {exported.answer}{others}")
    if exported.run_file is not None:
        _warn_of_ids_left_out(exported.run_file)
        if not raw and (formulas := exported.run_file.formula_count):
            warn(
                f"{formulas:,} ids have an apostrophe before them, as a spreadsheet would run them as formulas; "
                "for the challenge give --raw"
            )
    if not answer(Export.of(exported, file=output.resolve(), format=fmt), json=json):
        message(f"{output}: {exported.row_count:,} rows")
        if exported.run_file is not None:
            message(f"next: provenance check-run {pasted([str(output)])} --ids FOLDER")


def _warn_of_ids_left_out(run: RunFile) -> None:
    if run.subject is Subject.REAL:
        _say_labels(run)
    if run.subject is Subject.GENERATED:
        warn("these are labels of generated images; the challenge scores real ones: audit with --subject real")
    if run.inconclusive_count:
        warn(
            f"{run.inconclusive_count:,} of {len(run.rows):,} rows are 0 because the audit could not tell "
            "(inconclusive); with more calibration images, or a greater --fdr, it may"
        )
    if run.unjudged:
        named = ", ".join(run.unjudged[:5]) + (" ..." if len(run.unjudged) > 5 else "")
        warn(f"without a verdict in this audit, and not in the file: {len(run.unjudged)} ({named})")
    if run.forgotten_count:
        warn(f"{run.forgotten_count} judged images were forgotten since: they have no name, and are not in the file")


def _say_labels(run: RunFile) -> None:
    """What the rows are, and how much they are worth."""
    ones = sum(value for _, value in run.rows)
    if run.guess is None:
        message(f"rows are strict labels: {ones:,} of {len(run.rows):,} are 1")
    else:
        message(f"rows are best guesses (--labels strict: the labels): {ones:,} of {len(run.rows):,} are 1")
        (message if run.guess.better_than_chance else warn)(run.guess.sentence)
    if run.identical_count:
        message(f"{run.identical_count:,} rows are 1 only because the release holds the image itself (identity)")


@app.command("check-run")
def check_run(
    file: Annotated[Path, typer.Argument(help="Run file to check.")],
    ids: Annotated[
        Path, typer.Option("--ids", help="Folder or archive of the images, or a text file with an id in each line.")
    ],
    json: JsonOption = False,
) -> None:
    """Check a run file of the challenge line by line.

    Lines are id,0 or id,1: no header, the name without extension, every id once. Every mistake is listed with its
    line; the exit code is 0 for a valid file and 8 for another.

    \b
    Example:
      provenance check-run run.csv --ids ./challenge/real_unknown
    """
    from provenance.documents.exports import RunFileCheck
    from provenance.service import checked_run

    found = checked_run(file, ids)
    if not answer(RunFileCheck.of(found, file=file.resolve()), json=json):
        if found.valid:
            message(f"{file}: valid, {found.row_count:,} rows for {found.id_count:,} ids")
        else:
            print_table(("line", "mistake", "what is wrong"), [(p.line, p.mistake, p.message) for p in found.problems])
    if found.valid:
        return
    counts = Counter(problem.mistake for problem in found.problems)
    listed = ", ".join(f"{count} {mistake.replace('_', ' ')}" for mistake, count in counts.items())
    raise ConflictError(f"{file} is no valid run file: {listed}", hint="mend the lines above and check again")
