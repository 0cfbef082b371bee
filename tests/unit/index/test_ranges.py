"""All pairs from a similarity on, against every pair computed one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from provenance.errors import VectorStoreError
from provenance.index import pairs_in_file
from tests.vectors import unit

Array = np.ndarray[Any, Any]


def unit_vectors(count: int, dimension: int, seed: int) -> Array:
    return unit(np.random.default_rng(seed).standard_normal((count, 1, dimension)))


def cosine(a: Array, b: Array) -> float:
    exact = math.fsum(float(x) * float(y) for x, y in zip(a[0], b[0], strict=True))
    return min(1.0, max(-1.0, exact))


def found(left: Array, right: Array | None, least: float, block: int) -> dict[tuple[int, int], float]:
    pairs = {}
    for a, b, similarity in pairs_in_file(left, right, least, block=block):
        for key, value in zip(zip(a.tolist(), b.tolist(), strict=True), similarity.tolist(), strict=True):
            assert key not in pairs
            pairs[key] = value
    return pairs


@pytest.mark.parametrize("block", [1, 7, 64])
@pytest.mark.parametrize("least", [-1.0, 0.0, 0.35, 0.999999])
def test_pairs_within_equal_every_pair_computed_alone(block: int, least: float) -> None:
    vectors = unit_vectors(30, 12, seed=1)
    vectors[20] = vectors[3]
    every = {(i, j): cosine(vectors[i], vectors[j]) for i in range(30) for j in range(i + 1, 30)}
    assert found(vectors, None, least, block) == {key: value for key, value in every.items() if value >= least}


@pytest.mark.parametrize("block", [1, 7, 64])
def test_pairs_across_equal_every_pair_computed_alone(block: int) -> None:
    left, right = unit_vectors(20, 12, seed=2), unit_vectors(9, 12, seed=3)
    right[4] = left[17]
    every = {(i, j): cosine(left[i], right[j]) for i in range(20) for j in range(9)}
    assert found(left, right, 0.3, block) == {key: value for key, value in every.items() if value >= 0.3}


def test_a_similarity_equal_to_the_limit_is_in_and_the_next_greater_limit_leaves_it_out() -> None:
    vectors = unit_vectors(2, 40, seed=4)
    limit = cosine(vectors[0], vectors[1])
    assert found(vectors, None, limit, 8) == {(0, 1): limit}
    assert found(vectors, None, math.nextafter(limit, 2.0), 8) == {}


def test_nothing_in_nothing() -> None:
    assert list(pairs_in_file(unit_vectors(0, 4, 0), None, 0.5)) == []
    assert list(pairs_in_file(unit_vectors(3, 4, 0), unit_vectors(0, 4, 0), 0.5)) == []


@pytest.mark.parametrize("least", [math.nan, 1.1, -1.1])
def test_a_limit_that_is_no_cosine(least: float) -> None:
    with pytest.raises(VectorStoreError, match="no search for similarities"):
        list(pairs_in_file(unit_vectors(2, 4, 0), None, least))


def test_vectors_that_do_not_fit() -> None:
    with pytest.raises(VectorStoreError, match="of 4 and of 5 numbers"):
        list(pairs_in_file(unit_vectors(2, 4, 0), unit_vectors(2, 5, 0), 0.5))
    with pytest.raises(VectorStoreError, match=r"float32 \(n, 1, d\)"):
        list(pairs_in_file(unit_vectors(2, 4, 0)[:, 0], None, 0.5))
    broken = unit_vectors(2, 4, 0)
    broken[1, 0, 2] = np.nan
    with pytest.raises(VectorStoreError, match="NaN"):
        list(pairs_in_file(broken, None, 0.5))
