"""Questions by image id: show, history, neighbors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.cli.app import (
    BackboneFileOption,
    BackboneOption,
    JsonOption,
    SpaceOption,
    TopKOption,
    WeightsOption,
    app,
    load_backbone,
    open_workspace,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.lookup import ImageView, Neighbor
    from provenance.service import Workspace

ImageArgument = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE_ID", help="Image id, a unique prefix of 8 or more hex digits, or a unique file name."
    ),
]


@app.command()
def show(
    image_id: ImageArgument,
    explain: Annotated[
        bool, typer.Option("--explain/--no-explain", help="Which positions speak for its use, where scores are local.")
    ] = True,
    json: JsonOption = False,
) -> None:
    """Everything on record about an image.

    Where it came from, its sets and spaces, verdicts about it and verdicts that cite it. Where its latest verdict
    is by a local score, which positions and which generated images speak for its use, from the stored vectors.

    \b
    Example:
      provenance show 3fa1b2c4
      provenance show generated_0001.png --json
    """
    from provenance.audit import explain_image
    from provenance.cli.explanation import print_explanation
    from provenance.cli.output import message, print_json
    from provenance.lookup import show_image

    with open_workspace() as workspace:
        view = show_image(workspace, image_id)
        explained = explain_image(workspace, view.image.image_key, None if json else message) if explain else None
    if json:
        print_json(_view_json(view) | {"explanation": None if explained is None else explained.to_json()})
        return
    _print_view(view)
    if explained is not None:
        print_explanation(explained)


def _view_json(view: ImageView) -> dict[str, Any]:
    facts = view.image.facts
    return {
        "image_id": facts.image_id,
        "pixel_digest": facts.pixel_digest,
        "width": facts.width,
        "height": facts.height,
        "file_format": facts.file_format,
        "mode": facts.mode,
        "size_bytes": facts.size_bytes,
        "first_seen_at": view.image.first_seen_at,
        "occurrences": [
            {"dataset": o.dataset_name, "name": o.name, "source": o.source, "member": o.member, "found_at": o.found_at}
            for o in view.occurrences
        ],
        "memberships": [
            {
                "dataset": m.dataset.name,
                "kind": m.dataset.kind,
                "membership": m.dataset.membership,
                "group": m.group_key,
                "added_at": m.added_at,
            }
            for m in view.memberships
        ],
        "spaces": [
            {
                "space_id": s.space_id,
                "backbone": s.backbone,
                "dataset": s.dataset_name,
                "vector_sha256": s.vector_sha256,
                "state": s.state,
            }
            for s in view.spaces
        ],
        "verdicts_about": view.verdicts_about,
        "verdicts_citing": view.verdicts_citing,
    }


def _print_view(view: ImageView) -> None:
    from provenance.cli.output import print_facts, print_table, short

    facts = view.image.facts
    print_facts(
        {
            "pixels": f"{facts.width} x {facts.height}, {facts.mode}, {facts.file_format}, {facts.size_bytes:,} bytes",
            "pixel digest": facts.pixel_digest,
            "first seen": view.image.first_seen_at,
            "spaces": ", ".join(sorted({f"{s.backbone} ({s.space_id[:18]})" for s in view.spaces})) or "none",
        },
        title=facts.image_id,
    )
    kinds = {m.dataset.dataset_id: m for m in view.memberships}
    print_table(
        ("in", "kind", "membership", "group", "name", "source"),
        [
            (
                o.dataset_name,
                kinds[o.dataset_id].dataset.kind,
                kinds[o.dataset_id].dataset.membership,
                short(kinds[o.dataset_id].group_key) if kinds[o.dataset_id].group_key else None,
                o.name,
                o.source if o.member is None else f"{o.source} :: {o.member}",
            )
            for o in view.occurrences
            if o.dataset_id in kinds
        ],
    )
    if view.verdicts_about:
        print_table(
            ("audit", "audited at", "release", "as", "label", "score", "threshold"),
            [
                (v.audit_id[:8], v.audited_at, v.release_name, v.subject_role, v.label, v.score, v.threshold)
                for v in view.verdicts_about
            ],
            title="verdicts about it",
        )
    if view.verdicts_citing:
        print_table(
            ("audit", "release", "subject", "label", "rank", "similarity"),
            [
                (v.audit_id[:8], v.release_name, short(v.subject_image_id), v.label, v.rank, v.similarity)
                for v in view.verdicts_citing[:20]
            ],
            title=f"evidence in {len(view.verdicts_citing)} verdicts"
            + (" (the first 20; all with --json)" if len(view.verdicts_citing) > 20 else ""),
        )


@app.command()
def history(image_id: ImageArgument, json: JsonOption = False) -> None:
    """All that happened to an image, in order.

    \b
    Example:
      provenance history 3fa1b2c4
    """
    from provenance.cli.output import print_json, print_table
    from provenance.lookup import history_of

    with open_workspace() as workspace:
        image, entries = history_of(workspace, image_id)
    if json:
        print_json({"image_id": image.image_id, "history": [{"at": e.at, "kind": e.kind, **e.facts} for e in entries]})
        return
    print_table(("at", "what", "facts"), [(e.at, e.kind, _facts_text(e.facts)) for e in entries], title=image.image_id)


def _facts_text(facts: Mapping[str, Any]) -> str:
    """Facts for people: ids shortened, those of runs and datasets (whose names are there) left out."""
    shown = []
    for name, value in facts.items():
        if value in (None, "") or name in ("run_id", "dataset_id"):
            continue
        text = f"{value:.6f}" if isinstance(value, float) else str(value)
        shown.append(f"{name.removesuffix('_id')} {text[:8] if name == 'audit_id' else text}")
    return ", ".join(shown)


@app.command()
def neighbors(
    image: Annotated[str, typer.Argument(metavar="IMAGE_ID|FILE", help="A known image, or any image file.")],
    dataset: Annotated[
        list[str] | None, typer.Option("--in", help="Set or release to look in (repeatable); default: all.")
    ] = None,
    top_k: TopKOption = 10,
    space: SpaceOption = None,
    backbone: BackboneOption = None,
    backbone_file: BackboneFileOption = None,
    weights: WeightsOption = None,
    json: JsonOption = False,
) -> None:
    """The nearest images on record, exactly.

    A FILE need not be known and is not recorded.

    \b
    Example:
      provenance neighbors 3fa1b2c4 --in cohort-2024
      provenance neighbors ./suspicious.png --top-k 5
    """
    from provenance.cli.output import print_json, print_table, short
    from provenance.lookup import neighbors_of_file, neighbors_of_image

    names = tuple(dataset or ())
    with open_workspace() as workspace:
        if Path(image).is_file():
            loaded = _backbone_of_space(workspace, space, backbone, backbone_file, weights)
            found = neighbors_of_file(workspace, Path(image), loaded, datasets=names, top_k=top_k)
        else:
            found = neighbors_of_image(workspace, image, datasets=names, top_k=top_k, space=space)
    if json:
        print_json({"query": image, "neighbors": found})
        return
    print_table(("rank", "similarity", "image", "name", "in", "kind", "group"), [_row(n, short) for n in found])


def _backbone_of_space(
    workspace: Workspace, space: str | None, name: str | None, file: Path | None, weights: Path | None
) -> Any:
    """The chosen backbone; otherwise that of the chosen space, or of the only space on record, or of the settings."""
    if name is None and file is None:
        known = [workspace.catalog.space(space)] if space is not None else workspace.catalog.spaces()
        if len(known) == 1 and not known[0].backbone.startswith(("onnx:", "torchscript:")):  # these are files
            name = known[0].backbone
    return load_backbone(workspace, name=name, backbone_file=file, weights=weights)


def _row(neighbor: Neighbor, short: Any) -> tuple[Any, ...]:
    group = short(neighbor.group_key) if neighbor.group_key else None
    return (
        neighbor.rank,
        neighbor.similarity,
        short(neighbor.image_id),
        neighbor.name,
        neighbor.dataset,
        neighbor.kind,
        group,
    )
