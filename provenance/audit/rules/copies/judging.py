"""Rule ``copies`` in audits: search every generated image, calibrate by reals that went through the same, label.

    copy           identity (a fact); or agreement that calibration does not explain, Benjamini-Hochberg at q
    part_copy      the same of its largest region, where that has the least area; a family of its own, at q
    inconclusive   stands out of all calibration, and so few groups, or the model of their tail, can't tell
    no_copy_seen   all others; that is not "no copy"

Sources are named whatever the label: what is identical; what agrees as a whole, by falling agreement; and regions, by
falling share, which go first where the whole is no copy: put together from several images, it agrees with none.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provenance.audit.rule import Judgement
from provenance.audit.rules.copies.calibrating import agreements, impostors, matched, never_used, shares, tested
from provenance.audit.rules.copies.gallery import Gallery, group_of
from provenance.audit.rules.copies.identity import identities
from provenance.audit.rules.copies.outcome import concluded, guarantee
from provenance.detection import Decision
from provenance.detection.copies.found import Found
from provenance.findings import CopiesFindings
from provenance.records import CalibrationScore, CopySource
from provenance.vocabulary import Box, Established, Label, Role, digest_of_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.audit.bench import Bench
    from provenance.audit.evidence import SubjectEvidence
    from provenance.audit.rules.copies.calibrating import Strangers, Test, Tested
    from provenance.audit.rules.copies.identity import Identical
    from provenance.audit.rules.copies.parameters import CopiesParameters
    from provenance.detection.copies.pieces import Box as Region
    from provenance.vocabulary import Outcome

LABELS = (Label.COPY, Label.PART_COPY, Label.INCONCLUSIVE, Label.NO_COPY_SEEN)
WHOLES, PARTS = 3, 6
"""Sources that are kept of a subject, beside those that are identical."""
NOTHING_FOUND = Found((), (), 0.0)
_STEP = 1e-6  # agreements have six decimals
LEAST_MARGIN = 0.05
"""A copy whose best source of another group agrees within this is one of either."""


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """Everything that an audit's subjects are judged by.

    Attributes:
        found: Of every subject, in their order.
        known: The never-used images; ``None`` without any.
        others: Impostors; ``None`` where all candidates are of one group.
    """

    gallery: Gallery
    found: tuple[Found, ...]
    known: Strangers | None
    others: Strangers | None

    @property
    def strangers(self) -> Strangers | None:
        """What calibrates: never-used images, else impostors."""
        return self.known or self.others


def searched(bench: Bench, rule: CopiesParameters, subjects: Sequence[SubjectEvidence]) -> Searched:
    """Search subjects, never-used images and impostors."""
    gallery = Gallery(bench)
    if not gallery.candidates:
        return Searched(gallery, tuple(NOTHING_FOUND for _ in subjects), None, None)
    bench.on_step(f"searching {len(subjects):,} images for copies of {len(gallery.candidates):,}")
    found = gallery.of_subjects(subjects)
    return Searched(gallery, found, never_used(gallery), impostors(gallery, rule.impostors))


def judge_copies(bench: Bench, rule: CopiesParameters, subjects: Sequence[SubjectEvidence]) -> Judgement:
    """Labels, sources and outcome."""
    all_found = searched(bench, rule, subjects)
    same = identities(all_found.gallery, subjects, all_found.found)
    whole, part = tests_of(all_found, rule)
    rows = [Row(*each) for each in zip(all_found.found, same, whole.tests, part.tests, strict=True)]
    decisions = tuple(row.decision(rule) for row in rows)
    figures = _findings(all_found, rule, rows, whole, part)
    conclusion = concluded(figures, Counter(each.label for each in decisions))
    return Judgement(
        decisions=decisions,
        threshold=None,
        basis=_basis(all_found, figures, conclusion.outcome),
        notes=conclusion.notes,
        outcome=conclusion.outcome,
        outcome_reason=conclusion.reason,
        own=figures,
        counts=_counts(figures),
        sources=tuple(row.sources(all_found.gallery, rule) for row in rows),
        calibration=_calibration(all_found.strangers),
    )


def tests_of(all_found: Searched, rule: CopiesParameters) -> tuple[Tested, Tested]:
    """Wholes, then pieces: what is a near-twin as a whole does not calibrate pieces."""
    strangers = all_found.strangers
    known = () if strangers is None else strangers.flagged
    whole = tested(agreements, all_found.found, strangers, known, rule.q)
    part = tested(shares, all_found.found, strangers, whole.twins, rule.q)
    return whole, part


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What is known of one subject."""

    found: Found
    same: tuple[Identical, ...]
    whole: Test
    part: Test

    def by(self, rule: CopiesParameters) -> Established | None:
        """How it is known to be a copy, or a part copy."""
        if self.same:
            return Established.IDENTITY
        return self.whole.by or (self.part.by if self._has_area(rule) else None)

    def label(self, rule: CopiesParameters) -> Label:
        """As the module says."""
        if self.same or self.whole.by:
            return Label.COPY
        if self.part.by and self._has_area(rule):
            return Label.PART_COPY
        return Label.INCONCLUSIVE if self.whole.doubtful or self._doubtful_part(rule) else Label.NO_COPY_SEEN

    def decision(self, rule: CopiesParameters) -> Decision:
        """With the p-value of what decided; identity is a fact and has none."""
        label = self.label(rule)
        if self.same:
            return Decision(label, 1.0, near_threshold=False)
        of_part = label is Label.PART_COPY or (label is Label.INCONCLUSIVE and not self.whole.doubtful)
        test = self.part if of_part else self.whole
        near = self.whole.near or self.part.near
        return Decision(label, self.found.agreement, near, test.p_value, test.q_value)

    def sources(self, gallery: Gallery, rule: CopiesParameters) -> tuple[CopySource, ...]:
        """Identical images; then wholes and regions, regions first where the whole is no copy."""
        keys = [member.image_key for member in gallery.candidates]
        same = [
            CopySource(0, each.member.image_key, False, 1.0, 1.0, None, None, each.how, Established.IDENTITY)
            for each in self.same
        ]
        wholes, parts = self._wholes(keys), self._parts(keys, rule)
        named = same + (wholes + parts if self.label(rule) is Label.COPY else parts + wholes)
        return tuple(replace(each, rank=rank) for rank, each in enumerate(named, start=1))

    def _wholes(self, keys: Sequence[str]) -> list[CopySource]:
        known = {each.member.image_key for each in self.same}
        found = [match for match in self.found.matches if keys[match.source] not in known][:WHOLES]
        by = [None if self.same else self.whole.by, *(None,) * len(found)]
        return [
            CopySource(0, keys[m.source], False, m.agreement, m.overlap, None, None, str(m.transformation), how)
            for m, how in zip(found, by, strict=False)
        ]

    def _parts(self, keys: Sequence[str], rule: CopiesParameters) -> list[CopySource]:
        found = self.found.pieces[:PARTS]
        by = [self.part.by if self.label(rule) is Label.PART_COPY else None, *(None,) * len(found)]
        return [
            CopySource(
                0, keys[p.source], True, None, p.area, _box(p.box), _box(p.source_box), str(p.transformation), how
            )
            for p, how in zip(found, by, strict=False)
        ]

    def _has_area(self, rule: CopiesParameters) -> bool:
        return bool(self.found.pieces) and self.found.pieces[0].area >= rule.least_area

    def _doubtful_part(self, rule: CopiesParameters) -> bool:
        return self.part.doubtful and self._has_area(rule)


def _box(box: Region) -> Box:
    return Box(box.left, box.top, box.right, box.bottom)


def _findings(
    all_found: Searched, rule: CopiesParameters, rows: Sequence[Row], whole: Tested, part: Tested
) -> CopiesFindings:
    gallery = all_found.gallery
    not_used = {member.image_id for member in gallery.bench.frozen.acting(Role.NOT_USED)}
    groups = [group_of(member) for member in gallery.candidates]
    margins = [row.found.margin(groups) for row in rows if row.whole.by and not row.same]
    by = Counter(how.value for how in (row.by(rule) for row in rows) if how is not None)
    return CopiesFindings(
        q=rule.q,
        established={how.value: by[how.value] for how in Established},
        of_not_used=sum(bool(row.same) and row.same[0].member.image_id in not_used for row in rows),
        ambiguous=sum(margin is not None and margin < LEAST_MARGIN for margin in margins),
        whole=whole.figures,
        part=part.figures,
        false_match_rate=matched(all_found.others, _threshold(all_found, rows, whole)),
        pixels_space=gallery.space.space_id,
        guarantee=guarantee(whole.figures),
    )


def _threshold(all_found: Searched, rows: Sequence[Row], whole: Tested) -> float:
    # The least agreement of a copy that is known by it; without any, the next above all calibration.
    if copies := [row.found.agreement for row in rows if row.whole.by and not row.same]:
        return min(copies)
    strangers = all_found.strangers
    known = () if strangers is None else strangers.found
    kept = [each.agreement for each, twin in zip(known, whole.twins, strict=False) if not twin]
    return min(max(kept, default=1.0) + _STEP, 1.0)


def _basis(all_found: Searched, figures: CopiesFindings, outcome: Outcome) -> dict[str, Any]:
    strangers = all_found.strangers
    scores = [] if strangers is None else [[each.agreement, each.share] for each in strangers.found]
    return {
        "q": figures.q,
        "pixels_space": figures.pixels_space,
        "calibration_groups": figures.whole.groups if figures.whole else 0,
        "calibration_scores": digest_of_json(scores),
        "outcome": outcome.value,
    }


def _counts(figures: CopiesFindings) -> dict[str, int]:
    whole = figures.whole
    return {
        "calibration_images": whole.images if whole else 0,
        "calibration_groups": whole.groups if whole else 0,
        "calibration_twins": whole.twins_known + whole.twins_by_score if whole else 0,
    }


def _calibration(strangers: Strangers | None) -> tuple[CalibrationScore, ...]:
    if strangers is None:
        return ()
    return tuple(
        CalibrationScore(member.image_key, each.agreement)
        for member, each in zip(strangers.members, strangers.found, strict=True)
    )
