"""One call for every export: what is named, in which form, to which file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.errors import NotFoundError, UsageError
from provenance.exports.audits import export_audit_csv, export_audit_jsonl, export_audit_parquet, export_similarities
from provenance.exports.datasets import export_dataset_parquet
from provenance.exports.imageclef import RunFile, run_file
from provenance.files import write_bytes
from provenance.logs import room, step
from provenance.records import Dataset
from provenance.vocabulary import ExportFormat

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.installation import Installation
    from provenance.records import AuditRecord

_log = room(__name__)

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote; ``run_file`` is ``None`` for all forms but ``imageclef``."""

    row_count: int
    run_file: RunFile | None = None


@step(_log, "write export")
def write_export(
    workspace: Installation,
    what: str,
    target: Path,
    fmt: ExportFormat,
    *,
    set_name: str | None = None,
    space: str | None = None,
) -> Exported:
    """Write an audit, a set or a release to a file, replacing what is there (see ``Workspace.export``).

    ``what`` is an audit id (prefix), or the exact name of a set or release, which goes first.

    Raises:
        NotFoundError: If there is no such audit, set or release.
        UsageError: If the form or an argument does not go with it.
        SourceError: If the file can't be written.
    """
    if set_name is not None and fmt is not ExportFormat.IMAGECLEF:
        raise UsageError(f"--set goes with --format imageclef, not with {fmt}")
    found = _audit_or_dataset(workspace, what)
    if isinstance(found, Dataset):
        if fmt is ExportFormat.PARQUET:
            return Exported(export_dataset_parquet(workspace, found, target, space))
        raise UsageError(
            f"{found.name} is a {found.kind.value}; --format {fmt} takes an audit id",
            hint="see `provenance audits list`, or export its embeddings with --format parquet",
        )
    if space is not None:
        raise UsageError("--space goes with a set or release; an audit was made in one space")
    if fmt is ExportFormat.IMAGECLEF:
        made = run_file(workspace, found, set_name)
        write_bytes(target, made.content)
        return Exported(len(made.rows), made)
    write = {
        ExportFormat.CSV: export_audit_csv,
        ExportFormat.JSONL: export_audit_jsonl,
        ExportFormat.PARQUET: export_audit_parquet,
        ExportFormat.MAX_SIMILARITY: export_similarities,
    }[fmt]
    return Exported(write(workspace, found, target))


def _audit_or_dataset(workspace: Installation, what: str) -> AuditRecord | Dataset:
    try:
        return workspace.catalog.dataset(what)
    except NotFoundError as no_dataset:
        try:
            return workspace.catalog.audit(what)
        except NotFoundError as no_audit:
            raise (no_audit if set(what.strip().lower()) <= _HEX else no_dataset) from None
