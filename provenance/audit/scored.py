"""The scores that the release test of an audit compares: of images claimed used, and of those that calibrate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.vocabulary import Role, Subject

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from provenance.catalog import Catalog
    from provenance.records import AuditRecord, StoredCalibrationScore, StoredVerdict


@dataclass(frozen=True, slots=True)
class ScoredReals:
    """The real images of a calibrated audit that have a score.

    Attributes:
        verdicts: Of those that it judged, by image_id.
        calibrating: Those known not used, likewise.
        groups: By image_key, of those that have one.
        tested: Keys of the images of which the release test took the score: of claimed use or never used, in a group of
            one kind. ``None``: there was no such test, or groups have changed since, so that it can't be told.
    """

    verdicts: Sequence[StoredVerdict]
    calibrating: Sequence[StoredCalibrationScore]
    groups: Mapping[str, str]
    tested: Collection[str] | None

    @property
    def compared(self) -> tuple[list[float], list[float]]:
        """Scores of the images claimed used, and of those never used, as tested; all, where that can't be told."""
        used = {v.image_key: v.score for v in self.verdicts if v.subject_role is Role.USED and v.score is not None}
        never = {each.image_key: each.score for each in self.calibrating}
        used_, never_ = (
            [score for key, score in each.items() if self.tested is None or key in self.tested]
            for each in (used, never)
        )
        return used_, never_


def scored_reals(catalog: Catalog, audit: AuditRecord) -> ScoredReals:
    """What is on record of the scores of an audit of real images; the AUC of its release test is that of ``compared``.

    An image with several groups (in several sets) has the first of them, by the names of the sets.
    """
    verdicts, calibrating = catalog.verdicts(audit.audit_id), catalog.calibration_scores(audit.audit_id)
    played = [row for row in catalog.audit_datasets(audit.audit_id) if row.role is not Role.RELEASE]
    place = {row.dataset_id: (row.name, row.dataset_id) for row in played}
    groups: dict[str, str] = {}
    for placed in sorted(catalog.placements(list(place)), key=lambda found: place[found.dataset_id]):
        if placed.group_key is not None:
            groups.setdefault(placed.image_key, placed.group_key)
    return ScoredReals(verdicts, calibrating, groups, _tested(audit, verdicts, calibrating, groups))


def _tested(
    audit: AuditRecord,
    verdicts: Sequence[StoredVerdict],
    calibrating: Sequence[StoredCalibrationScore],
    groups: Mapping[str, str],
) -> Collection[str] | None:
    found = audit.findings.calibrated
    if audit.subject is not Subject.REAL or found is None or (test := found.release_test) is None:
        return None
    used = {v.image_key for v in verdicts if v.subject_role is Role.USED}
    never = {each.image_key for each in calibrating}
    mixed = {groups[key] for key in used if key in groups} & {groups[key] for key in never if key in groups}
    used, never = ({key for key in keys if groups.get(key) not in mixed} for keys in (used, never))
    return used | never if (len(used), len(never)) == (test.members, test.non_members) else None
