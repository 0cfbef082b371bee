"""What an audit judges by where the call leaves it open: the rule, the membership score, and the space it is over."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provenance.audit.inputs import CANDIDATES, datasets_of, participants
from provenance.audit.resolution import embed_missing
from provenance.audit.scoring import DEFAULT_LOCAL_BACKBONE, DEFAULT_WHOLE_SCORE, default_score, score_parameters
from provenance.errors import SpaceMismatchError, UsageError
from provenance.spaces import lacking_in
from provenance.vocabulary import Role, RuleName, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.audit.inputs import AuditRequest, FrozenAudit
    from provenance.catalog import Catalog
    from provenance.detection import Policy
    from provenance.installation import Installation
    from provenance.vocabulary import Space


def default_rule(catalog: Catalog, request: AuditRequest) -> RuleName:
    """``calibrated`` as soon as images known not used take part beside others to judge; else the published baseline.

    Raises:
        NotFoundError: If a name is unknown, or there is no set to audit against.
        ConflictError: If the release is not sealed.
    """
    roles = {role for _, role in datasets_of(catalog, request)[1]}
    calibrated = Role.NOT_USED in roles and roles & set(CANDIDATES)
    return RuleName.CALIBRATED if calibrated else RuleName.MU_ALPHA_SIGMA


def with_score_space(workspace: Installation, request: AuditRequest, on_step: Callable[[str], None]) -> AuditRequest:
    """The request in the space that its membership score is over; only for ``calibrated`` verdicts of real images.

    Without a score, and for a local one, the local space that all share is taken; where there is none, patches of
    pixels are made from the recorded sources.

    Raises:
        SpaceMismatchError: If there are several local spaces and none was chosen.
        SourceError: If an image can't be read again for the local space.
    """
    policy = request.policy
    if policy.rule is not RuleName.CALIBRATED or policy.subject is not Subject.REAL or request.space is not None:
        return request
    kind = None if policy.score is None else policy.score["space_kind"]
    if kind == "whole":
        return request
    space = _local_space(workspace.catalog, request)
    if space is None:
        space = workspace.load_backbone(name=DEFAULT_LOCAL_BACKBONE).space
        named = participants(workspace.catalog, request)
        embed_missing(workspace, named, space, f"judge by whole images: --score {DEFAULT_WHOLE_SCORE}", on_step)
    return replace(request, space=space.space_id)


def _local_space(catalog: Catalog, request: AuditRequest) -> Space | None:
    datasets = participants(catalog, request)
    common = set.intersection(*({c.space_id for c in catalog.collections_of(d.dataset_id)} for d in datasets))
    known = [space for space in catalog.spaces() if space.space_id in common and space.parts > 1]
    whole = [space for space in known if not any(lacking_in(catalog, dataset, space) for dataset in datasets)]
    if len(whole) > 1:
        whole = [space for space in whole if space.backbone == DEFAULT_LOCAL_BACKBONE] or whole
    if len(whole) > 1:
        names = ", ".join(sorted(f"{space.backbone} ({space.space_id[:18]})" for space in whole))
        raise SpaceMismatchError(f"they share several local spaces: {names}", hint="choose one with --space")
    return whole[0] if whole else None


def with_score(policy: Policy, frozen: FrozenAudit) -> Policy:
    """The policy with the default score of the audit's space, where it is ``calibrated`` and names none.

    Raises:
        UsageError: If the score has other parameters than this version's.
    """
    if policy.rule is not RuleName.CALIBRATED or policy.subject is not Subject.REAL:
        return policy
    if policy.score is None:
        return replace(policy, score=score_parameters(default_score(is_local=frozen.space.parts > 1), policy.top_k))
    name = str(policy.score.get("score"))
    if score_parameters(name, int(policy.score.get("k", policy.top_k))) != dict(policy.score):
        raise UsageError(f"this version computes the score {name} with other parameters than the policy states")
    return policy
