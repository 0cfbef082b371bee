"""How much evidence images have for a source, as SVG: never-used and generated ones, and the model of the tail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.report.drawing import PAGE_GRID, PAGE_MARK, PAGE_SERIES, dress, for_page, legend_above

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from provenance.report.content import Series

_LOWEST = 1e-5


def tail_figure(
    series: Sequence[Series], curve: Sequence[tuple[float, float]], needed: float | None, *, narrow: bool = False
) -> str:
    """Shares of images at or above each evidence, on a scale of powers of ten.

    Args:
        series: Evidence of each kind, one or more.
        curve: Evidence and p-value by the model, from where it speaks; empty: it is refused.
        needed: The least evidence that was called a copy by it; ``None``: none was.
        narrow: Whether it is for a narrow screen.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, each in enumerate(series):
            values = np.sort(np.asarray(each.values, dtype=np.float64))
            shares = 1 - np.arange(len(values)) / len(values)
            axes.step(values, shares, where="pre", color=PAGE_SERIES[1 + number % 2], linewidth=1.8, label=each.words)
        if curve:
            places, p_values = zip(*curve, strict=True)
            axes.plot(places, p_values, color=PAGE_MARK, linestyle="--", linewidth=1.6, label="model of the tail")
        if needed is not None:
            axes.axvline(needed, color=PAGE_MARK, linestyle=":", linewidth=1.4, label="least copy known by it")
        axes.set(yscale="log", ylim=(_LOWEST, 1.3))
        dress(
            axes,
            "evidence (no unit; 1: as 5 % of strangers among the real images)",
            "share of images at or above (no unit)",
            colour=PAGE_GRID,
        )
        legend_above(axes)

    return for_page(draw, "tail-figure-title", narrow=narrow)
