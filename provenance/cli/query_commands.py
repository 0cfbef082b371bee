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
    TrustOption,
    WeightsOption,
    app,
    open_workspace,
)
from provenance.cli.output import answer, message, print_facts, print_table, short
from provenance.text import meant, pasted
from provenance.vocabulary import TOP_K, Role, Subject, counted, covered

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from provenance.documents.images import AnswerOnImage, CopyOfImage, Image, PlaceOfImage, SourceOfCopy
    from provenance.service import AuditRecord, BackboneChoice, ExplainedImage, ImageView, RecordedAudit, Workspace

_STRONGEST = 5
_COPIES = 20
_VERDICTS = 5
_WIDEST = 16
_LEAST_SHOWN = 0.001
ImageArgument = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="Image id, 8 or more of its hex digits, or a unique name, also without extension, or as SET/NAME.",
    ),
]


@app.command()
def show(
    image: ImageArgument,
    audit: Annotated[
        str | None,
        typer.Option(
            "--audit",
            help="What this audit (id) says of it.",
            show_default="the latest that it had part in, of several answers before one",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also which positions speak for its use, where scores are local (seconds)."),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Every verdict and copy that names it, not the first few.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Everything on record about an image.

    What an audit says of it: label, p, q, and of copies the source, with the places of both files. Where it came from,
    its sets and spaces, verdicts about it and verdicts that cite it. With --explain, where the verdict of that audit is
    by a local score, which positions and which generated images speak for its use, from the stored vectors.

    \b
    Example:
      provenance show 3fa1b2c4
      provenance show generated_0001.png --json
      provenance show cohort-2024/patient-7/slice-12 --audit 1f3c9a2b
    """
    from provenance.documents.images import Image

    with open_workspace() as workspace:
        view = workspace.show(image, audit)
        say, told = None if json else message, None if view.audit is None else view.audit.audit
        explained = workspace.explain(view.image.image_id, say, audit=told) if explain else None
        _tell_replaced(workspace, view.image.image_id)
    document = Image.told(view, explained)
    if answer(document, json=json):
        return
    if view.audit is not None:
        _print_answers(document, view.audit, view, None if everything else _COPIES)
    _print_image(document, None if everything else _VERDICTS)
    if explained is not None:
        _print_explanation(explained)
    elif not explain and any(each.by_position for each in view.answers):
        words = ["provenance", "show", meant(image), *(["--audit", audit] if audit else []), "--explain"]
        message(f"next: {pasted(words)}  (which positions speak for its use)")


def _print_answers(image: Image, found: RecordedAudit, view: ImageView, most: int | None) -> None:
    """What an audit says of an image, its sources and its copies, and where the files of all of them are."""
    mine = {each.dataset.dataset_id for each in view.memberships}
    roles = {row.role for row in found.datasets if row.dataset_id in mine}
    told = {
        each.answer or each.rule: _words_of(each, about.audit, roles)
        for each, about in zip(image.answers, view.answers, strict=True)
    }
    outcome = f": {found.audit.findings.outcome.replace('_', ' ')}" if found.audit.findings.outcome else ""
    print_facts(told, title=f"audit {found.audit.audit_id[:8]} of {found.release_name}{outcome}")
    for each in image.answers:
        _print_agreeing(
            "what it agrees with: what is established first, wholes by evidence, regions by share; what is not "
            "established is no finding",
            [(one.rank, one) for one in each.sources],
        )
        _print_agreeing(
            f"generated images that agree with it, established ones first{_of_all(len(each.copies), most)}",
            list(enumerate(each.copies[:most], start=1)),
        )
    where = {"this image": image.places}
    where |= {f"source {one.rank}": one.places for each in image.answers for one in each.sources}
    where |= {f"generated {n}": one.places for each in image.answers for n, one in enumerate(each.copies[:most], 1)}
    if len(where) > 1:
        print_facts({name: _place(places) for name, places in where.items()}, title="files to look at")


def _words_of(found: AnswerOnImage, audit: AuditRecord, roles: Collection[Role]) -> str:
    bet = _bet_of(found, audit)
    calibrates = "" if found.calibration_score is None else f"calibrates, with the score {found.calibration_score:g}"
    if found.label is None:
        return f"{calibrates}{bet}" if calibrates else _without_verdict(len(found.copies), audit.subject, roles)
    figures = {"score": found.score, "p": found.p_value, "q": found.q_value}
    known = [f"{name} {value:.3g}" for name, value in figures.items() if value is not None]
    said = ", ".join([found.label.replace("_", " "), *known])
    return f"{said}{f'; as a real image it {calibrates}' if calibrates else ''}{bet}"


def _without_verdict(copies: int, subject: Subject, roles: Collection[Role]) -> str:
    if subject is Subject.REAL and set(roles) == {Role.RELEASE}:
        return "is about real images"
    if subject is not Subject.GENERATED or not roles or Role.RELEASE in roles:
        return "has no verdict on it"
    named = f"; {copies:,} of these {'names' if copies == 1 else 'name'} it as a source, below" if copies else ""
    return f"is judged of generated images only{named}"


def _bet_of(found: AnswerOnImage, audit: AuditRecord) -> str:
    """Its group's answer, and the best guess with the prior that it takes as given."""
    said = ""
    if found.group_label is not None:
        said += f"; its group: {found.group_label.replace('_', ' ')}, p {found.group_p_value:.3g}, q "
        said += f"{found.group_q_value:.3g}"
    if found.probability is not None and found.best_guess is not None:
        said += f"; best guess, a bet: {found.best_guess.replace('_', ' ')}, probability "
        said += _probability(found.probability)
        figures = audit.findings.calibrated
        prior = getattr(figures and figures.guess, "prior", None)
        said += "" if prior is None else f" at prior {prior:g}"
    return said


def _probability(value: float) -> str:
    """Three digits; never a certainty that it is not."""
    if min(value, 1 - value) < _LEAST_SHOWN:
        return f"> {1 - _LEAST_SHOWN:g}" if value > _LEAST_SHOWN else f"< {_LEAST_SHOWN:g}"
    return f"{value:.3g}"


def _print_agreeing(title: str, images: Sequence[tuple[int, SourceOfCopy | CopyOfImage]]) -> None:
    if images:
        own = ("transformation",) if hasattr(images[0][1], "transformation") else ()
        print_table(
            ("no", "image", "what", "agreement", "share", "established by", *own),
            [
                (
                    number,
                    each.name or short(each.image_id),
                    "a part" if each.part else covered(each.share) or "the whole",
                    "-" if each.agreement is None else f"{each.agreement:.3f}",
                    f"{each.share:.2f}",
                    each.established_by,
                    *(getattr(each, name) for name in own),
                )
                for number, each in images
            ],
            title=title,
            names=("image", "transformation"),
        )


def _place(places: Sequence[PlaceOfImage]) -> str:
    """The place of a file as its archive and what in it."""
    if not places:
        return "no file on record"
    first = places[0]
    return first.source if first.member is None else f"{first.source} :: {first.member}"


def _of_all(count: int, most: int | None) -> str:
    return "" if most is None or count <= most else f" (the first {most} of {count:,}; --all prints the others)"


def _print_image(image: Image, most: int | None) -> None:
    from provenance.documents.images import PlaceOfImage

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
                f"{place.membership or place.kind} (retired)" if place.retired_at else place.membership,
                short(place.group) if place.group else None,
                o.name,
                _place([PlaceOfImage(source=o.source, member=o.member)]),
            )
            for o in image.occurrences
            if (place := places.get(o.dataset))
        ],
    )
    if image.verdicts_about:
        print_table(
            ("audit", "audited at", "release", "as", "label", "score", "threshold", "p", "q"),
            [
                (
                    *(v.audit_id[:8], v.audited_at, v.release_name, v.subject_role, v.label, v.score, v.threshold),
                    *(None if value is None else f"{value:.3g}" for value in (v.p_value, v.q_value)),
                )
                for v in image.verdicts_about[::-1][:most]
            ],
            title=f"verdicts about it, the newest first{_of_all(len(image.verdicts_about), most)}",
            names=("release",),
        )
    if image.verdicts_citing:
        print_table(
            ("audit", "release", "subject", "label", "rank", "similarity"),
            [
                (v.audit_id[:8], v.release_name, short(v.subject_image_id), v.label, v.rank, v.similarity)
                for v in image.verdicts_citing[:most]
            ],
            title=f"evidence in {counted(len(image.verdicts_citing), 'verdict')}"
            + _of_all(len(image.verdicts_citing), most),
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
def history(image: ImageArgument, json: JsonOption = False) -> None:
    """All that happened to an image, in order.

    \b
    Example:
      provenance history 3fa1b2c4
    """
    from provenance.documents.images import History

    with open_workspace() as workspace:
        found, entries = workspace.history_of(image)
        _tell_replaced(workspace, found.image_id)
    if not answer(History.of(found, history=entries), json=json):
        rows = [(e.at, e.kind, _facts_text(e.facts)) for e in entries]
        print_table(("at", "what", "facts"), rows, title=found.image_id)


def _tell_replaced(workspace: Workspace, image_id: str) -> None:
    """Says what a name meant before: its verdicts are of other bytes than the file has now."""
    for one in workspace.earlier_named(image_id):
        message(
            f"{one.dataset_name}/{one.name} was another image until {one.retired_at:%Y-%m-%d %H:%M}Z, "
            f"when its file was found overwritten: provenance show {short(one.image_id)}"
        )


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
    trust_backbone_file: TrustOption = False,
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
    choice |= {"trust_backbone_file": trust_backbone_file}
    with open_workspace() as workspace:
        found = workspace.find_neighbors(image, within=dataset, top_k=top_k, space=space, **choice, on_step=message)
    if not answer(Neighbors.of(query=image, neighbors=found), json=json):
        columns = ("rank", "similarity", "image", "name", "in", "kind", "group")
        rows = ((n.rank, n.similarity, short(n.image_id), n.name, n.dataset, n.kind, n.group_key) for n in found)
        print_table(columns, [(*row, group and short(group)) for *row, group in rows])
