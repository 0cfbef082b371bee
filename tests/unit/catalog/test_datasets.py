"""Sets, releases, seals, runs, rejects, spaces."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from provenance.errors import ConflictError, NotFoundError
from provenance.records import Generator, VectorLocation
from provenance.vocabulary import DatasetKind, Membership, Rejection, RejectReason, RunState, Space

if TYPE_CHECKING:
    from provenance.catalog import Catalog
    from tests.unit.catalog.conftest import Stage


class TestNames:
    def test_a_set_is_made_once(self, catalog: Catalog) -> None:
        made = catalog.create_set("ward", Membership.UNKNOWN, "MR")
        assert (made.kind, made.membership, made.generator, made.modality) == (
            DatasetKind.SET,
            Membership.UNKNOWN,
            None,
            "MR",
        )
        assert made.created_at.tzinfo is not None
        assert catalog.create_set("ward", Membership.UNKNOWN, "") == made
        assert catalog.dataset("ward") == catalog.dataset_by_id(made.dataset_id) == made

    def test_a_release_is_made_once(self, catalog: Catalog) -> None:
        generator = Generator("gan", "stylegan2", "7")
        made = catalog.create_release("r", generator, "")
        assert made.generator == generator
        assert catalog.create_release("r", generator, "CT").modality == "CT"  # filled in
        assert catalog.create_release("r", generator, "").modality == "CT"  # kept

    def test_a_name_is_the_same_composed_or_not(self, catalog: Catalog) -> None:
        composed, apart = "Zürich", "Zu\u0308rich"
        made = catalog.create_set(apart, Membership.UNKNOWN, "")
        assert catalog.dataset(composed) == catalog.create_set(composed, Membership.UNKNOWN, "") == made

    def test_the_differing_fact_is_named(self, catalog: Catalog) -> None:
        catalog.create_set("ward", Membership.USED, "CT")
        catalog.create_release("r", Generator("gan", "stylegan2", "7"), "CT")
        with pytest.raises(ConflictError, match="membership is 'used', not 'unknown'"):
            catalog.create_set("ward", Membership.UNKNOWN, "")
        with pytest.raises(ConflictError, match="modality is 'CT', not 'MR'"):
            catalog.create_set("ward", Membership.USED, "MR")
        with pytest.raises(ConflictError, match="generator version is '7', not '8'"):
            catalog.create_release("r", Generator("gan", "stylegan2", "8"), "")
        with pytest.raises(ConflictError, match="'ward' is a set, not a release"):
            catalog.create_release("ward", Generator("gan"), "")

    def test_unknown_name_hints_at_close_ones(self, catalog: Catalog) -> None:
        catalog.create_set("hospital-a", Membership.USED, "")
        with pytest.raises(NotFoundError, match="no set is named 'hospitla-a'") as error:
            catalog.dataset("hospitla-a", DatasetKind.SET)
        assert error.value.hint == "did you mean 'hospital-a'?"
        with pytest.raises(NotFoundError, match="'hospital-a' is a set, not a release"):
            catalog.dataset("hospital-a", DatasetKind.RELEASE)

    def test_placements_tell_where_an_image_is_and_in_which_group(self, catalog: Catalog, stage: Stage) -> None:
        stage.record([stage.image(1, group="p1"), stage.image(2)])
        stage.record([stage.image(1)], release=True)
        real, release = stage.dataset.dataset_id, stage.release.dataset_id
        found = {(place.image_key, place.dataset_id): place.group_key for place in catalog.placements([real, release])}
        assert set(found) == {(stage.key(1), real), (stage.key(2), real), (stage.key(1), release)}
        assert [key for key, group in found.items() if group is not None] == [(stage.key(1), real)]
        assert "p1" not in str(found), "groups are pseudonyms"
        assert catalog.placements([]) == []

    def test_summaries_count(self, stage: Stage) -> None:
        stage.record([stage.image(1), stage.image(2, items=[stage.item("a.png"), stage.item("b.png")])])
        stage.catalog.forget_image(stage.key(1))
        real, generated = stage.catalog.datasets(DatasetKind.SET)[0], stage.catalog.datasets(DatasetKind.RELEASE)[0]
        assert (real.name, real.image_count, real.occurrence_count, real.reject_count) == ("hospital", 1, 3, 0)
        assert real.space_ids == generated.space_ids == (stage.space.space_id,)
        assert [summary.name for summary in stage.catalog.datasets()] == ["gan-1", "hospital"]


class TestSeals:
    def test_same_content_is_no_new_revision(self, stage: Stage) -> None:
        release = stage.release.dataset_id
        assert stage.catalog.latest_seal(release) is None
        first = stage.catalog.seal(release, stage.run_id, "d1", 3)
        assert (first.revision, first.image_count) == (1, 3)
        assert stage.catalog.seal(release, stage.run_id, "d1", 3) == first
        second = stage.catalog.seal(release, None, "d2", 4)
        assert second.revision == 2
        assert stage.catalog.latest_seal(release) == second
        assert stage.catalog.datasets(DatasetKind.RELEASE)[0].seals == (first, second)

    def test_an_older_content_again_is_a_new_revision(self, stage: Stage) -> None:
        for digest in ("d1", "d2", "d1"):
            sealed = stage.catalog.seal(stage.release.dataset_id, None, digest, 1)
        assert sealed.revision == 3

    def test_a_set_is_never_sealed(self, stage: Stage) -> None:
        with pytest.raises(ConflictError, match="never sealed"):
            stage.catalog.seal(stage.dataset.dataset_id, None, "d", 1)


class TestRemoval:
    def test_what_nothing_needs_is_erased(self, stage: Stage) -> None:
        stage.record([stage.image(number, group="patient 1") for number in (1, 2, 3)])
        stage.record([stage.image("g"), stage.image(2)], release=True)
        stage.audit(["g"], [3])
        gone, kept = [stage.key(1)], [stage.key(2), stage.key(3)]
        stage.catalog.add_rejects(
            stage.run_id, stage.dataset.dataset_id, [Rejection("x", "/x", None, 1, RejectReason.EMPTY, "")]
        )
        assert stage.catalog.remove_dataset(stage.dataset.dataset_id) == [stage.collection]
        assert [stage.catalog.image(key) for key in gone] == [None]
        assert None not in [stage.catalog.image(key) for key in kept]  # in the release; evidence of an audit
        assert stage.catalog.rejects(stage.dataset.dataset_id) == []
        assert stage.catalog.members(stage.dataset.dataset_id, stage.collection) == []
        assert stage.catalog.collections_of(stage.dataset.dataset_id) == []
        assert stage.catalog.dropped_collections() == [stage.collection]
        assert [entry.kind for entry in stage.catalog.history_of(gone[0])] == ["added", "removed"]

    def test_twice_is_once_and_the_name_is_free(self, stage: Stage) -> None:
        stage.record([stage.image(1)])
        removed, key = stage.dataset.dataset_id, stage.key(1)
        stage.catalog.remove_dataset(removed)
        assert stage.catalog.remove_dataset(removed) == [stage.collection]
        assert [entry.kind for entry in stage.catalog.history_of(key)] == ["added", "removed"]
        again = stage.catalog.create_set("hospital", Membership.UNKNOWN, "")
        assert again.dataset_id != removed
        assert stage.catalog.dataset_by_id(removed).membership == Membership.USED

    def test_a_removed_dataset_takes_nothing_more(self, stage: Stage) -> None:
        stage.catalog.remove_dataset(stage.dataset.dataset_id)
        with pytest.raises(NotFoundError, match="no live collection"):
            stage.record([stage.image(1)])
        with pytest.raises(NotFoundError, match="no live dataset"):
            stage.catalog.ensure_collection(stage.dataset.dataset_id, stage.space.space_id)


class TestRuns:
    def test_a_run_from_start_to_end(self, stage: Stage) -> None:
        (running,) = stage.catalog.runs(stage.dataset.dataset_id)
        assert (running.state, running.finished_at, running.arguments) == (RunState.RUNNING, None, {"source": "/data"})
        stage.catalog.finish_run(stage.run_id, RunState.FINISHED, {"added": 3})
        (finished,) = stage.catalog.runs(stage.dataset.dataset_id)
        assert (finished.state, finished.counts) == (RunState.FINISHED, {"added": 3})
        assert finished.finished_at is not None
        assert finished.finished_at >= finished.started_at
        assert finished.finished_at.utcoffset() == timedelta(0)

    def test_unknown_run(self, catalog: Catalog) -> None:
        with pytest.raises(NotFoundError, match="no run"):
            catalog.finish_run("x", RunState.FAILED, {})


class TestRejects:
    broken = Rejection("a.png", "/d/a.png", None, 5, RejectReason.BROKEN, "no header")

    def test_seen_again_is_brought_up_to_date(self, stage: Stage) -> None:
        dataset = stage.dataset.dataset_id
        stage.catalog.add_rejects(stage.run_id, dataset, [self.broken])
        (first,) = stage.catalog.rejects(dataset)
        stage.catalog.add_rejects(stage.run_id, dataset, [replace(self.broken, detail="still none", size_bytes=6)])
        (again,) = stage.catalog.rejects(dataset)
        assert (again.reject_id, again.detail, again.size_bytes) == (first.reject_id, "still none", 6)
        assert (again.member, again.reason) == (None, RejectReason.BROKEN)

    def test_other_members_of_an_archive_are_others(self, stage: Stage) -> None:
        dataset = stage.dataset.dataset_id
        members = [replace(self.broken, source="/d/a.zip", member=word) for word in ("x", "y", None)]
        stage.catalog.add_rejects(stage.run_id, dataset, members)
        stage.catalog.clear_reject(dataset, "/d/a.zip", "x")
        assert [found.member for found in stage.catalog.rejects(dataset)] == [None, "y"]

    def test_a_line_of_sidecars_takes_the_place_of_those_that_were_told_one_by_one(self, stage: Stage) -> None:
        detail, own = ".json is not an image format", stage.dataset.dataset_id
        one = Rejection("s_1/A.JSON", "/d%/s_1/A.JSON", None, 2, RejectReason.UNSUPPORTED, detail)
        inner = replace(one, source="/d%/set.zip", member="A.JSON")
        kept = [
            replace(one, source="/dx/s_1/A.JSON"),
            replace(one, name="b.jpg", source="/d%/b.jpg"),
            replace(one, name="c.json", source="/d%/c.json", detail="another reason"),
        ]
        stage.catalog.add_rejects(stage.run_id, own, [one, inner, *kept])
        line = Rejection("*.json", "/d%/*.json", None, 2**63 - 1, RejectReason.SKIPPED, f"1 file: {detail}")
        in_zip = replace(line, source="/d%/set.zip", member="*.json")
        for number in (1, 2):
            line, in_zip = (replace(each, detail=f"{number} files: {detail}") for each in (line, in_zip))
            stage.catalog.record_sidecars(stage.run_id, own, [(line, detail), (in_zip, detail)])
            found = {(each.source, each.member, each.detail) for each in stage.catalog.rejects(own)}
            assert found == {(each.source, each.member, each.detail) for each in (line, in_zip, *kept)}

    def test_an_input_that_now_reads_is_no_reject(self, stage: Stage) -> None:
        dataset = stage.dataset.dataset_id
        stage.catalog.add_rejects(stage.run_id, dataset, [self.broken])
        later = stage.catalog.start_run("ingest", dataset, None, {}, "1")
        stage.run_id = later
        stage.record([stage.image(1, items=[stage.item("a.png", "/d/a.png")])])
        assert stage.catalog.rejects(dataset) == []

    @pytest.mark.parametrize("place", ["/d", "/d/deep", "/d/deep/a.zip"])
    def test_a_closed_folder_and_a_damaged_archive_are_no_rejects_once_something_in_them_reads(
        self, stage: Stage, place: str
    ) -> None:
        dataset = stage.dataset.dataset_id
        other = replace(self.broken, source="/d/dee")
        stage.catalog.add_rejects(stage.run_id, dataset, [replace(self.broken, source=place), other])
        stage.run_id = stage.catalog.start_run("ingest", dataset, None, {}, "1")
        stage.record([stage.image(1, items=[stage.item("x.png", "/d/deep/a.zip", "x.png")])])
        assert [found.source for found in stage.catalog.rejects(dataset)] == ["/d/dee"]

    def test_a_reject_of_the_same_run_stays(self, stage: Stage) -> None:
        """An archive may hold a good and a broken member under one name."""
        stage.catalog.add_rejects(stage.run_id, stage.dataset.dataset_id, [self.broken])
        stage.record([stage.image(1, items=[stage.item("a.png", "/d/a.png")])])
        assert len(stage.catalog.rejects(stage.dataset.dataset_id)) == 1


class TestSpaces:
    def test_a_space_comes_back_with_its_id(self, stage: Stage) -> None:
        stage.catalog.ensure_space(stage.space)
        (found,) = stage.catalog.spaces()
        assert (found, found.space_id) == (stage.space, stage.space.space_id)

    def test_found_by_backbone_or_prefix(self, stage: Stage) -> None:
        other = Space("other", "cd", {}, 3)
        stage.catalog.ensure_space(other)
        for asked in ("other", other.space_id, other.space_id[:14], other.space_id[6:14]):
            assert stage.catalog.space(asked) == other

    def test_ambiguous_and_unknown(self, stage: Stage) -> None:
        second = replace(stage.space, dimension=3)
        stage.catalog.ensure_space(second)
        with pytest.raises(NotFoundError, match="could mean 2 embedding spaces") as error:
            stage.catalog.space("resnet50")
        assert second.space_id[:18] in error.value.hint
        for asked in ("", "vit", "space:ffff_"):
            with pytest.raises(NotFoundError, match="no embedding space"):
                stage.catalog.space(asked)

    def test_one_collection_for_a_dataset_in_a_space(self, stage: Stage) -> None:
        assert stage.catalog.ensure_collection(stage.dataset.dataset_id, stage.space.space_id) == stage.collection
        (found,) = stage.catalog.collections_of(stage.dataset.dataset_id)
        assert (found.collection_key, found.space_id) == (stage.collection, stage.space.space_id)
        assert {one.collection_key for one in stage.catalog.live_collections()} == {
            stage.collection,
            stage.release_collection,
        }

    def test_vectors_elsewhere(self, stage: Stage) -> None:
        shared, pending = stage.image(1), stage.image(2)
        stage.record([shared])
        stage.record([pending], acknowledge=False)
        ids = [shared.facts.image_id, pending.facts.image_id, "sha256:unknown"]
        found = stage.catalog.vectors_elsewhere(stage.space.space_id, ids, stage.release_collection)
        place = VectorLocation(stage.collection, shared.point_id, str(shared.vector_sha256))
        assert found == {shared.facts.image_id: place}
        assert stage.catalog.vectors_elsewhere(stage.space.space_id, ids, stage.collection) == {}
        assert stage.catalog.vectors_elsewhere("space:other", ids, stage.release_collection) == {}
        stage.catalog.remove_dataset(stage.dataset.dataset_id)
        assert stage.catalog.vectors_elsewhere(stage.space.space_id, ids, stage.release_collection) == {}
