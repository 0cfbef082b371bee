"""Words of a call: names of the fixed lists as a caller spells them, one or several names, audits, labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from provenance.errors import UsageError
from provenance.vocabulary import ExportFormat, Membership, Pages, RuleName

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from provenance.audit import AuditReport
    from provenance.audit.rule import Rule
    from provenance.ingest import OnProgress
    from provenance.records import AuditRecord
    from provenance.truth import TruthRow

    Audit: TypeAlias = "str | AuditRecord | AuditReport"
    Audits: TypeAlias = "Audit | Iterable[Audit] | None"
    Place: TypeAlias = "str | Path"
    Names: TypeAlias = "str | Iterable[str] | None"
    Labels: TypeAlias = "str | Path | Mapping[str, object]"
    OnStep: TypeAlias = "Callable[[str], None]"
    ProgressBar: TypeAlias = "Callable[[str], AbstractContextManager[OnProgress | None]]"

ANOTHER_FILE = "give another name, or overwrite=True"

W = TypeVar("W", bound=StrEnum)


def word_of(kind: type[W], given: str) -> W:
    """The word of a list.

    Raises:
        UsageError: If it is not in the list.
    """
    try:
        return kind(given)
    except ValueError:
        word = {ExportFormat: "format", RuleName: "rule", Pages: "choice of pages"}.get(kind, kind.__name__.lower())
        raise UsageError(f"{given!r} is no {word}", hint=f"one of {', '.join(kind)}") from None


def pages_of(given: str | None) -> Pages | None:
    """What is wanted of files with several pages; ``UsageError`` if it is no word for that."""
    return None if given is None else word_of(Pages, given)


def membership_of(given: str | None, flag: str = "") -> Membership | None:
    """A membership as people write it; ``flag`` is the option it was given by.

    Raises:
        UsageError: If it is none.
    """
    try:
        return None if given is None else Membership(str(given).lower().replace("-", "_"))
    except ValueError:
        message = f"{flag} {given!r} is none" if flag else f"{given!r} is no membership"
        raise UsageError(message, hint="used, not-used or unknown") from None


def names_of_call(given: Names) -> tuple[str, ...]:
    """The names of a call: one text is one name."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def id_of(audit: Audit) -> str:
    """The id of an audit as a caller names it: by its id or a beginning of it, or by what ``audit`` gave."""
    if isinstance(audit, str):
        return audit
    from provenance.records import AuditRecord

    return audit.audit_id if isinstance(audit, AuditRecord) else audit.audit.audit_id


def ids_of(given: Audits) -> tuple[str, ...]:
    """The ids of one or several audits; a text is taken as it is, because it may name a release."""
    from provenance.audit import AuditReport
    from provenance.records import AuditRecord

    several = (given,) if isinstance(given, str | AuditRecord | AuditReport) else given or ()
    return tuple(map(id_of, several))


def rule_of(audit: AuditRecord) -> type[Rule]:
    """The rule of an audit: its labels, and what it says of its figures."""
    from provenance.audit.rules import rule_named

    return rule_named(audit.rule)


def truth_of(labels: Labels | Sequence[Labels] | None) -> tuple[tuple[TruthRow, ...], ...]:
    """Rows of truth from what a call gave: one of what ``rows_of`` takes, or one for each audit."""
    if labels is None:
        return ()
    several = [labels] if isinstance(labels, str | Path | Mapping) or not isinstance(labels, Iterable) else labels
    return tuple(map(rows_of, several))


def rows_of(labels: Labels) -> tuple[TruthRow, ...]:
    """Rows of truth from a CSV file, or from a mapping.

    Raises:
        UsageError: If it is anything else.
        SourceError: If a file can't be read or understood.
    """
    from provenance.truth import read_truth, truth_of_mapping

    if isinstance(labels, Mapping):
        return truth_of_mapping(labels)
    if isinstance(labels, str | Path):
        return read_truth(Path(labels))
    raise UsageError(
        f"labels can't be {type(labels).__name__}", hint="give a CSV file, or a mapping from name or id to truth"
    )
