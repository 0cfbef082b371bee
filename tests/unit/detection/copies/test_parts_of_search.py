"""The parts that the search is made of, held against plain formulae and scipy's filters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter

from provenance.detection.copies.geometry import MIRROR, sampled, sampling, similarity
from provenance.detection.copies.pieces import within
from provenance.detection.copies.registration import piece_starts
from provenance.detection.copies.retrieval import (
    PLACES,
    REACH,
    TENTH,
    prepared,
    sources_of,
    votes,
    window_descriptors,
)
from provenance.detection.copies.structure import box_mean, smoothed
from tests.unit.detection.copies.pictures import moved, slices

RNG = np.random.default_rng(5)
IMAGES = RNG.normal(size=(4, 64, 64)).astype(np.float32)
MATRICES = np.stack([np.eye(2), MIRROR, similarity(-9, 1.2, mirrored=False), similarity(12, 0.8, mirrored=True)])
SHIFTS = np.array([[0, 0], [5, -30], [3.25, -8.5], [-11.7, 2.2]])


def places(edge: int = 64) -> np.ndarray:
    """(4, 2, edge, edge): row and column of A y + t."""
    axis = np.arange(edge) - (edge - 1) / 2
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"))
    return np.einsum("nij,jkl->nikl", MATRICES, grid) + SHIFTS[:, :, None, None] + (edge - 1) / 2


def test_images_are_sampled_bilinearly_and_hold_their_rim() -> None:
    values, inside = sampled(IMAGES, MATRICES, SHIFTS)
    expected = [map_coordinates(image, at, order=1, mode="nearest") for image, at in zip(IMAGES, places(), strict=True)]
    assert values.dtype == np.float32
    assert_allclose(values, expected, atol=1e-4)
    assert_array_equal(inside, ((places() > -0.5) & (places() < 63.5)).all(axis=1))
    few = sampling(64, MATRICES, SHIFTS, step=2)
    assert_array_equal(few.of(IMAGES), values[:, ::2, ::2])
    assert_array_equal(few.inside, inside[:, ::2, ::2])


@pytest.mark.parametrize("edge", [64, 96])
def test_products_filter_as_scipy_does(edge: int) -> None:
    images = RNG.normal(size=(3, edge, edge)).astype(np.float32)
    for sigma in (0.8, 4.0):
        expected = gaussian_filter(images, (0, sigma, sigma), mode="nearest", truncate=3.0)
        assert_allclose(smoothed(images, sigma), expected, atol=1e-5)
    for window in (5, 13):
        assert_allclose(
            box_mean(images, window), uniform_filter(images, (1, window, window), mode="nearest"), atol=1e-5
        )


def test_the_corners_of_a_window_tell_whether_it_lies_inside() -> None:
    inside = sampling(64, MATRICES, SHIFTS).inside
    for window in (5, 13):
        whole = uniform_filter(inside.astype(float), (1, window, window), mode="nearest") > 1 - 1e-9
        assert_array_equal(within(inside, window), whole)


def test_votes_are_what_windows_exceed_the_tenth_best_by() -> None:
    reals = slices(180, 6)
    sources, query = sources_of(reals), prepared(reals[7:8] + RNG.normal(0, 20, (64, 64)).astype(np.float32)).coarse
    plain = _votes_of_one_view(query, sources_of(reals).windows[:, :, :180])
    (found,) = votes(query, sources)
    assert sources.rows[found[0].argmax()] == 7
    assert (found[0] >= plain - 1e-3).all()
    most = plain.argmax()
    assert found[0, most] == pytest.approx(plain[most], rel=1e-3)
    assert (found[0] == 0).sum() < 180 - TENTH
    mirrored = votes(np.ascontiguousarray(query[:, :, ::-1]), sources)[0]
    assert_allclose(mirrored[::-1], found, atol=2e-4)


def _votes_of_one_view(query: np.ndarray, windows: np.ndarray) -> np.ndarray:
    # The sum in retrieval.py, of the query as it is.
    descriptors, structured = window_descriptors(query)
    side, total = len(PLACES), np.zeros(windows.shape[2])
    rows, columns = np.divmod(np.arange(side**2), side)
    for here in np.flatnonzero(structured[0]):
        near = (abs(rows - rows[here]) <= REACH) & (abs(columns - columns[here]) <= REACH)
        best = np.einsum("k,wkm->wm", descriptors[0, here], windows[near]).max(axis=0)
        fisher = np.arctanh(np.clip(best, 0, 0.99))
        total += np.maximum(fisher - np.sort(fisher)[-TENTH], 0)
    return total


def test_windows_that_move_together_tell_the_step_and_the_region() -> None:
    reals = slices(5, 8)
    sources = sources_of(reals)
    rows = np.flatnonzero(sources.rows == 2)
    image = slices(1, 9)[0]
    image[:, :36] = moved(reals[2], down=12, right=6)[:, :36]
    query = prepared(image[None]).coarse[0]
    for view, mirrored in ((query, False), (np.ascontiguousarray(query[:, ::-1]), True)):
        starts = piece_starts(view, sources, rows, np.array([mirrored]))
        assert starts.shifts[0].tolist() == [-6, -3]
        weights = starts.weights[0, :, ::-1] if mirrored else starts.weights[0]
        assert weights[10:28, 6:14].min() > 0.5 > 0.1 > weights[:, 24:].mean()
        assert not starts.turning.any()
