"""What speaks for the use of an image, as text: a small grid of its positions and the strongest of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from provenance.cli.output import print_table, short

if TYPE_CHECKING:
    from provenance.service import ExplainedImage

_STRONGEST = 5
_WIDEST = 16


def print_explanation(found: ExplainedImage) -> None:
    """Grid (where the positions form one that fits a line) and the strongest positions with their generated images."""
    explanation = found.explanation
    copy = f", {explanation.copy:.2f} of it for a single close copy" if explanation.copy else ""
    sys.stdout.write(
        f"what speaks for use (audit {found.audit_id[:8]}; {explanation.score_name} {explanation.score:.2f}{copy})\n"
        "position by position, in standard deviations above the mean of all real images there:\n"
    )
    if 0 < explanation.columns <= _WIDEST:
        values = [position.contribution for position in explanation.positions]
        for start in range(0, len(values), explanation.columns):
            row = values[start : start + explanation.columns]
            sys.stdout.write("  " + " ".join(f"{value:+5.1f}" for value in row) + "\n")
    print_table(
        ("left", "top", "right", "bottom", "contribution", "generated", "name", "similarity"),
        [
            (
                *(f"{100 * edge:.0f} %" for edge in (p.box.left, p.box.top, p.box.right, p.box.bottom)),
                f"{p.contribution:+.2f}",
                short(p.generated.image_id),
                found.names.get(p.generated.image_key, ""),
                p.similarity,
            )
            for p in explanation.strongest(_STRONGEST)
        ],
        title=f"strongest {min(_STRONGEST, len(explanation.positions))} of {len(explanation.positions)} positions",
    )
