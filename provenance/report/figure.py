"""The figure of the report: the histogram of scores with the threshold (the seed paper's figure 2), as SVG.

What is told apart by colour is told apart by filling and line as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.report.drawing import PAGE_GRID, PAGE_MARK, PAGE_SERIES, dress, for_page, legend_above, whole_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from provenance.report.content import Series

_LINES = ("-", "-", (0, (5, 1.5, 1, 1.5)))
_FILLED = {"fill": True, "linewidth": 0}
_MIN_BINS, _MAX_BINS = 12, 60
_SMALLEST_WIDTH = 1e-9


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin: its ends, and how many scores of each series are in it (``low`` <= score < ``high``)."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """A drawing, also for a narrow screen, and its numbers. The last bin holds its upper end too."""

    draw: Callable[..., str]
    bins: tuple[Bin, ...]


SIMILARITY_AXIS = "greatest cosine similarity (no unit; 1 = same direction)"
PROBABILITY_AXIS = "probability of use by the fitted model (no unit)"


def histogram(
    series: Sequence[Series],
    threshold: float | None,
    mu: float | None,
    *,
    probabilities: bool = False,
    score: str = "",
    title_id: str = "figure-title",
) -> Histogram:
    """The scores of each series over shared bins, with mu and T (or the cutoff) marked where they are given.

    Args:
        series: At most three, each with cosine similarities in [-1, 1]; the first is filled, others are outlines.
        threshold: T, without dimension.
        mu: Mean, likewise.
        probabilities: Whether the scores are probabilities and the threshold their cutoff.
        score: Name of the membership score, where they are one; else ''.
        title_id: The element that says what is drawn.
    """
    edges = bin_edges([value for each in series for value in each.values])
    counts = [np.histogram(each.values, edges)[0] for each in series]
    bins = tuple(
        Bin(float(low), float(high), tuple(int(count[row]) for count in counts))
        for row, (low, high) in enumerate(pairwise(edges))
    )
    axis, mark = (PROBABILITY_AXIS, "cutoff") if probabilities else (SIMILARITY_AXIS, "T")
    axis = f"membership score {score} (higher = more likely used)" if score else axis
    draw = partial(_svg, series, edges, counts, axis, _marks(threshold, mu, mark), title_id)
    return Histogram(draw, bins)


def _marks(threshold: float | None, mu: float | None, name: str) -> list[tuple[float, dict[str, Any]]]:
    """Vertical lines: where, and how each looks."""
    marks: list[tuple[float, dict[str, Any]]] = []
    if mu is not None:
        marks.append((mu, {"linewidth": 1, "linestyle": ":", "label": f"mu = {mu:.6f}"}))
    if threshold is not None:
        marks.append((threshold, {"linewidth": 1.8, "linestyle": "--", "label": f"{name} = {threshold:.6f}"}))
    return marks


def bin_edges(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Equal bins over all values, as wide as the rule of Freedman and Diaconis says, between 12 and 60 of them."""
    if not values:
        return np.linspace(0.0, 1.0, _MIN_BINS + 1)
    low, high = min(values), max(values)
    if high - low < _SMALLEST_WIDTH:
        return np.linspace(low - 0.01, high + 0.01, _MIN_BINS + 1)
    first, third = np.percentile(values, [25, 75])
    width = 2 * float(third - first) / len(values) ** (1 / 3)
    wanted = (high - low) / width if width > _SMALLEST_WIDTH else _MAX_BINS
    return np.linspace(low, high, round(min(max(wanted, _MIN_BINS), _MAX_BINS)) + 1)


def _svg(
    series: Sequence[Series],
    edges: Any,
    counts: Sequence[Any],
    axis: str,
    marks: list[tuple[float, dict[str, Any]]],
    title_id: str,
    *,
    narrow: bool = False,
) -> str:
    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        _draw_series(axes, series, edges, counts)
        for place, look in marks:
            axes.axvline(place, color=PAGE_MARK, **look)
        dress(axes, axis, "images (count per bin)", colour=PAGE_GRID, left=False)
        whole_counts(axes)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4 if narrow else 9))
        axes.tick_params(axis="y", length=0)
        if axes.get_legend_handles_labels()[0]:
            legend_above(axes, size=10)

    return for_page(draw, title_id, narrow=narrow)


def _draw_series(axes: Axes, series: Sequence[Series], edges: Any, counts: Sequence[Any]) -> None:
    for number, (each, count) in enumerate(zip(series, counts, strict=True)):
        label = f"{each.symbol} {each.words} (n = {len(each.values):,})"
        look: dict[str, Any] = {"linewidth": 1.8, "linestyle": _LINES[number]} if number else _FILLED
        axes.stairs(count, edges, color=PAGE_SERIES[number], label=label, **look)
