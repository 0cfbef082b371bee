"""Commands that keep what is on record in order: sets, releases, relocate, db."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.cli.app import App, JsonOption, app, open_workspace
from provenance.cli.data_commands import ForceOption, RehashOption, SyncOption
from provenance.cli.output import answer, message, print_facts, print_rejects, print_table, short, warn
from provenance.errors import SourceError, UsageError
from provenance.text import shown
from provenance.vocabulary import DatasetKind

if TYPE_CHECKING:
    from provenance.documents.datasets import Dataset, DatasetInFull, SourcesHeld

sets_app = App(
    help="Real sets: list, show, check, regroup, remove; forget an image.", no_args_is_help=True, rich_markup_mode=None
)
releases_app = App(help="Releases: list, show, check, regroup, remove.", no_args_is_help=True, rich_markup_mode=None)
_ROWS = 20
db_app = App(help="The catalog's schema.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(sets_app, name="sets")
app.add_typer(releases_app, name="releases")
app.add_typer(db_app, name="db")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the set or release.")]
AllOption = Annotated[bool, typer.Option("--force", help="Retire also where no image is left.")]
RegroupOption = Annotated[
    str,
    typer.Option("--group-from", help="Group of each image: a CSV with columns name,group, or a regex on the name."),
]
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
    from provenance.documents.datasets import Dataset

    with open_workspace() as workspace:
        documents = [Dataset.of(view) for view in workspace.list_datasets(kind)]
    if not answer(documents, json=json):
        columns = ("membership",) if kind is DatasetKind.SET else ("generator", "sealed")
        common = ("name", "images", "files", "rejected", "modality", "spaces")
        print_table((*common, *columns), [_row(document) for document in documents], names=("name",))


def _row(dataset: Dataset) -> tuple[Any, ...]:
    counts = (dataset.image_count, dataset.occurrence_count, dataset.reject_count)
    spaces = ", ".join(sorted(space.backbone for space in dataset.spaces))
    row = (dataset.name, *counts, dataset.modality or None, spaces)
    if dataset.kind is DatasetKind.SET:
        return (*row, dataset.membership)
    return (*row, dataset.generator.name if dataset.generator else None, bool(dataset.seals))


@sets_app.command("show")
def sets_show(name: NameArgument, json: JsonOption = False) -> None:
    """One set: counts, groups, spaces, runs, rejected inputs.

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
    from provenance.documents.datasets import DatasetInFull

    with open_workspace() as workspace:
        dataset = DatasetInFull.of(workspace.show_dataset(name, kind))
    if answer(dataset, json=json):
        return
    made_by = dataset.generator
    facts = {
        "membership": dataset.membership,
        "generator": " ".join(filter(None, (made_by.name, made_by.architecture, made_by.version))) if made_by else None,
        "modality": dataset.modality or None,
        "images": f"{dataset.image_count:,} ({dataset.occurrence_count:,} occurrences)",
        "groups": _groups(dataset),
        "retired": f"{dataset.retired_count:,} images that no source holds" if dataset.retired_count else None,
        "spaces": ", ".join(f"{space.backbone} ({space.space_id[:18]})" for space in dataset.spaces),
        "seals": ", ".join(f"revision {s.revision}: {short(s.digest)} ({s.image_count:,})" for s in dataset.seals),
        "created at": dataset.created_at,
    }
    print_facts({key: value for key, value in facts.items() if value}, title=f"{kind.value} {dataset.name}")
    print_table(
        ("run", "started at", "state", "counts"),
        [
            (r.run_id[:8], r.started_at, r.state, ", ".join(f"{k} {v}" for k, v in r.counts.items()))
            for r in dataset.runs
        ],
    )
    print_rejects([(r.name, r.reason, r.detail) for r in dataset.rejects])


@sets_app.command("check")
def sets_check(
    name: NameArgument,
    rehash: RehashOption = False,
    sync: SyncOption = False,
    force: AllOption = False,
    json: JsonOption = False,
) -> None:
    """Look whether a set's files still hold its images.

    Lists images whose files were overwritten or deleted since; exit code 3 if there are any. With --sync these take
    part in no audit from now on; audits on record stay as they are, and what is ingested again takes part again.

    \b
    Example:
      provenance sets check cohort-2024
      provenance sets check cohort-2024 --sync
    """
    _check(name, DatasetKind.SET, rehash=rehash, sync=sync, force=force, json=json)


@releases_app.command("check")
def releases_check(name: NameArgument, rehash: RehashOption = False, json: JsonOption = False) -> None:
    """Look whether a release's files still hold its images.

    Lists images whose files were overwritten or deleted since; exit code 3 if there are any.

    \b
    Example:
      provenance releases check gan-v1
    """
    _check(name, DatasetKind.RELEASE, rehash=rehash, json=json)


def _check(name: str, kind: DatasetKind, *, json: bool, **options: bool) -> None:
    from provenance.documents.datasets import SourcesHeld

    with open_workspace() as workspace:
        report = workspace.check_sources(name, kind=kind, **options)
    found = SourcesHeld.of(report.held, name=report.dataset.name, kind=kind, retired=report.retired)
    if not answer(found, json=json):
        _print_check(found)
    if report.left:
        retires = "; `provenance sets check NAME --sync` retires the others" if kind is DatasetKind.SET else ""
        hint = f"where files were moved: provenance relocate OLD NEW{retires}"
        raise SourceError(f"{report.left:,} of {found.images:,} images are no longer where they were found", hint=hint)


def _print_check(found: SourcesHeld) -> None:
    message(f"{found.kind.value} {found.name}: {found.images:,} images, {found.places:,} places looked at")
    if found.lost:
        rows = [(short(one.image_id), one.name, one.problem.value, one.source) for one in found.lost[:_ROWS]]
        more = f" (the first {_ROWS}; all with --json)" if len(found.lost) > _ROWS else ""
        title = f"{len(found.lost):,} images that no place holds{more}"
        print_table(("image", "name", "problem", "where"), rows, title=title)
    if found.retired:
        message(f"{found.retired:,} retired: they take part in no audit from now on; audits on record stay")


def _groups(dataset: DatasetInFull) -> str | None:
    if not dataset.group_count:
        return "none: every image counts by itself" if dataset.kind is DatasetKind.SET else None
    return (
        f"{dataset.group_count:,}, the largest of {dataset.largest_group_count:,} images; "
        f"{dataset.ungrouped_count:,} images in none"
    )


@sets_app.command("regroup")
def sets_regroup(
    name: NameArgument, group_from: RegroupOption, force: ForceOption = False, json: JsonOption = False
) -> None:
    """Give the images of a set other groups.

    By their names on record: no file is read. Audits on record keep what they said.

    \b
    Example:
      provenance sets regroup cohort-2024 --group-from patients.csv
    """
    _regroup(name, DatasetKind.SET, group_from, force=force, json=json)


@releases_app.command("regroup")
def releases_regroup(
    name: NameArgument, group_from: RegroupOption, force: ForceOption = False, json: JsonOption = False
) -> None:
    """Give the images of a release other groups.

    By their names on record: no file is read. Audits on record keep what they said.

    \b
    Example:
      provenance releases regroup gan-v1 --group-from '(P[0-9]+)_'
    """
    _regroup(name, DatasetKind.RELEASE, group_from, force=force, json=json)


def _regroup(name: str, kind: DatasetKind, group_from: str, *, force: bool, json: bool) -> None:
    from provenance.documents.datasets import Regrouping

    with open_workspace() as workspace:
        report = workspace.regroup(name, group_from, force=force, kind=kind)
    if not answer(Regrouping.of(report), json=json):
        message(str(report.matches), f"{kind.value} {report.name}: {report.changed:,} images changed their group")


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
    from provenance.documents.datasets import Removal

    def confirm(count: int) -> None:
        _confirm(f"remove {kind.value} {name} with {count:,} images?", yes=yes)

    with open_workspace() as workspace:
        count = workspace.remove(name, kind, confirm)
    if not answer(Removal(removed=name, kind=kind, image_count=count), json=json):
        message(f"removed {kind.value} {name} ({count:,} images); its audits keep their verdicts")


@sets_app.command("forget")
def sets_forget(
    image_id: Annotated[str, typer.Argument(metavar="IMAGE_ID", help="Image id, prefix or unique file name.")],
    reason: Annotated[str, typer.Option("--reason", help="Recorded with the fact; name no person here.")] = "",
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Erase one image everywhere, for good.

    Vectors, names, paths and digests go; the history keeps the fact, and a later ingest does not bring it back. A
    server's collection is written anew without its vectors. What is certain is said, and where bytes may remain.

    \b
    Example:
      provenance sets forget 3fa1b2c4 --reason "consent withdrawn"
    """
    from provenance.documents.datasets import Forgotten

    def confirm(found: str) -> None:
        _confirm(f"forget {found} for good?", yes=yes)

    with open_workspace() as workspace:
        found = workspace.forget_image(image_id, reason, confirm)
        if workspace.is_erasing:
            warn(
                "the catalog is in use elsewhere, and its files still hold what it said of the image: "
                "the next command that finds it alone overwrites that"
            )
    image, said = found.image, {"certain": found.certain, "may_remain": found.may_remain}
    if not answer(Forgotten(forgotten=image.image_id, image_key=image.image_key, **said), json=json):
        message(f"forgot {image.image_id}; verdicts keep it as {image.image_key}")
        message(*(f"certain: {words}" for words in found.certain), *(f"may remain: {w}" for w in found.may_remain))


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"not done: {question}", hint="there is nobody to ask here; say --yes")
    if not typer.confirm(shown(question), err=True):
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
    from provenance.documents.datasets import Relocation

    with open_workspace() as workspace:
        count = workspace.relocate(old, new)
    if not answer(Relocation(relocated=count), json=json):
        message(f"{count:,} occurrences now lie under {new.resolve()}")


@db_app.command("upgrade")
def db_upgrade(json: JsonOption = False) -> None:
    """Bring the catalog to this software's schema.

    \b
    Example:
      provenance db upgrade
    """
    from provenance.documents.datasets import Upgrade

    with open_workspace() as workspace:
        before, after = workspace.upgrade_catalog()
    if not answer(Upgrade(before=before, after=after), json=json):
        message(f"schema {after}" + (" (nothing to do)" if before == after else f" (was {before or 'empty'})"))


@db_app.command("current")
def db_current(json: JsonOption = False) -> None:
    """The catalog's schema, and the one this software needs.

    \b
    Example:
      provenance db current
    """
    from provenance.documents.datasets import Revisions

    with open_workspace() as workspace:
        current, head = workspace.catalog_revisions()
    if not answer(Revisions(current=current, head=head), json=json):
        print_facts({"current": current, "head": head})
