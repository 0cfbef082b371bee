"""Counting looks: what is a new one, and what many of them do to an error rate."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from provenance.audit.looks import Looks, at_most, if_independent, looks_at, ordinal
from provenance.records import AuditDataset
from provenance.vocabulary import Role

START = datetime(2026, 1, 1, tzinfo=UTC)
SETS = (("r", Role.RELEASE), ("u", Role.USED), ("n", Role.NOT_USED))


def played(*sets: tuple[str, Role]) -> list[AuditDataset]:
    return [AuditDataset(f"id of {n}", role, f"name {n}", digest, 1) for n, (digest, role) in enumerate(sets)]


@dataclass
class History:
    """Audits as a catalog lists them: the newest first, one an hour."""

    listed: list[Any] = field(default_factory=list)
    datasets: dict[str, list[AuditDataset]] = field(default_factory=dict)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, *digests: str, sets: tuple[tuple[str, Role], ...] = SETS) -> None:
        """An audit by one rule, or of several answers with a digest each."""
        name, at = f"audit {len(self.listed)}", START + timedelta(hours=len(self.listed))
        own = digests[0] if len(digests) == 1 else f"over {digests}"
        self.listed.insert(
            0, SimpleNamespace(audit_id=name, release_digest=sets[0][0], verdict_digest=own, started_at=at)
        )
        self.datasets[name] = played(*sets)
        if len(digests) > 1:
            self.parts[name] = {each: SimpleNamespace(verdict_digest=each) for each in digests}

    def audits(self) -> list[Any]:
        return self.listed

    def audit_datasets(self, audit_id: str) -> list[AuditDataset]:
        return self.datasets[audit_id]

    def parts_of(self, audit_id: str) -> dict[str, Any]:
        return self.parts.get(audit_id, {})

    def looks(self, *digests: str, since: datetime | None = None) -> Looks:
        return looks_at(self, played(*SETS), digests, since)  # type: ignore[arg-type]


def test_the_first_look_is_the_first() -> None:
    history = History()
    assert history.looks("a") == Looks(1)
    said = "This is the first look at this release. Where there is no leak, one look calls one with a chance of"
    assert history.looks("a").sentences({"this rule": 0.05}) == [f"{said} at most 5 %."]
    assert history.looks("a").sentences({}) == []
    assert (
        history.looks("a")
        .sentences({"copies": 0.1, "membership": 0.05})[0]
        .endswith("a chance of at most 15 % (10 % by copies, 5 % by membership).")
    )


def test_other_options_are_another_look_and_the_same_ones_are_none() -> None:
    history = History()
    history.add("a")
    assert history.looks("b") == Looks(2)
    assert history.looks("a") == Looks(1, repeats=True)
    history.add("a")  # again: no look
    history.add("b")
    assert history.looks("c") == Looks(3)
    assert history.looks("b") == Looks(2, repeats=True)


def test_an_audit_of_several_answers_is_one_look_and_one_of_its_answers_none() -> None:
    history = History()
    history.add("copies", "membership", "baseline")
    assert history.looks("baseline") == Looks(1, repeats=True)
    assert history.looks("copies", "membership") == Looks(1, repeats=True)
    assert history.looks("copies", "membership by another score", "baseline") == Looks(2)


def test_another_release_is_no_look_at_this_one() -> None:
    history = History()
    history.add("a", sets=(("another", Role.RELEASE), *SETS[1:]))
    assert history.looks("b") == Looks(1)


@pytest.mark.parametrize(
    "other",
    [
        (("r", Role.RELEASE), ("grown", Role.USED), ("n", Role.NOT_USED)),
        (("r", Role.RELEASE), ("u", Role.AGAINST), ("n", Role.NOT_USED)),
        (("r", Role.RELEASE), ("u", Role.USED)),
    ],
)
def test_other_sets_images_or_claims_are_looks_too_and_named(other: tuple[tuple[str, Role], ...]) -> None:
    """To leave a set out starts no count anew."""
    history = History()
    history.add("a", sets=other)
    history.add("b")
    found = history.looks("c")
    assert (found.number, len(found.elsewhere)) == (3, 1)
    (said,) = found.sentences({"this rule": 0.05})
    assert said.startswith("This is the 3rd look at this release: 2 other audits came before, 1 of them over other ")
    assert "name 1 as" in said
    assert "at most 5 %, and at least one of 3 looks of at most 15 % (14.3 % were they independent)." in said


def test_a_policy_is_declared_beforehand_where_nobody_looked_before() -> None:
    history = History()
    history.add("a")
    history.add("b")
    early, late = START - timedelta(minutes=1), START + timedelta(minutes=30)
    first = history.looks("c", since=early)
    assert (first.number, first.predeclared, first.before_policy) == (3, True, 0)
    which, policy = first.sentences({"this rule": 0.05})
    assert "3rd look" in which
    assert "at most" not in which
    assert policy == (
        "Its policy is on record since 2025-12-31 23:59:00Z, before anybody looked: its level of 5 % holds, however "
        "many others there are."
    )
    second = history.looks("c", since=late)
    assert (second.predeclared, second.before_policy) == (False, 1)
    which, policy = second.sentences({"this rule": 0.05})
    assert "of at most 15 % (14.3 % were they independent)" in which
    assert "but 1 look came before that" in policy


def test_without_an_error_rate_looks_are_counted_alone() -> None:
    assert Looks(2).sentences({}) == ["This is the 2nd look at this release: 1 other audit came before."]


@pytest.mark.parametrize("level", [0.05, 0.3])
def test_the_chance_of_a_false_finding_against_simulated_looks(level: float) -> None:
    rng = np.random.default_rng(7)
    p_values = rng.uniform(size=(200_000, 4))
    assert np.mean((p_values <= level).any(axis=1)) == pytest.approx(if_independent(4, level), abs=0.005)
    apart = (p_values[:, :1] + np.arange(4) / 4) % 1  # as dependent as can be against whoever looks
    found = np.mean((apart <= level).any(axis=1))
    assert found <= at_most(4, level) + 0.005
    assert at_most(30, level) == 1


def test_ordinals() -> None:
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th")
    ]
