"""Everything on record about one image."""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import aliased

from provenance.catalog import tables as t
from provenance.catalog.datasets import to_dataset
from provenance.catalog.engine import chunked
from provenance.catalog.events import EventKind
from provenance.catalog.mapping import value_of
from provenance.catalog.pseudonyms import suppressed
from provenance.catalog.recording import base_name
from provenance.errors import NotFoundError
from provenance.records import (
    HistoryEntry,
    ImageRecord,
    ImageSpace,
    MembershipRecord,
    OccurrenceRecord,
    ReplacedImage,
    StoredVerdict,
    VerdictAbout,
    VerdictCiting,
)
from provenance.text import forms_of, meant, name_key
from provenance.vocabulary import IMAGE_ID_PREFIX, ImageFacts, Role, SourceItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.orm import Session

_MARKS = ((".", "/"), ("#", "$"))
_IMAGE_ID = re.compile(r"[0-9a-f]{8,64}(#[0-9]*)?")
_SHA256_DIGITS = 64
_CANDIDATES = 5


def resolve_image(session: Session, text: str) -> ImageRecord:
    """The one image that a person means.

    Args:
        session: An open session.
        text: An image_id or a unique prefix of one (8 hex digits or more, with or without ``sha256:``); else a
            file name: the whole recorded name, or its last path components, with or without extension, where they
            mean one image; a set's or release's name and a slash before it say where.

    Raises:
        NotFoundError: If there is none, if it could be more than one (up to 5 are named), or if it was forgotten.
    """
    text = meant(text)
    asked = text.strip()
    digits = asked.removeprefix(IMAGE_ID_PREFIX).lower()
    if _IMAGE_ID.fullmatch(digits):
        keys = _keys_by_prefix(session, IMAGE_ID_PREFIX + digits)
        if keys:
            return _only(session, asked, keys)
        if len(digits) >= _SHA256_DIGITS and suppressed(session, [(IMAGE_ID_PREFIX + digits, "")]):
            raise NotFoundError(
                f"image {IMAGE_ID_PREFIX}{digits} was forgotten", hint="its digests and names are erased"
            )
    keys = (_keys_by_name(session, text) or _keys_by_name(session, asked)) if asked else []
    if keys:
        return _only(session, asked, keys)
    raise NotFoundError(
        f"no image is known as {text!r}",
        hint="give an image id, 8 or more of its hex digits, or a file name as it was ingested, with or without its "
        "extension and 'SET/' before it",
    )


def image(session: Session, image_key: str) -> ImageRecord | None:
    """The image of that key; None where it is unknown or erased."""
    query = select(t.Image, t.ImageIdentity).join(t.ImageIdentity, t.ImageIdentity.image_key == t.Image.image_key)
    row = session.execute(query.where(t.Image.image_key == image_key)).one_or_none()
    if row is None:
        return None
    seen, known = row
    return value_of(ImageRecord, seen, facts=value_of(ImageFacts, known))


def replaced_by(session: Session, image_key: str) -> list[ReplacedImage]:
    """The retired images whose names in a dataset mean this one now, because their files were overwritten."""
    now, before = aliased(t.Occurrence), aliased(t.Occurrence)
    query = (
        select(before.name, t.Dataset.name, t.ImageIdentity.image_id, t.Membership.retired_at)
        .select_from(now)
        .join(before, and_(before.dataset_id == now.dataset_id, before.base_name == now.base_name))
        .join(t.Dataset, t.Dataset.dataset_id == now.dataset_id)
        .join(t.ImageIdentity, t.ImageIdentity.image_key == before.image_key)
        .join(
            t.Membership,
            and_(t.Membership.image_key == before.image_key, t.Membership.dataset_id == before.dataset_id),
        )
        .where(now.image_key == image_key, before.name == now.name, before.image_key != image_key)
        .where(t.Membership.retired_at.is_not(None))
        .order_by(t.Membership.retired_at.desc(), t.ImageIdentity.image_id)
    )
    rows: Any = session.execute(query).all()
    return list(dict.fromkeys(ReplacedImage(*row) for row in rows))


def _keys_by_prefix(session: Session, prefix: str) -> list[str]:
    # '~' sorts after everything an image_id holds, so the range is the prefix, and the unique index answers
    column = t.ImageIdentity.image_id
    query = select(t.ImageIdentity.image_key).where(column >= prefix, column < prefix + "~")
    return list(session.scalars(query.order_by(column).limit(_CANDIDATES + 1)))


def _keys_by_name(session: Session, name: str) -> list[str]:
    """Image keys by a name as it is, else by one within a dataset, else by one without its extension."""
    places = [(None, name), *_within_datasets(session, name)]
    found: list[str] = []
    for bare in (False, True):
        for dataset_id, rest in places:
            keys = _keys_named(session, rest, dataset_id, bare=bare)
            if len(keys) == 1:
                return keys
            found = found or keys
    return found


def _within_datasets(session: Session, name: str) -> list[tuple[str | None, str]]:
    """Each dataset whose name stands before a slash, with what stands behind it."""
    split = [(name[: slash.start()], name[slash.end() :]) for slash in re.finditer("/", name)]
    rest_of = {form: rest for dataset, rest in split for form in forms_of(dataset)}
    query = select(t.Dataset.dataset_id, t.Dataset.name).where(t.Dataset.name.in_(list(rest_of)))
    live = session.execute(query.where(t.Dataset.removed_at.is_(None)).order_by(t.Dataset.name))
    return [(dataset_id, rest_of[dataset]) for dataset_id, dataset in live if rest_of[dataset]]


def _keys_named(session: Session, name: str, dataset_id: str | None, *, bare: bool) -> list[str]:
    """Image keys by a name or its trailing part (``bare``: less extension or page), as ``name_key`` compares.

    The index over base names finds it.
    """
    last, column = base_name(name), t.Occurrence.base_name
    query = (
        select(t.Occurrence.image_key, t.Occurrence.name, t.Membership.retired_at)
        .join(t.ImageIdentity, t.ImageIdentity.image_key == t.Occurrence.image_key)
        .outerjoin(
            t.Membership,
            and_(t.Membership.image_key == t.Occurrence.image_key, t.Membership.dataset_id == t.Occurrence.dataset_id),
        )
        .order_by(t.Occurrence.name, t.Occurrence.image_key)
    )
    # '/' follows '.' in every order of bytes, and '$' '#': the ranges are all names with an extension or a page behind
    ranges = [and_(column >= form + mark, column < form + after) for form in forms_of(last) for mark, after in _MARKS]
    query = query.where(or_(*(ranges if bare else [column == form for form in forms_of(last)])))
    if dataset_id is not None:
        query = query.where(t.Occurrence.dataset_id == dataset_id)
    extension = r"(\.[^./]+|#\d+)" if bare and last else ""
    whole = re.compile(r"(^|/)" + re.escape(name_key(name)) + extension + r"\Z")
    rows = session.execute(query)
    named = [row for row in rows if whole.search(name_key(row[1]))]
    exact = [row for row in named if row[1] == name or row[1].endswith(f"/{name}")]
    found = [(key, retired_at) for key, _, retired_at in exact or named]
    live = [each for each in found if each[1] is None]  # a file that was overwritten means what it holds now
    return list(dict.fromkeys(key for key, _ in live or found))


def _only(session: Session, asked: str, keys: list[str]) -> ImageRecord:
    found = image(session, keys[0])
    if len(keys) > 1 or found is None:
        named = "; ".join(_describe(session, key) for key in keys[:_CANDIDATES])
        number = f"{len(keys)}" if len(keys) <= _CANDIDATES else f"more than {_CANDIDATES}"
        raise NotFoundError(f"{asked!r} could mean {number} images", hint=f"give one of: {named}")
    return found


def _describe(session: Session, image_key: str) -> str:
    """What may be given for it: a name with its dataset's, and its id."""
    image_id = session.scalar(select(t.ImageIdentity.image_id).where(t.ImageIdentity.image_key == image_key))
    names = occurrences_of(session, image_key)
    page = str(image_id).partition("#")[2]  # a file may be named as a page of another: its name alone does not tell
    said = f"page {page} of a file, {image_id}" if page else image_id
    return f"'{names[0].dataset_name}/{names[0].name}' ({said})" if names else str(image_id)


def occurrences_of(session: Session, image_key: str) -> list[OccurrenceRecord]:
    """Every name under which an image was found, by dataset, name and place."""
    return _occurrences(session, [image_key]).get(image_key, [])


def occurrences_for_reading(session: Session, image_key: str) -> list[SourceItem]:
    """Where an image's bytes may be read again: plain files first, the latest found first; each place once."""
    return _for_reading(occurrences_of(session, image_key))


def places_for_reading(session: Session, image_keys: Sequence[str]) -> dict[str, list[SourceItem]]:
    """As ``occurrences_for_reading`` for many images at once, by image_key; images without a place are left out."""
    found: dict[str, list[SourceItem]] = {}
    for chunk in chunked(image_keys):
        found |= {key: _for_reading(records) for key, records in _occurrences(session, chunk).items()}
    return found


def _occurrences(session: Session, image_keys: Sequence[str]) -> dict[str, list[OccurrenceRecord]]:
    query = (
        select(t.Occurrence, t.Dataset.name)
        .join(t.Dataset, t.Dataset.dataset_id == t.Occurrence.dataset_id)
        .where(t.Occurrence.image_key.in_(image_keys))
        .order_by(t.Dataset.name, t.Occurrence.name, t.Occurrence.source, t.Occurrence.member)
    )
    found: dict[str, list[OccurrenceRecord]] = {}
    for row, dataset_name in session.execute(query):
        place = {"dataset_name": dataset_name, "member": row.member or None, "inode": int(row.inode)}
        found.setdefault(row.image_key, []).append(value_of(OccurrenceRecord, row, **place))
    return found


def _for_reading(records: Iterable[OccurrenceRecord]) -> list[SourceItem]:
    found = sorted(records, key=lambda one: one.found_at, reverse=True)
    found.sort(key=lambda one: one.member is not None)
    by_place: dict[tuple[str, str | None], SourceItem] = {(one.source, one.member): one for one in reversed(found)}
    return list(by_place.values())[::-1]


def memberships_of(session: Session, image_key: str) -> list[MembershipRecord]:
    """The datasets an image is in, or was until it was retired, by name."""
    query = (
        select(t.Membership.group_key, t.Membership.added_at, t.Membership.retired_at, t.Dataset, t.Generator)
        .join(t.Dataset, t.Dataset.dataset_id == t.Membership.dataset_id)
        .outerjoin(t.Generator, t.Generator.generator_id == t.Dataset.generator_id)
        .where(t.Membership.image_key == image_key, t.Membership.forgotten_at.is_(None))
        .order_by(t.Dataset.name)
    )
    return [
        MembershipRecord(to_dataset(dataset, generator), group_key, added_at, retired_at)
        for group_key, added_at, retired_at, dataset, generator in session.execute(query)
    ]


def spaces_of(session: Session, image_key: str) -> list[ImageSpace]:
    """The vectors of an image, by dataset and backbone."""
    query = (
        select(t.Point, t.Space, t.Dataset)
        .join(t.Collection, t.Collection.collection_key == t.Point.collection_key)
        .join(t.Space, t.Space.space_id == t.Collection.space_id)
        .join(t.Dataset, t.Dataset.dataset_id == t.Collection.dataset_id)
        .where(t.Point.image_key == image_key, t.Collection.dropped_at.is_(None))
        .order_by(t.Dataset.name, t.Space.backbone, t.Space.space_id)
    )
    return [
        value_of(ImageSpace, point, space, dataset, dataset_name=dataset.name)
        for point, space, dataset in session.execute(query)
    ]


def verdicts_about(session: Session, image_key: str) -> list[VerdictAbout]:
    """Every verdict with the image as its subject, oldest first."""
    return [
        value_of(VerdictAbout, verdict, audit, release_name=release_name, audited_at=audit.finished_at)
        for verdict, audit, release_name in session.execute(_judging(image_key, t.Verdict, t.Audit, _release_name()))
    ]


def _judging(image_key: str, *columns: Any) -> Select[Any]:
    """Facts of the verdicts with the image as their subject, oldest first."""
    query = select(*columns).select_from(t.Verdict).join(t.Audit, t.Audit.audit_id == t.Verdict.audit_id)
    return query.where(t.Verdict.image_key == image_key).order_by(t.Audit.sequence, t.Verdict.verdict_id)


def verdict_on(session: Session, audit_id: str, image_key: str) -> StoredVerdict | None:
    """The verdict of one audit on one image; ``None``: it did not judge it."""
    query = (
        select(t.Verdict, t.ImageIdentity.image_id)
        .outerjoin(t.ImageIdentity, t.ImageIdentity.image_key == t.Verdict.image_key)
        .where(t.Verdict.audit_id == audit_id, t.Verdict.image_key == image_key)
    )
    row = session.execute(query).one_or_none()
    return None if row is None else value_of(StoredVerdict, row[0], image_id=row[1])


def calibration_score(session: Session, audit_id: str, image_key: str) -> float | None:
    """The score of an image that calibrated an audit; ``None``: it did not."""
    found = session.get(t.CalibrationScore, (audit_id, image_key))
    return None if found is None else found.score


def verdicts_citing(session: Session, image_key: str, limit: int | None = None) -> list[VerdictCiting]:
    """Verdicts in which the image is a neighbor: newest audit first, closest first (at most ``limit``)."""
    query = (
        select(
            t.Audit.audit_id,
            _release_name().label("release_name"),
            t.Verdict.image_key.label("subject_image_key"),
            t.ImageIdentity.image_id.label("subject_image_id"),
            t.Neighbor.role,
            t.Neighbor.rank,
            t.Neighbor.similarity,
            t.Verdict.label,
            t.Audit.finished_at.label("audited_at"),
        )
        .select_from(t.Neighbor)
        .join(t.Verdict, t.Verdict.verdict_id == t.Neighbor.verdict_id)
        .join(t.Audit, t.Audit.audit_id == t.Verdict.audit_id)
        .outerjoin(t.ImageIdentity, t.ImageIdentity.image_key == t.Verdict.image_key)
        .where(t.Neighbor.image_key == image_key)
        .order_by(t.Audit.sequence.desc(), t.Audit.audit_id, t.Neighbor.similarity.desc(), t.Verdict.image_key)
        .limit(limit)
    )
    return [value_of(VerdictCiting, row) for row in session.execute(query)]


def history_of(session: Session, image_key: str) -> list[HistoryEntry]:
    """Everything that ever happened to an image, in the order in which it was recorded: clocks may be set back.

    Events (``added``, ``forgotten`` ...; a removal names its dataset), one ``verdict`` for each audit that judged it,
    and one ``cited`` for each audit in which it is evidence.
    """
    events = _event_entries(session, image_key)
    of_audits = [*_verdict_entries(session, image_key), *_citing_entries(session, image_key)]
    recorded = _recorded_audits(session, {entry.facts["audit_id"] for entry in of_audits})

    def place(entry: HistoryEntry) -> int:
        """The number of the event; of an audit of earlier software, which has none, the last event before it."""
        before = (number for number, event in events if event.at <= entry.at)
        found = recorded.get(entry.facts["audit_id"])
        return found if found is not None else max(before, default=0)

    placed = [*events, *((place(entry), entry) for entry in sorted(of_audits, key=lambda entry: entry.at))]
    return [entry for _, entry in sorted(placed, key=itemgetter(0))]


def _recorded_audits(session: Session, audit_ids: set[str]) -> dict[str, int]:
    """The number of the event by which each of these audits was recorded, if it has one."""
    audited = t.Event.kind == EventKind.AUDITED.value
    found: dict[str, int] = {}
    for ids in chunked(sorted(audit_ids)):
        releases = select(t.Audit.dataset_id).where(t.Audit.audit_id.in_(ids))
        query = select(t.Event.event_id, t.Event.detail).where(audited, t.Event.dataset_id.in_(releases))
        found |= {detail["audit_id"]: number for number, detail in session.execute(query)}
    return found


def _event_entries(session: Session, image_key: str) -> list[tuple[int, HistoryEntry]]:
    """With the number of each event."""
    query = (
        select(t.Event, t.Dataset.name, t.Dataset.kind)
        .outerjoin(t.Dataset, t.Dataset.dataset_id == t.Event.dataset_id)
        .where(t.Event.image_key == image_key)
        .order_by(t.Event.event_id)
    )
    entries = []
    for event, name, kind in session.execute(query):
        facts: dict[str, Any] = dict(event.detail)
        if name is not None:
            facts |= {"dataset_id": event.dataset_id, "dataset": name, "dataset_kind": kind}
        if event.run_id is not None:
            facts["run_id"] = event.run_id
        entries.append((event.event_id, HistoryEntry(event.at, event.kind, facts)))
    return entries


def _verdict_entries(session: Session, image_key: str) -> list[HistoryEntry]:
    release, verdict = _release_name().label("release"), t.Verdict
    facts = (t.Audit.audit_id, release, t.Audit.subject, verdict.subject_role, t.Audit.rule, verdict.label)
    query = _judging(image_key, t.Audit.finished_at, *facts, verdict.score, verdict.threshold)
    return _entries(session, "verdict", query)


def _citing_entries(session: Session, image_key: str) -> list[HistoryEntry]:
    query = (
        select(
            t.Audit.finished_at,
            t.Audit.audit_id,
            _release_name().label("release"),
            t.Neighbor.role,
            func.count().label("verdicts"),
            func.min(t.Neighbor.rank).label("best_rank"),
            func.max(t.Neighbor.similarity).label("best_similarity"),
        )
        .select_from(t.Neighbor)
        .join(t.Verdict, t.Verdict.verdict_id == t.Neighbor.verdict_id)
        .join(t.Audit, t.Audit.audit_id == t.Verdict.audit_id)
        .where(t.Neighbor.image_key == image_key)
        .group_by(t.Audit.audit_id, t.Audit.finished_at, t.Audit.sequence, t.Audit.dataset_id, t.Neighbor.role)
        .order_by(t.Audit.sequence, t.Audit.audit_id, t.Neighbor.role)
    )
    return _entries(session, "cited", query)


def _entries(session: Session, kind: str, query: Select[Any]) -> list[HistoryEntry]:
    rows = [dict(row) for row in session.execute(query).mappings()]
    return [HistoryEntry(facts.pop("finished_at"), kind, facts) for facts in rows]


def _release_name() -> Any:
    """The audited release's name at the time of the audit."""
    played = t.AuditDataset
    of_audit = (played.audit_id == t.Audit.audit_id, played.dataset_id == t.Audit.dataset_id)
    named = select(played.name).where(*of_audit, played.role == Role.RELEASE.value).limit(1)
    current = select(t.Dataset.name).where(t.Dataset.dataset_id == t.Audit.dataset_id).scalar_subquery()
    return func.coalesce(named.correlate(t.Audit).scalar_subquery(), current)
