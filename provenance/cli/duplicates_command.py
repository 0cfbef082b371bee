"""The command about leakage inside the real sets: duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.cli.app import JsonOption, SpaceOption, app, open_workspace
from provenance.files import require_free
from provenance.vocabulary import Evidence

if TYPE_CHECKING:
    from provenance.duplicates import DuplicateImage, DuplicatePair, DuplicateReport


@app.command()
def duplicates(
    sets: Annotated[list[str], typer.Argument(metavar="SET...", help="Real sets: within each and across all of them.")],
    hash_distance: Annotated[
        int | None, typer.Option("--hash-distance", help="Most bits (of 64) between perceptual hashes; 4 by default.")
    ] = None,
    min_similarity: Annotated[
        float | None,
        typer.Option("--min-similarity", help="Least cosine of the embeddings; 0.65 by default (either: 0.99)."),
    ] = None,
    evidence: Annotated[
        Evidence, typer.Option("--evidence", help="Whether hash and embedding must agree, or either is enough.")
    ] = Evidence.BOTH,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV file for all pairs.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    space: SpaceOption = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help="How many pairs to print.")] = 20,
    json: JsonOption = False,
) -> None:
    """Find duplicates within real sets and across them.

    The same bytes, the same pixels, and near-duplicates: re-encoded, resized, slightly changed. Pairs across used and
    not-used sets come first: where there are such, no audit can tell used from not used.

    Perceptual hashes are computed once from the recorded sources. Neighboring slices of one patient can be found too.

    \b
    Example:
      provenance duplicates cohort-2024 cohort-2019 -o pairs.csv
      provenance duplicates cohort-2024 --hash-distance 2 --json
    """
    from provenance.cli.output import message, print_json, progress_bar
    from provenance.duplicates import DuplicateRequest, DuplicateRule, find_duplicates
    from provenance.exports import export_duplicates_csv

    require_free(output, replace=force)
    request = DuplicateRequest(tuple(sets), DuplicateRule.chosen(evidence, hash_distance, min_similarity), space)
    with open_workspace() as workspace, progress_bar("reading") as on_progress:
        report = find_duplicates(workspace, request, on_progress)
    if output is not None:
        export_duplicates_csv(report, output)
    if json:
        print_json(_document(report, output))
        return
    _print_report(report, rows)
    if output is not None:
        message(f"{output}: {len(report.pairs):,} pairs")


def _document(report: DuplicateReport, output: Path | None) -> dict[str, Any]:
    from provenance.exports import duplicate_row

    return {
        "sets": [{"name": one.name, "membership": one.membership} for one in report.sets],
        "rule": report.rule.parameters,
        "space_id": report.space.space_id,
        "counts": report.counts,
        "pairs": [duplicate_row(pair) for pair in report.pairs],
        "unhashed": [{"name": r.name, "source": r.source, "detail": r.detail} for r in report.unhashed],
        "file": None if output is None else output.resolve(),
    }


def _print_report(report: DuplicateReport, rows: int) -> None:
    from provenance.cli.output import print_facts, print_table, warn

    counts, rule = report.counts, report.rule
    joined = "and" if rule.evidence is Evidence.BOTH else "or"
    facts = {
        "images": f"{counts['images']:,} in {', '.join(one.name for one in report.sets)}",
        "same bytes": counts["same_bytes"],
        "same pixels": counts["same_pixels"],
        "near-duplicates": counts["near"],
        "near means": f"hash distance <= {rule.hash_distance} {joined} similarity >= {rule.min_similarity:g} "
        f"({report.space.backbone})",
    }
    print_facts(facts, title=f"{counts['pairs']:,} pairs of duplicates")
    if report.pairs and rows:
        print_table(
            ("left", "in", "right", "in", "evidence", "bits", "similarity"),
            [_cells(pair) for pair in report.pairs[:rows]],
            title=f"first {min(rows, len(report.pairs)):,} of {len(report.pairs):,}",
        )
    if report.not_used_with_twins:
        warn(
            f"{report.not_used_with_twins:,} of {report.not_used_count:,} not-used images are, or have a duplicate, "
            "among the used ones: no audit can tell used from not used by them. `provenance audit --exclude-twins` "
            "leaves them out."
        )
    if report.unhashed:
        first = report.unhashed[0]
        warn(
            f"{len(report.unhashed):,} images have no perceptual hash, because they could not be read again "
            f"({first.name}: {first.detail}). Near-duplicates of them can be missing; `provenance relocate` tells "
            "where moved files are."
        )


def _cells(pair: DuplicatePair) -> tuple[Any, ...]:
    kind = "same bytes" if pair.same_bytes else "same pixels" if pair.same_pixels else "near"
    left, right = pair.left, pair.right
    return left.name, _places(left), right.name, _places(right), kind, pair.hash_distance, pair.similarity


def _places(image: DuplicateImage) -> str:
    return f"{', '.join(image.sets)} ({', '.join(image.memberships)})"
