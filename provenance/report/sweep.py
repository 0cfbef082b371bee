"""The figure of a sweep: the metrics of the seed rule over alpha, as PNG or SVG; readable in greyscale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provenance.report.drawing import dress, in_formats, legend_above

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOKS: tuple[tuple[str, Any, str], ...] = (
    ("#c25e1c", (0, (6, 2)), "s"),
    ("#4f8a5b", (0, (5, 1.5, 1, 1.5)), "^"),
    ("#16466f", "-", "o"),
    ("#5c6670", (0, (1, 1.2)), "D"),
)
_SIZE_INCHES = (7.2, 4.0)


@dataclass(frozen=True, slots=True)
class SweepCurves:
    """What is drawn.

    Attributes:
        alphas: Ascending, no unit.
        metrics: Name -> a share for each alpha, at most four; ``None`` where it is undefined.
        best_alpha: Where F1 is greatest; ``None`` without.
        f1_of_all_used: F1 of calling every image used.
        images: How many with known truth.
    """

    alphas: tuple[float, ...]
    metrics: Mapping[str, tuple[float | None, ...]]
    best_alpha: float | None
    f1_of_all_used: float
    images: int


def draw_sweep(curves: SweepCurves, fmt: str) -> bytes:
    """The figure as ``png`` or ``svg``; equal values give equal bytes."""
    return in_formats(lambda figure: _draw(figure.add_subplot(), curves), _SIZE_INCHES, [fmt])[0]


def _draw(axes: Any, curves: SweepCurves) -> None:
    mark = f"F1 of calling every image used ({curves.f1_of_all_used:.3f})"
    axes.axhline(curves.f1_of_all_used, color="black", linewidth=1, linestyle=(0, (1, 3)), label=mark)
    for (name, values), (colour, line, marker) in zip(curves.metrics.items(), _LOOKS, strict=False):
        shown = [float("nan") if value is None else value for value in values]
        axes.plot(curves.alphas, shown, color=colour, linestyle=line, marker=marker, markersize=5, label=name)
    if curves.best_alpha is not None:
        best = f"best F1 (alpha = {curves.best_alpha:g})"
        axes.axvline(curves.best_alpha, color="black", linewidth=1, linestyle="--", label=best)
    dress(axes, "alpha (no unit), T = mu + alpha x sigma", f"share (no unit), n = {curves.images:,} images")
    axes.set_ylim(-0.02, 1.02)
    legend_above(axes, columns=3, handlelength=3)
