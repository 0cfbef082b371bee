"""The real images that calibrate an audit of copies, and what it records of that.

Never-used images went through the same search, their own group left out. So did *impostors*: some of the candidates,
held against those of other groups. By them evidence is learnt and false matches are counted; without never-used images
they calibrate as well (``provenance.detection.copies.judging``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.alike import gross_of, shifts_of
from provenance.audit.inputs import CANDIDATES
from provenance.audit.rules.copies.gallery import group_of
from provenance.detection.copies.judging import Strangers
from provenance.findings import CopyCalibration, FalseMatchRate, TailFigures
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from provenance.audit.rules.copies.gallery import Gallery
    from provenance.detection.copies.judging import CopyFamily, FalseMatches
    from provenance.records import Member


_SEED = 0
"""Of the permutations by which it is told whether never-used images are of another kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """Real images with what was found of them."""

    members: tuple[Member, ...]
    strangers: Strangers


def never_used(gallery: Gallery) -> Searched | None:
    """The not-used images, those flagged that are known to be near-twins of a used one; ``None`` without any."""
    frozen = gallery.bench.frozen
    if not (members := frozen.acting(Role.NOT_USED)):
        return None
    twins = {twin.not_used.image_id for twin in frozen.twins.twins} if frozen.twins else set()
    gallery.bench.on_step(f"searching {len(members):,} not-used images for copies of others")
    flagged = np.array([member.image_id in twins for member in members])
    return Searched(members, Strangers(gallery.of_reals(members), [group_of(m) for m in members], flagged))


def unlike(gallery: Gallery) -> str:
    """Why the never-used images don't calibrate, in a sentence: they are of another kind; empty: nothing says so.

    Images of another kind agree less with the candidates than images of theirs do that were never used.
    """
    frozen = gallery.bench.frozen
    if not frozen.acting(Role.NOT_USED):
        return ""
    shifts = shifts_of(gallery.bench, _SEED)
    gross = next(filter(None, (gross_of(shifts.get((role,)), role) for role in CANDIDATES)), "")
    return gross and f"Copies are not calibrated by the never-used images. {gross}"


def impostors(gallery: Gallery, count: int) -> Strangers:
    """Candidates, one a group, held against those of other groups; none where all are of one group."""
    first: dict[str, Member] = {}
    for member in gallery.candidates:  # in image_id order, which is that of a hash: by chance, and always the same
        first.setdefault(group_of(member), member)
    members = tuple(sorted(first.values(), key=lambda member: member.image_id)[:count]) if len(first) > 1 else ()
    if not members:
        return Strangers((), [])
    gallery.bench.on_step(f"searching {len(members):,} real images among those of other groups")
    return Strangers(gallery.of_reals(members), [group_of(member) for member in members])


def calibration_of(family: CopyFamily | None) -> CopyCalibration | None:
    """What an audit records of it."""
    if family is None:
        return None
    model = family.model
    why = "every image is a near-twin of a candidate" if model is None else model.refused
    speaks = model is not None and not model.refused
    return CopyCalibration(
        never_used=family.never_used,
        images=family.images,
        groups=family.groups,
        twins_known=family.twins_flagged,
        twins_by_score=family.twins_by_whole + family.twins_by_score,
        sufficient_groups=family.sufficient_groups,
        tail=TailFigures(
            refused=why,
            threshold=round(model.threshold, 6) if model is not None and speaks else None,
            excesses=() if model is None else tuple(round(each, 6) for each in model.excesses),
            shape=None if model is None else _finite(model.shape),
            mean_excess=None if model is None else _finite(model.mean_excess),
            fit_p=None if model is None else _finite(model.fit_p),
        ),
        twins_mirrored=family.twins_mirrored,
    )


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def false_match_rate_of(found: FalseMatches | None) -> FalseMatchRate | None:
    """What an audit records of it."""
    if found is None:
        return None
    rate = found.rate
    threshold, value, upper = (round(each, 6) for each in (found.threshold, rate.value, rate.upper))
    return FalseMatchRate(threshold, value, upper, rate.groups, found.twins)
