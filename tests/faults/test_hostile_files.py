"""Backups and policies that somebody made to break what reads them: an error in words, quickly, and nothing written."""

from __future__ import annotations

import copy
import hashlib
import json
import sqlite3
import time
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from provenance import Workspace
from provenance.audit.policy import PolicyChoice, any_policy_from_json
from provenance.audit.rules.logistic import LogisticRule
from provenance.catalog import vet_rows
from provenance.detection import LogisticModel
from provenance.errors import CatalogError, ProvenanceError, SourceError, UsageError
from provenance.findings import Findings, misfit
from provenance.keeping.backup import backup, restore
from provenance.keeping.manifest import checked_manifest
from provenance.received import parse_json
from tests.faults.samples import save_pictures
from tests.runner import refused as refused_by_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DIGITS = int("9" * 400)
HOSTILE: tuple[Any, ...] = (
    *(DIGITS, -DIGITS, 2**63, 10**9, -1, 1e308, -1e308, float("nan"), float("inf"), True, None),
    *("", "x" * 10_000, "../../etc/passwd", "a\0b", "\x1b]0;x\x07", [], {}, [DIGITS] * 3, {"a": DIGITS}, [[[]]]),
)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON document, its root first."""
    yield path
    children = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document[:2])
        if isinstance(document, list)
        else ()
    )
    for name, child in children:
        yield from places(child, (*path, name))


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return changed


MODEL = LogisticModel(("s_used",), (1.0,), 0.0, (0.0,), (1.0,))


@pytest.mark.parametrize("kind", ["joint", "logistic"])
def test_no_number_of_a_policy_is_a_defect(kind: str) -> None:
    joint = PolicyChoice().stated(None)  # type: ignore[arg-type]  # by options alone, without a workspace
    assert joint is not None
    document = joint.to_json() if kind == "joint" else {"rule": "logistic", "parameters": logistic()}
    judged = accepted = 0
    for path in places(document["parameters"]):
        for value in HOSTILE:
            judged += 1
            try:
                policy = any_policy_from_json(document["rule"], with_value(document["parameters"], path, value))
            except ProvenanceError:
                continue
            accepted += 1
            assert abs_numbers(policy.to_json()["parameters"]) < 1e13 or path[-1] in ("seed", "c")
    assert judged > 300
    assert accepted < judged / 10


def logistic() -> dict[str, Any]:
    return {"subject": "generated", **LogisticRule(MODEL).to_json(), "top_k": 10, "decimals": 9}


def abs_numbers(document: Any) -> float:
    """The greatest number in a document."""
    found = [0.0]
    for path in places(document):
        value = document
        for name in path:
            value = value[name]
        if isinstance(value, int | float):
            found.append(abs(value))
    return max(found)


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a": NaN}', b'{"a": 1e999}', b'{"a": -Infinity}', b'{"a": ' + b"9" * 5000 + b"}", b"\xff", b""],
)
def test_json_that_is_none_or_too_much_is_told_in_few_words(content: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        parse_json(content)
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match="more than 3 bytes"):
        parse_json(b"[1]\n", most_bytes=3)


def test_a_policy_file_without_an_end_is_not_read_to_it(kept_workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_bytes(b'{"rule": "' + b"x" * 5 * 1024**2)
    with pytest.raises(SourceError, match="more than"):
        PolicyChoice(tmp_path / "policy.json").stated(kept_workspace)


@pytest.fixture(scope="module")
def kept_workspace(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Iterator[Workspace]:
    """A workspace with a set of a few images."""
    root = tmp_path_factory.mktemp("hostile")
    with Workspace.create(root / "workspace", backbone_file=backbone, workers=0) as workspace:
        workspace.ingest(save_pictures(root / "images", range(6)), set="not_used", membership="not-used")
        yield workspace


@pytest.fixture(scope="module")
def whole(kept_workspace: Workspace) -> Path:
    file = kept_workspace.root.parent / "whole.zip"
    backup(kept_workspace, file)
    return file


@pytest.fixture
def target(kept_workspace: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.create(tmp_path / "restored", backbone_file=kept_workspace.settings.backbone_file) as workspace:
        yield workspace


def repacked(
    whole: Path,
    file: Path,
    manifest: Callable[[Any], Any] = lambda document: document,
    **contents: bytes,
) -> Path:
    """The backup with other entries, whose digests the manifest states, and another manifest."""
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        document = json.loads(source.read("manifest.json"))
        for name in document["files"]:
            content = contents.get(name.partition(".")[0])
            content = source.read(name) if content is None else content
            made.writestr(name, content)
            document["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        made.writestr("manifest.json", json.dumps(manifest(document)))
    return file


def refused(target: Workspace, file: Path) -> ProvenanceError:
    started = time.process_time()
    with pytest.raises((SourceError, CatalogError)) as caught:
        restore(target, file)
    assert time.process_time() - started < 5
    assert len(caught.value.message) < 600
    assert (target.index.collections(), target.catalog.datasets()) == ([], [])
    assert not any(path.name.startswith(".restore") for path in target.root.iterdir())
    return caught.value


def test_no_field_of_a_manifest_is_a_defect(whole: Path, target: Workspace, tmp_path: Path) -> None:
    def told(changed: Any) -> None:
        file = repacked(whole, tmp_path / "b.zip", lambda _: changed)
        with zipfile.ZipFile(file) as archive, pytest.raises(SourceError) as caught:
            checked_manifest(archive, file)
        assert len(caught.value.message) < 600

    with zipfile.ZipFile(repacked(whole, tmp_path / "same.zip")) as archive:
        document = json.loads(archive.read("manifest.json"))
    words = {"dataset", "space_id", "software_version", "uuid", "revision", "created_at"}
    for path in places(document):
        for value in HOSTILE if path and path[-1] not in words else ([], DIGITS, None):
            if value != "" or path[-1:] != ("revision",):
                told(with_value(document, path, value))
        if path and isinstance(path[-1], str):
            lacking = copy.deepcopy(document)
            inner = lacking
            for name in path[:-1]:
                inner = inner[name]
            del inner[path[-1]]
            told(lacking)
    key = document["collections"][0]["key"]
    led_out = json.loads(json.dumps(document).replace(key, "../../../out"))
    assert "key" in refused(target, repacked(whole, tmp_path / "b.zip", lambda _: led_out)).message
    assert restore(target, tmp_path / "same.zip").reconciled.is_clean


def catalog_after(whole: Path, folder: Path, *statements: str) -> bytes:
    with zipfile.ZipFile(whole) as archive:
        (folder / "catalog").write_bytes(archive.read("catalog.sqlite3"))
    with sqlite3.connect(folder / "catalog") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return (folder / "catalog").read_bytes()


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (("CREATE VIEW extra AS " + ENDLESS + " i FROM n",), "has a view"),
        (("ALTER TABLE events RENAME TO e", "CREATE VIEW events AS " + ENDLESS + " e.* FROM n, e"), "has a view"),
        (("CREATE VIRTUAL TABLE words USING fts5(text)",), "has a table where tables belong"),
        (("CREATE TABLE more (a, b AS (replace(hex(zeroblob(100000000)), '0', a)))",), "computed column"),
    ],
)
def test_a_catalog_of_a_file_holds_data_and_no_program(
    statements: tuple[str, ...], said: str, whole: Path, target: Workspace, tmp_path: Path
) -> None:
    file = repacked(whole, tmp_path / "b.zip", catalog=catalog_after(whole, tmp_path, *statements))
    assert said in refused(target, file).message


def test_triggers_of_a_file_do_not_run(whole: Path, target: Workspace, tmp_path: Path) -> None:
    own = 'CREATE TRIGGER "a ""b" AFTER DELETE ON catalog_facts BEGIN DELETE FROM datasets; END'
    content = catalog_after(whole, tmp_path, own)
    assert restore(target, repacked(whole, tmp_path / "b.zip", catalog=content)).reconciled.is_clean
    assert [summary.dataset.name for summary in target.catalog.datasets()] == ["not_used"]


def test_what_would_fill_the_disk_is_not_unpacked(whole: Path, target: Workspace, tmp_path: Path) -> None:
    assert "would unpack" in refused(target, repacked(whole, tmp_path / "b.zip", catalog=bytes(50_000_000))).message
    file = tmp_path / "manifest.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made, made.open("manifest.json", "w") as stream:
        for _ in range(100):
            stream.write(b" " * 1_000_000)
    assert "no sound manifest" in refused(target, file).message


def test_a_policy_says_what_it_is_once() -> None:
    joint = PolicyChoice().stated(None)  # type: ignore[arg-type]
    assert joint is not None
    document = joint.to_json()["parameters"]
    assert any_policy_from_json("joint", document).policy_id == joint.policy_id
    for path, value in ((("subject",), "real"), (("answers", "copies", "policy_id"), "policy:" + "0" * 64)):
        with pytest.raises(UsageError):
            any_policy_from_json("joint", with_value(document, path, value))


def test_what_is_no_backup_makes_no_workspace(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "none.zip").write_bytes(b"no archive")
    repacked(whole, tmp_path / "broken.zip", lambda document: document | {"collections": 3})
    for name, said in (("none", "can't be read as a backup"), ("absent", "can't be read"), ("broken", "damaged")):
        words = ("restore", str(tmp_path / f"{name}.zip"))
        assert said in refused_by_command(tmp_path / "new", *words, code=SourceError.exit_code)
        assert not (tmp_path / "new").exists()


CELLS = (
    *("'x'", "9223372036854775807", "-5", "x'00ff'", "NULL", "'../../../tmp/evil'", "cast(x'ff41' as text)", "9e999"),
    *("'{\"a\": NaN}'", "'[]'", "'a' || char(0)", f"'{'[' * 5000}'", "printf('%.*c', 100000, 'x')"),
    *("'{\"match_resolution\": []}'", "'{\"match_resolution\": [1e999, 1]}'"),
)


def test_no_cell_of_a_catalog_holds_what_this_software_would_not_write(
    whole: Path, target: Workspace, tmp_path: Path
) -> None:
    with zipfile.ZipFile(whole) as archive:
        sound = archive.read("catalog.sqlite3")
    (tmp_path / "catalog").write_bytes(sound)
    vet_rows(tmp_path / "catalog")
    connection = sqlite3.connect(tmp_path / "catalog", isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    sound = (tmp_path / "catalog").read_bytes()
    changed, taken = 0, []
    for table in (
        "datasets",
        "spaces",
        "runs",
        "images",
        "image_identities",
        "occurrences",
        "collections",
        "points",
        "events",
    ):
        for column in [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]:
            for value in CELLS:
                connection.execute("BEGIN")
                try:
                    connection.execute(f"UPDATE {table} SET {column} = {value}")
                except sqlite3.Error:  # its constraints hold, or it is no key any more
                    connection.execute("ROLLBACK")
                    continue
                connection.execute("COMMIT")
                changed += 1
                try:
                    vet_rows(tmp_path / "catalog")
                except CatalogError as error:
                    said = error.message
                else:
                    taken.append((table, column, value))
                    said = f"{table}."
                assert f"{table}." in said, (column, value)
                assert len(said) < 400
                connection.close()
                (tmp_path / "catalog").write_bytes(sound)
                connection = sqlite3.connect(tmp_path / "catalog", isolation_level=None)
                connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.close()
    assert changed > 300
    assert len(taken) < changed / 3, taken
    never = ("x'00ff'", "cast(x'ff41' as text)", "'a' || char(0)", "printf('%.*c', 100000, 'x')")
    assert [each for each in taken if each[2] in never] == []
    wrong = catalog_after(whole, tmp_path, "UPDATE image_identities SET width = -5")
    assert "image_identities.width" in refused(target, repacked(whole, tmp_path / "b.zip", catalog=wrong)).message


def test_findings_are_of_the_types_that_their_reader_expects() -> None:
    sound = {"search": "exact", "index": "vector", "notes": ["one"], "weakening": 1, "outcome": "inconclusive"}
    assert misfit(Findings, sound) == ""
    for key, value in (("notes", "one"), ("notes", [1]), ("weakening", "1"), ("weakening", True), ("outcome", "x")):
        assert misfit(Findings, sound | {key: value}).startswith(f".{key}")
    assert misfit(Findings, sound | {"euclidean": {"nearest": 1, "same_nearest": 1}}) == ".euclidean.tied"
    assert misfit(Findings, []) == "root"
