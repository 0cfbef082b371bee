"""Checks of what the rules and the evaluation are given: one clear error in place of a NaN far away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from provenance.detection.decision import DECIMALS
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from provenance.arrays import Flags, Float64s, Int64s

    FlagsLike: TypeAlias = Sequence[bool] | Flags
    Numbers: TypeAlias = Sequence[float] | Float64s
    Groups: TypeAlias = Sequence[Hashable | None]


def checked_flags(values: FlagsLike, name: str) -> Flags:
    """A vector of true and false (1 and 0 are taken as such).

    Raises:
        UsageError: If it is empty, not one-dimensional, or holds anything else.
    """
    array = np.asarray(values)
    _one_row(array, name)
    if array.dtype != np.bool_ and not all(value in (0, 1) for value in array.tolist()):
        raise UsageError(f"{name} must hold true or false (1 or 0) for every image")
    return array.astype(np.bool_)


def checked_scores(values: Numbers, name: str, length: int | None = None) -> Float64s:
    """A vector of finite float64 numbers, of ``length`` where it is given.

    Raises:
        UsageError: If it is empty, of another length, or holds NaN, infinity or no number.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} holds something that is not a number") from error
    _one_row(array, name)
    if not np.isfinite(array).all():
        wrong = int(np.flatnonzero(~np.isfinite(array))[0])
        raise UsageError(f"{name} holds a value that is not finite (at position {wrong})")
    same_length(array, length, name)
    return array


def rounded_scores(values: Numbers, name: str = "scores", length: int | None = None) -> Float64s:
    """``checked_scores``, rounded to ``DECIMALS`` decimals."""
    return np.round(checked_scores(values, name, length), DECIMALS)


def _one_row(array: NDArray[Any], name: str) -> None:
    if array.ndim != 1 or array.size == 0:
        raise UsageError(f"{name}: no values to work with" if array.size == 0 else f"{name} must be one row of values")


def check_level(q: float) -> None:
    """Refuse a level of the false discovery rate that is not in (0, 1)."""
    if not 0 < q < 1:
        raise UsageError(f"q lies between 0 and 1, not {q}", hint="0.05 is usual")


def same_length(values: NDArray[np.generic] | Sequence[object], length: int | None, name: str) -> None:
    """Refuse values that are not one for each image."""
    if length is not None and len(values) != length:
        raise UsageError(f"{name} has {len(values)} values for {length} images")


def group_codes(groups: Groups | None, length: int) -> tuple[Int64s, int]:
    """Consecutive integers for groups, and how many there are; an image without a group is its own.

    Codes follow the sorted names of the groups, not the order of the images.
    """
    if groups is None:
        return np.arange(length), length
    same_length(groups, length, "groups")
    names = sorted({str(group) for group in groups if group is not None})
    code_of = {name: code for code, name in enumerate(names)}
    codes, next_code = np.empty(length, dtype=np.int64), len(names)
    for row, group in enumerate(groups):
        if group is None:
            codes[row], next_code = next_code, next_code + 1
        else:
            codes[row] = code_of[str(group)]
    return codes, next_code


def both_classes(truth: Flags) -> None:
    """Refuse truth of one class only: every image was used, or none."""
    if truth.all() or not truth.any():
        raise UsageError(
            f"all {len(truth)} images are {'used' if truth.all() else 'not used'}: one class only",
            hint="give truth for images of both kinds",
        )
