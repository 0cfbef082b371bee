"""Policies that are declared before anybody looks: resolved, written and put on record; nothing is judged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.audit.plan import JointPlan, resolve
from provenance.audit.policy import PolicyChoice
from provenance.errors import NotFoundError, UsageError
from provenance.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path
    from typing import Any

    from provenance.audit.plan import AuditPlan, AuditRequest
    from provenance.audit.rule import OnStep
    from provenance.installation import Installation


@dataclass(frozen=True, slots=True)
class DeclaredPolicy:
    """A policy on record, where it was written, and since when it is there."""

    policy_id: str
    rule: str
    parameters: Mapping[str, Any]
    file: Path
    on_record_since: datetime


def declare(workspace: Installation, request: AuditRequest, file: Path, on_step: OnStep) -> DeclaredPolicy:
    """Write the policy that an audit would judge by, and put it on record.

    Raises:
        SourceError: If the file can't be written.
        ProvenanceError: As ``provenance.audit.plan.resolve``.
    """
    plan = resolve(workspace, request, on_step)
    write_bytes(file, (json.dumps(plan.policy.to_json(), indent=2) + "\n").encode())
    put_on_record(workspace, plan)
    known = workspace.catalog.policy(plan.policy.policy_id)
    return DeclaredPolicy(known.policy_id, known.rule, plan.policy.parameters, file, known.created_at)


def put_on_record(workspace: Installation, plan: AuditPlan | JointPlan) -> None:
    """Record what an audit judges by, as a whole and answer by answer; what is on record stays."""
    answers = plan.answers.values() if isinstance(plan, JointPlan) else ()
    for policy in (plan.policy, *(answer.policy for answer in answers)):
        workspace.catalog.ensure_policy(policy.policy_id, policy.rule_name, policy.parameters)


def declared_since(workspace: Installation, request: AuditRequest) -> datetime | None:
    """Since when the policy of a request is on record; ``None``: it is not said to have been declared.

    Raises:
        UsageError: If it is, and is not on record.
    """
    if not request.predeclared:
        return None
    choice = request.policy if isinstance(request.policy, PolicyChoice) else PolicyChoice(request.policy)
    policy = choice.stated(workspace)
    if policy is None or choice.given is None:
        raise UsageError("a policy that was declared beforehand is a file, or one on record (policy:...)")
    try:
        return workspace.catalog.policy(policy.policy_id).created_at
    except NotFoundError as error:
        raise UsageError(
            f"{policy.policy_id[:19]} was not declared beforehand: it is not on record",
            hint="`provenance audit RELEASE --declare FILE` puts one there; --policy judges by it all the same",
        ) from error
