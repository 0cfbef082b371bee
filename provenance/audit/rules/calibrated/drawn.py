"""What the report says of a calibrated audit: outcome, tests, established images, sensitivity (``report.html.j2``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.audit.scored import scored_reals
from provenance.audit.standing import copied_words
from provenance.detection import ReleasePower, roc_points
from provenance.findings import CalibratedFindings
from provenance.report import Curve, RulePart, Series
from provenance.vocabulary import Label, Role, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.installation import Installation
    from provenance.records import AuditRecord, StoredVerdict

MAX_ESTABLISHED = 50
_CLAIMS = {Role.RELEASE: "generated images", Role.USED: "claimed used", Role.AGAINST: "of unknown use"}


@dataclass(frozen=True, slots=True)
class CalibratedPart:
    """What the template takes.

    Attributes:
        found: The audit's findings.
        p_values: Of all judged images, claim by claim, as they were judged.
        established: The first of the established images: those of unknown use, then by q-value.
        names: Of these, by image_key, where they have not been erased.
        sensitivity: What was last measured of what the audit would have seen; ``None`` where it never was.
        power: Of the release test, likewise.
        roc: Of images claimed used against those known not used; ``None`` where their scores are not on record.
        copied: How many of the judged images stand in the release as copies; '': none.
    """

    found: CalibratedFindings
    p_values: tuple[Series, ...]
    established: Sequence[StoredVerdict]
    names: Mapping[str, str]
    sensitivity: Mapping[str, Any] | None
    power: ReleasePower | None
    roc: Curve | None = None
    copied: str = ""

    @property
    def weights(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """Of what the score learnt: by size, of all widths and of the nearest, each with its strength from 0 to 1."""
        learnt = self.found.learnt
        assert learnt is not None, "asked for only then"
        rows = [(*row, last) for row, last in zip(learnt.weights, learnt.nearest, strict=True)]
        most = max(abs(value) for row in rows for value in row) or 1.0
        return tuple(tuple((value, abs(value) / most) for value in row) for row in rows)

    @property
    def most(self) -> float:
        """The most that a place speaks for use."""
        learnt = self.found.learnt
        assert learnt is not None, "asked for only then"
        return max(max(row) for row in learnt.where) or 1.0


def drawn(workspace: Installation, audit: AuditRecord, verdicts: Sequence[StoredVerdict]) -> RulePart:
    """What the report draws of an audit, from the catalog."""
    p_values = (
        Series("p", words, tuple(v.p_value for v in verdicts if v.subject_role is role and v.p_value is not None))
        for role, words in _CLAIMS.items()
    )
    established = sorted(
        (v for v in verdicts if v.label is Label.ESTABLISHED),
        # images of unknown use first: of the claimed ones it is said already that they were used
        key=lambda v: (v.subject_role is Role.USED, v.q_value, v.p_value, -(v.score or 0), v.image_id or v.image_key),
    )[:MAX_ESTABLISHED]
    roles = {each.subject_role for each in verdicts}  # the same file may have another name in the release
    played = workspace.catalog.audit_datasets(audit.audit_id)
    dataset_ids = [row.dataset_id for row in played if row.role in roles]
    measured = [each.result for each in workspace.catalog.sensitivities(audit.audit_id)]
    latest: Mapping[str, Any] = measured[-1] if measured else {}
    found = audit.findings.own_as(CalibratedFindings)
    reals = scored_reals(workspace.catalog, audit) if audit.subject is Subject.REAL else None
    own = CalibratedPart(
        found,
        tuple(series for series in p_values if series.values),
        established,
        workspace.catalog.names_of(dataset_ids, [v.image_key for v in established]),
        latest or None,
        ReleasePower.from_json(latest["power"]) if latest.get("power") else None,
        None if reals is None else _roc(found, *reals.compared),
        copied_words(workspace.catalog, audit),
    )
    never_used = () if reals is None else tuple(each.score for each in reals.calibrating)
    series = Series(f"score {found.calibration.score}", "of real images known not used", never_used)
    template = Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    return RulePart(template, own, (series,) if never_used else ())


def _roc(found: CalibratedFindings, used: Sequence[float], never_used: Sequence[float]) -> Curve | None:
    if not used or not never_used:
        return None
    points = roc_points([True] * len(used) + [False] * len(never_used), [*used, *never_used])
    label = f"used (n = {len(used):,}) against not used (n = {len(never_used):,})"
    if (test := found.release_test) is not None and test.auc.value is not None:
        interval = "" if test.auc.low is None else f" [{test.auc.low:.3f}, {test.auc.high:.3f}]"
        label += f"\nAUC {test.auc.value:.3f}{interval}"
    return Curve(label, points.fpr, points.tpr)
