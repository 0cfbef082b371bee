"""One audit from the request to the recorded verdicts."""

from __future__ import annotations

import gc
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from provenance.audit.bench import Bench
from provenance.audit.current import reading_again
from provenance.audit.declaring import declared_since, put_on_record
from provenance.audit.evidence import SubjectEvidence, Vectors, gather
from provenance.audit.inputs import party_notes
from provenance.audit.joint import joint_counts, joint_digest, joint_findings, joint_outcome, joint_reason
from provenance.audit.looks import looks_at
from provenance.audit.plan import AuditPlan, AuditRequest, resolve
from provenance.audit.resolution import resolution_notes, resolutions_of
from provenance.audit.searching import selections_of
from provenance.audit.twins import twin_counts, twin_notes, twins_of
from provenance.audit.unanswered import record_once
from provenance.detection import same_nearest
from provenance.findings import Euclidean, Findings, JointFindings, Weakness, weakest_first
from provenance.index import prune
from provenance.ingest import image_ids_digest
from provenance.logs import room, run_of, step, steps
from provenance.records import (
    AuditDataset,
    AuditRecord,
    AuditWithSets,
    NeighborRecord,
    NewAudit,
    VerdictRecord,
    in_order,
)
from provenance.version import __version__
from provenance.vocabulary import JOINT_RULE, Answer, Label, RejectReason, Role, Subject, digest_of_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from provenance.audit.current import Before
    from provenance.audit.inputs import FrozenAudit
    from provenance.audit.plan import JointPlan
    from provenance.audit.rule import Judgement, OnStep
    from provenance.detection import Decision
    from provenance.installation import Installation
    from provenance.records import CopySource
    from provenance.vocabulary import Search

_log = room(__name__)

VERDICT_VERSION = 1
"""Version of the canonical form that ``verdict_digest`` is taken over."""

NO_STATISTICS: dict[str, Any] = dict.fromkeys(("mu", "sigma", "alpha", "population_count", "threshold"))


@dataclass(frozen=True, slots=True, repr=False)
class AuditReport(AuditWithSets):
    """A recorded audit: its datasets as they were, a verdict per subject in image_id order, and warnings in words.

    An audit of several answers has them as ``answers``, each with its own verdicts, and none itself.
    """

    audit: AuditRecord
    datasets: tuple[AuditDataset, ...]
    verdicts: tuple[VerdictRecord, ...]
    notes: tuple[str, ...]
    answers: Mapping[Answer, AuditReport] = field(default_factory=dict)

    @property
    def missing(self) -> Mapping[str, str]:
        """Of answers that there are not, why not."""
        return self.audit.findings.own_as(JointFindings).missing


def run_audit(workspace: Installation, request: AuditRequest, on_step: OnStep | None = None) -> AuditReport:
    """Judge a release, or the real images by it, and record every verdict in one transaction.

    1. Resolve names, policy and space, and freeze the members of every dataset.    2. Find the exact neighbors of every
    subject.    3. Judge by the rule.    4. Make the record.    5. Write it with its verdicts and their evidence. An
    audit of several answers goes through 2 to 4 for each, and its own record is made of theirs.

    Raises:
        VectorStoreError: If a stored vector is missing or damaged; nothing is recorded then.
        ProvenanceError: As ``provenance.audit.plan.resolve``.
    """
    audit_id = uuid.uuid4().hex
    with _collector_paused(), run_of(audit_id), step(_log, "audit"), steps(_log, on_step) as said:
        return reading_again(
            workspace.catalog, said, lambda before: _run_audit(workspace, request, audit_id, said, before)
        )


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


def _run_audit(
    workspace: Installation, request: AuditRequest, audit_id: str, on_step: OnStep, before: Before
) -> AuditReport:
    began = _Began(datetime.now(UTC), time.monotonic())
    _agreement(workspace)  # of what was read before
    # 1.
    plan = resolve(workspace, request, on_step)
    workspace.release_index()  # a space that was made for it is written
    since = declared_since(workspace, request, plan)
    # 2. - 4.
    plans = [plan] if isinstance(plan, AuditPlan) else list(plan.answers.values())
    work = _Work(workspace, [each.frozen for each in plans], on_step)
    if isinstance(plan, AuditPlan):
        report, new = _judged(work, plan, audit_id, began)
        looks = looks_at(workspace.catalog, new.datasets, [new.audit.verdict_digest], since)
        notes = (*report.notes, *looks.sentences(_levels({"this rule": plan})))
        record = replace(new.audit, findings=replace(new.audit.findings, notes=notes))
        report, new = replace(report, audit=record, notes=notes), replace(new, audit=record)
    else:
        report, new = _joint(work, plan, audit_id, began, since)
    report, new = _with_facts(report, new, before.require_same(plan), _agreement(workspace))
    prune(workspace.vector_folder, workspace.settings.vector_cache_bytes)
    # 5.
    put_on_record(workspace, plan)
    earlier = record_once(workspace, new)
    return report if earlier is None else _as_recorded(workspace, report, earlier)


def _with_facts(
    report: AuditReport, new: NewAudit, notes: Sequence[str], agreement: str | None
) -> tuple[AuditReport, NewAudit]:
    """With what is known of the run when it ends."""
    findings = replace(new.audit.findings, notes=(*report.notes, *notes), read_consistency=agreement)
    record = replace(new.audit, findings=findings)
    return replace(report, audit=record, notes=findings.notes or ()), replace(new, audit=record)


def _agreement(workspace: Installation) -> str | None:
    """What reads asked of a server's replicas, at the least; ``None`` where nothing was read of any."""
    is_asked = "index" in workspace.__dict__ and not workspace.exports_vectors
    return workspace.index.agreed() if is_asked else None


def _as_recorded(workspace: Installation, report: AuditReport, earlier: AuditRecord) -> AuditReport:
    """What the same audit said that was killed before it could."""
    parts = workspace.catalog.parts_of(earlier.audit_id)
    answers = {answer: _as_recorded(workspace, each, parts[answer]) for answer, each in report.answers.items()}
    return replace(report, audit=earlier, notes=earlier.findings.notes or (), answers=answers)


class _Began(NamedTuple):
    at: datetime
    clock: float


class _Work:
    """What the answers of one audit have in common: vectors are read, and neighbors found, once."""

    def __init__(self, workspace: Installation, audits: Sequence[FrozenAudit], on_step: OnStep) -> None:
        self.workspace = workspace
        self.audits = audits
        self.on_step = on_step
        self._vectors: dict[str, Vectors] = {}
        self._gathered: dict[tuple[Any, ...], list[SubjectEvidence]] = {}

    def bench(self, frozen: FrozenAudit) -> Bench:
        space = frozen.space
        if space.space_id not in self._vectors:
            selections = selections_of(*(each for each in self.audits if each.space.space_id == space.space_id))
            self._vectors[space.space_id] = Vectors(self.workspace, space, selections, self.on_step)
        return Bench(self.workspace, frozen, self._vectors[space.space_id], self.on_step)

    def subjects(self, plan: AuditPlan) -> list[SubjectEvidence]:
        frozen, reals = plan.frozen, plan.policy.rule.judged_reals(plan.frozen)
        key = (frozen.space.space_id, frozen.subject, frozen.top_k, tuple(member.image_id for member in reals))
        if key not in self._gathered:
            self._gathered[key] = gather(self.bench(frozen).vectors, frozen, reals)
        return self._gathered[key]


def _joint(
    work: _Work, plan: JointPlan, audit_id: str, began: _Began, since: datetime | None
) -> tuple[AuditReport, NewAudit]:
    reports, parts = {}, {}
    for answer, part in plan.answers.items():
        work.on_step(f"answering: {answer}")
        reports[answer], parts[answer] = _judged(
            work, part, uuid.uuid4().hex, _Began(datetime.now(UTC), time.monotonic())
        )
    answers = {answer: part.audit for answer, part in parts.items()}
    first = next(iter(parts.values()))
    looks = looks_at(work.workspace.catalog, first.datasets, [each.verdict_digest for each in answers.values()], since)
    notes, weakening = weakest_first(
        [*looks.sentences(_levels(plan.answers)), *(note for answer in plan.answers for note in reports[answer].notes)]
    )
    record = AuditRecord(
        audit_id=audit_id,
        dataset_id=first.audit.dataset_id,
        subject=Subject.RELEASE,
        rule=JOINT_RULE,
        policy_id=plan.policy.policy_id,
        space_id=parts.get(Answer.BASELINE, first).audit.space_id,
        release_digest=first.audit.release_digest,
        **NO_STATISTICS,
        verdict_digest=joint_digest(plan, answers, VERDICT_VERSION),
        counts=joint_counts(answers),
        findings=Findings(
            index=first.audit.findings.index,
            searched=_in_common(part.audit.findings.searched for part in parts.values()),
            outcome=joint_outcome(answers, left_open=plan.left_open),
            outcome_reason=joint_reason(answers, plan.missing),
            own=joint_findings(plan.missing, looks).to_json(),
            notes=notes,
            weakening=weakening,
        ),
        software_version=__version__,
        started_at=began.at,
        finished_at=datetime.now(UTC),
        duration_seconds=round(time.monotonic() - began.clock, 3),
    )
    new = NewAudit(record, first.datasets, first.reject_ids, parts=parts)
    return AuditReport(record, tuple(first.datasets), (), notes, reports), new


def _in_common(ways: Iterable[Search | None]) -> Search | None:
    """Where all were searched; ``None``: not in one place."""
    distinct = set(ways)
    return distinct.pop() if len(distinct) == 1 else None


def _levels(plans: Mapping[Any, AuditPlan]) -> dict[str, float]:
    levels = {str(name): plan.policy.rule.error_level for name, plan in plans.items()}
    return {name: level for name, level in levels.items() if level is not None}


def _judged(work: _Work, plan: AuditPlan, audit_id: str, began: _Began) -> tuple[AuditReport, NewAudit]:
    policy, frozen, workspace = plan.policy, plan.frozen, work.workspace
    # 2.
    subjects, bench = work.subjects(plan), work.bench(frozen)
    # 3.
    work.on_step("deciding")
    judged = policy.rule.judge(bench, subjects)
    # 4.
    verdicts = _verdicts(frozen, subjects, judged)
    way = bench.vectors.way
    notes = (*_notes(frozen, judged, verdicts), *resolution_notes(workspace.catalog, frozen), *filter(None, [way.note]))
    found = (r for f in (frozen.release, *frozen.sets) for r in workspace.catalog.rejects(f.dataset.dataset_id))
    rejects = [each for each in found if each.reason is not RejectReason.SKIPPED]
    moments = judged.moments
    record = AuditRecord(
        audit_id=audit_id,
        dataset_id=frozen.release.dataset.dataset_id,
        subject=policy.subject,
        rule=policy.rule_name,
        policy_id=policy.policy_id,
        space_id=frozen.space.space_id,
        release_digest=frozen.release.digest,
        mu=moments.mu if moments else None,
        sigma=moments.sigma if moments else None,
        alpha=moments.alpha if moments else None,
        population_count=moments.n if moments else None,
        threshold=judged.threshold,
        verdict_digest=verdict_digest(plan, judged.basis, [v.verdict_sha256 for v in verdicts]),
        counts={**_counts(frozen, verdicts, policy.rule.labels, len(rejects)), **judged.counts},
        findings=replace(_findings(workspace, frozen, subjects, judged), notes=notes, searched=way.search),
        software_version=__version__,
        started_at=began.at,
        finished_at=datetime.now(UTC),
        duration_seconds=round(time.monotonic() - began.clock, 3),
    )
    datasets = in_order(
        AuditDataset(f.dataset.dataset_id, f.role, f.dataset.name, f.digest, len(f.members))
        for f in (frozen.release, *frozen.sets)
    )
    new = NewAudit(
        record, datasets, [reject.reject_id for reject in rejects], verdicts, judged.calibration, judged.beside
    )
    return AuditReport(record, tuple(datasets), tuple(verdicts), notes), new


def verdict_digest(plan: AuditPlan, basis: Mapping[str, Any], leaves: Sequence[str]) -> str:
    """``sha256:<hex>`` over what was judged by what, and the digest of every verdict in image_id order.

    Names of sets, and how images are spread over sets of one role, are not part of it: the same images with
    the same claims and the same stored vectors give the same digest. ``basis`` are the rule's own figures; a fitted
    model is covered by ``policy_id``.
    """
    frozen = plan.frozen
    header: dict[str, Any] = {
        "version": VERDICT_VERSION,
        "policy_id": plan.policy.policy_id,
        "space_id": frozen.space.space_id,
        "release": frozen.release.digest,
        "reals": {role.value: image_ids_digest(m.image_id for m in ms) for role, ms in frozen.reals.items()},
        "threshold": dict(basis),
        "verdicts": list(leaves),
    }
    if frozen.twins_excluded and (twins := frozen.twins or frozen.unknown_twins) is not None:
        header["excluded_twins"] = twins.rule.parameters  # which they were is told by the reals
    return "sha256:" + digest_of_json(header)


def _findings(
    workspace: Installation, frozen: FrozenAudit, subjects: Sequence[SubjectEvidence], judged: Judgement
) -> Findings:
    return Findings(
        index=workspace.index_url.partition(":")[0],
        euclidean=_euclidean(subjects, judged.by_distance),
        outcome=judged.outcome,
        outcome_reason=judged.outcome_reason,
        own=judged.own.to_json() if judged.own else {},
        twins=twins_of(frozen),
        resolution=resolutions_of(workspace.catalog, frozen),
    )


def _euclidean(subjects: Sequence[SubjectEvidence], labels: Mapping[str, int]) -> Euclidean:
    """In how many cases (a subject and a role) the nearest neighbor is the same; ``labels`` as the rule counts them."""
    closest, second = [], []
    for subject in subjects:
        ranked = {(n.role, n.rank): n.similarity for n in subject.neighbors if n.rank <= 2}
        for (role, rank), similarity in ranked.items():
            if rank == 1 and (role, 2) in ranked:
                closest.append(similarity)
                second.append(ranked[role, 2])
    same = same_nearest(closest, second)
    return Euclidean(len(closest), same, len(closest) - same, **labels)


def _verdicts(frozen: FrozenAudit, subjects: Sequence[SubjectEvidence], judged: Judgement) -> list[VerdictRecord]:
    everyone = (*frozen.release.members, *(m for members in frozen.reals.values() for m in members))
    image_ids = {member.image_key: member.image_id for member in everyone} if judged.sources is not None else {}
    sources = judged.sources if judged.sources is not None else (None,) * len(subjects)
    return [
        _verdict(*each, judged.threshold, image_ids) for each in zip(subjects, judged.decisions, sources, strict=True)
    ]


def _verdict(
    subject: SubjectEvidence,
    decision: Decision,
    sources: tuple[CopySource, ...] | None,
    threshold: float | None,
    image_ids: Mapping[str, str],
) -> VerdictRecord:
    figures: dict[str, Any] = {
        "subject_role": subject.role,
        "label": decision.label,
        "score": decision.score,
        "s_used": subject.greatest(Role.USED),
        "s_not_used": subject.greatest(Role.NOT_USED),
        "s_against": subject.greatest(Role.AGAINST),
        "threshold": threshold,
    }
    if decision.p_value is not None:  # left out elsewhere: digests of such verdicts are as they always were
        figures |= {"p_value": decision.p_value, "q_value": decision.q_value}
    leaf = {
        "version": VERDICT_VERSION,
        "image_id": subject.member.image_id,
        **figures,
        "neighbors": [[n.role, n.rank, n.member.image_id, n.similarity] for n in subject.neighbors],
    }
    if sources is not None:  # likewise
        leaf["sources"] = [asdict(each) | {"image_key": image_ids[each.image_key]} for each in sources]
    return VerdictRecord(
        image_key=subject.member.image_key,
        **{"p_value": None, "q_value": None, **figures},
        near_threshold=decision.near_threshold,
        verdict_sha256=digest_of_json(leaf),
        neighbors=[NeighborRecord(n.role, n.rank, n.member.image_key, n.similarity) for n in subject.neighbors],
        sources=sources or (),
    )


def _counts(
    frozen: FrozenAudit, verdicts: Sequence[VerdictRecord], labels: Sequence[Label], rejected: int
) -> dict[str, int]:
    found = Counter(verdict.label for verdict in verdicts)
    return {
        "used": found[Label.USED],
        "not_used": found[Label.NOT_USED],
        "rejected": rejected,
        "subjects": len(verdicts),
        "near_threshold": sum(verdict.near_threshold for verdict in verdicts),
        "excluded_overlap": frozen.excluded_overlap,
        "claimed_otherwise": frozen.claimed_otherwise,
        **twin_counts(frozen),
        **{label.value: found[label] for label in labels},
    }


def _notes(frozen: FrozenAudit, judged: Judgement, verdicts: Sequence[VerdictRecord]) -> list[str]:
    notes = [*judged.notes, *party_notes(frozen)]
    if frozen.excluded_overlap:
        notes.append(f"{frozen.excluded_overlap} images claimed used and not used were left out.")
    if frozen.claimed_otherwise:
        notes.append(f"{frozen.claimed_otherwise} unknown images act as used or not used, as other sets claim them.")
    notes += twin_notes(frozen)
    near = sum(verdict.near_threshold for verdict in verdicts)
    if near:
        are = "1 verdict is" if near == 1 else f"{near:,} verdicts are"
        notes.append(Weakness(f"{are} so close to a threshold that another machine could decide otherwise."))
    return notes
