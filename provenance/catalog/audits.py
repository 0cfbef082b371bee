"""Audits: recorded whole in one transaction, never changed, read back with their evidence."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from provenance.catalog import tables as t
from provenance.catalog.engine import next_of, now, rows_by, upserting
from provenance.catalog.events import EventKind, add_event
from provenance.catalog.mapping import row_of, value_of
from provenance.catalog.runs import to_reject
from provenance.errors import CatalogError, ConflictError, NotFoundError
from provenance.findings import Findings
from provenance.records import (
    AuditDataset,
    AuditRecord,
    AuditReject,
    CopyOfImage,
    MembershipFigures,
    PolicyRecord,
    SensitivityRecord,
    StandingCopy,
    StoredCalibrationScore,
    StoredCopySource,
    StoredNeighbor,
    StoredVerdict,
    in_order,
    strength_of_copy,
)
from provenance.vocabulary import Answer, Box, Established, Label, RejectReason, Role, canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from provenance.records import CopySource, NewAudit, VerdictRecord

_AUDIT_NUMBERS = ("mu", "sigma", "alpha", "threshold", "duration_seconds")
_VERDICT_NUMBERS = ("score", "s_used", "s_not_used", "s_against", "threshold", "p_value", "q_value")
_BESIDE_NUMBERS = tuple(
    each.name for each in fields(MembershipFigures) if each.name.endswith(("probability", "score", "value"))
)
_NEIGHBOR_COLUMNS = ("verdict_id", "role", "rank", "image_key", "similarity")
_ROWS_AT_ONCE = 10_000


def ensure_policy(session: Session, policy_id: str, rule: str, parameters: Mapping[str, Any]) -> None:
    """Records a policy; one on record must be the same, because its id is its content.

    Raises:
        ConflictError: If that id is on record with another rule or other parameters.
    """
    known = session.get(t.Policy, policy_id)
    if known is not None:
        if (known.rule, canonical_json(known.parameters)) != (rule, canonical_json(dict(parameters))):
            raise ConflictError(f"{policy_id} is on record with another content")
        return
    values = {"policy_id": policy_id, "rule": rule, "parameters": dict(parameters), "created_at": now()}
    session.execute(upserting(session, t.Policy).on_conflict_do_nothing(), values)


def policy(session: Session, policy_id: str) -> PolicyRecord:
    """The policy of that id.

    Raises:
        NotFoundError: If there is none.
    """
    row = session.get(t.Policy, policy_id)
    if row is None:
        raise NotFoundError(f"no policy has the id {policy_id}")
    return value_of(PolicyRecord, row)


def declare_policy(session: Session, dataset_id: str, policy_id: str, conditions: Mapping[str, Any]) -> None:
    """Appends the declaration that a release will be judged by a policy, under conditions as JSON values."""
    detail = {"policy_id": policy_id, "conditions": dict(conditions)}
    add_event(session, EventKind.POLICY_DECLARED, dataset_id=dataset_id, detail=detail)


def declarations(session: Session, dataset_id: str, policy_id: str) -> list[tuple[datetime, Mapping[str, Any]]]:
    """When a policy was declared for a release, oldest first, each time with its conditions."""
    query = select(t.Event.at, t.Event.detail).where(t.Event.dataset_id == dataset_id)
    query = query.where(t.Event.kind == EventKind.POLICY_DECLARED.value).order_by(t.Event.event_id)
    return [(at, said["conditions"]) for at, said in session.execute(query) if said["policy_id"] == policy_id]


def record_audit(session: Session, new: NewAudit) -> None:
    """Records a finished audit with its parts and all they rest on, wholly or not at all.

    Policies and spaces are on record already.

    Raises:
        CatalogError: If a number is not finite, or anything in it is not on record.
    """
    _require_finite(new)
    audit_id = new.audit.audit_id
    session.execute(upserting(session, t.Audit), _row_of_audit(session, new.audit))
    _insert(session, t.AuditDataset, (row_of(t.AuditDataset, played, audit_id=audit_id) for played in new.datasets))
    _insert(session, t.AuditReject, _reject_rows(session, audit_id, new.reject_ids))
    _insert(session, t.CalibrationScore, (row_of(t.CalibrationScore, c, audit_id=audit_id) for c in new.calibration))
    _insert(session, t.MembershipFigures, (row_of(t.MembershipFigures, b, audit_id=audit_id) for b in new.beside))
    _record_verdicts(session, audit_id, new.verdicts)
    add_event(session, EventKind.AUDITED, dataset_id=new.audit.dataset_id, detail={"audit_id": audit_id})
    for answer, part in new.parts.items():
        record_audit(session, part)
        values = {"audit_id": audit_id, "answer": answer.value, "part_id": part.audit.audit_id}
        session.execute(upserting(session, t.AuditPart), values)


def _row_of_audit(session: Session, new: AuditRecord) -> dict[str, Any]:
    return row_of(t.Audit, new, settings=new.findings.to_json(), sequence=next_of(session, t.Audit))


def _record_verdicts(session: Session, audit_id: str, verdicts: Sequence[VerdictRecord]) -> None:
    _insert(session, t.Verdict, (row_of(t.Verdict, verdict, audit_id=audit_id) for verdict in verdicts))
    numbers = select(t.Verdict.image_key, t.Verdict.verdict_id).where(t.Verdict.audit_id == audit_id)
    verdict_ids: dict[str, int] = dict(session.execute(numbers).all())
    rows = (
        (verdict_ids[verdict.image_key], str(neighbor.role), neighbor.rank, neighbor.image_key, neighbor.similarity)
        for verdict in verdicts
        for neighbor in verdict.neighbors
    )
    _insert_neighbors(session, rows)
    sources = (
        row_of(t.CopySource, source, verdict_id=verdict_ids[verdict.image_key], **_boxes(source))
        for verdict in verdicts
        for source in verdict.sources
    )
    _insert(session, t.CopySource, sources)


def _boxes(source: CopySource) -> dict[str, Any]:
    given = {"box": source.box, "source_box": source.source_box}
    return {name: None if box is None else asdict(box) for name, box in given.items()}


def audit(session: Session, prefix: str) -> AuditRecord:
    """The audit whose id starts so.

    Raises:
        NotFoundError: If there is none, or more than one; the hint names them.
    """
    asked = prefix.strip().lower()
    query = select(t.Audit).where(func.substr(t.Audit.audit_id, 1, len(asked)) == asked)
    found = session.scalars(query.order_by(t.Audit.audit_id).limit(6)).all() if asked else []
    if len(found) == 1:
        return _to_audit(found[0])
    if found:
        named = ", ".join(row.audit_id for row in found[:5])
        raise NotFoundError(f"{prefix!r} could mean more than one audit", hint=f"give more digits of one of {named}")
    raise NotFoundError(f"no audit has an id that starts with {prefix!r}", hint="see `provenance audits list`")


def audits(session: Session, dataset_id: str | None = None, *, parts: bool = False) -> list[AuditRecord]:
    """All audits (of one release), the last recorded first; ``parts``: their answers too, each an audit of its own."""
    query = select(t.Audit).order_by(t.Audit.sequence.desc(), t.Audit.audit_id)
    if dataset_id is not None:
        query = query.where(t.Audit.dataset_id == dataset_id)
    if not parts:
        query = query.where(t.Audit.audit_id.not_in(select(t.AuditPart.part_id)))
    return [_to_audit(row) for row in session.scalars(query)]


def parts_of(session: Session, audit_id: str) -> dict[Answer, AuditRecord]:
    """The answers of an audit, in the order in which they are said; nothing for an audit by one rule."""
    query = select(t.AuditPart.answer, t.Audit).join(t.Audit, t.Audit.audit_id == t.AuditPart.part_id)
    found = {Answer(answer): row for answer, row in session.execute(query.where(t.AuditPart.audit_id == audit_id))}
    return {answer: _to_audit(found[answer]) for answer in Answer if answer in found}


def answer_of(
    session: Session, prefix: str, answer: Answer | None = None, otherwise: Sequence[Answer] = ()
) -> AuditRecord:
    """The audit whose id starts so, by one rule: itself, or one answer of it.

    Without ``answer``, of several answers it is the first of ``otherwise`` that there is.

    Raises:
        NotFoundError: If there is no such audit, or more than one, or it has no such answer.
    """
    found = audit(session, prefix)
    parts = parts_of(session, found.audit_id)
    if not parts and answer is None:
        return found
    chosen = answer or next((each for each in otherwise if each in parts), None)
    if chosen not in parts:
        has = f"has only {', '.join(parts)}" if parts else "is by one rule alone"
        raise NotFoundError(f"audit {found.audit_id[:8]} has no answer {chosen}: it {has}", hint="see `audits show`")
    return parts[chosen]


def whole_of(session: Session, audit_id: str) -> tuple[str, Answer] | None:
    """The audit that another is an answer of, and which; ``None``: it is none."""
    query = select(t.AuditPart.audit_id, t.AuditPart.answer).where(t.AuditPart.part_id == audit_id)
    row = session.execute(query).first()
    return None if row is None else (row[0], Answer(row[1]))


def audit_datasets(session: Session, audit_id: str) -> list[AuditDataset]:
    """The datasets of an audit in the roles they played, ``in_order``."""
    rows = session.scalars(select(t.AuditDataset).where(t.AuditDataset.audit_id == audit_id))
    return in_order(value_of(AuditDataset, row) for row in rows)


def audit_rejects(session: Session, audit_id: str) -> list[AuditReject]:
    """The inputs that were rejected when an audit was made; those that were erased or read since have no names."""
    query = (
        select(t.AuditReject.reject_id, t.AuditReject.reason, t.Reject)
        .outerjoin(t.Reject, t.Reject.reject_id == t.AuditReject.reject_id)
        .where(t.AuditReject.audit_id == audit_id)
        .order_by(t.AuditReject.reject_id)
    )
    return [
        AuditReject(reject_id, RejectReason(reason), None if row is None else to_reject(row))
        for reject_id, reason, row in session.execute(query)
    ]


def verdicts(session: Session, audit_id: str) -> list[StoredVerdict]:
    """The verdicts of an audit by image_id (erased images last, by key), without their neighbors."""
    query = (
        select(t.Verdict, t.ImageIdentity.image_id)
        .outerjoin(t.ImageIdentity, t.ImageIdentity.image_key == t.Verdict.image_key)
        .where(t.Verdict.audit_id == audit_id)
    )
    found = [value_of(StoredVerdict, row, image_id=image_id) for row, image_id in session.execute(query)]
    return sorted(found, key=lambda verdict: (verdict.image_id is None, verdict.image_id or verdict.image_key))


def neighbors_of(session: Session, audit_id: str, image_key: str | None = None) -> dict[str, list[StoredNeighbor]]:
    """The neighbors of an audit's subjects (of one subject), by role and rank, under the subject's image_key."""
    neighbor = (t.Neighbor.role, t.Neighbor.rank, t.Neighbor.image_key, t.Neighbor.similarity)
    query = (
        select(t.Verdict.image_key, *neighbor, t.ImageIdentity.image_id)
        .join(t.Neighbor, t.Neighbor.verdict_id == t.Verdict.verdict_id)
        .outerjoin(t.ImageIdentity, t.ImageIdentity.image_key == t.Neighbor.image_key)
        .where(t.Verdict.audit_id == audit_id)
        .order_by(t.Neighbor.verdict_id, t.Neighbor.role, t.Neighbor.rank)
    )
    if image_key is not None:
        query = query.where(t.Verdict.image_key == image_key)
    roles = {role.value: role for role in Role}
    found: dict[str, list[StoredNeighbor]] = {}
    for subject, role, rank, key, similarity, image_id in session.execute(query):
        found.setdefault(subject, []).append(StoredNeighbor(roles[role], rank, key, similarity, image_id))
    return found


def sources_of(
    session: Session, audit_id: str, image_key: str | None = None, *, most: int | None = None
) -> dict[str, list[StoredCopySource]]:
    """The sources that an audit's subjects (one subject) agree with, by rank, under the subject's image_key.

    Of each subject at most ``most``, the best ones.
    """
    query = (
        select(t.Verdict.image_key, t.CopySource, t.ImageIdentity.image_id)
        .join(t.CopySource, t.CopySource.verdict_id == t.Verdict.verdict_id)
        .outerjoin(t.ImageIdentity, t.ImageIdentity.image_key == t.CopySource.image_key)
        .where(t.Verdict.audit_id == audit_id)
        .order_by(t.CopySource.verdict_id, t.CopySource.rank)
    )
    if image_key is not None:
        query = query.where(t.Verdict.image_key == image_key)
    if most is not None:
        query = query.where(t.CopySource.rank <= most)
    found: dict[str, list[StoredCopySource]] = {}
    for subject, row, image_id in session.execute(query):
        boxes = {name: Box(**value) for name in ("box", "source_box") if (value := getattr(row, name)) is not None}
        found.setdefault(subject, []).append(value_of(StoredCopySource, row, image_id=image_id, **boxes))
    return found


def standing_copies(session: Session, audit_id: str) -> dict[str, StandingCopy]:
    """The real images that stand in the release as copies, by image_key, each with the strongest of its copies.

    As the copies of the same audit say that one answer of it, or the whole, is asked of: that which ``copies_of`` names
    first; nothing where no copies were looked for.
    """
    whole = whole_of(session, audit_id)
    copies = parts_of(session, audit_id if whole is None else whole[0]).get(Answer.COPIES)
    if copies is None:
        return {}
    found: dict[str, StandingCopy] = {}
    for real, copy in _copies(session, copies.audit_id, t.CopySource.established_by.is_not(None)):
        label, by = Label.PART_COPY if copy.part else Label.COPY, Established(str(copy.established_by))
        found.setdefault(real, StandingCopy(copy.image_key, label, by))
    return found


def copies_of(session: Session, audit_id: str, image_key: str) -> list[CopyOfImage]:
    """The images of which an audit names this one as a source.

    What is established first, wholes before parts, in the order in which copies are listed (``strength_of_copy``); then
    those for which it is the best source.
    """
    return [copy for _, copy in _copies(session, audit_id, t.CopySource.image_key == image_key)]


def _copies(session: Session, audit_id: str, *among: Any) -> list[tuple[str, CopyOfImage]]:
    """Real images and what copies them, in the order of ``copies_of``."""
    query = (
        select(t.CopySource.image_key, t.Verdict, t.CopySource, t.ImageIdentity.image_id)
        .join(t.Verdict, t.Verdict.verdict_id == t.CopySource.verdict_id)
        .outerjoin(t.ImageIdentity, t.ImageIdentity.image_key == t.Verdict.image_key)
        .where(t.Verdict.audit_id == audit_id, *among)
    )
    found = [
        (real, value_of(CopyOfImage, verdict, source, image_id=image_id))
        for real, verdict, source, image_id in session.execute(query)
    ]

    def place(named: tuple[str, CopyOfImage]) -> tuple[Any, ...]:
        copy = named[1]
        unknown, label = copy.established_by is None, Label.PART_COPY if copy.part else Label.COPY
        strength = strength_of_copy(label, copy.established_by, copy.score)
        return unknown, copy.rank if unknown else 0, strength, copy.image_id or copy.image_key

    return sorted(found, key=place)


def calibration_scores(session: Session, audit_id: str) -> list[StoredCalibrationScore]:
    """The scores of the images that calibrated an audit, by image_id (erased images last, by key)."""
    query = (
        select(t.CalibrationScore, t.ImageIdentity.image_id)
        .outerjoin(t.ImageIdentity, t.ImageIdentity.image_key == t.CalibrationScore.image_key)
        .where(t.CalibrationScore.audit_id == audit_id)
    )
    found = [value_of(StoredCalibrationScore, row, image_id=image_id) for row, image_id in session.execute(query)]
    return sorted(found, key=lambda score: (score.image_id is None, score.image_id or score.image_key))


def membership_figures(session: Session, audit_id: str, image_key: str | None = None) -> dict[str, MembershipFigures]:
    """What stands beside the labels of an audit (of one image), by image_key; nothing for audits without such."""
    query = select(t.MembershipFigures).where(t.MembershipFigures.audit_id == audit_id)
    if image_key is not None:
        query = query.where(t.MembershipFigures.image_key == image_key)
    return {row.image_key: value_of(MembershipFigures, row) for row in session.scalars(query)}


def record_sensitivity(session: Session, audit_id: str, result: Mapping[str, Any]) -> None:
    """Appends one measurement of what an audit would have seen: an event of its release; audits never change.

    ``result`` holds figures and settings as JSON values; no digest of an image, no name, no path.

    Raises:
        NotFoundError: If there is no such audit.
    """
    found = audit(session, audit_id)
    detail = {"audit_id": found.audit_id, "result": dict(result)}
    add_event(session, EventKind.SENSITIVITY_MEASURED, dataset_id=found.dataset_id, detail=detail)


def sensitivities(session: Session, audit_id: str) -> list[SensitivityRecord]:
    """Every measurement of an audit, oldest first; of an answer also those that were made of the whole."""
    query = (
        select(t.Event.at, t.Event.detail)
        .join(t.Audit, t.Audit.dataset_id == t.Event.dataset_id)
        .where(t.Audit.audit_id == audit_id, t.Event.kind == EventKind.SENSITIVITY_MEASURED.value)
        .order_by(t.Event.event_id)
    )
    whole = whole_of(session, audit_id)
    found = []
    for at, detail in session.execute(query):
        result = detail["result"] if detail["audit_id"] == audit_id else None
        if whole is not None and detail["audit_id"] == whole[0]:
            result = detail["result"]["answers"].get(whole[1].value)
        if result is not None:
            found.append(SensitivityRecord(audit_id, at, result))
    return found


def _require_finite(new: NewAudit) -> None:
    """SQLite would make NULL of a NaN without a word."""
    _check_numbers(new.audit, _AUDIT_NUMBERS, f"audit {new.audit.audit_id}")
    for score in new.calibration:
        _check_numbers(score, ("score",), f"the calibration image {score.image_key}")
    for beside in new.beside:
        _check_numbers(beside, _BESIDE_NUMBERS, f"what stands beside the label of image {beside.image_key}")
    for verdict in new.verdicts:
        _check_numbers(verdict, _VERDICT_NUMBERS, f"the verdict on image {verdict.image_key}")
        for source in verdict.sources:
            _check_numbers(source, ("agreement", "share"), f"a source of image {verdict.image_key}")
        if not all(math.isfinite(neighbor.similarity) for neighbor in verdict.neighbors):
            raise CatalogError(f"the verdict on image {verdict.image_key} has a similarity that is not a finite number")


def _check_numbers(value: object, words: Sequence[str], place: str) -> None:
    for word in words:
        number = getattr(value, word)
        if number is not None and not math.isfinite(number):
            raise CatalogError(f"{word} of {place} is not a finite number")


def _insert(session: Session, table: type[t.Base], rows: Iterable[dict[str, Any]]) -> None:
    remaining = iter(rows)  # an audit of 100,000 images has a million neighbors
    while chunk := list(islice(remaining, _ROWS_AT_ONCE)):
        session.execute(upserting(session, table), chunk)


def _insert_neighbors(session: Session, rows: Iterable[tuple[int, str, int, str, float]]) -> None:
    """As ``_insert``, in the driver's own words: there are many times more neighbors than anything else."""
    connection = session.connection()
    compiled = upserting(session, t.Neighbor).compile(dialect=connection.dialect, column_keys=list(_NEIGHBOR_COLUMNS))
    remaining = iter(rows)
    while chunk := list(islice(remaining, _ROWS_AT_ONCE)):
        named = [dict(zip(_NEIGHBOR_COLUMNS, row, strict=True)) for row in chunk] if not compiled.positional else chunk
        connection.exec_driver_sql(str(compiled), named)


def _reject_rows(session: Session, audit_id: str, reject_ids: Sequence[int]) -> list[dict[str, Any]]:
    query = select(t.Reject.reject_id, t.Reject.reason)
    reasons: dict[int, str] = dict(rows_by(session, query, t.Reject.reject_id, sorted(set(reject_ids))))
    missing = set(reject_ids) - set(reasons)
    if missing:
        raise CatalogError(f"reject {min(missing)} is not on record", hint="audit again: the dataset changed meanwhile")
    return [{"audit_id": audit_id, "reject_id": number, "reason": reasons[number]} for number in sorted(reasons)]


def _to_audit(row: t.Audit) -> AuditRecord:
    return value_of(AuditRecord, row, findings=Findings.from_json(row.settings))
