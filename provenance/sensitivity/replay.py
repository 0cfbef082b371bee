"""A recorded audit, frozen again as it was: the same images in the same roles, the same space, the same policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.audit.refreezing import frozen_again
from provenance.detection import policy_from_json
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.audit.inputs import FrozenAudit
    from provenance.detection import Policy
    from provenance.installation import Installation
    from provenance.records import AuditRecord, StoredVerdict


@dataclass(frozen=True, slots=True)
class ReplayedAudit:
    """An audit on record, ready to judge one more image by.

    Attributes:
        record: As recorded.
        release_name: Its release, as it was called then.
        frozen: Its images, which are those that it judged by.
        policy: The policy that it was made by.
        verdicts: Its verdicts by image_key.
    """

    record: AuditRecord
    release_name: str
    frozen: FrozenAudit
    policy: Policy
    verdicts: dict[str, StoredVerdict]


def replayed(workspace: Installation, audit: str, on_step: Callable[[str], None]) -> ReplayedAudit:
    """An audit by its id, frozen again from what is on record.

    Raises:
        NotFoundError: If there is no such audit, or one of its sets was removed.
        ConflictError: If a set, its release or its twins are not what the audit saw.
    """
    catalog = workspace.catalog
    record = catalog.audit(audit)
    policy = policy_from_json(record.rule, catalog.policy(record.policy_id).parameters)
    frozen = frozen_again(workspace, record, on_step)
    verdicts = {verdict.image_key: verdict for verdict in catalog.verdicts(record.audit_id)}
    name = next(row.name for row in catalog.audit_datasets(record.audit_id) if row.role is Role.RELEASE)
    return ReplayedAudit(record, name, frozen, policy, verdicts)
