"""A catalog that may only be read: what a mount, a folder or a file without leave to write still gives."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from provenance.catalog import Catalog
from provenance.errors import CatalogError
from provenance.vocabulary import DatasetKind, Membership

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A catalog with one set, in a folder whose name is no part of a URL."""
    folder = tmp_path / "what?mode=rw&%41#b"
    folder.mkdir()
    with Catalog.open(folder / "catalog", create=True) as catalog:
        catalog.create_set("first", Membership.USED)
    return folder / "catalog"


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on nobody may write (root may everywhere: it is asked for, not tried)."""
    return lambda: monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)


def names(place: Path) -> list[str]:
    with Catalog.open(place, create=True) as catalog:
        assert catalog.is_read_only
        return sorted(each.name for each in catalog.datasets(DatasetKind.SET))


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir()}


def test_all_is_read_and_nothing_is_written_or_made(place: Path, forbid: Callable[[], None], tmp_path: Path) -> None:
    forbid()
    before = files(place.parent)
    assert list(before) == ["catalog"]
    with Catalog.open(place) as catalog:
        assert catalog.dataset("first").name == "first"
        for write in (lambda: catalog.create_set("second", Membership.USED), catalog.require_writable):
            with pytest.raises(CatalogError, match=r"the workspace is read-only: .*catalog") as error:
                write()
            assert error.value.hint
        catalog.copy_to(tmp_path / "copy")
    assert names(tmp_path / "copy") == names(place) == ["first"]
    assert files(place.parent) == before


def test_what_a_writer_has_committed_is_seen_while_it_goes_on(place: Path, forbid: Callable[[], None]) -> None:
    with Catalog.open(place) as writer:
        writer.create_set("second", Membership.USED)
        forbid()
        assert place.with_name("catalog-wal").stat().st_size
        assert names(place) == ["first", "second"]


def test_the_log_of_a_killed_writer_is_read_in_a_copy(place: Path, forbid: Callable[[], None], tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    with Catalog.open(place) as writer:
        writer.create_set("second", Membership.USED)
        for name in ("catalog", "catalog-wal"):
            shutil.copyfile(place.with_name(name), left / name)
    forbid()
    before = files(left)
    assert names(left / "catalog") == ["first", "second"]
    assert files(left) == before
