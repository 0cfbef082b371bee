"""Pairs of close hashes, against every pair counted one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from provenance.duplicates.pairs import hamming_pairs

Hashes = np.ndarray[Any, np.dtype[np.uint64]]


def hashes(count: int, seed: int) -> Hashes:
    """Every fifth is within a few bits of the one before."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 2**64, count, dtype=np.uint64)
    for row in range(5, count, 5):
        drawn[row] = drawn[row - 1] ^ np.uint64(rng.integers(0, 2**row % (2**63)))
    return drawn


def found(left: Hashes, right: Hashes | None, most: int, block: int) -> dict[tuple[int, int], int]:
    pairs = {}
    for a, b, bits in hamming_pairs(left, right, most, block=block):
        for key, value in zip(zip(a.tolist(), b.tolist(), strict=True), bits.tolist(), strict=True):
            assert key not in pairs
            pairs[key] = value
    return pairs


@pytest.mark.parametrize("block", [1, 6, 100])
@pytest.mark.parametrize("most", [0, 4, 30, 64])
def test_pairs_within(block: int, most: int) -> None:
    drawn = hashes(40, seed=1)
    bits = {(i, j): (int(drawn[i]) ^ int(drawn[j])).bit_count() for i in range(40) for j in range(i + 1, 40)}
    assert found(drawn, None, most, block) == {key: value for key, value in bits.items() if value <= most}


@pytest.mark.parametrize("block", [1, 6, 100])
def test_pairs_across(block: int) -> None:
    left, right = hashes(30, seed=2), hashes(30, seed=2)[7:19] ^ np.uint64(1)
    bits = {(i, j): (int(left[i]) ^ int(right[j])).bit_count() for i in range(30) for j in range(12)}
    assert found(left, right, 3, block) == {key: value for key, value in bits.items() if value <= 3}
    assert (7, 0) in found(left, right, 3, block)


def test_nothing_in_nothing() -> None:
    assert found(hashes(0, 1), None, 64, 8) == {}
    assert found(hashes(3, 1), hashes(0, 1), 64, 8) == {}
