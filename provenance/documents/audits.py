"""Recorded audits: audit, audits list, audits show."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Self

from provenance.audit import Change
from provenance.documents.document import Counts, Document, at
from provenance.documents.measures import JointSensitivity, Sensitivity
from provenance.findings import (
    CopiesFindings,
    Estimate,
    FalseMatchRate,
    GroupFigures,
    GuessFigures,
    JointFindings,
    NotComputed,
    OtherMeans,
    TailFigures,
)
from provenance.records import SensitivityRecord
from provenance.vocabulary import Answer, Outcome, RejectReason, Role, Search, Subject


class Threshold(Document):
    """T of a rule; a probability has no mu and sigma."""

    mu: float | None
    sigma: float | None
    alpha: float | None
    n: int | None = at("population_count")
    value: float = at("threshold")


class AuditedDataset(Document):
    """One dataset in the role it played, as it was then."""

    name: str
    role: Role
    dataset_id: str
    digest: str = at("dataset_digest")
    image_count: int


class AnswerOfAudit(Document):
    """What the answers of an audit have in common."""

    audit_id: str
    verdict_digest: str
    policy_id: str
    space_id: str
    outcome: Outcome | None = at("findings", "outcome")
    outcome_reason: str | None = at("findings", "outcome_reason")
    subjects: int
    duration_seconds: float
    settings: dict[str, Any]
    searched: Search | None = None


class Copies(AnswerOfAudit):
    """Which generated images copy real ones: images by label."""

    copy_: int = at("copy", serialization_alias="copy")
    part_copy: int
    inconclusive: int
    no_copy_seen: int
    false_match_rate: FalseMatchRate | None


class MembershipAnswer(AnswerOfAudit):
    """Which real images were used: images by label; the release test's AUC; and what stands beside the labels.

    ``guess``: how good the best guess is, which is a bet; ``guess_missing``: why there is none.
    """

    established: int
    not_established: int
    inconclusive: int
    auc: Estimate | None
    guess: GuessFigures | None = None
    guess_missing: str = ""
    groups: GroupFigures | None = None
    tail: TailFigures | None = None
    other_means: dict[str, OtherMeans] | None = None
    calibration_images: int
    calibration_groups: int


class PartOf(Document):
    """The audit of a release as a whole that another one is an answer of."""

    audit_id: str
    answer: Answer


class Audit(Document):
    """One finished audit; what its rule does not have is null.

    That of a release as a whole has an answer to each question, or null, with the reason under ``missing``.
    ``searched``: where neighbors were looked for, which no verdict depends on; not there in older records, or where
    answers differ.
    ``read_consistency``: what the replicas of a server had to agree on; not there where none was read.
    """

    audit_id: str
    verdict_digest: str
    subject: Subject
    rule: str
    policy_id: str
    space_id: str
    release_digest: str
    threshold: Threshold | None
    outcome: Outcome | None = at("findings", "outcome")
    outcome_reason: str | None = at("findings", "outcome_reason")
    release_test: dict[str, Any] | None = at("findings", "release_test_json")
    counts: Counts
    datasets: tuple[AuditedDataset, ...]
    settings: dict[str, Any]
    software_version: str
    started_at: datetime
    audited_at: datetime
    duration_seconds: float
    notes: tuple[str, ...]
    looks: int | None = None
    predeclared: bool | None = None
    missing: dict[Answer, str] | None = None
    copies: Copies | None = None
    membership: MembershipAnswer | None = None
    baseline: Audit | None = None
    part_of: PartOf | None = None
    searched: Search | None = None
    read_consistency: str | None = None

    @classmethod
    def of_record(cls, found: Any, **more: Any) -> Self:
        """The document of a recorded audit: of its record, datasets, notes and answers."""
        audit = found.audit
        threshold = None if audit.threshold is None else audit
        more |= {"datasets": found.datasets, "notes": found.notes, "threshold": threshold} | _searched(audit)
        if audit.findings.read_consistency:
            more["read_consistency"] = audit.findings.read_consistency
        if audit.subject is Subject.RELEASE:
            own = audit.findings.own_as(JointFindings)
            more |= {"looks": own.looks, "predeclared": own.predeclared, "missing": own.missing}
            more |= {answer.value: None for answer in _ANSWERS}
            more |= {answer.value: _ANSWERS[answer](part) for answer, part in found.answers.items()}
        return cls.of(audit, **more)


def listed(found: Any) -> Audit:
    """The document of an audit on record, with the audit that it is an answer of."""
    return Audit.of_record(found, **part_of(found))


def part_of(found: Any) -> dict[str, PartOf]:
    """What ``of_record`` is told beside of an answer that stands by itself."""
    return {} if found.part_of is None else {"part_of": PartOf(audit_id=found.part_of[0], answer=found.part_of[1])}


def _searched(audit: Any) -> dict[str, Search]:
    return {"searched": audit.findings.searched} if audit.findings.searched else {}


def _copies(part: Any) -> Copies:
    rate = part.audit.findings.own_as(CopiesFindings).false_match_rate
    return Copies.of(part.audit, **part.audit.counts, false_match_rate=rate, **_searched(part.audit))


def _membership(part: Any) -> MembershipAnswer:
    found = part.audit.findings.calibrated
    test = None if found is None else found.release_test
    more: dict[str, Any] = {"auc": None if test is None else test.auc, "guess": None, **_searched(part.audit)}
    if found is not None:
        more |= {name: getattr(found, name) for name in ("groups", "tail", "other_means")}
        missing = isinstance(found.guess, NotComputed)
        more |= {"guess_missing": found.guess.reason} if missing else {"guess": found.guess}
    return MembershipAnswer.of(part.audit, **part.audit.counts, **more)


_ANSWERS: dict[Answer, Any] = {
    Answer.COPIES: _copies,
    Answer.MEMBERSHIP: _membership,
    Answer.BASELINE: lambda part: Audit.of_record(part),
}


class NewAudit(Audit):
    """An audit that was just made, and what was asked beside: changes since another, and its sensitivity."""

    compared_with: str = ""
    changes: tuple[Change, ...] = ()
    sensitivity: Sensitivity | JointSensitivity | None = None


class DeclaredPolicy(Document):
    """A policy that was put on record before anybody judged by it, the file that states it, and sets by their role."""

    policy_id: str
    rule: str
    parameters: dict[str, Any]
    file: Path
    on_record_since: datetime
    sets: dict[Role, tuple[str, ...]]


class RejectedInput(Document):
    """An input that was rejected when the audit was made; null where its name was erased since."""

    name: str | None
    reason: RejectReason
    detail: str | None


class Drift(Document):
    """A dataset then and now; null where it was removed."""

    name: str = at("dataset", "name")
    changed: bool
    image_count_then: int = at("dataset", "image_count")
    image_count_now: int | None


class AuditInFull(Audit):
    """An audit with its rejected inputs, sensitivities, and how its datasets have changed."""

    rejects: tuple[RejectedInput, ...]
    sensitivities: tuple[SensitivityRecord, ...]
    drift: tuple[Drift, ...]


DOCUMENTS = {
    "audit": NewAudit,
    "audit --declare": DeclaredPolicy,
    "audits list": tuple[Audit, ...],
    "audits show": AuditInFull,
}
