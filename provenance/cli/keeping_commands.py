"""Commands that keep what is on record in order: sets, releases, relocate, db."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.cli.app import JsonOption, app, open_workspace
from provenance.errors import UsageError
from provenance.vocabulary import DatasetKind

if TYPE_CHECKING:
    from provenance.records import DatasetSummary, RejectRecord

sets_app = typer.Typer(
    help="Real sets: list, show, remove; forget an image.", no_args_is_help=True, rich_markup_mode=None
)
releases_app = typer.Typer(help="Releases: list, show, remove.", no_args_is_help=True, rich_markup_mode=None)
db_app = typer.Typer(help="The catalog's schema.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(sets_app, name="sets")
app.add_typer(releases_app, name="releases")
app.add_typer(db_app, name="db")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the set or release.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@sets_app.command("list")
def sets_list(json: JsonOption = False) -> None:
    """All real sets.

    \b
    Example:
      provenance sets list
    """
    _list(DatasetKind.SET, json=json)


@releases_app.command("list")
def releases_list(json: JsonOption = False) -> None:
    """All releases.

    \b
    Example:
      provenance releases list
    """
    _list(DatasetKind.RELEASE, json=json)


def _list(kind: DatasetKind, *, json: bool) -> None:
    from provenance.cli.output import print_json, print_table

    with open_workspace() as workspace:
        summaries = workspace.catalog.datasets(kind)
        backbones = {space.space_id: space.backbone for space in workspace.catalog.spaces()}
    if json:
        print_json([_summary_json(summary, backbones) for summary in summaries])
        return
    columns: tuple[str, ...] = ("name", "images", "occurrences", "rejected", "modality", "spaces", "created at")
    columns += ("membership",) if kind is DatasetKind.SET else ("generator", "sealed")
    print_table(columns, [_summary_row(summary, backbones) for summary in summaries])


def _summary_row(summary: DatasetSummary, backbones: dict[str, str]) -> tuple[Any, ...]:
    dataset = summary.dataset
    row = (
        dataset.name,
        summary.image_count,
        summary.occurrence_count,
        summary.reject_count,
        dataset.modality or None,
        ", ".join(sorted(backbones[s] for s in summary.space_ids)),
        dataset.created_at,
    )
    if dataset.kind is DatasetKind.SET:
        return (*row, dataset.membership)
    return (*row, dataset.generator.name if dataset.generator else None, bool(summary.seals))


def _summary_json(summary: DatasetSummary, backbones: dict[str, str]) -> dict[str, Any]:
    dataset = summary.dataset
    return {
        "name": dataset.name,
        "kind": dataset.kind,
        "dataset_id": dataset.dataset_id,
        "membership": dataset.membership,
        "generator": dataset.generator,
        "modality": dataset.modality,
        "image_count": summary.image_count,
        "occurrence_count": summary.occurrence_count,
        "reject_count": summary.reject_count,
        "spaces": [{"space_id": s, "backbone": backbones[s]} for s in summary.space_ids],
        "seals": [
            {"revision": s.revision, "digest": s.release_digest, "image_count": s.image_count, "sealed_at": s.sealed_at}
            for s in summary.seals
        ],
        "created_at": dataset.created_at,
    }


@sets_app.command("show")
def sets_show(name: NameArgument, json: JsonOption = False) -> None:
    """One set: counts, spaces, runs, rejected inputs.

    \b
    Example:
      provenance sets show cohort-2024
    """
    _show(name, DatasetKind.SET, json=json)


@releases_app.command("show")
def releases_show(name: NameArgument, json: JsonOption = False) -> None:
    """One release: counts, seals, runs, rejected inputs.

    \b
    Example:
      provenance releases show gan-v1
    """
    _show(name, DatasetKind.RELEASE, json=json)


def _show(name: str, kind: DatasetKind, *, json: bool) -> None:
    from provenance.cli.output import print_facts, print_json, print_table, short

    with open_workspace() as workspace:
        dataset = workspace.catalog.dataset(name, kind)
        summary = next(s for s in workspace.catalog.datasets(kind) if s.dataset.dataset_id == dataset.dataset_id)
        runs = workspace.catalog.runs(dataset.dataset_id)
        rejects = workspace.catalog.rejects(dataset.dataset_id)
        backbones = {space.space_id: space.backbone for space in workspace.catalog.spaces()}
    document = _summary_json(summary, backbones)
    if json:
        print_json(document | {"runs": runs, "rejects": [_reject_json(reject) for reject in rejects]})
        return
    generator = dataset.generator
    facts = {
        "membership": dataset.membership,
        "generator": " ".join(filter(None, (generator.name, generator.architecture, generator.version)))
        if generator
        else None,
        "modality": dataset.modality or None,
        "images": f"{summary.image_count:,} ({summary.occurrence_count:,} occurrences)",
        "spaces": ", ".join(f"{backbones[s]} ({s[:18]})" for s in summary.space_ids),
        "seals": ", ".join(
            f"revision {s.revision}: {short(s.release_digest)} ({s.image_count:,})" for s in summary.seals
        ),
        "created at": dataset.created_at,
    }
    print_facts({key: value for key, value in facts.items() if value}, title=f"{kind.value} {dataset.name}")
    print_table(
        ("run", "started at", "state", "counts"),
        [(r.run_id[:8], r.started_at, r.state, ", ".join(f"{k} {v}" for k, v in r.counts.items())) for r in runs],
    )
    if rejects:
        print_table(("rejected", "reason", "detail"), [(r.name, r.reason, r.detail) for r in rejects])


def _reject_json(reject: RejectRecord) -> dict[str, Any]:
    return {
        "name": reject.name,
        "source": reject.source,
        "member": reject.member,
        "reason": reject.reason,
        "detail": reject.detail,
        "rejected_at": reject.rejected_at,
    }


@sets_app.command("remove")
def sets_remove(name: NameArgument, yes: YesOption = False, json: JsonOption = False) -> None:
    """Take a set out of catalog and index.

    Audits that used it keep their verdicts.

    \b
    Example:
      provenance sets remove cohort-2019 --yes
    """
    _remove(name, DatasetKind.SET, yes=yes, json=json)


@releases_app.command("remove")
def releases_remove(name: NameArgument, yes: YesOption = False, json: JsonOption = False) -> None:
    """Take a release out of catalog and index.

    Audits of it keep their verdicts.

    \b
    Example:
      provenance releases remove gan-v0 --yes
    """
    _remove(name, DatasetKind.RELEASE, yes=yes, json=json)


def _remove(name: str, kind: DatasetKind, *, yes: bool, json: bool) -> None:
    from provenance.cli.output import message, print_json
    from provenance.keeping.removal import remove_dataset

    with open_workspace() as workspace:
        dataset = workspace.catalog.dataset(name, kind)
        count = len(workspace.catalog.member_ids(dataset.dataset_id))
        _confirm(f"remove {kind.value} {name} with {count:,} images?", yes=yes)
        remove_dataset(workspace, dataset)
    if json:
        print_json({"removed": name, "kind": kind, "image_count": count})
    else:
        message(f"removed {kind.value} {name} ({count:,} images); its audits keep their verdicts")


@sets_app.command("forget")
def sets_forget(
    image_id: Annotated[str, typer.Argument(metavar="IMAGE_ID", help="Image id, prefix or unique file name.")],
    reason: Annotated[str, typer.Option("--reason", help="Recorded with the fact; name no person here.")] = "",
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Erase one image everywhere, for good.

    Vectors, names, paths and digests go; the history keeps the fact, and a later ingest does not bring it back.

    \b
    Example:
      provenance sets forget 3fa1b2c4 --reason "consent withdrawn"
    """
    from provenance.cli.output import message, print_json
    from provenance.keeping.removal import forget_image

    with open_workspace() as workspace:
        image = workspace.catalog.resolve_image(image_id)
        _confirm(f"forget {image.image_id} for good?", yes=yes)
        forget_image(workspace, image.image_id, reason)
    if json:
        print_json({"forgotten": image.image_id, "image_key": image.image_key})
    else:
        message(f"forgot {image.image_id}; verdicts keep it as {image.image_key}")


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"not done: {question}", hint="there is nobody to ask here; say --yes")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


@app.command()
def relocate(
    old: Annotated[Path, typer.Argument(help="Folder or archive as it is on record.")],
    new: Annotated[Path, typer.Argument(help="Where it is now.")],
    json: JsonOption = False,
) -> None:
    """Tell the catalog that sources were moved.

    \b
    Example:
      provenance relocate /mnt/old/cohort /archive/cohort
    """
    from provenance.cli.output import message, print_json
    from provenance.keeping.removal import relocate as run_relocate

    with open_workspace() as workspace:
        count = run_relocate(workspace, old, new)
    if json:
        print_json({"relocated": count})
    else:
        message(f"{count:,} occurrences now lie under {new.resolve()}")


@db_app.command("upgrade")
def db_upgrade(json: JsonOption = False) -> None:
    """Bring the catalog to this software's schema.

    \b
    Example:
      provenance db upgrade
    """
    from provenance.cli.output import message, print_json

    with open_workspace() as workspace:
        before, after = workspace.upgrade_catalog()
    if json:
        print_json({"before": before, "after": after})
    else:
        message(f"schema {after}" + (" (nothing to do)" if before == after else f" (was {before or 'empty'})"))


@db_app.command("current")
def db_current(json: JsonOption = False) -> None:
    """The catalog's schema, and the one this software needs.

    \b
    Example:
      provenance db current
    """
    from provenance.cli.output import print_facts, print_json

    with open_workspace() as workspace:
        current, head = workspace.catalog_revisions()
        facts = {"current": current, "head": head}
    if json:
        print_json(facts)
    else:
        print_facts(facts)
