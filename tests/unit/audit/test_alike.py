"""Whether not-used images can be held against those that are judged: gross shifts, and twins by the share they take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from provenance.audit.alike import gross_of, twins_too_many
from provenance.audit.rules.calibrated.families import judge_families
from provenance.audit.rules.calibrated.outcome import Conclusion, with_unnamed
from provenance.findings import ShiftCheck, ShiftTest
from provenance.records import Member
from provenance.vocabulary import Label, Outcome, Role


def frozen(known: int, twins: int, *, excluded: bool = False, group: int = 1, of_unknown: int = 0) -> Any:
    """An audit with so many not-used images, the first of which have twins."""
    members = [Member(f"sha256:{n:03}", f"key{n}", "", "", f"g{n // group}", "") for n in range(known)]

    def report(count: int) -> Any:
        return SimpleNamespace(twins=[SimpleNamespace(not_used=member) for member in members[:count]])

    return SimpleNamespace(
        reals={Role.NOT_USED: tuple(members)},
        twins=report(twins),
        unknown_twins=report(of_unknown),
        twins_excluded=excluded,
    )


def test_a_gross_shift_says_what_differs_and_that_nothing_follows() -> None:
    tests = (ShiftTest("size", 0.01, 0.02, "medians 1 and 2", 0.3, gross=False),)
    assert gross_of(ShiftCheck(tests, 0.05, ()), Role.USED) == gross_of(None) == ""
    seen = gross_of(ShiftCheck((*tests, ShiftTest("modality", 0, 0, "9 CT", 1.0, gross=True)), 0.05, ()), Role.USED)
    assert "differ grossly in modality (9 CT; p = 0)" in seen
    assert "size" not in seen
    assert "than the images claimed used" in seen


@pytest.mark.parametrize(
    ("audit", "q", "too_many"),
    [
        (frozen(40, 40), 0.05, True),
        (frozen(40, 20), 0.05, True),
        (frozen(40, 4), 0.05, True),
        (frozen(40, 3), 0.05, False),  # below a tenth of the groups
        (frozen(40, 0), 0.05, False),
        (frozen(40, 4), 0.2, False),  # 5 / 41 is within q
        (frozen(40, 20, excluded=True), 0.05, False),
        (frozen(40, 8, group=10), 0.2, True),  # one group of four
        (frozen(40, 0, of_unknown=40), 0.05, False),  # of another role
    ],
)
def test_twins_are_too_many_where_no_image_could_be_established_beside_them(
    audit: Any, q: float, too_many: bool
) -> None:
    assert bool(twins_too_many(audit, [Role.USED], q)) is too_many


def test_what_is_found_beside_twins_stands_unless_most_are_twins() -> None:
    assert twins_too_many(frozen(40, 21), [Role.USED], 0.05, found=True)
    assert not twins_too_many(frozen(40, 20), [Role.USED], 0.05, found=True)


def test_twins_of_all_roles_count_where_all_are_judged_as_one() -> None:
    audit = frozen(40, 0, of_unknown=40)
    assert "40 of 40 images known not used have near-twins among those of unknown use" in twins_too_many(
        audit, [Role.AGAINST], 0.05
    )
    assert "and there are no others" in twins_too_many(audit, [Role.USED, Role.AGAINST], 0.05)


def test_a_leak_without_an_established_image_says_why_none_is_named() -> None:
    scores = [2.0] * 10 + [1.0] * 19 + [3.0]
    rows = {Role.USED: list(range(10)), Role.NOT_USED: list(range(10, 30))}

    verdicts = judge_families(
        np.array(scores), [None] * 30, {role: np.array(each) for role, each in rows.items()}, q=0.05
    )
    assert set(verdicts.labels) == {Label.INCONCLUSIVE}
    leak = Conclusion(Outcome.LEAK_ESTABLISHED, "It leaks.")
    named, conclusion = with_unnamed(verdicts, leak, frozen(20, 0))
    assert conclusion.reason.startswith(
        "It leaks. By the score alone, no single image can be named, because with 20 calibration groups"
    )
    assert "this test can't see it" in conclusion.reason
    assert "nconclusive" not in named.figures.reason + conclusion.reason
    assert "near-twins" in with_unnamed(verdicts, leak, frozen(20, 20))[1].reason
    other = Conclusion(Outcome.LEAK_NOT_ESTABLISHED, "It does not.")
    assert with_unnamed(verdicts, other, frozen(20, 0)) == (verdicts, other)
    doubted = verdicts.undecided("Inconclusive: so.", Role.AGAINST)
    assert doubted.labels == verdicts.labels
