"""An audit's outcome in words as they stand now: with what was measured since of what it would have seen.

Where no leak is established and nothing was measured, that is no finding: so it says, and how to measure it, and how
long that takes. The time is an estimate: planted copies times seconds for each, those of the latest measurement in this
workspace of an audit by the same rule in the same space; else those that the audit itself took for each image that it
judged or calibrated by and an image of the release took to come in, and once more as long as it took itself, since
plants are judged by all that again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.audit.joint import NOT_MEASURED
from provenance.audit.standing import copied_words
from provenance.detection.release.membership_test import NO_SENSITIVITY
from provenance.images import DEFAULT_KINDS
from provenance.records import latest_by_answer
from provenance.vocabulary import DEFAULT_PLANTS, Answer, Outcome, Role

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from provenance.catalog import Catalog
    from provenance.records import AuditRecord, SensitivityRecord

SECONDS_TO_MAKE = 0.02
"""To alter a plant and to embed it, at least: by a small network on two cores."""


def outcome_words(catalog: Catalog, audit: AuditRecord) -> str:
    """Why the outcome is what it is, and what was too weak to be seen; of an answer without its whole's words."""
    reason, measured = _with_copied(catalog, audit), catalog.sensitivities(audit.audit_id)
    said = ""
    if measured:
        said = _seen(measured, _doubted(catalog, audit))
    elif audit.findings.outcome is Outcome.LEAK_NOT_ESTABLISHED and catalog.whole_of(audit.audit_id) is None:
        said = _unmeasured(catalog, audit)
    if not said:
        return reason
    for before in (NO_SENSITIVITY, NOT_MEASURED):
        reason = reason.replace(before, "")
    return f"{reason.strip()} {said}"


def _with_copied(catalog: Catalog, audit: AuditRecord) -> str:
    """The reason on record; of several answers with the real images of the one that the other calls copied."""
    reason, membership = audit.findings.outcome_reason or "", catalog.parts_of(audit.audit_id).get(Answer.MEMBERSHIP)
    copied = "" if membership is None else copied_words(catalog, membership)
    if not copied:
        return reason
    told, measured, _ = reason.partition(NOT_MEASURED)
    return " ".join(filter(None, (told.strip(), f"{copied}.", measured)))


def _doubted(catalog: Catalog, audit: AuditRecord) -> set[str]:
    """The answers of which nothing follows ('': an audit by one rule): what they would find is no finding."""
    answers = {"": audit, **{answer.value: part for answer, part in catalog.parts_of(audit.audit_id).items()}}
    found = {answer: each.findings.calibrated for answer, each in answers.items()}
    return {answer for answer, each in found.items() if each is not None and each.doubt}


def _seen(recorded: Sequence[SensitivityRecord], doubted: Collection[str]) -> str:
    said = []
    for answer, each in latest_by_answer(recorded).items():
        if (answer or "") in doubted:
            continue
        power = each.result.get("power") or {}  # not in older records
        said += [f"{answer.capitalize()}:" if answer else "", each.result["sentence"], power.get("sentence", "")]
    return " ".join(filter(None, said))


def _unmeasured(catalog: Catalog, audit: AuditRecord) -> str:
    answers = list(catalog.parts_of(audit.audit_id).values()) or [audit]
    rates = [_seconds_a_plant(catalog, answer) for answer in answers]
    plants = _plants(catalog, audit)
    seconds = sum(
        _at_its_own_speed(catalog, answer, plants) if rate is None else plants * rate
        for answer, rate in zip(answers, rates, strict=True)
    )
    basis = "at the speed of this audit" if None in rates else "as long as each took here before"
    of = " for each answer" if len(answers) > 1 else ""
    return (
        "How small a leak it would have seen is not measured, so this is no finding that there is none: `provenance "
        f"sensitivity {audit.audit_id[:8]}` measures it in some {_duration(seconds)} (an estimate: {plants:,} planted "
        f"copies{of}, {basis})."
    )


def _at_its_own_speed(catalog: Catalog, audit: AuditRecord, plants: int) -> float:
    judged: int = audit.counts["subjects"] + audit.counts.get("calibration_images", 0)
    make = _seconds_to_make(catalog, audit)
    return audit.duration_seconds + plants * (make + audit.duration_seconds / max(judged, 1))


def _seconds_to_make(catalog: Catalog, audit: AuditRecord) -> float:
    """As long as an image of the release took to be read and embedded, in the ingest that brought most of them."""
    ended = [run for run in catalog.runs(audit.dataset_id) if run.finished_at is not None and run.counts.get("added")]
    if not ended:
        return SECONDS_TO_MAKE
    most = max(ended, key=lambda run: run.counts["added"])
    took = (most.finished_at or most.started_at) - most.started_at
    added: int = most.counts["added"]
    return max(SECONDS_TO_MAKE, took.total_seconds() / added)


def _plants(catalog: Catalog, audit: AuditRecord) -> int:
    played = catalog.audit_datasets(audit.audit_id)
    counts = (sum(row.image_count for row in played if row.role is role) for role in (Role.USED, Role.AGAINST))
    return min(DEFAULT_PLANTS, next((count for count in counts if count), 0)) * len(DEFAULT_KINDS)


def _seconds_a_plant(catalog: Catalog, audit: AuditRecord) -> float | None:
    kind = (audit.rule, audit.subject, audit.space_id)
    for other in catalog.audits(parts=True):
        if (other.rule, other.subject, other.space_id) == kind:
            for measured in reversed(catalog.sensitivities(other.audit_id)):
                result = measured.result
                if "seconds" in result:  # not in older records
                    return float(sum(result["seconds"].values()) / sum(row["plants"] for row in result["rows"]))
    return None


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds)):,} seconds"
    return f"{round(seconds / 60):,} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
