"""The figures of an evaluation: named axes, lines that can be told apart in grey, and the same bytes every time."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from provenance.report import Curve, Drawing, Series, draw_calibration, draw_histogram, draw_roc

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng(4)
SERIES = (Series("S_u", "to used images", tuple(RNG.normal(0.6, 0.05, 300))), Series("S_n", "b", (0.5, 0.55, 0.7)))
CURVES = [
    Curve(
        f"rel $x$ & <{number}>\nAUC 0.{number}", (0.0, 0.0, 0.4, 1.0), (0.0, 0.02, 0.9 - number / 10, 1.0), (0.3, 0.5)
    )
    for number in range(6)
]
STEPS = (tuple(np.arange(1, 21) / 20), tuple(np.arange(1, 21) / 20))
FIGURES: dict[str, tuple[Callable[[], Drawing], tuple[str, ...]]] = {
    "histogram": (
        lambda: draw_histogram(SERIES, "cosine similarity (no unit)", 0.6123456, 0.59),
        ("cosine similarity (no unit)", "images per bin (count)", "T = 0.6123", "mu = 0.5900", "n = 300", "n = 3"),
    ),
    "roc": (
        lambda: draw_roc(CURVES, title="AUC [interval]"),
        ("false positive rate (no unit)", "true positive rate (no unit)", "chance", "AUC [interval]", "FPR 0.300"),
    ),
    "roc_log": (
        lambda: draw_roc(CURVES[:1], logarithmic=True, resolution=1 / 40),
        ("false positive rate (logarithmic, no unit)", "true positive rate (logarithmic, no unit)", "below 1 /"),
    ),
    "calibration": (
        lambda: draw_calibration(*STEPS, "20 groups; D = 0.1"),
        ("p-value (no unit)", "share of not-used groups at or below (no unit)", "uniform", "20 groups; D = 0.1"),
    ),
}


def words_of(svg: bytes) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", re.sub(r"<!--.*?-->", "", svg.decode(), flags=re.DOTALL)))


@pytest.mark.parametrize("name", FIGURES)
def test_axes_and_legend_are_named(name: str) -> None:
    draw, expected = FIGURES[name]
    drawing = draw()
    ET.fromstring(drawing.svg)
    words = words_of(drawing.svg)
    for text in expected:
        assert text in words


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_equal_values_give_equal_bytes_and_no_date(name: str) -> None:
    draw, _ = FIGURES[name]
    before = dict(mpl.rcParams)
    one, other = draw(), draw()
    assert one == other
    assert dict(mpl.rcParams) == before
    assert b"dc:date" not in one.svg
    with Image.open(io.BytesIO(one.png)) as image:
        assert image.width >= 900
        assert set(image.info) <= {"dpi"}


def test_curves_differ_in_more_than_colour() -> None:
    svg = draw_roc(CURVES).svg.decode()
    lines = re.findall(r'style="fill: none; stroke(?:-dasharray: ([^;]+);[^"]*stroke)?: (#[0-9a-f]{6})', svg)
    by_colour: dict[str, set[str]] = {}
    for dashes, colour in lines:
        by_colour.setdefault(colour, set()).add(dashes)
    curves = {colour: dashes for colour, dashes in by_colour.items() if colour not in ("#22272c", "#dfe3e7", "#000000")}
    assert len(curves) == 6
    assert len({frozenset(dashes) for dashes in curves.values()}) == 6


def test_words_from_outside_stay_words() -> None:
    words = words_of(draw_roc([Curve("a$b$c \u202e\ud800\x07 \u4e2d", (0.0, 1.0), (0.0, 1.0))]).svg)
    assert "a$b$c" in words
    assert "\x07" not in words


@pytest.mark.parametrize("values", [(0.5,), (0.5, 0.5), (0.1, 0.1 + 1e-12)])
def test_few_or_equal_scores_can_be_drawn(values: tuple[float, ...]) -> None:
    assert draw_histogram([Series("", "used", values)], "score (no unit)", None).png.startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [0.5, 1e-6])
def test_perfect_and_reversed_curves_can_be_drawn_on_log_axes(resolution: float) -> None:
    ends = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0))
    draw_roc([Curve("a", *ends, (0.0, 0.0)), Curve("b", *ends[::-1])], logarithmic=True, resolution=resolution)


def test_more_curves_than_can_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 6"):
        draw_roc([*CURVES, CURVES[0]])
