"""What stands beside the label, put together from scores, groups and claims: what a doubt and a shift do to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from provenance.audit.rule import Judgement
from provenance.audit.rules.calibrated.beside import Pool, beside_facts, with_beside
from provenance.audit.rules.calibrated.families import judge_families
from provenance.audit.rules.calibrated.parameters import CalibratedParameters
from provenance.findings import CalibratedFindings, GuessFigures, NotComputed, ShiftCheck, Weakness
from provenance.records import Member
from provenance.vocabulary import GroupScore, Label, Role

if TYPE_CHECKING:
    from provenance.records import MembershipFigures

RULE = CalibratedParameters(q=0.2, prior=0.5, group_score=GroupScore.MEAN)
ROLES = [Role.USED] * 40 + [Role.NOT_USED] * 120 + [Role.AGAINST] * 20
MEMBERS = [Member(f"sha256:{row:03}", f"key{row}", "", "", None, "") for row in range(180)]


def pool(doubt: str = "", roles: list[Role] | None = None) -> Pool:
    """Pairs of images: used ones score two higher; one never-used image is of a group that is judged."""
    rng, roles = np.random.default_rng(0), roles or ROLES
    scores = rng.normal(size=180) + 2.0 * np.array([role is Role.USED for role in ROLES])
    groups = [f"g{row // 2}" for row in range(180)]
    groups[41] = "g0"
    known = np.array([role.value for role in roles])
    rows_of = {role: rows for role in Role if len(rows := np.flatnonzero(known == role.value))}
    return Pool(scores, groups, rows_of, judge_families(scores, groups, rows_of, q=RULE.q), doubt)


def told(given: Pool, shift: ShiftCheck | None = None) -> tuple[Judgement, CalibratedFindings, list[MembershipFigures]]:
    own = CalibratedFindings(calibration=given.verdicts.figures)
    before = Judgement((), None, {"k_min": 1}, own=own if shift is None else replace(own, shift=shift))
    judged = with_beside(before, RULE, given, MEMBERS)
    assert isinstance(judged.own, CalibratedFindings)
    return judged, judged.own, list(judged.beside)


def test_every_image_has_its_columns_by_its_part_in_the_audit() -> None:
    judged, own, rows = told(pool())
    assert [each.image_key for each in rows] == [member.image_key for member in MEMBERS]
    assert all(each.probability is not None and each.best_guess is not None for each in rows)
    for each, role in zip(rows, ROLES, strict=True):
        assert (each.storey_q_value is None) == (role is Role.NOT_USED)
        assert (each.group_label is None) == (role is Role.NOT_USED)
    assert rows[41].group_score is None  # its group is judged, so that it calibrates nothing
    assert rows[40].group_score is not None
    assert isinstance(own.guess, GuessFigures)
    assert own.guess.guessed["against"] == sum(each.best_guess is Label.USED for each in rows[160:])
    assert own.groups is not None
    assert own.groups.families["used"].established_groups > 10
    count = own.groups.families["used"].established_groups
    assert own.groups.sentence.startswith(f"By patient or study: {count} of 20 groups claimed used and ")
    assert own.other_means is not None
    assert own.other_means["used"].storey > 20
    assert "groups" in judged.basis
    assert set(beside_facts(own)) == {"groups", "other means", "best guess"}


def test_established_images_that_are_bet_on_as_not_used_are_counted() -> None:
    given = pool()
    labels = (Label.ESTABLISHED,) * len(given.verdicts.labels)
    _, own, rows = told(replace(given, verdicts=replace(given.verdicts, labels=labels)))
    assert isinstance(own.guess, GuessFigures)
    judged = [rows[row] for row in given.verdicts.rows.tolist()]
    assert own.guess.established_not_used == sum(each.best_guess is Label.NOT_USED for each in judged) > 0


def test_a_doubt_leaves_nothing_established_and_the_guess_says_what_it_may_be_betting_on() -> None:
    judged, own, rows = told(pool("The sets differ by themselves."))
    assert {each.group_label for each in rows[:40]} == {Label.INCONCLUSIVE}
    assert own.groups is not None
    assert own.groups.families["used"].established_groups == 0
    assert own.other_means is not None
    assert own.other_means["used"].storey == 0
    assert not own.other_means["used"].tail
    assert isinstance(own.guess, GuessFigures)
    assert own.guess.caution.startswith("The sets differ by themselves. The guess may be betting on that")
    assert any(isinstance(note, Weakness) and "betting on that" in note for note in judged.notes)


def test_a_shift_between_calibration_and_judged_images_is_a_caution() -> None:
    _, own, _ = told(pool(), ShiftCheck((), 0.05, ("They differ in size.",)))
    assert isinstance(own.guess, GuessFigures)
    assert "betting on that difference" in own.guess.caution


def test_without_known_used_images_the_rest_stands() -> None:
    judged, own, rows = told(pool(roles=[Role.AGAINST if role is Role.USED else role for role in ROLES]))
    assert isinstance(own.guess, NotComputed)
    assert {each.best_guess for each in rows} == {None}
    assert all(each.storey_q_value is not None for each in rows[:40])
    assert any(note.startswith("There is no best guess: there are no images known used") for note in judged.notes)
    assert beside_facts(own)["best guess"].startswith("none: ")


@pytest.mark.parametrize("prior", [0.2, 0.8])
def test_findings_are_read_as_they_were_written(prior: float) -> None:
    judged = with_beside(
        Judgement((), None, {}, own=CalibratedFindings(calibration=pool().verdicts.figures)),
        replace(RULE, prior=prior), pool(), MEMBERS,
    )  # fmt: skip
    assert isinstance(judged.own, CalibratedFindings)
    assert CalibratedFindings.from_json(judged.own.to_json()) == judged.own
