"""How well a score tells used images from never-used ones, as SVG: the ROC on plain and on logarithmic axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.report.drawing import PAGE_GRID, PAGE_MARK, PAGE_SERIES, dress, for_page, legend_above, side_by_side

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from provenance.report.evaluation import Curve


def roc_figure(curve: Curve, *, narrow: bool = False) -> str:
    """Two panels: all of the curve, and on logarithmic axes what is seen at few false positives.

    Args:
        curve: From (0, 0) to (1, 1).
        narrow: Whether it is for a narrow screen.
    """
    least = min((rate for rate in (*curve.fpr, *curve.tpr) if rate > 0), default=1.0) / 2

    def draw(figure: Figure) -> None:
        for axes, logarithmic in zip(side_by_side(figure, 2), (False, True), strict=True):
            axes.plot(
                curve.fpr, curve.tpr, color=PAGE_SERIES[1], linewidth=2, label=curve.label, drawstyle="steps-post"
            )
            start = least if logarithmic else 0
            axes.plot([start, 1], [start, 1], color=PAGE_MARK, linestyle="--", linewidth=1.2, label="chance")
            if logarithmic:
                axes.set(xscale="log", yscale="log", xlim=(least, 1.15), ylim=(least, 1.15))
            else:
                axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
            scale = "logarithmic, no unit" if logarithmic else "no unit"
            dress(
                axes, f"false positive rate ({scale})", f"true positive rate ({scale})", grid="both", colour=PAGE_GRID
            )
        legend_above(figure.axes[0], columns=1)

    return for_page(draw, "roc-figure-title", narrow=narrow, panels=2)
