"""Commands that keep an installation whole: watch, embed, reconcile, backup, restore."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.cli.app import (
    BackboneFileOption,
    BackboneOption,
    JsonOption,
    MatchResolutionOption,
    PartsOption,
    WeightsOption,
    app,
    load_backbone,
    open_or_create_workspace,
    open_workspace,
)
from provenance.cli.data_commands import GroupOption, ModalityOption, RehashOption, parse_membership
from provenance.errors import UsageError, VectorStoreError
from provenance.vocabulary import DatasetKind

if TYPE_CHECKING:
    from provenance.errors import ProvenanceError
    from provenance.ingest import EmbedReport
    from provenance.ingest.watch import WatchBatch
    from provenance.keeping.reconcile import CollectionCheck, ReconcileReport

_ROWS = 20


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to watch, with all folders in it.")],
    set_name: Annotated[str, typer.Option("--set", help="Name of the real set.")],
    membership: Annotated[str, typer.Option("--membership", help="used, not-used or unknown.")],
    modality: ModalityOption = "",
    group_from: GroupOption = None,
    settle_seconds: Annotated[
        float, typer.Option("--settle-seconds", min=0, help="A file is taken when it has not changed for so long.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="End when everything that is there has gone in.")] = False,
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    weights: WeightsOption = None,
    rehash: RehashOption = False,
    json: JsonOption = False,
) -> None:
    """Ingest into a set whatever arrives in a folder.

    What is there already goes in first. A file that is still being copied is waited for. Ctrl-C ends it; the same
    command goes on. With --json: one JSON document a line and batch.

    \b
    Example:
      provenance watch ./incoming --set cohort-2024 --membership used --modality CT
    """
    from provenance.cli.interrupt import stop_on_interrupt
    from provenance.cli.output import message, warn
    from provenance.ingest import IngestRequest
    from provenance.ingest.watch import watch as run_watch

    request = IngestRequest(
        sources=(folder,),
        name=set_name,
        kind=DatasetKind.SET,
        membership=parse_membership(membership),
        modality=modality.upper(),
        group_from=group_from,
        rehash=rehash,
    )

    def on_problem(error: ProvenanceError, seconds: float) -> None:
        warn(f"{error.message}; trying again in {seconds:.0f} s")

    with open_or_create_workspace() as workspace:
        loaded = load_backbone(workspace, name=backbone, backbone_file=backbone_file, weights=weights)
        if folder.is_dir():
            message(f"watching {folder.resolve()} for {set_name}; Ctrl-C ends it")
        with stop_on_interrupt() as stop:
            run_watch(
                workspace,
                request,
                loaded,
                lambda batch: _print_batch(batch, set_name, json=json),
                on_problem,
                settle_seconds=settle_seconds,
                once=once,
                stop=stop,
            )
        if stop.is_set():
            message(f"stopped: what was acknowledged is kept; the same command goes on with {set_name}")


def _print_batch(batch: WatchBatch, name: str, *, json: bool) -> None:
    from provenance.cli.output import message

    if json:
        rejects = [
            {"name": r.name, "source": r.source, "reason": r.reason.value, "detail": r.detail} for r in batch.rejections
        ]
        document = {"run_id": batch.run_id, "name": name, "counts": batch.counts, "image_count": batch.image_count}
        sys.stdout.write(jsonlib.dumps(document | {"rejects": rejects}, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    counts = batch.counts
    message(
        f"set {name}: {batch.image_count:,} images ({counts['added']:,} added, {counts['known']:,} known, "
        f"{counts['repeated']:,} repeated, {counts['rejected']:,} rejected)"
    )
    for rejection in batch.rejections:
        message(f"  rejected: {rejection.name}: {rejection.reason.value}: {rejection.detail}")


@app.command()
def embed(
    name: Annotated[str, typer.Argument(metavar="SET|RELEASE", help="Name of the set or release.")],
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    weights: WeightsOption = None,
    match_resolution: MatchResolutionOption = None,
    parts: PartsOption = None,
    json: JsonOption = False,
) -> None:
    """Add a backbone's space to a set or release.

    Images are read again from where they were found, and their digests are checked; nothing is ingested. What can't
    be read is listed. Running it again goes on where it stopped.

    \b
    Example:
      provenance embed cohort-2024 --backbone resnet50-v2
      provenance embed cohort-2024 --backbone resnet50 --match-resolution gan-v1
    """
    from provenance.cli.interrupt import EXIT_CODE, stop_on_interrupt
    from provenance.cli.output import message, print_json, progress_bar
    from provenance.ingest import run_embed

    if backbone is None and backbone_file is None:
        raise UsageError("which backbone? give --backbone NAME or --backbone-file FILE")
    with open_workspace() as workspace:
        workspace.catalog.dataset(name)  # a wrong name is told before a backbone is loaded
        loaded = load_backbone(
            workspace,
            name=backbone,
            backbone_file=backbone_file,
            weights=weights,
            match_resolution=match_resolution,
            parts=parts,
        )
        with stop_on_interrupt() as stop, progress_bar(name) as on_progress:
            report = run_embed(workspace, name, loaded, on_progress, stop)
    if json:
        print_json(_embed_json(report))
    else:
        _print_embed(report)
    if report.interrupted:
        message(f"interrupted: what was acknowledged is kept; the same command goes on with {name}")
        raise typer.Exit(EXIT_CODE)


def _embed_json(report: EmbedReport) -> dict[str, Any]:
    return {
        "run_id": report.run_id,
        "name": report.name,
        "dataset_id": report.dataset_id,
        "space_id": report.space_id,
        "backbone": report.backbone,
        "counts": report.counts,
        "unreadable": [
            {"name": r.name, "source": r.source, "member": r.member, "reason": r.reason, "detail": r.detail}
            for r in report.unreadable
        ],
        "interrupted": report.interrupted,
        "duration_seconds": round(report.duration_seconds, 3),
    }


def _print_embed(report: EmbedReport) -> None:
    from provenance.cli.output import message, print_table

    counts = report.counts
    message(
        f"{report.name} in {report.backbone}: {counts['images']:,} images ({counts['known']:,} had a vector, "
        f"{counts['embedded']:,} embedded, {counts['copied']:,} copied, {counts['unreadable']:,} unreadable)"
    )
    if report.unreadable:
        print_table(("unreadable", "source", "detail"), [(r.name, r.source, r.detail) for r in report.unreadable])
        message("if the files were moved: provenance relocate OLD NEW, then the same command again")


@app.command()
def reconcile(
    repair: Annotated[bool, typer.Option("--repair/--check-only", help="Put right what can be, or only look.")] = True,
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    weights: WeightsOption = None,
    adopt_index: Annotated[
        bool, typer.Option("--adopt-index", help="Fill the empty index at the index URL: the old one is lost.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check the vector index against the catalog, and repair it.

    Every vector is read and its digest compared. Lost and damaged ones are made again from the recorded sources, as
    far as these still hold the same bytes. Exit code 5: something is left.

    \b
    Example:
      provenance reconcile
      provenance reconcile --check-only --json
    """
    from provenance.cli.output import print_json, progress_bar
    from provenance.keeping.reconcile import reconcile as run_reconcile

    given = {"name": backbone, "backbone_file": backbone_file, "weights": weights}
    chosen = {word: value for word, value in given.items() if value is not None}
    with open_workspace() as workspace, progress_bar("reconcile") as on_progress:
        report = run_reconcile(
            workspace, repair=repair, backbone=chosen, on_progress=on_progress, adopt_index=adopt_index
        )
    if json:
        print_json(_reconcile_json(report))
    else:
        _print_reconcile(report)
    _refuse_damage(report, repaired=repair)


def _reconcile_json(report: ReconcileReport) -> dict[str, Any]:
    return {
        "clean": report.is_clean,
        "repaired": report.repaired,
        "left": report.left,
        "collections": report.collections,
        "dropped_collections": report.dropped,
        "foreign_collections": report.foreign,
        "findings": report.findings,
    }


def _print_reconcile(report: ReconcileReport) -> None:
    from provenance.cli.output import message, print_table, short, warn

    columns = ("name", "space", "recorded", "stored", "missing", "damaged", "pending", "extra", "deleting")
    print_table((*columns, "repaired", "left"), [_check_row(check) for check in report.collections])
    if report.dropped:
        message(f"{len(report.dropped)} collections of removed sets or releases were still in the index")
    for check in report.collections:
        if check.unusable:
            warn(f"{check.dataset}: {check.unusable}")
        if check.changed:
            warn(
                f"{check.dataset}: {check.changed:,} vectors differ in their last bits from those before "
                "(another machine or batch size); audits made before keep their verdicts"
            )
        if check.without_vector:
            warn(f"{check.dataset}: {check.without_vector:,} images have no vector there: provenance embed")
    if report.foreign:
        message(f"{report.foreign} collections in the index are not of this catalog; they were left alone")
    if report.findings:
        rows = [(f.dataset, short(f.image_id or "-"), f.name, f.problem, f.detail) for f in report.findings[:_ROWS]]
        more = f" (the first {_ROWS}; all with --json)" if len(report.findings) > _ROWS else ""
        print_table(("in", "image", "name", "problem", "detail"), rows, title=f"{len(report.findings)} vectors{more}")
    if report.is_clean:
        message(f"clean: catalog and index agree ({report.repaired:,} repaired)")


def _check_row(check: CollectionCheck) -> tuple[Any, ...]:
    return (
        check.dataset,
        check.backbone,
        check.recorded,
        check.stored,
        check.missing,
        check.damaged,
        check.pending,
        check.extra,
        check.deleting,
        check.repaired,
        check.left,
    )


def _refuse_damage(report: ReconcileReport, *, repaired: bool) -> None:
    if report.is_clean:
        return
    hint = (
        "bring the sources back to where they were, or `provenance relocate OLD NEW`, and run it again"
        if repaired
        else "run `provenance reconcile` to repair it"
    )
    raise VectorStoreError(f"catalog and index differ: {report.left:,} problems are left", hint=hint)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file; one that exists is never overwritten.")],
    json: JsonOption = False,
) -> None:
    """Write catalog and vectors into one file.

    The catalog may be in use meanwhile. Keep the file as confidential as the workspace: it holds names and paths.

    \b
    Example:
      provenance backup /backups/provenance-2026-01.zip
    """
    from provenance.cli.output import message, print_json, progress_bar
    from provenance.keeping.backup import backup as run_backup

    with open_workspace() as workspace, progress_bar("backup") as on_progress:
        report = run_backup(workspace, file, on_progress)
    if json:
        print_json(report)
    else:
        message(
            f"{report.file}: {report.vectors:,} vectors in {report.collections} collections, "
            f"{report.size_bytes / 1e6:,.1f} MB"
        )


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `provenance backup`.")],
    json: JsonOption = False,
) -> None:
    """Bring a backup into an empty workspace.

    Everything in it is checked before anything is written, and catalog and index are compared in the end. The
    database may be of the other kind.

    \b
    Example:
      provenance --workspace /srv/audits restore /backups/provenance-2026-01.zip
    """
    from provenance.cli.output import message, print_json, progress_bar
    from provenance.keeping.backup import restore as run_restore

    with open_or_create_workspace() as workspace, progress_bar("restore") as on_progress:
        report = run_restore(workspace, file, on_progress)
    reconciled = report.reconciled
    if json:
        document = {word: getattr(report, word) for word in ("file", "catalog_uuid", "collections", "vectors")}
        print_json(document | {"backed_up_at": report.backed_up_at, "reconcile": _reconcile_json(reconciled)})
    else:
        message(f"restored {report.vectors:,} vectors in {report.collections} collections of {report.backed_up_at}")
        _print_reconcile(reconciled)
    _refuse_damage(reconciled, repaired=True)
