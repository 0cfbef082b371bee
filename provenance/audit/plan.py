"""What an audit is asked, and what it is going to do: names, policy and space are settled here, once.

``planned_again``: a recorded audit as it was: the same images in the same roles, space and policy, twins left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from provenance.audit.gates import require_gates
from provenance.audit.inputs import freeze, parties_of
from provenance.audit.policy import JointPolicy, Policy, PolicyChoice, policy_from_json
from provenance.audit.resolution import matched_space
from provenance.audit.rule import LackingError
from provenance.audit.twins import twins_of, with_twins
from provenance.duplicates import DuplicateRule
from provenance.errors import ConflictError, SourceError, SpaceMismatchError, UsageError
from provenance.spaces import common_space
from provenance.vocabulary import Answer, Role, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.audit.inputs import FrozenAudit, Parties
    from provenance.audit.rule import OnStep
    from provenance.installation import Installation
    from provenance.records import AuditDataset, AuditRecord
    from provenance.vocabulary import Gate, Space


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What to audit, in the words of ``provenance.Workspace.audit``, which says what each of them means.

    Attributes:
        policy: The rule and its parameters, of one answer or of several; or what a call says of it, where the sets may
            have to decide.
        only: The answers wanted, of an audit of several; empty: all.
        predeclared: Whether the policy is said to have been declared beforehand, for this release and all that decides
            beside it; it must be on record so.
        gates: What its caller fails on: refused where the audit can't conclude it.
        twin_rule: What counts as a near-twin.
        override_membership: Whether a claim may contradict the membership on record.
        mix_modalities: Whether sets and releases of several modalities may be named.
    """

    release: str
    used: tuple[str, ...] = ()
    not_used: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    policy: Policy | JointPolicy | PolicyChoice = field(default_factory=Policy)
    space: str | None = None
    exclude_overlap: bool = False
    exclude_twins: bool = False
    twin_rule: DuplicateRule = field(default_factory=DuplicateRule)
    match_resolution: bool = False
    reference_release: str | None = None
    only: tuple[Answer, ...] = ()
    predeclared: bool = False
    gates: tuple[Gate, ...] = ()
    override_membership: bool = False
    mix_modalities: bool = False


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """An audit with nothing left open: the policy with all its parameters, and the images it judges by."""

    policy: Policy
    frozen: FrozenAudit


@dataclass(frozen=True, slots=True)
class JointPlan:
    """The same of an audit of several answers; of those that there are not, why not, in a sentence.

    ``left_open``: whether one is missing that the sets allow, and their images do not.
    """

    answers: Mapping[Answer, AuditPlan]
    missing: Mapping[Answer, str]
    left_open: bool = False

    @property
    def policy(self) -> JointPolicy:
        """Of the answers that there are."""
        return JointPolicy({answer: plan.policy for answer, plan in self.answers.items()})


def resolve(workspace: Installation, request: AuditRequest, on_step: OnStep) -> AuditPlan | JointPlan:
    """Settle everything that an audit judges by, before a vector is read.

    1. The policy, as far as the call states it.    2. The datasets, by their names, and the rule that they make the
    default.    3. The space.    4. The members of every dataset, and the claim on each image that counts.
    5. What of the policy the space decides.    6. Whether the rule can judge that.    7. Twins.

    Raises:
        UsageError: If the policy contradicts itself, or its rule lacks a set that it needs.
        NotFoundError: If a name is unknown.
        ConflictError: If the release is incomplete, claims contradict each other or what is on record, modalities would
            be mixed, or all not-used images are twins.
        SpaceMismatchError: If the datasets share no embedding space that the rule can judge in.
        SourceError: If an image can't be read again for a space that is made.
    """
    choice = request.policy if isinstance(request.policy, PolicyChoice) else PolicyChoice(request.policy)
    policy = choice.stated(workspace)
    claims = {Role.USED: request.used, Role.NOT_USED: request.not_used, Role.AGAINST: request.against}
    forced = {"override_membership": request.override_membership, "mix_modalities": request.mix_modalities}
    parties = parties_of(workspace.catalog, request.release, claims, request.reference_release, **forced)
    if isinstance(policy, JointPolicy):
        return _joint(workspace, request, policy, parties, on_step)
    if request.only:
        raise UsageError("--only is of audits that answer several questions", hint="leave --rule and --subject out")
    policy = policy or choice.by_sets({role for _, role in parties.sets})
    require_gates(request.gates, [policy.rule])
    return _single(workspace, request, policy, parties, on_step)


def _joint(
    workspace: Installation, request: AuditRequest, policy: JointPolicy, parties: Parties, on_step: OnStep
) -> JointPlan:
    stated = policy.answers
    if strange := [name for name in request.only if name not in stated]:
        raise UsageError(f"the policy does not answer {', '.join(strange)}")
    roles = {role for _, role in parties.sets}
    lacking = {name: policy.rule.lacks(roles) for name, policy in stated.items() if name in (request.only or stated)}
    missing = {name: reason for name, reason in lacking.items() if reason is not None}
    if len(missing) == len(lacking):
        raise _nothing(missing)
    if parties.reference and Answer.MEMBERSHIP not in lacking.keys() - missing.keys():
        raise UsageError("a reference release goes with membership, which is not answered here")
    require_gates(request.gates, [stated[name].rule for name in lacking if name not in missing])
    frozen: dict[tuple[Any, ...], FrozenAudit] = {}
    plans, left_open = {}, False
    for name in Answer:
        if name in lacking and name not in missing:
            asked, others = _as_asked(workspace, request, stated[name], parties)
            try:
                plans[name] = _single(workspace, asked, stated[name], others, on_step, frozen)
            except (SourceError, LackingError) as error:  # the sources of its space, or images that others need not
                if name in request.only and isinstance(error, SourceError):
                    raise
                missing[name] = error.message + f" ({error.hint})" * bool(error.hint)
                left_open |= isinstance(error, LackingError)
    if not plans:
        raise _nothing(missing)
    return JointPlan(plans, {name: why + _WITHOUT.get(name, "") for name, why in missing.items()}, left_open)


_WITHOUT = {
    Answer.MEMBERSHIP: "; so there is no best guess and no run file of real images either: both come of this answer"
}


def _nothing(missing: Mapping[Answer, str]) -> UsageError:
    return UsageError(f"nothing can be answered: {'; '.join(f'{name}: {why}' for name, why in missing.items())}")


def _as_asked(
    workspace: Installation, request: AuditRequest, policy: Policy, parties: Parties
) -> tuple[AuditRequest, Parties]:
    """What of a request concerns one answer: a local space is for membership, one of whole images for the others."""
    local = policy.subject is Subject.REAL and not policy.rule.judges_whole_images
    space = None if request.space is None else workspace.catalog.space(request.space)
    if space is not None and (space.parts > 1) is not local:
        request = replace(request, space=None)
    if policy.subject is Subject.GENERATED:
        return request, replace(parties, reference=None)
    return (replace(request, match_resolution=False) if local else request), parties


def _single(
    workspace: Installation,
    request: AuditRequest,
    policy: Policy,
    parties: Parties,
    on_step: OnStep,
    known: dict[tuple[Any, ...], FrozenAudit] | None = None,
) -> AuditPlan:
    """Steps 3 to 7; ``known`` are audits that were frozen for another answer, by what makes them differ."""
    space = _space(workspace, request, policy, parties, on_step)
    key = (space.space_id, policy.subject, policy.top_k)
    if known is not None and key in known:
        return _completed(policy, known[key])
    asked = (policy.subject, policy.top_k)
    frozen = freeze(workspace.catalog, parties, space, *asked, exclude_overlap=request.exclude_overlap)
    plan = _completed(policy, frozen)
    frozen = with_twins(workspace, frozen, request.twin_rule, on_step, exclude=request.exclude_twins)
    plan.policy.rule.check(frozen)  # of what twins left
    if known is not None:
        known[key] = frozen
    return replace(plan, frozen=frozen)


def _completed(policy: Policy, frozen: FrozenAudit) -> AuditPlan:
    policy = replace(policy, rule=policy.rule.completed(frozen))
    if (lacking := policy.rule.lacks(frozen.reals)) and frozen.excluded_overlap:
        left_out = f"{frozen.excluded_overlap:,} images claimed used and not used are left out"
        raise LackingError(f"{lacking}, since {left_out}")
    policy.rule.check(frozen)
    if frozen.space.parts != 1 and not policy.rule.judges_parts:
        raise SpaceMismatchError(
            f"rule {policy.rule.name.value} judges whole images; {frozen.space.backbone} gives {frozen.space.parts} "
            "parts",
            hint="choose a whole-image space with --space",
        )
    return AuditPlan(policy, frozen)


def _space(workspace: Installation, request: AuditRequest, policy: Policy, parties: Parties, on_step: OnStep) -> Space:
    policy.rule.make_spaces(workspace, parties, on_step)
    wanted = request.space or policy.rule.fitted_space
    if request.match_resolution:
        return matched_space(workspace, parties.everyone, wanted, on_step)
    wanted = wanted or policy.rule.own_space(workspace, parties, policy.subject, on_step)
    return common_space(workspace.catalog, parties.everyone, wanted)


def planned_again(workspace: Installation, audit: AuditRecord, on_step: OnStep) -> AuditPlan:
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
    parties = parties_of(catalog, release, names, other, override_membership=True, mix_modalities=True)
    space, overlap = common_space(catalog, parties.everyone, audit.space_id), audit.counts.get("excluded_overlap", 0)
    frozen = freeze(catalog, parties, space, policy.subject, policy.top_k, exclude_overlap=overlap > 0)
    _require_unchanged(audit, frozen, seen)
    for dataset in parties.everyone:
        if (regrouped := catalog.regrouped_at(dataset.dataset_id)) and regrouped > audit.started_at:
            raise _changed(f"{dataset.name} was given other groups after audit {audit.audit_id[:8]}")
    if (seen_twins := audit.findings.twins) and seen_twins.excluded:
        rule = DuplicateRule(seen_twins.evidence, seen_twins.hash_distance, seen_twins.min_similarity)
        frozen = with_twins(workspace, frozen, rule, on_step, exclude=True, seen=seen_twins)
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
