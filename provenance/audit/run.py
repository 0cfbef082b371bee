"""One audit from the request to the recorded verdicts."""

from __future__ import annotations

import gc
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provenance.audit.evidence import SubjectEvidence, gather, pairwise_threshold
from provenance.audit.inputs import AuditRequest, FrozenAudit, FrozenDataset, freeze
from provenance.audit.resolution import resolution_notes, resolution_settings, with_matched_space
from provenance.audit.twins import twin_counts, twin_notes, twin_settings, with_twins
from provenance.catalog import AuditDataset, AuditRecord, NeighborRecord, VerdictRecord
from provenance.detection import (
    Decision,
    Policy,
    Threshold,
    decide_generated,
    decide_real,
    population_of_maxima,
    threshold_of_scores,
)
from provenance.errors import UsageError
from provenance.ingest import image_ids_digest
from provenance.version import __version__
from provenance.vocabulary import Population, Role, RuleName, Subject, digest_of_json

if TYPE_CHECKING:
    from provenance.workspace import Workspace

VERDICT_VERSION = 1
"""Version of the canonical form that ``verdict_digest`` is taken over."""

OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """A recorded audit with what a person should know beside its figures.

    Attributes:
        audit: What was recorded.
        datasets: Every dataset with its role and its digest at the time.
        verdicts: One per subject, in image_id order.
        notes: Warnings in plain language; empty where there are none.
    """

    audit: AuditRecord
    datasets: tuple[AuditDataset, ...]
    verdicts: tuple[VerdictRecord, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Scores:
    used: float | None
    not_used: float | None
    against: float | None

    @property
    def candidate(self) -> float | None:
        """Greatest similarity to an image that was, or may have been, used."""
        known = [score for score in (self.used, self.against) if score is not None]
        return max(known) if known else None


def run_audit(workspace: Workspace, request: AuditRequest, on_step: OnStep | None = None) -> AuditReport:
    """Judge a release, or the real images by it, and record every verdict in one transaction.

    Raises:
        UsageError: If the policy's rule is one that audits don't apply.
        NotFoundError: If a name is unknown.
        ConflictError: If the release is incomplete, or claims contradict each other.
        SpaceMismatchError: If the datasets share no embedding space.
        VectorStoreError: If a stored vector is missing or damaged; nothing is recorded then.
    """
    if request.policy.rule is not RuleName.MU_ALPHA_SIGMA:
        raise UsageError(
            f"an audit does not apply the rule {request.policy.rule.value}",
            hint=f"judge by {RuleName.MU_ALPHA_SIGMA.value}",
        )
    with _collector_paused():
        return _run_audit(workspace, request, on_step)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """An audit makes many small lasting objects and no cycles: collecting would only walk over them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _run_audit(workspace: Workspace, request: AuditRequest, on_step: OnStep | None) -> AuditReport:
    started_at, clock = datetime.now(UTC), time.monotonic()
    on_step = on_step or (lambda _step: None)
    request = with_matched_space(workspace, request, on_step)
    frozen = with_twins(workspace, freeze(workspace.catalog, request), request, on_step)
    subjects = gather(workspace, frozen, request.policy, on_step)
    on_step("deciding")
    threshold = _threshold(workspace, frozen, request.policy, subjects)
    verdicts = [_verdict(subject, threshold, request.policy) for subject in subjects]
    rejects = [r for f in (frozen.release, *frozen.sets) for r in workspace.catalog.rejects(f.dataset.dataset_id)]
    record = AuditRecord(
        audit_id=uuid.uuid4().hex,
        dataset_id=frozen.release.dataset.dataset_id,
        subject=request.policy.subject,
        rule=request.policy.rule.value,
        policy_id=request.policy.policy_id,
        space_id=frozen.space.space_id,
        release_digest=frozen.release.digest,
        mu=threshold.mu,
        sigma=threshold.sigma,
        alpha=threshold.alpha,
        population_count=threshold.n,
        threshold=threshold.value,
        verdict_digest=verdict_digest(frozen, request.policy, threshold, [v.verdict_sha256 for v in verdicts]),
        counts=_counts(frozen, verdicts, len(rejects)),
        settings={
            "search": "exact",
            "index": workspace.index_url.partition(":")[0],
            **twin_settings(frozen),
            **resolution_settings(workspace.catalog, frozen),
        },
        software_version=__version__,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        duration_seconds=round(time.monotonic() - clock, 3),
    )
    datasets = [_dataset_row(f) for f in (frozen.release, *frozen.sets)]
    workspace.catalog.ensure_policy(record.policy_id, record.rule, request.policy.parameters)
    workspace.catalog.record_audit(record, datasets, [reject.reject_id for reject in rejects], verdicts)
    notes = [*_notes(frozen, request.policy, verdicts), *resolution_notes(workspace.catalog, frozen)]
    return AuditReport(record, tuple(datasets), tuple(verdicts), tuple(notes))


def verdict_digest(frozen: FrozenAudit, policy: Policy, threshold: Threshold, leaves: Sequence[str]) -> str:
    """``sha256:<hex>`` over what was judged by what, and the digest of every verdict in image_id order.

    Names of sets, and how images are spread over sets of one role, are not part of it: the same images with
    the same claims and the same stored vectors give the same digest.
    """
    header: dict[str, Any] = {
        "version": VERDICT_VERSION,
        "policy_id": policy.policy_id,
        "space_id": frozen.space.space_id,
        "release": frozen.release.digest,
        "reals": {role.value: image_ids_digest(m.image_id for m in ms) for role, ms in frozen.reals.items()},
        "threshold": _threshold_json(threshold),
        "verdicts": list(leaves),
    }
    if frozen.twins_excluded and frozen.twins is not None:
        header["excluded_twins"] = frozen.twins.rule.parameters
    return "sha256:" + digest_of_json(header)


def _threshold(
    workspace: Workspace, frozen: FrozenAudit, policy: Policy, subjects: Sequence[SubjectEvidence]
) -> Threshold:
    if policy.population is Population.PAIRWISE:
        return pairwise_threshold(workspace, frozen, policy.alpha)
    if policy.subject is Subject.REAL:
        return threshold_of_scores((_score_of_real(subject) for subject in subjects), policy.alpha)
    scores = [_scores(subject) for subject in subjects]
    population = population_of_maxima([s.candidate for s in scores], [s.not_used for s in scores])
    return threshold_of_scores(population, policy.alpha)


def _scores(subject: SubjectEvidence) -> _Scores:
    return _Scores(subject.greatest(Role.USED), subject.greatest(Role.NOT_USED), subject.greatest(Role.AGAINST))


def _score_of_real(subject: SubjectEvidence) -> float:
    score = subject.greatest(Role.RELEASE)
    assert score is not None, "a frozen release holds at least one image"
    return score


def _verdict(subject: SubjectEvidence, threshold: Threshold, policy: Policy) -> VerdictRecord:
    scores = _scores(subject)
    if policy.subject is Subject.REAL:
        decision = decide_real(_score_of_real(subject), threshold)
    else:
        decision = decide_generated(scores.candidate, scores.not_used, threshold)
    return VerdictRecord(
        image_key=subject.member.image_key,
        subject_role=subject.role,
        label=decision.label,
        score=decision.score,
        s_used=scores.used,
        s_not_used=scores.not_used,
        s_against=scores.against,
        threshold=threshold.value,
        p_value=None,
        q_value=None,
        near_threshold=decision.near_threshold,
        verdict_sha256=_leaf(subject, scores, decision, threshold),
        neighbors=[NeighborRecord(n.role, n.rank, n.member.image_key, n.similarity) for n in subject.neighbors],
    )


def _leaf(subject: SubjectEvidence, scores: _Scores, decision: Decision, threshold: Threshold) -> str:
    return digest_of_json(
        {
            "version": VERDICT_VERSION,
            "image_id": subject.member.image_id,
            "subject_role": subject.role.value,
            "label": decision.label.value,
            "score": decision.score,
            "s_used": scores.used,
            "s_not_used": scores.not_used,
            "s_against": scores.against,
            "threshold": threshold.value,
            "neighbors": [[str(n.role), n.rank, n.member.image_id, n.similarity] for n in subject.neighbors],
        }
    )


def _threshold_json(threshold: Threshold) -> dict[str, Any]:
    return {
        "mu": threshold.mu,
        "sigma": threshold.sigma,
        "alpha": threshold.alpha,
        "n": threshold.n,
        "value": threshold.value,
    }


def _counts(frozen: FrozenAudit, verdicts: Sequence[VerdictRecord], rejected: int) -> dict[str, int]:
    labels = Counter(verdict.label.value for verdict in verdicts)
    return {
        "used": labels["used"],
        "not_used": labels["not_used"],
        "rejected": rejected,
        "subjects": len(verdicts),
        "near_threshold": sum(verdict.near_threshold for verdict in verdicts),
        "excluded_overlap": frozen.excluded_overlap,
        "claimed_otherwise": frozen.claimed_otherwise,
        **twin_counts(frozen),
    }


def _dataset_row(frozen: FrozenDataset) -> AuditDataset:
    dataset = frozen.dataset
    return AuditDataset(dataset.dataset_id, frozen.role, dataset.name, frozen.digest, len(frozen.members))


def _notes(frozen: FrozenAudit, policy: Policy, verdicts: Sequence[VerdictRecord]) -> list[str]:
    notes = [
        (
            "The mu-alpha-sigma rule is the published baseline. On GAN data with known truth it is at chance: "
            "a label is a lead to look at, not a finding."
        )
    ]
    if policy.subject is Subject.GENERATED and not {Role.USED, Role.AGAINST} & frozen.reals.keys():
        notes.append("No used or unknown set was given: nothing can be labelled used.")
    if frozen.excluded_overlap:
        notes.append(f"{frozen.excluded_overlap} images claimed used and not used were left out.")
    if frozen.claimed_otherwise:
        notes.append(f"{frozen.claimed_otherwise} unknown images act as used or not used, as other sets claim them.")
    notes += twin_notes(frozen)
    near = sum(verdict.near_threshold for verdict in verdicts)
    if near:
        notes.append(f"{near} verdicts are so close to the threshold that another machine could decide otherwise.")
    return notes
