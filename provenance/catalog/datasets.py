"""Real sets and releases: making, finding, sealing and removing them."""

from __future__ import annotations

import difflib
import uuid
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, delete, exists, func, insert, literal, or_, select, text, update

from provenance.catalog import tables as t
from provenance.catalog.engine import affected, hold, now, upserting
from provenance.catalog.events import EventKind, add_event
from provenance.catalog.mapping import row_of, value_of
from provenance.errors import ConflictError, NotFoundError
from provenance.records import Dataset, DatasetSummary, Generator, Seal
from provenance.text import forms_of, meant
from provenance.vocabulary import DatasetKind, Membership, RejectReason

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session


def create_set(session: Session, name: str, membership: Membership, modality: str = "") -> Dataset:
    """A real set by name, unique among sets and releases; made if it is new, given back if its facts agree.

    ``modality`` is DICOM's code; '' keeps what is on record.

    Raises:
        ConflictError: If the name is taken by something with other facts; the message tells which.
    """
    return _ensure(session, Dataset(uuid.uuid4().hex, name, DatasetKind.SET, membership, None, modality, now()))


def create_release(session: Session, name: str, generator: Generator, modality: str = "") -> Dataset:
    """A release by name; made if it is new, given back if its facts agree (see ``create_set``).

    Raises:
        ConflictError: If the name is taken by something with other facts; the message tells which.
    """
    return _ensure(session, Dataset(uuid.uuid4().hex, name, DatasetKind.RELEASE, None, generator, modality, now()))


def dataset(session: Session, name: str, kind: DatasetKind | None = None) -> Dataset:
    """The live dataset of that name; ``release/NAME`` and ``set/NAME`` say which of the two is meant.

    Raises:
        NotFoundError: If there is none of that name and kind; the hint names close ones.
    """
    name = meant(name)
    found = _live(session, name)
    if found is not None and kind in (None, found.kind):
        return found
    if found is not None:
        raise NotFoundError(f"{name!r} is a {found.kind}, not a {kind}")
    word, _, rest = name.partition("/")
    spelled = next((each for each in DatasetKind if word in (each.value, f"{each.value}s")), None)
    if rest and spelled is not None and kind in (None, spelled):
        return dataset(session, rest, spelled)
    live = select(t.Dataset.name).where(t.Dataset.removed_at.is_(None)).order_by(t.Dataset.name)
    names = list(session.scalars(live if kind is None else live.where(t.Dataset.kind == kind.value)))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = "did you mean " + " or ".join(repr(word) for word in close) + "?" if close else ""
    raise NotFoundError(
        f"no {kind or 'set or release'} is named {name!r}", hint=hint or f"see `provenance {kind or 'set'}s list`"
    )


def dataset_by_id(session: Session, dataset_id: str) -> Dataset:
    """The dataset of that id, removed or not.

    Raises:
        NotFoundError: If there never was one.
    """
    found = session.execute(select_datasets().where(t.Dataset.dataset_id == dataset_id)).one_or_none()
    if found is None:
        raise NotFoundError(f"no dataset has the id {dataset_id}")
    return to_dataset(*found)


def datasets(session: Session, kind: DatasetKind | None = None) -> list[DatasetSummary]:
    """All live datasets (of a kind) with their counts, by name."""
    query = select_datasets().where(t.Dataset.removed_at.is_(None)).order_by(t.Dataset.name)
    if kind is not None:
        query = query.where(t.Dataset.kind == kind.value)
    images = _count_by_dataset(session, t.Membership, t.Membership.is_live())
    occurrences = _count_by_dataset(session, t.Occurrence)
    rejects = _count_by_dataset(session, t.Reject, t.Reject.reason != RejectReason.SKIPPED.value)
    spaces = _spaces_by_dataset(session)
    seals = _seals_by_dataset(session)
    summaries = []
    for row, generator in session.execute(query):
        key = row.dataset_id
        counts = images[key], occurrences[key], rejects[key]
        summaries.append(DatasetSummary(to_dataset(row, generator), *counts, tuple(spaces[key]), tuple(seals[key])))
    return summaries


def seal(session: Session, dataset_id: str, run_id: str | None, release_digest: str, image_count: int) -> Seal:
    """Seals a release's content as its next revision; the same content as the latest is no new revision.

    Raises:
        NotFoundError: If there is no such release.
        ConflictError: If it is a real set: those only grow.
    """
    locked = session.execute(select(t.Dataset.kind).where(t.Dataset.dataset_id == dataset_id).with_for_update())
    kind = locked.scalar_one_or_none()
    if kind is None:
        raise NotFoundError(f"no dataset has the id {dataset_id}")
    if kind != DatasetKind.RELEASE:
        raise ConflictError("a real set is never sealed: it grows")
    latest = latest_seal(session, dataset_id)
    if latest is not None and latest.release_digest == release_digest:
        return latest
    sealed = Seal(dataset_id, latest.revision + 1 if latest else 1, release_digest, image_count, now(), run_id)
    session.execute(insert(t.ReleaseSeal).values(row_of(t.ReleaseSeal, sealed)))
    detail = {"revision": sealed.revision, "image_count": image_count}
    add_event(session, EventKind.SEALED, dataset_id=dataset_id, run_id=run_id, detail=detail)
    return sealed


def latest_seal(session: Session, dataset_id: str) -> Seal | None:
    """The newest sealed revision; None where the release is still open."""
    newest = select(t.ReleaseSeal).where(t.ReleaseSeal.dataset_id == dataset_id)
    row = session.scalars(newest.order_by(t.ReleaseSeal.revision.desc()).limit(1)).one_or_none()
    return None if row is None else value_of(Seal, row)


def remove_dataset(session: Session, dataset_id: str) -> list[str]:
    """Removes a dataset; its name is free again. Verdicts about its images stay.

    Names, rejects, memberships and points go; identities of its images go where nothing else needs them (another
    dataset, a verdict, a neighbor). May be called again: a second call changes nothing.

    Returns:
        The keys of its collections, for the index to drop.

    Raises:
        NotFoundError: If there never was one.
    """
    hold(session, alone=True)
    found = dataset_by_id(session, dataset_id)
    collections = select(t.Collection.collection_key).where(t.Collection.dataset_id == dataset_id)
    mark = update(t.Dataset).where(t.Dataset.dataset_id == dataset_id, t.Dataset.removed_at.is_(None))
    if affected(session.execute(mark.values(removed_at=now()))):
        _record_removal(session, found)
        _erase_unneeded_identities(session, dataset_id)
        session.execute(delete(t.Point).where(t.Point.collection_key.in_(collections)))
        for table in (t.Occurrence, t.Reject, t.Membership):
            session.execute(delete(table).where(table.dataset_id == dataset_id))
        live = update(t.Collection).where(t.Collection.dataset_id == dataset_id, t.Collection.dropped_at.is_(None))
        session.execute(live.values(dropped_at=now()))
        erase_empty_groups(session)
    return sorted(session.scalars(collections))


def discard_empty(session: Session, dataset_id: str, space_id: str) -> list[str]:
    """Takes back a dataset that never held an image; of any other its collection in a space, if that has no point.

    Returns:
        The keys of the collections that went, for the index to drop.
    """
    hold(session, alone=True)
    if session.scalar(select(t.Membership.image_key).where(t.Membership.dataset_id == dataset_id).limit(1)) is None:
        return remove_dataset(session, dataset_id)
    empty = (
        update(t.Collection)
        .where(t.Collection.dataset_id == dataset_id, t.Collection.space_id == space_id)
        .where(
            t.Collection.dropped_at.is_(None), ~exists().where(t.Point.collection_key == t.Collection.collection_key)
        )
    )
    return list(session.scalars(empty.values(dropped_at=now()).returning(t.Collection.collection_key)))


def regrouped_at(session: Session, dataset_id: str) -> datetime | None:
    """When images of a dataset that were in it already last came into another group, or into one at all."""
    kinds = (EventKind.GROUPED.value, EventKind.REGROUPED.value)
    query = select(func.max(t.Event.at)).where(t.Event.dataset_id == dataset_id, t.Event.kind.in_(kinds))
    return session.scalar(query)


def erase_empty_groups(session: Session) -> None:
    """Deletes the pseudonyms of groups that have no image any more."""
    session.execute(delete(t.Group).where(~exists().where(t.Membership.group_key == t.Group.group_key)))


def select_datasets() -> Select[t.Dataset, t.Generator]:
    """Datasets with their generators: what ``to_dataset`` takes."""
    return select(t.Dataset, t.Generator).outerjoin(t.Generator, t.Dataset.generator_id == t.Generator.generator_id)


def to_dataset(row: t.Dataset, generator: t.Generator | None) -> Dataset:
    """Rows to a value."""
    return value_of(Dataset, row, generator=None if generator is None else value_of(Generator, generator))


def _ensure(session: Session, asked: Dataset) -> Dataset:
    found = _live(session, asked.name)
    if found is None:
        made = upserting(session, t.Dataset).on_conflict_do_nothing(
            index_elements=["name"], index_where=text("removed_at IS NULL")
        )
        generator_id = _generator_id(session, asked.generator) if asked.generator else None
        session.execute(made, row_of(t.Dataset, asked, generator_id=generator_id))
        found = dataset(session, asked.name)  # another process may have been first: what is there says it
        if found.dataset_id == asked.dataset_id:
            add_event(session, EventKind.CREATED, dataset_id=asked.dataset_id)
    _require_agreement(found, asked)
    if asked.modality and not found.modality:
        mine = update(t.Dataset).where(t.Dataset.dataset_id == found.dataset_id)
        session.execute(mine.values(modality=asked.modality))
        return dataset_by_id(session, found.dataset_id)
    return found


def _require_agreement(found: Dataset, asked: Dataset) -> None:
    if found.kind != asked.kind:
        raise ConflictError(f"{found.name!r} is a {found.kind}, not a {asked.kind}", hint="choose another name")
    facts = [("modality", found.modality, asked.modality)] if asked.modality and found.modality else []
    if asked.membership is not None and found.membership is not None:
        facts.append(("membership", found.membership.value, asked.membership.value))
    if asked.generator is not None and found.generator is not None:
        known, new, words = found.generator, asked.generator, ("name", "architecture", "version")
        facts += [(f"generator {word}", getattr(known, word), getattr(new, word)) for word in words]
    differing = [f"{word} is {on_record!r}, not {wanted!r}" for word, on_record, wanted in facts if on_record != wanted]
    if differing:
        raise ConflictError(
            f"the {asked.kind} {found.name!r} is on record with other facts: " + "; ".join(differing),
            hint="choose another name, or give the facts on record",
        )


def _generator_id(session: Session, generator: Generator) -> int:
    values = row_of(t.Generator, generator)
    session.execute(upserting(session, t.Generator).on_conflict_do_nothing(), {**values, "created_at": now()})
    return session.scalars(select(t.Generator.generator_id).filter_by(**values)).one()


def _live(session: Session, name: str) -> Dataset | None:
    forms = forms_of(name)
    query = select_datasets().where(t.Dataset.name.in_(forms), t.Dataset.removed_at.is_(None))
    found = [to_dataset(*row) for row in session.execute(query)]
    return min(found, key=lambda each: forms.index(each.name), default=None)


def _count_by_dataset(session: Session, table: Any, *conditions: Any) -> Counter[str]:
    counted = select(table.dataset_id, func.count()).where(*conditions).group_by(table.dataset_id)
    return Counter(dict(session.execute(counted).all()))


def _spaces_by_dataset(session: Session) -> dict[str, list[str]]:
    spaces: dict[str, list[str]] = defaultdict(list)
    live = select(t.Collection.dataset_id, t.Collection.space_id).where(t.Collection.dropped_at.is_(None))
    for dataset_id, space_id in session.execute(live.order_by(t.Collection.created_at, t.Collection.space_id)):
        spaces[dataset_id].append(space_id)
    return spaces


def _seals_by_dataset(session: Session) -> dict[str, list[Seal]]:
    seals: dict[str, list[Seal]] = defaultdict(list)
    for row in session.scalars(select(t.ReleaseSeal).order_by(t.ReleaseSeal.dataset_id, t.ReleaseSeal.revision)):
        seals[row.dataset_id].append(value_of(Seal, row))
    return seals


def _record_removal(session: Session, found: Dataset) -> None:
    """An event for the dataset and one for each image in it, made inside the database."""
    leaving = select(
        literal(now(), t.Event.at.type),
        literal(EventKind.REMOVED.value),
        t.Membership.image_key,
        t.Membership.dataset_id,
        literal({}, t.Event.detail.type),
    ).where(t.Membership.dataset_id == found.dataset_id, t.Membership.forgotten_at.is_(None))
    columns = ["at", "kind", "image_key", "dataset_id", "detail"]
    number = session.scalar(select(func.count()).select_from(leaving.subquery()))  # an INSERT may not tell its own
    session.execute(insert(t.Event).from_select(columns, leaving))
    detail = {"kind": found.kind.value, "image_count": number}
    add_event(session, EventKind.DATASET_REMOVED, dataset_id=found.dataset_id, detail=detail)


def _erase_unneeded_identities(session: Session, dataset_id: str) -> None:
    key = t.ImageIdentity.image_key
    leaving = select(t.Membership.image_key).where(t.Membership.dataset_id == dataset_id)
    needed = or_(
        exists().where(t.Membership.image_key == key, t.Membership.dataset_id != dataset_id),
        exists().where(t.Verdict.image_key == key),
        exists().where(t.Neighbor.image_key == key),
    )
    unneeded = select(key).where(key.in_(leaving), ~needed)
    for table in (t.PerceptualHash, t.ImageHeader):
        session.execute(delete(table).where(table.image_key.in_(unneeded)))
    session.execute(delete(t.ImageIdentity).where(key.in_(leaving), ~needed))
