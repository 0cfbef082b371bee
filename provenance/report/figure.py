"""The figure of the report: the histogram of scores with the threshold (the seed paper's figure 2), as SVG.

Colours are written as CSS variables, so that one drawing serves light, dark and print; what is told apart by
colour is told apart by filling and line as well.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from provenance.report.content import Series

# Colours that the drawing is made in, and what each becomes in the page.
TEXT, GRID, MARK = "#010203", "#010204", "#010205"
SERIES = ("#010206", "#010207", "#010208")
_VARIABLES = {
    TEXT: "--fig-text",
    GRID: "--fig-grid",
    MARK: "--fig-mark",
    SERIES[0]: "--fig-a",
    SERIES[1]: "--fig-b",
    SERIES[2]: "--fig-c",
}
_LINES = ("-", "-", (0, (5, 1.5, 1, 1.5)))
_SIZE_INCHES = (9.2, 3.9)
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
    """A drawing and its numbers. The last bin holds its upper end too."""

    svg: str
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
) -> Histogram:
    """The scores of each series over shared bins, with mu and T (or the cutoff) marked where they are given.

    Args:
        series: At most three, each with cosine similarities in [-1, 1]; the first is filled, others are outlines.
        threshold: T, without dimension.
        mu: Mean, likewise.
        probabilities: Whether the scores are probabilities and the threshold their cutoff.
        score: Name of the membership score, where they are one; else ''.
    """
    edges = bin_edges([value for each in series for value in each.values])
    counts = [np.histogram(each.values, edges)[0] for each in series]
    bins = tuple(
        Bin(float(low), float(high), tuple(int(count[row]) for count in counts))
        for row, (low, high) in enumerate(pairwise(edges))
    )
    axis, mark = (PROBABILITY_AXIS, "cutoff") if probabilities else (SIMILARITY_AXIS, "T")
    axis = f"membership score {score} (higher = more likely used)" if score else axis
    return Histogram(_svg(series, edges, counts, axis, _marks(threshold, mu, mark)), bins)


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
    marks: Sequence[tuple[float, Mapping[str, Any]]],
) -> str:
    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        _draw_series(axes, series, edges, counts)
        for place, look in marks:
            axes.axvline(place, color=MARK, **look)
        _dress(axes, axis)

    return drawn(draw, "figure-title")


def drawn(draw: Callable[[Figure], None], title_id: str) -> str:
    """What ``draw`` draws, as an SVG element for the page; ``title_id`` is the element that says what it is."""
    # The figure is drawn without pyplot, which keeps state for the whole process and may ask for a display.
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "provenance",
        "font.size": 11,
        "text.color": TEXT,
        "axes.labelcolor": TEXT,
        "xtick.color": TEXT,
        "ytick.color": TEXT,
        "axes.edgecolor": TEXT,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Type", "Format"))
        )
    return for_page(buffer.getvalue(), title_id)


def _draw_series(axes: Axes, series: Sequence[Series], edges: Any, counts: Sequence[Any]) -> None:
    for number, (each, count) in enumerate(zip(series, counts, strict=True)):
        label = f"{each.symbol} {each.words} (n = {len(each.values):,})"
        if number == 0:
            axes.stairs(count, edges, fill=True, color=SERIES[0], label=label, linewidth=0)
        else:
            axes.stairs(count, edges, color=SERIES[number], label=label, linewidth=1.8, linestyle=_LINES[number])


def _dress(axes: Axes, axis: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(axis)
    axes.set_ylabel("images (count per bin)")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9))
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, borderaxespad=0.2, fontsize=10)


def for_page(svg: str, title_id: str = "figure-title") -> str:
    """The bare element: no prolog, no metadata, colours as variables, its size left to the page."""
    element = svg[svg.index("<svg") :].strip()
    element = re.sub(r"\s*<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    _, _, inner = element.partition(">")
    box = re.search(r'viewBox="[^"]+"', element)
    assert box is not None, "matplotlib writes a viewBox"
    for colour, variable in _VARIABLES.items():
        inner = inner.replace(colour, f"var({variable})")
    # xlink:href is the only use of a namespace; HTML knows plain href
    inner = inner.replace("xlink:href", "href")
    return f'<svg class="figure" role="img" aria-labelledby="{title_id}" {box.group()}>{inner}'
