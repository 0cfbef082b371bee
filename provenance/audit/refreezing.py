"""A recorded audit, frozen again as it was: the same images in the same roles, twins left out as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.audit.inputs import AuditRequest, freeze
from provenance.audit.twins import recorded_rule, twins_of, with_twins
from provenance.errors import ConflictError
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.audit.inputs import FrozenAudit
    from provenance.installation import Installation
    from provenance.records import AuditRecord


def frozen_again(workspace: Installation, audit: AuditRecord, on_step: Callable[[str], None]) -> FrozenAudit:
    """The images that an audit judged by, from what is on record now; sets are found whatever their names are now.

    Raises:
        NotFoundError: If one of its sets was removed.
        ConflictError: If a set, a release or the twins are not what the audit saw.
    """
    request = _request_again(workspace, audit)
    frozen = freeze(workspace.catalog, request)
    seen = [(row.dataset_id, row.name, row.dataset_digest) for row in workspace.catalog.audit_datasets(audit.audit_id)]
    if reference := audit.findings.reference_release:
        seen.append((reference.dataset_id, reference.name, reference.digest))
    there = (frozen.release, *frozen.sets, *([frozen.reference] if frozen.reference else ()))
    now = {each.dataset.dataset_id: each.digest for each in there}
    for dataset_id, name, digest in seen:
        if now.get(dataset_id) != digest:
            raise ConflictError(
                f"{name} has changed since audit {audit.audit_id[:8]}: it can't be computed again",
                hint="audit again, and ask about that audit",
            )
    if not request.exclude_twins:
        return frozen
    without = with_twins(workspace, frozen, request, on_step)
    now_left_out, left_out = twins_of(without), audit.findings.twins
    if now_left_out is None or left_out is None or now_left_out.images_digest != left_out.images_digest:
        raise ConflictError(
            f"audit {audit.audit_id[:8]} left twins out, and others are found now: it can't be computed again",
            hint="audit again, and ask about that audit",
        )
    return without


def _request_again(workspace: Installation, audit: AuditRecord) -> AuditRequest:
    catalog = workspace.catalog
    names: dict[Role, list[str]] = {role: [] for role in Role}
    for row in catalog.audit_datasets(audit.audit_id):
        names[row.role].append(catalog.dataset_by_id(row.dataset_id).name)
    reference, twins = audit.findings.reference_release, audit.findings.twins
    return AuditRequest(
        names[Role.RELEASE][0],
        tuple(names[Role.USED]),
        tuple(names[Role.NOT_USED]),
        tuple(names[Role.AGAINST]),
        space=audit.space_id,
        exclude_overlap=bool(audit.counts.get("excluded_overlap")),
        exclude_twins=twins is not None and twins.excluded,
        twin_rule=recorded_rule(twins),
        reference_release=None if reference is None else catalog.dataset_by_id(reference.dataset_id).name,
    )
