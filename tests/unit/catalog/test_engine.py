"""Opening, locking, and how errors leave the room."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from provenance.catalog import Catalog, restore_from_file
from provenance.catalog.engine import make_engine, parse_url
from provenance.errors import CatalogError, ConflictError
from provenance.vocabulary import Membership

if TYPE_CHECKING:
    from tests.unit.catalog.conftest import Stage


class TestUrls:
    @pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
    def test_postgresql_by_any_name(self, scheme: str) -> None:
        assert parse_url(f"{scheme}://u:p@h/d").drivername == "postgresql+psycopg"

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("no url: secret", "not a database URL"),
            ("mysql://u:secret@h/d", "can't be kept in 'mysql'"),
            ("sqlite://", "in memory would be lost"),
            ("sqlite:///:memory:", "in memory would be lost"),
            ("sqlite:////a/secret?/c.sqlite", r"has a \?"),
        ],
    )
    def test_others_are_refused_without_repeating_them(self, url: str, message: str) -> None:
        with pytest.raises(CatalogError, match=message) as error:
            Catalog.open(url)
        assert "secret" not in error.value.message + error.value.hint
        assert error.value.hint

    def test_no_password_in_any_message(self) -> None:
        url = "postgresql://user:topsecret@127.0.0.1:1/d?password=topsecret&connect_timeout=1"
        with pytest.raises(CatalogError, match="can't be used") as error:
            Catalog.open(url)
        assert "topsecret" not in error.value.message
        assert "postgresql://user:***@127.0.0.1:1/d" in error.value.message

    def test_url_for_people(self, catalog: Catalog, catalog_url: str) -> None:
        assert catalog.url_for_people.split(":")[0] in ("sqlite", "postgresql")


class TestFiles:
    def test_missing_file_is_not_made_by_looking(self, tmp_path: Path) -> None:
        with pytest.raises(CatalogError, match="there is no catalog") as error:
            Catalog.open(f"sqlite:///{tmp_path / 'c.sqlite'}")
        assert error.value.hint == "run `provenance init`"
        assert list(tmp_path.iterdir()) == []

    def test_folders_are_made(self, tmp_path: Path) -> None:
        Catalog.open(f"sqlite:///{tmp_path / 'a' / 'b' / 'c.sqlite'}", create=True).close()
        assert (tmp_path / "a" / "b" / "c.sqlite").is_file()

    def test_a_folder_of_any_name_holds_its_own_catalog(self, tmp_path: Path) -> None:
        """No name is taken for a part of a URL, and no two folders share a file."""
        names = [
            "per%20cent",
            "per cent",
            "what?",
            "what",
            "what?mode=ro",
            "a#b",
            "&;:+@",
            "n\nl",
            "k\xe4se",
            "b\udcff",
            "%",
        ]
        for name in names:
            (tmp_path / name).mkdir()
            Catalog.open(tmp_path / name / "c.sqlite", create=True).close()
        assert {file.relative_to(tmp_path) for file in tmp_path.rglob("*.sqlite*")} == {
            Path(name, "c.sqlite") for name in names
        }
        uuids = []
        for name in names:
            with Catalog.open(tmp_path / name / "c.sqlite") as catalog:
                uuids.append(catalog.catalog_uuid)
                catalog.copy_to(tmp_path / name / "copy")
                restore_from_file(tmp_path / name / "again", tmp_path / name / "copy")
                assert catalog.url_for_people == f"sqlite:///{tmp_path / name / 'c.sqlite'}"
        assert len(set(uuids)) == len(names)
        assert {file.name for file in tmp_path.rglob("*")} == {*names, "c.sqlite", "copy", "again"}

    def test_a_folder_that_can_not_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(CatalogError, match="can't be made"):
            Catalog.open(f"sqlite:///{tmp_path / 'file' / 'c.sqlite'}", create=True)

    def test_a_file_of_another_kind(self, tmp_path: Path) -> None:
        (tmp_path / "c.sqlite").write_bytes(b"not a database at all" * 100)
        with pytest.raises(CatalogError, match="not a database"):
            Catalog.open(f"sqlite:///{tmp_path / 'c.sqlite'}")

    def test_sqlite_is_safe(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'c.sqlite'}"
        Catalog.open(url, create=True).close()
        engine = make_engine(parse_url(url))
        with engine.connect() as connection:
            asked = ["journal_mode", "synchronous", "foreign_keys", "recursive_triggers", "busy_timeout"]
            values = [connection.execute(text(f"PRAGMA {word}")).scalar_one() for word in asked]
        engine.dispose()
        assert values == ["wal", 2, 1, 1, 30_000]

    def test_a_file_that_may_not_grow_is_a_full_disk_and_not_damage(self, tmp_path: Path) -> None:
        """What SQLite says of a limit on files, or of a disk where its log can't grow, is "disk I/O error"."""
        code = """
import resource, signal, sys
from provenance.catalog import Catalog
from provenance.errors import CatalogError
from provenance.vocabulary import Membership
with Catalog.open(sys.argv[1], create=True) as catalog:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 2**17, 3 * 2**17))
    try:
        for number in range(2000):
            catalog.create_set(f"{number} {'a name' * 40}", Membership.USED)
    except CatalogError as error:
        print(error.message, error.hint)
"""
        url = f"sqlite:///{tmp_path / 'catalog.sqlite3'}"
        ended = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=False)
        assert "full" in ended.stdout, ended
        assert "make room" in ended.stdout
        assert "backup" not in ended.stdout


class TestIdentity:
    def test_the_same_after_opening_again(self, catalog: Catalog, catalog_url: str) -> None:
        with Catalog.open(catalog_url) as again:
            assert again.catalog_uuid == catalog.catalog_uuid
            assert again.pseudonym("p") == catalog.pseudonym("p") != again.pseudonym("q")

    def test_bound_to_one_store(self, catalog: Catalog) -> None:
        catalog.bind_store("one")
        catalog.bind_store("one")
        with pytest.raises(ConflictError, match="belongs to vector index one, not to two"):
            catalog.bind_store("two")


def test_append_only_refusals_are_catalog_errors(stage: Stage) -> None:
    stage.record([stage.image(1)])
    with pytest.raises(CatalogError, match="append-only: events") as error:
        stage.catalog._run(lambda session: session.execute(text("DELETE FROM events")), True)
    assert error.value.exit_code == 6
    assert error.value.__cause__ is not None


def test_values_no_database_takes(stage: Stage) -> None:
    with pytest.raises(CatalogError, match="could not take a value"):
        stage.catalog.start_run("ingest", None, None, {"x": float("nan")}, "1")


class TestConcurrentWriters:
    def test_two_threads_lose_nothing(self, stage: Stage) -> None:
        """Both record the same images under different names, in opposite orders."""
        start = threading.Barrier(2)
        failures: list[BaseException] = []

        def work(name: str, numbers: list[int]) -> None:
            try:
                start.wait(10)
                for number in numbers:
                    pair = [stage.image(one, "p", [stage.item(f"{name}/{one}.png")]) for one in (number, number + 1)]
                    stage.record(pair)
            except BaseException as error:  # noqa: BLE001 - shown by the assertion below
                failures.append(error)

        numbers = list(range(10))
        threads = [threading.Thread(target=work, args=a) for a in (("a", numbers), ("b", numbers[::-1]))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        members = stage.catalog.members(stage.dataset.dataset_id, stage.collection)
        assert len(members) == 11
        for member in members:
            names = [one.name[0] for one in stage.catalog.occurrences_of(member.image_key)]
            assert names == ["a", "b"]
            assert [entry.kind for entry in stage.catalog.history_of(member.image_key)] == ["added"]

    def test_a_second_sqlite_writer_waits_for_the_first(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'c.sqlite'}"
        with Catalog.open(url, create=True) as catalog:
            other = sqlite3.connect(tmp_path / "c.sqlite", isolation_level=None, check_same_thread=False)
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO catalog_facts VALUES ('first', '1')")
            seen: list[object] = []

            def second() -> None:
                catalog.create_set("ward", Membership.USED, "")
                seen.append(catalog.dataset("ward").name)

            thread = threading.Thread(target=second)
            thread.start()
            thread.join(0.2)
            assert thread.is_alive()
            assert catalog.datasets() == []  # readers do not wait
            other.execute("COMMIT")
            thread.join(10)
            assert seen == ["ward"]
            other.close()

    def test_a_busy_catalog_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("provenance.catalog.engine.BUSY_TIMEOUT_SECONDS", 0)
        with Catalog.open(f"sqlite:///{tmp_path / 'c.sqlite'}", create=True) as catalog:
            other = sqlite3.connect(tmp_path / "c.sqlite", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(CatalogError, match="busy: another process writes to it"):
                catalog.create_set("ward", Membership.USED, "")
            other.close()

    @pytest.mark.slow
    def test_two_processes_make_and_fill_one_catalog(self, catalog_url: str) -> None:
        command = [sys.executable, "-c", WRITER, catalog_url]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        workers = [subprocess.Popen([*command, name], env=environment) for name in ("a", "b")]
        assert [worker.wait(60) for worker in workers] == [0, 0]
        with Catalog.open(catalog_url) as catalog:
            (real,) = catalog.datasets()
            assert (real.image_count, real.occurrence_count) == (20, 40)
            assert len(catalog.live_collections()) == 1


WRITER = """
import sys
from provenance.catalog import Catalog
from provenance.records import NewImage
from provenance.vocabulary import ImageFacts, Membership, SourceItem, Space

url, name = sys.argv[1:]
with Catalog.open(url, create=True) as catalog:
    dataset = catalog.create_set("ward", Membership.USED, "")
    space = Space("b", "w", {}, 2)
    catalog.ensure_space(space)
    collection = catalog.ensure_collection(dataset.dataset_id, space.space_id)
    run_id = catalog.start_run("ingest", dataset.dataset_id, space.space_id, {}, "1")
    for number in range(20):
        facts = ImageFacts(f"sha256:{number:064x}", f"sha256:{number:064x}", 1, 1, "PNG", "L", 1)
        item = SourceItem(f"{name}/{number}", f"/{name}/{number}", None, 1, 1, 1, 1)
        catalog.record_batch(dataset.dataset_id, collection, run_id, [NewImage(facts, [item], "g", f"p{number}", "v")])
        catalog.acknowledge(collection, [f"p{number}"])
"""
