"""How figures are drawn: one style, for print (SVG and PNG) or for the page; equal values give equal bytes.

For print, colours read in grey. For the page they are written as CSS variables, so that one drawing serves light, dark
and paper.
"""

from __future__ import annotations

import io
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Draw = Callable[[Figure], None]

TEXT, GRID = "#22272c", "#dfe3e7"
PAGE_TEXT, PAGE_GRID, PAGE_MARK = "#010203", "#010204", "#010205"
PAGE_SERIES = ("#010206", "#010207", "#010208")
_NAMES = ("--fig-text", "--fig-grid", "--fig-mark", "--fig-a", "--fig-b", "--fig-c")
_VARIABLES = dict(zip((PAGE_TEXT, PAGE_GRID, PAGE_MARK, *PAGE_SERIES), _NAMES, strict=True))
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Type", "Format"))
_DPI = 200
_PAGE_INCHES, _NARROW_INCHES = (9.2, 3.9), (4.4, 3.6)


@dataclass(frozen=True, slots=True)
class Drawing:
    """One figure in two forms."""

    svg: bytes
    png: bytes


def for_print(draw: Draw, inches: tuple[float, float], **settings: Any) -> Drawing:
    """What ``draw`` draws on a figure of that size; ``settings`` are further ones of matplotlib."""
    return Drawing(*in_formats(draw, inches, ("svg", "png"), **settings))


def in_formats(draw: Draw, inches: tuple[float, float], formats: Sequence[str], **settings: Any) -> list[bytes]:
    """The figure of ``for_print`` as files, one a format."""
    files = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)  # shown as a box
        with _figure(draw, inches, _style(TEXT, 10) | settings) as figure:
            for fmt in formats:
                files.append(io.BytesIO())
                metadata = _NO_METADATA if fmt == "svg" else {"Software": None}
                figure.savefig(files[-1], format=fmt, dpi=_DPI, metadata=metadata)
    return [file.getvalue() for file in files]


def for_page(draw: Draw, title_id: str, *, narrow: bool = False, panels: int = 1) -> str:
    """What ``draw`` draws, as an SVG element for the page.

    Args:
        draw: Draws on a figure.
        title_id: The element that says what it is.
        narrow: Whether it is for a narrow screen, where ``panels`` stand below each other.
        panels: How many it has.
    """
    buffer = io.StringIO()
    inches = (_NARROW_INCHES[0], _NARROW_INCHES[1] * panels) if narrow else _PAGE_INCHES
    with _figure(draw, inches, _style(PAGE_TEXT, 11) | {"svg.fonttype": "none"}) as figure:
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    return _bare(buffer.getvalue(), title_id, f"{title_id}-narrow" if narrow else title_id)


@contextmanager
def _figure(draw: Draw, inches: tuple[float, float], settings: dict[Any, Any]) -> Iterator[Figure]:
    # Without pyplot, which keeps state for the whole process and may ask for a display.
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(settings):
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        yield figure


def _style(text: str, size: float) -> dict[Any, Any]:
    coloured = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    return {"svg.hashsalt": "provenance", "font.size": size, **dict.fromkeys(coloured, text)}


def side_by_side(figure: Figure, count: int) -> Any:
    """The axes of several panels; below each other on a narrow figure."""
    return figure.subplots(count, 1) if _is_narrow(figure) else figure.subplots(1, count)


def _is_narrow(figure: Any) -> bool:
    return bool(figure.get_figwidth() <= _NARROW_INCHES[0])


def dress(
    axes: Axes, x_name: str, y_name: str, *, grid: Any = "y", colour: str = GRID, width: float = 0.8, left: bool = True
) -> None:
    """Names of the axes (with their units), a quiet grid behind what is drawn, and no box around it."""
    axes.set(xlabel=x_name, ylabel=y_name, axisbelow=True)
    if _is_narrow(axes.get_figure()):
        axes.xaxis.label.set_fontsize(8.5)
        axes.yaxis.label.set_fontsize(8.5)
    axes.grid(axis=grid, color=colour, linewidth=width)
    axes.spines[["top", "right"] if left else ["top", "right", "left"]].set_visible(False)


def legend_above(axes: Axes, columns: int = 2, size: float = 9, **looks: Any) -> None:
    """A legend above the axes, without a frame; on a narrow figure in one column."""
    if _is_narrow(axes.get_figure()):
        columns, size = 1, 8
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "borderaxespad": 0.2}
    axes.legend(**place, ncols=columns, frameon=False, fontsize=size, **looks)


def whole_counts(axes: Axes, **steps: Any) -> None:
    """A vertical axis of counts, from 0; the horizontal one without an offset."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, **steps))
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.set_ylim(bottom=0)


def _bare(svg: str, title_id: str, own: str) -> str:
    """The bare element: no prolog, no metadata, colours as variables, its size left to the page, ids its ``own``."""
    element = svg[svg.index("<svg") :].strip()
    element = re.sub(r"\s*<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    _, _, inner = element.partition(">")
    box = re.search(r'viewBox="[^"]+"', element)
    assert box is not None, "matplotlib writes a viewBox"
    for colour, variable in _VARIABLES.items():
        inner = inner.replace(colour, f"var({variable})")
    inner = inner.replace("xlink:href", "href")  # the only use of a namespace; HTML knows plain href
    inner = _with_own_ids(inner, own)
    return f'<svg class="figure" role="img" aria-labelledby="{title_id}" {box.group()}>{inner}'


def _with_own_ids(svg: str, own: str) -> str:
    """No other ids than those that are referred to, and these such as no other drawing of the page has."""
    meant = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{own}-{found[1]}"' if found[1] in meant else "", svg)
    return re.sub(r'(href="|url\()#([^")]+)', rf"\1#{own}-\2", svg)
