"""The histogram: its numbers against NumPy and by hand, and a drawing that a page can take as it is."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance.report.content import Series
from provenance.report.figure import bin_edges, histogram

SCORES = st.lists(st.floats(-1, 1, allow_nan=False), min_size=1, max_size=200)


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_every_score_is_in_exactly_one_bin(scores: list[float]) -> None:
    edges = bin_edges(scores)
    assert 12 <= len(edges) - 1 <= 60
    assert np.histogram(scores, edges)[0].sum() == len(scores)
    assert (np.diff(edges) > 0).all()


def test_bins_hold_what_stands_in_them() -> None:
    used, not_used = (0.1, 0.5, 0.5, 0.9), (0.2, 0.9)
    bins = histogram([Series("S_u", "a", used), Series("S_n", "b", not_used)], 0.6, 0.5).bins
    for number, scores in enumerate((used, not_used)):
        assert sum(each.counts[number] for each in bins) == len(scores)
    last = bins[-1]
    assert (last.high, last.counts) == (0.9, (1, 1))
    for each in bins[:-1]:
        assert each.counts[0] == sum(each.low <= score < each.high for score in used)


def test_the_drawing_is_one_element_without_colours_of_its_own() -> None:
    svg = histogram([Series("S_u", "used", (0.1, 0.7)), Series("S_n", "not used", (0.3,))], 0.6, 0.4).draw()
    ET.fromstring(svg)
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert "://" not in svg
    text = re.sub(r"<[^>]+>", " ", svg)
    for words in ("cosine similarity", "count per bin", "T = 0.600000", "mu = 0.400000", "S_n not used (n = 1)"):
        assert words in text


def test_the_drawing_is_the_same_every_time() -> None:
    series = [Series("S_u", "used", tuple(np.linspace(0.2, 0.9, 50)))]
    assert histogram(series, 0.6, 0.4).draw() == histogram(series, 0.6, 0.4).draw()


@pytest.mark.parametrize("values", [(), (0.5,), (0.5, 0.5, 0.5), (1.0, 1.0 - 1e-12)])
def test_few_or_equal_scores_can_be_drawn(values: tuple[float, ...]) -> None:
    drawn = histogram([Series("S_u", "used", values)], None, None)
    assert sum(each.counts[0] for each in drawn.bins) == len(values)


def test_drawing_leaves_the_settings_of_the_process_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    histogram([Series("S_u", "used", (0.1, 0.7))], 0.6, 0.4)
    assert dict(mpl.rcParams) == before
