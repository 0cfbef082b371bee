"""The figures of an evaluation: histogram of scores, ROC (linear and logarithmic), calibration; as SVG and PNG.

For print: dark and light, solid, dashed and hatched tell apart what colour tells apart. Equal values give equal
bytes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.report.figure import bin_edges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from provenance.report.content import Series

_TEXT, _GRID, _MARK, _SHADE = "#22272c", "#dfe3e7", "#000000", "#eef0f2"
_COLOURS = ("#16466f", "#c25e1c", "#4f8a5b", "#7a4b8c", "#5c6670", "#9a7d0a")
_FILL = "#e8a282"
_LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (8, 3)))
_MARKERS = ("o", "s", "^", "D", "v", "P")
_WIDE_INCHES, _SQUARE_INCHES = (7.2, 3.6), (5.2, 5.6)
_DPI = 200
_MAX_CURVES = len(_LINES)
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Type", "Format"))


@dataclass(frozen=True, slots=True)
class Drawing:
    """One figure in two forms."""

    svg: bytes
    png: bytes


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

    Args:
        series: At most two; the first is filled, the second hatched.
        axis: Name of the x axis, with its unit.
        threshold: T; mu likewise.
        mu: Mean of the population behind T.
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
            axes.stairs(counts, edges, label=f"{_symbol(each.symbol)}{each.words} (n = {len(each.values):,})", **look)
        if mu is not None:
            axes.axvline(mu, color=_MARK, linewidth=1, linestyle=":", label=f"$\\mu$ = {mu:.4f}")
        if threshold is not None:
            axes.axvline(threshold, color=_MARK, linewidth=1.6, linestyle="--", label=f"$T$ = {threshold:.4f}")
        _dress(axes, axis, "images per bin (count)", grid="y")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.02)
        _legend_above(axes, columns=2)

    return _drawn(draw, _WIDE_INCHES)


def draw_roc(curves: Sequence[Curve], *, logarithmic: bool = False, resolution: float | None = None) -> Drawing:
    """ROC curves with the line of chance (seed paper, figure 3); for attacks FPR is better seen on a log scale.

    Args:
        curves: At most six.
        logarithmic: Whether the FPR axis is logarithmic.
        resolution: 1 / (not-used images), the least FPR above 0 that can be seen; the log axis is shaded below it.

    Raises:
        ValueError: If there are more than six curves, which nobody can tell apart.
    """
    if len(curves) > _MAX_CURVES:
        raise ValueError(f"at most {_MAX_CURVES} curves")
    lowest = min(0.001, (resolution or 0.001) / 2)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        chance = np.geomspace(lowest, 1, 400) if logarithmic else np.array([0.0, 1.0])
        axes.plot(chance, chance, color=_TEXT, linewidth=1, linestyle=":", label="chance (TPR = FPR)")
        for number, curve in enumerate(curves):
            _draw_curve(axes, curve, number, lowest if logarithmic else None)
        if logarithmic:
            axes.set_xscale("log")
            axes.set_xlim(lowest, 1)
            if resolution is not None:
                _shade(axes, lowest, resolution)
        else:
            axes.set_xlim(-0.01, 1.01)
            axes.set_aspect("equal")
        axes.set_ylim(-0.01, 1.01)
        scale = "logarithmic, no unit" if logarithmic else "no unit"
        _dress(axes, f"false positive rate ({scale})", "true positive rate (no unit)", grid="both")
        _legend_above(axes, columns=1)

    return _drawn(draw, _SQUARE_INCHES)


def draw_calibration(p_values: Sequence[float], shares: Sequence[float], label: str) -> Drawing:
    """The distribution of p-values of images known not used, against the uniform law they must follow.

    Args:
        p_values: Ascending, distinct, in (0, 1].
        shares: Share of p-values at or below each.
        label: For the legend: n, and the result of the test.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=_TEXT, linewidth=1, linestyle=":", label="uniform: what the null predicts")
        steps_x, steps_y = [0.0, *p_values, 1.0], [0.0, *shares, 1.0]
        axes.step(steps_x, steps_y, where="post", color=_COLOURS[0], linewidth=1.8, label=label)
        axes.fill_between([0, 1], [0, 1], [1, 1], color=_SHADE, linewidth=0, zorder=0)
        axes.text(0.04, 0.95, "too many small p-values", color=_TEXT, fontsize=9, va="top", style="italic")
        axes.set_aspect("equal")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.005)
        _dress(axes, "p-value (no unit)", "share of not-used groups at or below (no unit)", grid="both")
        _legend_above(axes, columns=1)

    return _drawn(draw, _SQUARE_INCHES)


def _draw_curve(axes: Axes, curve: Curve, number: int, lowest: float | None) -> None:
    fpr, tpr = np.array(curve.fpr), np.array(curve.tpr)
    if lowest is not None:  # FPR 0 has no place on a log axis: its level enters at the left edge
        at_zero = tpr[fpr <= lowest].max(initial=0.0)
        shown = fpr > lowest
        fpr, tpr = np.r_[lowest, fpr[shown]], np.r_[at_zero, tpr[shown]]
    style: dict[str, Any] = {"color": _COLOURS[number], "linestyle": _LINES[number]}
    axes.plot(fpr, tpr, linewidth=1.8, label=curve.label, drawstyle="steps-post" if lowest else "default", **style)
    point = curve.operating_point
    if point is None or (lowest is not None and point[0] < lowest):
        return
    words = f"labels of the rule (FPR {point[0]:.3f}, TPR {point[1]:.3f})"
    look: dict[str, Any] = {
        "marker": _MARKERS[number],
        "markersize": 6,
        "markeredgecolor": _MARK,
        "markerfacecolor": "white",
    }
    axes.plot([point[0]], [point[1]], linestyle="none", label=words, zorder=5, **look)


def _shade(axes: Axes, lowest: float, resolution: float) -> None:
    axes.axvspan(lowest, resolution, color=_SHADE, linewidth=0, zorder=0)
    axes.text(
        (lowest * resolution) ** 0.5,
        0.5,
        "below 1 / (not-used images)",
        rotation=90,
        ha="center",
        va="center",
        color=_TEXT,
        fontsize=8,
        style="italic",
    )


def _symbol(symbol: str) -> str:
    return {"S_u": "$S_u$ ", "S_n": "$S_n$ "}.get(symbol, f"{symbol} " if symbol else "")


def _dress(axes: Axes, x_name: str, y_name: str, *, grid: str) -> None:
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.grid(axis=grid, color=_GRID, linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend_above(axes: Axes, *, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=columns, frameon=False, borderaxespad=0.2, fontsize=9)


def _drawn(draw: Callable[[Figure], None], inches: tuple[float, float]) -> Drawing:
    # Without pyplot, which keeps state for the whole process and may ask for a display.
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "provenance",
        "font.size": 10,
        "font.family": "DejaVu Sans",
        "text.color": _TEXT,
        "axes.labelcolor": _TEXT,
        "xtick.color": _TEXT,
        "ytick.color": _TEXT,
        "axes.edgecolor": _TEXT,
        "axes.unicode_minus": False,
        "hatch.linewidth": 0.8,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata=_NO_METADATA)
        figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return Drawing(svg.getvalue(), png.getvalue())
