"""Calibrated verdicts of generated images, with the negative control that they need. Pure.

Is g closer to U (used) than a fresh real image is? Score S_u(g) = max over r in U of cos(g, r), calibration scores the
max cosine to U of each never-used real. Generated images are not exchangeable with real ones: a generator whose
images all lie near the middle of the reals is closer to U without having copied. Two guards:

    margin   the same test of S_u(g) - S_n(g), with S_n over N (not used). An image that is close to everything has no
             margin. Both p-values must be small: p(g) is the greater of the two, which is valid as soon as one is.
    control  the same test of S_n(g) against each never-used real's max cosine to N without its own group. No copy can
             come from there (negative controls: Lipsitch et al. 2010).

    as many rejections in the control as in the test      -> everything is inconclusive
    rejected by S_u, but not by the margin, or by the     -> inconclusive: it can't be told whose copy it is
    control as well                                          (N may hold a twin of its source)

The control alone would not do: where S_u is not calibrated at all, chance gives more rejections on one side in many
releases (of 200 simulated ones near the middle, 39 to 53 were said to hold copies in spite of the control, 2 or
fewer with the margin as well).

Assumptions: those of ``calibration``, but for exchangeability with reals, which the guards look after as far as they
can; U and N are draws from one population and of like size (a larger set has nearer neighbors).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.calibrated.conformal import Calibrated, calibrate, decide_by_p_values, unrounded_p_values
from provenance.detection.checks import rounded_scores, same_length
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from provenance.detection.checks import Groups, Numbers

UNLIKE_SIZES = 1.5
"""Sets whose sizes differ by more than this factor get a warning."""


@dataclass(frozen=True, slots=True)
class ControlledVerdicts:
    """Calibrated verdicts of generated images.

    ``labels`` are those after the control, one for each image, ``reason`` why they are so, ``warnings`` what weakens
    them. ``test`` is of S_u and of the margin together (the p- and q-values of the verdicts), ``closeness`` of S_u
    alone, ``control`` of S_n alone.
    """

    labels: tuple[Label, ...]
    test: Calibrated
    closeness: Calibrated
    control: Calibrated
    reason: str
    warnings: tuple[str, ...]

    @property
    def established(self) -> int:
        """How many images are established."""
        return self.labels.count(Label.ESTABLISHED)

    def undecided(self, reason: str) -> ControlledVerdicts:
        """The same with nothing established, for a reason that speaks against all of them."""
        return replace(
            self, labels=(Label.INCONCLUSIVE,) * len(self.labels), test=self.test.undecided(reason), reason=reason
        )


def calibrate_generated(
    s_used: Numbers,
    s_not_used: Numbers,
    calibration_to_used: Numbers,
    calibration_to_not_used: Numbers,
    *,
    calibration_groups: Groups | None = None,
    groups: Groups | None = None,
    set_sizes: tuple[int, int] | None = None,
    q: float = 0.05,
) -> ControlledVerdicts:
    """The rule ``calibrated`` for generated images; formula and assumptions in the module.

    Args:
        s_used: S_u of each generated image, shape (m,).
        s_not_used: S_n of each, in the same order.
        calibration_to_used: Of each never-used real: its greatest cosine to U, own group left out, shape (c,).
        calibration_to_not_used: Of each: its greatest cosine to N, own group left out.
        calibration_groups: Patient or study of each; ``None`` in a place: a group of its own.
        groups: Of the generated images; ``None``: each is its own.
        set_sizes: Images in U and in N, for a warning where they are unlike.
        q: Level of the false discovery rate, in (0, 1).

    Raises:
        UsageError: As in ``calibrate``; and if lengths differ.
    """
    same_length(list(s_not_used), len(s_used), "S_n")
    same_length(list(calibration_to_not_used), len(calibration_to_used), "calibration scores against N")
    own = groups if groups is not None else [f"generated {place}" for place in range(len(s_used))]
    closeness = calibrate(s_used, calibration_to_used, groups=own, calibration_groups=calibration_groups, q=q)
    control = calibrate(s_not_used, calibration_to_not_used, groups=own, calibration_groups=calibration_groups, q=q)
    to_used, to_not_used = (
        [rounded_scores(each) for each in pair]
        for pair in ((s_used, calibration_to_used), (s_not_used, calibration_to_not_used))
    )
    margins = [rounded_scores(u - n) for u, n in zip(to_used, to_not_used, strict=True)]
    p_values = np.maximum(*(unrounded_p_values(s, c, calibration_groups) for s, c in (to_used, margins)))
    test = decide_by_p_values(p_values, own, closeness.calibration_groups, q, warnings=closeness.warnings)
    labels, reason = _guarded(test, closeness, control)
    warnings = list(test.warnings)
    if set_sizes is not None and max(set_sizes) > UNLIKE_SIZES * min(set_sizes):
        warnings.append(
            f"{set_sizes[0]:,} used and {set_sizes[1]:,} not-used images are unlike in number: "
            "the larger set has nearer neighbors, so that the control is too strict or too lenient."
        )
    return ControlledVerdicts(labels, test, closeness, control, reason, tuple(warnings))


def _guarded(test: Calibrated, closeness: Calibrated, control: Calibrated) -> tuple[tuple[Label, ...], str]:
    if not closeness.established:
        return closeness.labels, closeness.reason
    close, rejected = closeness.established_groups, control.established_groups
    everywhere = (Label.INCONCLUSIVE,) * len(test.labels)
    lead = (
        f"Inconclusive: {close:,} of the generated images are closer to the used images than fresh real ones are, but"
    )
    if rejected >= max(1, test.established_groups):
        return everywhere, f"{lead} {rejected:,} are so to images that were not used: the release lies close to reals."
    labels = tuple(map(_label, test.labels, closeness.labels, control.labels))
    undecided = labels.count(Label.INCONCLUSIVE)
    if Label.ESTABLISHED not in labels:
        return everywhere, f"{lead} they are about as close to images that were not used."
    left = f" {undecided:,} that are about as close to these are left inconclusive." if undecided else ""
    return labels, f"{test.reason} The same test against images that were not used rejects {rejected:,}.{left}"


def _label(test: Label, closeness: Label, control: Label) -> Label:
    if closeness is not Label.ESTABLISHED:
        return Label.NOT_ESTABLISHED
    both = test is Label.ESTABLISHED and control is not Label.ESTABLISHED
    return Label.ESTABLISHED if both else Label.INCONCLUSIVE
