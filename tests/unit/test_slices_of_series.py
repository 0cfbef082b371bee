"""Which slices of a series are taken."""

from __future__ import annotations

import pytest

from provenance.errors import UsageError
from provenance.images import Slice
from provenance.ingest.slices import SliceRule, in_order


def test_the_middle_and_every_nth_of_a_series() -> None:
    places = [(name, None) for name in "abcdefg"]
    middle, third = SliceRule.of("middle"), SliceRule.of("every:3")
    assert middle is not None
    assert third is not None
    assert [middle.chosen(places[:n]) for n in (0, 1, 2, 3, 4)] == [
        [],
        places[:1],
        places[:1],
        places[1:2],
        places[1:2],
    ]
    assert third.chosen(places) == [("a", None), ("d", None), ("g", None)]
    assert SliceRule.of("all") is SliceRule.of(None) is None


@pytest.mark.parametrize(
    "text", ["", "every", "every:0", "every:-1", "every:x", "every:\u0663", "Middle", "every:99999999999"]
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="every:N"):
        SliceRule.of(text)


def test_order_is_by_position_and_by_number_where_one_has_none() -> None:
    slices = [(Slice("s", 3.0, 1), ("a", None)), (Slice("s", -9.5, 2), ("b", None)), (Slice("s", 3.0, 0), ("A", None))]
    assert [place for place, _ in in_order(slices)] == ["b", "A", "a"]
    slices.append((Slice("s", None, 9), ("c", None)))
    assert [place for place, _ in in_order(slices)] == ["A", "a", "b", "c"]
