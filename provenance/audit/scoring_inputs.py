"""What membership scores are computed from (``scoring``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from provenance.arrays import Float32s, Int64s

    Progress = Callable[[int, int], None]
    Arrays = dict[str, NDArray[Any]]
    Keep = Callable[[str, Callable[[], Arrays]], Arrays]


@dataclass(frozen=True, slots=True)
class ScoringInputs:
    """What scores are computed from.

    Attributes:
        pool: Unit vectors of the reals, float32 (n, parts, dimension): calibration, subjects and known used ones.
        release: Of the generated images, float32 (m, parts, dimension).
        groups: Patient or study of each real; ``None`` in a place: a group of its own.
        reference: Of a release whose generator was trained on other images; ``None`` without.
        threads: How many work at it; ``None``: all cores. No influence on a score.
        used: Rows of the pool that are known to be used, for a score that learns; ``not_used`` likewise.
        keep: Gives arrays by the digest of what they are made of, and makes them where they are not kept; ``None``:
            nothing is kept.
    """

    pool: Float32s
    release: Float32s
    groups: Sequence[str | None]
    reference: Float32s | None = None
    threads: int | None = None
    used: Int64s | None = None
    not_used: Int64s | None = None
    keep: Keep | None = None
