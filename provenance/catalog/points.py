"""Points: which are on record, where their vectors are, and the steps from ``pending`` to ``indexed``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, exists, func, select, update

from provenance.catalog import tables as t
from provenance.catalog.engine import chunked, now, rows_by
from provenance.records import KnownOccurrence, PointFacts, PointRecord, VectorLocation
from provenance.vocabulary import PointState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session


def known_at(
    session: Session, dataset_id: str, collection_key: str, places: Sequence[tuple[str, str]]
) -> list[KnownOccurrence]:
    """What is on record at places (source and member, '' for a plain file) of images that a collection has indexed.

    Oldest first. A file whose bytes changed has one entry for each image it held: take the one whose size, times and
    inode are the file's own.
    """
    files = [source for source, member in places if not member]
    members: dict[str, list[str]] = {}
    for source, member in places:
        if member:
            members.setdefault(source, []).append(member)
    wheres = [and_(t.Occurrence.source.in_(chunk), t.Occurrence.member == "") for chunk in chunked(files)]
    for source, inside in members.items():
        wheres += [and_(t.Occurrence.source == source, t.Occurrence.member.in_(chunk)) for chunk in chunked(inside)]
    return [found for where in wheres for found in _known_where(session, dataset_id, collection_key, where)]


def _known_where(
    session: Session, dataset_id: str, collection_key: str, where: ColumnElement[bool]
) -> list[KnownOccurrence]:
    found = t.Occurrence
    place = (found.source, found.member, found.size_bytes, found.modified_ns, found.changed_ns, found.inode)
    query = (
        select(*place, t.ImageIdentity.image_id, t.Membership.group_key)
        .join(t.ImageIdentity, t.ImageIdentity.image_key == t.Occurrence.image_key)
        .join(t.Point, t.Point.image_key == t.Occurrence.image_key)
        .join(
            t.Membership,
            and_(t.Membership.image_key == t.Occurrence.image_key, t.Membership.dataset_id == t.Occurrence.dataset_id),
        )
        .where(
            t.Occurrence.dataset_id == dataset_id,
            t.Point.collection_key == collection_key,
            t.Point.state == PointState.INDEXED.value,
            t.Membership.is_live(),  # a retired image that is found again is read, and takes part again
            where,
        )
        .order_by(t.Occurrence.occurrence_id)
    )
    return [
        KnownOccurrence(source, member or None, size, modified, changed, int(inode), image_id, group_key)
        for source, member, size, modified, changed, inode, image_id, group_key in session.execute(query)
    ]


def points_after(session: Session, collection_key: str, last: str, limit: int) -> list[PointRecord]:
    """One page of ``Catalog.points_of``: the points whose id comes after ``last``."""
    return _points(session, collection_key, t.Point.point_id > last, t.Point.point_id, limit)


def points_by_id(session: Session, collection_key: str, point_ids: Sequence[str]) -> dict[str, PointRecord]:
    """Points of a collection by point_id; unknown ones are left out."""
    found = _points_among(session, collection_key, t.Point.point_id, sorted(point_ids))
    return {point.point_id: point for point in found}


def point_states(session: Session, collection_key: str, image_ids: Sequence[str]) -> dict[str, PointRecord]:
    """Where the vectors of images stand in a collection, by image_id; those without a point are left out."""
    found = _points_among(session, collection_key, t.ImageIdentity.image_id, image_ids)
    return {point.image_id: point for point in found}


def pending_points(session: Session, collection_key: str) -> list[PointRecord]:
    """Points that were recorded and never acknowledged: an interrupted run left them. By image_id."""
    return _points(session, collection_key, t.Point.state == PointState.PENDING.value, t.ImageIdentity.image_id)


def _points_among(session: Session, collection_key: str, column: Any, values: Sequence[str]) -> Iterator[PointRecord]:
    for chunk in chunked(values):
        yield from _points(session, collection_key, column.in_(chunk), column)


def _points(
    session: Session, collection_key: str, where: ColumnElement[bool], order: Any, limit: int | None = None
) -> list[PointRecord]:
    query = (
        select(t.ImageIdentity.image_id, t.Point.image_key, t.Point.point_id, t.Point.vector_sha256, t.Point.state)
        .join(t.ImageIdentity, t.ImageIdentity.image_key == t.Point.image_key)
        .where(t.Point.collection_key == collection_key, where)
        .order_by(order)
        .limit(limit)
    )
    return [
        PointRecord(image_id, image_key, point_id, vector_sha256, PointState(state))
        for image_id, image_key, point_id, vector_sha256, state in session.execute(query)
    ]


def point_facts(session: Session, collection_key: str, point_ids: Sequence[str]) -> dict[str, PointFacts]:
    """What the index keeps beside each vector, by point_id: image key, group's pseudonym, vector digest."""
    in_dataset = and_(t.Membership.image_key == t.Point.image_key, t.Membership.dataset_id == t.Collection.dataset_id)
    query = (
        select(t.Point.point_id, t.Point.image_key, t.Membership.group_key, t.Point.vector_sha256)
        .join(t.Collection, t.Collection.collection_key == t.Point.collection_key)
        .join(t.Membership, in_dataset)
        .where(t.Point.collection_key == collection_key)
    )
    rows = rows_by(session, query, t.Point.point_id, sorted(point_ids))
    return {point_id: PointFacts(key, group, digest) for point_id, key, group, digest in rows}


def are_indexed(session: Session, places: Iterable[tuple[str, str]]) -> bool:
    """Whether all these points, ``(collection_key, point_id)``, are on record as indexed."""
    by_key: dict[str, set[str]] = {}
    for key, point in places:
        by_key.setdefault(key, set()).add(point)
    indexed = select(func.count()).select_from(t.Point).where(t.Point.state == PointState.INDEXED.value)
    return all(
        session.scalar(indexed.where(t.Point.collection_key == key, t.Point.point_id.in_(chunk))) == len(chunk)
        for key, points in by_key.items()
        for chunk in chunked(sorted(points))
    )


def without_vector(session: Session, dataset_id: str, collection_key: str) -> list[tuple[str, str]]:
    """``(image_id, image_key)`` of the members that no indexed point of a collection stands for.

    In the order in which they were found, so that an archive is read again in its own order.
    """
    indexed = exists().where(
        t.Point.image_key == t.Membership.image_key,
        t.Point.collection_key == collection_key,
        t.Point.state == PointState.INDEXED.value,
    )
    found_first = (
        select(func.min(t.Occurrence.occurrence_id))
        .where(t.Occurrence.image_key == t.Membership.image_key, t.Occurrence.dataset_id == dataset_id)
        .correlate(t.Membership)
        .scalar_subquery()
    )
    query = (
        select(t.ImageIdentity.image_id, t.ImageIdentity.image_key)
        .join(t.Membership, t.Membership.image_key == t.ImageIdentity.image_key)
        .where(t.Membership.dataset_id == dataset_id, t.Membership.is_live(), ~indexed)
        .order_by(found_first, t.ImageIdentity.image_id)
    )
    return [(image_id, image_key) for image_id, image_key in session.execute(query)]


def vectors_elsewhere(
    session: Session, space_id: str, image_ids: Sequence[str], not_collection: str
) -> dict[str, VectorLocation]:
    """Indexed vectors of the same images in the same space in other live collections, by image_id.

    Such a vector can be copied instead of computed again.
    """
    query = (
        select(t.ImageIdentity.image_id, t.Point.collection_key, t.Point.point_id, t.Point.vector_sha256)
        .join(t.Point, t.Point.image_key == t.ImageIdentity.image_key)
        .join(t.Collection, t.Collection.collection_key == t.Point.collection_key)
        .where(
            t.Collection.space_id == space_id,
            t.Collection.dropped_at.is_(None),
            t.Collection.collection_key != not_collection,
            t.Point.state == PointState.INDEXED.value,
        )
        .order_by(t.ImageIdentity.image_id, t.Point.collection_key)
    )
    found: dict[str, VectorLocation] = {}
    for image_id, *location in rows_by(session, query, t.ImageIdentity.image_id, image_ids):
        found.setdefault(image_id, VectorLocation(*location))
    return found


def acknowledge(session: Session, collection_key: str, point_ids: Sequence[str]) -> None:
    """The index has flushed these points: ``pending`` becomes ``indexed``. Other states stay as they are."""
    for pending in _pending(collection_key, point_ids):
        session.execute(update(t.Point).where(pending).values(state=PointState.INDEXED.value, updated_at=now()))


def drop_pending(session: Session, collection_key: str, point_ids: Sequence[str]) -> None:
    """Takes back points that the index never got; their images stay in the dataset without a vector."""
    for pending in _pending(collection_key, point_ids):
        session.execute(delete(t.Point).where(pending))


def _pending(collection_key: str, point_ids: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    state = and_(t.Point.collection_key == collection_key, t.Point.state == PointState.PENDING.value)
    return (and_(state, t.Point.point_id.in_(chunk)) for chunk in chunked(sorted(point_ids)))
