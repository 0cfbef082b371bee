"""Commands that bring data in: init, ingest, ingest-layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    SlicesOption,
    TrustOption,
    WeightsOption,
    WindowOption,
    app,
    state,
    workspace_of_call,
)
from provenance.cli.interrupt import interruptible
from provenance.cli.output import answer, message, print_rejects, warn
from provenance.errors import UsageError
from provenance.text import pasted
from provenance.vocabulary import DatasetKind, Membership, counted

if TYPE_CHECKING:
    from collections.abc import Collection

    from provenance.documents.ingests import GroupMatches, Ingest, Inside
    from provenance.service import BackboneChoice, Workspace


def _membership(text: str | None) -> Any:
    from provenance.service import membership_of

    return membership_of(text, "--membership")


_CODES = {"MRI": "MR", "XRAY": "DX", "X-RAY": "DX", "XR": "DX", "PET": "PT", "ULTRASOUND": "US", "MAMMOGRAPHY": "MG"}


def _modality(text: str) -> str:
    if code := _CODES.get(text.strip().upper()):
        warn(f"{text!r} is not DICOM's code of that modality, {code} is: sets of two codes are not compared")
    return text


ModalityOption = Annotated[
    str, typer.Option("--modality", callback=_modality, help="DICOM's code of the modality: CT, MR, CR, DX, US ...")
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group-from",
        help="Group (patient, study) of each image: a CSV with columns name,group, or a regex on the name.",
    ),
]
GeneratorOption = Annotated[str | None, typer.Option("--generator", help="Name of the generator of a release.")]
ArchitectureOption = Annotated[str, typer.Option("--architecture", help="stylegan2, progan, ddpm ...")]
GeneratorVersionOption = Annotated[str, typer.Option("--generator-version", help="Version or checkpoint digest.")]
MembershipOption = Annotated[
    str | None, typer.Option("--membership", callback=_membership, help="used, not-used or unknown.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Go on without groups where --group-from matches no name.")]
SyncOption = Annotated[
    bool, typer.Option("--sync", help="Retire images whose files were overwritten or deleted since.")
]
RehashOption = Annotated[
    bool, typer.Option("--rehash", help="Read every file again, also those that look unchanged since the last run.")
]


@app.command()
def init(
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    weights: WeightsOption = None,
    grey_range: GreyRangeOption = None,
    window: WindowOption = None,
    catalog_url: Annotated[
        str | None, typer.Option("--catalog-url", help="SQL catalog; default: SQLite in the workspace.")
    ] = None,
    index_url: Annotated[
        str | None, typer.Option("--index-url", help="local:PATH, http(s)://HOST:PORT or grpc(s)://HOST:PORT.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a workspace.

    It is a folder of settings, catalog and index.

    \b
    Example:
      provenance init
      provenance --workspace /srv/audits init --backbone efficientnet-lite0
    """
    from provenance.documents.ingests import Workspace as Document
    from provenance.service import Workspace

    settings = {
        "backbone": backbone,
        "backbone_file": backbone_file,
        "weights": weights,
        "grey_range": grey_range,
        "window": window,
        "catalog_url": catalog_url,
        "index_url": index_url,
    }
    with Workspace.create(state.workspace, **settings) as workspace:
        document = Document.of(workspace)
    if not answer(document, json=json):
        message(f"workspace: {document.workspace}")
        message("next: provenance ingest FOLDER --set NAME --membership used|not-used|unknown")


@app.command()
def ingest(
    sources: Annotated[
        list[Path],
        # what can't be read is the source's own error, with a hint
        typer.Argument(help="Folders, files, list files, zip or tar archives.", metavar="SOURCE", readable=False),
    ],
    set_name: Annotated[str | None, typer.Option("--set", help="Name of the real set.")] = None,
    membership: MembershipOption = None,
    release: Annotated[str | None, typer.Option("--release", help="Name of the release of generated images.")] = None,
    generator: GeneratorOption = None,
    architecture: ArchitectureOption = "",
    generator_version: GeneratorVersionOption = "",
    modality: ModalityOption = "",
    group_from: GroupOption = None,
    group_by: GroupByOption = None,
    allow_burned_in: BurnedInOption = False,
    slices: SlicesOption = None,
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    trust_backbone_file: TrustOption = False,
    weights: WeightsOption = None,
    match_resolution: MatchResolutionOption = None,
    parts: PartsOption = None,
    grey_range: GreyRangeOption = None,
    window: WindowOption = None,
    pages: PagesOption = None,
    rehash: RehashOption = False,
    force: ForceOption = False,
    sync: SyncOption = False,
    json: JsonOption = False,
) -> None:
    """Bring images into a set or a release.

    Files that can't be read are listed with the reason; all others go in. Running it again goes on where it
    stopped and takes only what is new.

    \b
    Example:
      provenance ingest ./real_used --set cohort-2024 --membership used --modality CT
      provenance ingest ./generated --release gan-v1 --generator stylegan-chest --architecture stylegan2
    """
    from provenance.documents.ingests import Ingest

    name = set_name if set_name is not None else release
    if name is None or None not in (set_name, release):
        raise UsageError(
            "give either --set NAME or --release NAME", hint="a set holds real images, a release generated ones"
        )
    _refuse_foreign_options(release is not None, membership, generator, architecture, generator_version)
    choice: BackboneChoice = {"backbone": backbone, "backbone_file": backbone_file, "weights": weights}
    choice |= {"trust_backbone_file": trust_backbone_file, "parts": parts, "match_resolution": match_resolution}
    choice |= {"grey_range": grey_range, "window": window}
    with interruptible(name) as run, workspace_of_call() as workspace, run.bar(name) as on_progress:
        report = workspace.ingest(
            sources,
            set=set_name,
            membership=membership,
            release=release,
            generator=generator,
            architecture=architecture,
            generator_version=generator_version,
            modality=modality,
            group_from=group_from,
            group_by=group_by,
            allow_burned_in=allow_burned_in,
            slices=slices,
            rehash=rehash,
            force=force,
            pages=pages,
            sync=sync,
            **choice,
            on_progress=on_progress,
            on_step=message,
            stop=run.stop,
        )
        following = "" if json else next_step(workspace)
    document = Ingest.of(report)
    if not answer(document, json=json):
        print_report(document)
        if not report.interrupted:
            message(f"next: {following}")
    run.end_if(report.interrupted)


@app.command("ingest-layout")
def ingest_layout(
    root: Annotated[
        Path,
        typer.Argument(help="Folder with real_used/, real_not_used/, real_unknown/, generated/.", readable=False),
    ],
    prefix: Annotated[
        str,
        typer.Option("--prefix", help="Names become PREFIX-used, PREFIX-not-used, PREFIX-unknown, PREFIX-generated."),
    ],
    generator: GeneratorOption = None,
    architecture: ArchitectureOption = "",
    generator_version: GeneratorVersionOption = "",
    modality: ModalityOption = "",
    group_from: GroupOption = None,
    group_by: GroupByOption = None,
    allow_burned_in: BurnedInOption = False,
    slices: SlicesOption = None,
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
    """Bring in the ImageCLEFmed-GAN layout.

    Up to three sets and one release. What is not there, and what else is in the folder and ignored, is said; without
    a folder of real images it is refused.

    \b
    Example:
      provenance ingest-layout ./imageclef-2025 --prefix clef25 --modality CT
    """
    from provenance.documents.ingests import Ingest

    documents: list[Ingest] = []

    def on_report(report: object) -> None:
        documents.append(Ingest.of(report))
        if not json:
            print_report(documents[-1])

    choice: BackboneChoice = {"backbone": backbone, "backbone_file": backbone_file, "weights": weights}
    choice |= {"trust_backbone_file": trust_backbone_file, "grey_range": grey_range, "window": window}
    with interruptible(prefix) as run, workspace_of_call() as workspace:
        workspace.ingest_layout(
            root,
            prefix,
            generator=generator,
            architecture=architecture,
            generator_version=generator_version,
            modality=modality,
            group_from=group_from,
            group_by=group_by,
            allow_burned_in=allow_burned_in,
            slices=slices,
            rehash=rehash,
            force=force,
            pages=pages,
            sync=sync,
            **choice,
            on_step=message,
            on_report=on_report,
            progress_bar=run.bar,
            stop=run.stop,
        )
        following = "" if json else next_step(workspace, {document.name for document in documents})
    if not answer(documents, json=json) and not documents[-1].interrupted:
        message(f"next: {following}")
    run.end_if(documents[-1].interrupted)


_ROLES = {Membership.USED: "--used", Membership.NOT_USED: "--not-used", Membership.UNKNOWN: "--against"}


def next_step(workspace: Workspace, names: Collection[str] = ()) -> str:
    """What an audit lacks, or the audit of the latest release: against all sets, or of a layout against its own."""
    releases = [view.summary.dataset for view in workspace.list_datasets(DatasetKind.RELEASE)]
    sets = [view.summary.dataset for view in workspace.list_datasets(DatasetKind.SET)]
    if not releases:
        return "provenance ingest FOLDER --release NAME --generator NAME  (generated images)"
    if not sets:
        return "provenance ingest FOLDER --set NAME --membership used|not-used|unknown  (real images)"
    mine = [one for one in releases if one.name in names] or releases
    words = ["provenance", "audit", max(mine, key=lambda one: one.created_at).name]
    for one in sets:
        if one.name in names and one.membership is not None:
            words += [_ROLES[one.membership], one.name]
    lacking = not any(one.membership is Membership.NOT_USED for one in sets)
    more = "  (without a set of membership not-used it can't judge which real images were used)" if lacking else ""
    return pasted(words) + more


def _refuse_foreign_options(is_release: bool, membership: str | None, *of_release: str | None) -> None:
    if is_release and membership is not None:
        raise UsageError("--membership goes with --set, not with --release")
    if not is_release and any(of_release):
        raise UsageError("--generator, --architecture and --generator-version go with --release, not with --set")


def words_of_groups(groups: GroupMatches) -> str:
    """How far the groups of names were found, in words."""
    plural = "" if groups.groups == 1 else "s"
    return f"--group-from matched {groups.matched:,} of {groups.names:,} names, {groups.groups:,} group{plural}"


def print_report(report: Ingest) -> None:
    """One line of counts, and a table of what was rejected."""
    counts = report.counts
    speed = f", {counts['embedded'] / report.duration_seconds:.1f} images/s" if counts["embedded"] else ""
    skipped = f", {counts['skipped']:,} skipped" if counts["skipped"] else ""
    seal = {True: ", sealed", False: ", open", None: ""}[report.sealed]
    message(
        f"{report.kind.value} {report.name}: {report.image_count:,} images{seal} "
        f"({counts['read']:,} read, {counts['added']:,} added, {counts['known']:,} known, "
        f"{counts['repeated']:,} repeated, {counts['rejected']:,} rejected{skipped}{speed})"
    )
    if report.groups is not None:
        message(words_of_groups(report.groups))
    print_inside(report.inside)
    for other in report.claimed_elsewhere:
        claim = other.membership.replace("_", " ")
        warn(f"{counted(other.images, 'image')} of {report.name} claimed otherwise: set {other.name} says {claim}")
    print_rejects([(r.name, r.reason, r.detail) for r in report.rejects])


def print_inside(inside: Inside) -> None:
    """What there was in files of several pages, and which images lost grey levels: a line each, where there is any."""
    if inside.files:
        files = counted(inside.files, "file")
        message(f"{files} of several pages: {counted(inside.images, 'image')}, one a page (NAME#N)")
    if inside.left_out:
        frames, files = (
            counted(inside.left_out, "page or frame", "pages or frames"),
            counted(inside.left_out_files, "file"),
        )
        message(f"left out: {frames} behind the first of {files}; --pages all takes them")
    if inside.reduced:
        message(f"left out: {counted(inside.reduced, 'page')} that are smaller copies or masks of others")
    if inside.coarse:
        images = counted(inside.coarse, "image")
        message(f"few grey levels are left of {images} of more than 8 bits (fewer than 16 of more): see --grey-range")
