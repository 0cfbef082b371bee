"""The p-values of a calibrated audit against the uniform law, as SVG: histogram, cumulative shares, and the BH line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.report.drawing import (
    PAGE_GRID,
    PAGE_MARK,
    PAGE_SERIES,
    PAGE_TEXT,
    dress,
    for_page,
    legend_above,
    side_by_side,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from provenance.report.content import Series

_BINS = 20


def p_value_figure(series: Sequence[Series], q: float, *, narrow: bool = False) -> str:
    """Two panels; without any effect, both follow the uniform law (dashed).

    Left: images in twenty bins. Right: claim by claim the share of images at or below each p, and the line p / q of
    Benjamini-Hochberg: what lies left of the last place where the shares reach it is rejected (groups of one image).

    Args:
        series: P-values in (0, 1], one or more of each claim; at most three claims.
        q: Level of the false discovery rate.
        narrow: Whether it is for a narrow screen.
    """

    def draw(figure: Figure) -> None:
        left, right = side_by_side(figure, 2)
        _histogram(left, np.concatenate([np.asarray(each.values) for each in series]))
        _shares(right, series, q)

    return for_page(draw, "p-figure-title", narrow=narrow, panels=2)


def _histogram(axes: Axes, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    counts, edges = np.histogram(values, np.linspace(0, 1, _BINS + 1))
    axes.stairs(counts, edges, fill=True, color=PAGE_SERIES[0], linewidth=0, label="images")
    axes.axhline(len(values) / _BINS, color=PAGE_MARK, linestyle="--", linewidth=1.4, label="uniform: no effect at all")
    _dress(axes, "images (count per bin)")


def _shares(axes: Axes, series: Sequence[Series], q: float) -> None:
    for number, each in enumerate(series):
        values = np.sort(np.asarray(each.values, dtype=np.float64))
        shares = np.arange(1, len(values) + 1) / len(values)
        across, up = [0.0, *values.tolist(), 1.0], [0.0, *shares.tolist(), 1.0]
        colour, width = PAGE_SERIES[1 + number % 2], 2.2 - 1.0 * (number % 2)
        axes.step(across, up, where="post", label=each.words, color=colour, linewidth=width)
    axes.plot([0, 1], [0, 1], color=PAGE_MARK, linestyle="--", linewidth=1.4, label="uniform")
    axes.plot([0, q], [0, 1], color=PAGE_TEXT, linestyle=":", linewidth=1.6, label=f"p / q, q = {q:g}")
    axes.set_ylim(0, 1.02)
    _dress(axes, "share of images at or below")


def _dress(axes: Axes, y_name: str) -> None:
    dress(axes, "p-value (no unit)", y_name, colour=PAGE_GRID)
    axes.set_xlim(0, 1)
    legend_above(axes)
