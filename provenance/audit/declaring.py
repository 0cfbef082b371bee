"""Policies that are declared before anybody looks: resolved, written and put on record; nothing is judged.

A declaration is of a policy for one release and of all that changes its verdicts beside it: the sets in their roles,
the spaces, what is left out as a near-twin and by which rule, and the reference release. Another one of these is
another declaration.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.audit.plan import JointPlan, resolve
from provenance.audit.policy import PolicyChoice
from provenance.brief import Brief
from provenance.errors import UsageError
from provenance.files import write_bytes
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path
    from typing import Any

    from provenance.audit.inputs import FrozenAudit
    from provenance.audit.plan import AuditPlan, AuditRequest
    from provenance.audit.rule import OnStep
    from provenance.installation import Installation


@dataclass(frozen=True, slots=True, repr=False)
class DeclaredPolicy(Brief):
    """A policy on record, where it was written, since when it is declared so, and for which sets, by role."""

    policy_id: str
    rule: str
    parameters: Mapping[str, Any]
    file: Path
    on_record_since: datetime
    sets: Mapping[Role, tuple[str, ...]]


def declare(workspace: Installation, request: AuditRequest, file: Path, on_step: OnStep) -> DeclaredPolicy:
    """Write the policy that an audit would judge by, and put it on record.

    Raises:
        SourceError: If the file can't be written.
        ProvenanceError: As ``provenance.audit.plan.resolve``.
    """
    plan = resolve(workspace, request, on_step)
    policy, frozen = plan.policy, _frozen(plan)[0]
    write_bytes(file, (json.dumps(policy.to_json(), indent=2) + "\n").encode())
    put_on_record(workspace, plan)
    workspace.catalog.declare_policy(frozen.release.dataset.dataset_id, policy.policy_id, _conditions(plan))
    since = next(at for at, said in _declarations(workspace, plan) if said == _conditions(plan))
    named = {role: tuple(each.dataset.name for each in frozen.sets if each.role is role) for role in Role}
    sets = {role: names for role, names in named.items() if names}
    return DeclaredPolicy(policy.policy_id, policy.rule_name, policy.parameters, file, since, sets)


def put_on_record(workspace: Installation, plan: AuditPlan | JointPlan) -> None:
    """Record what an audit judges by, as a whole and answer by answer; what is on record stays."""
    answers = plan.answers.values() if isinstance(plan, JointPlan) else ()
    for policy in (plan.policy, *(answer.policy for answer in answers)):
        workspace.catalog.ensure_policy(policy.policy_id, policy.rule_name, policy.parameters)


def declared_since(workspace: Installation, request: AuditRequest, plan: AuditPlan | JointPlan) -> datetime | None:
    """Since when the policy of a request is declared so; ``None``: it is not said to have been declared.

    Raises:
        UsageError: If it is said to, and was not, or under other conditions.
    """
    if not request.predeclared:
        return None
    if isinstance(request.policy, PolicyChoice) and request.policy.given is None:
        raise UsageError("a policy that was declared beforehand is a file, or one on record (policy:...)")
    known, conditions = _declarations(workspace, plan), _conditions(plan)
    if same := [at for at, said in known if said == conditions]:
        return same[0]
    named = plan.policy.policy_id[:19]
    if not known:
        raise UsageError(
            f"{named} was not declared beforehand for {_frozen(plan)[0].release.dataset.name}: it is not on record",
            hint="`provenance audit RELEASE --declare FILE` puts one there; --policy judges by it all the same",
        )
    other = [name for name, value in conditions.items() if known[-1][1].get(name) != value]
    raise UsageError(
        f"{named} was declared beforehand for an audit with other {' and '.join(other)}",
        hint="audit as it was declared (the same sets and options); --policy judges by it all the same",
    )


def _declarations(workspace: Installation, plan: AuditPlan | JointPlan) -> list[tuple[datetime, Mapping[str, Any]]]:
    release = _frozen(plan)[0].release.dataset
    return workspace.catalog.declarations(release.dataset_id, plan.policy.policy_id)


def _frozen(plan: AuditPlan | JointPlan) -> list[FrozenAudit]:
    return [each.frozen for each in plan.answers.values()] if isinstance(plan, JointPlan) else [plan.frozen]


def _conditions(plan: AuditPlan | JointPlan) -> dict[str, Any]:
    # Images that are claimed used and not used need no place here: without --exclude-overlap nothing is judged.
    every = _frozen(plan)
    sets = {role.value: sorted(s.dataset.dataset_id for s in every[0].sets if s.role is role) for role in Role}
    twins = [each.twins.rule.parameters for each in every if each.twins is not None and each.twins_excluded]
    return {
        "sets": {role: ids for role, ids in sets.items() if ids},
        "spaces": sorted({each.space.space_id for each in every}),
        "twins left out": twins[0] if twins else None,
        "reference release": next((each.reference.dataset.dataset_id for each in every if each.reference), None),
    }
