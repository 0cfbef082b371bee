"""Another process forgets images or writes a collection anew while an audit reads: it begins again, or says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provenance import Workspace
from provenance.audit import AuditRequest, Policy, run_audit
from provenance.errors import ConflictError, VectorStoreError
from provenance.ingest import Writer
from provenance.keeping.removal import forget_image
from provenance.keeping.rewriting import write_anew
from provenance.vocabulary import Membership, Search
from tests.filled import fill, made_up, rows_of, space_of
from tests.servers.fake import FakeQdrant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REQUEST = AuditRequest("made", ("used",), ("fresh",), policy=Policy())


@pytest.fixture(params=["in process", "url", "grpc_url"])
def workspace(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    with FakeQdrant() as server:
        url = None if request.param == "in process" else getattr(server, request.param)
        with Workspace.create(tmp_path / "ws", index_url=url) as opened:
            fill(opened, "used", made_up(1, 30, 8), Membership.USED)
            fill(opened, "fresh", made_up(2, 30, 8), Membership.NOT_USED)
            fill(opened, "made", made_up(3, 20, 8))
            yield opened


def at(step: str, act: Callable[[], object], times: int = 1) -> Callable[[str], None]:
    """What is told of steps, and acts like another process at those that begin so."""
    left = [times]

    def on_step(said: str) -> None:
        if said.startswith(step) and left[0]:
            left[0] -= 1
            act()

    return on_step


def forget(workspace: Workspace, name: str) -> None:
    forget_image(workspace, workspace.catalog.resolve_image(name).image_id)


@pytest.mark.parametrize("step", ["comparing", "deciding"])
def test_an_image_that_is_forgotten_meanwhile_is_not_judged_by(workspace: Workspace, step: str) -> None:
    said: list[str] = []
    act = at(step, lambda: forget(workspace, "used_00003.png"))
    found = run_audit(workspace, REQUEST, lambda word: (said.append(word), act(word))[-1])
    assert any("reading again" in word for word in said)
    assert {each.name: each.image_count for each in found.datasets} == {"used": 29, "fresh": 30, "made": 20}
    assert run_audit(workspace, REQUEST).audit.verdict_digest == found.audit.verdict_digest


def test_a_collection_under_a_new_key_is_found_there(workspace: Workspace) -> None:
    if workspace.exports_vectors:
        pytest.skip("an engine in process rewrites its own files")
    before = run_audit(workspace, REQUEST).audit.verdict_digest
    workspace.clear_vectors()

    def move() -> None:
        for live in workspace.catalog.live_collections():
            write_anew(workspace, live.collection_key)

    assert run_audit(workspace, REQUEST, at("comparing", move)).audit.verdict_digest == before


def test_what_changes_again_and_again_is_said(workspace: Workspace) -> None:
    numbers = iter(range(20))
    act = at("deciding", lambda: forget(workspace, f"used_{next(numbers):05}.png"), times=100)
    with pytest.raises(ConflictError, match="again and again"):
        run_audit(workspace, REQUEST, act)
    assert workspace.catalog.audits() == []


def test_images_that_come_meanwhile_are_told_of(workspace: Workspace) -> None:
    before = run_audit(workspace, REQUEST).audit.verdict_digest

    def add() -> None:
        dataset = workspace.catalog.dataset("used")
        writer = Writer.opened(workspace, dataset.dataset_id, space_of(8), "ingest", {})
        writer.write(rows_of(writer, "used", made_up(9, 4, 8), first=100))

    found = run_audit(workspace, REQUEST, at("comparing", add))
    assert any("4 images came to used while this audit read" in note for note in found.notes)
    assert found.audit.findings.notes == found.notes
    assert found.audit.verdict_digest == before


def test_what_is_lost_is_an_error_as_ever(workspace: Workspace) -> None:
    (key,) = [c.collection_key for c in workspace.catalog.collections_of(workspace.catalog.dataset("made").dataset_id)]
    workspace.index.delete(
        key, workspace.index.get(key, [p.point_id for p in workspace.catalog.points_of(key)]).ids[:1]
    )
    with pytest.raises(VectorStoreError, match="missing"):
        run_audit(workspace, REQUEST)


@pytest.mark.parametrize("way", ["url", "grpc_url"])
def test_a_search_by_the_server_passes_over_nothing_in_silence(tmp_path: Path, way: str) -> None:
    """A neighbor that the server lost is not one of those that it finds: the next would be taken for the nearest."""
    with FakeQdrant() as server, Workspace.create(tmp_path / "ws", index_url=getattr(server, way)) as opened:
        fill(opened, "used", made_up(1, 30, 8), Membership.USED)
        fill(opened, "made", made_up(3, 20, 8))
        opened.settings = opened.settings.model_copy(update={"search": Search.SERVER})
        request = AuditRequest("made", ("used",), policy=Policy())
        assert run_audit(opened, request).audit.findings.searched is Search.SERVER
        (key,) = [c.collection_key for c in opened.catalog.collections_of(opened.catalog.dataset("used").dataset_id)]
        server.lose(f"provenance_{key}", 1)
        with pytest.raises(VectorStoreError, match="lacks 1 of the 30 vectors"):
            run_audit(opened, request)
