"""A workspace is made whole or not at all, and of settings that can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from provenance import Workspace
from provenance.errors import CatalogError, EmbeddingError, ProvenanceError, UsageError, WeightsError
from provenance.vocabulary import Membership

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"backbone": "efficientnet-lite"}, EmbeddingError, "no backbone 'efficientnet-lite'"),
        ({"backbone": "patches-16-8@6"}, UsageError, "no patches of 16 pixels"),
        ({"backbone": "efficientnet-lite0:blocks.99/7"}, EmbeddingError, "blocks.99"),
        ({"backbone": "efficientnet-lite0", "weights": "gone.pth"}, WeightsError, "can't be read"),
        ({"backbone": "efficientnet-lite0", "weights": "text.pth"}, WeightsError, "can't be read"),
        ({"backbone_file": "gone.onnx"}, EmbeddingError, "can't be read"),
        ({"backbone_file": "text.pth"}, UsageError, "neither ONNX nor TorchScript"),
        ({"index_url": "qdrant.example.org"}, UsageError, "names no vector index"),
        ({"catalog_url": "mysql://host/base"}, CatalogError, "mysql"),
    ],
)
def test_what_can_not_be_is_told_and_leaves_nothing(
    settings: dict[str, str], error: type[ProvenanceError], said: str, tmp_path: Path
) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    paths: dict[str, Any] = {
        name: tmp_path / value if name in ("weights", "backbone_file") else value for name, value in settings.items()
    }
    with pytest.raises(error, match=said):
        Workspace.create(tmp_path / "workspace", **paths)
    assert not (tmp_path / "workspace").exists()


def test_an_empty_workspace_changes_its_settings_and_a_filled_one_does_not(tmp_path: Path) -> None:
    Workspace.create(tmp_path, backbone="pixels", batch_size=3).close()
    with Workspace.create(tmp_path, backbone="patches-16-8@64") as workspace:
        assert (workspace.settings.backbone, workspace.settings.batch_size) == ("patches-16-8@64", 3)
    with pytest.raises(EmbeddingError):
        Workspace.create(tmp_path, backbone="nonsense")
    with Workspace.open(tmp_path) as workspace:
        assert workspace.settings.backbone == "patches-16-8@64"
        workspace.catalog.create_set("cohort", Membership.USED)
    with pytest.raises(UsageError, match="holds sets or releases"):
        Workspace.create(tmp_path, backbone="pixels")
    with Workspace.create(tmp_path) as workspace:
        assert workspace.settings.backbone == "patches-16-8@64"
