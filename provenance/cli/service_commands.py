"""Commands that keep an installation whole: watch, embed, reconcile, backup, restore."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provenance.cli.app import (
    BackboneFileOption,
    BackboneOption,
    BurnedInOption,
    GreyRangeOption,
    GroupByOption,
    JsonOption,
    MatchResolutionOption,
    PagesOption,
    PartsOption,
    TrustOption,
    WeightsOption,
    WindowOption,
    app,
    open_workspace,
    workspace_of_call,
)
from provenance.cli.data_commands import (
    ForceOption,
    GroupOption,
    MembershipOption,
    ModalityOption,
    RehashOption,
    SyncOption,
    print_inside,
    words_of_groups,
)
from provenance.cli.interrupt import interruptible
from provenance.cli.output import answer, message, print_json, print_rejects, print_table, progress_bar, short, warn
from provenance.errors import UsageError, VectorStoreError
from provenance.vocabulary import SETTLE_SECONDS, RejectReason

if TYPE_CHECKING:
    from provenance.documents.ingests import Embedding, WatchBatch
    from provenance.documents.keeping import Reconciliation
    from provenance.errors import ProvenanceError
    from provenance.service import BackboneChoice

_ROWS = 20


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to watch, with all folders in it.")],
    set_name: Annotated[str, typer.Option("--set", help="Name of the real set.")],
    membership: MembershipOption,
    modality: ModalityOption = "",
    group_from: GroupOption = None,
    group_by: GroupByOption = None,
    allow_burned_in: BurnedInOption = False,
    settle_seconds: Annotated[
        float, typer.Option("--settle-seconds", min=0, help="A file is taken when it has not changed for so long.")
    ] = SETTLE_SECONDS,
    once: Annotated[bool, typer.Option("--once", help="End when everything that is there has gone in.")] = False,
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    trust_backbone_file: TrustOption = False,
    weights: WeightsOption = None,
    grey_range: GreyRangeOption = None,
    window: WindowOption = None,
    pages: PagesOption = None,
    rehash: RehashOption = False,
    force: ForceOption = False,
    sync: SyncOption = False,
    json: JsonOption = False,
) -> None:
    """Ingest into a set whatever arrives in a folder.

    What is there already goes in first. A file that is still being copied is waited for. Ctrl-C ends it; the same
    command goes on. With --json: one JSON document a line and batch.

    \b
    Example:
      provenance watch ./incoming --set cohort-2024 --membership used --modality CT
    """
    from provenance.documents.ingests import WatchBatch

    def on_start() -> None:
        if folder.is_dir():
            message(f"watching {folder.resolve()} for {set_name}; Ctrl-C ends it")
        run.stop.is_set()  # from here on the first Ctrl-C ends it after the batch in flight

    def on_problem(error: ProvenanceError, seconds: float) -> None:
        warn(f"{error.message}; trying again in {seconds:.0f} s")

    choice: BackboneChoice = {"backbone": backbone, "backbone_file": backbone_file, "weights": weights}
    choice |= {"trust_backbone_file": trust_backbone_file, "grey_range": grey_range, "window": window}
    with interruptible(set_name) as run, workspace_of_call() as workspace:
        workspace.watch(
            folder,
            set=set_name,
            membership=membership,
            modality=modality,
            group_from=group_from,
            group_by=group_by,
            allow_burned_in=allow_burned_in,
            settle_seconds=settle_seconds,
            once=once,
            rehash=rehash,
            force=force,
            pages=pages,
            sync=sync,
            **choice,
            on_start=on_start,
            on_step=message,
            on_batch=lambda batch: _print_batch(WatchBatch.of(batch, name=set_name), json=json),
            on_problem=on_problem,
            stop=run.stop,
        )
    if run.stop.is_set():
        message(f"stopped: what was acknowledged is kept; the same command goes on with {set_name}")


def _print_batch(batch: WatchBatch, *, json: bool) -> None:
    if json:
        print_json(batch, indent=None)
        sys.stdout.flush()
        return
    counts = batch.counts
    message(
        f"set {batch.name}: {batch.image_count:,} images ({counts['added']:,} added, {counts['known']:,} known, "
        f"{counts['repeated']:,} repeated, {counts['rejected']:,} rejected, {counts['skipped']:,} skipped)"
    )
    if batch.groups is not None and batch.groups.matched < batch.groups.names:
        warn(words_of_groups(batch.groups))
    print_inside(batch.inside)
    for lost in batch.lost:
        message(f"  {'retired' if batch.retired else 'no longer there'}: {lost.name}: {lost.problem.value}")
    for reject in batch.rejects:
        what = "skipped" if reject.reason is RejectReason.SKIPPED else "rejected"
        message(f"  {what}: {reject.name}: {reject.reason.value}: {reject.detail}")


@app.command()
def embed(
    name: Annotated[str, typer.Argument(metavar="SET|RELEASE", help="Name of the set or release.")],
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    trust_backbone_file: TrustOption = False,
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
    from provenance.documents.ingests import Embedding

    if backbone is None and backbone_file is None:
        raise UsageError("which backbone? give --backbone NAME or --backbone-file FILE")
    choice: BackboneChoice = {"backbone": backbone, "backbone_file": backbone_file, "weights": weights}
    choice |= {"trust_backbone_file": trust_backbone_file, "parts": parts, "match_resolution": match_resolution}
    with interruptible(name) as run, open_workspace() as workspace, run.bar(name) as on_progress:
        report = workspace.embed(name, **choice, on_progress=on_progress, on_step=message, stop=run.stop)
    document = Embedding.of(report)
    if not answer(document, json=json):
        _print_embed(document)
    run.end_if(report.interrupted)


def _print_embed(report: Embedding) -> None:
    counts = report.counts
    message(
        f"{report.name} in {report.backbone}: {counts['images']:,} images ({counts['known']:,} had a vector, "
        f"{counts['embedded']:,} embedded, {counts['copied']:,} copied, {counts['unreadable']:,} unreadable)"
    )
    if report.unreadable:
        rows = [(r.name, r.source, r.detail) for r in report.unreadable]
        print_rejects(rows, ("unreadable", "source", "detail"))
        message("if the files were moved: provenance relocate OLD NEW, then the same command again")


@app.command()
def reconcile(
    repair: Annotated[bool, typer.Option("--repair/--check-only", help="Put right what can be, or only look.")] = True,
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    trust_backbone_file: TrustOption = False,
    weights: WeightsOption = None,
    adopt_index: Annotated[
        bool, typer.Option("--adopt-index", help="Fill the empty index at the index URL: the old one is lost.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check the vector index against the catalog, and repair it.

    Every vector is read and its digest compared. Lost and damaged ones are made again from the recorded sources, as
    far as these still hold the same bytes. On a server it also makes the replicas that collections lack, makes those
    alike that differ, and allows what its strict mode forbids. Files of an index that were copied without their holes
    get them again (--check-only says how large they are); `backup` is the way to copy a workspace. Exit code 5:
    something is left.

    \b
    Example:
      provenance reconcile
      provenance reconcile --check-only --json
    """
    from provenance.documents.keeping import Reconciliation

    choice: BackboneChoice = {"backbone": backbone, "backbone_file": backbone_file, "weights": weights}
    choice |= {"trust_backbone_file": trust_backbone_file}
    with open_workspace() as workspace, progress_bar("reconcile") as on_progress:
        report = workspace.reconcile(repair=repair, adopt_index=adopt_index, **choice, on_progress=on_progress)
    document = Reconciliation.of(report)
    if not answer(document, json=json):
        _print_reconcile(document)
    _refuse_damage(document, repaired=repair)


def _print_reconcile(report: Reconciliation) -> None:
    counts = ("recorded", "stored", "missing", "damaged", "pending", "extra", "deleting", "repaired", "left")
    rows = [(c.dataset, c.backbone, *(getattr(c, count) for count in counts)) for c in report.collections]
    print_table(("name", "space", *counts), rows)
    if report.dropped_collections:
        message(f"{len(report.dropped_collections)} collections of removed sets or releases were still in the index")
    for check in report.collections:
        if check.unusable:
            made = f"; set aside and made anew, {check.copied:,} vectors of it from files found by their digests"
            warn(f"{check.dataset}: {check.unusable}{made if check.repaired else ''}")
        if check.changed:
            warn(
                f"{check.dataset}: {check.changed:,} vectors differ in their last bits from those before "
                "(another machine or batch size); audits made before keep their verdicts"
            )
        if check.without_vector:
            warn(f"{check.dataset}: {check.without_vector:,} images have no vector there: provenance embed")
    if report.foreign_collections:
        message(f"{report.foreign_collections} collections in the index are not of this catalog; they were left alone")
    if report.findings:
        found = [(f.dataset, short(f.image_id or "-"), f.name, f.problem, f.detail) for f in report.findings[:_ROWS]]
        more = f" (the first {_ROWS}; all with --json)" if len(report.findings) > _ROWS else ""
        print_table(("in", "image", "name", "problem", "detail"), found, title=f"{len(report.findings)} problems{more}")
    if report.clean:
        message(f"clean: catalog and index agree ({report.repaired:,} repaired)")


def _refuse_damage(report: Reconciliation, *, repaired: bool) -> None:
    if report.clean:
        return
    if not repaired:
        hint = "run `provenance reconcile` to repair it"
    elif report.findings and not any(finding.image_id for finding in report.findings):
        hint = "mend what is listed (nodes of a cluster that are away: start them), and run it again"
    else:
        hint = "bring the sources back to where they were, or `provenance relocate OLD NEW`, and run it again"
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
    with open_workspace() as workspace, progress_bar("backup") as on_progress:
        report = workspace.backup(file, on_progress=on_progress)
    if not answer(report, json=json):
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
    database may be of the other kind. A Qdrant server may hold other catalogs' collections, the original's too.

    \b
    Example:
      provenance --workspace /srv/audits restore /backups/provenance-2026-01.zip
    """
    from provenance.documents.keeping import Restoration

    with workspace_of_call() as workspace, progress_bar("restore") as on_progress:
        report = workspace.restore(file, on_progress=on_progress, on_step=message)
    document = Restoration.of(report)
    if not answer(document, json=json):
        message(f"restored {report.vectors:,} vectors in {report.collections} collections of {report.backed_up_at}")
        _print_reconcile(document.reconcile)
    _refuse_damage(document.reconcile, repaired=True)
