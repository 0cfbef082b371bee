"""One call for every export: what is named, in which form, to which file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provenance.brief import Brief
from provenance.errors import NotFoundError, UsageError
from provenance.exports.audits import (
    export_answer,
    export_audit_csv,
    export_audit_jsonl,
    export_audit_parquet,
    export_similarities,
)
from provenance.exports.datasets import export_dataset_parquet
from provenance.exports.imageclef import RunChoice, RunFile, run_file
from provenance.files import write_bytes
from provenance.logs import room, step
from provenance.records import Dataset
from provenance.vocabulary import Answer, ExportFormat, RuleName, Subject

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.installation import Installation
    from provenance.records import AuditRecord

_log = room(__name__)

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, repr=False)
class Exported(Brief):
    """What an export wrote; ``run_file`` is ``None`` for all forms but ``imageclef``, ``answer`` for other audits."""

    row_count: int
    run_file: RunFile | None = None
    answer: Answer | None = None
    others: tuple[Answer, ...] = ()


@step(_log, "write export")
def write_export(
    workspace: Installation,
    what: str,
    target: Path,
    fmt: ExportFormat,
    *,
    run: RunChoice | None = None,
    space: str | None = None,
    answer: Answer | None = None,
) -> Exported:
    """Write an audit, a set or a release to a file, replacing what is there (see ``Workspace.export``).

    ``what`` is an audit id (prefix), or the exact name of a set or release, which goes first. Of an audit of several
    answers one is written; where none is asked for, the one that the form is for, or the first that it has.

    Raises:
        NotFoundError: If there is no such audit, set or release.
        UsageError: If the form or an argument does not go with it.
        SourceError: If the file can't be written.
    """
    run = run or RunChoice()
    others: tuple[Answer, ...] = ()
    for flag, given in (("--set", run.set_name), ("--labels", run.labels)):
        if given is not None and fmt is not ExportFormat.IMAGECLEF:
            raise UsageError(f"{flag} goes with --format imageclef, not with {fmt}")
    if run.raw and fmt not in _TABLES:
        raise UsageError(f"--raw goes with {', '.join(_TABLES)}, not with {fmt}", hint="nothing is changed in it")
    found = _audit_or_dataset(workspace, what)
    if isinstance(found, Dataset):
        if fmt is ExportFormat.PARQUET and answer is None:
            return Exported(export_dataset_parquet(workspace, found, target, space))
        flag = f"--format {fmt}" if answer is None else f"--answer {answer}"
        raise UsageError(
            f"{found.name} is a {found.kind.value}; {flag} takes an audit id",
            hint="see `provenance audits list`, or export its embeddings with --format parquet",
        )
    if space is not None:
        raise UsageError("--space goes with a set or release; an audit was made in one space")
    if found.subject is Subject.RELEASE:
        parts = workspace.catalog.parts_of(found.audit_id)
        answer = answer or _FOR.get(fmt) or next((each for each in Answer if each in parts), Answer.COPIES)
        others = tuple(each for each in parts if each is not answer)
        found = _part(workspace, found, answer)
    elif answer is not None and (found.rule, found.subject) not in _BY_RULE[answer]:
        raise UsageError(
            f"audit {found.audit_id[:8]} judged {found.subject} images by {found.rule}, and does not answer {answer}",
            hint="leave --answer out, or name an audit of the release",
        )
    rows = Answer.COPIES if answer is None and found.rule == RuleName.COPIES and fmt in _COPY_ROWS else answer
    if rows in _OWN_ROWS:
        return replace(_answer(workspace, found, rows, target, fmt, run), answer=answer, others=others)
    return replace(_verdicts(workspace, found, target, fmt, run), answer=answer, others=others)


_TABLES = (ExportFormat.CSV, ExportFormat.MAX_SIMILARITY, ExportFormat.IMAGECLEF)
_COPY_ROWS = (ExportFormat.CSV, ExportFormat.JSONL, ExportFormat.PARQUET)
_OWN_ROWS = {
    Answer.COPIES: _COPY_ROWS,
    Answer.MEMBERSHIP: (ExportFormat.CSV, ExportFormat.JSONL, ExportFormat.PARQUET, ExportFormat.IMAGECLEF),
}
"""Answers whose rows are not those of any audit, and the forms in which they are written."""
_FOR = {ExportFormat.IMAGECLEF: Answer.MEMBERSHIP, ExportFormat.MAX_SIMILARITY: Answer.BASELINE}
_BY_RULE: dict[Answer, set[tuple[str, Subject]]] = {
    Answer.COPIES: {(RuleName.COPIES, Subject.GENERATED)},
    Answer.MEMBERSHIP: {(RuleName.CALIBRATED, Subject.REAL)},
    Answer.BASELINE: {(RuleName.MU_ALPHA_SIGMA, subject) for subject in Subject},
}


def _part(workspace: Installation, found: AuditRecord, answer: Answer) -> AuditRecord:
    parts = workspace.catalog.parts_of(found.audit_id)
    if answer in parts:
        return parts[answer]
    missing = dict(found.findings.own.get("missing", {}))
    why = f": {missing[answer]}" if answer in missing else ""
    raise UsageError(
        f"audit {found.audit_id[:8]} does not answer {answer}{why}",
        hint=f"it has {', '.join(parts)}: choose with --answer",
    )


def _answer(
    workspace: Installation, found: AuditRecord, answer: Answer, target: Path, fmt: ExportFormat, run: RunChoice
) -> Exported:
    if fmt not in _OWN_ROWS[answer]:
        raise UsageError(
            f"--format {fmt} does not go with --answer {answer}",
            hint=f"it is written as {', '.join(_OWN_ROWS[answer])}",
        )
    if fmt is ExportFormat.IMAGECLEF:
        return _verdicts(workspace, found, target, fmt, run)
    return Exported(export_answer(workspace, found, answer, target, fmt, raw=run.raw))


def _verdicts(workspace: Installation, found: AuditRecord, target: Path, fmt: ExportFormat, run: RunChoice) -> Exported:
    if fmt is ExportFormat.IMAGECLEF:
        made = run_file(workspace, found, run)
        write_bytes(target, made.content if run.raw else made.inert_content)
        return Exported(len(made.rows), made)
    if fmt in (ExportFormat.CSV, ExportFormat.MAX_SIMILARITY):
        write_table = export_audit_csv if fmt is ExportFormat.CSV else export_similarities
        return Exported(write_table(workspace, found, target, raw=run.raw))
    write = export_audit_jsonl if fmt is ExportFormat.JSONL else export_audit_parquet
    return Exported(write(workspace, found, target))


def _audit_or_dataset(workspace: Installation, what: str) -> AuditRecord | Dataset:
    try:
        return workspace.catalog.dataset(what)
    except NotFoundError as no_dataset:
        try:
            return workspace.catalog.audit(what)
        except NotFoundError as no_audit:
            raise (no_audit if set(what.strip().lower()) <= _HEX else no_dataset) from None
