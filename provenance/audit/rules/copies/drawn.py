"""What the report says of an audit of copies: outcome, how copies are known, calibration and tail (its template)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.copies.tail import Tail
from provenance.findings import CopiesFindings
from provenance.report import RulePart, Series
from provenance.vocabulary import Established, Label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from provenance.findings import CopyCalibration
    from provenance.installation import Installation
    from provenance.records import AuditRecord, StoredVerdict

_PLACES = 60


@dataclass(frozen=True, slots=True)
class CopiesPart:
    """What the template takes.

    Attributes:
        found: The audit's findings.
        by: How many are known how, in words.
        series: Evidence of generated and of never-used images.
        curve: Evidence and p-value by the model of the tail.
        needed: The least evidence of a copy that is known by it.
        sensitivity: What was last measured of what the audit would have seen; ``None`` where it never was.
    """

    found: CopiesFindings
    by: tuple[tuple[str, int], ...]
    series: tuple[Series, ...]
    curve: tuple[tuple[float, float], ...]
    needed: float | None
    sensitivity: Mapping[str, Any] | None


def drawn(workspace: Installation, audit: AuditRecord, verdicts: Sequence[StoredVerdict]) -> RulePart:
    """What the report draws of an audit, from the catalog."""
    found = audit.findings.own_as(CopiesFindings)
    known = tuple(each.score for each in workspace.catalog.calibration_scores(audit.audit_id))
    series = (
        Series("evidence", "generated images", tuple(v.score for v in verdicts if v.score is not None)),
        Series("evidence", "never-used images, near-twins among them", known),
    )
    beyond = any(found.established.get(how.value) for how in Established if how is not Established.IDENTITY)
    rate = found.false_match_rate
    measured = workspace.catalog.sensitivities(audit.audit_id)
    own = CopiesPart(
        found=found,
        by=tuple((how.value, found.established[how.value]) for how in Established if found.established.get(how.value)),
        series=tuple(each for each in series if each.values),
        curve=_curve(found.whole, max((v.score for v in verdicts if v.score is not None), default=0.0)),
        needed=rate.threshold if rate and beyond and audit.counts.get(Label.COPY.value) else None,
        sensitivity=measured[-1].result if measured else None,
    )
    return RulePart(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"), own)


def _curve(whole: CopyCalibration | None, highest: float) -> tuple[tuple[float, float], ...]:
    tail = None if whole is None else whole.tail
    if whole is None or tail is None or tail.threshold is None or highest <= tail.threshold:
        return ()
    shape, mean = tail.shape or 0.0, tail.mean_excess or 0.0
    model = Tail("", whole.groups, tail.threshold, tail.excesses, shape, mean_excess=mean)
    scores = np.linspace(tail.threshold, highest, _PLACES + 1)[1:]
    return tuple(zip(scores.tolist(), model.p_values(scores).tolist(), strict=True))
