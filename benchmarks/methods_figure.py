"""Cells of ``methods.py`` as a forest plot: AUC with its interval, one panel a release. SVG, readable in grey."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from methods_page import excludes
from methods_scores import LOCAL, SEED_RULE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from methods_scores import Cell

LEFT_OUT = "referenced:"
DEFAULT = (LOCAL, "patches-24-8@64")
ROW_INCHES, PANEL_INCHES, LABEL_INCHES = 0.175, 2.3, 3.1
BLACK, GREY, PALE = "#000000", "#767676", "#e9e9e9"


def draw(cells: Sequence[Cell], releases: Sequence[str]) -> str:
    """The figure as SVG text. Scores less those of a reference release, and the seed rule's own row, are left out."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    kept = [cell for cell in cells if not cell.method.startswith(LEFT_OUT) and cell.method != SEED_RULE]
    rows = list(dict.fromkeys((cell.space, cell.method) for cell in kept))
    places = _places(rows)
    last = max(places.values(), default=0)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "methods", "font.size": 8}):
        size = (LABEL_INCHES + PANEL_INCHES * len(releases), ROW_INCHES * (last + 1) + 1.3)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(1, len(releases), sharey=True, sharex=True, squeeze=False)[0]
        for axes, release in zip(panels, releases, strict=True):
            _panel(axes, [cell for cell in kept if cell.release == release], places, release)
        _label(panels[0], rows, places, last)
        figure.supxlabel(
            "AUC with its 95 % bootstrap interval; dashed: chance. Filled: the interval leaves 0.5 out. "
            "Diamond: the default local score.",
            fontsize=8,
        )
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _places(rows: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """A line for each row, with one above each space for its name."""
    places: dict[tuple[str, str], int] = {}
    line, space = -1, None
    for row in rows:
        line += 1 if row[0] == space else 2 + row[0].count(" + ")
        places[row], space = line, row[0]
    return places


def _panel(axes: Axes, cells: Sequence[Cell], places: dict[tuple[str, str], int], title: str) -> None:
    axes.axvline(0.5, color=BLACK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for cell in cells:
        if cell.auc.value is None:
            continue
        line, apart = places[cell.space, cell.method], excludes(cell.auc, 0.5)
        ends = (cell.auc.low, cell.auc.high)
        if None not in ends:
            axes.plot(ends, (line, line), color=BLACK if apart else GREY, linewidth=1.1, zorder=2)
        is_default = (cell.method, cell.space) == DEFAULT
        axes.plot(
            cell.auc.value,
            line,
            marker="D" if is_default else "o",
            markersize=5.5 if is_default else 4,
            color=BLACK if apart else GREY,
            markerfacecolor=BLACK if apart else "white",
            zorder=3,
        )
    axes.set_title(title, fontsize=9)
    axes.set_xlim(0.3, 1.02)
    axes.set_xticks([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=PALE, linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _label(axes: Axes, rows: Sequence[tuple[str, str]], places: dict[tuple[str, str], int], last: int) -> None:
    axes.set_ylim(last + 0.7, -0.2)
    first = {space: places[space, method] for space, method in reversed(rows)}
    # The name of several spaces takes as many lines, above their first row.
    heads = {line - 1 - 0.4 * space.count(" + "): space.replace(" + ", " +\n") for space, line in first.items()}
    lines = {places[row]: row[1] for row in rows} | heads
    axes.set_yticks(sorted(lines), [lines[line] for line in sorted(lines)])
    for line, text in zip(sorted(lines), axes.get_yticklabels(), strict=True):
        text.set_fontweight("bold" if line in heads else "normal")
