"""Forgetting an image.

It goes in two steps, with the index's deletion in between; each may be repeated, so a crash at any point is
resumed. After the first step no audit sees the image and no ingest brings it back; after the second nothing
erasable of it is left. Its history stays, under the opaque key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, func, or_, select, update

from provenance.catalog import tables as t
from provenance.catalog.datasets import erase_empty_groups
from provenance.catalog.engine import hold, now
from provenance.catalog.events import EventKind, add_event
from provenance.catalog.pseudonyms import suppress
from provenance.errors import ConflictError, NotFoundError
from provenance.records import VectorLocation
from provenance.vocabulary import PointState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session


def forget_image(session: Session, image_key: str, reason: str = "") -> list[VectorLocation]:
    """The first step of forgetting: out of every audit's sight, never to come back, its points ``deleting``.

    ``reason`` is kept in the history for good, so it must not name a person or a file.

    Returns:
        What the index has to delete before ``finish_forget``. Again the same when called again; empty when done.

    Raises:
        NotFoundError: If there never was such an image.
    """
    hold(session, alone=True)
    image = session.get(t.Image, image_key)
    if image is None:
        raise NotFoundError(f"no image has the key {image_key}")
    if image.forgotten_at is None:
        _begin(session, image, reason)
    points = select(t.Point.collection_key, t.Point.point_id, t.Point.vector_sha256)
    rows = session.execute(points.where(t.Point.image_key == image_key).order_by(t.Point.collection_key))
    return [VectorLocation(*row) for row in rows]


def _begin(session: Session, image: t.Image, reason: str) -> None:
    moment = now()
    key = image.image_key
    identity = session.get(t.ImageIdentity, key)
    if identity is not None:
        suppress(session, identity.image_id, identity.pixel_digest)
    image.forgotten_at = moment
    session.flush()
    session.execute(update(t.Membership).where(t.Membership.image_key == key).values(forgotten_at=moment))
    deleting = {"state": PointState.DELETING.value, "updated_at": moment}
    session.execute(update(t.Point).where(t.Point.image_key == key).values(**deleting))
    detail = {"reason": reason} if reason else {}
    add_event(session, EventKind.FORGET_REQUESTED, image_key=key, detail=detail)


def finish_forget(
    session: Session, image_key: str, certain: Sequence[str] = (), may_remain: Sequence[str] = ()
) -> None:
    """The second step, once the index has deleted its points: erases identity, hashes, names, rejects, points, group.

    Memberships become tombstones. A second call changes nothing. The history keeps, in words, what is certain of the
    image's vectors and where bytes of them may remain.

    Raises:
        NotFoundError: If there never was such an image.
        ConflictError: If its forgetting was not begun.
    """
    hold(session, alone=True)
    image = session.get(t.Image, image_key)
    if image is None:
        raise NotFoundError(f"no image has the key {image_key}")
    if image.forgotten_at is None:
        raise ConflictError(f"the forgetting of image {image_key} was not begun")
    if session.get(t.ImageIdentity, image_key) is None:
        return
    same_input = exists().where(
        t.Occurrence.image_key == image_key,
        t.Occurrence.source == t.Reject.source,
        t.Occurrence.member == t.Reject.member,
    )
    same_name = exists().where(
        t.Occurrence.image_key == image_key,
        t.Occurrence.dataset_id == t.Reject.dataset_id,
        t.Occurrence.name == t.Reject.name,
    )
    session.execute(delete(t.Reject).where(or_(same_input, same_name)).execution_options(synchronize_session=False))
    for table in (t.Occurrence, t.Point, t.PerceptualHash, t.ImageHeader, t.ImageIdentity):
        erased = delete(table).where(table.image_key == image_key)
        session.execute(erased.execution_options(synchronize_session=False))
    session.execute(update(t.Membership).where(t.Membership.image_key == image_key).values(group_key=None))
    erase_empty_groups(session)
    said = {"certain": [*certain], "may_remain": [*may_remain]}
    detail = {key: words for key, words in said.items() if words}
    add_event(session, EventKind.FORGOTTEN, image_key=image_key, detail=detail)


def deleting_points(session: Session) -> list[tuple[str, VectorLocation]]:
    """Pairs of image_key and vector that the index has still to delete."""
    query = (
        select(t.Point.image_key, t.Point.collection_key, t.Point.point_id, t.Point.vector_sha256)
        .where(t.Point.state == PointState.DELETING.value)
        .order_by(t.Point.image_key, t.Point.collection_key)
    )
    return [(image_key, VectorLocation(*location)) for image_key, *location in session.execute(query)]


def unfinished_forgets(session: Session) -> list[str]:
    """The image_keys whose forgetting was begun and not finished, with points in the index or without."""
    query = (
        select(t.Image.image_key)
        .join(t.ImageIdentity, t.ImageIdentity.image_key == t.Image.image_key)
        .where(t.Image.forgotten_at.is_not(None))
        .order_by(t.Image.image_key)
    )
    return list(session.scalars(query))


def erasures(session: Session) -> str:
    """What stands for all that was taken out so far: another text after each forgotten image and removed dataset.

    Empty where nothing was.
    """
    forgotten = session.scalar(select(func.count()).select_from(t.Suppression))
    removed = session.scalar(select(func.count()).select_from(t.Dataset).where(t.Dataset.removed_at.is_not(None)))
    return f"{forgotten} {removed}" if forgotten or removed else ""
