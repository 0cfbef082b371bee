"""Rule ``calibrated`` in audits: p-values against images known not used, Benjamini-Hochberg, and an outcome.

    real subjects        scores of all reals (``scoring``) -> p-values of used and of unknown images against the
                         not-used ones, one vote a group, each claim a family of its own (``families``) -> release
                         test (``release``)
    generated subjects   S_u, S_n, and the never-used reals' own greatest cosines to both sets
                         (``detection.calibrate_generated``) -> outcome by what is established

Not-used images are calibration only: no verdict is made on them, and the counts say how many they were.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.audit.alike import shifts_of
from provenance.audit.features import S_NOT_USED, S_USED, features_of
from provenance.audit.inputs import CANDIDATES
from provenance.audit.nearest import nearest_of_other_groups
from provenance.audit.rule import Judgement
from provenance.audit.rules.calibrated.beside import Pool, with_beside
from provenance.audit.rules.calibrated.doubts import Doubts, doubt_of_generated
from provenance.audit.rules.calibrated.exchangeability import audits_served, guarantee
from provenance.audit.rules.calibrated.families import Families, family_of, figures_of, judge_families
from provenance.audit.rules.calibrated.outcome import (
    Conclusion,
    conclude_by_established,
    conclude_by_members,
    undecided,
    with_unnamed,
)
from provenance.audit.scoring import score_reals
from provenance.detection import SIMILARITY_TOLERANCE, Decision, calibrate_generated
from provenance.detection.checks import group_codes
from provenance.errors import UsageError
from provenance.findings import CalibratedFindings, ReferenceRelease, Weakness
from provenance.pace import throttled
from provenance.records import CalibrationScore
from provenance.vocabulary import Label, Outcome, Role, Subject, digest_of_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.arrays import Float64s, Int64s
    from provenance.audit.bench import Bench
    from provenance.audit.evidence import SubjectEvidence
    from provenance.audit.inputs import FrozenAudit
    from provenance.audit.rules.calibrated.parameters import CalibratedParameters
    from provenance.audit.scoring import ScoredReals
    from provenance.audit.scoring_inputs import ScoringInputs
    from provenance.detection import ControlledVerdicts
    from provenance.findings import CalibratedFigures, ShiftCheck
    from provenance.records import Member


LABELS = (Label.ESTABLISHED, Label.NOT_ESTABLISHED, Label.INCONCLUSIVE)
_MOVES = (-SIMILARITY_TOLERANCE, SIMILARITY_TOLERANCE)
_SECONDS_OF_SILENCE = 8.0


def judge_real(bench: Bench, rule: CalibratedParameters) -> Judgement:
    """Of real images, by their membership scores."""
    frozen, name, inputs = bench.frozen, rule.score_name, bench.vectors.scoring_inputs(bench.frozen)
    bench.on_step(f"scoring {len(inputs.pool):,} real images by {name}")
    say = throttled(bench.on_step, _SECONDS_OF_SILENCE)

    def progress(done: int, total: int) -> None:
        if done < total:
            say(f"{done:,} of {total:,} steps")

    scored = score_reals(name, inputs, k=rule.score_k, progress=progress)
    role_of = frozen.role_of
    roles = np.array([role_of[m.image_id].value for m in frozen.judged_reals])
    rows_of = {role: np.flatnonzero(roles == role.value) for role in frozen.reals}
    learner = None if scored.learnt is None else scored.learnt.learner
    verdicts, *moved = (
        judge_families(scored.scores, inputs.groups, rows_of, q=rule.q, moved=by, learner=learner)
        for by in (0.0, *_MOVES)
    )
    bench.on_step("testing the release")
    conclusion = _conclude(rule, inputs, scored, rows_of, verdicts)
    shifts = shifts_of(bench, rule.seed)
    doubts = Doubts.of(frozen, rule, scored, shifts, (conclusion, verdicts))
    verdicts, *moved = (doubts.weighed(each) for each in (verdicts, *moved))
    conclusion = undecided(conclusion, doubts.whole) if doubts.whole else conclusion
    verdicts, conclusion = with_unnamed(verdicts, conclusion, frozen)
    scores, near = scored.scores[verdicts.rows].tolist(), _turned([each.labels for each in moved])
    decisions = tuple(map(Decision, verdicts.labels, scores, near, verdicts.p_values, verdicts.q_values))
    figures = replace(verdicts.figures, score=name)
    digest = digest_of_json(scored.scores[rows_of[Role.NOT_USED]].tolist())
    judged = _judgement(
        bench, decisions, conclusion, shifts[CANDIDATES], figures, digest, (doubts.whole, doubts.unknown)
    )
    judged = replace(_with_learnt(judged, scored), calibration=_calibration(frozen, scored, rows_of[Role.NOT_USED]))
    if rule.prior is None:
        return judged
    bench.on_step("guessing")
    pool = Pool(scored.scores, inputs.groups, rows_of, verdicts, doubts.whole or doubts.apart, doubts.no_guess)
    return with_beside(judged, rule, pool, frozen.judged_reals)


def _calibration(frozen: FrozenAudit, scored: ScoredReals, rows: Int64s) -> tuple[CalibrationScore, ...]:
    known = [frozen.judged_reals[row].image_key for row in rows.tolist()]
    return tuple(map(CalibrationScore, known, scored.scores[rows].tolist()))


def _with_learnt(judged: Judgement, scored: ScoredReals) -> Judgement:
    if scored.learnt is None:
        return judged
    assert isinstance(judged.own, CalibratedFindings), "made here"
    return replace(judged, own=replace(judged.own, learnt=scored.learnt.figures))


def _conclude(
    rule: CalibratedParameters,
    inputs: ScoringInputs,
    scored: ScoredReals,
    rows_of: Mapping[Role, Int64s],
    verdicts: Families,
) -> Conclusion:
    if Role.USED in rows_of:
        members, others, count = rows_of[Role.USED], rows_of[Role.NOT_USED], verdicts.established
        return conclude_by_members(rule, inputs, scored, members, others, established=count)
    return conclude_by_established(verdicts, "real images", rule.q)


def _turned(labels: Sequence[tuple[Label, ...]]) -> list[bool]:
    return [one is not other for one, other in zip(*labels, strict=True)]


def judge_generated(bench: Bench, rule: CalibratedParameters, subjects: Sequence[SubjectEvidence]) -> Judgement:
    """Of generated images, by S_u."""
    frozen = bench.frozen
    rows = [features_of(Subject.GENERATED, subject.neighbors) for subject in subjects]
    to_used, to_not_used = (np.array([row[name] for row in rows], dtype=np.float64) for name in (S_USED, S_NOT_USED))
    known = frozen.reals[Role.NOT_USED]
    calibration = calibration_of(bench)
    groups = [member.group_key for member in known]
    sizes = (len(frozen.candidates), len(known))

    def verdicts_of(moved: float) -> ControlledVerdicts:
        return calibrate_generated(
            to_used + moved, to_not_used, *calibration, calibration_groups=groups, set_sizes=sizes, q=rule.q
        )

    verdicts = verdicts_of(0.0)
    near = _turned([verdicts_of(by).labels for by in _MOVES])
    conclusion = conclude_by_established(verdicts, "generated images", rule.q)
    shifts = shifts_of(bench, rule.seed)
    if doubt := doubt_of_generated(frozen, rule, shifts, verdicts):
        conclusion, near = undecided(conclusion, doubt), [False] * len(near)
        verdicts = verdicts.undecided(conclusion.reason)
    decisions = tuple(
        map(Decision, verdicts.labels, to_used.tolist(), near, verdicts.test.p_values, verdicts.test.q_values)
    )
    figures = figures_of(
        verdicts.test,
        reason=verdicts.reason,
        warnings=verdicts.warnings,
        established=verdicts.established,
        closeness=family_of(verdicts.closeness),
        control=family_of(verdicts.control),
    )
    digest = digest_of_json([each.tolist() for each in calibration])
    closeness = tuple(CalibrationScore(m.image_key, score) for m, score in zip(known, calibration[0], strict=True))
    judged = _judgement(bench, decisions, conclusion, shifts[CANDIDATES], figures, digest, (doubt, ""))
    return replace(judged, calibration=closeness)


def calibration_of(bench: Bench) -> tuple[Float64s, Float64s]:
    """The greatest cosines of each not-used image to the candidates, and to the other not-used images."""
    known = bench.frozen.reals[Role.NOT_USED]
    bench.on_step(f"comparing {len(known):,} not-used images with the real ones")
    return own_maxima(bench, known, bench.frozen.candidates), own_maxima(bench, known, known)


def own_maxima(bench: Bench, known: Sequence[Member], references: Sequence[Member]) -> Float64s:
    """The greatest cosine of each known image to the references, its own group (itself, without one) left out."""
    everyone = sorted({m.image_id: m for m in (*known, *references)}.values(), key=lambda m: m.image_id)
    codes = group_codes([m.group_key for m in everyone], len(everyone))[0]
    code_of = {m.image_id: code for m, code in zip(everyone, codes.tolist(), strict=True)}
    mine, theirs = (np.array([code_of[m.image_id] for m in members]) for members in (known, references))
    similarities: Float64s = nearest_of_other_groups(
        bench.vectors.of(known), bench.vectors.of(references), 1, mine, theirs, threads=bench.vectors.threads
    )[1]
    if similarities.shape[1] == 0:
        raise UsageError(
            "without its own group, a not-used image has no real image of its kind to be compared with",
            hint="add images of other patients that are known not to be used",
        )
    return similarities[:, 0]


def _judgement(
    bench: Bench,
    decisions: tuple[Decision, ...],
    conclusion: Conclusion,
    shift: ShiftCheck,
    figures: CalibratedFigures,
    calibration_digest: str,
    doubts: tuple[str, str],
) -> Judgement:
    frozen, served = bench.frozen, audits_served(bench.workspace.catalog, bench.frozen)
    figures, reference = replace(figures, audits_served=served, guarantee=guarantee(served)), None
    basis: dict[str, Any] = {"calibration_groups": figures.calibration_groups, "k_min": figures.k_min, "q": figures.q}
    basis |= {"outcome": conclusion.outcome.value, "calibration_scores": calibration_digest}
    if (other := frozen.reference) is not None:
        basis["reference_release"] = other.digest
        reference = ReferenceRelease(other.dataset.name, other.dataset.dataset_id, other.digest, len(other.members))
    weak = (doubts[1], *figures.warnings, *shift.warnings)
    notes = [*map(Weakness, filter(None, weak)), figures.reason, figures.guarantee]
    if figures.control and conclusion.outcome is Outcome.INCONCLUSIVE:
        notes.append(
            "--subject real asks which real images were used: a question that fewer calibration images can answer."
        )
    return Judgement(
        decisions=decisions,
        threshold=None,
        basis=basis,
        notes=tuple(note for note in notes if not conclusion.reason.endswith(note)),
        outcome=conclusion.outcome,
        outcome_reason=conclusion.reason,
        own=CalibratedFindings(
            conclusion.release_test,
            conclusion.data_copying,
            reference,
            shift,
            calibration=figures,
            doubt=doubts[0] or None,
            doubt_of_unknown=doubts[1] or None,
        ),
        counts={
            "calibration_images": len(frozen.reals[Role.NOT_USED]),
            "calibration_groups": figures.calibration_groups,
        },
    )
