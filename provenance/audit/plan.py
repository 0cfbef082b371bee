"""What an audit is asked, and what it is going to do: names, policy and space are settled here, once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from provenance.audit.inputs import freeze, parties_of
from provenance.audit.policy import Policy, PolicyChoice
from provenance.audit.resolution import matched_space
from provenance.audit.twins import with_twins
from provenance.duplicates import DuplicateRule
from provenance.errors import SpaceMismatchError
from provenance.spaces import common_space
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provenance.audit.inputs import FrozenAudit, Parties
    from provenance.installation import Installation
    from provenance.vocabulary import Space

    OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What to audit.

    Attributes:
        release: Name of the release.
        used: Names of sets claimed to have been used for training the generator.
        not_used: Names of sets claimed not to have been used.
        against: Names of sets of which it is not known. With no set at all, every set takes part by its
            default membership (of the release's modality, where both state one).
        policy: The rule and its parameters; or what a call says of it, where the sets may have to decide.
        space: Backbone name or ``space_id`` (prefix); ``None``: the one space that all have in common.
        exclude_overlap: Leave images out that are claimed used and not used; otherwise they are an error.
        exclude_twins: Leave not-used images out that have a near-twin among the used ones; otherwise a note says so.
        twin_rule: What counts as a near-twin.
        match_resolution: Judge in the space in which every image is first brought to the release's native resolution;
            what is missing there is embedded from the recorded sources.
        reference_release: Name of a release whose generator was trained on other images, for ``calibrated``: a control
            of its scores, or what a ``referenced:`` score subtracts.
    """

    release: str
    used: tuple[str, ...] = ()
    not_used: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    policy: Policy | PolicyChoice = field(default_factory=Policy)
    space: str | None = None
    exclude_overlap: bool = False
    exclude_twins: bool = False
    twin_rule: DuplicateRule = field(default_factory=DuplicateRule)
    match_resolution: bool = False
    reference_release: str | None = None

    @property
    def claims(self) -> Mapping[Role, tuple[str, ...]]:
        """Names of sets by the role they are claimed to have."""
        return {Role.USED: self.used, Role.NOT_USED: self.not_used, Role.AGAINST: self.against}


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """An audit with nothing left open: the policy with all its parameters, and the images it judges by."""

    policy: Policy
    frozen: FrozenAudit


def resolve(workspace: Installation, request: AuditRequest, on_step: OnStep) -> AuditPlan:
    """Settle everything that an audit judges by, before a vector is read.

    1. The policy, as far as the call states it.    2. The datasets, by their names, and the rule that they make the
    default.    3. The space.    4. The members of every dataset, and the claim on each image that counts.
    5. What of the policy the space decides.    6. Whether the rule can judge that.    7. Twins.

    Raises:
        UsageError: If the policy contradicts itself, or its rule lacks a set that it needs.
        NotFoundError: If a name is unknown.
        ConflictError: If the release is incomplete, claims contradict each other, or all not-used images are twins.
        SpaceMismatchError: If the datasets share no embedding space that the rule can judge in.
        SourceError: If an image can't be read again for a space that is made.
    """
    choice = PolicyChoice(request.policy) if isinstance(request.policy, Policy) else request.policy
    policy = choice.stated(workspace)
    parties = parties_of(workspace.catalog, request.release, request.claims, request.reference_release)
    policy = policy or choice.by_sets({role for _, role in parties.sets})
    space = _space(workspace, request, policy, parties, on_step)
    frozen = freeze(
        workspace.catalog,
        parties,
        space,
        subject=policy.subject,
        top_k=policy.top_k,
        exclude_overlap=request.exclude_overlap,
    )
    policy = replace(policy, rule=policy.rule.completed(frozen))
    _check(policy, frozen)
    frozen = with_twins(workspace, frozen, request.twin_rule, on_step, exclude=request.exclude_twins)
    return AuditPlan(policy, frozen)


def _space(workspace: Installation, request: AuditRequest, policy: Policy, parties: Parties, on_step: OnStep) -> Space:
    wanted = request.space or policy.rule.fitted_space
    if request.match_resolution:
        return matched_space(workspace, parties.everyone, wanted, on_step)
    wanted = wanted or policy.rule.own_space(workspace, parties, policy.subject, on_step)
    return common_space(workspace.catalog, parties.everyone, wanted)


def _check(policy: Policy, frozen: FrozenAudit) -> None:
    policy.rule.check(frozen)
    if frozen.space.parts != 1 and not policy.rule.judges_parts:
        raise SpaceMismatchError(
            f"rule {policy.rule.name.value} judges whole images; {frozen.space.backbone} gives {frozen.space.parts} "
            "parts",
            hint="choose a whole-image space with --space",
        )
