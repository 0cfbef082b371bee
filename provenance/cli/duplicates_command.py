"""The command about leakage inside the real sets: duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.cli.app import JsonOption, RawOption, SpaceOption, app, workspace_of_call
from provenance.cli.output import answer, message, print_facts, print_table, progress_bar, warn
from provenance.vocabulary import Evidence

if TYPE_CHECKING:
    from provenance.documents.images import DuplicateCluster, Duplicates
    from provenance.documents.rows import DuplicatePair


@app.command()
def duplicates(
    sets: Annotated[
        list[str],
        typer.Argument(metavar="SET|RELEASE...", help="Sets and releases: within each and across all of them."),
    ],
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
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV file for all pairs; - for standard output.")
    ] = None,
    raw: RawOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    space: SpaceOption = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help="How many pairs or clusters to print.")] = 20,
    json: JsonOption = False,
) -> None:
    """Find duplicates within sets and releases and across them.

    The same bytes, the same pixels, and near-duplicates: re-encoded, resized, slightly changed. Pairs across used and
    not-used sets come first: where there are such, no audit can tell used from not used.

    Perceptual hashes are computed once from the recorded sources. Neighboring slices of one patient can be found too.
    More than 200,000 pairs are not listed but written to the file as they are found, and told as clusters.

    \b
    Example:
      provenance duplicates cohort-2024 cohort-2019 -o pairs.csv
      provenance duplicates cohort-2024 --hash-distance 2 --json
      provenance duplicates cohort-2024 release/gan-v1
    """
    from provenance.documents.images import Duplicates
    from provenance.service import require_free

    require_free(output, replace=force)
    with workspace_of_call() as workspace, progress_bar("reading") as on_progress:
        report = workspace.find_duplicates(
            sets,
            evidence=evidence,
            hash_distance=hash_distance,
            min_similarity=min_similarity,
            space=space,
            file=output,
            raw=raw,
            overwrite=force,
            on_progress=on_progress,
        )
    document = Duplicates.of(report, file=None if output is None else output.resolve())
    if answer(document, json=json):
        return
    _print_duplicates(document, report.space.backbone, rows)
    if output is not None:
        message(f"{output}: {document.counts['pairs']:,} pairs")


def _print_duplicates(found: Duplicates, backbone: str, rows: int) -> None:
    counts, rule = found.counts, found.rule
    near = f"hash distance <= {rule.hash_distance} {'and' if rule.evidence is Evidence.BOTH else 'or'} similarity"
    facts = {
        "images": f"{counts['images']:,} in {', '.join(one.name for one in found.sets)}",
        "same bytes": counts["same_bytes"],
        "same pixels": counts["same_pixels"],
        "near-duplicates": counts["near"],
        "clusters": _words_of_clusters(found),
        "near means": f"{near} >= {rule.min_similarity:g} ({backbone})",
    }
    print_facts(facts, title=f"{counts['pairs']:,} pairs of duplicates")
    if not found.listed and rows:
        print_table(
            ("first image", "images", "pairs", "in", "membership"),
            [_cluster_cells(cluster) for cluster in found.clusters[:rows]],
            title=f"clusters: {min(rows, len(found.clusters)):,} of {len(found.clusters):,} (too many pairs to list)",
        )
    elif found.pairs and rows:
        print_table(
            ("left", "in", "right", "in", "evidence", "bits", "similarity"),
            [_cells(pair) for pair in found.pairs[:rows]],
            title=f"first {min(rows, len(found.pairs)):,} of {len(found.pairs):,}",
        )
    if counts["not_used_with_twins"]:
        warn(
            f"{counts['not_used_with_twins']:,} of {counts['not_used']:,} not-used images are, or have a duplicate, "
            "among the used ones: no audit can tell used from not used by them. `provenance audit --exclude-twins` "
            "leaves them out."
        )
    if found.unhashed:
        first = found.unhashed[0]
        warn(
            f"{len(found.unhashed):,} images have no perceptual hash, because they could not be read again "
            f"({first.name}: {first.detail}). Near-duplicates of them can be missing; `provenance relocate` tells "
            "where moved files are."
        )


def _words_of_clusters(found: Duplicates) -> str:
    largest = max((cluster.image_count for cluster in found.clusters), default=0)
    return f"{len(found.clusters):,}" + (f", the largest of {largest:,} images" if largest else "")


def _cluster_cells(cluster: DuplicateCluster) -> tuple[Any, ...]:
    where = (", ".join(cluster.sets), ", ".join(cluster.memberships) or None)
    return cluster.images[0].name, cluster.image_count, cluster.pairs, *where


def _cells(pair: DuplicatePair) -> tuple[Any, ...]:
    kind = "same bytes" if pair.same_bytes else "same pixels" if pair.same_pixels else "near"
    left = f"{', '.join(pair.left_sets)} ({', '.join(pair.left_memberships) or 'generated'})"
    right = f"{', '.join(pair.right_sets)} ({', '.join(pair.right_memberships) or 'generated'})"
    return pair.left_name, left, pair.right_name, right, kind, pair.hash_distance, pair.similarity
