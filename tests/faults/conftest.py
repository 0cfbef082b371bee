"""Small images, a tiny backbone that loads at once, and children to run commands in."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# The modules beside this file go by their plain names, here and in the longer run among the benchmarks.
sys.path.append(str(Path(__file__).parent))

from children import Children
from kept import copied
from killing import Undisturbed, make_workspace, undisturbed
from samples import save_backbone, save_cohort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_backbone(tmp_path_factory.mktemp("backbone") / "tiny.onnx")


@pytest.fixture(scope="session")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    children = Children(tmp_path_factory.mktemp("output"))
    yield children
    children.close()


@pytest.fixture(scope="session")
def peace(tmp_path_factory: pytest.TempPathFactory, children: Children, backbone: Path) -> Undisturbed:
    """What commands leave that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return undisturbed(children, folder, backbone, save_cohort(folder / "images"))


@pytest.fixture(scope="session")
def empty_workspace(tmp_path_factory: pytest.TempPathFactory, children: Children, backbone: Path) -> Path:
    """A workspace to copy."""
    return make_workspace(children, tmp_path_factory.mktemp("empty") / "workspace", backbone, batch_size=4)


@pytest.fixture
def workspace(empty_workspace: Path, tmp_path: Path) -> Path:
    """A workspace of its own, with the tiny backbone, batches of four, and nothing in it."""
    return copied(empty_workspace, tmp_path / "workspace")


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """24 used, 12 not used, 16 generated."""
    return save_cohort(tmp_path / "cohort")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a file system of a given size (``tmpfs``), which needs root."""
    mounted: list[Path] = []

    def make(size: str) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a small file system can be mounted by root only")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)
