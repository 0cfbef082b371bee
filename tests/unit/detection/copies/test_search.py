"""Copies and pieces are found with their source and transformation; nothing depends on order, batch or threads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from provenance.detection.copies.found import Found
from provenance.detection.copies.retrieval import sources_of
from provenance.detection.copies.search import rows_of_own_group, search
from provenance.errors import UsageError
from tests.unit.detection.copies.pictures import moved, slices

pytestmark = pytest.mark.slow

REALS = slices(30, 1)
SOURCES = sources_of(REALS)
STRANGERS = search(slices(12, 2), SOURCES)
WHOLE = max(found.agreement for found in STRANGERS)
NOISE = np.random.default_rng(3).normal(0, 8, (64, 64)).astype(np.float32)


@pytest.mark.parametrize(
    ("made", "mirrored", "rotation", "scale"),
    [
        (lambda x: x, False, 0, 1),
        (lambda x: 255 * (x / 255) ** 0.7, False, 0, 1),
        (lambda x: 0.5 * x + 60, False, 0, 1),
        (lambda x: x + NOISE, False, 0, 1),
        (lambda x: gaussian_filter(x, 1), False, 0, 1),
        (lambda x: x[:, ::-1], True, 0, 1),
        (lambda x: moved(x, rotation=6), False, 6, 1),
        (lambda x: moved(x, rotation=-14), False, -14, 1),
        (lambda x: moved(x, scale=1.15), False, 0, 1.15),
        (lambda x: moved(x, down=-6, right=9), False, 0, 1),
        (lambda x: moved(x[:, ::-1], rotation=8, scale=0.92), True, 8, 0.92),
        (lambda x: 0.7 * x + 0.3 * slices(1, 77)[0], False, 0, 1),
    ],
)
def test_a_copy_is_found_with_how_it_was_made(made, mirrored: bool, rotation: float, scale: float) -> None:
    for real in (4, 17):
        (found,) = search(np.ascontiguousarray(made(REALS[real]))[None], SOURCES)
        assert found.matches[0].source == real
        assert found.agreement > WHOLE
        transformation = found.matches[0].transformation
        assert transformation.mirrored is mirrored
        assert transformation.rotation == pytest.approx(rotation, abs=1)
        assert transformation.scale == pytest.approx(scale, abs=0.02)


def test_an_exact_copy_agrees_fully_in_place() -> None:
    (found,) = search(REALS[5:6], SOURCES)
    assert found.agreement == pytest.approx(1, abs=0.01)
    assert str(found.matches[0].transformation) == "in place"
    assert found.share > 0.95
    assert found.margin() is not None
    assert found.margin() > 0.2


def test_shifts_are_shares_of_the_edge_from_source_to_query() -> None:
    (found,) = search(moved(REALS[8], down=-6, right=9)[None], SOURCES)
    transformation = found.matches[0].transformation
    assert transformation.down == pytest.approx(-6 / 64, abs=0.01)
    assert transformation.right == pytest.approx(9 / 64, abs=0.01)
    assert "shifted by +14 % right and -9 % down" in str(transformation)


@pytest.mark.parametrize(("mirrored", "down", "right"), [(False, 0, 0), (True, 0, 0), (False, 6, -9)])
def test_pieces_of_two_sources_are_named_largest_first(mirrored: bool, down: int, right: int) -> None:
    image = slices(1, 50)[0].copy()
    large, small = (REALS[3][:, ::-1] if mirrored else REALS[3]), REALS[11]
    image[:, :38] = 0.9 * np.roll(large, (down, right), (0, 1))[:, :38] + 8
    image[:, 40:] = small[:, 40:]
    (found,) = search(image[None], SOURCES)
    assert [piece.source for piece in found.pieces][:2] == [3, 11]
    first, second = found.pieces[:2]
    assert first.share > second.share > 0.1
    assert first.area < first.share
    assert first.box.left < 0.3 < 0.5 < first.box.right < 0.68
    assert 0.55 < second.box.left < 0.7 < second.box.right
    side = (1 - first.box.right, 1 - first.box.left) if mirrored else (first.box.left, first.box.right)
    expected = [max(0.0, min(1.0, edge - right / 64)) for edge in side]
    assert [first.source_box.left, first.source_box.right] == pytest.approx(expected, abs=0.05)
    assert first.transformation.mirrored is mirrored
    assert first.transformation.down == pytest.approx(down / 64, abs=0.02)
    assert found.agreement < 0.9


def test_strangers_share_no_piece_and_flat_images_nothing() -> None:
    assert max(found.share for found in STRANGERS) < 0.15
    for flat in (np.zeros((64, 64)), np.tile(np.linspace(0, 255, 64), (64, 1))):
        (found,) = search(flat[None].astype(np.float32), SOURCES)
        assert found.pieces == ()
        assert found.agreement < 0.5


def test_air_never_counts_as_a_piece() -> None:
    image = slices(1, 60)[0] * 0
    image[28:36, 28:36] = slices(1, 61)[0][28:36, 28:36]
    (found,) = search(image[None], SOURCES)
    assert found.pieces == ()


def test_nothing_depends_on_order_batch_or_threads_and_progress_counts_queries() -> None:
    seen: list[tuple[int, int]] = []
    queries = np.concatenate([slices(64, 9), moved(REALS[2], rotation=5)[None], REALS[7:8, :, ::-1]])
    found = search(queries, SOURCES, threads=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(64, 66), (66, 66)]
    assert search(queries[-3:], SOURCES) == found[-3:]
    order = np.random.default_rng(0).permutation(len(REALS))
    shuffled = search(queries[-2:], sources_of(REALS[order]))
    assert [order[each.matches[0].source] for each in shuffled] == [2, 7]
    assert [each.agreement for each in shuffled] == [each.agreement for each in found[-2:]]


def test_the_own_group_is_not_looked_at_and_candidates_are() -> None:
    left_out = rows_of_own_group(["a", None], ["b"] * 5 + ["a"] * 3 + [None] * 22)
    assert left_out == [[5, 6, 7], []]
    without, whole = search(REALS[[6, 6]], SOURCES, left_out=left_out)
    assert whole.matches[0].source == 6
    assert not {5, 6, 7} & {match.source for match in without.matches}
    (added,) = search(REALS[6:7], SOURCES, left_out=[[row for row in range(30) if row != 6]], candidates=[[6]])
    assert [match.source for match in added.matches] == [6]
    (nothing,) = search(REALS[6:7], SOURCES, left_out=[list(range(30))])
    assert nothing == Found((), (), 0.0)
    assert nothing.agreement == -1
    assert nothing.margin() is None


def test_the_margin_is_to_another_group() -> None:
    twins = np.concatenate([REALS, REALS[:1] * 0.9])
    (found,) = search(REALS[:1], sources_of(twins))
    assert found.margin() == pytest.approx(0, abs=0.01)
    margin = found.margin(["one"] + [None] * 29 + ["one"])
    assert margin is not None
    assert margin > 0.2


def test_a_larger_edge_works_alike() -> None:
    reals = slices(12, 5, edge=96)
    (found,) = search(moved(reals[3], rotation=4)[None], sources_of(reals))
    assert found.matches[0].source == 3
    assert found.matches[0].transformation.rotation == pytest.approx(4, abs=0.5)
    assert found.agreement > 0.9


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.zeros((2, 64, 32), np.float32), "square"),
        (np.zeros((0, 64, 64), np.float32), "square"),
        (np.zeros((2, 96, 96), np.float32), "an edge of 96"),
        (np.full((1, 64, 64), np.nan, np.float32), "not finite"),
        (np.zeros((1, 60, 60), np.float32), "60 pixels"),
    ],
)
def test_what_is_no_image_is_refused(queries, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        search(queries, SOURCES)


def test_lists_are_one_for_each_query() -> None:
    with pytest.raises(UsageError, match="1 lists for 2 queries"):
        search(REALS[:2], SOURCES, left_out=[[0]])
