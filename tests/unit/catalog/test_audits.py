"""Audits: recorded whole, read back bit for bit, never changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from provenance.errors import CatalogError, ConflictError, NotFoundError
from provenance.records import CalibrationScore, CopySource, NeighborRecord, NewAudit
from provenance.vocabulary import Answer, Box, Established, Rejection, RejectReason, Role

if TYPE_CHECKING:
    from tests.unit.catalog.conftest import Stage


@pytest.fixture
def filled(stage: Stage) -> Stage:
    stage.record([stage.image(number) for number in (1, 2, 3)])
    stage.record([stage.image("g1"), stage.image("g2")], release=True)
    return stage


def test_everything_comes_back_as_it_was(filled: Stage) -> None:
    audit = filled.audit(["g1", "g2"], [3, 1])
    assert filled.catalog.audit(audit.audit_id) == audit
    assert [played.role for played in filled.catalog.audit_datasets(audit.audit_id)] == [Role.RELEASE, Role.USED]
    verdicts = filled.catalog.verdicts(audit.audit_id)
    assert [one.image_id for one in verdicts] == sorted(filled.facts(word).image_id for word in ("g1", "g2"))
    assert (verdicts[0].score, verdicts[0].s_not_used, verdicts[0].near_threshold) == (0.1 + 0.2, None, False)
    neighbors = filled.catalog.neighbors_of(audit.audit_id)
    assert set(neighbors) == {filled.key("g1"), filled.key("g2")}
    found = neighbors[filled.key("g1")]
    assert [(one.rank, one.image_id, one.similarity) for one in found] == [
        (1, filled.facts(3).image_id, 0.9 - 0.01),
        (2, filled.facts(1).image_id, 0.9 - 0.02),
    ]
    assert filled.catalog.neighbors_of(audit.audit_id, filled.key("g2")) == {filled.key("g2"): found}


@pytest.mark.slow
def test_a_thousand_verdicts_with_twenty_neighbors(stage: Stage) -> None:
    stage.record(stage.image(number) for number in range(20))
    stage.record([stage.image(f"g{number}") for number in range(1000)], release=True)
    audit = stage.audit([f"g{number}" for number in range(1000)], list(range(20)))
    neighbors = stage.catalog.neighbors_of(audit.audit_id)
    assert sum(len(found) for found in neighbors.values()) == 20_000
    assert all([one.rank for one in found] == list(range(1, 21)) for found in neighbors.values())


NAN = float("nan")


@pytest.mark.parametrize(
    "broken",
    [
        {"image_key": "nobody"},
        {"score": NAN},
        {"neighbors": [NeighborRecord(Role.USED, 1, "nobody", 0.5)]},
        {"neighbors": [NeighborRecord(Role.USED, 1, "nobody", NAN)]},
    ],
    ids=["subject unknown", "score NaN", "neighbor unknown", "similarity NaN"],
)
def test_an_audit_goes_in_wholly_or_not_at_all(filled: Stage, broken: dict[str, Any]) -> None:
    audit = filled.audit([], [])
    good = filled.verdict("g1", [NeighborRecord(Role.USED, 1, filled.key(1), 0.5)])
    bad = replace(filled.verdict("g2", []), **broken)
    second = replace(audit, audit_id="f" * 32)
    with pytest.raises(CatalogError):
        filled.catalog.record_audit(NewAudit(second, verdicts=[good, bad]))
    assert filled.catalog.audits() == [audit]
    assert filled.catalog.verdicts(second.audit_id) == []
    assert filled.catalog.verdicts_about(filled.key("g1")) == []


def test_the_answers_of_an_audit_come_back_in_their_order(filled: Stage) -> None:
    whole, copies, baseline = (filled.audit([], []) for _ in range(3))
    g1, real = filled.key("g1"), filled.key(1)
    sources = (
        CopySource(1, real, False, 0.875, 0.9, transformation="mirrored", established_by=Established.TAIL),
        CopySource(2, filled.key(2), True, None, 0.25, Box(0, 0.1, 0.5, 1), Box(0.5, 0, 1, 1), "shifted"),
    )
    made = [replace(each, audit_id=word * 32) for word, each in zip("abc", (whole, copies, baseline), strict=True)]
    found = NewAudit(
        made[1],
        verdicts=[replace(filled.verdict("g1", []), sources=sources)],
        calibration=[CalibrationScore(real, 0.1 + 0.2)],
    )
    parts = {Answer.BASELINE: NewAudit(made[2]), Answer.COPIES: found}
    filled.catalog.record_audit(NewAudit(made[0], parts=parts))
    catalog = filled.catalog
    assert list(catalog.parts_of(made[0].audit_id).items()) == [(Answer.COPIES, made[1]), (Answer.BASELINE, made[2])]
    assert catalog.whole_of(made[2].audit_id) == (made[0].audit_id, Answer.BASELINE)
    assert catalog.whole_of(made[0].audit_id) is None
    assert made[0] in catalog.audits()
    assert made[1] not in catalog.audits()
    assert made[1] in catalog.audits(parts=True)
    back = catalog.sources_of(made[1].audit_id)[g1]
    assert [one.image_id for one in back] == [filled.facts(1).image_id, filled.facts(2).image_id]
    fields = CopySource.__slots__
    assert [[getattr(o, f) for f in fields] for o in back] == [[getattr(o, f) for f in fields] for o in sources]
    assert [(o.image_id, o.score) for o in catalog.calibration_scores(made[1].audit_id)] == [
        (filled.facts(1).image_id, 0.1 + 0.2)
    ]


def test_an_answer_that_can_not_be_recorded_takes_the_audit_with_it(filled: Stage) -> None:
    audit = filled.audit([], [])
    whole, part = (replace(audit, audit_id=word * 32) for word in "ab")
    broken = replace(filled.verdict("g1", []), sources=(CopySource(1, "nobody", False, 0.5, 0.5),))
    with pytest.raises(CatalogError):
        filled.catalog.record_audit(NewAudit(whole, parts={Answer.COPIES: NewAudit(part, verdicts=[broken])}))
    assert filled.catalog.audits(parts=True) == [audit]


def test_an_audit_is_not_recorded_twice(filled: Stage) -> None:
    audit = filled.audit(["g1"], [1])
    with pytest.raises(CatalogError):
        filled.audit(["g2"], [1], audit_id=audit.audit_id)
    assert len(filled.catalog.verdicts(audit.audit_id)) == 1


def test_prefixes(filled: Stage) -> None:
    first, second = (filled.audit([], [], audit_id=digit * 31 + last) for digit, last in (("a", "1"), ("a", "2")))
    assert filled.catalog.audit(first.audit_id.upper()) == first
    with pytest.raises(NotFoundError, match="more than one audit") as error:
        filled.catalog.audit("aaaa")
    assert second.audit_id in error.value.hint
    for asked in ("", "b", "%", "aaaa_"):
        with pytest.raises(NotFoundError, match="no audit"):
            filled.catalog.audit(asked)


def test_the_last_recorded_comes_first_whatever_the_clock_said(filled: Stage) -> None:
    moment = datetime.now(UTC)
    made = [filled.audit([], [], finished_at=moment - timedelta(hours=step)) for step in (2, 5, 0, 3)]
    assert filled.catalog.audits() == filled.catalog.audits(filled.release.dataset_id) == made[::-1]
    assert filled.catalog.audits(filled.dataset.dataset_id) == []


def test_times_of_other_zones_come_back_utc(filled: Stage) -> None:
    moment = datetime(2026, 3, 1, 1, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    audit = filled.audit([], [], started_at=moment)
    stored = filled.catalog.audit(audit.audit_id).started_at
    assert stored == moment
    assert stored.isoformat() == "2026-02-28T23:30:00.000005+00:00"


def test_rejects_of_an_audit_keep_their_reasons(filled: Stage) -> None:
    release = filled.release.dataset_id
    rejected = [Rejection(name, f"/{name}", None, 1, RejectReason.EMPTY, "") for name in ("a", "b")]
    filled.catalog.add_rejects(filled.run_id, release, rejected)
    numbers = [found.reject_id for found in filled.catalog.rejects(release)]
    audit = replace(filled.audit([], []), audit_id="f" * 32)
    filled.catalog.record_audit(NewAudit(audit, reject_ids=numbers))
    filled.catalog.clear_reject(release, "/a", None)
    first, second = filled.catalog.audit_rejects(audit.audit_id)
    assert (first.reason, first.reject) == (RejectReason.EMPTY, None)
    assert second.reject is not None
    assert second.reject.name == "b"
    with pytest.raises(CatalogError, match="reject 999 is not on record"):
        filled.catalog.record_audit(NewAudit(replace(audit, audit_id="e" * 32), reject_ids=[999]))


def test_a_reject_number_is_never_given_again(filled: Stage) -> None:
    release = filled.release.dataset_id
    reject = Rejection("a", "/a", None, 1, RejectReason.EMPTY, "")
    filled.catalog.add_rejects(filled.run_id, release, [reject])
    (first,) = filled.catalog.rejects(release)
    filled.catalog.clear_reject(release, "/a", None)
    filled.catalog.add_rejects(filled.run_id, release, [reject])
    assert filled.catalog.rejects(release)[0].reject_id > first.reject_id


def test_a_policy_is_its_content(filled: Stage) -> None:
    filled.catalog.ensure_policy("policy:x", "mu-alpha-sigma", {"alpha": 0.5, "k": 1})
    filled.catalog.ensure_policy("policy:x", "mu-alpha-sigma", {"k": 1, "alpha": 0.5})
    with pytest.raises(ConflictError, match="another content"):
        filled.catalog.ensure_policy("policy:x", "mu-alpha-sigma", {"alpha": 0.7, "k": 1})
