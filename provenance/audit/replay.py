"""A recorded audit as it was: the same images in the same roles, the same space, the same policy, twins left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.audit.inputs import freeze, parties_of
from provenance.audit.plan import AuditPlan
from provenance.audit.policy import policy_from_json
from provenance.audit.twins import recorded_rule, twins_of, with_twins
from provenance.errors import ConflictError
from provenance.spaces import common_space
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.audit.inputs import FrozenAudit
    from provenance.installation import Installation
    from provenance.records import AuditDataset, AuditRecord


def planned_again(workspace: Installation, audit: AuditRecord, on_step: Callable[[str], None]) -> AuditPlan:
    """What an audit judged by, from what is on record now; sets are found whatever their names are now.

    Raises:
        NotFoundError: If one of its sets was removed.
        ConflictError: If a set, a release or the twins are not what the audit saw.
    """
    catalog = workspace.catalog
    policy = policy_from_json(audit.rule, dict(catalog.policy(audit.policy_id).parameters))
    seen = catalog.audit_datasets(audit.audit_id)
    names = {role: [catalog.dataset_by_id(row.dataset_id).name for row in seen if row.role is role] for role in Role}
    release, reference = names.pop(Role.RELEASE)[0], audit.findings.reference_release
    other = None if reference is None else catalog.dataset_by_id(reference.dataset_id).name
    parties = parties_of(catalog, release, names, other)
    frozen = freeze(
        catalog,
        parties,
        common_space(catalog, parties.everyone, audit.space_id),
        subject=policy.subject,
        top_k=policy.top_k,
        exclude_overlap=bool(audit.counts.get("excluded_overlap")),
    )
    _require_unchanged(audit, frozen, seen)
    if (seen_twins := audit.findings.twins) and seen_twins.excluded:
        frozen = with_twins(workspace, frozen, recorded_rule(seen_twins), on_step, exclude=True)
        twins = twins_of(frozen)
        if twins is None or twins.images_digest != seen_twins.images_digest:
            raise _changed(f"audit {audit.audit_id[:8]} left twins out, and others are found now")
    return AuditPlan(policy, frozen)


def _require_unchanged(audit: AuditRecord, frozen: FrozenAudit, seen: list[AuditDataset]) -> None:
    digests = [(row.dataset_id, row.name, row.dataset_digest) for row in seen]
    if reference := audit.findings.reference_release:
        digests.append((reference.dataset_id, reference.name, reference.digest))
    there = (frozen.release, *frozen.sets, *([frozen.reference] if frozen.reference else ()))
    now = {each.dataset.dataset_id: each.digest for each in there}
    for dataset_id, name, digest in digests:
        if now.get(dataset_id) != digest:
            raise _changed(f"{name} has changed since audit {audit.audit_id[:8]}")


def _changed(what: str) -> ConflictError:
    return ConflictError(f"{what}: it can't be computed again", hint="audit again, and ask about that audit")
