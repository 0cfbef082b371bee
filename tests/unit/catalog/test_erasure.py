"""Forgetting and moving."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import inspect, text

from provenance.catalog.engine import make_engine, parse_url
from provenance.catalog.pseudonyms import suppression_digests
from provenance.errors import ConflictError, NotFoundError, UsageError
from provenance.records import VectorLocation
from provenance.vocabulary import PointState, Rejection, RejectReason

if TYPE_CHECKING:
    from tests.unit.catalog.conftest import Stage


def everything(url: str) -> str:
    """All that the database holds, as text."""
    engine = make_engine(parse_url(url))
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        rows = [str(connection.execute(text(f"SELECT * FROM {table}")).all()) for table in tables]
    engine.dispose()
    return "\n".join(rows)


class TestForget:
    def test_the_first_step_hides_the_image_and_names_its_points(self, stage: Stage) -> None:
        image = stage.image(1)
        stage.record([image, stage.image(2)])
        stage.record([image], release=True)
        key = stage.key(1)
        places = {VectorLocation(one, image.point_id, str(image.vector_sha256)) for one in collections(stage)}
        assert set(stage.catalog.forget_image(key, "asked for")) == places
        assert {place for _, place in stage.catalog.deleting_points()} == places
        for dataset, collection in zip((stage.dataset, stage.release), collections(stage), strict=True):
            members = stage.catalog.members(dataset.dataset_id, collection)
            assert image.facts.image_id not in [one.image_id for one in members]
            assert image.facts.image_id not in stage.catalog.member_ids(dataset.dataset_id)
        assert stage.catalog.resolve_image(image.facts.image_id).forgotten_at is not None

    def test_each_step_may_be_repeated(self, stage: Stage) -> None:
        stage.record([stage.image(1)])
        key = stage.key(1)
        first = stage.catalog.forget_image(key)
        assert stage.catalog.forget_image(key) == first  # a crash before the index deleted
        assert stage.catalog.unfinished_forgets() == [key]
        stage.catalog.finish_forget(key)
        stage.catalog.finish_forget(key)
        assert stage.catalog.forget_image(key) == []
        assert stage.catalog.unfinished_forgets() == []
        assert stage.catalog.deleting_points() == []
        kinds = [entry.kind for entry in stage.catalog.history_of(key)]
        assert kinds == ["added", "forget_requested", "forgotten"]

    def test_an_image_without_points_is_resumed_too(self, stage: Stage) -> None:
        stage.record([replace(stage.image(1), vector_sha256=None)], acknowledge=False)
        assert stage.catalog.forget_image(stage.key(1)) == []
        assert stage.catalog.unfinished_forgets() == [stage.key(1)]

    def test_the_second_step_needs_the_first(self, stage: Stage) -> None:
        stage.record([stage.image(1)])
        with pytest.raises(ConflictError, match="not begun"):
            stage.catalog.finish_forget(stage.key(1))
        for step in (stage.catalog.forget_image, stage.catalog.finish_forget):
            with pytest.raises(NotFoundError, match="no image has the key"):
                step("nobody")

    def test_nothing_erasable_is_left(self, stage: Stage, catalog_url: str) -> None:
        named = stage.item("Mueller/secret.png", "/ward/Mueller.zip", "secret.png")
        stage.record([stage.image("g"), stage.image(1, group="Mueller", items=[named])])
        lost = Rejection(named.name, named.source, named.member, 1, RejectReason.BROKEN, "")
        stage.catalog.add_rejects(stage.run_id, stage.dataset.dataset_id, [lost])
        stage.audit(["g"], [1])
        key, group = stage.key(1), stage.catalog.pseudonym("Mueller")
        stage.catalog.forget_image(key)
        stage.catalog.finish_forget(key)
        left = everything(catalog_url)
        facts = stage.facts(1)
        for word in (facts.image_id[7:], facts.pixel_digest[7:], "Mueller", "secret", group):
            assert word not in left
        assert stage.catalog.memberships_of(key) == []
        assert [
            one.image_id for one in stage.catalog.neighbors_of(stage.catalog.audits()[0].audit_id)[stage.key("g")]
        ] == [None]

    def test_another_image_of_the_group_keeps_it(self, stage: Stage) -> None:
        stage.record([stage.image(1, group="p"), stage.image(2, group="p")])
        stage.catalog.forget_image(stage.key(1))
        stage.catalog.finish_forget(stage.key(1))
        (kept,) = stage.catalog.members(stage.dataset.dataset_id, stage.collection)
        assert kept.group_key == stage.catalog.pseudonym("p")

    def test_what_was_forgotten_does_not_come_back(self, stage: Stage) -> None:
        stage.record([stage.image(1), stage.image(2)])
        facts, key = stage.facts(1), stage.key(1)
        stage.catalog.forget_image(key)
        # already while it is under way
        with pytest.raises(ConflictError, match="was forgotten"):
            stage.record([stage.image(1)])
        stage.catalog.finish_forget(key)
        resaved = replace(stage.facts("other bytes"), pixel_digest=facts.pixel_digest)
        asked = [(one.image_id, one.pixel_digest) for one in (facts, resaved, stage.facts(2))]
        assert stage.catalog.suppressed(asked) == {facts.image_id, resaved.image_id}
        for known in (facts, resaved):
            with pytest.raises(ConflictError, match="was forgotten"):
                stage.record([stage.image(3), replace(stage.image(1), facts=known)])
        assert stage.catalog.lookup([stage.facts(3).image_id]) == {}
        with pytest.raises(NotFoundError, match="was forgotten"):
            stage.catalog.resolve_image(facts.image_id)

    def test_acknowledging_late_does_not_revive_a_point(self, stage: Stage) -> None:
        image = stage.image(1)
        stage.record([image], acknowledge=False)
        stage.catalog.forget_image(stage.key(1))
        stage.catalog.acknowledge(stage.collection, [image.point_id])
        states = stage.catalog.point_states(stage.collection, [image.facts.image_id])
        assert states[image.facts.image_id].state == PointState.DELETING

    def test_pseudonyms_and_suppressions_differ_between_catalogs(self, stage: Stage) -> None:
        """They are keyed: another catalog's list says nothing here."""
        one, other = (suppression_digests(key, "sha256:a", "sha256:b") for key in (b"1" * 32, b"2" * 32))
        assert not set(one) & set(other)
        assert len(set(one)) == 2


def collections(stage: Stage) -> tuple[str, str]:
    return stage.collection, stage.release_collection


class TestRelocate:
    def places(self, stage: Stage) -> list[str]:
        return [one.source for one in stage.catalog.occurrences_of(stage.key(1))]

    def test_by_whole_components(self, stage: Stage) -> None:
        sources = ["/data/set1/a.png", "/data/set10/a.png", "/data/set1", "/x/data/set1/a.png", "/data/set1%/a.png"]
        stage.record([stage.image(1, items=[stage.item(f"{place}.n", place) for place in sources])])
        assert stage.catalog.relocate("/data/set1/", "/new place") == 2
        assert sorted(self.places(stage)) == sorted(
            ["/new place/a.png", "/data/set10/a.png", "/new place", "/x/data/set1/a.png", "/data/set1%/a.png"]
        )

    def test_an_archive_moves_with_its_members(self, stage: Stage) -> None:
        members = [stage.item(f"{word}.png", "/old/é.zip", word) for word in ("a", "b")]
        stage.record([stage.image(1, items=members)])
        assert stage.catalog.relocate("/old/e\u0301.zip", "/new.zip") == 2
        found = stage.catalog.occurrences_for_reading(stage.key(1))
        assert {(one.source, one.member) for one in found} == {("/new.zip", "a"), ("/new.zip", "b")}

    @pytest.mark.parametrize(
        ("old", "new", "after"),
        [
            ("/a", "/a/b", ["/a/b/b/x", "/a/b/x"]),
            ("/a/b", "/a", ["/a/x"]),
            ("/", "/mnt", ["/mnt/a/b/x", "/mnt/a/x"]),
            ("/a/b", "/c", ["/a/x", "/c/x"]),
        ],
    )
    def test_places_inside_one_another(self, stage: Stage, old: str, new: str, after: list[str]) -> None:
        stage.record([stage.image(1, items=[stage.item(place, place) for place in ("/a/x", "/a/b/x")])])
        stage.catalog.relocate(old, new)
        assert sorted(self.places(stage)) == after

    def test_already_found_at_the_new_place(self, stage: Stage) -> None:
        stage.record([stage.image(1, items=[stage.item("x", "/old/x"), stage.item("x", "/new/x")])])
        assert stage.catalog.relocate("/old", "/new") == 1
        assert self.places(stage) == ["/new/x"]

    def test_windows_paths(self, stage: Stage) -> None:
        stage.record([stage.image(1, items=[stage.item("x", "C:\\data\\x"), stage.item("y", "C:\\data2\\x")])])
        assert stage.catalog.relocate("C:\\data\\", "D:") == 1
        assert sorted(self.places(stage)) == ["C:\\data2\\x", "D:\\x"]

    def test_rejects_move_too_and_are_not_counted(self, stage: Stage) -> None:
        lost = Rejection("x", "/old/x", None, 1, RejectReason.BROKEN, "")
        stage.catalog.add_rejects(stage.run_id, stage.dataset.dataset_id, [lost])
        assert stage.catalog.relocate("/old", "/new") == 0
        assert stage.catalog.rejects(stage.dataset.dataset_id)[0].source == "/new/x"

    def test_the_event_names_no_path(self, stage: Stage, catalog_url: str) -> None:
        stage.record([stage.image(1, items=[stage.item("x", "/Mueller/x")])])
        stage.catalog.relocate("/Mueller", "/new")
        assert "Mueller" not in everything(catalog_url)

    @pytest.mark.parametrize(("old", "new"), [("", "/a"), ("/a", ""), ("/a", "/a/")])
    def test_nothing_to_move(self, stage: Stage, old: str, new: str) -> None:
        with pytest.raises(UsageError, match="an old and a new place"):
            stage.catalog.relocate(old, new)


def test_files_are_written_without_what_was_deleted(stage: Stage) -> None:
    stage.record([stage.image(1), stage.image(2)])
    stage.catalog.forget_image(stage.key(1))
    assert stage.catalog.scrub()
    assert len(stage.catalog.live_collections()) > 0


@pytest.mark.postgres
def test_files_of_a_server_are_without_what_was_deleted(stage: Stage, catalog_url: str) -> None:
    if not catalog_url.startswith("postgresql"):
        pytest.skip("read from the server's own files")
    names = [f"patient{number:03d}.png" for number in range(60)]
    stage.record([stage.image(n, items=[stage.item(name)]) for n, name in enumerate(names)])
    engine = make_engine(parse_url(catalog_url))

    def files(name: str) -> list[str]:
        """The tables and indexes whose files hold a name, read as bytes."""
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CHECKPOINT"))
            tables = "SELECT oid::regclass::text AS name, pg_relation_filepath(oid) AS place FROM pg_class"
            own = "relkind IN ('r', 'i', 't') AND relnamespace = current_schema()::regnamespace"
            held = f"WITH r AS ({tables} WHERE {own}) "
            found = "SELECT name FROM r WHERE position(:word in pg_read_binary_file(place, 0, 100000000, true)) > 0"
            return list(connection.execute(text(held + found), {"word": name.encode()}).scalars())

    assert "occurrences" in files(names[-1])
    stage.catalog.forget_image(stage.key(59))
    stage.catalog.finish_forget(stage.key(59))
    stage.catalog.forget_image(stage.key(58))
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
        reader.execute(text("SELECT pg_current_xact_id()"))  # it may ask for what it would see now
        stage.catalog.finish_forget(stage.key(58))
        assert not stage.catalog.scrub()
        assert "occurrences" in files(names[-2])
        reader.execute(text("SELECT count(*) FROM occurrences"))  # and now no table of it can be written anew
        assert not stage.catalog.scrub()
    # whatever else is under way in this database ends at some time
    assert any(stage.catalog.scrub() for _ in range(20))
    assert (files(names[-1]), files(names[-2]), "occurrences" in files(names[0])) == ([], [], True)
    with engine.connect() as connection:
        statistics = str(connection.execute(text("SELECT * FROM pg_stats WHERE schemaname = current_schema()")).all())
    assert names[-1] not in statistics
    engine.dispose()
