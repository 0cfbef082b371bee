"""The first step in the order of writes: a batch of images becomes rows, its points ``pending``."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, case, delete, select, update

from provenance.catalog import tables as t
from provenance.catalog.datasets import dataset_by_id, erase_empty_groups, latest_seal
from provenance.catalog.engine import chunked, hold, now, rows_by, upserting
from provenance.catalog.events import EventKind, add_image_events
from provenance.catalog.images import lookup
from provenance.catalog.mapping import row_of
from provenance.catalog.pseudonyms import pseudonyms, suppressed
from provenance.errors import ConflictError, NotFoundError
from provenance.text import name_key
from provenance.vocabulary import PointState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.orm import Session

    from provenance.records import NewImage
    from provenance.vocabulary import ImageFacts, SourceItem


def record_batch(
    session: Session, dataset_id: str, collection_key: str, run_id: str, images: Sequence[NewImage]
) -> None:
    """Records a batch of images of a dataset, wholly or not at all.

    Identities, names, memberships (with an ``added`` event for each new one), groups, and for every image with a
    ``vector_sha256`` a ``pending`` point. What is on record already stays. Rejects that earlier runs left for the
    same inputs are deleted: they read now.

    Raises:
        NotFoundError: If the dataset is removed or the collection is not its own.
        ConflictError: If an image was forgotten, or is on record in another group.
    """
    hold(session, alone=False)
    _require_live(session, dataset_id, collection_key)
    # in order of image_id: two processes that record the same images can't lock each other out
    batch = sorted(_merged(images).values(), key=lambda image: image.facts.image_id)
    gone = suppressed(session, [(image.facts.image_id, image.facts.pixel_digest) for image in batch])
    if gone:
        raise ConflictError(f"image {min(gone)} was forgotten and must not come back", hint="leave it out")
    keys = _ensure_images(session, [image.facts for image in batch])
    groups = _ensure_groups(session, {image.group for image in batch if image.group is not None})
    _ensure_memberships(session, dataset_id, run_id, batch, keys, groups)
    _record_occurrences(session, dataset_id, run_id, batch, keys)
    _clear_rejects(session, dataset_id, run_id, batch)
    _record_headers(session, batch, keys)
    _record_points(session, collection_key, batch, keys)


def base_name(name: str) -> str:
    """The last part of a name, as names are compared."""
    return name_key(name).rpartition("/")[2]


def _require_live(session: Session, dataset_id: str, collection_key: str) -> None:
    query = select(t.Collection.collection_key).where(
        t.Collection.collection_key == collection_key,
        t.Collection.dataset_id == dataset_id,
        t.Collection.dropped_at.is_(None),
    )
    if session.scalar(query) is None:
        raise NotFoundError(
            f"dataset {dataset_id} has no live collection {collection_key}",
            hint="it was removed meanwhile; ingest again",
        )


def _merged(images: Sequence[NewImage]) -> dict[str, NewImage]:
    """One entry an image: the same bytes may come twice in a batch, under different names."""
    merged: dict[str, NewImage] = {}
    for image in images:
        image_id = image.facts.image_id
        first = merged.get(image_id)
        if first is None:
            merged[image_id] = image
            continue
        if first.group is not None and image.group is not None and first.group != image.group:
            raise ConflictError(
                f"image {image_id} comes in two groups at once", hint="one image belongs to one patient or study"
            )
        group = first.group if first.group is not None else image.group
        digest = first.vector_sha256 or image.vector_sha256
        merged[image_id] = replace(first, items=[*first.items, *image.items], group=group, vector_sha256=digest)
    return merged


def _ensure_images(session: Session, facts: Sequence[ImageFacts]) -> dict[str, str]:
    known = lookup(session, [one.image_id for one in facts])
    new = {one.image_id: (uuid.uuid4().hex, one) for one in facts if one.image_id not in known}
    if not new:
        return known
    moment = now()
    seen = [{"image_key": key, "first_seen_at": moment} for key, _ in new.values()]
    session.execute(upserting(session, t.Image), seen)
    identities = [row_of(t.ImageIdentity, one, image_key=key) for key, one in new.values()]
    session.execute(upserting(session, t.ImageIdentity).on_conflict_do_nothing(index_elements=["image_id"]), identities)
    recorded = lookup(session, list(new))
    # another process was first with these: its keys count, ours are dropped
    late = [key for image_id, (key, _) in new.items() if recorded[image_id] != key]
    if late:
        session.execute(delete(t.Image).where(t.Image.image_key.in_(late)))
    return known | recorded


def _ensure_groups(session: Session, raw_keys: set[str]) -> dict[str, str]:
    """Pseudonyms by raw group key."""
    groups = pseudonyms(session, raw_keys)
    if groups:
        moment = now()
        rows = [{"group_key": key, "created_at": moment} for key in sorted(groups.values())]
        session.execute(upserting(session, t.Group).on_conflict_do_nothing(), rows)
    return groups


def _ensure_memberships(
    session: Session,
    dataset_id: str,
    run_id: str,
    batch: Sequence[NewImage],
    keys: Mapping[str, str],
    groups: Mapping[str, str],
) -> None:
    same = {"dataset_id": dataset_id, "added_at": now(), "run_id": run_id}
    wanted = {keys[image.facts.image_id]: None if image.group is None else groups[image.group] for image in batch}
    added: list[str] = []
    for chunk in chunked(list(wanted)):
        rows = [same | {"image_key": key, "group_key": wanted[key]} for key in chunk]
        statement = upserting(session, t.Membership).on_conflict_do_nothing().returning(t.Membership.image_key)
        added.extend(session.scalars(statement, rows))
    add_image_events(session, EventKind.ADDED, added, dataset_id, run_id)
    fresh = set(added)
    _take_back(session, dataset_id, run_id, [key for key in wanted if key not in fresh])
    older = {key: group for key, group in wanted.items() if group is not None and key not in fresh}
    _agree_on_groups(session, dataset_id, run_id, older, {keys[image.facts.image_id]: image for image in batch})


def _take_back(session: Session, dataset_id: str, run_id: str, image_keys: Sequence[str]) -> None:
    """Images that were retired and are found again take part again."""
    retired = (t.Membership.dataset_id == dataset_id, t.Membership.retired_at.is_not(None))
    for chunk in chunked(image_keys):
        found = update(t.Membership).where(*retired, t.Membership.image_key.in_(chunk)).values(retired_at=None)
        keys = session.scalars(found.returning(t.Membership.image_key)).all()
        add_image_events(session, EventKind.RETURNED, sorted(keys), dataset_id, run_id)


def retire(session: Session, dataset_id: str, run_id: str, image_keys: Sequence[str]) -> int:
    """Takes images out of what a dataset is from now on; vectors, names and what audits said of them stay.

    Returns:
        How many were not retired before.

    Raises:
        ConflictError: If it is a sealed release, whose content does not change.
    """
    hold(session, alone=True)
    if latest_seal(session, dataset_id) is not None:
        raise ConflictError(
            f"release {dataset_by_id(session, dataset_id).name} is sealed: its content does not change",
            hint="ingest what there is now under another name: --release NAME",
        )
    retired: list[str] = []
    for chunk in chunked(image_keys):
        live = (t.Membership.dataset_id == dataset_id, t.Membership.image_key.in_(chunk), t.Membership.is_live())
        statement = update(t.Membership).where(*live).values(retired_at=now()).returning(t.Membership.image_key)
        retired += session.scalars(statement)
    add_image_events(session, EventKind.RETIRED, sorted(retired), dataset_id, run_id)
    return len(retired)


def _agree_on_groups(
    session: Session, dataset_id: str, run_id: str, wanted: Mapping[str, str], images: Mapping[str, NewImage]
) -> None:
    """Gives members without a group the one they come with now; refuses another one."""
    grouped: list[str] = []
    query = select(t.Membership.image_key, t.Membership.group_key).where(t.Membership.dataset_id == dataset_id)
    for key, on_record in rows_by(session, query, t.Membership.image_key, list(wanted)):
        if on_record is None:
            grouped.append(key)
        elif on_record != wanted[key]:
            raise ConflictError(
                f"image {images[key].facts.image_id} is on record in group {on_record}, not in {wanted[key]}",
                hint="one image belongs to one patient or study; check how groups are read. To give all images of it "
                "other groups: provenance sets regroup NAME --group-from ...",
            )
    _set_groups(session, dataset_id, {key: wanted[key] for key in grouped})
    add_image_events(session, EventKind.GROUPED, grouped, dataset_id, run_id)


def _set_groups(session: Session, dataset_id: str, groups: Mapping[str, str | None]) -> None:
    statement = (
        update(t.Membership.__table__)  # type: ignore[arg-type]
        .where(t.Membership.dataset_id == dataset_id, t.Membership.image_key == bindparam("key"))
        .values(group_key=bindparam("group"))
    )
    if groups:
        session.connection().execute(statement, [{"key": key, "group": group} for key, group in groups.items()])


def regroup(session: Session, dataset_id: str, run_id: str, groups: Mapping[str, str | None]) -> int:
    """Puts images of a dataset, by image_key, into other groups by their raw keys (``None``: into none).

    What audits recorded stays as it is.

    Returns:
        How many images are in another group than before.
    """
    hold(session, alone=True)
    wanted = _ensure_groups(session, {group for group in groups.values() if group is not None})
    query = select(t.Membership.image_key, t.Membership.group_key).where(t.Membership.dataset_id == dataset_id)
    changed = {}
    for key, before in rows_by(session, query, t.Membership.image_key, list(groups)):
        raw = groups[key]
        if (group := None if raw is None else wanted[raw]) != before:
            changed[key] = group
    _set_groups(session, dataset_id, changed)
    add_image_events(session, EventKind.REGROUPED, sorted(changed), dataset_id, run_id)
    erase_empty_groups(session)
    return len(changed)


def _record_occurrences(
    session: Session, dataset_id: str, run_id: str, batch: Sequence[NewImage], keys: Mapping[str, str]
) -> None:
    same = {"dataset_id": dataset_id, "found_at": now(), "run_id": run_id}
    rows = {
        (item.source, item.member or "", image.facts.image_id): row_of(t.Occurrence, item, **same)
        | {"image_key": keys[image.facts.image_id], "base_name": base_name(item.name)}
        | {"member": item.member or "", "inode": str(item.inode)}
        for image in batch
        for item in image.items
    }
    if not rows:
        return
    statement = upserting(session, t.Occurrence)
    seen_again = ("name", "base_name", "size_bytes", "modified_ns", "changed_ns", "inode")
    statement = statement.on_conflict_do_update(
        index_elements=["dataset_id", "source", "member", "image_key"],
        set_={word: statement.excluded[word] for word in seen_again},
    )
    session.execute(statement, [rows[key] for key in sorted(rows)])


def _record_headers(session: Session, batch: Sequence[NewImage], keys: Mapping[str, str]) -> None:
    headers = {keys[image.facts.image_id]: image.header for image in batch if image.header is not None}
    if not headers:
        return
    raw = {key: f"series:{header.series}" if header.series else "" for key, header in headers.items()}
    hashes = pseudonyms(session, set(filter(None, raw.values()))) | {"": ""}
    rows = [
        row_of(t.ImageHeader, header.technical, image_key=key, series_key=hashes[raw[key]])
        for key, header in headers.items()
    ]
    session.execute(upserting(session, t.ImageHeader).on_conflict_do_nothing(), rows)


def _clear_rejects(session: Session, dataset_id: str, run_id: str, batch: Sequence[NewImage]) -> None:
    """What this very run rejected stays: an archive may hold a good and a broken member under one name.

    A folder that could not be listed and an archive that was damaged are no longer so when something in them reads.
    """
    if session.scalar(select(t.Reject.reject_id).where(t.Reject.dataset_id == dataset_id).limit(1)) is None:
        return
    statement = delete(t.Reject.__table__).where(  # type: ignore[arg-type]
        t.Reject.dataset_id == dataset_id,
        t.Reject.run_id != run_id,
        t.Reject.source == bindparam("place"),
        t.Reject.member == bindparam("inner"),
    )
    places = {place for image in batch for item in image.items for place in _places(item)}
    if places:
        session.connection().execute(statement, [{"place": place, "inner": inner} for place, inner in sorted(places)])


def _places(item: SourceItem) -> Iterator[tuple[str, str]]:
    """Where a reject may stand that an item takes back by being read: its own, its archive's, its folders'."""
    yield item.source, item.member or ""
    yield item.source, ""
    for folder in PurePath(item.source).parents:
        yield str(folder), ""


def _record_points(session: Session, collection_key: str, batch: Sequence[NewImage], keys: Mapping[str, str]) -> None:
    common = {"collection_key": collection_key, "state": PointState.PENDING.value, "updated_at": now()}
    rows = [
        row_of(t.Point, image, image_key=keys[image.facts.image_id], **common)
        for image in batch
        if image.vector_sha256 is not None
    ]
    if not rows:
        return
    statement = upserting(session, t.Point)
    again: dict[str, Any] = {word: statement.excluded[word] for word in ("point_id", "vector_sha256", "updated_at")}
    # another process was faster with the very same vector: what it acknowledged stays acknowledged
    same = and_(t.Point.state == PointState.INDEXED.value, t.Point.vector_sha256 == statement.excluded.vector_sha256)
    again["state"] = case((same, PointState.INDEXED.value), else_=statement.excluded.state)
    keys_of_point = ["collection_key", "image_key"]
    session.execute(statement.on_conflict_do_update(index_elements=keys_of_point, set_=again), rows)
