"""Stratified, seeded splits; groups stay together. From scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import both_classes, group_codes
from provenance.errors import UsageError

if TYPE_CHECKING:
    from provenance.arrays import Flags, Int64s
    from provenance.detection.checks import Groups

    Split = tuple[Int64s, Int64s]


def folds_of(truth: Flags, groups: Groups | None, folds: int, seed: int) -> list[Split]:
    """Row numbers (training, held out) of each fold; every row is held out once.

    Raises:
        UsageError: If there are fewer groups or images of a class than folds, or a training part of one class.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    codes, count = group_codes(groups, len(truth))
    both_classes(truth)
    smaller = int(min(truth.sum(), (~truth).sum()))
    if folds < 2:
        raise UsageError(f"cross-validation needs 2 folds or more, not {folds}")
    if min(count, smaller) < folds:
        raise UsageError(
            f"{count} groups and {smaller} images of the rarer class are too few for {folds} folds",
            hint="use fewer folds, or more images with truth",
        )
    if count == len(truth):
        splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(codes, truth))
    else:
        grouped = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        splits = list(grouped.split(codes, truth, codes))
    # Large groups can leave a fold empty, or a training part with one class.
    if any(len(test) == 0 or len(set(truth[training])) < 2 for training, test in splits):
        raise UsageError(
            f"the groups can't be spread over {folds} folds with both classes in every training part",
            hint="use fewer folds, or more groups",
        )
    return splits


def split_of(truth: Flags, groups: Groups | None, share: float, seed: int) -> Split:
    """Row numbers (training, held out) of one stratified split, in scikit-learn's order; about ``share`` is held out.

    Without groups scikit-learn's ``train_test_split(stratify=truth)``; with groups the first fold of a
    ``StratifiedGroupKFold`` of about 1 / share folds that has both classes on both sides.

    Raises:
        UsageError: If there are fewer than two groups, or no such split.
    """
    from sklearn.model_selection import train_test_split

    _, count = group_codes(groups, len(truth))
    both_classes(truth)
    if not 0 < share < 1:
        raise UsageError(f"the held-out share lies between 0 and 1, not {share}")
    if count < 2:
        raise UsageError("all images belong to one group: nothing can be held out", hint="two groups or more")
    if count < len(truth):
        return _grouped_split(truth, groups, min(round(1 / share), count), seed)
    rows = np.arange(len(truth))
    try:
        training, held_out = train_test_split(rows, test_size=share, stratify=truth, random_state=seed)
    except ValueError as error:
        raise UsageError(
            f"{len(truth)} images, {int(truth.sum())} of them used, are too few for a stratified split: {error}"
        ) from error
    return training, held_out


def _grouped_split(truth: Flags, groups: Groups | None, folds: int, seed: int) -> Split:
    smaller = int(min(truth.sum(), (~truth).sum()))
    splits = folds_of(truth, groups, max(2, min(folds, smaller)), seed)
    for training, held_out in splits:
        if len(set(truth[held_out])) == 2:
            return training, held_out
    raise UsageError("no split by groups has both classes on both sides", hint="more groups of the rarer class")
