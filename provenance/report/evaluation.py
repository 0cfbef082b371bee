"""The figures of an evaluation: histogram of scores, ROC (linear and logarithmic), calibration; as SVG and PNG.

For print: dark and light, solid, dashed and hatched tell apart what colour tells apart. Equal values give equal
bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.report.drawing import TEXT, dress, for_print, whole_counts
from provenance.report.figure import bin_edges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from provenance.report.content import Series
    from provenance.report.drawing import Drawing

_MARK, _SHADE = "#000000", "#eef0f2"
_COLOURS = ("#16466f", "#c25e1c", "#4f8a5b", "#7a4b8c", "#5c6670", "#9a7d0a")
_FILL = "#e8a282"
_LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (8, 3)))
_MARKERS = ("o", "s", "^", "D", "v", "P")
# Inches: a wide figure, the side of a square one, and what a line of its legend adds to its height.
_WIDE, _SQUARE, _LINE = (6.8, 3.6), 4.6, 0.175
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "axes.unicode_minus": False,
    "hatch.linewidth": 0.8,
}


@dataclass(frozen=True, slots=True)
class Curve:
    """An ROC curve from (0, 0) to (1, 1).

    Attributes:
        label: For the legend: whose, its AUC with interval, and n.
        fpr: Ascending, in [0, 1].
        tpr: Likewise.
        operating_point: (FPR, TPR) of the rule's labels; ``None`` where it is not shown.
    """

    label: str
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    operating_point: tuple[float, float] | None = None


def draw_histogram(series: Sequence[Series], axis: str, threshold: float | None, mu: float | None = None) -> Drawing:
    """The scores of two series over shared bins, with mu and T where they are given (seed paper, figure 2).

    Of two series at most, the first is filled, the second hatched; ``axis`` names the x axis, with its unit.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        edges = bin_edges([value for each in series for value in each.values])
        looks: tuple[dict[str, Any], ...] = (
            {"fill": True, "facecolor": _FILL, "edgecolor": _FILL, "linewidth": 0},
            {"fill": True, "facecolor": "none", "edgecolor": _COLOURS[0], "hatch": "////", "linewidth": 1.4},
        )
        for each, look in zip(series, looks, strict=False):
            counts = np.histogram(each.values, edges)[0]
            axes.stairs(counts, edges, label=f"{each.symbol} {each.words} (n = {len(each.values):,})".lstrip(), **look)
        if mu is not None:
            axes.axvline(mu, color=_MARK, linewidth=1, linestyle=":", label=f"mu = {mu:.4f}")
        if threshold is not None:
            axes.axvline(threshold, color=_MARK, linewidth=1.6, linestyle="--", label=f"T = {threshold:.4f}")
        dress(axes, axis, "images per bin (count)", grid="y", width=0.7)
        whole_counts(axes, steps=[1, 2, 5, 10])
        _legend(figure, axes.get_legend_handles_labels()[0], columns=2)

    return for_print(draw, _WIDE, **_SETTINGS)


def draw_roc(
    curves: Sequence[Curve], *, title: str = "", logarithmic: bool = False, resolution: float | None = None
) -> Drawing:
    """ROC curves with the line of chance (seed paper, figure 3).

    Args:
        curves: At most six.
        title: Of the legend: what the numbers in its labels are.
        logarithmic: Whether both axes are logarithmic, as low false positive rates need it (Carlini 2022).
        resolution: 1 / (not-used images), the least FPR above 0 that can be seen; log axes are shaded below it.

    Raises:
        ValueError: If there are more than six curves, which nobody can tell apart.
    """
    if len(curves) > len(_LINES):
        raise ValueError(f"at most {len(_LINES)} curves")
    lowest = 10 ** math.floor(math.log10(min(0.001, (resolution or 0.001) / 1.5)))
    lines = 1 + bool(title) + sum(1 + curve.label.count("\n") + bool(curve.operating_point) for curve in curves)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        start = [lowest if logarithmic else 0, 1]
        handles = axes.plot(start, start, color=TEXT, linewidth=1, linestyle=":", label="chance (TPR = FPR)")
        handles += [
            _draw_curve(axes, curve, number, lowest if logarithmic else None) for number, curve in enumerate(curves)
        ]
        if logarithmic:
            axes.set(xscale="log", yscale="log", xlim=(lowest, 1.15), ylim=(lowest, 1.15))
            if resolution is not None:
                _shade(axes, lowest, resolution)
        else:
            axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015))
        axes.set_aspect("equal")
        scale = "logarithmic, no unit" if logarithmic else "no unit"
        dress(axes, f"false positive rate ({scale})", f"true positive rate ({scale})", grid="both", width=0.7)
        _legend(figure, handles, title)

    return for_print(draw, (_SQUARE, _SQUARE + _LINE * lines), **_SETTINGS)


def draw_calibration(p_values: Sequence[float], shares: Sequence[float], label: str) -> Drawing:
    """The distribution of p-values of images known not used, against the uniform law they must follow.

    Args:
        p_values: Ascending, distinct, in (0, 1].
        shares: Share of p-values at or below each.
        label: For the legend: n, and the result of the test.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=TEXT, linewidth=1, linestyle=":", label="uniform: what the null predicts")
        steps_x, steps_y = [0.0, *p_values, 1.0], [0.0, *shares, 1.0]
        axes.step(steps_x, steps_y, where="post", color=_COLOURS[0], linewidth=1.8, label=label)
        axes.fill_between([0, 1], [0, 1], [1, 1], color=_SHADE, linewidth=0, zorder=0)
        axes.text(0.04, 0.95, "too many small p-values", color=TEXT, fontsize=9, va="top", style="italic")
        axes.set(aspect="equal", xlim=(0, 1), ylim=(0, 1.005))
        dress(axes, "p-value (no unit)", "share of not-used groups at or below (no unit)", grid="both", width=0.7)
        _legend(figure, axes.get_legend_handles_labels()[0])

    return for_print(draw, (_SQUARE, _SQUARE + _LINE * (2 + label.count("\n"))), **_SETTINGS)


def _draw_curve(axes: Axes, curve: Curve, number: int, lowest: float | None) -> Line2D:
    """The curve and the place of the rule's labels on it; gives what stands for both in the legend."""
    from matplotlib.lines import Line2D

    fpr, tpr = np.array(curve.fpr), np.array(curve.tpr)
    if lowest is not None:  # 0 has no place on a log axis: what lies there enters at the edge, or from below it
        shown = fpr > lowest
        fpr, tpr = np.r_[lowest, fpr[shown]], np.r_[tpr[~shown].max(initial=0.0), tpr[shown]]
        tpr = np.maximum(tpr, lowest / 10)
    style: dict[str, Any] = {"color": _COLOURS[number], "linestyle": _LINES[number], "linewidth": 1.8}
    steps = "default" if lowest is None else "steps-post"  # straight lines between points would bend on log axes
    axes.plot(fpr, tpr, drawstyle=steps, **style)
    if curve.operating_point is None:
        return Line2D([], [], label=_plain(curve.label), **style)
    marker: dict[str, Any] = {"markersize": 6.5, "markeredgecolor": _MARK, "markerfacecolor": "white"}
    marker["marker"] = _MARKERS[number]
    at_fpr, at_tpr = curve.operating_point
    if lowest is None or min(at_fpr, at_tpr) >= lowest:
        axes.plot([at_fpr], [at_tpr], linestyle="none", zorder=5, **marker)
    words = f"{_plain(curve.label)}\nlabels of the rule at FPR {at_fpr:.3f}, TPR {at_tpr:.3f}"
    return Line2D([], [], label=words, **style, **marker)


def _shade(axes: Axes, lowest: float, resolution: float) -> None:
    axes.axvspan(lowest, resolution, color=_SHADE, linewidth=0, zorder=0)
    axes.text(
        (lowest * resolution) ** 0.5,
        0.96,
        "below 1 / (not-used images)",
        transform=axes.get_xaxis_transform(),
        rotation=90,
        ha="center",
        va="top",
        fontsize=8,
        style="italic",
        bbox={"facecolor": _SHADE, "edgecolor": "none", "pad": 1},
        zorder=4,
    )


def _plain(text: str) -> str:
    """Words from outside: no mathematics, and nothing that XML or a font can't show."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text).replace("$", r"\$")


def _legend(figure: Figure, handles: Sequence[Any], title: str = "", columns: int = 1) -> None:
    legend = figure.legend(
        handles=handles,
        title=title or None,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=8.5,
        title_fontsize=8.5,
        alignment="left",
        handlelength=2.8,
        borderaxespad=0.3,
    )
    legend.get_title().set_fontstyle("italic")
