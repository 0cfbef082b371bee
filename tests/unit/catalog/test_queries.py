"""Asking about one image."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import pytest

from provenance.catalog import events
from provenance.errors import NotFoundError
from provenance.records import CalibrationScore, CopySource, NewAudit
from provenance.vocabulary import Box, Established, Label, Role

if TYPE_CHECKING:
    from tests.unit.catalog.conftest import Stage


Form = Literal["NFC", "NFD"]


class TestResolve:
    def test_by_id_and_prefix(self, stage: Stage) -> None:
        stage.record([stage.image(1), stage.image(2)])
        image_id = stage.facts(1).image_id
        for asked in (image_id, image_id[7:], image_id[:15], image_id[7:15], image_id[7:20].upper(), f" {image_id} "):
            found = stage.catalog.resolve_image(asked)
            assert (found.image_id, found.facts, found.image_key) == (image_id, stage.facts(1), stage.key(1))

    def test_seven_digits_are_too_few(self, stage: Stage) -> None:
        stage.record([stage.image(1)])
        with pytest.raises(NotFoundError, match="no image is known"):
            stage.catalog.resolve_image(stage.facts(1).image_id[7:14])

    def test_by_name_or_its_last_parts(self, stage: Stage) -> None:
        stage.record([stage.image(1, items=[stage.item("real/ct/0001.png")])])
        for asked in ("real/ct/0001.png", "ct/0001.png", "0001.png"):
            assert stage.catalog.resolve_image(asked).image_key == stage.key(1)
        for asked in ("t/0001.png", "001.png", "0001.PNG", "real/ct", "%.png", "", "/0001.png"):
            with pytest.raises(NotFoundError, match="no image is known"):
                stage.catalog.resolve_image(asked)

    @pytest.mark.parametrize("recorded_as", ["NFC", "NFD"])
    def test_a_name_in_either_form_and_with_either_slash(self, stage: Stage, recorded_as: Form) -> None:
        name = unicodedata.normalize(recorded_as, "Zoë/Müller_1.png")
        stage.record([stage.image(1, items=[stage.item(name)]), stage.image(2, items=[stage.item("set\\P1\\a.png")])])
        for form in ("NFC", "NFD"):
            for asked in ("Zoë/Müller_1.png", "Müller_1.png", "Müller_1", "hospital/Zoë/Müller_1", "Zoë\\Müller_1.png"):
                assert stage.catalog.resolve_image(unicodedata.normalize(form, asked)).image_key == stage.key(1)
        for asked in ("set\\P1\\a.png", "set/P1/a.png", "P1/a", "a.png"):
            assert stage.catalog.resolve_image(asked).image_key == stage.key(2)

    def test_a_name_of_hex_digits(self, stage: Stage) -> None:
        stage.record([stage.image(1, items=[stage.item("deadbeef00")])])
        assert stage.catalog.resolve_image("deadbeef00").image_key == stage.key(1)

    def test_one_image_under_one_name_in_two_datasets_is_no_ambiguity(self, stage: Stage) -> None:
        stage.record([stage.image(1, items=[stage.item("a.png")])])
        stage.record([stage.image(1, items=[stage.item("x/a.png")])], release=True)
        assert stage.catalog.resolve_image("a.png").image_key == stage.key(1)

    def test_an_ambiguous_name_lists_its_candidates(self, stage: Stage) -> None:
        """Also when one of them bears the name whole: a person who forgets an image must not hit another."""
        stage.record([stage.image(1, items=[stage.item("a.png")]), stage.image(2, items=[stage.item("x/a.png")])])
        with pytest.raises(NotFoundError, match=r"'a\.png' could mean 2 images") as error:
            stage.catalog.resolve_image("a.png")
        for word in (stage.facts(1).image_id, stage.facts(2).image_id, "'hospital/x/a.png'"):
            assert word in error.value.hint
        assert stage.catalog.resolve_image("x/a.png").image_key == stage.key(2)

    def test_a_name_without_its_extension(self, stage: Stage) -> None:
        stage.record([stage.image(1, items=[stage.item("real/ct/a.1.png")]), stage.image(2, items=[stage.item("a/1")])])
        for asked in ("a.1", "ct/a.1", "real/ct/a.1"):
            assert stage.catalog.resolve_image(asked).image_key == stage.key(1)
        assert stage.catalog.resolve_image("1").image_key == stage.key(2)
        for asked in ("a", "a.", "t/a.1", "real", "", ".", "/"):
            with pytest.raises(NotFoundError, match="no image is known"):
                stage.catalog.resolve_image(asked)

    def test_a_file_of_several_pages_lists_them(self, stage: Stage) -> None:
        pages = [stage.image(number, items=[stage.item(f"ct/a.tif#{number}")]) for number in (1, 2)]
        stage.record([*pages, stage.image(3, items=[stage.item("ct/b.tif#1")])])
        assert stage.catalog.resolve_image("a.tif#2").image_key == stage.key(2)
        assert stage.catalog.resolve_image("ct/b.tif").image_key == stage.key(3)
        for asked in ("a.tif", "a"):
            with pytest.raises(NotFoundError, match=f"'{asked}' could mean 2 images") as error:
                stage.catalog.resolve_image(asked)
            assert "ct/a.tif#1" in error.value.hint

    def test_a_name_as_it_is_goes_before_one_without_extension(self, stage: Stage) -> None:
        stage.record([stage.image(1, items=[stage.item("1")]), stage.image(2, items=[stage.item("1.png")])])
        assert stage.catalog.resolve_image("1").image_key == stage.key(1)

    def test_an_ambiguous_stem_lists_its_candidates(self, stage: Stage) -> None:
        stage.record([stage.image(1, items=[stage.item("a b.png")]), stage.image(2, items=[stage.item("x/a b.tif")])])
        with pytest.raises(NotFoundError, match="'a b' could mean 2 images") as error:
            stage.catalog.resolve_image("a b")
        for name in ("hospital/a b.png", "hospital/x/a b.tif"):
            assert f"'{name}'" in error.value.hint
            assert stage.catalog.resolve_image(name)

    def test_a_dataset_says_which_of_two_is_meant(self, stage: Stage) -> None:
        stage.record([stage.image(1, items=[stage.item("a.png")])])
        stage.record([stage.image(2, items=[stage.item("b/a.png")])], release=True)
        for dataset, number in ((stage.dataset, 1), (stage.release, 2)):
            for name in ("a.png", "a"):
                assert stage.catalog.resolve_image(f"{dataset.name}/{name}").image_key == stage.key(number)
        with pytest.raises(NotFoundError, match="no image is known"):
            stage.catalog.resolve_image(f"{stage.dataset.name}/b/a.png")

    def test_at_most_five_candidates(self, stage: Stage) -> None:
        stage.record(stage.image(number, items=[stage.item(f"{number}/a.png")]) for number in range(7))
        with pytest.raises(NotFoundError, match="could mean more than 5 images") as error:
            stage.catalog.resolve_image("a.png")
        assert error.value.hint.count("sha256:") == 5

    def test_an_ambiguous_prefix(self, stage: Stage) -> None:
        twins = []
        for last in "01":
            image = stage.image(last)
            facts = replace(image.facts, image_id="sha256:" + "ab" * 31 + "a" + last)
            twins.append(replace(image, facts=facts))
        stage.record(twins)
        with pytest.raises(NotFoundError, match="could mean 2 images"):
            stage.catalog.resolve_image("abababab")
        assert stage.catalog.resolve_image("ab" * 31 + "a1").image_id == twins[1].facts.image_id


def test_occurrences_for_reading(stage: Stage) -> None:
    inside = stage.item("z/1.png", "/data/z.zip", "z/1.png")
    stage.record([stage.image(1, items=[inside, stage.item("old.png")])])
    stage.record([stage.image(1, items=[stage.item("new.png")])])
    stage.record([stage.image(1, items=[stage.item("new.png")])], release=True)
    found = stage.catalog.occurrences_for_reading(stage.key(1))
    assert [(item.source, item.member) for item in found] == [
        ("/data/new.png", None),
        ("/data/old.png", None),
        ("/data/z.zip", "z/1.png"),
    ]
    stage.record([stage.image(2, items=[stage.item("two.png")])])
    keys = [stage.key(2), stage.key(1), "no such key"]
    places = stage.catalog.places_for_reading(keys)
    assert places == {key: stage.catalog.occurrences_for_reading(key) for key in keys[:2]}


def test_memberships_and_spaces(stage: Stage) -> None:
    stage.record([stage.image(1, group="p")])
    stage.record([stage.image(1)], release=True, acknowledge=False)
    first, second = stage.catalog.memberships_of(stage.key(1))
    assert (first.dataset, first.group_key) == (stage.release, None)
    assert (second.dataset, second.group_key) == (stage.dataset, stage.catalog.pseudonym("p"))
    places = [(one.dataset_name, one.backbone, one.state) for one in stage.catalog.spaces_of(stage.key(1))]
    assert places == [("gan-1", "resnet50", "pending"), ("hospital", "resnet50", "indexed")]


def test_verdicts_about_and_citing(stage: Stage) -> None:
    stage.record([stage.image(1), stage.image(2)])
    stage.record([stage.image("g1"), stage.image("g2")], release=True)
    first, second = stage.audit(["g1"], [1]), stage.audit(["g1", "g2"], [2, 1])
    about = stage.catalog.verdicts_about(stage.key("g1"))
    assert [(one.audit_id, one.release_name, one.label) for one in about] == [
        (first.audit_id, "gan-1", Label.USED),
        (second.audit_id, "gan-1", Label.USED),
    ]
    citing = stage.catalog.verdicts_citing(stage.key(1))
    assert [one.audit_id for one in citing] == [second.audit_id, second.audit_id, first.audit_id]
    assert {one.subject_image_id for one in citing[:2]} == {stage.facts(word).image_id for word in ("g1", "g2")}
    assert [(one.role, one.rank) for one in citing] == [(Role.USED, 2), (Role.USED, 2), (Role.USED, 1)]
    assert stage.catalog.verdicts_citing(stage.key(1), 1) == citing[:1]
    assert stage.catalog.verdicts_about(stage.key(1)) == []


def test_history_in_order_with_citations_summed_up(stage: Stage) -> None:
    stage.record([stage.image(1), stage.image(2)])
    stage.record([stage.image("g1"), stage.image("g2")], release=True)
    stage.audit(["g1", "g2"], [2, 1])
    stage.record([stage.image(1)], release=True)
    history = stage.catalog.history_of(stage.key(1))
    assert [entry.kind for entry in history] == ["added", "cited", "added"]
    assert history[0].facts["dataset"] == "hospital"
    cited = history[1].facts
    assert (cited["verdicts"], cited["best_rank"], cited["role"], cited["release"]) == (2, 2, "used", "gan-1")
    assert [entry.at for entry in history] == sorted(entry.at for entry in history)
    assert [entry.kind for entry in stage.catalog.history_of(stage.key("g1"))] == ["added", "verdict"]


def test_history_keeps_the_order_of_events_where_a_clock_was_set_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "now", lambda: datetime(2040, 1, 1, tzinfo=UTC))
    stage.record([stage.image(1)])
    stage.record([stage.image("g1")], release=True)
    monkeypatch.setattr(events, "now", lambda: datetime(1971, 1, 1, tzinfo=UTC))
    stage.audit(["g1"], [1])
    stage.record([stage.image(1)], release=True)
    assert [entry.kind for entry in stage.catalog.history_of(stage.key(1))] == ["added", "cited", "added"]
    assert [entry.kind for entry in stage.catalog.history_of(stage.key("g1"))] == ["added", "verdict"]


def test_a_release_keeps_the_name_it_had_in_an_audit(stage: Stage) -> None:
    stage.record([stage.image(1)])
    stage.record([stage.image("g1")], release=True)
    stage.audit(["g1"], [1])
    stage.catalog.remove_dataset(stage.release.dataset_id)
    assert stage.catalog.verdicts_about(stage.key("g1"))[0].release_name == "gan-1"


def test_what_one_audit_says_of_one_image(stage: Stage) -> None:
    """Its verdict, its score as calibration, and what names it as a source: of that audit alone."""
    stage.record([stage.image(1), stage.image(2)])
    stage.record([stage.image("g1"), stage.image("g2")], release=True)
    first = stage.audit(["g1"], [1])
    whole = CopySource(1, stage.key(1), False, 0.9, 0.8, transformation="mirrored", established_by=Established.TAIL)
    part = CopySource(2, stage.key(1), True, None, 0.2, Box(0, 0, 0.5, 0.5), Box(0.1, 0, 0.6, 0.5))
    other = CopySource(1, stage.key(2), False, 0.5, 0.7)
    verdicts = [
        stage.verdict("g1", [], label=Label.NO_COPY_SEEN, sources=(other, part)),
        stage.verdict("g2", [], label=Label.COPY, p_value=0.25, q_value=0.5, sources=(whole,)),
    ]
    second = replace(first, audit_id="f" * 32)
    new = NewAudit(second, verdicts=verdicts, calibration=[CalibrationScore(stage.key(2), 1.5)])
    stage.catalog.record_audit(new)
    on, of = stage.catalog.verdict_on, stage.catalog.copies_of
    found = on(second.audit_id, stage.key("g2"))
    assert found is not None
    assert (found.label, found.p_value, found.q_value, found.image_id) == (
        *(Label.COPY, 0.25, 0.5, stage.facts("g2").image_id),
    )
    assert on(first.audit_id, stage.key("g2")) is None
    assert of(first.audit_id, stage.key(1)) == []
    named = [(c.image_id, c.label, c.rank, c.part, c.established_by) for c in of(second.audit_id, stage.key(1))]
    assert named == [
        (stage.facts("g2").image_id, Label.COPY, 1, False, Established.TAIL),
        (stage.facts("g1").image_id, Label.NO_COPY_SEEN, 2, True, None),
    ]
    assert stage.catalog.calibration_score("f" * 32, stage.key(2)) == 1.5
    assert stage.catalog.calibration_score("f" * 32, stage.key(1)) is None
