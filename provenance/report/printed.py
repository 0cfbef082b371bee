"""What figures for print have in common: colours that read in grey, and nothing in a file that differs between runs."""

from __future__ import annotations

from typing import Any

TEXT, GRID = "#22272c", "#dfe3e7"
NO_METADATA = dict.fromkeys(("Date", "Creator", "Type", "Format"))
"""For SVG: no date and no version of the drawing library, so that equal values give equal bytes."""

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "provenance",
    "font.size": 10,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.edgecolor": TEXT,
}
"""Settings of matplotlib."""
