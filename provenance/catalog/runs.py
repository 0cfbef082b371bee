"""Runs of the services, and the inputs they rejected."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from provenance.catalog import tables as t
from provenance.catalog.engine import affected, next_of, now, upserting
from provenance.catalog.mapping import row_of, value_of
from provenance.errors import NotFoundError
from provenance.records import RejectRecord, RunRecord
from provenance.vocabulary import Rejection, RunState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session


def start_run(
    session: Session,
    kind: str,
    dataset_id: str | None,
    space_id: str | None,
    arguments: Mapping[str, Any],
    software_version: str,
) -> str:
    """Records that a run (such as ``ingest``) began, with its arguments as JSON values; gives its run_id."""
    run = RunRecord(
        run_id=uuid.uuid4().hex,
        kind=kind,
        dataset_id=dataset_id,
        space_id=space_id,
        arguments=arguments,
        software_version=software_version,
        state=RunState.RUNNING,
        started_at=now(),
        finished_at=None,
        counts={},
    )
    session.execute(insert(t.Run).values(row_of(t.Run, run, sequence=next_of(session, t.Run))))
    return run.run_id


def finish_run(session: Session, run_id: str, state: RunState, counts: Mapping[str, Any]) -> None:
    """Records how a run ended, with its counts as JSON values.

    Raises:
        NotFoundError: If there is no such run.
    """
    changed = update(t.Run).where(t.Run.run_id == run_id)
    values = {"state": state.value, "counts": dict(counts), "finished_at": now()}
    if not affected(session.execute(changed.values(**values))):
        raise NotFoundError(f"no run has the id {run_id}")


def runs(session: Session, dataset_id: str | None = None) -> list[RunRecord]:
    """All runs (over one dataset), the last recorded first: a clock may be set back."""
    query = select(t.Run).order_by(t.Run.sequence.desc(), t.Run.run_id)
    if dataset_id is not None:
        query = query.where(t.Run.dataset_id == dataset_id)
    return [value_of(RunRecord, row) for row in session.scalars(query)]


def add_rejects(session: Session, run_id: str, dataset_id: str, rejections: Sequence[Rejection]) -> None:
    """Records rejected inputs; one seen before (same place, name and reason) is brought up to date, not doubled."""
    moment = now()
    rows = {
        (found.source, found.member or "", found.name, found.reason): row_of(
            t.Reject, found, run_id=run_id, dataset_id=dataset_id, member=found.member or "", rejected_at=moment
        )
        for found in rejections
    }
    if not rows:
        return
    statement = upserting(session, t.Reject)
    again = {word: statement.excluded[word] for word in ("run_id", "size_bytes", "detail", "rejected_at")}
    keys = ["dataset_id", "source", "member", "name", "reason"]
    ordered = [rows[key] for key in sorted(rows)]  # one order for all writers: they can't lock each other out
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_=again), ordered)


def record_sidecars(session: Session, run_id: str, dataset_id: str, told: Sequence[tuple[Rejection, str]]) -> None:
    """Records files that are no images, a line for each extension and place, with what is said of each file of it.

    It takes the place of lines that older versions recorded for each of these files.
    """
    for line, detail in told:
        here = [t.Reject.source == line.source, t.Reject.member != ""]
        if line.member is None:
            here = [t.Reject.source.startswith(line.source.removesuffix(line.name), autoescape=True)]
        one_by_one = [t.Reject.reason != line.reason.value, t.Reject.detail == detail]
        if line.name.startswith("*"):
            one_by_one.append(func.lower(t.Reject.name).endswith(line.name[1:], autoescape=True))
        session.execute(delete(t.Reject).where(t.Reject.dataset_id == dataset_id, *here, *one_by_one))
    add_rejects(session, run_id, dataset_id, [line for line, _ in told])


def clear_reject(session: Session, dataset_id: str, source: str, member: str | None) -> None:
    """Deletes the rejects of an input that now reads. ``record_batch`` does so for what it records."""
    session.execute(
        delete(t.Reject).where(
            t.Reject.dataset_id == dataset_id, t.Reject.source == source, t.Reject.member == (member or "")
        )
    )


def rejects(session: Session, dataset_id: str) -> list[RejectRecord]:
    """The rejected inputs of a dataset, by name."""
    query = select(t.Reject).where(t.Reject.dataset_id == dataset_id).order_by(t.Reject.name, t.Reject.reject_id)
    return [to_reject(row) for row in session.scalars(query)]


def to_reject(row: t.Reject) -> RejectRecord:
    """A row to a value."""
    return value_of(RejectRecord, row, member=row.member or None)
