"""What changed from one audit to another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provenance.errors import UsageError
from provenance.vocabulary import Answer, Subject

if TYPE_CHECKING:
    from provenance.catalog import Catalog
    from provenance.records import AuditRecord, StoredVerdict


@dataclass(frozen=True, slots=True)
class Change:
    """One subject whose verdict differs. A label or score is ``None`` where that audit did not judge the image.

    Attributes:
        change: ``label`` (another label), ``score`` (same label, another score), ``added`` or ``gone``.
        answer: To which it belongs, of audits of several; else ``None``.
    """

    image_key: str
    image_id: str | None
    change: str
    label_before: str | None
    label_after: str | None
    score_before: float | None
    score_after: float | None
    answer: Answer | None = None


def compare_audits(catalog: Catalog, before_id: str, after_id: str) -> list[Change]:
    """Every subject whose verdict is another one: changed labels first, then scores, then who came and went.

    Of two audits of several answers, answer by answer, those that both have.

    Scores of two rules are different things (a cosine, a probability): between rules only labels are compared.

    Raises:
        NotFoundError: If an audit is unknown.
        UsageError: If one judged generated and the other real images.
    """
    before, after = catalog.audit(before_id), catalog.audit(after_id)
    if before.subject is Subject.RELEASE is after.subject:
        return _of_answers(catalog, before, after)
    if before.subject is not after.subject:
        raise UsageError(
            f"audit {before.audit_id[:8]} judged {before.subject.value} images, "
            f"audit {after.audit_id[:8]} {after.subject.value} ones: nothing to compare"
        )
    old = {verdict.image_key: verdict for verdict in catalog.verdicts(before.audit_id)}
    new = {verdict.image_key: verdict for verdict in catalog.verdicts(after.audit_id)}
    same_rule = before.rule == after.rule
    changes = [_change(old.get(key), new.get(key), scores=same_rule) for key in old.keys() | new.keys()]
    return sorted((change for change in changes if change is not None), key=_order)


def _of_answers(catalog: Catalog, before: AuditRecord, after: AuditRecord) -> list[Change]:
    old, new = catalog.parts_of(before.audit_id), catalog.parts_of(after.audit_id)
    return [
        replace(change, answer=answer)
        for answer in Answer
        if answer in old and answer in new
        for change in compare_audits(catalog, old[answer].audit_id, new[answer].audit_id)
    ]


def _order(change: Change) -> tuple[int, str]:
    return ("label", "score", "added", "gone").index(change.change), change.image_id or change.image_key


def _change(old: StoredVerdict | None, new: StoredVerdict | None, *, scores: bool) -> Change | None:
    known = new or old
    assert known is not None
    if old is None or new is None:
        kind = "added" if old is None else "gone"
    elif old.label is not new.label:
        kind = "label"
    elif scores and old.score != new.score:
        kind = "score"
    else:
        return None
    before, after = ((each.label.value, each.score) if each else (None, None) for each in (old, new))
    return Change(known.image_key, known.image_id, kind, before[0], after[0], before[1], after[1])
