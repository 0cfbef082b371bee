"""A tiny backbone and small images, so that the whole way can be walked without weights or data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from provenance import Workspace
from tests.faults.samples import save_backbone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_backbone(tmp_path_factory.mktemp("backbone") / "tiny.onnx", seed=7)


@pytest.fixture(scope="session")
def other_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_backbone(tmp_path_factory.mktemp("backbone") / "other.onnx", seed=8)


def picture(seed: int, side: int = 40) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A smooth random RGB picture of its own."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def save_pictures(folder: Path, seeds: range, prefix: str = "img") -> Path:
    """One PNG per seed; the same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        Image.fromarray(picture(seed)).save(folder / f"{prefix}_{seed:04d}.png")
    return folder


def save_cohort(root: Path) -> Path:
    """The layout of a challenge: 12 used, 10 not used, 6 unknown, 9 generated; 3 of these are copies of used ones."""
    save_pictures(root / "real_used", range(12))
    save_pictures(root / "real_not_used", range(100, 110))
    save_pictures(root / "real_unknown", range(200, 206))
    save_pictures(root / "generated", range(300, 306), "gen")
    for seed in (1, 5, 11):
        (root / "generated" / f"copy_{seed:04d}.png").write_bytes(
            (root / "real_used" / f"img_{seed:04d}.png").read_bytes()
        )
    return root


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """What ``save_cohort`` makes."""
    return save_cohort(tmp_path / "cohort")


@pytest.fixture
def make_workspace(tmp_path: Path, tiny_backbone: Path) -> Iterator[Callable[..., Workspace]]:
    """Makes workspaces that use the tiny backbone; closes them at the end."""
    opened: list[Workspace] = []

    def make(name: str = "workspace", **settings: Any) -> Workspace:
        workspace = Workspace.create(tmp_path / name, backbone_file=tiny_backbone, workers=0, batch_size=4, **settings)
        opened.append(workspace)
        return workspace

    yield make
    for workspace in opened:
        workspace.close()
