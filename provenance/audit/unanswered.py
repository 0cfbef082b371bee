"""Audits and measurements that were recorded and whose answer never arrived: the repeat records no second one.

A process keeps a locked file named by its audit, or also by the digest of what it measured, from before it is recorded
until the answer is given. A file that nobody holds is of a process that was killed.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from provenance.errors import NotFoundError
from provenance.files import when_answered
from provenance.vocabulary import digest_of_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provenance.installation import Installation
    from provenance.records import AuditRecord, NewAudit

_FOLDER = "unanswered"


def record_once(workspace: Installation, new: NewAudit) -> AuditRecord | None:
    """Record an audit; ``None``, unless a killed process recorded the same one last, which is given instead."""
    folder = workspace.root / _FOLDER
    for name in _left_in(folder):
        if (earlier := _same(workspace, name, new)) is not None:
            return earlier
    _hold(folder / new.audit.audit_id)
    workspace.catalog.record_audit(new)
    return None


def record_measured_once(workspace: Installation, audit_id: str, result: Mapping[str, Any]) -> None:
    """Record a sensitivity of an audit, unless a killed process recorded the same one last."""
    folder, digest = workspace.root / _FOLDER, digest_of_json(_timeless(result))
    known = workspace.catalog.sensitivities(audit_id) if f"{audit_id}-{digest}" in _left_in(folder) else ()
    _hold(folder / f"{audit_id}-{digest}")
    if not known or digest_of_json(_timeless(known[-1].result)) != digest:
        workspace.catalog.record_sensitivity(audit_id, result)


def _timeless(value: Any) -> Any:
    """A result, of which a repeat differs in how long it took."""
    if not isinstance(value, dict):
        return value
    return {name: _timeless(each) for name, each in value.items() if name != "seconds"}


def _left_in(folder: Path) -> list[str]:
    """The names of files that nobody holds any more; their files are taken away."""
    found = []
    for file in sorted(folder.glob("*")):
        with suppress(OSError), file.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
            found.append(file.name)
    with suppress(OSError):  # others are held in it, or there is none
        folder.rmdir()
    return found


def _same(workspace: Installation, audit_id: str, new: NewAudit) -> AuditRecord | None:
    try:
        earlier = workspace.catalog.audit(audit_id)
    except NotFoundError:  # it was killed before it was recorded
        return None
    played = {(each.dataset_id, each.role) for each in workspace.catalog.audit_datasets(audit_id)}
    same = played == {(each.dataset_id, each.role) for each in new.datasets} and all(
        getattr(earlier, name) == getattr(new.audit, name) for name in ("verdict_digest", "policy_id", "dataset_id")
    )
    return earlier if same else None


def _hold(file: Path) -> None:
    stream = _made(file)
    fcntl.flock(stream, fcntl.LOCK_EX)
    when_answered(partial(_release, stream, file))


def _made(file: Path) -> IO[bytes]:
    while True:
        file.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another process took the empty folder away
            return file.open("xb")


def _release(stream: IO[bytes], file: Path) -> None:
    file.unlink(missing_ok=True)
    stream.close()
    with suppress(OSError):  # others are held in it
        file.parent.rmdir()
