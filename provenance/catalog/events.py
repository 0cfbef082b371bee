"""The events of the history: one row for everything that happens to an image or a dataset.

Rows are never changed, so nothing erasable may stand in them: no digest of an image, no file name, no path.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from provenance.catalog import tables as t
from provenance.catalog.engine import now, upserting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session


class EventKind(StrEnum):
    """What can happen."""

    CREATED = "created"
    ADDED = "added"
    GROUPED = "grouped"
    REGROUPED = "regrouped"
    RETIRED = "retired"
    RETURNED = "returned"
    REMOVED = "removed"
    FORGET_REQUESTED = "forget_requested"
    FORGOTTEN = "forgotten"
    RELOCATED = "relocated"
    SEALED = "sealed"
    DATASET_REMOVED = "dataset_removed"
    SENSITIVITY_MEASURED = "sensitivity_measured"
    POLICY_DECLARED = "policy_declared"
    AUDITED = "audited"


def add_event(
    session: Session,
    kind: EventKind,
    *,
    image_key: str | None = None,
    dataset_id: str | None = None,
    run_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Appends one event."""
    about = {"image_key": image_key, "dataset_id": dataset_id, "run_id": run_id}
    session.execute(insert(t.Event).values(at=now(), kind=kind.value, detail=dict(detail or {}), **about))


def add_image_events(
    session: Session, kind: EventKind, image_keys: Sequence[str], dataset_id: str, run_id: str | None
) -> None:
    """Appends one event for each of many images of a dataset."""
    same: dict[str, Any] = {"at": now(), "kind": kind.value, "dataset_id": dataset_id, "run_id": run_id, "detail": {}}
    if image_keys:
        session.execute(upserting(session, t.Event), [same | {"image_key": key} for key in image_keys])
