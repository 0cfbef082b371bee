"""Two audits on the same images: McNemar's test, and the paired bootstrap of the differences. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.detection.checks import group_codes, same_length
from provenance.detection.metrics.bootstrap import estimate, resample
from provenance.detection.metrics.classification import metrics_of
from provenance.detection.metrics.evaluation import ALL_EQUAL, ONE_CLASS, checked_judgement, supporting_groups
from provenance.findings import Estimate, JsonValue, Resampling

if TYPE_CHECKING:
    from provenance.arrays import Flags
    from provenance.detection.checks import FlagsLike, Groups, Numbers


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's exact test: are the audits wrong equally often?

    Attributes:
        first_only: Images that only the first audit labels rightly.
        second_only: Images that only the second one labels rightly.
        p_value: Two-sided, Binomial(first_only + second_only, 1/2); 1 where the audits never differ.
        independent: Whether every image is a group of its own. If not, the test is too easily significant:
            read the paired bootstrap.
    """

    first_only: int
    second_only: int
    p_value: float
    independent: bool


@dataclass(frozen=True, slots=True)
class Comparison(JsonValue):
    """Two audits on the same n images, of so many groups, with the same truth; McNemar's test is on the labels.

    Differences are first minus second, with the interval of a paired bootstrap by group; an interval that holds 0
    shows no difference.
    """

    n: int
    groups: int
    mcnemar: McNemar
    accuracy_difference: Estimate
    auc_difference: Estimate
    resampling: Resampling


def compare(
    truth: FlagsLike,
    first: tuple[FlagsLike, Numbers],
    second: tuple[FlagsLike, Numbers],
    *,
    groups: Groups | None = None,
    resampling: Resampling | None = None,
) -> Comparison:
    """McNemar (1947) and paired bootstrap. Each resample draws the same groups for both audits.

    Args:
        truth: Whether each image was used, shape (n,).
        first: Labels and scores of the first audit, in the order of ``truth``.
        second: Of the second, on the same images in the same order.
        groups: Patient or study of each image.
        resampling: How the bootstrap is run.

    Raises:
        UsageError: If there are no images, lengths differ, or a score is not finite.
    """
    resampling = resampling or Resampling()
    known, one = checked_judgement(truth, *first)
    _, two = checked_judgement(truth, *second)
    codes, count = group_codes(groups, len(known))
    resampled = resample(known, [one, two], codes, resampling)
    supports = supporting_groups(known, one.labels, codes)

    def difference(name: str) -> Estimate:
        first, second = (getattr(metrics_of(known, each.labels, each.scores), name) for each in (one, two))
        if first is None or second is None:
            return Estimate(None, reason=ONE_CLASS if known.all() or not known.any() else ALL_EQUAL)
        return estimate(first - second, resampled[0][name] - resampled[1][name], resampling.level, supports[name])

    return Comparison(
        n=len(known),
        groups=count,
        mcnemar=mcnemar(one.labels == known, two.labels == known, independent=count == len(known)),
        accuracy_difference=difference("accuracy"),
        auc_difference=difference("auc"),
        resampling=resampling,
    )


def mcnemar(first_right: Flags, second_right: Flags, *, independent: bool = True) -> McNemar:
    """McNemar's exact test, by scipy's binomial test, of whether each of two audits labels each image rightly, (n,).

    Raises:
        UsageError: If lengths differ.
    """
    from scipy.stats import binomtest

    same_length(second_right, len(first_right), "the second audit")
    first_only = int((first_right & ~second_right).sum())
    second_only = int((~first_right & second_right).sum())
    differing = first_only + second_only
    p_value = float(binomtest(first_only, differing, 0.5).pvalue) if differing else 1.0
    return McNemar(first_only, second_only, p_value, independent)
