"""Questions by image id: show, history, neighbors."""

from __future__ import annotations

import sys
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
    open_workspace,
)
from provenance.cli.output import answer, message, print_facts, print_table, short
from provenance.vocabulary import TOP_K

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.documents.images import Image
    from provenance.service import BackboneChoice, ExplainedImage

_STRONGEST = 5
_WIDEST = 16
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
    from provenance.documents.images import Explanation, Image

    with open_workspace() as workspace:
        view = workspace.show(image_id)
        explained = workspace.explain(view.image.image_id, None if json else message) if explain else None
    document = Image.of(view, explanation=None if explained is None else Explanation.told(explained))
    if answer(document, json=json):
        return
    _print_image(document)
    if explained is not None:
        _print_explanation(explained)


def _print_image(image: Image) -> None:
    print_facts(
        {
            "pixels": f"{image.width} x {image.height}, {image.mode}, {image.file_format}, {image.size_bytes:,} bytes",
            "pixel digest": image.pixel_digest,
            "first seen": image.first_seen_at,
            "spaces": ", ".join(sorted({f"{s.backbone} ({s.space_id[:18]})" for s in image.spaces})) or "none",
        },
        title=image.image_id,
    )
    places = {m.dataset: m for m in image.memberships}
    print_table(
        ("in", "kind", "membership", "group", "name", "source"),
        [
            (
                place.dataset,
                place.kind,
                place.membership,
                short(place.group) if place.group else None,
                o.name,
                o.source if o.member is None else f"{o.source} :: {o.member}",
            )
            for o in image.occurrences
            if (place := places.get(o.dataset))
        ],
    )
    if image.verdicts_about:
        print_table(
            ("audit", "audited at", "release", "as", "label", "score", "threshold"),
            [
                (v.audit_id[:8], v.audited_at, v.release_name, v.subject_role, v.label, v.score, v.threshold)
                for v in image.verdicts_about
            ],
            title="verdicts about it",
        )
    if image.verdicts_citing:
        print_table(
            ("audit", "release", "subject", "label", "rank", "similarity"),
            [
                (v.audit_id[:8], v.release_name, short(v.subject_image_id), v.label, v.rank, v.similarity)
                for v in image.verdicts_citing[:20]
            ],
            title=f"evidence in {len(image.verdicts_citing)} verdicts"
            + (" (the first 20; all with --json)" if len(image.verdicts_citing) > 20 else ""),
        )


def _print_explanation(found: ExplainedImage) -> None:
    """Grid (where the positions form one that fits a line) and the strongest positions with their generated images."""
    explanation = found.explanation
    copy = f", {explanation.copy:.2f} of it for a single close copy" if explanation.copy else ""
    sys.stdout.write(
        f"what speaks for use (audit {found.audit_id[:8]}; {explanation.score_name} {explanation.score:.2f}{copy})\n"
        "position by position, in standard deviations above the mean of all real images there:\n"
    )
    if 0 < explanation.columns <= _WIDEST:
        values = [position.contribution for position in explanation.positions]
        for start in range(0, len(values), explanation.columns):
            row = values[start : start + explanation.columns]
            sys.stdout.write("  " + " ".join(f"{value:+5.1f}" for value in row) + "\n")
    print_table(
        ("left", "top", "right", "bottom", "contribution", "generated", "name", "similarity"),
        [
            (
                *(f"{100 * edge:.0f} %" for edge in (p.box.left, p.box.top, p.box.right, p.box.bottom)),
                f"{p.contribution:+.2f}",
                short(p.generated.image_id),
                found.names.get(p.generated.image_key, ""),
                p.similarity,
            )
            for p in explanation.strongest(_STRONGEST)
        ],
        title=f"strongest {min(_STRONGEST, len(explanation.positions))} of {len(explanation.positions)} positions",
    )


@app.command()
def history(image_id: ImageArgument, json: JsonOption = False) -> None:
    """All that happened to an image, in order.

    \b
    Example:
      provenance history 3fa1b2c4
    """
    from provenance.documents.images import History

    with open_workspace() as workspace:
        image, entries = workspace.history_of(image_id)
    if not answer(History.of(image, history=entries), json=json):
        rows = [(e.at, e.kind, _facts_text(e.facts)) for e in entries]
        print_table(("at", "what", "facts"), rows, title=image.image_id)


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
    top_k: TopKOption = TOP_K,
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
    from provenance.documents.images import Neighbors

    choice: BackboneChoice = {"backbone": backbone, "backbone_file": backbone_file, "weights": weights}
    with open_workspace() as workspace:
        found = workspace.find_neighbors(image, within=dataset, top_k=top_k, space=space, **choice, on_step=message)
    if not answer(Neighbors.of(query=image, neighbors=found), json=json):
        columns = ("rank", "similarity", "image", "name", "in", "kind", "group")
        rows = ((n.rank, n.similarity, short(n.image_id), n.name, n.dataset, n.kind, n.group_key) for n in found)
        print_table(columns, [(*row, group and short(group)) for *row, group in rows])
