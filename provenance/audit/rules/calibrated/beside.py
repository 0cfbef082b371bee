"""What stands beside the strict label of real images: best guess, groups as subjects, other p- and q-values.

All of it is computed from the scores, p-values and groups at hand, whatever the score is. The strict label, its digest
and the outcome are what they are without it (docs/decisions/0016).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.audit.inputs import CANDIDATES
from provenance.audit.rules.calibrated.families import family_of, judged_groups_of
from provenance.detection.calibrated.beside import (
    judge_by_tail,
    judge_groups,
    null_share,
    sizes_warning,
    storey_q_values,
)
from provenance.detection.calibrated.guess import BestGuess, best_guess
from provenance.detection.copies.tail import Tail, fitted_tail
from provenance.findings import (
    CalibratedFindings,
    GroupFigures,
    GuessFigures,
    NotComputed,
    OtherMeans,
    Resampling,
    TailFigures,
    Weakness,
)
from provenance.records import MembershipFigures
from provenance.vocabulary import Label, Role, digest_of_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.arrays import Float64s, Int64s
    from provenance.audit.rule import Judgement
    from provenance.audit.rules.calibrated.families import Families
    from provenance.audit.rules.calibrated.parameters import CalibratedParameters
    from provenance.records import Member

CLAIMS = {Role.USED: "claimed used", Role.AGAINST: "of unknown use", Role.NOT_USED: "known not used"}


@dataclass(frozen=True, slots=True)
class Pool:
    """All real images as they were scored, and the strict verdicts on those that are judged.

    ``doubt`` is why nothing follows from any score, in a sentence (the sets differ by themselves); empty: nothing says
    so. ``no_guess`` is why nothing is to be learnt from the known images, likewise.
    """

    scores: Float64s
    groups: Sequence[str | None]
    rows_of: Mapping[Role, Int64s]
    verdicts: Families
    doubt: str = ""
    no_guess: str = ""

    def of_groups(self, rows: Sequence[int]) -> list[str | None]:
        """The groups of some rows."""
        return [self.groups[row] for row in rows]


def with_beside(judged: Judgement, rule: CalibratedParameters, pool: Pool, members: Sequence[Member]) -> Judgement:
    """A judgement with its best guesses, groups and other means; ``members`` are the rows of the pool."""
    assert isinstance(judged.own, CalibratedFindings), "the rule's own"
    columns: dict[int, dict[str, Any]] = {row: {} for rows in pool.rows_of.values() for row in rows.tolist()}
    guess = _guessed(rule, pool, columns, _caution(judged.own, pool.doubt))
    groups, tail, means = _by_claim(rule, pool, columns)
    own = replace(judged.own, guess=guess, groups=groups, tail=tail, other_means=means)
    by_group = [[columns[row].get(name) for name in _OF_GROUPS] for row in pool.verdicts.rows.tolist()]
    return replace(
        judged,
        own=own,
        basis=judged.basis if groups is None else {**judged.basis, "groups": digest_of_json(by_group)},
        notes=(*judged.notes, *_notes(own)),
        beside=tuple(MembershipFigures(members[row].image_key, **columns[row]) for row in sorted(columns)),
    )


_OF_GROUPS = ("group_score", "group_p_value", "group_q_value", "group_label")


def _guessed(
    rule: CalibratedParameters, pool: Pool, columns: dict[int, dict[str, Any]], caution: str
) -> GuessFigures | NotComputed:
    if pool.no_guess:
        return NotComputed(f"{pool.no_guess[0].lower()}{pool.no_guess[1:]}".rstrip(".?"))
    claimed: list[bool | None] = [None] * len(pool.scores)
    for role, used in ((Role.USED, True), (Role.NOT_USED, False)):
        for row in pool.rows_of.get(role, np.zeros(0, dtype=np.int64)).tolist():
            claimed[row] = used
    assert rule.prior is not None, "asked before"
    found = best_guess(
        pool.scores, claimed, groups=pool.groups, prior=rule.prior, resampling=Resampling(seed=rule.seed)
    )
    if not isinstance(found, BestGuess):
        return found
    labels = found.labels
    for row, column in columns.items():
        column |= {"probability": float(found.probabilities[row]), "best_guess": labels[row]}
    counts = {role.value: sum(labels[row] is Label.USED for row in rows) for role, rows in pool.rows_of.items()}
    otherwise = sum(
        label is Label.ESTABLISHED and labels[row] is Label.NOT_USED
        for row, label in zip(pool.verdicts.rows.tolist(), pool.verdicts.labels, strict=True)
    )
    return replace(found.figures, guessed=counts, caution=caution, established_not_used=otherwise)


def _caution(own: CalibratedFindings, doubt: str) -> str:
    """Why a guess may rest on something else than use, as far as the audit knows."""
    if doubt:
        return f"{doubt} The guess may be betting on that difference, not on use."
    if not own.shift.warnings:
        return ""
    return (
        "Calibration and judged images differ by themselves, so the guess may be betting on that difference, not on "
        "use."
    )


def _by_claim(
    rule: CalibratedParameters, pool: Pool, columns: dict[int, dict[str, Any]]
) -> tuple[GroupFigures | None, TailFigures, dict[str, OtherMeans]]:
    judged = judged_groups_of(pool.groups, pool.rows_of)
    known = [row for row in pool.rows_of[Role.NOT_USED].tolist() if pool.groups[row] not in judged]
    of_known = pool.of_groups(known)
    tail = fitted_tail(pool.scores[known], of_known)
    families, warnings, means = {}, [], {}
    p_values, q_values = (
        dict(zip(pool.verdicts.rows.tolist(), each, strict=True))
        for each in (pool.verdicts.p_values, pool.verdicts.q_values)
    )
    for role in CANDIDATES:
        rows = pool.rows_of.get(role, np.zeros(0, dtype=np.int64)).tolist()
        if not rows:
            continue
        p, q = [p_values[row] for row in rows], [q_values[row] for row in rows]
        means[role.value] = _other_means(rule, pool, tail, (rows, p, q), columns)
        groups = pool.of_groups(rows)
        answer = judge_groups(
            pool.scores[rows],
            pool.scores[known],
            groups=groups,
            calibration_groups=of_known,
            how=rule.group_score,
            q=rule.q,
        )
        if answer is not None:
            answer = answer.undecided(pool.doubt) if pool.doubt else answer
            families[role.value] = family_of(answer.found)
            warnings.append(sizes_warning(groups, of_known))
            by_group = list(zip(answer.found.p_values, answer.found.q_values, answer.found.labels, strict=True))
            for row, place in zip(rows, answer.of_image.tolist(), strict=True):
                values = (float(answer.scores[place]), *by_group[place])
                columns[row] |= dict(zip(_OF_GROUPS, values, strict=True))
            for row, place in zip(known, answer.of_known.tolist(), strict=True):
                columns[row]["group_score"] = float(answer.known_scores[place])
    warning = next(filter(None, warnings), "")
    figures = GroupFigures(rule.group_score.value, families, warning) if families else None
    return figures, _tail_figures(tail), means


def _other_means(
    rule: CalibratedParameters,
    pool: Pool,
    tail: Tail,
    claim: tuple[list[int], list[float], list[float]],
    columns: dict[int, dict[str, Any]],
) -> OtherMeans:
    rows, p_values, q_values = claim
    groups = pool.of_groups(rows)
    share = null_share(p_values, groups)
    storey = storey_q_values(q_values, share)
    for row, value in zip(rows, storey, strict=True):
        columns[row]["storey_q_value"] = value
    level, found = (0.0 if pool.doubt else rule.q), None
    if not tail.refused:
        by_tail = judge_by_tail(tail.p_values(pool.scores[rows]), p_values, groups, tail.groups, rule.q)
        found = sum(each <= level for each in by_tail.q_values)
        for row, *values in zip(rows, by_tail.p_values, by_tail.q_values, strict=True):
            columns[row] |= dict(zip(("tail_p_value", "tail_q_value"), values, strict=True))
    return OtherMeans(found, sum(each <= level for each in storey), share)


def _tail_figures(tail: Tail) -> TailFigures:
    if tail.refused:
        return TailFigures(tail.refused)
    return TailFigures("", tail.threshold, tail.excesses, tail.shape, tail.mean_excess, tail.fit_p)


def _bets(guess: GuessFigures) -> str:
    bets = [f"{guess.guessed[role]:,} {CLAIMS[role]}" for role in CANDIDATES if role in guess.guessed]
    return f"bets on use for {' and '.join(bets)} (prior {guess.prior:g})"


def _notes(own: CalibratedFindings) -> list[str]:
    notes: list[str] = []
    if isinstance(own.guess, NotComputed):
        notes.append(f"There is no best guess: {own.guess.reason}.")
    elif own.guess is not None:
        said = f"Best guess: {own.guess.sentence} It {_bets(own.guess)}."
        notes.append(said if own.guess.better_than_chance and not own.guess.caution else Weakness(said))
    if own.groups is not None and own.groups.warning:
        notes.append(Weakness(own.groups.warning))
    return notes


def beside_facts(own: CalibratedFindings) -> dict[str, str]:
    """What is printed of an audit, after its strict figures."""
    facts = {}
    if own.groups is not None:
        said = [
            f"{family.established_groups:,} of {family.subject_groups:,} {CLAIMS[Role(role)]}"
            for role, family in own.groups.families.items()
        ]
        what = "the mean" if own.groups.score == "mean" else "the best"
        facts["groups"] = f"established: {', '.join(said)}; each by {what} of its images' scores"
    if own.other_means:
        facts["other means"] = "; ".join(
            f"{CLAIMS[Role(role)]}: {_counted(each.tail)} by the tail, {each.storey:,} by Storey (pi0 "
            f"{each.null_share:.2f})"
            for role, each in own.other_means.items()
        )
    if isinstance(own.guess, NotComputed):
        facts["best guess"] = f"none: {own.guess.reason}"
    elif own.guess is not None:
        facts["best guess"] = f"{own.guess.sentence} It {_bets(own.guess)}"
    return facts


def _counted(count: int | None) -> str:
    return "none (refused)" if count is None else f"{count:,}"
