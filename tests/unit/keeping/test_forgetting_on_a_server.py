"""A server keeps deleted vectors: forgetting writes the collection anew, whatever is killed and whoever writes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from qdrant_client import QdrantClient

from provenance import Workspace
from provenance.errors import NotFoundError, ProvenanceError
from provenance.index import Points, point_id
from provenance.ingest import Writer
from provenance.keeping.reconcile import reconcile
from provenance.keeping.removal import finish_forgetting, forget_image
from provenance.keeping.rewriting import write_anew
from provenance.vocabulary import Membership, PointState
from tests.filled import fill, made_up, on_a_server, rows_of, space_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provenance.index import VectorIndex

DIMENSION, COUNT = 8, 40
VECTORS = made_up(1, COUNT, DIMENSION)


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    opened = QdrantClient(":memory:")
    yield opened
    opened.close()


@pytest.fixture
def workspace(tmp_path: Path, client: QdrantClient) -> Iterator[Workspace]:
    with on_a_server(tmp_path / "workspace", client) as opened:
        fill(opened, "used", VECTORS, Membership.USED)
        yield opened
        opened.__dict__.pop("index", None)  # the client's end is the fixture's


def key_of(workspace: Workspace) -> str:
    (live,) = workspace.catalog.live_collections()
    return live.collection_key


def stored(workspace: Workspace) -> dict[str, bytes]:
    return {
        point: vector.tobytes()
        for points in workspace.index.iterate(key_of(workspace))
        for point, vector in zip(points.ids, points.vectors, strict=True)
    }


def image(workspace: Workspace, number: int) -> str:
    return workspace.catalog.resolve_image(f"used_{number:05}.png").image_id


def test_the_collection_is_written_anew_without_it_and_what_is_certain_is_said(workspace: Workspace) -> None:
    before, old, gone = stored(workspace), key_of(workspace), image(workspace, 3)
    said = forget_image(workspace, gone)
    assert key_of(workspace) != old
    assert workspace.index.collections() == [key_of(workspace)]
    lost = dict(before.items() - stored(workspace).items())
    assert list(lost.values()) == [VECTORS[3].tobytes()]
    assert len(stored(workspace)) == COUNT - 1
    assert {point.state for point in workspace.catalog.points_of(key_of(workspace))} == {PointState.INDEXED}
    assert "written anew" in said.certain[0]
    assert any("disk" in place for place in said.may_remain)
    event = workspace.catalog.history_of(said.image.image_key)[-1]
    assert (event.kind, event.facts["certain"]) == ("forgotten", list(said.certain))
    assert event.facts["may_remain"] == list(said.may_remain)
    assert reconcile(workspace, repair=False).is_clean


class Killed(BaseException):
    """Not to be caught by what cleans up after errors alone."""


class Dying:
    """Stands before something and is killed before or after its call of a number; nothing is done from then on."""

    def __init__(self, inner: Any, at: list[int], *, after: bool) -> None:
        self._inner, self._at, self._after = inner, at, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            self._at[0] -= 1
            if self._at[0] < 0 or (self._at[0] == 0 and not self._after):
                raise Killed
            result = found(*given, **named)
            if self._at[0] == 0:
                raise Killed
            return result

        return call


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_step_it_is_brought_to_its_end(workspace: Workspace, *, after: bool) -> None:
    index, catalog = workspace.index, workspace.catalog
    expected = {image(workspace, row): VECTORS[row].tobytes() for row in range(COUNT)}
    steps, killed = 0, True
    while killed:
        steps += 1
        gone, at = next(iter(expected)), [steps]
        workspace.__dict__.update(index=Dying(index, at, after=after), catalog=Dying(catalog, at, after=after))
        with suppress(Killed):
            forget_image(workspace, gone)
            killed = False
        workspace.__dict__.update(index=index, catalog=catalog)
        if steps % 2:
            finish_forgetting(workspace)
        assert reconcile(workspace).is_clean
        with suppress(NotFoundError):
            assert catalog.resolve_image(gone).image_id == gone
            assert steps < 3  # it was killed before anything was on record
            continue
        del expected[gone]
        assert index.collections() == [key_of(workspace)]
        assert sorted(stored(workspace).values()) == sorted(expected.values())
    assert steps > 20


class During:
    """Stands before an index, and does something once, before the first upsert into a collection that is new."""

    def __init__(self, inner: VectorIndex, act: Callable[[], None]) -> None:
        self._inner = inner
        self._act: Callable[[], None] | None = act

    def __getattr__(self, name: str) -> Any:
        if name == "upsert" and (act := self._act) is not None:
            self._act = None
            act()
        return getattr(self._inner, name)


def test_what_is_ingested_meanwhile_is_in_the_new_collection(workspace: Workspace) -> None:
    index, more = workspace.index, made_up(2, 10, DIMENSION)
    writer = writer_again(workspace)
    workspace.__dict__["index"] = During(index, lambda: writer.write(rows_of(writer, "used", more, COUNT)))
    old = key_of(workspace)
    forget_image(workspace, image(workspace, 0))
    assert writer.collection_key == old
    writer.write(rows_of(writer, "used", made_up(3, 5, DIMENSION), COUNT + 10))  # the collection has moved since
    assert writer.collection_key == key_of(workspace)
    workspace.__dict__["index"] = index
    assert (len(stored(workspace)), reconcile(workspace).repaired) == (COUNT - 1 + 10 + 5, 0)


def test_a_collection_that_moves_while_a_batch_is_written_gets_the_batch(workspace: Workspace) -> None:
    index, old = workspace.index, key_of(workspace)
    writer = writer_again(workspace)
    writer.index = During(index, lambda: forget_image(workspace, image(workspace, 0)))  # between record and upsert
    writer.write(rows_of(writer, "used", made_up(2, 10, DIMENSION), COUNT))
    assert writer.collection_key == key_of(workspace) != old
    assert {point.state for point in workspace.catalog.points_of(key_of(workspace))} == {PointState.INDEXED}
    assert (len(stored(workspace)), reconcile(workspace).repaired) == (COUNT - 1 + 10, 0)


def test_two_that_forget_at_once_both_come_to_an_end(workspace: Workspace) -> None:
    index = workspace.index
    first, second = image(workspace, 0), image(workspace, 1)
    workspace.__dict__["index"] = During(index, lambda: _meanwhile(workspace, index, second))
    forget_image(workspace, first)
    workspace.__dict__["index"] = index
    assert workspace.catalog.unfinished_forgets() == []
    assert sorted(stored(workspace).values()) == sorted(vector.tobytes() for vector in VECTORS[2:])
    assert index.collections() == [key_of(workspace)]


def _meanwhile(workspace: Workspace, index: VectorIndex, gone: str) -> None:
    dying, workspace.__dict__["index"] = workspace.index, index
    forget_image(workspace, gone)
    workspace.__dict__["index"] = dying


def test_what_an_older_version_left_is_said_and_written_anew(workspace: Workspace) -> None:
    said = workspace.catalog.resolve_image("used_00007.png")
    workspace.catalog.forget_image(said.image_key)
    ((_, place),) = workspace.catalog.deleting_points()
    old = key_of(workspace)
    workspace.index.delete(old, [place.point_id])
    workspace.catalog.finish_forget(said.image_key)
    seen = reconcile(workspace, repair=False)
    assert (seen.left, [each.problem for each in seen.findings]) == (1, ["holds forgotten vectors"])
    assert reconcile(workspace).repaired == 1
    assert key_of(workspace) != old
    assert reconcile(workspace, repair=False).is_clean


def test_vectors_that_the_catalog_does_not_know_are_gone_too(workspace: Workspace) -> None:
    old = key_of(workspace)
    strange = Points([point_id("sha256:strange", "x")], made_up(9, 1, DIMENSION), [{}])
    workspace.index.upsert(old, strange)
    assert reconcile(workspace).repaired == 1
    assert key_of(workspace) != old
    assert len(stored(workspace)) == COUNT


def test_a_damaged_vector_is_not_taken_along(workspace: Workspace) -> None:
    old, damaged = key_of(workspace), next(iter(stored(workspace)))
    workspace.index.upsert(old, Points([damaged], made_up(9, 1, DIMENSION), [{}]))
    gone = next(row for row in range(COUNT) if VECTORS[row].tobytes() != stored(workspace)[damaged])
    forget_image(workspace, image(workspace, gone if gone else 1))
    assert damaged not in stored(workspace)
    assert next(check.missing for check in reconcile(workspace, repair=False).collections) == 1


def test_another_workspace_of_the_catalog_loses_its_cached_vectors(tmp_path: Path, workspace: Workspace) -> None:
    workspace.vector_folder.mkdir()
    cached = workspace.vector_folder / "x.f32"
    forget_image(workspace, image(workspace, 0))
    cached.write_bytes(b"made since")
    workspace.__dict__.pop("catalog").close()
    assert workspace.catalog.erasures()
    assert cached.exists()
    catalog_url = f"sqlite:///{workspace.root / 'catalog.sqlite3'}"
    with Workspace.create(tmp_path / "other", catalog_url=catalog_url) as other:
        other.vector_folder.mkdir()
        (other.vector_folder / "y.f32").write_bytes(b"of before")
        assert other.catalog.erasures()
        assert not (other.vector_folder / "y.f32").exists()


def test_a_removed_collection_is_not_written_anew(workspace: Workspace) -> None:
    key = key_of(workspace)
    workspace.remove("used")
    with pytest.raises(ProvenanceError, match="is dropped"):
        write_anew(workspace, key)
    assert workspace.index.collections() == []


def writer_again(workspace: Workspace) -> Writer:
    dataset = workspace.catalog.dataset("used")
    return Writer.opened(workspace, dataset.dataset_id, space_of(DIMENSION), "ingest", {})
