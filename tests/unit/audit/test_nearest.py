"""Neighbors by parts against plain NumPy: the mean of the cosines of the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from provenance.audit import nearest
from provenance.audit.nearest import nearest_by_parts, nearest_of_other_groups, rounded_neighbors
from tests.vectors import unit


@pytest.fixture
def world():
    rng = np.random.default_rng(2)
    return unit(rng.normal(size=(150, 5, 7))), unit(rng.normal(size=(210, 5, 7)))


def _mean_cosines(queries, references):
    return np.einsum("ipd,jpd->ij", queries.astype(float), references.astype(float)) / queries.shape[1]


@pytest.mark.parametrize("block", [nearest.BLOCK_NUMBERS, 1])
def test_neighbors_are_by_the_mean_of_the_parts(world, monkeypatch, block):
    monkeypatch.setattr(nearest, "BLOCK_NUMBERS", block)  # 1: blocks of 64
    cosines = _mean_cosines(*world)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :9]
    for rows, similarities in (nearest_by_parts(*world, 9), rounded_neighbors(*world, 9)):
        assert np.array_equal(rows, order)
        assert np.allclose(similarities, np.take_along_axis(cosines, order, 1), atol=2e-6)


def test_fewer_references_than_asked_for(world):
    queries, references = world[0], world[1][:3]
    rows, similarities = nearest_by_parts(queries, references, 5)
    assert (rows[:, 3:] == -1).all()
    assert np.isnan(similarities[:, 3:]).all()
    assert rounded_neighbors(queries, references, 5)[0].shape == (150, 3)


@pytest.mark.parametrize("exact", [True, False])
def test_the_own_group_is_left_out(world, exact):
    queries = world[0]
    codes = np.arange(150) // 4
    search = nearest_of_other_groups if exact else rounded_neighbors
    rows, similarities = search(queries, queries, 3, codes, codes)
    assert (codes[rows] != codes[:, None]).all()
    cosines = _mean_cosines(queries, queries)
    cosines[codes[:, None] == codes[None, :]] = -1
    assert np.allclose(similarities[:, 0], cosines.max(axis=1), atol=2e-6)
