"""Bootstrap by group: groups are drawn with replacement and taken whole (Efron & Tibshirani 1993). Vectorised.

Assumption: groups (patients, studies) are independent of each other; images within one need not be. Intervals are
percentile intervals. They are approximate: too narrow for few groups, and of no width where every image is judged
alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.findings import Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.findings import Resampling

CHUNK_NUMBERS = 2_000_000
"""Weights that are in memory at a time: 16 MB an array."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one audit said of the images, in their order: labels (used or not), and the scores behind them."""

    labels: Flags
    scores: Float64s


def resample(
    truth: Flags,
    judgements: Sequence[Judgement],
    codes: Int64s,
    resampling: Resampling,
    fpr_levels: Sequence[float] = (),
    drawn: int | None = None,
) -> list[dict[str, Float64s]]:
    """Every metric in every resample, the same draws for all judgements on the images of ``truth``, shape (n,).

    ``codes`` are the images' groups, 0 to G - 1; ``fpr_levels`` those of ``tpr@LEVEL``; ``drawn`` how many groups a
    resample has (``None``: G). Gives for each judgement
    metric name -> float64 (resamples,); NaN where a resample leaves it undefined, such as an AUC of one class.
    """
    rng = np.random.default_rng(resampling.seed)
    groups = int(codes.max()) + 1
    step = max(1, CHUNK_NUMBERS // max(len(truth), groups, drawn or 0))
    chunks: list[list[dict[str, Float64s]]] = []
    for start in range(0, resampling.resamples, step):
        counts = _draw(rng, min(step, resampling.resamples - start), groups, drawn)
        with np.errstate(divide="ignore", invalid="ignore"):
            chunks.append(
                [
                    _metrics_of_labels(truth, judgement.labels, codes, counts)
                    | _metrics_of_scores(truth, judgement.scores, codes, counts, fpr_levels)
                    for judgement in judgements
                ]
            )
    return [
        {name: np.concatenate([chunk[place][name] for chunk in chunks]) for name in chunks[0][place]}
        for place in range(len(judgements))
    ]


def resampled_means(
    values: Float64s, counted: Flags, codes: Int64s, resampling: Resampling, drawn: int | None = None
) -> Float64s:
    """The mean of ``values`` over the images that are ``counted``, in every resample, (resamples,); NaN without any.

    As in ``resample``: with the same codes and settings the draws are the same.
    """
    rng, groups = np.random.default_rng(resampling.seed), int(codes.max()) + 1
    sums, sizes = (np.bincount(codes, weights=each * counted, minlength=groups) for each in (values, counted))
    step = max(1, CHUNK_NUMBERS // max(groups, drawn or 0))
    parts = []
    for start in range(0, resampling.resamples, step):
        counts = _draw(rng, min(step, resampling.resamples - start), groups, drawn)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append((counts @ sums) / (counts @ sizes))
    return np.concatenate(parts)


def estimate(value: float, resampled: Float64s, level: float, support: int) -> Estimate:
    """A figure with its percentile interval over the resamples that define it; ``support`` groups bear on it."""
    usable = resampled[np.isfinite(resampled)]
    if support < 2:
        return Estimate(value, reason="no interval: fewer than two groups bear on it")
    if 2 * len(usable) < len(resampled):
        return Estimate(value, reason="no interval: undefined in more than half of the resamples")
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def _draw(rng: np.random.Generator, resamples: int, groups: int, drawn: int | None = None) -> Float64s:
    # How often each group was drawn; a row of counts is a resample.
    rows = rng.integers(0, groups, size=(resamples, drawn or groups))
    rows += np.arange(resamples)[:, None] * groups
    return np.bincount(rows.ravel(), minlength=resamples * groups).reshape(resamples, groups).astype(np.float64)


def _metrics_of_labels(truth: Flags, labels: Flags, codes: Int64s, counts: Float64s) -> dict[str, Float64s]:
    cells = [truth & labels, ~truth & labels, truth & ~labels, ~truth & ~labels]
    by_group = [np.bincount(codes, weights=cell, minlength=counts.shape[1]) for cell in cells]
    tp, fp, fn, tn = (counts @ column for column in by_group)
    n = tp + fp + fn + tn
    agreement = (tp + tn) / n
    expected = ((tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)) / n**2
    two_classes = (tp + fn > 0) & (fp + tn > 0)
    return {
        "accuracy": agreement,
        "precision": tp / (tp + fp),
        "recall": tp / (tp + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "kappa": np.where(two_classes, (agreement - expected) / (1 - expected), np.nan),
    }


def _metrics_of_scores(
    truth: Flags, scores: Float64s, codes: Int64s, counts: Float64s, fpr_levels: Sequence[float]
) -> dict[str, Float64s]:
    # Weighted ROC curve: rows are resamples, columns the distinct scores in ascending order.
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    weights = counts[:, codes[order]]
    positive = weights * truth[order]
    negative = weights - positive
    if len(starts) < len(scores):
        positive = np.add.reduceat(positive, starts, axis=1)
        negative = np.add.reduceat(negative, starts, axis=1)
    below = np.cumsum(negative, axis=1)
    positives, negatives = positive.sum(axis=1), below[:, -1]
    auc = ((below - negative / 2) * positive).sum(axis=1) / (positives * negatives)
    metrics = {"auc": auc}
    if fpr_levels:
        hits = positives[:, None] - np.cumsum(positive, axis=1) + positive
        false_rate = (negatives[:, None] - below + negative) / negatives[:, None]
        for level in fpr_levels:
            best = np.where(false_rate <= level, hits, 0).max(axis=1)
            metrics[f"tpr@{level:g}"] = np.where(negatives > 0, best / positives, np.nan)
    return metrics
