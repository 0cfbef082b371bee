"""Recorded audits: audit, audits list, audits show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from provenance.audit import Change
from provenance.documents.document import Counts, Document, at
from provenance.documents.measures import Sensitivity
from provenance.records import SensitivityRecord
from provenance.vocabulary import Outcome, RejectReason, Role, Subject


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


class Audit(Document):
    """One finished audit; what its rule does not have is null."""

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

    @classmethod
    def of_record(cls, audit: Any, datasets: Sequence[Any], notes: Sequence[str] = (), **more: Any) -> Self:
        """The document of a recorded audit and its datasets."""
        threshold = None if audit.threshold is None else audit
        return cls.of(audit, datasets=datasets, notes=notes, threshold=threshold, **more)


class NewAudit(Audit):
    """An audit that was just made, and what was asked beside: changes since another, and its sensitivity."""

    compared_with: str = ""
    changes: tuple[Change, ...] = ()
    sensitivity: Sensitivity | None = None


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


DOCUMENTS = {"audit": NewAudit, "audits list": tuple[Audit, ...], "audits show": AuditInFull}
