"""Perceptual hashes: kept by kind, and gone with the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from provenance.catalog import Catalog
    from tests.unit.catalog.conftest import Stage


def rows(catalog: Catalog) -> int:
    with catalog._engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM perceptual_hashes")).scalar_one())


def test_hashes_come_back_by_kind(stage: Stage) -> None:
    stage.record([stage.image(1), stage.image(2)])
    one, two = stage.key(1), stage.key(2)
    stage.catalog.record_perceptual_hashes("p-1", {one: "00ff00ff00ff00ff", two: "ffffffffffffffff"})
    stage.catalog.record_perceptual_hashes("p-2", {one: "0000000000000001"})
    assert stage.catalog.perceptual_hashes("p-1", [two, one, "nobody"]) == {
        one: "00ff00ff00ff00ff",
        two: "ffffffffffffffff",
    }
    assert stage.catalog.perceptual_hashes("p-2", [one, two]) == {one: "0000000000000001"}
    assert stage.catalog.perceptual_hashes("p-1", []) == {}


def test_a_known_hash_stays_and_unknown_images_get_none(stage: Stage) -> None:
    stage.record([stage.image(1)])
    key = stage.key(1)
    stage.catalog.record_perceptual_hashes("p", {key: "aa"})
    stage.catalog.record_perceptual_hashes("p", {key: "bb", "nobody": "cc"})
    assert stage.catalog.perceptual_hashes("p", [key, "nobody"]) == {key: "aa"}
    assert rows(stage.catalog) == 1


def test_pixel_digests(stage: Stage) -> None:
    stage.record([stage.image(1)])
    key = stage.key(1)
    assert stage.catalog.pixel_digests([key, "nobody"]) == {key: stage.facts(1).pixel_digest}


def test_forgotten_images_lose_their_hashes_and_get_none_again(stage: Stage) -> None:
    stage.record([stage.image(1), stage.image(2)])
    one, two = stage.key(1), stage.key(2)
    stage.catalog.record_perceptual_hashes("p", {one: "aa", two: "bb"})
    stage.catalog.forget_image(one)
    stage.catalog.record_perceptual_hashes("q", {one: "aa"})
    stage.catalog.finish_forget(one)
    stage.catalog.record_perceptual_hashes("p", {one: "aa"})
    assert stage.catalog.perceptual_hashes("p", [one, two]) == {two: "bb"}
    assert stage.catalog.pixel_digests([one]) == {}
    assert rows(stage.catalog) == 1


def test_hashes_go_with_the_last_dataset_that_needs_the_image(stage: Stage) -> None:
    stage.record([stage.image(1), stage.image(2)])
    stage.record([stage.image(2)], release=True)
    one, two = stage.key(1), stage.key(2)
    stage.catalog.record_perceptual_hashes("p", {one: "aa", two: "bb"})
    stage.catalog.remove_dataset(stage.dataset.dataset_id)
    assert stage.catalog.perceptual_hashes("p", [one, two]) == {two: "bb"}
