"""Rescoring equals math.fsum bit for bit, whatever the numbers, the shape and the order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from provenance.errors import VectorStoreError
from provenance.index import similarities
from provenance.index.rescoring import PartialSums, dot_products, similarities_of_pairs
from tests.vectors import unit

DoubleArray = npt.NDArray[np.float64]
FLOATS32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Products of float32 never come near the limits of float64; sums of a few of these don't overflow either.
FLOATS64 = st.floats(min_value=-1e300, max_value=1e300, allow_nan=False)


def exact_sums(terms: DoubleArray) -> DoubleArray:
    parts = PartialSums(len(terms))
    parts.add(0, terms, np.empty_like(terms))
    return parts.rounded(lambda row: terms[row], terms.shape[1])


def fsums(terms: DoubleArray) -> DoubleArray:
    return np.array([math.fsum(row.tolist()) for row in terms])


def assert_bitwise(found: DoubleArray, wanted: DoubleArray) -> None:
    np.testing.assert_array_equal(found.view(np.int64), wanted.view(np.int64))


@settings(max_examples=300, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=FLOATS64))
def test_sums_equal_fsum(terms: DoubleArray) -> None:
    assert_bitwise(exact_sums(terms), fsums(terms))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 33))
def test_dot_products_equal_fsum_of_the_exact_products(data: st.DataObject, n: int, d: int) -> None:
    a, b = (data.draw(hnp.arrays(np.float32, (n, d), elements=FLOATS32)) for _ in range(2))
    assert_bitwise(dot_products(a, b), fsums(a.astype(np.float64) * b.astype(np.float64)))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-(2**53), 2**53), st.integers(-200, 200)), min_size=1, max_size=24),
    st.lists(st.tuples(st.integers(-3, 3), st.integers(-260, 210)), max_size=6),
    st.randoms(use_true_random=False),
)
def test_cancellations_equal_fsum(
    pairs: list[tuple[int, int]], rests: list[tuple[int, int]], random: st.DataObject
) -> None:
    """Every large term has its negative somewhere; what is left is tiny, or exactly half a gap."""
    large = [math.ldexp(mantissa, exponent) for mantissa, exponent in pairs]
    terms = large + [-term for term in large] + [math.ldexp(mantissa, exponent) for mantissa, exponent in rests]
    random.shuffle(terms)  # type: ignore[attr-defined]
    row = np.array([terms])
    assert_bitwise(exact_sums(row), fsums(row))


@pytest.mark.parametrize(
    "terms",
    [
        [1.0, 2.0**-53],  # exactly half a gap: to even
        [1.0, 2.0**-53, 2.0**-106],  # just above half a gap
        [1.0, 2.0**-53, -(2.0**-106)],  # just below
        [1.0, 2.0**-53, 2.0**-1074],  # above, by the smallest number there is
        [1.0, -(2.0**-54), -(2.0**-107)],  # below a power of two the gap is half as wide
        [1.0, -(2.0**-54)],
        [1.0 + 2.0**-52, 2.0**-53],  # half a gap: to even, upwards
        [1e16, 1.0, -1e16],
        [1e300, 1.0, -1e300, 1e-300],
        [0.0, -0.0, 0.0],
        [2.0**-1074, -(2.0**-1074)],
        [2.0**-1074] * 7,
        [0.1] * 10,
        [5.0],
    ],
)
def test_rounding_boundaries_equal_fsum(terms: list[float]) -> None:
    for row in (terms, terms[::-1]):
        array = np.array([row])
        assert_bitwise(exact_sums(array), fsums(array))


@pytest.mark.parametrize("dimension", [1, 2, 3, 127, 2048, 2049])
def test_unit_vectors_in_blocks_and_near_duplicates(dimension: int) -> None:
    random = np.random.default_rng(dimension)
    a: npt.NDArray[Any] = random.standard_normal((70, dimension))
    b: npt.NDArray[Any] = random.standard_normal((70, dimension))
    b[:30] = a[:30] * (1 + 1e-7 * random.standard_normal((30, dimension)))
    b[30:40] = -a[30:40]
    a, b = (unit(array) for array in (a, b))
    wanted = np.clip(fsums(a.astype(np.float64) * b.astype(np.float64)), -1.0, 1.0)
    assert_bitwise(similarities(a, b), wanted)
    order = random.permutation(70)
    mixed = random.permutation(dimension)
    assert_bitwise(similarities(a[order][:, mixed], b[order][:, mixed]), wanted[order])
    assert_bitwise(np.concatenate([similarities(a[row : row + 1], b[row : row + 1]) for row in range(70)]), wanted)


@pytest.mark.parametrize("dimension", [1, 3, 2048, 40_000])
def test_pairs_equal_the_rows_they_point_to(dimension: int) -> None:
    random = np.random.default_rng(dimension)
    a, b = (random.standard_normal((count, dimension)).astype(np.float32) for count in (7, 11))
    a_rows, b_rows = random.integers(0, 7, 50), random.integers(0, 11, 50)
    assert_bitwise(similarities_of_pairs(a, a_rows, b, b_rows), similarities(a[a_rows], b[b_rows]))
    assert similarities_of_pairs(a, a_rows[:0], b, b_rows[:0]).shape == (0,)
    with pytest.raises(VectorStoreError):
        similarities_of_pairs(a, a_rows[:3], b, b_rows)
    with pytest.raises(VectorStoreError):
        similarities_of_pairs(a, a_rows, b[:, 1:], b_rows)


def test_almost_no_unit_vector_needs_the_slow_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    one, other = (random.standard_normal((2000, 512)) for _ in range(2))
    a, b = unit(one), unit(one + other)
    wanted = fsums(a.astype(np.float64) * b.astype(np.float64))
    calls: list[int] = []
    fsum = math.fsum
    monkeypatch.setattr(math, "fsum", lambda terms: (calls.append(1), fsum(terms))[1])
    assert_bitwise(dot_products(a, b), wanted)
    assert len(calls) < 3


def test_no_rows_and_no_columns() -> None:
    assert similarities(np.zeros((0, 5), np.float32), np.zeros((0, 5), np.float32)).shape == (0,)
    assert exact_sums(np.zeros((3, 0))).tolist() == [0.0, 0.0, 0.0]


def test_what_can_not_be_compared_is_refused() -> None:
    good = np.ones((2, 3), dtype=np.float32)
    for bad in (
        good[:1],
        good.astype(np.float64),
        np.full((2, 3), np.nan, np.float32),
        np.full((2, 3), np.inf, np.float32),
    ):
        with pytest.raises(VectorStoreError):
            similarities(good, bad)  # type: ignore[arg-type]
