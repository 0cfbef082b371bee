"""Grey of more than 8 bits: from its values to 8 bits, and whether that left enough of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from provenance.images.frames import BadInput, Levels, strips_of
from provenance.vocabulary import RejectReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from provenance.images.frames import Pixels
    from provenance.vocabulary import Canonical

    Values = np.ndarray[Any, Any]

FEWEST_LEVELS = 16
FEW_LEVELS, TIMES = 32, 4


class Depth(NamedTuple):
    """The values that become black and white; ``is_held``: others are refused."""

    low: float
    high: float
    is_held: bool = False

    @classmethod
    def stated(cls, rule: Canonical) -> Depth | None:
        """What a rule states."""
        return None if rule.grey_range is None else cls(*rule.grey_range)


def grey_of(values: Values, depth: Depth) -> Pixels:
    """Values as 8 bits.

    Raises:
        BadInput: If they are not finite, or outside of a range that has to be held.
    """
    low, high, is_held = depth
    if values.dtype.kind != "f" and float(low).is_integer() and float(high).is_integer():
        first, last = int(low), int(high)
        whole = np.clip(values.astype(np.int64), first, last)
        grey: Pixels = ((whole - first) * 256 // (last - first + 1)).astype(np.uint8)
        return grey
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        raise BadInput(RejectReason.NOT_FINITE, "it holds NaN or infinite values")
    least, most = float(wide.min()), float(wide.max())
    if is_held and (least < low or most > high):
        detail = (
            f"float grey is read in the range 0 to 1, and this one has {least:g} to {most:g}: "
            "state the range of all, such as --grey-range 0:4095"
        )
        raise BadInput(RejectReason.UNSUPPORTED, detail)
    levels: Pixels = np.rint((np.clip(wide, low, high) - low) / (high - low) * 255).astype(np.uint8)
    return levels


def check_range(strips: Iterator[Values], depth: Depth, rule: Canonical) -> None:
    """Refuses an image that is mostly white because its values were never of the stated range."""
    if rule.grey_range is None or depth != Depth.stated(rule):
        return
    above = total = 0
    for values in strips:
        above, total = above + int(np.count_nonzero(values > depth.high)), total + values.size
    if 2 * above > total:
        detail = f"{100 * above / total:.0f} % of its values lie above the stated range {depth.low:g}:{depth.high:g}"
        raise BadInput(RejectReason.UNSUPPORTED, f"{detail}: save it in the same range as the others")


def levels_in(strips: Iterable[Values]) -> int:
    """How many of the 256 levels there are; as soon as they are enough, so many or more."""
    seen = np.zeros(256, dtype=bool)
    for levels in strips:
        seen[levels] = True
        if np.count_nonzero(seen) >= FEW_LEVELS:
            break
    return int(np.count_nonzero(seen))


def coarse_levels(pixels: Pixels, strips: Iterator[Values]) -> Levels | None:
    """What was left of grey levels where that is too little: fewer than 16 of more, or 32 of four times as many."""
    left = levels_in(pixels[rows] for rows in strips_of(*pixels.shape[:2]))
    if left >= FEW_LEVELS:
        return None
    enough = left + 1 if left < FEWEST_LEVELS else TIMES * left
    found: Values = np.empty(0)
    low, high = np.inf, -np.inf
    for values in strips:
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        if len(found) < enough:
            found = np.union1d(found, values)
    return Levels(left, len(found), low, high) if len(found) >= enough else None
