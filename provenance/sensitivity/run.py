"""One sensitivity, of one answer or of all, from the request to the recorded figures."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

from provenance.audit.bench import JudgedCopies, PlantBench
from provenance.audit.evidence import Vectors
from provenance.audit.inputs import CANDIDATES
from provenance.audit.plan import planned_again
from provenance.audit.searching import selections_of
from provenance.audit.unanswered import record_measured_once
from provenance.detection import Plant, Strong, plants_needed, release_power, sensitivity_of
from provenance.errors import UsageError
from provenance.ingest import Progress
from provenance.logs import room, step
from provenance.sensitivity.planting import EmbeddedPlants, Planting, chosen_originals, release_format
from provenance.sensitivity.values import JointSensitivity, SensitivityReport, SensitivityRequest
from provenance.version import __version__
from provenance.vocabulary import Answer, Label, Outcome, Role, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provenance.audit import Policy
    from provenance.detection import Detected, ReleasePower
    from provenance.embedding import Backbone
    from provenance.ingest import OnProgress
    from provenance.installation import Installation
    from provenance.records import AuditRecord, Member
    from provenance.sensitivity.values import Measured

_log = room(__name__)

POSITIVE = (Label.ESTABLISHED, Label.USED, Label.COPY)
"""Labels that count as found."""


@step(_log, "measure sensitivity")
def run_sensitivity(
    workspace: Installation,
    request: SensitivityRequest,
    on_progress: OnProgress | None = None,
    on_step: Callable[[str], None] | None = None,
    stop: Event | None = None,
) -> Measured | None:
    """Plant known copies of used images into an audit, one at a time, and record what share of them it finds.

    As ``provenance.Workspace.sensitivity``, which says what is told and raised. Nothing of the plants is stored: what
    is recorded are figures, as an event of the audit's release (``catalog.sensitivities``). ``None`` if it was asked to
    stop; nothing is recorded then.
    """
    tell, stop = on_step or (lambda _step: None), stop or Event()
    catalog, record = workspace.catalog, workspace.catalog.audit(request.audit)
    made: dict[tuple[str, ...], EmbeddedPlants] = {}
    measure = partial(_measured, workspace, request=request, on_progress=on_progress, tell=tell, stop=stop, made=made)
    parts = catalog.parts_of(record.audit_id)
    if not parts and request.answers:
        raise UsageError(
            f"audit {record.audit_id[:8]} is by one rule, and has no answers to choose from", hint="leave --answer out"
        )
    report = _of_answers(record, parts, request.answers or tuple(parts), measure, tell) if parts else measure(record)
    if report is not None:
        record_measured_once(workspace, report.audit_id, {**report.figures(), "software_version": __version__})
    return report


def _of_answers(
    record: AuditRecord,
    parts: Mapping[Answer, AuditRecord],
    wanted: Sequence[Answer],
    measure: Callable[[AuditRecord], SensitivityReport | None],
    tell: Callable[[str], None],
) -> JointSensitivity | None:
    """Of every wanted answer that can be measured, one after the other; why the others can't."""
    found: dict[Answer, SensitivityReport] = {}
    missing = {answer: "the audit does not have this answer" for answer in wanted if answer not in parts}
    for place, answer in enumerate(answer for answer in Answer if answer in wanted and answer in parts):
        tell(f"measuring {answer.value} ({place + 1} of {len(wanted) - len(missing)})")
        try:
            report = measure(parts[answer])
        except UsageError as error:
            missing[answer] = error.message
            continue
        if report is None:
            return None
        found[answer] = report
    if not found:
        raise UsageError(
            f"no answer of audit {record.audit_id[:8]} can be measured: "
            + "; ".join(f"{answer.value}: {reason}" for answer, reason in missing.items())
        )
    return JointSensitivity(record.audit_id, found, missing)


def _measured(
    workspace: Installation,
    record: AuditRecord,
    *,
    request: SensitivityRequest,
    on_progress: OnProgress | None,
    tell: Callable[[str], None],
    stop: Event,
    made: dict[tuple[str, ...], EmbeddedPlants],
) -> SensitivityReport | None:
    """Of an audit by one rule; ``made`` has what was planted for other answers."""
    catalog, request = workspace.catalog, replace(request, audit=record.audit_id)
    plan = planned_again(workspace, record, tell)
    bench = PlantBench(
        workspace,
        plan.frozen,
        Vectors(workspace, plan.frozen.space, selections_of(plan.frozen), tell),
        tell,
        record,
        {verdict.image_key: verdict for verdict in catalog.verdicts(record.audit_id)},
        lambda _done: None,
    )
    originals, role, found_without = _copied(bench)
    backbone = workspace.backbone_of(plan.frozen.space, **request.backbone)
    clock = time.monotonic()
    further = tuple(map(workspace.backbone_of, plan.policy.rule.further_spaces(bench)))
    planted, form, others = _plant(bench, originals, (backbone, *further), request, on_progress, stop, made)
    if planted is None:
        return None
    embedded = time.monotonic()
    total = len(planted.kinds)
    if on_progress is not None:
        bench = replace(bench, on_judged=lambda done: on_progress(Progress("judge", done, total)))
    tell(f"judging {total:,} plants, one at a time")
    judged = plan.policy.rule.judge_plants(bench, planted)
    seconds = {"embedding": round(embedded - clock, 3), "scoring": round(time.monotonic() - embedded, 3)}
    report = _report(bench, request, planted, judged, (originals, found_without), form, seconds)
    power = _power(bench, planted, judged, report.rows)
    return replace(report, power=power, notes=_notes(report, bench, plan.policy, role, others))


def _copied(bench: PlantBench) -> tuple[Sequence[Member], Role, int | None]:
    """The images that are copied: those that were used, or, without any, those that may have been.

    A real image that the audit labels so without any plant is left out, as nothing would show whether it was the plant.
    Gives their role beside, and how many were left out (``None`` where they are not what is judged).
    """
    which = f"audit {bench.record.audit_id[:8]}"
    role = next((role for role in CANDIDATES if bench.frozen.reals.get(role)), None)
    if role is None:
        raise UsageError(
            f"{which} has no used and no unknown images: no copy of any could be found by it",
            hint="audit with --used or --against",
        )
    members = bench.frozen.reals[role]
    if bench.frozen.subject is not Subject.REAL:
        return members, role, None
    left = [member for member in members if bench.verdicts[member.image_key].label not in POSITIVE]
    if not left:
        raise UsageError(
            f"{which} labels all {len(members):,} {role.value} images as used without any plant: there is none whose "
            "copy it could find beside"
        )
    return left, role, len(members) - len(left)


def _plant(
    bench: PlantBench,
    originals: Sequence[Member],
    backbones: tuple[Backbone, ...],
    request: SensitivityRequest,
    on_progress: OnProgress | None,
    stop: Event,
    made: dict[tuple[str, ...], EmbeddedPlants],
) -> tuple[EmbeddedPlants | None, str, int]:
    workspace, frozen, (backbone, *further) = bench.workspace, bench.frozen, backbones
    form, others = release_format(workspace.catalog, frozen.release, workspace.preparation(backbone))
    order = chosen_originals(originals, request.seed)
    key = (frozen.space.space_id, *(member.image_id for member in order))
    before = made.get(key)
    if before is not None and before.further.keys() >= {each.space.space_id for each in further}:
        return before, form.words, others
    count = min(request.plants, len(originals))
    bench.on_step(f"planting {len(request.kinds)} kinds of copies of {count:,} images, as {form.words}")
    vector_of = {m.image_id: vector for m, vector in zip(originals, bench.vectors.of(originals), strict=True)}
    planting = Planting(workspace, backbone, tuple(further), request, form, frozen.release.members, stop, on_progress)
    planted = planting.run(order, vector_of)
    if planted is not None:
        made[key] = planted
    return planted, form.words, others


def _report(
    bench: PlantBench,
    request: SensitivityRequest,
    planted: EmbeddedPlants,
    judged: JudgedCopies,
    originals: tuple[Sequence[Member], int | None],
    form: str,
    seconds: dict[str, float],
) -> SensitivityReport:
    record, verdicts = bench.record, bench.verdicts
    copied = {member.image_key for member in planted.originals}
    seen = bench.workspace.catalog.audit_datasets(record.audit_id)
    return SensitivityReport(
        audit_id=record.audit_id,
        release_name=next(row.name for row in seen if row.role is Role.RELEASE),
        subject=record.subject.value,
        rule=record.rule,
        backbone=bench.frozen.space.backbone,
        request=request,
        form=form,
        originals=len(copied),
        available=len(originals[0]),
        result=sensitivity_of(_plants(planted, judged.found)),
        outranking=None if judged.outranks is None else sensitivity_of(_plants(planted, judged.outranks)),
        reach=judged.reach,
        base_share=round(sum(verdict.label in POSITIVE for verdict in verdicts.values()) / len(verdicts), 9),
        found_without=originals[1],
        unreadable=planted.unreadable,
        unusable=planted.unusable,
        notes=(),
        seconds=seconds,
    )


def _plants(planted: EmbeddedPlants, found: Any) -> list[Plant]:
    rows = zip(planted.kinds, planted.originals, planted.similarities.tolist(), found.tolist(), strict=True)
    return [
        Plant(kind.name, kind.strength, is_found, similarity, original.group_key)
        for kind, original, similarity, is_found in rows
    ]


def _power(
    bench: PlantBench, planted: EmbeddedPlants, judged: JudgedCopies, rows: Sequence[Detected]
) -> ReleasePower | None:
    """Of the release test, where there is one: had images been remembered like those found, or like kinds of plants."""
    if judged.design is None or judged.scores is None:
        return None
    strong = _established(bench)
    for row in rows:
        places = [
            place for place, kind in enumerate(planted.kinds) if (kind.name, kind.strength) == (row.kind, row.strength)
        ]
        groups = [planted.originals[place].group_key for place in places]
        strong.append(Strong(f"a planted copy ({row.name})", judged.scores[places], groups))
    bench.on_step(f"drawing {len(strong):,} power curves of the release test")
    return release_power(judged.design, strong)


def _established(bench: PlantBench) -> list[Strong]:
    """Of a leak that is established: the used images that are, or all of them where none is."""
    if bench.record.findings.outcome is not Outcome.LEAK_ESTABLISHED:
        return []
    used = [(bench.verdicts[member.image_key], member.group_key) for member in bench.frozen.reals[Role.USED]]
    found = [(verdict, group) for verdict, group in used if verdict.label is Label.ESTABLISHED]
    images = "the 1 image established here" if len(found) == 1 else f"the {len(found):,} images established here"
    scores, groups = zip(*((verdict.score, group) for verdict, group in found or used), strict=True)
    return [Strong(images if found else "the images claimed used are here as a whole", scores, groups)]


def _notes(report: SensitivityReport, bench: PlantBench, policy: Policy, role: Role, others: int) -> tuple[str, ...]:
    notes = []
    calibrated = bench.record.findings.calibrated
    if calibrated is not None and calibrated.doubt:
        notes.append(
            f"As it stands, this audit establishes nothing, whatever is planted: {calibrated.doubt} The shares are of "
            "what it would find were it not for that."
        )
    groups = max(row.groups for row in report.rows)
    needed = plants_needed(report.result.target)
    if report.reach is not None and report.reach.sentence and report.reach.sentence != report.sentence:
        positive = sum(verdict.label in POSITIVE for verdict in bench.verdicts.values())
        beside = f"Copies are found here beside {positive:,} images that are established without any plant. "
        notes.append((beside if positive else "") + report.reach.sentence)
    if groups < needed:
        notes.append(
            f"{groups:,} images (or groups) are copied: a claim of {report.result.target:.0%} needs {needed} or more, "
            "whatever is found."
        )
    if report.unreadable:
        first = report.unreadable[0]
        notes.append(
            f"{len(report.unreadable):,} images could not be read again; the first: {first.name}: {first.detail}"
        )
    if report.unusable:
        notes.append(f"{report.unusable:,} plants have no vector in {report.backbone} and are left out.")
    if role is Role.AGAINST:
        notes.append("No used images take part: copies are of unknown ones.")
    if others:
        notes.append(f"{others:,} generated images have another size, mode or format than the one plants went through.")
    if report.found_without:
        notes.append(
            f"{report.found_without:,} images are found without any plant, and none of them was copied: shares are of "
            "the others."
        )
    if not policy.rule.calibrates and policy.subject is Subject.GENERATED:
        notes.append(
            f"The rule {report.rule} labels {report.base_share:.0%} of the audit's images as used without any plant: "
            "a share found means something only as far as it is above that."
        )
    return tuple(notes)
