"""What audits would have seen: measured after an audit, appended as an event of its release, read back by audit.

Audits are never changed, and an audit's sensitivity may be measured more than once; so each measurement is an event of
its own. It holds figures and settings only: no image of any kind is recorded with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from provenance.catalog import tables as t
from provenance.catalog.audits import audit
from provenance.catalog.events import EventKind, add_event
from provenance.records import SensitivityRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

    from provenance.vocabulary import Resolution


def record_sensitivity(session: Session, audit_id: str, result: Mapping[str, Any]) -> None:
    """Appends one measurement.

    Args:
        session: An open session.
        audit_id: Of a recorded audit, whole.
        result: Figures and settings as JSON values; no digest of an image, no name, no path.

    Raises:
        NotFoundError: If there is no such audit.
    """
    found = audit(session, audit_id)
    detail = {"audit_id": found.audit_id, "result": dict(result)}
    add_event(session, EventKind.SENSITIVITY_MEASURED, dataset_id=found.dataset_id, detail=detail)


def sensitivities(session: Session, audit_id: str) -> list[SensitivityRecord]:
    """Every measurement of an audit, oldest first."""
    query = (
        select(t.Event.at, t.Event.detail)
        .join(t.Audit, t.Audit.dataset_id == t.Event.dataset_id)
        .where(t.Audit.audit_id == audit_id, t.Event.kind == EventKind.SENSITIVITY_MEASURED.value)
        .order_by(t.Event.event_id)
    )
    rows = session.execute(query).all()
    return [SensitivityRecord(audit_id, at, d["result"]) for at, d in rows if d["audit_id"] == audit_id]


def native_formats(session: Session, dataset_id: str) -> dict[tuple[Resolution, str, str], int]:
    """How many images of a dataset have which ``(width, height)``, file format and mode, as decoders name them."""
    facts = (t.ImageIdentity.width, t.ImageIdentity.height, t.ImageIdentity.file_format, t.ImageIdentity.mode)
    query = (
        select(*facts, func.count())
        .join(t.Membership, t.Membership.image_key == t.ImageIdentity.image_key)
        .where(t.Membership.dataset_id == dataset_id, t.Membership.forgotten_at.is_(None))
        .group_by(*facts)
        .order_by(*facts)
    )
    return {((width, height), form, mode): count for width, height, form, mode, count in session.execute(query)}
