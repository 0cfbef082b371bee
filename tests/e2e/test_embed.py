"""A second space for what is on record: from the recorded sources, resumable, honest about what can't be read."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from provenance import IngestRequest, Workspace, run_ingest
from provenance.errors import NotFoundError, SourceError
from provenance.ingest import run_embed
from provenance.keeping.removal import relocate
from provenance.vocabulary import DatasetKind, Membership, PointState

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.embedding import Backbone

MakeWorkspace = Callable[..., Workspace]


@pytest.fixture
def workspace(make_workspace: MakeWorkspace, cohort: Path) -> Workspace:
    workspace = make_workspace()
    for name in ("used", "not_used"):
        request = IngestRequest((cohort / f"real_{name}",), name, DatasetKind.SET, Membership(name))
        run_ingest(workspace, request, workspace.load_backbone())
    return workspace


@pytest.fixture
def other(workspace: Workspace, other_backbone: Path) -> Backbone:
    return workspace.load_backbone(backbone_file=other_backbone)


def test_the_vectors_are_those_of_an_ingest(
    workspace: Workspace, other: Backbone, cohort: Path, make_workspace: MakeWorkspace
) -> None:
    report = run_embed(workspace, "used", other)
    assert report.counts == {"images": 12, "known": 0, "embedded": 12, "copied": 0, "unreadable": 0}
    fresh = make_workspace("fresh")
    request = IngestRequest((cohort / "real_used",), "used", DatasetKind.SET, Membership.USED)
    run_ingest(fresh, request, other)
    digests = []
    for each in (workspace, fresh):
        dataset = each.catalog.dataset("used")
        keys = [c.collection_key for c in each.catalog.collections_of(dataset.dataset_id)]
        members = each.catalog.members(dataset.dataset_id, keys[-1])
        stored = each.index.get(keys[-1], [m.point_id for m in members])
        assert [p["vector_sha256"] for p in stored.payloads] == [m.vector_sha256 for m in members]
        digests.append([(m.image_id, m.vector_sha256) for m in members])
    assert digests[0] == digests[1]
    assert len(digests[0]) == 12
    again = run_embed(workspace, "used", other)
    assert (again.counts["known"], again.counts["embedded"]) == (12, 0)


def test_it_goes_on_where_it_was_stopped(workspace: Workspace, other: Backbone) -> None:
    stop = Event()
    report = run_embed(workspace, "used", other, lambda _step: stop.set(), stop)
    assert report.interrupted
    assert 0 < report.counts["embedded"] < 12
    rest = run_embed(workspace, "used", other)
    assert (rest.counts["known"], rest.counts["embedded"]) == (
        report.counts["embedded"],
        12 - report.counts["embedded"],
    )
    states = [run.state.value for run in workspace.catalog.runs() if run.kind == "embed"]
    assert states == ["finished", "interrupted"]


def test_an_interrupted_batch_is_unseen_and_made_again(
    workspace: Workspace, other: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(workspace.catalog), "acknowledge", dies)
    with pytest.raises(KeyboardInterrupt):
        run_embed(workspace, "used", other)
    monkeypatch.undo()
    image = workspace.catalog.resolve_image("img_0000.png")
    assert PointState.PENDING in {place.state for place in workspace.catalog.spaces_of(image.image_key)}
    assert run_embed(workspace, "used", other).counts["embedded"] == 12


def test_what_another_set_holds_in_the_space_is_copied(workspace: Workspace, other: Backbone, cohort: Path) -> None:
    run_embed(workspace, "used", other)
    request = IngestRequest((cohort / "real_used",), "again", DatasetKind.SET, Membership.UNKNOWN)
    run_ingest(workspace, request, workspace.load_backbone())
    assert run_embed(workspace, "again", other).counts["copied"] == 12


def test_changed_and_missing_files_are_listed_and_other_places_tried(
    workspace: Workspace, other: Backbone, cohort: Path, tmp_path: Path
) -> None:
    used = cohort / "real_used"
    with zipfile.ZipFile(tmp_path / "part.zip", "w") as archive:
        archive.write(used / "img_0002.png", "inside/two.png")
    request = IngestRequest((tmp_path / "part.zip",), "zipped", DatasetKind.SET, Membership.USED)
    run_ingest(workspace, request, workspace.load_backbone())
    (used / "img_0001.png").unlink()
    (used / "img_0002.png").unlink()  # the archive still holds it
    (used / "img_0003.png").write_bytes((used / "img_0004.png").read_bytes())
    report = run_embed(workspace, "used", other)
    assert report.counts | {"embedded": 10, "unreadable": 2} == report.counts
    assert {r.name: r.detail[:20] for r in report.unreadable} == {
        "img_0001.png": "No such file or dire",
        "img_0003.png": "other bytes than rec",
    }


def test_moved_sources_are_an_error_that_says_what_to_do(workspace: Workspace, other: Backbone, cohort: Path) -> None:
    (cohort / "real_used").rename(cohort / "elsewhere")
    with pytest.raises(SourceError, match="none of the 12 images") as raised:
        run_embed(workspace, "used", other)
    assert "relocate" in raised.value.hint
    relocate(workspace, cohort / "real_used", cohort / "elsewhere")
    assert run_embed(workspace, "used", other).counts["embedded"] == 12


def test_an_unknown_name_is_told(workspace: Workspace, other: Backbone) -> None:
    with pytest.raises(NotFoundError):
        run_embed(workspace, "no-such-set", other)
