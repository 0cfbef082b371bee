"""A recorded audit, frozen again as it was: the same images in the same roles, the same space, the same policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.audit.inputs import AuditRequest, freeze
from provenance.audit.twins import recorded_rule, twin_settings, with_twins
from provenance.detection import policy_from_json
from provenance.errors import ConflictError
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.audit.inputs import FrozenAudit
    from provenance.catalog import AuditDataset, AuditRecord, StoredVerdict
    from provenance.detection import Policy
    from provenance.workspace import Workspace


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


def replayed(workspace: Workspace, audit: str, on_step: Callable[[str], None]) -> ReplayedAudit:
    """An audit by its id, frozen again from what is on record.

    Raises:
        NotFoundError: If there is no such audit, or one of its sets was removed.
        ConflictError: If a set, its release or its twins are not what the audit saw.
    """
    catalog = workspace.catalog
    record = catalog.audit(audit)
    datasets = catalog.audit_datasets(record.audit_id)
    policy = policy_from_json(record.rule, catalog.policy(record.policy_id).parameters)
    request = _request(workspace, record, datasets, policy)
    frozen = freeze(catalog, request)
    now = {(each.dataset.dataset_id, each.role): each.digest for each in (frozen.release, *frozen.sets)}
    for row in datasets:
        if now.get((row.dataset_id, row.role)) != row.dataset_digest:
            raise ConflictError(
                f"{row.name} has changed since audit {record.audit_id[:8]}: what it would have seen can't be told now",
                hint="audit again, and measure the sensitivity of that audit",
            )
    twins = record.settings.get("twins") or {}
    if twins.get("excluded"):
        frozen = with_twins(workspace, frozen, request, on_step)
        if twin_settings(frozen).get("twins", {}).get("images_digest") != twins["images_digest"]:
            raise ConflictError(
                f"audit {record.audit_id[:8]} left twins out, and others are found now",
                hint="audit again, and measure the sensitivity of that audit",
            )
    verdicts = {verdict.image_key: verdict for verdict in catalog.verdicts(record.audit_id)}
    name = next(row.name for row in datasets if row.role is Role.RELEASE)
    return ReplayedAudit(record, name, frozen, policy, verdicts)


def _request(workspace: Workspace, record: AuditRecord, datasets: list[AuditDataset], policy: Policy) -> AuditRequest:
    names: dict[Role, list[str]] = {role: [] for role in Role}
    for row in datasets:
        names[row.role].append(_name_now(workspace, row.dataset_id))
    reference = record.settings.get("reference_release")
    return AuditRequest(
        names[Role.RELEASE][0],
        tuple(names[Role.USED]),
        tuple(names[Role.NOT_USED]),
        tuple(names[Role.AGAINST]),
        policy,
        record.space_id,
        exclude_overlap=record.counts.get("excluded_overlap", 0) > 0,
        exclude_twins=bool((record.settings.get("twins") or {}).get("excluded")),
        twin_rule=recorded_rule(record.settings.get("twins") or {}),
        reference_release=None if reference is None else _name_now(workspace, reference["dataset_id"]),
    )


def _name_now(workspace: Workspace, dataset_id: str) -> str:
    """Another dataset may have the name since; then digests differ, and that is said."""
    return workspace.catalog.dataset_by_id(dataset_id).name
