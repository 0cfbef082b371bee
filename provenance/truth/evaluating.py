"""An evaluation from the request to its values: truth, figures with intervals, parts, comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection import Estimate, calibration_of_p_values, compare, evaluate
from provenance.errors import ConflictError, NotFoundError, UsageError
from provenance.logs import room, step
from provenance.truth.evaluations import (
    BEST_GUESS,
    ComparedAudit,
    ComparedAudits,
    EvaluatedAudit,
    EvaluatedPart,
    EvaluationReport,
    EvaluationRequest,
    Sample,
)
from provenance.truth.judged import JUDGED, JudgedAudit, JudgedImage, judged_audit
from provenance.truth.matching import Truth, refuse_unknown, truth_of_claims, truth_of_labels
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.detection import Calibration, Evaluation, Resampling
    from provenance.installation import Installation

_log = room(__name__)

OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Known:
    """One judged image with its truth."""

    audit: JudgedAudit
    image: JudgedImage
    used: bool


@step(_log, "evaluate")
def run_evaluation(
    workspace: Installation, request: EvaluationRequest, on_step: OnStep | None = None
) -> EvaluationReport:
    """Evaluate audits where truth is known. Reads the catalog alone; records nothing.

    Raises:
        NotFoundError: If an audit is unknown; labels are about unknown images, or none is about a judged one; or no
            image with truth was judged by both audits of a comparison.
        UsageError: If truth is neither given nor on record, or audits judged different kinds of images.
        ConflictError: If a name could mean several images, or audits can't stand in one table.
        SourceError: If labels contradict each other.
    """
    catalog, step = workspace.catalog, on_step or (lambda _text: None)
    step("reading verdicts")
    judged = [judged_audit(workspace, catalog.answer_of(audit_id, None, JUDGED)) for audit_id in request.audits]
    _require_one_table(judged)
    truths = _truths(workspace, judged, request)
    known = [_known(audit, truth) for audit, truth in zip(judged, truths, strict=True)]
    evaluator = _Evaluator(request.resampling, step)
    audits = tuple(
        _evaluated(audit, truth, rows, evaluator) for audit, truth, rows in zip(judged, truths, known, strict=True)
    )
    parts, unpooled = _parts(known, evaluator)
    parts = (*parts, *_guesses(known, evaluator))
    comparison = None
    if request.against is not None:
        step("comparing")
        other = judged_audit(workspace, catalog.answer_of(request.against, None, JUDGED))
        comparison = _compared(judged[0], other, truths[0], evaluator)
    notes = [note for audit in audits for note in _notes_on(audit)]
    notes += [f"Not pooled over audits, whose scores are not comparable: {', '.join(unpooled)}."] if unpooled else []
    if comparison is not None:
        notes += _notes_on_comparison(comparison)
    return EvaluationReport(audits, parts, comparison, request.resampling, tuple(dict.fromkeys(notes)))


class _Evaluator:
    """Evaluates samples; equal ones once, because a part often holds all images."""

    def __init__(self, resampling: Resampling, on_step: OnStep) -> None:
        self.resampling = resampling
        self._on_step = on_step
        self._done: dict[tuple[tuple[str, str], ...], Evaluation] = {}

    def of(self, rows: Sequence[_Known], what: str) -> Evaluation:
        key = tuple((row.audit.audit.audit_id, row.image.image_key) for row in rows)
        if key not in self._done:
            self._on_step(f"resampling {what}: {len(rows):,} images")
            self._done[key] = evaluation_of(sample_of(rows), self.resampling)
        return self._done[key]


_NEED_ALL_LABELS = ("accuracy", "precision", "f1", "kappa")
"""Figures that count what is labelled used among the images that were not."""


def evaluation_of(sample: Sample, resampling: Resampling) -> Evaluation:
    """The evaluation of a sample; without all scores, what needs them is not estimable."""
    found = evaluate(sample.truth, sample.called, sample.scores, groups=sample.groups, resampling=resampling)
    if sample.unlabelled:
        told = Estimate(None, reason=sample.lacks_labels)
        by_label = {name: told for name in found.estimates if name in _NEED_ALL_LABELS}
        found = replace(found, estimates={**found.estimates, **by_label}, chance=None)
    if not sample.unscored:
        return found
    lacking = Estimate(None, reason=f"not estimable: {sample.unscored} verdicts have no score")
    unranked = {name: lacking for name in found.estimates if name == "auc" or name.startswith("tpr@")}
    return replace(found, estimates={**found.estimates, **unranked})


def sample_of(rows: Sequence[_Known]) -> Sample:
    """The arrays of images with truth. Groups are numbered as they come, so that no random key shapes the draws."""
    numbers: dict[str, int] = {}
    groups = tuple(numbers.setdefault(row.image.group or f"image {row.image.image_key}", len(numbers)) for row in rows)
    scores = [row.image.verdict.score for row in rows]
    unscored = sum(score is None for score in scores)
    return Sample(
        truth=np.array([row.used for row in rows], dtype=np.bool_),
        called=np.array([row.image.called_used for row in rows], dtype=np.bool_),
        scores=np.zeros(len(rows)) if unscored else np.array(scores, dtype=np.float64),
        groups=groups,
        inconclusive=np.array([row.image.verdict.label is Label.INCONCLUSIVE for row in rows], dtype=np.bool_),
        unscored=unscored,
        unlabelled=sum(not row.image.labelled for row in rows),
    )


def _require_one_table(judged: Sequence[JudgedAudit]) -> None:
    subjects = {audit.audit.subject for audit in judged}
    if len(subjects) > 1:
        raise UsageError(
            "some of these audits judged generated and some real images: they can't stand in one table",
            hint="evaluate them apart",
        )
    seen: dict[tuple[str, tuple[str, str], str], JudgedAudit] = {}
    for audit in judged:
        for image in audit.images:
            other = seen.setdefault((audit.release.dataset_id, audit.rule_key, image.image_key), audit)
            if other is not audit:
                raise ConflictError(
                    f"audits {other.short_id} and {audit.short_id} judged the same images of {audit.release_name} by "
                    "the same policy: they would count twice",
                    hint="leave one of them out, or compare them with --against",
                )


def _truths(workspace: Installation, judged: Sequence[JudgedAudit], request: EvaluationRequest) -> list[Truth]:
    if not request.labels:
        return [truth_of_claims(audit) for audit in judged]
    one_for_all = len(request.labels) == 1
    labels = request.labels * len(judged) if one_for_all else request.labels
    truths = [truth_of_labels(workspace, audit, rows) for audit, rows in zip(judged, labels, strict=True)]
    if not request.skip_unknown:
        if one_for_all:
            known_nowhere = set.intersection(*(set(truth.unknown) for truth in truths))
            refuse_unknown(judged, [key for key in truths[0].unknown if key in known_nowhere])
        else:
            for audit, truth in zip(judged, truths, strict=True):
                refuse_unknown([audit], truth.unknown)
    return truths


def _known(audit: JudgedAudit, truth: Truth) -> list[_Known]:
    return [_Known(audit, image, truth.used[image.image_key]) for image in audit.known if image.image_key in truth.used]


def _evaluated(audit: JudgedAudit, truth: Truth, rows: Sequence[_Known], evaluator: _Evaluator) -> EvaluatedAudit:
    groups = audit.audit.counts.get("calibration_groups")
    return EvaluatedAudit(
        judged=audit,
        truth=truth,
        sample=sample_of(rows),
        evaluation=evaluator.of(rows, f"audit {audit.short_id}"),
        calibration=_calibration(groups + 1 if groups else None, rows, evaluator.resampling.seed),
    )


def _calibration(steps: int | None, rows: Sequence[_Known], seed: int) -> Calibration | None:
    """Of the p-values of images known not used: one for each group, that of its first image by image_id.

    ``steps`` is G + 1 where they are counted against G calibration groups, and the audit says so.
    """
    by_group: dict[str, float] = {}
    for row in rows:
        if not row.used and row.image.verdict.p_value is not None:
            by_group.setdefault(row.image.group or row.image.image_key, row.image.verdict.p_value)
    return calibration_of_p_values(list(by_group.values()), steps=steps, seed=seed) if by_group else None


def _parts(known: Sequence[Sequence[_Known]], evaluator: _Evaluator) -> tuple[tuple[EvaluatedPart, ...], list[str]]:
    """The rows of the table, and what was left out because it would mix scores that are not comparable."""
    everything = [row for rows in known for row in rows]
    found, unpooled = [], []
    keys: list[tuple[str, Callable[[_Known], str]]] = [("all", lambda _row: "all")]
    if len(known) > 1:
        keys.append(("audit", lambda row: row.audit.short_id))
    keys += [("generator", lambda row: row.audit.generator), ("architecture", lambda row: row.audit.architecture)]
    keys.append(("modality", lambda row: row.image.modality))
    for by, key in keys:
        values: dict[str, list[_Known]] = {}
        for row in everything:
            values.setdefault(key(row) or "unknown", []).append(row)
        for value, rows in values.items() if by == "audit" else sorted(values.items()):
            if len({row.audit.rule_key for row in rows}) > 1:
                unpooled.append(value if by == "all" else f"{by} {value}")
                continue
            sample = sample_of(rows)
            evaluation = evaluator.of(rows, value if by == "all" else f"{by} {value}")
            inconclusive = int(sample.inconclusive.sum())
            rule = rows[0].audit.audit.rule
            found.append(EvaluatedPart(by, value, rule, inconclusive, evaluation, sample.lacks_labels))
    return tuple(found), unpooled


def _guesses(known: Sequence[Sequence[_Known]], evaluator: _Evaluator) -> list[EvaluatedPart]:
    """A row for the best guesses of each audit that has them: their labels, and probabilities for scores."""
    found = []
    for rows in known:
        guessed = [
            replace(row, image=replace(row.image, verdict=row.image.guessed, labelled=True))
            for row in rows
            if row.image.guessed
        ]
        if guessed:
            evaluation = evaluation_of(sample_of(guessed), evaluator.resampling)
            audit = rows[0].audit
            found.append(EvaluatedPart(BEST_GUESS, audit.short_id, audit.audit.rule, 0, evaluation))
    return found


def _compared(first: JudgedAudit, second: JudgedAudit, truth: Truth, evaluator: _Evaluator) -> ComparedAudits:
    if first.audit.audit_id == second.audit.audit_id:
        raise UsageError("an audit can't be compared with itself", hint="give --against another audit")
    if first.audit.subject is not second.audit.subject:
        raise UsageError(
            f"audit {first.short_id} judged {first.audit.subject.value} images, audit {second.short_id} "
            f"{second.audit.subject.value} ones: nothing to compare"
        )
    if first.calibrating and truth.source == "claims":
        raise UsageError(
            f"audit {first.short_id} is calibrated by its not-used images, which have no label to compare",
            hint="give their truth with --labels, or evaluate both audits in one call",
        )
    others = {image.image_key: image for image in second.images}
    rows = [row for row in _known(first, truth) if row.image.image_key in others]
    if not rows:
        raise NotFoundError(
            f"no image with known truth was judged by both audit {first.short_id} and audit {second.short_id}",
            hint="compare audits of the same images",
        )
    other_rows = [_Known(second, others[row.image.image_key], row.used) for row in rows]
    if truth.source == "claims":
        _require_same_claims(rows, other_rows)
    # the same group for both, so that each resample draws the same images
    other_rows = [
        replace(other, image=replace(other.image, group=row.image.group))
        for row, other in zip(rows, other_rows, strict=True)
    ]
    one, two = sample_of(rows), sample_of(other_rows)
    said = ((side.called, side.scores) for side in (one, two))
    comparison = compare(one.truth, *said, groups=one.groups, resampling=evaluator.resampling)
    if unscored := one.unscored or two.unscored:
        lacking = Estimate(None, reason=f"not estimable: {unscored} verdicts have no score")
        comparison = replace(comparison, auc_difference=lacking)
    sides = (
        ComparedAudit(first, one, evaluator.of(rows, "the first audit")),
        ComparedAudit(second, two, evaluator.of(other_rows, "the second audit")),
    )
    return ComparedAudits(sides, comparison)


def _require_same_claims(rows: Iterable[_Known], other_rows: Iterable[_Known]) -> None:
    differing = sum(other.image.claimed not in (None, row.used) for row, other in zip(rows, other_rows, strict=True))
    if differing:
        raise ConflictError(
            f"{differing} images are claimed used by one audit and not used by the other",
            hint="give what is true with --labels",
        )


def _notes_on(audit: EvaluatedAudit) -> list[str]:
    name, truth, evaluation = f"audit {audit.judged.short_id}", audit.truth, audit.evaluation
    without = sum(image.image_key not in truth.used for image in audit.judged.images) - truth.mixed
    kinds = {
        f"judged by {name}, without known truth and left out": max(without, 0),
        f"of groups with images of both kinds, left out as the release test of {name} leaves them out": truth.mixed,
        f"with a label, that {name} rejected or left out": len(truth.unjudged),
        f"with a label, that {name} does not know": len(truth.unknown),
        f"with a label that is not what {name} claimed of them; the label counts": truth.contradicted,
        f"that {name} calls inconclusive; they count as not called used": int(audit.sample.inconclusive.sum()),
    }
    notes = [f"Images {words}: {count:,}." for words, count in kinds.items() if count]
    if audit.sample.unlabelled:
        notes.append(
            f"The not-used images of {name} ({audit.sample.unlabelled:,}) calibrate it, and have a score but no label: "
            "figures that count labels of not-used images are not estimable."
        )
    if audit.judged.removed:
        notes.append(f"{', '.join(audit.judged.removed)}: removed since; every image counts as a group of its own.")
    if audit.sample.truth.all() or not audit.sample.truth.any():
        all_are = "used" if audit.sample.truth.all() else "not used"
        notes.append(f"Every image of {name} with known truth is {all_are}: there is no ranking to judge.")
    if evaluation.groups < 2:
        notes.append(f"Every image of {name} with known truth is of one group: no interval can be given.")
    if evaluation.chance is not None and not evaluation.chance.independent:
        notes.append("Images come in groups: the true chance band is wider than the binomial one.")
    if audit.calibration is not None and audit.calibration.steps is None:
        notes.append(f"{name} does not say how many groups its p-values are counted against: tested as if continuous.")
    return notes


def _notes_on_comparison(compared: ComparedAudits) -> list[str]:
    notes = []
    if len({side.judged.release.dataset_id for side in compared.sides}) > 1:
        notes.append(
            "The compared audits are about different releases: the truth is taken to hold for both, though membership "
            "is relative to a generator."
        )
    if not compared.comparison.mcnemar.independent:
        notes.append("Images come in groups: McNemar's test is too easily significant; read the paired bootstrap.")
    return notes
