"""What is known of images and their points, asked by many at once: what ingests and audits read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from provenance.catalog import tables as t
from provenance.catalog.engine import chunked, now
from provenance.records import Member, Placement, PointRecord, VectorLocation
from provenance.vocabulary import PointState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from provenance.vocabulary import Resolution


def lookup(session: Session, image_ids: Sequence[str]) -> dict[str, str]:
    """Image keys by image_id; unknown ones are left out."""
    found: dict[str, str] = {}
    for chunk in chunked(image_ids):
        query = select(t.ImageIdentity.image_id, t.ImageIdentity.image_key)
        found.update(session.execute(query.where(t.ImageIdentity.image_id.in_(chunk))).all())
    return found


def point_states(session: Session, collection_key: str, image_ids: Sequence[str]) -> dict[str, PointRecord]:
    """Where the vectors of images stand in a collection, by image_id; those without a point are left out."""
    found: dict[str, PointRecord] = {}
    for chunk in chunked(image_ids):
        in_chunk = t.ImageIdentity.image_id.in_(chunk)
        found.update((point.image_id, point) for point in _points(session, collection_key, in_chunk))
    return found


def pending_points(session: Session, collection_key: str) -> list[PointRecord]:
    """Points that were recorded and never acknowledged: an interrupted run left them. By image_id."""
    return _points(session, collection_key, t.Point.state == PointState.PENDING.value)


def _points(session: Session, collection_key: str, condition: ColumnElement[bool]) -> list[PointRecord]:
    query = (
        select(
            t.ImageIdentity.image_id,
            t.Point.image_key,
            t.Point.point_id,
            t.Point.vector_sha256,
            t.Point.state,
        )
        .join(t.ImageIdentity, t.ImageIdentity.image_key == t.Point.image_key)
        .where(t.Point.collection_key == collection_key, condition)
        .order_by(t.ImageIdentity.image_id)
    )
    return [
        PointRecord(image_id, image_key, point_id, vector_sha256, PointState(state))
        for image_id, image_key, point_id, vector_sha256, state in session.execute(query)
    ]


def vectors_elsewhere(
    session: Session, space_id: str, image_ids: Sequence[str], not_collection: str
) -> dict[str, VectorLocation]:
    """Indexed vectors of the same images in the same space in other live collections, by image_id.

    Such a vector can be copied instead of computed again.
    """
    found: dict[str, VectorLocation] = {}
    for chunk in chunked(image_ids):
        query = (
            select(t.ImageIdentity.image_id, t.Point.collection_key, t.Point.point_id, t.Point.vector_sha256)
            .join(t.Point, t.Point.image_key == t.ImageIdentity.image_key)
            .join(t.Collection, t.Collection.collection_key == t.Point.collection_key)
            .where(
                t.ImageIdentity.image_id.in_(chunk),
                t.Collection.space_id == space_id,
                t.Collection.dropped_at.is_(None),
                t.Collection.collection_key != not_collection,
                t.Point.state == PointState.INDEXED.value,
            )
            .order_by(t.ImageIdentity.image_id, t.Point.collection_key)
        )
        for image_id, *location in session.execute(query):
            found.setdefault(image_id, VectorLocation(*location))
    return found


def acknowledge(session: Session, collection_key: str, point_ids: Sequence[str]) -> None:
    """The index has flushed these points: ``pending`` becomes ``indexed``. Other states stay as they are."""
    for chunk in chunked(sorted(point_ids)):
        session.execute(
            update(t.Point)
            .where(
                t.Point.collection_key == collection_key,
                t.Point.point_id.in_(chunk),
                t.Point.state == PointState.PENDING.value,
            )
            .values(state=PointState.INDEXED.value, updated_at=now())
        )


def drop_pending(session: Session, collection_key: str, point_ids: Sequence[str]) -> None:
    """Takes back points that the index never got; their images stay in the dataset without a vector."""
    for chunk in chunked(sorted(point_ids)):
        session.execute(
            delete(t.Point).where(
                t.Point.collection_key == collection_key,
                t.Point.point_id.in_(chunk),
                t.Point.state == PointState.PENDING.value,
            )
        )


def members(session: Session, dataset_id: str, collection_key: str) -> list[Member]:
    """The indexed images of a dataset in a space, by image_id, forgotten ones left out: the view an audit freezes."""
    query = (
        select(
            t.ImageIdentity.image_id,
            t.Point.image_key,
            t.Point.point_id,
            t.Point.vector_sha256,
            t.Membership.group_key,
        )
        .join(t.ImageIdentity, t.ImageIdentity.image_key == t.Point.image_key)
        .join(t.Membership, t.Membership.image_key == t.Point.image_key)
        .where(
            t.Point.collection_key == collection_key,
            t.Point.state == PointState.INDEXED.value,
            t.Membership.dataset_id == dataset_id,
            t.Membership.forgotten_at.is_(None),
        )
    )
    # sorting here, not there: one pass over 100,000 short tuples is cheaper than the database's sort of wide rows
    return sorted(Member(*row, collection_key) for row in session.execute(query).all())


def member_ids(session: Session, dataset_id: str) -> list[str]:
    """The image_ids in a dataset, sorted, forgotten ones left out: what a release's seal is over."""
    query = (
        select(t.ImageIdentity.image_id)
        .join(t.Membership, t.Membership.image_key == t.ImageIdentity.image_key)
        .where(t.Membership.dataset_id == dataset_id, t.Membership.forgotten_at.is_(None))
    )
    return sorted(session.scalars(query))


def member_count(session: Session, dataset_id: str) -> int:
    """How many images ``member_ids`` gives."""
    query = (
        select(func.count())
        .select_from(t.ImageIdentity)
        .join(t.Membership, t.Membership.image_key == t.ImageIdentity.image_key)
        .where(t.Membership.dataset_id == dataset_id, t.Membership.forgotten_at.is_(None))
    )
    return session.scalar(query) or 0


def native_resolutions(session: Session, dataset_id: str) -> dict[Resolution, int]:
    """How many images of a dataset have which ``(width, height)`` in pixels; forgotten ones are left out."""
    query = (
        select(t.ImageIdentity.width, t.ImageIdentity.height, func.count())
        .join(t.Membership, t.Membership.image_key == t.ImageIdentity.image_key)
        .where(t.Membership.dataset_id == dataset_id, t.Membership.forgotten_at.is_(None))
        .group_by(t.ImageIdentity.width, t.ImageIdentity.height)
        .order_by(t.ImageIdentity.width, t.ImageIdentity.height)
    )
    return {(width, height): count for width, height, count in session.execute(query)}


def sizes_of(session: Session, image_keys: Sequence[str]) -> dict[str, Resolution]:
    """``(width, height)`` in pixels of images, by image_key; erased ones are left out."""
    sizes: dict[str, Resolution] = {}
    for chunk in chunked(image_keys):
        query = select(t.ImageIdentity.image_key, t.ImageIdentity.width, t.ImageIdentity.height)
        found = session.execute(query.where(t.ImageIdentity.image_key.in_(chunk)))
        sizes.update({key: (width, height) for key, width, height in found})
    return sizes


def names_of(session: Session, dataset_ids: Sequence[str], image_keys: Sequence[str]) -> dict[str, str]:
    """The smallest name that each image has in these datasets, by image_key; nameless ones are left out."""
    names: dict[str, str] = {}
    for chunk in chunked(image_keys):
        query = (
            select(t.Occurrence.image_key, func.min(t.Occurrence.name))
            .where(t.Occurrence.image_key.in_(chunk), t.Occurrence.dataset_id.in_(list(dataset_ids)))
            .group_by(t.Occurrence.image_key)
        )
        names.update(session.execute(query).all())
    return names


def occurrence_names(session: Session, dataset_ids: Sequence[str]) -> dict[str, list[str]]:
    """Every name of every image in these datasets, each once and sorted, by image_key."""
    query = (
        select(t.Occurrence.image_key, t.Occurrence.name)
        .where(t.Occurrence.dataset_id.in_(list(dataset_ids)))
        .distinct()
    )
    names: dict[str, list[str]] = {}
    for image_key, name in session.execute(query):
        names.setdefault(image_key, []).append(name)
    return {image_key: sorted(listed) for image_key, listed in names.items()}


def placements(session: Session, dataset_ids: Sequence[str]) -> list[Placement]:
    """Which image is in which of these datasets, with its group there; by image_key. Forgotten images stay counted."""
    query = select(t.Membership.image_key, t.Membership.dataset_id, t.Membership.group_key)
    found = session.execute(query.where(t.Membership.dataset_id.in_(list(dataset_ids)))).all()
    return sorted((Placement(*row) for row in found), key=lambda place: (place.image_key, place.dataset_id))
