"""What can be said of the assumption behind calibrated verdicts: is the calibration set like the subjects?

A shift check over what is on record (modality, native size, distance in the space), how many audits a calibration set
has served, and the sentence on what the guarantee is an average over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.inputs import CANDIDATES
from provenance.detection import Appearance, ShiftCheck, check_shift
from provenance.detection.calibrated.shift import apart
from provenance.vocabulary import Role, RuleName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.arrays import Int64s
    from provenance.audit.inputs import FrozenAudit
    from provenance.audit.scoring_inputs import ScoringInputs
    from provenance.catalog import Catalog
    from provenance.records import Member


def shift_of(
    catalog: Catalog, frozen: FrozenAudit, inputs: ScoringInputs, seed: int, roles: Sequence[Role] = CANDIDATES
) -> ShiftCheck:
    """Calibration against the subjects in some roles, in what is on record of both.

    Modality is that of the set, size the native one, distance that of the mean vectors (of a local space: of its parts'
    means).
    """
    pool = frozen.judged_reals
    role_of = frozen.role_of
    acting = [role_of[member.image_id] for member in pool]
    modality_of = {each.collection_key: each.dataset.modality for each in frozen.sets}
    sizes = catalog.sizes_of([member.image_key for member in pool])
    sides = (
        _appearance(pool, np.flatnonzero([role in side for role in acting]), modality_of, sizes, inputs)
        for side in ((Role.NOT_USED,), roles)
    )
    return check_shift(*sides, seed=seed)


def apart_of(catalog: Catalog, frozen: FrozenAudit, inputs: ScoringInputs, seed: int) -> str:
    """In what images claimed used differ from never-used ones by themselves, in a sentence; empty: nothing seen."""
    if Role.USED not in frozen.reals:
        return ""
    shift = shift_of(catalog, frozen, inputs, seed, (Role.USED,))
    seen = [each for each in shift.tests if each.p_corrected <= shift.level]
    if not seen:
        return ""
    return apart(" and ".join(f"in {each.name} ({each.detail}; p = {each.p_corrected:.2g})" for each in seen))


def _appearance(
    pool: Sequence[Member],
    rows: Int64s,
    modality_of: dict[str, str],
    sizes: dict[str, tuple[int, int]],
    inputs: ScoringInputs,
) -> Appearance:
    members = [pool[row] for row in rows.tolist()]
    modalities = [modality_of.get(member.collection_key, "") for member in members]
    pixels = [sizes[m.image_key][0] * sizes[m.image_key][1] for m in members if m.image_key in sizes]
    vectors = inputs.pool[rows]
    return Appearance(
        modalities=modalities if all(modalities) else None,
        pixels=np.array(pixels, dtype=np.float64) if len(pixels) == len(members) else None,
        vectors=vectors[:, 0] if vectors.shape[1] == 1 else vectors.mean(axis=1),
        groups=[member.group_key for member in members],
    )


def audits_served(catalog: Catalog, frozen: FrozenAudit) -> int:
    """How many calibrated audits had the same not-used images for calibration, this one included."""
    mine = {each.digest for each in frozen.sets if each.role is Role.NOT_USED}
    served = 1
    for audit in catalog.audits(parts=True):
        if audit.rule == RuleName.CALIBRATED:
            played = catalog.audit_datasets(audit.audit_id)
            served += {row.dataset_digest for row in played if row.role is Role.NOT_USED} == mine
    return served


def guarantee(served: int) -> str:
    """What the error rate is an average over, in plain language."""
    which = "This is the first audit" if served == 1 else f"This is audit number {served:,}"
    return (
        "The error rate holds on average over draws of the calibration set, not for the one at hand: a lucky or an "
        f"unlucky draw is so in every audit that it serves. {which} calibrated by these not-used images."
    )
