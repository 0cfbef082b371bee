"""Local spaces the whole way: ingest, embed, export, reconcile, backup, restore, and what refuses them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from provenance import Workspace, read_embeddings
from provenance.errors import SpaceMismatchError
from provenance.keeping.backup import backup, restore
from provenance.keeping.reconcile import reconcile
from tests.faults.samples import save_map

if TYPE_CHECKING:
    from pathlib import Path

MakeWorkspace = Callable[..., Workspace]
PATCHES = "patches-8-4@32"


@pytest.fixture
def workspace(make_workspace: MakeWorkspace, cohort: Path) -> Workspace:
    """The used images and the release in patches and in the tiny network's space."""
    workspace = make_workspace()
    workspace.ingest(cohort / "real_used", set="used", membership="used", backbone=PATCHES)
    workspace.ingest(cohort / "generated", release="gan", generator="g", backbone=PATCHES)
    return workspace


def by_name(workspace: Workspace, space: str) -> dict[str, np.ndarray]:
    blocks = workspace.embeddings("used", space=space)
    return {name: vector for block in blocks for name, vector in zip(block["name"], block["embedding"], strict=True)}


def test_stored_parts_are_those_of_the_backbone_and_leave_as_they_are(
    workspace: Workspace, cohort: Path, tmp_path: Path
) -> None:
    backbone = workspace.load_backbone(name=PATCHES)
    stored = by_name(workspace, PATCHES)
    assert len(stored) == 12
    for path in (cohort / "real_used").iterdir():
        pixels = np.asarray(Image.open(path).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
        assert np.array_equal(stored[path.name].reshape(49, 65), backbone.embed(pixels[None])[0])
    workspace.export("used", tmp_path / "used.parquet", format="parquet")
    read = next(iter(read_embeddings(tmp_path / "used.parquet")))
    assert np.array_equal(read["embedding"].iloc[0], stored[read["name"].iloc[0]])


def test_embed_gives_the_bytes_of_an_ingest_and_copies_what_another_set_has(workspace: Workspace, cohort: Path) -> None:
    workspace.ingest(cohort / "real_used", set="again", membership="unknown")
    assert workspace.embed("again", backbone=PATCHES).counts["copied"] == 12
    workspace.ingest(cohort / "real_unknown", set="unknown", membership="unknown")
    assert workspace.embed("unknown", backbone=PATCHES).counts["embedded"] == 6
    workspace.ingest(cohort / "real_unknown", set="other", membership="unknown", backbone=PATCHES)
    assert reconcile(workspace).is_clean
    # the rule that judges whole images takes the whole-image space by itself
    workspace.embed("gan", backbone=workspace.load_backbone())
    report = workspace.audit("gan", subject="generated", against="again")
    assert workspace.catalog.space(report.audit.space_id).parts == 1


def test_what_compares_whole_images_refuses_parts(workspace: Workspace) -> None:
    for call in (
        lambda: workspace.audit("gan", subject="generated", used="used"),
        lambda: workspace.audit("gan", subject="generated", used="used", match_resolution=True),
        lambda: workspace.neighbors("img_0001.png"),
        lambda: workspace.duplicates("used"),
    ):
        with pytest.raises(SpaceMismatchError, match="49 parts"):
            call()


def test_lost_parts_are_made_again_and_backups_hold_them(
    workspace: Workspace, make_workspace: MakeWorkspace, tmp_path: Path, tiny_backbone: Path
) -> None:
    cells = workspace.load_backbone(backbone_file=save_map(tmp_path / "map.onnx"), parts="map/3")
    workspace.embed("used", backbone=cells)
    before = {space: by_name(workspace, space) for space in (PATCHES, cells.space.space_id)}
    backup(workspace, tmp_path / "all.zip")
    other = make_workspace("restored")
    restore(other, tmp_path / "all.zip")
    for space, vectors in before.items():
        assert {name: v.tobytes() for name, v in by_name(other, space).items()} == {
            name: v.tobytes() for name, v in vectors.items()
        }
    workspace.close()
    shutil.rmtree(workspace.root / "index")
    report = reconcile(workspace, adopt_index=True, backbone={"backbone_file": tmp_path / "map.onnx"})
    left = {check.backbone: check.left for check in report.collections}
    assert left[cells.space.backbone] == 0, "a file given for one space does for it"
    assert reconcile(workspace).is_clean, "patches need no choice"
    for space, vectors in before.items():
        found = by_name(workspace, space)
        assert all(np.array_equal(found[name], vector) for name, vector in vectors.items())
