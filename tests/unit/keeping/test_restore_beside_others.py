"""A restore into a server that others use, the original itself among them: nothing of theirs is touched."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from provenance import AuditRequest, Workspace, run_audit
from provenance.errors import ConflictError
from provenance.ingest import Writer
from provenance.keeping.backup import backup, restore
from provenance.keeping.reconcile import reconcile
from provenance.keeping.removal import forget_image, remove_dataset
from provenance.vocabulary import Membership
from tests.filled import fill, made_up, rows_of
from tests.servers.fake import FakeQdrant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VECTORS = made_up(3, 12, 8)


class Killed(BaseException):
    """Not to be caught by what cleans up after errors alone."""


class Dying:
    """The index of a process that is killed after its call of a number."""

    def __init__(self, inner: Any, at: int) -> None:
        self._inner, self._at = inner, at

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            self._at -= 1
            if self._at < 0:
                raise Killed
            result = found(*given, **named)
            if self._at == 0:
                raise Killed
            return result

        return call


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as running:
        yield running


def made(folder: Path, server: FakeQdrant) -> Workspace:
    return Workspace.create(folder, index_url=server.url)


@pytest.fixture
def original(tmp_path: Path, server: FakeQdrant) -> Iterator[Workspace]:
    """A set, a release, a removed set, an image forgotten (its collection written anew), and a set half moved."""
    with made(tmp_path / "original", server) as workspace:
        fill(workspace, "used", VECTORS, Membership.USED)
        fill(workspace, "release", VECTORS[::2])
        fill(workspace, "gone", VECTORS[:3], Membership.NOT_USED)
        remove_dataset(workspace, workspace.catalog.dataset("gone"))
        forget_image(workspace, "used_00003.png")
        yield workspace


def held(server: FakeQdrant) -> dict[str, Any]:
    return {name: sorted(map(repr, one.points.values())) for name, one in server.collections.items()}


def keys_in(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "catalog.sqlite3")) as catalog:
        return {key for (key,) in catalog.execute("SELECT collection_key FROM collections")}


def digest_of(workspace: Workspace) -> str:
    return run_audit(workspace, AuditRequest("release", ("used",))).audit.verdict_digest


def test_the_original_and_its_copy_go_on_beside_each_other(
    original: Workspace, server: FakeQdrant, tmp_path: Path
) -> None:
    digest = digest_of(original)
    half_moved = original.catalog.begin_rewriting(original.catalog.live_collections()[0].collection_key)
    backup(original, tmp_path / "a.zip")
    before = held(server)
    with made(tmp_path / "copy", server) as copy:
        assert restore(copy, tmp_path / "a.zip").reconciled.is_clean
        assert {name: points for name, points in held(server).items() if name in before} == before
        assert copy.catalog.catalog_uuid == original.catalog.catalog_uuid
        assert digest_of(copy) == digest == digest_of(original)
        labels = [one.made.metadata for name, one in server.collections.items() if name not in before]
        assert [label["catalog"].string_value for label in labels] == [copy.catalog.catalog_uuid] * 2
        old = keys_in(original.root)
        assert len(keys_in(copy.root)) == len(old)
        assert half_moved in old
        with closing(sqlite3.connect(copy.root / "catalog.sqlite3")) as catalog:
            facts = [
                line for line in catalog.iterdump() if not line.startswith('INSERT INTO "events"')
            ]  # what was, was
        assert [line for line in facts if any(key in line for key in old)] == []
        forget_image(copy, "used_00005.png")
        remove_dataset(copy, copy.catalog.dataset("release"))
        assert {name: points for name, points in held(server).items() if name in before} == before
        writer = Writer.opened(
            original, original.catalog.dataset("used").dataset_id, original.catalog.spaces()[0], "ingest", {}
        )
        writer.write(rows_of(writer, "more", VECTORS[:2]))
        assert reconcile(copy).is_clean
        assert reconcile(original).is_clean


@pytest.mark.slow
def test_killed_at_any_step_the_repeat_finishes_and_leaves_nothing(
    original: Workspace, server: FakeQdrant, tmp_path: Path
) -> None:
    backup(original, tmp_path / "a.zip")
    before = held(server)
    steps, killed = 0, True
    while killed:
        steps += 1
        folder = tmp_path / f"copy{steps}"
        with made(folder, server) as copy:
            index = copy.index
            copy.__dict__["index"] = Dying(index, steps)
            with suppress(Killed):
                restore(copy, tmp_path / "a.zip")
                killed = False
            copy.__dict__["index"] = index
        if killed:
            with Workspace.open(folder) as copy:
                assert restore(copy, tmp_path / "a.zip").reconciled.is_clean
        with Workspace.open(folder) as copy:
            live = {each.collection_key for each in copy.catalog.live_collections()}
            mine = {name for name in held(server) if name not in before}
            assert (len(live), {name.removeprefix("provenance_") for name in mine}) == (2, live)
            assert not (folder / "restoring.json").exists()
            assert not list(folder.glob(".restore-*"))
            with pytest.raises(ConflictError, match="is not empty"):
                restore(copy, tmp_path / "a.zip")
            for key in live:
                copy.index.drop(key)
        assert held(server) == before
    assert steps > 8
