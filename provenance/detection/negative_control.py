"""Calibrated verdicts of generated images, with the negative control that they need. Pure.

Main test: is g closer to U (used) than a fresh real image is? Score S_u(g) = max over r in U of cos(g, r), calibration
scores the max cosine to U of each never-used real. Generated images are not exchangeable with real ones: a generator
whose images all lie closer to everything would be convicted without having copied. So the same test runs against N
(not used), where no copy can come from: score S_n(g), calibration scores each never-used real's max cosine to N
without its own group. What is rejected there measures how far the main test is to be believed (negative controls:
Lipsitch et al. 2010).

    as many rejections in the control as in the main test -> everything is inconclusive
    an image that the control rejects too                 -> inconclusive: closer to N than a fresh real is, it can't
                                                            be told whose copy it is (N may hold a twin of its source)

Assumptions: those of ``calibration``, but for exchangeability, which the control looks after as far as it can; U and
N are draws from one population and of like size (a larger set has nearer neighbors).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provenance.detection.calibration import Calibrated, calibrate
from provenance.detection.checks import same_length
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from provenance.detection.checks import Groups, Numbers

UNLIKE_SIZES = 1.5
"""Sets whose sizes differ by more than this factor get a warning."""


@dataclass(frozen=True, slots=True)
class ControlledVerdicts:
    """Calibrated verdicts of generated images.

    Attributes:
        labels: After the control, one for each image.
        main: Against U, with p- and q-values.
        control: Against N.
        reason: Why the labels are what they are.
        warnings: What weakens them.
    """

    labels: tuple[Label, ...]
    main: Calibrated
    control: Calibrated
    reason: str
    warnings: tuple[str, ...]

    @property
    def established(self) -> int:
        """How many images are established."""
        return self.labels.count(Label.ESTABLISHED)

    def to_json(self) -> dict[str, Any]:
        """All attributes as JSON values."""
        return {
            "labels": [label.value for label in self.labels],
            "established": self.established,
            "main": self.main.to_json(),
            "control": self.control.to_json(),
            "reason": self.reason,
            "warnings": list(self.warnings),
        }


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
    main = calibrate(s_used, calibration_to_used, groups=own, calibration_groups=calibration_groups, q=q)
    control = calibrate(s_not_used, calibration_to_not_used, groups=own, calibration_groups=calibration_groups, q=q)
    labels, reason = _after_control(main, control)
    warnings = list(main.warnings)
    if set_sizes is not None and max(set_sizes) > UNLIKE_SIZES * min(set_sizes):
        warnings.append(
            f"{set_sizes[0]:,} used and {set_sizes[1]:,} not-used images are unlike in number: "
            "the larger set has nearer neighbors, so that the control is too strict or too lenient."
        )
    return ControlledVerdicts(labels, main, control, reason, tuple(warnings))


def _after_control(main: Calibrated, control: Calibrated) -> tuple[tuple[Label, ...], str]:
    if not main.established:
        return main.labels, main.reason
    rejected = control.established_groups
    if rejected >= main.established_groups:
        return (Label.INCONCLUSIVE,) * len(main.labels), (
            f"Inconclusive: {main.established_groups:,} generated images are closer to the used images than fresh real "
            f"ones are, but {rejected:,} are so to images that were not used; "
            "the release lies close to real images as such."
        )
    both = [
        one is Label.ESTABLISHED and two is Label.ESTABLISHED
        for one, two in zip(main.labels, control.labels, strict=True)
    ]
    labels = tuple(Label.INCONCLUSIVE if twice else label for label, twice in zip(main.labels, both, strict=True))
    control_says = f"The same test against images that were not used rejects {rejected:,}"
    undecided = f"; {sum(both):,} that it rejects too are left inconclusive" if any(both) else ""
    return labels, f"{main.reason} {control_says}{undecided}."
