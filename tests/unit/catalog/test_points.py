"""Points as reconcile, embed and the index see them; whole copies of a catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provenance.catalog import Catalog, require_empty, restore_from_file, transfer
from provenance.errors import CatalogError, ConflictError
from provenance.vocabulary import PointState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Table

    from tests.unit.catalog.conftest import Stage


def test_points_by_id_and_what_the_index_keeps_beside_them(stage: Stage) -> None:
    stage.record([stage.image(1, group="Jane Doe"), stage.image(2)])
    stage.record([stage.image(1)], release=True)  # the same image without a group there
    ids = [stage.image(number).point_id for number in (1, 2, 3)]
    found = stage.catalog.points_by_id(stage.collection, ids)
    assert {point: record.state for point, record in found.items()} == dict.fromkeys(ids[:2], PointState.INDEXED)
    facts = stage.catalog.point_facts(stage.collection, ids)
    assert facts[ids[0]].group_key == stage.catalog.pseudonym("Jane Doe")
    assert facts[ids[0]].vector_sha256 == stage.image(1).vector_sha256
    assert (facts[ids[1]].image_key, facts[ids[1]].group_key) == (stage.key(2), None)
    assert stage.catalog.point_facts(stage.release_collection, ids)[ids[0]].group_key is None


def test_without_vector_are_those_that_nobody_acknowledged_in_the_order_they_were_found(stage: Stage) -> None:
    stage.record([stage.image(number) for number in (1, 2)])
    stage.record([stage.image(number) for number in (9, 3, 4)], acknowledge=False)
    stage.catalog.drop_pending(stage.collection, [stage.image(4).point_id])
    stage.catalog.forget_image(stage.key(3))
    dataset_id = stage.dataset.dataset_id
    lacking = stage.catalog.without_vector(dataset_id, stage.collection)
    assert {image_id for image_id, _ in lacking} == {stage.facts(9).image_id, stage.facts(4).image_id}
    everything = [image_id for image_id, _ in stage.catalog.without_vector(dataset_id, stage.release_collection)]
    assert set(everything[:2]) == {stage.facts(1).image_id, stage.facts(2).image_id}
    assert stage.catalog.member_count(dataset_id) == 4


def test_a_copy_is_of_one_moment_though_others_write(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.record([stage.image(number) for number in range(5)])
    tables = transfer._tables

    def written_to_meanwhile() -> Iterator[Table]:
        for number, table in enumerate(tables()):
            if number == 3:
                stage.record([stage.image(100)])
            yield table

    monkeypatch.setattr(transfer, "_tables", written_to_meanwhile)
    stage.catalog.copy_to(tmp_path / "copy")
    monkeypatch.undo()
    with Catalog.open(f"sqlite:///{tmp_path / 'copy'}") as copy:
        assert copy.member_count(stage.dataset.dataset_id) == 5
        assert len(list(copy.points_of(stage.collection))) == 5
        assert {m.image_id for m in copy.members(stage.dataset.dataset_id, stage.collection)} == {
            stage.facts(number).image_id for number in range(5)
        }


def test_a_copy_goes_into_an_empty_database_only(stage: Stage, tmp_path: Path, catalog_url: str) -> None:
    stage.record([stage.image(1)])
    stage.catalog.copy_to(tmp_path / "copy")
    with pytest.raises(ConflictError, match="is not empty"):
        restore_from_file(catalog_url, tmp_path / "copy")
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    require_empty(url)
    restore_from_file(url, tmp_path / "copy")
    with Catalog.open(url) as restored:
        assert restored.catalog_uuid == stage.catalog.catalog_uuid
        assert restored.member_count(stage.dataset.dataset_id) == 1
        restored.bind_store("a new index")
    with pytest.raises(ConflictError):
        require_empty(url)


def test_a_damaged_copy_is_refused(stage: Stage, tmp_path: Path) -> None:
    stage.record([stage.image(number) for number in range(300)])
    stage.catalog.copy_to(tmp_path / "copy")
    content = bytearray((tmp_path / "copy").read_bytes())
    content[20_000:60_000] = b"\xff" * 40_000
    (tmp_path / "copy").write_bytes(content)
    with pytest.raises(CatalogError, match="damaged"):
        restore_from_file(f"sqlite:///{tmp_path / 'new.sqlite'}", tmp_path / "copy")
    require_empty(f"sqlite:///{tmp_path / 'new.sqlite'}")
