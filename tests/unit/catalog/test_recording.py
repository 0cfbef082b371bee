"""The order of writes: record_batch, acknowledge, and what audits then see."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from provenance.errors import CatalogError, ConflictError
from provenance.images.entries import admitted, item_from
from provenance.vocabulary import PointState, Rejection, RejectReason

if TYPE_CHECKING:
    from provenance.catalog import Catalog
    from tests.unit.catalog.conftest import Stage


class TestRecordBatch:
    def test_pending_until_acknowledged(self, stage: Stage) -> None:
        images = [stage.image(number) for number in range(3)]
        stage.record(images, acknowledge=False)
        assert stage.catalog.members(stage.dataset.dataset_id, stage.collection) == []
        assert stage.catalog.member_ids(stage.dataset.dataset_id) == sorted(one.facts.image_id for one in images)
        stage.catalog.acknowledge(stage.collection, [images[0].point_id])
        members = stage.catalog.members(stage.dataset.dataset_id, stage.collection)
        assert [(one.image_id, one.vector_sha256) for one in members] == [
            (images[0].facts.image_id, images[0].vector_sha256)
        ]
        pending = stage.catalog.pending_points(stage.collection)
        assert [one.image_id for one in pending] == sorted(one.facts.image_id for one in images[1:])
        stage.catalog.drop_pending(stage.collection, [one.point_id for one in images])
        states = stage.catalog.point_states(stage.collection, [one.facts.image_id for one in images])
        assert {one.state for one in states.values()} == {PointState.INDEXED}
        assert set(states) == {images[0].facts.image_id}

    def test_members_come_in_order_of_image_id_whatever_the_order_of_ingest(self, stage: Stage) -> None:
        stage.record(stage.image(number) for number in range(20, 0, -1))
        members = stage.catalog.members(stage.dataset.dataset_id, stage.collection)
        assert [one.image_id for one in members] == sorted(stage.facts(number).image_id for number in range(1, 21))

    def test_again_changes_nothing_but_the_times(self, stage: Stage) -> None:
        stage.record([stage.image(1, group="p")])
        before = stage.catalog.occurrences_of(stage.key(1))
        moved = stage.item("real/1.png", modified_ns=999, inode=2**64 - 1)
        stage.record([stage.image(1, group="p", items=[moved])])
        (after,) = stage.catalog.occurrences_of(stage.key(1))
        assert (after.modified_ns, after.inode, after.found_at) == (999, 2**64 - 1, before[0].found_at)
        assert [entry.kind for entry in stage.catalog.history_of(stage.key(1))] == ["added"]

    def test_same_bytes_are_one_image_with_every_name(self, stage: Stage) -> None:
        twice = [stage.image(1, items=[stage.item("a.png")]), stage.image(1, items=[stage.item("b.png")])]
        stage.record(twice)
        assert [one.name for one in stage.catalog.occurrences_of(stage.key(1))] == ["a.png", "b.png"]
        assert len(stage.catalog.members(stage.dataset.dataset_id, stage.collection)) == 1

    def test_no_vector_means_only_new_names(self, stage: Stage) -> None:
        stage.record([stage.image(1)])
        stage.record([replace(stage.image(1, items=[stage.item("b.png")]), vector_sha256=None)], acknowledge=False)
        image_id = stage.facts(1).image_id
        assert stage.catalog.point_states(stage.collection, [image_id])[image_id].state == PointState.INDEXED
        assert len(stage.catalog.occurrences_of(stage.key(1))) == 2

    def test_another_vector_is_pending_again(self, stage: Stage) -> None:
        stage.record([stage.image(1)])
        stage.record([replace(stage.image(1), vector_sha256="other")], acknowledge=False)
        (point,) = stage.catalog.pending_points(stage.collection)
        assert point.vector_sha256 == "other"

    def test_the_same_vector_of_another_process_stays_acknowledged(self, stage: Stage) -> None:
        stage.record([stage.image(1)])
        stage.record([stage.image(1)], acknowledge=False)
        assert stage.catalog.pending_points(stage.collection) == []

    @pytest.mark.parametrize("number", [3])
    def test_a_batch_goes_in_wholly_or_not_at_all(self, stage: Stage, number: int) -> None:
        """The last of the batch is refused by the database: a size that no column holds."""
        batch = [stage.image(one, group="p") for one in range(number)]
        huge = stage.image("huge", items=[stage.item("huge.png", size_bytes=2**70)])
        with pytest.raises(CatalogError):
            stage.record([*batch, huge])
        assert stage.catalog.lookup([one.facts.image_id for one in [*batch, huge]]) == {}
        assert stage.catalog.member_ids(stage.dataset.dataset_id) == []
        assert stage.catalog.pending_points(stage.collection) == []
        assert stage.catalog.member_count(stage.dataset.dataset_id) == 0
        stage.record(batch)
        assert stage.catalog.member_count(stage.dataset.dataset_id) == number
        assert len(stage.catalog.members(stage.dataset.dataset_id, stage.collection)) == number

    def test_names_and_numbers_as_long_as_a_source_lets_through(self, stage: Stage) -> None:
        """Random letters, which no database packs: an index of PostgreSQL holds rows of 2,704 bytes at most."""
        letters = random.Random(1).choices([chr(0x4E00 + number) for number in range(8000)], k=3000)
        status = SimpleNamespace(st_mtime_ns=2**90, st_ctime_ns=-(2**90), st_ino=2**64 - 1)
        for name, source in (("".join(letters[:790]), "/z"), ("".join(letters[:390]), "/" + "".join(letters[390:780]))):
            item = item_from(cast("Any", status), Path(source), name, member=None, size_bytes=2**80)
            assert admitted(item) == item
            stage.record([stage.image(name, items=[item])])
        for length in (800, 3000):
            name = "".join(letters[:length])
            item = item_from(cast("Any", status), Path(f"/{name}"), name, member=name, size_bytes=2**80)
            refused = admitted(item)
            assert isinstance(refused, Rejection)
            stage.catalog.add_rejects(stage.run_id, stage.dataset.dataset_id, [refused])
        assert len(stage.catalog.rejects(stage.dataset.dataset_id)) == 2

    @pytest.mark.slow
    def test_a_large_batch(self, stage: Stage) -> None:
        """More than one IN list of SQLite's would hold on old builds."""
        images = [stage.image(number, group=f"p{number // 3}") for number in range(6000)]
        stage.record(images)
        members = stage.catalog.members(stage.dataset.dataset_id, stage.collection)
        assert len({one.group_key for one in members}) == 2000
        keys = [one.image_key for one in members]
        assert len(stage.catalog.names_of([stage.dataset.dataset_id], keys)) == 6000


class TestGroups:
    def test_group_keys_are_pseudonyms_and_stable(self, stage: Stage) -> None:
        stage.record([stage.image(1, group="Meier, Anna"), stage.image(2, group="Meier, Anna"), stage.image(3)])
        members = stage.catalog.members(stage.dataset.dataset_id, stage.collection)
        groups = {one.image_id: one.group_key for one in members}
        pseudonym = stage.catalog.pseudonym("Meier, Anna")
        assert groups[stage.facts(1).image_id] == groups[stage.facts(2).image_id] == pseudonym
        assert groups[stage.facts(3).image_id] is None
        assert len(pseudonym) == 32
        assert "Meier" not in pseudonym

    def test_another_group_is_a_conflict_that_names_both(self, stage: Stage) -> None:
        stage.record([stage.image(1, group="a")])
        with pytest.raises(ConflictError) as error:
            stage.record([stage.image(2), stage.image(1, group="b")])
        for word in (stage.facts(1).image_id, stage.catalog.pseudonym("a"), stage.catalog.pseudonym("b")):
            assert word in error.value.message
        assert stage.catalog.lookup([stage.facts(2).image_id]) == {}  # nothing of the batch went in

    def test_a_group_learnt_later_is_filled_in_and_no_group_keeps_it(self, stage: Stage) -> None:
        stage.record([stage.image(1)])
        stage.record([stage.image(1, group="a")])
        stage.record([stage.image(1)])
        (membership,) = stage.catalog.memberships_of(stage.key(1))
        assert membership.group_key == stage.catalog.pseudonym("a")
        assert [entry.kind for entry in stage.catalog.history_of(stage.key(1))] == ["added", "grouped"]

    def test_two_groups_in_one_batch(self, stage: Stage) -> None:
        with pytest.raises(ConflictError, match="two groups at once"):
            stage.record([stage.image(1, group="a"), stage.image(1, group="b")])

    def test_groups_may_differ_between_datasets(self, stage: Stage) -> None:
        stage.record([stage.image(1, group="a")])
        stage.record([stage.image(1, group="b")], release=True)
        assert len(stage.catalog.memberships_of(stage.key(1))) == 2


class TestKnownOccurrences:
    def test_only_of_indexed_images(self, stage: Stage) -> None:
        inside = stage.item("z/1.png", "/data/z.zip", "z/1.png")
        stage.record([stage.image(1, items=[stage.item("1.png"), inside])])
        stage.record([stage.image(2)], acknowledge=False)
        stage.record([stage.image(3)], release=True)
        places = [("/data/1.png", ""), ("/data/z.zip", "z/1.png"), ("/data/z.zip", ""), ("/data/2.png", "")]
        known = stage.catalog.known_at(stage.dataset.dataset_id, stage.collection, places)
        assert sorted((one.source, one.member, one.inode) for one in known) == [
            ("/data/1.png", None, 333),
            ("/data/z.zip", "z/1.png", 333),
        ]
        assert {one.image_id for one in known} == {stage.facts(1).image_id}

    def test_points_come_page_by_page_in_order_of_their_ids(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage.record((stage.image(number) for number in range(5)), acknowledge=False)
        stage.record(stage.image(number) for number in range(5, 7))
        monkeypatch.setattr("provenance.catalog.store._PAGE", 3)
        found = [point.point_id for point in stage.catalog.points_of(stage.collection)]
        assert found == sorted(stage.image(number).point_id for number in range(7))

    def test_a_file_whose_bytes_changed_has_both(self, stage: Stage) -> None:
        stage.record([stage.image(1, items=[stage.item("a.png", modified_ns=1)])])
        stage.record([stage.image(2, items=[stage.item("a.png", modified_ns=2)])])
        known = stage.catalog.known_at(stage.dataset.dataset_id, stage.collection, [("/data/a.png", "")])
        assert [(one.modified_ns, one.image_id) for one in known] == [
            (1, stage.facts(1).image_id),
            (2, stage.facts(2).image_id),
        ]


ODD_NAMES = ["Müller 東京.png", "b\udcff\udc80ad.png", "tab\there'; DROP TABLE images;--.png", "%_.png", "nul\x00.png"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_comes_back_as_it_was(stage: Stage, name: str) -> None:
    """Among them undecodable bytes, which Python holds as lone surrogates, and NUL, which PostgreSQL refuses."""
    stage.record([stage.image(1, items=[stage.item(f"d/{name}")])])
    (found,) = stage.catalog.occurrences_of(stage.key(1))
    assert (found.name, found.source) == (f"d/{name}", f"/data/d/{name}")
    assert stage.catalog.resolve_image(name).image_key == stage.key(1)
    reject = Rejection(name, name, name, 1, RejectReason.BROKEN, name)
    stage.catalog.add_rejects(stage.run_id, stage.dataset.dataset_id, [reject])
    assert stage.catalog.rejects(stage.dataset.dataset_id)[0].detail == name


def test_the_smallest_name_is_the_first_by_code_point(stage: Stage) -> None:
    """The same on every database, whatever its locale."""
    names = ["b.png", "a.png", "B.png", "ä.png", "_.png"]
    stage.record([stage.image(1, items=[stage.item(name) for name in names])])
    stage.record([stage.image(1, items=[stage.item("A.png")])], release=True)
    key = stage.key(1)
    assert stage.catalog.names_of([stage.dataset.dataset_id], [key, "unknown"]) == {key: "B.png"}
    both = [stage.dataset.dataset_id, stage.release.dataset_id]
    assert stage.catalog.names_of(both, [key]) == {key: "A.png"}


def test_empty_requests(catalog: Catalog) -> None:
    assert catalog.lookup([]) == {}
    assert catalog.suppressed([]) == set()
    assert catalog.names_of([], []) == {}


def test_retired_images_take_no_part_until_they_are_found_again(stage: Stage) -> None:
    catalog, dataset_id = stage.catalog, stage.dataset.dataset_id
    stage.record(stage.image(number, group="p") for number in range(3))
    assert [place.name for place in catalog.places_of(dataset_id)] == [f"real/{number}.png" for number in range(3)]
    assert catalog.retire(dataset_id, stage.run_id, [stage.key(0)]) == 1
    assert catalog.retire(dataset_id, stage.run_id, [stage.key(0)]) == 0
    assert (catalog.member_count(dataset_id), catalog.retired_count(dataset_id)) == (2, 1)
    assert [one.image_id for one in catalog.members(dataset_id, stage.collection)] == catalog.member_ids(dataset_id)
    assert len(catalog.places_of(dataset_id)) == 2
    assert catalog.known_at(dataset_id, stage.collection, [("/data/real/0.png", "")]) == []
    stage.record([stage.image(0, group="p")])
    assert (catalog.member_count(dataset_id), catalog.retired_count(dataset_id)) == (3, 0)
    assert [entry.kind for entry in catalog.history_of(stage.key(0))] == ["added", "retired", "returned"]


def test_images_are_regrouped_and_what_got_nothing_is_discarded(stage: Stage) -> None:
    catalog, dataset_id = stage.catalog, stage.dataset.dataset_id
    stage.record(stage.image(number, group="p") for number in range(3))
    wanted = {stage.key(0): "p", stage.key(1): "q", stage.key(2): None}
    assert catalog.regroup(dataset_id, stage.run_id, wanted) == 2
    assert catalog.group_sizes(dataset_id) == {catalog.pseudonym("p"): 1, catalog.pseudonym("q"): 1, None: 1}
    assert catalog.regrouped_at(dataset_id) is not None
    assert catalog.regroup(dataset_id, stage.run_id, wanted) == 0
    assert catalog.discard_empty(dataset_id, stage.space.space_id) == []
    assert catalog.discard_empty(stage.release.dataset_id, stage.space.space_id) == [stage.release_collection]
    assert [summary.name for summary in catalog.datasets()] == [stage.dataset.name]
