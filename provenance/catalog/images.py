"""What is known of images, asked by many at once: members of datasets, names, sizes, digests, perceptual hashes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import aliased

from provenance.catalog import tables as t
from provenance.catalog.engine import hold, rows_by, upserting
from provenance.records import ClaimedElsewhere, Member, Placement, PlaceOnRecord, RecordedHeader
from provenance.vocabulary import Membership, PointState, TechnicalHeader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session

    from provenance.vocabulary import Resolution


def lookup(session: Session, image_ids: Sequence[str]) -> dict[str, str]:
    """Image keys by image_id; unknown ones are left out."""
    query = select(t.ImageIdentity.image_id, t.ImageIdentity.image_key)
    return dict(rows_by(session, query, t.ImageIdentity.image_id, image_ids))


def members(session: Session, dataset_id: str, collection_key: str) -> list[Member]:
    """The indexed images of a dataset in a space, by image_id: the view an audit freezes.

    Forgotten and retired ones are left out.
    """
    point = (t.Point.image_key, t.Point.point_id, t.Point.vector_sha256)
    query = (
        select(t.ImageIdentity.image_id, *point, t.Membership.group_key)
        .join(t.ImageIdentity, t.ImageIdentity.image_key == t.Point.image_key)
        .join(t.Membership, t.Membership.image_key == t.Point.image_key)
        .where(
            t.Point.collection_key == collection_key,
            t.Point.state == PointState.INDEXED.value,
            t.Membership.dataset_id == dataset_id,
            t.Membership.is_live(),
        )
    )
    # sorting here, not there: one pass over 100,000 short tuples is cheaper than the database's sort of wide rows
    return sorted(Member(*row, collection_key) for row in session.execute(query).all())


def _of_members(dataset_id: str, *columns: Any) -> Select[Any]:
    """Facts of the images in a dataset, forgotten and retired ones left out."""
    query = select(*columns).select_from(t.ImageIdentity)
    member = query.join(t.Membership, t.Membership.image_key == t.ImageIdentity.image_key)
    return member.where(t.Membership.dataset_id == dataset_id, t.Membership.is_live())


def member_ids(session: Session, dataset_id: str) -> list[str]:
    """The image_ids in a dataset, sorted, forgotten and retired ones left out: what a release's seal is over."""
    return sorted(session.scalars(_of_members(dataset_id, t.ImageIdentity.image_id)))


def member_count(session: Session, dataset_id: str) -> int:
    """How many images ``member_ids`` gives."""
    return session.scalar(_of_members(dataset_id, func.count())) or 0


def claimed_elsewhere(session: Session, dataset_id: str) -> list[ClaimedElsewhere]:
    """Sets that claim images of this set, used or not used, and otherwise than it does, by name."""
    here, there, mine = t.Membership, aliased(t.Membership), aliased(t.Dataset)
    query = (
        select(t.Dataset.name, t.Dataset.membership, func.count())
        .select_from(here)
        .join(mine, mine.dataset_id == here.dataset_id)
        .join(there, there.image_key == here.image_key)
        .join(t.Dataset, t.Dataset.dataset_id == there.dataset_id)
        .where(
            here.dataset_id == dataset_id,
            here.is_live(),
            there.is_live(),
            t.Dataset.removed_at.is_(None),
            t.Dataset.membership.in_([claim.value for claim in (Membership.USED, Membership.NOT_USED)]),
            t.Dataset.membership != mine.membership,
        )
        .group_by(t.Dataset.name, t.Dataset.membership)
        .order_by(t.Dataset.name)
    )
    rows = session.execute(query)
    return [ClaimedElsewhere(name, Membership(claim), count) for name, claim, count in rows if claim is not None]


def retired_count(session: Session, dataset_id: str) -> int:
    """How many images of a dataset are retired."""
    retired = (t.Membership.dataset_id == dataset_id, t.Membership.retired_at.is_not(None))
    return session.scalar(select(func.count()).select_from(t.Membership).where(*retired)) or 0


def places_of(session: Session, dataset_id: str) -> list[PlaceOnRecord]:
    """Every place where an image that takes part in a dataset was found, by source and member."""
    found = t.Occurrence
    facts = (found.name, found.source, found.member, found.size_bytes)
    query = (
        _of_members(dataset_id, t.ImageIdentity.image_id, t.ImageIdentity.image_key, *facts)
        .add_columns(found.modified_ns, found.changed_ns, found.inode)
        .join(found, and_(found.image_key == t.ImageIdentity.image_key, found.dataset_id == dataset_id))
        .order_by(found.source, found.member, found.occurrence_id)
    )
    return [
        PlaceOnRecord(image_id, key, name, source, member or None, size, (modified, changed, int(inode)))
        for image_id, key, name, source, member, size, modified, changed, inode in session.execute(query)
    ]


def group_sizes(session: Session, dataset_id: str) -> dict[str | None, int]:
    """How many images of a dataset are in which group, by pseudonym; ``None``: in none. Forgotten ones are left out."""
    query = _of_members(dataset_id, t.Membership.group_key, func.count()).group_by(t.Membership.group_key)
    return {group_key: count for group_key, count in session.execute(query).all()}  # noqa: C416 rows are no pairs


def native_resolutions(session: Session, dataset_id: str) -> dict[Resolution, int]:
    """How many images of a dataset have which ``(width, height)`` in pixels; forgotten ones are left out."""
    counts: Counter[Resolution] = Counter()
    for (size, _, _), count in native_formats(session, dataset_id).items():
        counts[size] += count
    return dict(counts)


def native_formats(session: Session, dataset_id: str) -> dict[tuple[Resolution, str, str], int]:
    """How many images of a dataset have which ``(width, height)``, file format and mode, as decoders name them."""
    facts = (t.ImageIdentity.width, t.ImageIdentity.height, t.ImageIdentity.file_format, t.ImageIdentity.mode)
    query = _of_members(dataset_id, *facts, func.count()).group_by(*facts).order_by(*facts)
    return {((width, height), form, mode): count for width, height, form, mode, count in session.execute(query)}


def sizes_of(session: Session, image_keys: Sequence[str]) -> dict[str, Resolution]:
    """``(width, height)`` in pixels of images, by image_key; erased ones are left out."""
    query = select(t.ImageIdentity.image_key, t.ImageIdentity.width, t.ImageIdentity.height)
    found = rows_by(session, query, t.ImageIdentity.image_key, image_keys)
    return {key: (width, height) for key, width, height in found}


def names_of(session: Session, dataset_ids: Sequence[str], image_keys: Sequence[str]) -> dict[str, str]:
    """The smallest name that each image has in these datasets, by image_key; nameless ones are left out."""
    smallest = select(t.Occurrence.image_key, func.min(t.Occurrence.name)).group_by(t.Occurrence.image_key)
    query = smallest.where(t.Occurrence.dataset_id.in_(list(dataset_ids)))
    return dict(rows_by(session, query, t.Occurrence.image_key, image_keys))


def occurrence_names(session: Session, dataset_ids: Sequence[str]) -> dict[str, list[str]]:
    """Every name of every image in these datasets, each once and sorted, by image_key."""
    query = select(t.Occurrence.image_key, t.Occurrence.name).where(t.Occurrence.dataset_id.in_(list(dataset_ids)))
    names: dict[str, list[str]] = {}
    for image_key, name in session.execute(query.distinct()):
        names.setdefault(image_key, []).append(name)
    return {image_key: sorted(listed) for image_key, listed in names.items()}


def placements(session: Session, dataset_ids: Sequence[str]) -> list[Placement]:
    """Which image is in which of these datasets, with its group there; by image_key.

    Forgotten and retired images stay counted: audits on record speak of them.
    """
    query = select(t.Membership.image_key, t.Membership.dataset_id, t.Membership.group_key)
    found = session.execute(query.where(t.Membership.dataset_id.in_(list(dataset_ids)))).all()
    return sorted((Placement(*row) for row in found), key=lambda place: (place.image_key, place.dataset_id))


def pixel_digests(session: Session, image_keys: Sequence[str]) -> dict[str, str]:
    """The ``pixel_digest`` of images, by image_key; erased ones are left out."""
    query = select(t.ImageIdentity.image_key, t.ImageIdentity.pixel_digest)
    return dict(rows_by(session, query, t.ImageIdentity.image_key, image_keys))


def perceptual_hashes(session: Session, kind: str, image_keys: Sequence[str]) -> dict[str, str]:
    """The hashes of one kind that are on record, as hex digits, by image_key."""
    query = select(t.PerceptualHash.image_key, t.PerceptualHash.value).where(t.PerceptualHash.kind == kind)
    return dict(rows_by(session, query, t.PerceptualHash.image_key, image_keys))


def image_headers(session: Session, image_keys: Sequence[str]) -> dict[str, RecordedHeader]:
    """What is kept of the headers of medical images, by image_key; others are left out."""
    query = select(*t.ImageHeader.__table__.columns)
    found = rows_by(session, query, t.ImageHeader.image_key, image_keys)
    return {key: RecordedHeader(series or None, TechnicalHeader(*technical)) for key, series, *technical in found}


def record_perceptual_hashes(session: Session, kind: str, values: Mapping[str, str]) -> None:
    """Keeps hashes (hex digits by image_key) of one kind and version; forgotten or erased images get none.

    Known hashes stay as they are.
    """
    hold(session, alone=False)
    present = select(t.ImageIdentity.image_key).join(t.Image, t.Image.image_key == t.ImageIdentity.image_key)
    known = rows_by(session, present.where(t.Image.forgotten_at.is_(None)), t.ImageIdentity.image_key, sorted(values))
    rows = [{"image_key": key, "kind": kind, "value": values[key]} for (key,) in known]
    if rows:
        session.execute(upserting(session, t.PerceptualHash).on_conflict_do_nothing(), rows)
