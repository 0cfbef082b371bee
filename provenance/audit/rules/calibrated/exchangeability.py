"""What can be said of the assumption behind calibrated verdicts beside what ``audit.alike`` compares.

What follows from a shift of images claimed used, how many audits a calibration set has served, and the sentence on what
the guarantee is an average over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.detection.calibrated.shift import apart
from provenance.vocabulary import Role, RuleName

if TYPE_CHECKING:
    from provenance.audit.inputs import FrozenAudit
    from provenance.catalog import Catalog
    from provenance.detection import ShiftCheck


def apart_of(shift: ShiftCheck | None) -> str:
    """In what images claimed used differ from never-used ones by themselves, in a sentence; empty: nothing seen."""
    seen = [each for each in shift.tests if each.p_corrected <= shift.level] if shift else []
    if not shift or not seen:
        return ""
    return apart(" and ".join(f"in {each.name} ({each.detail}; p = {each.p_corrected:.2g})" for each in seen))


def inconclusive(doubt: str) -> str:
    """A doubt as the reason of an outcome."""
    return f"Inconclusive: {doubt[0].lower()}{doubt[1:]}"


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
