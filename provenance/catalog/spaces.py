"""Embedding spaces, and the collections that hold a dataset's vectors in a space."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import exists, or_, select, text, update

from provenance.catalog import tables as t
from provenance.catalog.engine import hold, now, upserting
from provenance.catalog.mapping import value_of
from provenance.errors import ConflictError, NotFoundError
from provenance.records import Collection
from provenance.vocabulary import SPACE_ID_PREFIX, PointState, Space

if TYPE_CHECKING:
    from collections.abc import Container

    from sqlalchemy.orm import Session

    from provenance.vocabulary import Canonical


def ensure_space(session: Session, space: Space) -> None:
    """Records a space; one on record stays as it is, because its id is its content."""
    values = {"space_id": space.space_id, **space.to_json(), "created_at": now()}
    session.execute(upserting(session, t.Space).on_conflict_do_nothing(), values)


def space(session: Session, prefix_or_backbone: str) -> Space:
    """The one space with that backbone, or whose id starts so (with or without ``space:``).

    Raises:
        NotFoundError: If there is none, or more than one; the hint names them.
    """
    asked = prefix_or_backbone
    start = SPACE_ID_PREFIX + asked.removeprefix(SPACE_ID_PREFIX).lower()
    query = select(t.Space).where(or_(t.Space.backbone == asked, t.Space.space_id.startswith(start, autoescape=True)))
    found = session.scalars(query.order_by(t.Space.space_id)).all() if asked else []
    if len(found) == 1:
        return value_of(Space, found[0])
    if found:
        named = ", ".join(f"{row.space_id[:18]} ({row.backbone})" for row in found[:5])
        raise NotFoundError(f"{asked!r} could mean {len(found)} embedding spaces", hint=f"give one of {named}")
    raise NotFoundError(
        f"no embedding space is known as {asked!r}", hint="spaces come into being with `provenance ingest`"
    )


def spaces(session: Session) -> list[Space]:
    """All spaces, oldest first."""
    oldest_first = select(t.Space).order_by(t.Space.created_at, t.Space.space_id)
    return [value_of(Space, row) for row in session.scalars(oldest_first)]


def canonical(session: Session) -> Canonical | None:
    """The rule by which the images on record were decoded, the same in every space; ``None``: none is embedded yet."""
    points = select(t.Point.collection_key).where(t.Point.collection_key == t.Collection.collection_key)
    query = select(t.Space).join(t.Collection, t.Collection.space_id == t.Space.space_id).where(points.exists())
    row = session.scalars(query.order_by(t.Space.created_at).limit(1)).first()
    return None if row is None else value_of(Space, row).canonical


def ensure_collection(session: Session, dataset_id: str, space_id: str) -> str:
    """The key of the dataset's live collection in a space; made if there is none.

    Raises:
        NotFoundError: If the dataset is removed or never was.
    """
    hold(session, alone=False)
    live = select(t.Dataset.dataset_id).where(t.Dataset.dataset_id == dataset_id, t.Dataset.removed_at.is_(None))
    if session.scalar(live) is None:
        raise NotFoundError(f"no live dataset has the id {dataset_id}")
    values = {"collection_key": uuid.uuid4().hex, "dataset_id": dataset_id, "space_id": space_id, "created_at": now()}
    made = upserting(session, t.Collection).on_conflict_do_nothing(
        index_elements=["dataset_id", "space_id"], index_where=text("dropped_at IS NULL")
    )
    session.execute(made, values)
    return next(each.collection_key for each in collections_of(session, dataset_id) if each.space_id == space_id)


def collections_of(session: Session, dataset_id: str) -> list[Collection]:
    """The live collections of a dataset, oldest first."""
    return [found for found in live_collections(session) if found.dataset_id == dataset_id]


def live_collections(session: Session) -> list[Collection]:
    """All live collections, oldest first: what the index should hold."""
    query = select(t.Collection).where(t.Collection.dropped_at.is_(None))
    rows = session.scalars(query.order_by(t.Collection.created_at, t.Collection.collection_key))
    return [value_of(Collection, row) for row in rows]


def empty_collections(session: Session) -> list[str]:
    """The keys of live collections in which no point was ever recorded, or none is left."""
    points = select(t.Point.collection_key).where(t.Point.collection_key == t.Collection.collection_key)
    query = select(t.Collection.collection_key).where(t.Collection.dropped_at.is_(None), ~points.exists())
    return sorted(session.scalars(query))


def dropped_collections(session: Session) -> list[str]:
    """The keys of collections that the index must not hold any more."""
    return sorted(session.scalars(select(t.Collection.collection_key).where(t.Collection.dropped_at.is_not(None))))


def begin_rewriting(session: Session, collection_key: str) -> str:
    """A key to write a live collection anew under; until ``finish_rewriting`` it is on record as dropped.

    So what a killed process leaves in the index under it goes like any collection that is dropped.

    Raises:
        ConflictError: If the collection is dropped already.
    """
    hold(session, alone=False)
    row, moment = _live(session, collection_key), now()
    new = t.Collection(
        collection_key=uuid.uuid4().hex,
        dataset_id=row.dataset_id,
        space_id=row.space_id,
        created_at=moment,
        dropped_at=moment,
    )
    session.add(new)
    return new.collection_key


def finish_rewriting(session: Session, collection_key: str, new_key: str, copied: Container[str]) -> list[str]:
    """Puts the new collection in the old one's place, with all its points, if every indexed point was copied.

    Gives the point_ids that were not: then nothing is changed.

    Raises:
        ConflictError: If the collection is dropped already.
    """
    hold(session, alone=True)
    old = _live(session, collection_key)
    indexed = select(t.Point.point_id).where(
        t.Point.collection_key == collection_key, t.Point.state == PointState.INDEXED.value
    )
    lacking = [point for point in session.scalars(indexed.order_by(t.Point.point_id)) if point not in copied]
    if not lacking:
        moment = now()
        old.dropped_at = moment
        session.flush()  # one live collection at a time
        new = session.get_one(t.Collection, new_key)
        new.created_at, new.dropped_at = moment, None
        session.flush()
        points = update(t.Point).where(t.Point.collection_key == collection_key).values(collection_key=new_key)
        session.execute(points.execution_options(synchronize_session=False))
    return lacking


def _live(session: Session, collection_key: str) -> t.Collection:
    row = session.get(t.Collection, collection_key)
    if row is None or row.dropped_at is not None:
        raise ConflictError(f"collection {collection_key} is dropped", hint="another process was faster: run it again")
    return row


def older_than_forgetting(session: Session) -> list[str]:
    """The keys of live collections that are older than the last forgetting in their dataset."""
    later = exists().where(
        t.Membership.dataset_id == t.Collection.dataset_id, t.Membership.forgotten_at >= t.Collection.created_at
    )
    return sorted(session.scalars(select(t.Collection.collection_key).where(t.Collection.dropped_at.is_(None), later)))
