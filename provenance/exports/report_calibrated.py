"""What the report of a calibrated audit says beside: outcome, tests, established images, and heat maps of its cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.audit import can_be_explained, explain
from provenance.errors import ConflictError, NotFoundError, SpaceMismatchError
from provenance.report import CalibratedPart, HeatMap, Series
from provenance.vocabulary import Label, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provenance.installation import Installation
    from provenance.records import AuditRecord, Member, StoredVerdict
    from provenance.report import Picture

MAX_ESTABLISHED = 50
PAIRS = 3


def calibrated_part(
    workspace: Installation, audit: AuditRecord, verdicts: Sequence[StoredVerdict], dataset_ids: Sequence[str]
) -> CalibratedPart | None:
    """What stands beside the findings; ``None`` for audits by other rules."""
    if audit.findings.calibrated is None:
        return None
    established = sorted(
        (v for v in verdicts if v.label is Label.ESTABLISHED),
        # images of unknown use first: of the claimed ones it is said already that they were used
        key=lambda v: (v.subject_role is Role.USED, v.q_value, v.p_value, -(v.score or 0), v.image_id or v.image_key),
    )[:MAX_ESTABLISHED]
    measured = workspace.catalog.sensitivities(audit.audit_id)
    return CalibratedPart(
        p_values=_p_values(verdicts),
        established=tuple(established),
        names=workspace.catalog.names_of(dataset_ids, [v.image_key for v in established]),
        sensitivity=measured[-1].result if measured else None,
    )


def _p_values(verdicts: Sequence[StoredVerdict]) -> tuple[Series, ...]:
    """Claim by claim, as they were judged."""
    found = (
        Series("p", words, tuple(v.p_value for v in verdicts if v.subject_role is role and v.p_value is not None))
        for role, words in _CLAIMS.items()
    )
    return tuple(series for series in found if series.values)


_CLAIMS = {Role.RELEASE: "generated images", Role.USED: "claimed used", Role.AGAINST: "of unknown use"}


def heat_maps(
    workspace: Installation,
    audit: AuditRecord,
    image_keys: Sequence[str],
    picture_of: Callable[[Member], Picture],
) -> tuple[Mapping[str, HeatMap], str]:
    """Heat maps of some judged images, by image_key, and why there are none ('' where there are, or can't be any).

    Args:
        workspace: Where the audit is on record.
        audit: The audit.
        image_keys: Of the images.
        picture_of: Gives the picture of a generated image.
    """
    if not image_keys or not can_be_explained(audit):
        return {}, ""
    try:
        explained = explain(workspace, audit, image_keys)
    except (ConflictError, NotFoundError, SpaceMismatchError) as error:
        return {}, error.message
    found = {
        key: HeatMap(each, tuple(picture_of(position.generated) for position in each.strongest(PAIRS)))
        for key, each in explained.items()
    }
    return found, ""
