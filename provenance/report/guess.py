"""Whether a best guess means what it says, as SVG: how many of the images with a probability were used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.report.drawing import PAGE_GRID, PAGE_MARK, PAGE_SERIES, dress, for_page, legend_above

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from provenance.findings import CurveBin


def guess_figure(curve: Sequence[CurveBin], *, narrow: bool = False) -> str:
    """The share of known images that was used, by their probability; with the number of images at each point.

    Args:
        curve: One bin or more.
        narrow: Whether it is for a narrow screen.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=PAGE_MARK, linestyle="--", linewidth=1.2, label="as it says")
        places, shares = [each.probability for each in curve], [each.share for each in curve]
        axes.plot(
            places, shares, color=PAGE_SERIES[1], linewidth=1.6, marker="o", label="known images, with their number"
        )
        for each in curve:
            axes.annotate(
                f"{each.used + each.not_used:,}",
                (each.probability, each.share),
                textcoords="offset points",
                xytext=(0, 7),
                ha="center",
                fontsize=8,
            )
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.1))
        dress(axes, "probability of having been used (no unit)", "share that was used (no unit)", colour=PAGE_GRID)
        legend_above(axes)

    return for_page(draw, "guess-figure-title", narrow=narrow)
