"""Commands that bring data in: init, ingest, ingest-layout, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

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
    state,
)
from provenance.errors import UsageError
from provenance.vocabulary import DatasetKind, Membership

if TYPE_CHECKING:
    from provenance.embedding import Backbone
    from provenance.ingest import IngestReport, IngestRequest
    from provenance.records import Generator
    from provenance.service import Workspace

MODALITY_HELP = "DICOM's code of the modality: CT, MR, CR, DX, US ..."
ModalityOption = Annotated[str, typer.Option("--modality", help=MODALITY_HELP)]
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
RehashOption = Annotated[
    bool, typer.Option("--rehash", help="Read every file again, also those that look unchanged since the last run.")
]


@app.command()
def init(
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    weights: WeightsOption = None,
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
    from provenance.cli.output import message, print_json
    from provenance.service import Workspace

    settings = {
        "backbone": backbone,
        "backbone_file": backbone_file,
        "weights": weights,
        "catalog_url": catalog_url,
        "index_url": index_url,
    }
    with Workspace.create(state.workspace, **settings) as workspace:
        if json:
            print_json(
                {"workspace": workspace.root, "catalog": workspace.catalog.url_for_people, "index": workspace.index_url}
            )
        else:
            message(f"workspace: {workspace.root}")
            message("next: provenance ingest FOLDER --set NAME --membership used|not-used|unknown")


@app.command()
def ingest(
    sources: Annotated[
        list[Path],
        # what can't be read is the source's own error, with a hint
        typer.Argument(help="Folders, files, list files, zip or tar archives.", metavar="SOURCE", readable=False),
    ],
    set_name: Annotated[str | None, typer.Option("--set", help="Name of the real set.")] = None,
    membership: Annotated[str | None, typer.Option("--membership", help="used, not-used or unknown.")] = None,
    release: Annotated[str | None, typer.Option("--release", help="Name of the release of generated images.")] = None,
    generator: GeneratorOption = None,
    architecture: ArchitectureOption = "",
    generator_version: GeneratorVersionOption = "",
    modality: ModalityOption = "",
    group_from: GroupOption = None,
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    weights: WeightsOption = None,
    match_resolution: MatchResolutionOption = None,
    parts: PartsOption = None,
    rehash: RehashOption = False,
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
    from provenance.ingest import IngestRequest

    if (set_name is None) == (release is None):
        raise UsageError(
            "give either --set NAME or --release NAME", hint="a set holds real images, a release generated ones"
        )
    _refuse_foreign_options(release is not None, membership, generator, architecture, generator_version)
    request = IngestRequest(
        sources=tuple(sources),
        name=set_name or release or "",
        kind=DatasetKind.SET if set_name is not None else DatasetKind.RELEASE,
        membership=parse_membership(membership),
        generator=_generator(generator, architecture, generator_version),
        modality=modality.upper(),
        group_from=group_from,
        rehash=rehash,
    )
    choice = {"name": backbone, "backbone_file": backbone_file, "weights": weights, "parts": parts}
    _run([request], json=json, many=False, match_resolution=match_resolution, **choice)


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
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    weights: WeightsOption = None,
    rehash: RehashOption = False,
    json: JsonOption = False,
) -> None:
    """Bring in the ImageCLEFmed-GAN layout.

    Up to three sets and one release.

    \b
    Example:
      provenance ingest-layout ./imageclef-2025 --prefix clef25 --modality CT
    """
    from provenance.ingest import layout_requests

    made_by = _generator(generator or prefix, architecture, generator_version)
    assert made_by is not None
    requests = layout_requests(root, prefix, made_by, modality=modality.upper(), group_from=group_from, rehash=rehash)
    _run(requests, json=json, many=True, name=backbone, backbone_file=backbone_file, weights=weights)


def _refuse_foreign_options(is_release: bool, membership: str | None, *of_release: str | None) -> None:
    if is_release and membership is not None:
        raise UsageError("--membership goes with --set, not with --release")
    if not is_release and any(of_release):
        raise UsageError("--generator, --architecture and --generator-version go with --release, not with --set")


def parse_membership(text: str | None) -> Membership | None:
    """A membership as people write it.

    Raises:
        UsageError: If it is none.
    """
    if text is None:
        return None
    try:
        return Membership(text.lower().replace("-", "_"))
    except ValueError:
        raise UsageError(f"--membership {text!r} is none", hint="used, not-used or unknown") from None


def _generator(name: str | None, architecture: str, version: str) -> Generator | None:
    from provenance.ingest import Generator

    return Generator(name, architecture, version) if name else None


def _run(requests: list[IngestRequest], *, json: bool, many: bool, **backbone_choice: Any) -> None:
    from provenance.cli.output import print_json

    reports = []
    with open_or_create_workspace() as workspace:
        backbone = load_backbone(workspace, **backbone_choice)
        for request in requests:
            reports.append(_ingest_one(workspace, request, backbone))
            if not json:
                print_report(reports[-1])
            if reports[-1].interrupted:
                break
    if json:
        documents = [report_json(report) for report in reports]
        print_json(documents if many else documents[0])
    if reports[-1].interrupted:
        _say_how_to_go_on(reports[-1].name)


def _ingest_one(workspace: Workspace, request: IngestRequest, backbone: Backbone) -> IngestReport:
    from provenance.cli.interrupt import stop_on_interrupt
    from provenance.cli.output import progress_bar
    from provenance.ingest import run_ingest

    try:
        with stop_on_interrupt() as stop, progress_bar(request.name) as on_progress:
            return run_ingest(workspace, request, backbone, on_progress, stop)
    except KeyboardInterrupt:
        _say_how_to_go_on(request.name)


def _say_how_to_go_on(name: str) -> NoReturn:
    from provenance.cli.interrupt import EXIT_CODE
    from provenance.cli.output import message

    message(f"interrupted: what was acknowledged is kept; the same command goes on with {name}")
    raise typer.Exit(EXIT_CODE)


def report_json(report: IngestReport) -> dict[str, Any]:
    """An ingest report as JSON values."""
    return {
        "run_id": report.run_id,
        "name": report.name,
        "kind": report.kind,
        "dataset_id": report.dataset_id,
        "space_id": report.space_id,
        "counts": report.counts,
        "image_count": report.image_count,
        "sealed": report.sealed,
        "interrupted": report.interrupted,
        "dataset_digest": report.dataset_digest,
        "duration_seconds": round(report.duration_seconds, 3),
        "rejects": [
            {"name": r.name, "source": r.source, "member": r.member, "reason": r.reason, "detail": r.detail}
            for r in report.rejections
        ],
    }


def print_report(report: IngestReport) -> None:
    """One line of counts, and a table of what was rejected."""
    from provenance.cli.output import message, print_table

    counts = report.counts
    speed = f", {counts['embedded'] / report.duration_seconds:.1f} images/s" if counts["embedded"] else ""
    seal = {True: ", sealed", False: ", open", None: ""}[report.sealed]
    message(
        f"{report.kind.value} {report.name}: {report.image_count:,} images{seal} "
        f"({counts['read']:,} read, {counts['added']:,} added, {counts['known']:,} known, "
        f"{counts['repeated']:,} repeated, {counts['rejected']:,} rejected{speed})"
    )
    if report.rejections:
        rows = [(r.name, r.reason, r.detail) for r in report.rejections]
        print_table(("rejected", "reason", "detail"), rows)
