"""Points and their images as those ask who compare the catalog with sources and with the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, exists, func, select

from provenance.catalog import tables as t
from provenance.catalog.engine import chunked
from provenance.records import KnownOccurrence, PointFacts, PointRecord
from provenance.vocabulary import PointState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session


def known_at(
    session: Session, dataset_id: str, collection_key: str, places: Sequence[tuple[str, str]]
) -> list[KnownOccurrence]:
    """What is on record at places, of images that are indexed in a collection; oldest first.

    A file whose bytes changed has one entry for each image it held: take the one whose size, times and inode are
    the file's own.

    Args:
        session: An open session.
        dataset_id: The dataset.
        collection_key: One of its collections.
        places: Pairs of source and member ('' for a plain file).
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
    query = (
        select(
            t.Occurrence.source,
            t.Occurrence.member,
            t.Occurrence.size_bytes,
            t.Occurrence.modified_ns,
            t.Occurrence.changed_ns,
            t.Occurrence.inode,
            t.ImageIdentity.image_id,
            t.Membership.group_key,
        )
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
    return _points(session, collection_key, t.Point.point_id > last, limit)


def points_by_id(session: Session, collection_key: str, point_ids: Sequence[str]) -> dict[str, PointRecord]:
    """Points of a collection by point_id; unknown ones are left out."""
    found: dict[str, PointRecord] = {}
    for chunk in chunked(sorted(point_ids)):
        rows = _points(session, collection_key, t.Point.point_id.in_(chunk), None)
        found.update((row.point_id, row) for row in rows)
    return found


def _points(session: Session, collection_key: str, where: ColumnElement[bool], limit: int | None) -> list[PointRecord]:
    query = (
        select(t.ImageIdentity.image_id, t.Point.image_key, t.Point.point_id, t.Point.vector_sha256, t.Point.state)
        .join(t.ImageIdentity, t.ImageIdentity.image_key == t.Point.image_key)
        .where(t.Point.collection_key == collection_key, where)
        .order_by(t.Point.point_id)
        .limit(limit)
    )
    return [
        PointRecord(image_id, image_key, point_id, vector_sha256, PointState(state))
        for image_id, image_key, point_id, vector_sha256, state in session.execute(query)
    ]


def point_facts(session: Session, collection_key: str, point_ids: Sequence[str]) -> dict[str, PointFacts]:
    """What the index keeps beside each vector, by point_id: image key, group's pseudonym, vector digest."""
    found: dict[str, PointFacts] = {}
    for chunk in chunked(sorted(point_ids)):
        query = (
            select(t.Point.point_id, t.Point.image_key, t.Membership.group_key, t.Point.vector_sha256)
            .join(t.Collection, t.Collection.collection_key == t.Point.collection_key)
            .join(
                t.Membership,
                and_(t.Membership.image_key == t.Point.image_key, t.Membership.dataset_id == t.Collection.dataset_id),
            )
            .where(t.Point.collection_key == collection_key, t.Point.point_id.in_(chunk))
        )
        found.update(
            (point_id, PointFacts(key, group, digest)) for point_id, key, group, digest in session.execute(query)
        )
    return found


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
        .where(t.Membership.dataset_id == dataset_id, t.Membership.forgotten_at.is_(None), ~indexed)
        .order_by(found_first, t.ImageIdentity.image_id)
    )
    return [(image_id, image_key) for image_id, image_key in session.execute(query)]


def image_count(session: Session, dataset_id: str) -> int:
    """How many images are in a dataset, forgotten ones left out."""
    members = select(func.count()).select_from(t.Membership)
    counted = members.where(t.Membership.dataset_id == dataset_id, t.Membership.forgotten_at.is_(None))
    return session.scalar(counted) or 0
