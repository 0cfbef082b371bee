"""What agreement means in one audit: real images that went through the same search, and p-values by them.

Never-used images are the calibration, their own group left out. Without any, real images held against those of other
groups stand in (impostors): what is established by them is *verified* at the rate at which they match, not calibrated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from provenance.audit.rules.copies.gallery import group_of
from provenance.detection.checks import group_codes
from provenance.detection.copies.calibration import (
    agreement_scores,
    calibrated_copies,
    false_match_rate,
    share_scores,
    twin_bound,
)
from provenance.detection.decision import SIMILARITY_TOLERANCE
from provenance.errors import UsageError
from provenance.findings import CopyCalibration, FalseMatchRate, TailFigures
from provenance.vocabulary import Established, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.arrays import Float64s
    from provenance.audit.rules.copies.gallery import Gallery
    from provenance.detection.copies.calibration import CalibratedCopies
    from provenance.detection.copies.found import Found
    from provenance.records import Member

DOUBT = 4
"""An image with a q-value up to so many times the level stands out, and is not established: inconclusive."""


@dataclass(frozen=True, slots=True, eq=False)
class Strangers:
    """Real images with what was found of them among real images of other groups.

    Attributes:
        flagged: Those known to be near-twins of a candidate.
        never_used: Whether they are known not to be used; else they are impostors.
    """

    members: tuple[Member, ...]
    found: tuple[Found, ...]
    flagged: tuple[bool, ...]
    never_used: bool

    @property
    def groups(self) -> list[str]:
        """Of each image."""
        return [group_of(member) for member in self.members]


def agreements(found: Sequence[Found]) -> Float64s:
    """Scores of the wholes."""
    return agreement_scores([each.agreement for each in found])


def shares(found: Sequence[Found]) -> Float64s:
    """Scores of the largest pieces."""
    return share_scores([each.share for each in found])


class Test(NamedTuple):
    """What calibration says of one subject by one kind of score.

    Attributes:
        p_value: Of the model where it speaks, else conformal; ``None``: nothing calibrates.
        q_value: Its Benjamini-Hochberg level.
        by: How it is established; ``None``: it is not.
        doubtful: Whether it stands out of all calibration, is not established, and can't be told.
        near: Whether agreement within the tolerance of machines could change that.
    """

    p_value: float | None = None
    q_value: float | None = None
    by: Established | None = None
    doubtful: bool = True
    near: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """All subjects by one kind of score, wholes or pieces.

    Attributes:
        twins: Which calibration images were left out.
        figures: ``None``: nothing calibrates.
    """

    tests: tuple[Test, ...]
    twins: tuple[bool, ...] = ()
    figures: CopyCalibration | None = None


def never_used(gallery: Gallery) -> Strangers | None:
    """The not-used images, searched; ``None`` without any."""
    frozen = gallery.bench.frozen
    members = frozen.acting(Role.NOT_USED)
    if not members:
        return None
    twins = {twin.not_used.image_id for twin in frozen.twins.twins} if frozen.twins else set()
    gallery.bench.on_step(f"searching {len(members):,} not-used images for copies of others")
    flagged = tuple(member.image_id in twins for member in members)
    return Strangers(members, gallery.of_reals(members), flagged, never_used=True)


def impostors(gallery: Gallery, count: int) -> Strangers | None:
    """Candidates, one a group, held against those of other groups; ``None`` where all are of one group."""
    first: dict[str, Member] = {}
    for member in gallery.candidates:  # in image_id order, which is that of a hash: by chance, and always the same
        first.setdefault(group_of(member), member)
    if len(first) < 2:
        return None
    members = tuple(sorted(first.values(), key=lambda member: member.image_id)[:count])
    gallery.bench.on_step(f"searching {len(members):,} real images among those of other groups")
    return Strangers(members, gallery.of_reals(members), (False,) * len(members), never_used=False)


def tested(
    score: Callable[[Sequence[Found]], Float64s],
    found: Sequence[Found],
    strangers: Strangers | None,
    twins: Sequence[bool],
    q: float,
) -> Tested:
    """P-values of one kind of score, and which subjects are established by them.

    Args:
        score: ``agreements`` or ``shares``.
        found: Of the subjects.
        strangers: What calibrates; ``None``: nothing does.
        twins: Which of them are near-twins already, and left out.
        q: Level of the false discovery rate.
    """
    nothing = (Test(),) * len(found)
    if strangers is None or not nothing:
        return Tested(nothing)
    scores, known = score(found), score(strangers.found)

    def calibrated(moved: float) -> CalibratedCopies:
        return calibrated_copies(
            scores + moved, known, calibration_groups=strangers.groups, flagged=np.array(twins, dtype=np.bool_)
        )

    try:
        here = calibrated(0.0)
    except UsageError as error:
        return Tested(nothing, tuple(twins), _figures(strangers, None, error.message, q, len(scores)))
    low, high = (_levels(calibrated(by))[1] <= q for by in (-SIMILARITY_TOLERANCE, SIMILARITY_TOLERANCE))
    tests = _tests(here, strangers, (low != high).tolist(), q)
    return Tested(tests, tuple(here.twins.tolist()), _figures(strangers, here, "", q, len(scores)))


def _tests(found: CalibratedCopies, strangers: Strangers, near: Sequence[bool], q: float) -> tuple[Test, ...]:
    p_values, levels = _levels(found)
    unresolved = bool(found.model.refused) and needed_groups(len(levels), q) > found.groups
    tops = found.conformal <= 1 / (found.groups + 1) + 1e-12
    doubtful = tops & (unresolved | (levels <= DOUBT * q))
    by = [_how(*each, q, strangers) for each in zip(found.conformal_q.tolist(), levels.tolist(), strict=True)]
    rows = zip(p_values.tolist(), levels.tolist(), by, doubtful.tolist(), near, strict=True)
    return tuple(Test(p, level, how, how is None and doubt, is_near) for p, level, how, doubt, is_near in rows)


def _levels(found: CalibratedCopies) -> tuple[Float64s, Float64s]:
    p_values = np.where(np.isnan(found.tail), found.conformal, found.tail)
    return p_values, found.conformal_q if found.model.refused else found.tail_q


def _how(conformal_q: float, level: float, q: float, strangers: Strangers) -> Established | None:
    if level > q:
        return None
    if not strangers.never_used:
        return Established.VERIFICATION
    return Established.CONFORMAL if conformal_q <= q else Established.TAIL


def needed_groups(subjects: int, q: float) -> int:
    """Calibration groups with which one of so many subjects can be established by a conformal p-value."""
    return math.ceil(subjects / q) - 1


def _figures(strangers: Strangers, found: CalibratedCopies | None, why: str, q: float, count: int) -> CopyCalibration:
    known = sum(strangers.flagged)
    model = None if found is None else found.model
    return CopyCalibration(
        never_used=strangers.never_used,
        images=len(strangers.members),
        groups=0 if found is None else found.groups,
        twins_known=known,
        twins_by_score=0 if found is None else int(found.twins.sum()) - known,
        sufficient_groups=needed_groups(count, q),
        tail=TailFigures(
            refused=why if model is None else model.refused,
            threshold=None if model is None or model.refused else round(model.threshold, 6),
            excesses=() if model is None else tuple(round(each, 6) for each in model.excesses),
            shape=_finite(None if model is None else model.shape),
            mean_excess=_finite(None if model is None else model.mean_excess),
            fit_p=_finite(None if model is None else model.fit_p),
        ),
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)


def matched(strangers: Strangers | None, agreement: float) -> FalseMatchRate | None:
    """How often impostors reach an agreement; those beyond the bound of near-twins are counted beside."""
    if strangers is None:
        return None
    scores = agreements(strangers.found)
    kept = scores <= twin_bound(scores, strangers.groups)
    groups = [group for group, keep in zip(strangers.groups, kept.tolist(), strict=True) if keep]
    rate = false_match_rate(scores[kept], float(agreement_scores([agreement])[0]), groups)
    count = group_codes(groups, len(groups))[1]
    return FalseMatchRate(round(agreement, 6), round(rate.value, 6), round(rate.upper, 6), count, int((~kept).sum()))
