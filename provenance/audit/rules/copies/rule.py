"""Everything in which the rule ``copies`` differs from others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from provenance.audit.pixels import pixels_space
from provenance.audit.rule import Rule
from provenance.audit.rules.copies.gallery import Gallery, make_pixels
from provenance.audit.rules.copies.judging import LABELS, judge_copies
from provenance.audit.rules.copies.outcome import stated
from provenance.audit.rules.copies.parameters import CopiesParameters
from provenance.audit.rules.copies.plants import plants_as_copies
from provenance.errors import UsageError
from provenance.findings import CopiesFindings, Statements
from provenance.vocabulary import Established, Label, RuleName, Space, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from provenance.audit.bench import Bench, JudgedCopies, PlantBench, PlantVectors
    from provenance.audit.evidence import SubjectEvidence
    from provenance.audit.inputs import Parties
    from provenance.audit.rule import Judgement, OnStep
    from provenance.findings import CopyCalibration
    from provenance.installation import Installation
    from provenance.records import AuditRecord, StoredVerdict
    from provenance.report import RulePart


@dataclass(frozen=True, slots=True)
class CopiesRule(CopiesParameters, Rule):
    """Copy, part copy, inconclusive or no copy seen, of generated images (docs/method.md)."""

    name: ClassVar[RuleName] = RuleName.COPIES
    options: ClassVar[Mapping[str, str]] = {"q": "--fdr"}
    calibrates: ClassVar[bool] = True
    labels: ClassVar[tuple[Label, ...]] = LABELS
    score_axis: ClassVar[str] = "evidence for the best source (no unit; 1: as 5 % of strangers among the real images)"

    def check_subject(self, subject: Subject) -> None:
        """See ``Rule``."""
        if subject is not Subject.GENERATED:
            raise UsageError(
                "copies are looked for among generated images", hint="leave --subject out, or judge by another rule"
            )

    def make_spaces(self, workspace: Installation, parties: Parties, on_step: OnStep) -> None:
        """See ``Rule``: grey levels of release and sets."""
        datasets = [parties.release, *(dataset for dataset, _ in parties.sets)]
        make_pixels(workspace, datasets, pixels_space(workspace, parties.release), on_step)

    @property
    def error_level(self) -> float:
        """See ``Rule``: if nothing is copied, so often a copy is established, or a part copy; each at q."""
        return min(1.0, 2 * self.q)

    def judge(self, bench: Bench, subjects: Sequence[SubjectEvidence]) -> Judgement:
        """Labels with sources, and the outcome for the release."""
        return judge_copies(bench, self, subjects)

    def further_spaces(self, bench: Bench) -> tuple[Space, ...]:
        """See ``Rule``: grey levels."""
        return (Gallery(bench).space,)

    def judge_plants(self, bench: PlantBench, plants: PlantVectors) -> JudgedCopies:
        """See ``Rule``."""
        return plants_as_copies(bench, self, plants)

    @classmethod
    def statements(cls, audit: AuditRecord) -> Statements:
        """See ``Rule``."""
        return stated(audit.findings.own_as(CopiesFindings), audit.counts)

    @classmethod
    def report_part(cls, workspace: Installation, audit: AuditRecord, verdicts: Sequence[StoredVerdict]) -> RulePart:
        """See ``Rule``."""
        from provenance.audit.rules.copies.drawn import drawn

        return drawn(workspace, audit, verdicts)

    @classmethod
    def symbol(cls, _parameters: Mapping[str, Any]) -> str:
        """See ``Rule``."""
        return "evidence"

    @classmethod
    def facts(cls, audit: AuditRecord) -> dict[str, str]:
        """See ``Rule``: how copies are known, and what they were held against."""
        found = audit.findings.own_as(CopiesFindings)
        by = [f"{found.established[how.value]:,} by {how.value}" for how in Established if found.established.get(how)]
        facts = {"established by": ", ".join(by) or "none"}
        if found.whole is not None:
            facts["calibration"] = f"{_calibration(found.whole)}; FDR {found.q:g}"
            tail = found.whole.tail
            facts["tail"] = (
                tail.refused or f"a model of the {len(tail.excesses)} highest; it fits (p = {tail.fit_p:.2f})"
            )
        if (rate := found.false_match_rate) is not None:
            facts["false match rate"] = (
                f"{rate.value:.4f} (at most {rate.upper:.4f}) of {rate.groups:,} groups, evidence {rate.threshold:.2f}"
            )
        return facts


def _calibration(found: CopyCalibration) -> str:
    kind = "never-used" if found.never_used else "other real"
    twins = found.twins_known + found.twins_by_score
    return f"{found.groups:,} groups of {found.images:,} {kind} images, {twins:,} near-twins left out"
