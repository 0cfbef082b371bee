"""Detected shares, Wilson's interval by its formula, and how far the claim reaches."""

from __future__ import annotations

import json
import math

import pytest

from provenance.detection.plants.sensitivity import Plant, plants_needed, sensitivity_of, wilson_interval
from provenance.errors import UsageError


def plants(kind: str, found: int, n: int, similarity: float, strength: float = 0.0) -> list[Plant]:
    return [Plant(kind, strength, place < found, similarity) for place in range(n)]


def test_wilson_by_its_formula() -> None:
    z = 1.959963984540054
    for found, n in ((0, 10), (3, 10), (72, 73), (73, 73)):
        share = found / n
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        assert wilson_interval(found, n) == pytest.approx((max(0, centre - half), min(1, centre + half)), abs=1e-12)


def test_seventy_three_plants_all_found_carry_the_claim_and_seventy_two_do_not() -> None:
    assert plants_needed() == 73
    enough = sensitivity_of(plants("exact", 73, 73, 1.0))
    assert enough.sentence == (
        "A copy at least as close as exact (cosine 1.000 to its original) would have been found in 95 % of cases."
    )
    few = sensitivity_of(plants("exact", 72, 72, 1.0))
    assert few.claimed is None
    assert "73 plants of a kind" in few.sentence
    missed = sensitivity_of(plants("exact", 72, 73, 1.0))
    assert missed.claimed is None
    assert "even of the closest copies" in missed.sentence


def test_the_claim_stops_before_the_first_kind_that_fails() -> None:
    result = sensitivity_of(
        plants("blend", 20, 80, 0.6, 0.3)
        + plants("exact", 80, 80, 1.0)
        + plants("blend", 80, 80, 0.9, 0.9)
        + plants("flip", 40, 80, 0.8)
        + plants("blur", 80, 80, 0.7, 2)
    )
    assert [row.name for row in result.rows] == ["exact", "blend 0.9", "flip", "blur 2", "blend 0.3"]
    assert result.claimed is not None
    assert result.claimed.name == "blend 0.9"  # blur was all found too, but flip lies between
    assert [row.share for row in result.rows] == [1, 1, 0.5, 1, 0.25]
    json.dumps(result.to_json(), allow_nan=False)


def test_plants_of_one_group_count_as_one() -> None:
    crowded = [Plant("exact", 0, True, 1.0, group=place % 10) for place in range(200)]
    row = sensitivity_of(crowded).rows[0]
    assert (row.plants, row.groups, row.found) == (200, 10, 200)
    assert row.low == pytest.approx(wilson_interval(10, 10)[0])
    lone = [Plant("exact", 0, True, 1.0) for _ in range(80)]
    assert sensitivity_of(lone).rows[0].groups == 80


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="no plants"):
        sensitivity_of([])
    with pytest.raises(UsageError, match="similarity"):
        sensitivity_of([Plant("exact", 0, True, float("nan"))])
    with pytest.raises(UsageError, match="target"):
        sensitivity_of(plants("exact", 1, 1, 1.0), target=1.0)
    with pytest.raises(UsageError, match="level"):
        wilson_interval(1, 2, 1.0)
    with pytest.raises(UsageError, match="no share"):
        wilson_interval(3, 2)
