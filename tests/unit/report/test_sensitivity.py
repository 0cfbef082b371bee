"""The figure of a sensitivity: every line named, equal values equal bytes, with and without p-values."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from provenance.detection import ReleaseDesign, Strong, release_power
from provenance.report import ShareLine, draw_power, draw_sensitivity
from provenance.report.sensitivity import power_figure

LINES = [
    ShareLine("exact", 1.0, 1.0, 0.966, 1.0, 1.0),
    ShareLine("blend 0.7", 0.9, 0.8, 0.7, 0.9, 0.75),
    ShareLine("noise 25", 0.5, 0.0, 0.0, 0.03, 0.0),
]


def test_every_kind_has_its_line_and_equal_values_give_equal_bytes() -> None:
    drawing = draw_sensitivity(LINES, 0.95, plants=110, found="established (the planted image)")
    assert drawing == draw_sensitivity(LINES, 0.95, plants=110, found="established (the planted image)")
    svg = drawing.svg.decode()
    for words in ("exact", "blend 0.7", "noise 25", "0.95", "outranks all calibration", "established"):
        assert words in svg, words  # matplotlib writes what it draws as a comment beside
    taller = draw_sensitivity(LINES * 3, 0.95, plants=110, found="established")
    sizes = [Image.open(io.BytesIO(each.png)).size for each in (drawing, taller)]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]


def test_rules_without_p_values_have_one_mark_a_line() -> None:
    bare = [ShareLine(line.name, line.similarity, line.share, line.low, line.high) for line in LINES]
    svg = draw_sensitivity(bare, 0.95, plants=5, found="labelled used").svg.decode()
    assert "outranks" not in svg


def test_power_curves_name_the_first_the_middle_and_the_last_kind() -> None:
    design = ReleaseDesign.of(np.random.default_rng(0).standard_normal(30), np.arange(30) < 15, None)
    power = release_power(design, [Strong(f"kind {n}", [9.0 - n]) for n in range(5)], draws=20)
    drawing = draw_power(power.curves, power.level, power.target)
    assert drawing == draw_power(power.curves, power.level, power.target)
    svg = drawing.svg.decode()
    for words in ("kind 0", "kind 2", "kind 4", "level 0.05", "20 %"):
        assert words in svg, words
    assert "kind 1" not in svg
    page = power_figure(power.curves[:1], power.level, power.target)
    assert page.startswith("<svg")
    assert "kind 0" in page
