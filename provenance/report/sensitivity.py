"""The figures of a sensitivity: detected share by kind and strength, closest first; power curves of the release test.

For print: what is told apart by colour is told apart by marker and line as well. Equal values give equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from provenance.report.drawing import (
    GRID,
    PAGE_GRID,
    PAGE_MARK,
    PAGE_SERIES,
    dress,
    for_page,
    for_print,
    legend_above,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.report.drawing import Drawing

_FOUND, _OUTRANKING = "#16466f", "#c25e1c"
_WIDTH = 7.2
# Inches: a row of the figure, and what stands above and below the rows.
_ROW, _FRAME = 0.24, 1.5


@dataclass(frozen=True, slots=True)
class ShareLine:
    """One kind and strength.

    Attributes:
        name: Such as ``blend 0.7``.
        similarity: Median cosine of the plants to their originals.
        share: Detected, with the ends ``low`` and ``high`` of its interval.
        outranking: Share of plants with the smallest p-value there can be; ``None``: there are no p-values.
    """

    name: str
    similarity: float
    share: float
    low: float
    high: float
    outranking: float | None = None


def draw_sensitivity(lines: Sequence[ShareLine], target: float, *, plants: int, found: str) -> Drawing:
    """Detected shares, one line a kind and strength, in the order given: closest to the originals first.

    Args:
        lines: One or more.
        target: Of the claim: a dashed line, which the lower end of an interval must reach.
        plants: Of each kind.
        found: What "detected" means, in a few words, for the legend.
    """
    inches = (_WIDTH, _FRAME + _ROW * len(lines))
    return for_print(lambda figure: _draw(figure, lines, target, plants, found), inches)


def _draw(figure: Any, lines: Sequence[ShareLine], target: float, plants: int, found: str) -> None:
    axes = figure.add_subplot()
    places = list(range(len(lines)))
    reached = f"{target:g}, which the claim needs an interval to reach"
    axes.axvline(target, color="black", linewidth=1, linestyle="--", label=reached)
    shares = [line.share for line in lines]
    ends = [[max(line.share - line.low, 0) for line in lines], [max(line.high - line.share, 0) for line in lines]]
    axes.errorbar(
        shares, places, xerr=ends, fmt="o", color=_FOUND, markersize=5, capsize=2.5, linewidth=1.4, label=found
    )
    ranked = [
        (line.outranking, place) for line, place in zip(lines, places, strict=True) if line.outranking is not None
    ]
    if ranked:
        axes.plot(
            *zip(*ranked, strict=True),
            linestyle="none",
            marker="D",
            markersize=7,
            markerfacecolor="none",
            markeredgecolor=_OUTRANKING,
            markeredgewidth=1.4,
            label="outranks all calibration (smallest p-value there is)",
        )
    axes.set_yticks(places, [f"{line.name}   {line.similarity:.3f}" for line in lines])
    axes.set(ylim=(len(lines) - 0.5, -0.5), xlim=(-0.03, 1.03))
    across = f"share of {plants:,} plants of a kind, each judged alone\n(no unit; bars: 95 % intervals by Wilson)"
    dress(axes, across, "kind, strength, median cosine to the original", grid="both")
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9, handlelength=2.2)


class PowerLine(Protocol):
    """A power curve: what remembered images are like, and ``share, power, low, high`` by ascending share."""

    @property
    def like(self) -> str:
        """In words."""

    @property
    def points(self) -> Sequence[Any]:
        """For each share."""


def draw_power(lines: Sequence[PowerLine], level: float, target: float) -> Drawing:
    """Share of draws in which the release test calls a leak, by the share of used images that are remembered.

    Args:
        lines: One or more; the first, the middle and the last one are drawn.
        level: Of the test: what it calls where nothing is remembered.
        target: Of the claim, which the lower end of an interval must reach.
    """
    return for_print(lambda figure: _draw_power(figure, lines, level, target, _PRINTED), (_WIDTH, 4.2))


def power_figure(lines: Sequence[PowerLine], level: float, target: float, *, narrow: bool = False) -> str:
    """The same for the page."""
    return for_page(
        lambda figure: _draw_power(figure, lines, level, target, _PAGE), "power-figure-title", narrow=narrow
    )


_PRINTED, _PAGE = ((_FOUND, _OUTRANKING, "#5b6670"), "black", GRID), (PAGE_SERIES, PAGE_MARK, PAGE_GRID)


def _draw_power(figure: Any, lines: Sequence[PowerLine], level: float, target: float, colours: Any) -> None:
    axes, (series, mark, grid) = figure.add_subplot(), colours
    chosen = dict.fromkeys((0, len(lines) // 2, len(lines) - 1))
    for place, colour, marker, dashes in zip(chosen, series, "oDs", ("-", "--", "-."), strict=False):
        of_point = ((p.share, p.power, p.low, p.high) for p in lines[place].points if p.share > 0)
        shares, powers, lows, highs = zip(*of_point, strict=True)
        looks = {"color": colour, "marker": marker, "linestyle": dashes, "markersize": 4, "linewidth": 1.4}
        axes.plot(shares, powers, label=f"as strongly as {lines[place].like}", **looks)
        axes.fill_between(shares, lows, highs, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(target, color=mark, linewidth=1, linestyle="--", label=f"{target:g}, for the lower end of an interval")
    axes.axhline(level, color=mark, linewidth=1, linestyle=":", label=f"level {level:g}: nothing is remembered")
    axes.set(xscale="log", ylim=(-0.02, 1.02))
    ticks = [share for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if share >= axes.get_xlim()[0]]
    axes.set_xticks(ticks, [f"{100 * share:g} %" for share in ticks], minor=False)
    axes.minorticks_off()
    dress(axes, "share of the used images that are remembered", "share of draws in which a leak is called", colour=grid)
    legend_above(axes, columns=1)
