"""Moments against all pairs visited one by one; the cache against its watermark."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from provenance.errors import VectorStoreError
from provenance.index import Moments, MomentsCache, direct_pairwise, needs_direct, pairwise, vector_digest
from tests.vectors import unit

if TYPE_CHECKING:
    from pathlib import Path

FloatArray = npt.NDArray[np.float32]
DIMENSION = 48


def vectors(count: int, seed: int, *, spread: float = 1.0, dimension: int = DIMENSION) -> FloatArray:
    random = np.random.default_rng(seed)
    return unit(np.ones(dimension) + spread * random.standard_normal((count, dimension)))[:, None]


def all_pairs(a: FloatArray, b: FloatArray) -> tuple[float, float]:
    """Mean and sigma, every cosine and every sum by math.fsum."""
    doubles = b[:, 0].astype(np.float64)
    cosines = [math.fsum((x * y).tolist()) for x in a[:, 0].astype(np.float64) for y in doubles]
    mean = math.fsum(cosines) / len(cosines)
    return mean, math.sqrt(math.fsum((c - mean) ** 2 for c in cosines) / len(cosines))


def assert_equal_moments(found: Moments, wanted: Moments) -> None:
    assert found.n == wanted.n
    np.testing.assert_allclose(found.s, wanted.s, atol=1e-11)
    np.testing.assert_allclose(found.gram, wanted.gram, atol=1e-11)


@pytest.mark.parametrize("spread", [3.0, 1.0, 0.1, 0.02])
def test_pairwise_equals_all_pairs_within_1e9(spread: float) -> None:
    a, b = vectors(150, 1, spread=spread), vectors(90, 2, spread=spread)
    mean, variance = pairwise(Moments.from_vectors(a), Moments.from_vectors(b))
    wanted = all_pairs(a, b)
    assert abs(mean - wanted[0]) < 1e-12
    assert abs(math.sqrt(variance) - wanted[1]) < 1e-9
    direct = direct_pairwise(a, b)
    assert abs(direct[0] - wanted[0]) < 1e-13
    assert abs(direct[1] - wanted[1]) < 1e-13


def test_more_than_one_block() -> None:
    a, b = vectors(2300, 3, dimension=16), vectors(1100, 4, dimension=16)
    mean, variance = pairwise(Moments.from_vectors(a), Moments.from_vectors(b))
    cosines = a[:, 0].astype(np.float64) @ b[:, 0].astype(np.float64).T
    for found in ((mean, math.sqrt(variance)), direct_pairwise(a, b)):
        np.testing.assert_allclose(found, (cosines.mean(), cosines.std()), atol=1e-12)


def test_a_collection_with_itself_and_identical_vectors() -> None:
    a = vectors(30, 5)
    np.testing.assert_allclose(direct_pairwise(a, a), all_pairs(a, a), atol=1e-14)
    same = np.repeat(a[:1], 20, axis=0)
    mean, variance = pairwise(Moments.from_vectors(same), Moments.from_vectors(same))
    assert needs_direct(mean, variance)
    mean, sigma = direct_pairwise(same, same)
    assert sigma < 1e-15
    assert abs(mean - 1.0) < 1e-7


def test_tiny_spread_is_left_to_the_direct_way() -> None:
    a, b = vectors(40, 6, spread=1e-4), vectors(40, 7, spread=1e-4)
    mean, variance = pairwise(Moments.from_vectors(a), Moments.from_vectors(b))
    assert needs_direct(mean, variance)
    np.testing.assert_allclose(direct_pairwise(a, b), all_pairs(a, b), atol=1e-13)


def test_rounding_boundaries_are_seen() -> None:
    assert not needs_direct(0.123456789, 0.25)
    assert needs_direct(0.1234567885, 0.25)
    assert needs_direct(-0.1234567885, 0.25)
    assert needs_direct(0.1, 0.1234567885**2)
    assert not needs_direct(0.1, 0.12345678849**2)
    assert needs_direct(0.1, 0.99e-8)


def test_add_remove_combine_minus() -> None:
    a, b, c = vectors(50, 8), vectors(20, 9), vectors(5, 10)
    everything = Moments.from_vectors(np.concatenate([a, b, c]))
    grown = Moments.from_vectors(a)
    grown.add(b)
    grown.add(c[:, 0])
    assert_equal_moments(grown, everything)
    assert_equal_moments(Moments.from_vectors(a).combined(Moments.from_vectors(np.concatenate([b, c]))), everything)
    grown.remove(b)
    assert_equal_moments(grown, Moments.from_vectors(np.concatenate([a, c])))
    assert_equal_moments(everything.minus(Moments.from_vectors(c)), Moments.from_vectors(np.concatenate([a, b])))
    grown.remove(np.concatenate([a, c]))
    assert grown.n == 0
    assert not grown.s.any()
    assert not grown.gram.any()
    with pytest.raises(VectorStoreError):
        grown.remove(a[:1])


def test_shared_members_count_once() -> None:
    a, shared, b = vectors(30, 11), vectors(10, 12), vectors(20, 13)
    first, second = (Moments.from_vectors(np.concatenate([own, shared])) for own in (a, b))
    union = first.combined(second).minus(Moments.from_vectors(shared))
    release = vectors(15, 14)
    mean, variance = pairwise(Moments.from_vectors(release), union)
    np.testing.assert_allclose(
        (mean, math.sqrt(variance)), all_pairs(release, np.concatenate([a, shared, b])), atol=1e-9
    )


def test_what_has_no_pairs_is_an_error() -> None:
    some = Moments.from_vectors(vectors(3, 15))
    with pytest.raises(VectorStoreError, match="empty"):
        pairwise(some, Moments.zero(DIMENSION))
    with pytest.raises(VectorStoreError, match="empty"):
        direct_pairwise(vectors(3, 15), vectors(0, 15))
    with pytest.raises(VectorStoreError, match="dimension"):
        pairwise(some, Moments.zero(DIMENSION + 1))
    with pytest.raises(VectorStoreError, match="dimension"):
        some.add(vectors(3, 15, dimension=DIMENSION + 1))
    with pytest.raises(VectorStoreError, match="whole-image"):
        some.add(np.zeros((3, 2, DIMENSION), dtype=np.float32))


class Shelf:
    """Members by number, and a record of what the cache asked for."""

    def __init__(self, folder: Path) -> None:
        self.vectors = vectors(60, 16)
        self.members = [(f"point-{row}", vector_digest(vector)) for row, vector in enumerate(self.vectors)]
        self.asked: list[str] = []
        self.folder = folder

    def fetch(self, ids: list[str]) -> FloatArray:
        self.asked += ids
        return self.vectors[[int(point.split("-")[1]) for point in ids]]

    def moments(self, rows: list[int]) -> Moments:
        """Always by a new cache: what counts is the file."""
        self.asked.clear()
        cache = MomentsCache(self.folder)
        return cache.for_members("key", [self.members[row] for row in rows], self.fetch, dimension=DIMENSION)

    def assert_right(self, rows: list[int], asked: int) -> None:
        assert_equal_moments(self.moments(rows), Moments.from_vectors(self.vectors[rows]))
        assert len(self.asked) == asked


def test_the_cache_asks_only_for_what_is_new(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "moments")
    shelf.assert_right([], 0)
    shelf.assert_right([0, 1, 2], 3)
    shelf.assert_right([2, 0, 1], 0)
    shelf.assert_right(list(range(40)), 37)
    shelf.assert_right(list(range(39)), 39)  # one is gone, its vector unknown: made anew
    shelf.assert_right(list(range(39)), 0)
    assert [file.name for file in shelf.folder.iterdir()] == ["key.moments"]


def test_a_forgotten_member_leaves_the_file_at_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.moments(list(range(10)))
    cache = MomentsCache(tmp_path)
    cache.forget("key", *shelf.members[4], shelf.vectors[4])
    cache.forget("key", *shelf.members[4], shelf.vectors[4])  # again: nothing
    cache.forget("key", *shelf.members[30], shelf.vectors[30])  # never was in
    cache.forget("other", *shelf.members[30], shelf.vectors[30])
    shelf.assert_right([0, 1, 2, 3, 5, 6, 7, 8, 9], 0)
    shelf.assert_right(list(range(10)), 1)
    cache.forget("key", *shelf.members[4], shelf.vectors[5])  # the store holds another vector: it can't be taken out
    assert list(tmp_path.iterdir()) == []
    shelf.moments(list(range(10)))
    cache.drop("key")
    cache.drop("key")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seen", [True, False])
def test_moments_of_a_member_that_is_forgotten_meanwhile_are_not_kept(tmp_path: Path, seen: bool) -> None:
    """By a server, which both may ask: the forgetting was on record before they were written, or is done since."""
    shelf, forgotten = Shelf(tmp_path), []

    def is_current() -> bool:
        if not seen:
            MomentsCache(tmp_path).forget("key", *shelf.members[4], shelf.vectors[4])
        forgotten.append(4)
        return not seen

    found = MomentsCache(tmp_path).for_members(
        "key", shelf.members[:10], shelf.fetch, dimension=DIMENSION, is_current=is_current
    )
    assert_equal_moments(found, Moments.from_vectors(shelf.vectors[:10]))
    assert (forgotten, list(tmp_path.iterdir())) == ([4], [])


def test_another_vector_under_the_same_id_is_another_member(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.moments([0, 1])
    shelf.vectors[1] = shelf.vectors[50]
    shelf.members[1] = ("point-1", vector_digest(shelf.vectors[1]))
    shelf.assert_right([0, 1], 2)


@pytest.mark.parametrize("damage", ["cut", "bit", "text", "empty"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    shelf = Shelf(tmp_path)
    shelf.moments(list(range(10)))
    file = tmp_path / "key.moments"
    content = file.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    file.write_bytes(
        {"cut": content[:-100], "bit": bytes(flipped), "text": b"not what was written", "empty": b""}[damage]
    )
    shelf.assert_right(list(range(10)), 10)


def test_a_file_of_another_dimension_is_made_anew(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.moments([0, 1, 2])
    small = vectors(3, 17, dimension=5)
    members = shelf.members[:3]
    found = MomentsCache(tmp_path).for_members("key", members, lambda ids: small[: len(ids)], dimension=5)
    assert_equal_moments(found, Moments.from_vectors(small))


def test_cost_does_not_grow_with_the_collection() -> None:
    """The same arrays, the same sizes, for ten vectors or a million: there is nothing that could grow."""
    few, many = Moments.from_vectors(vectors(10, 18)), Moments.from_vectors(vectors(5000, 19))
    assert (few.s.shape, few.gram.shape) == (many.s.shape, many.gram.shape)
