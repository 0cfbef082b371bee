"""Rule ``copies`` in audits: search all images, tell identities, judge the rest, and name sources.

What a label means is said where it is decided: ``provenance.detection.copies.judging``. Here identity comes before it;
and where nothing calibrates, an image that is not identical to any real one is ``inconclusive``.

Sources are named whatever the label: what is identical; what agrees as a whole, by falling evidence; and regions, by
falling share, which go first where the whole is no copy: put together from several images, it agrees with none.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provenance.audit.rule import Judgement
from provenance.audit.rules.copies.calibrating import calibration_of, false_match_rate_of, impostors, never_used, unlike
from provenance.audit.rules.copies.gallery import Gallery, group_of
from provenance.audit.rules.copies.identity import identities
from provenance.audit.rules.copies.outcome import concluded, guarantee
from provenance.detection import Decision
from provenance.detection.copies.evidence import NEARLY
from provenance.detection.copies.found import Found
from provenance.detection.copies.judging import CopyTest
from provenance.detection.copies.judging import judge_copies as judged_by
from provenance.detection.copies.structure import featureless
from provenance.findings import CopiesFindings, Weakness
from provenance.records import CalibrationScore, CopySource
from provenance.vocabulary import Box, Established, Label, Role, digest_of_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.audit.bench import Bench
    from provenance.audit.evidence import SubjectEvidence
    from provenance.audit.rules.copies.calibrating import Searched
    from provenance.audit.rules.copies.identity import Identical
    from provenance.audit.rules.copies.parameters import CopiesParameters
    from provenance.detection.copies.judging import CopyVerdicts
    from provenance.detection.copies.pieces import Box as Region
    from provenance.vocabulary import Outcome

LABELS = (Label.COPY, Label.PART_COPY, Label.INCONCLUSIVE, Label.NO_COPY_SEEN)
WHOLES, PARTS = 3, 6
"""Sources that are kept of a subject, beside those that are identical."""
NOTHING_FOUND = Found((), (), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Everything that an audit says of its subjects.

    Attributes:
        same: Of each subject, the real images that it is; of one that shows nothing, none.
        featureless: How many show nothing, and are the same as a real image that shows nothing either.
        verdicts: ``None`` without candidates: then identity is all that is told.
        known: The never-used images; ``None`` without any.
        unlike: Why never-used images do not calibrate, in a sentence; empty: they do, where there are any.
    """

    gallery: Gallery
    same: list[tuple[Identical, ...]]
    featureless: int
    verdicts: CopyVerdicts | None
    known: Searched | None
    unlike: str = ""

    @property
    def rows(self) -> list[Row]:
        """What is known of each subject."""
        if self.verdicts is None:
            return [Row(NOTHING_FOUND, same, Label.INCONCLUSIVE, CopyTest(), CopyTest()) for same in self.same]
        of, family = self.verdicts, self.verdicts.whole_family
        nothing = family is None or not family.groups
        labels = [Label.INCONCLUSIVE if nothing and label is Label.NO_COPY_SEEN else label for label in of.labels]
        return [Row(*each) for each in zip(of.found, self.same, labels, of.whole, of.part, strict=True)]


def judge_copies(bench: Bench, rule: CopiesParameters, subjects: Sequence[SubjectEvidence]) -> Judgement:
    """Labels, sources and outcome."""
    judged = _judged(Gallery(bench), rule, subjects)
    rows = judged.rows
    decisions = tuple(row.decision for row in rows)
    figures = _findings(judged, rule, rows)
    conclusion = concluded(figures, Counter(each.label for each in decisions))
    return Judgement(
        decisions=decisions,
        threshold=None,
        basis=_basis(judged, figures, conclusion.outcome),
        notes=(*([Weakness(judged.unlike)] if judged.unlike else ()), *conclusion.notes),
        outcome=conclusion.outcome,
        outcome_reason=conclusion.reason,
        own=figures,
        counts=_counts(figures),
        sources=tuple(row.sources(judged.gallery) for row in rows),
        calibration=_calibration(judged),
    )


def _judged(gallery: Gallery, rule: CopiesParameters, subjects: Sequence[SubjectEvidence]) -> Judged:
    if not gallery.candidates:
        return Judged(gallery, *_identities(gallery, subjects, [NOTHING_FOUND] * len(subjects)), None, None)
    gallery.bench.on_step(f"searching {len(subjects):,} images for copies of {len(gallery.candidates):,}")
    found = gallery.of_subjects(subjects)
    same, empty = _identities(gallery, subjects, found)
    strangers = unlike(gallery)
    known = None if strangers else never_used(gallery)
    verdicts = verdicts_of(gallery, rule, found, known, [bool(each) for each in same])
    return Judged(gallery, same, empty, verdicts, known, strangers)


def _identities(
    gallery: Gallery, subjects: Sequence[SubjectEvidence], found: Sequence[Found]
) -> tuple[list[tuple[Identical, ...]], int]:
    # A black frame that is the same as another one is nobody's copy.
    empty = featureless(gallery.images([subject.member for subject in subjects]))
    same = list(zip(identities(gallery, subjects, found), empty.tolist(), strict=True))
    return [() if nothing else each for each, nothing in same], sum(nothing and bool(each) for each, nothing in same)


def verdicts_of(
    gallery: Gallery,
    rule: CopiesParameters,
    found: Sequence[Found],
    known: Searched | None,
    identical: Sequence[bool] | None = None,
) -> CopyVerdicts:
    """What was found of images, judged by never-used images and impostors."""
    return judged_by(
        found,
        gallery.sources,
        impostors=impostors(gallery, rule.impostors),
        never_used=None if known is None else known.strangers,
        identical=identical,
        source_groups=[group_of(member) for member in gallery.candidates],
        q=rule.q,
        least_area=rule.least_area,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What is known of one subject."""

    found: Found
    same: tuple[Identical, ...]
    of_search: Label
    whole: CopyTest
    part: CopyTest

    @property
    def label(self) -> Label:
        """Identity before all else."""
        return Label.COPY if self.same else self.of_search

    @property
    def by(self) -> Established | None:
        """How it is known to be a copy, or a part copy."""
        return Established.IDENTITY if self.same else self.whole.by or self.part.by

    @property
    def decision(self) -> Decision:
        """With the p-value of what decided; identity is a fact and has none."""
        if self.same:
            return Decision(self.label, self.found.evidence, near_threshold=False)
        of_part = self.part.by or (self.part.doubtful and not self.whole.doubtful)
        test = self.part if of_part and not self.whole.by else self.whole
        near = self.whole.near or self.part.near
        return Decision(self.label, self.found.evidence, near, test.p_value, test.q_value)

    def sources(self, gallery: Gallery) -> tuple[CopySource, ...]:
        """Identical images; then wholes and regions, regions first where the whole is no copy."""
        keys = [member.image_key for member in gallery.candidates]
        same = [
            CopySource(0, each.member.image_key, False, 1.0, 1.0, None, None, each.how, Established.IDENTITY)
            for each in self.same
        ]
        wholes, parts = self._wholes(keys), self._parts(keys)
        named = same + (wholes + parts if self.label is Label.COPY else parts + wholes)
        return tuple(replace(each, rank=rank) for rank, each in enumerate(named, start=1))

    def _wholes(self, keys: Sequence[str]) -> list[CopySource]:
        known = {each.member.image_key for each in self.same}
        found = [match for match in self.found.matches if keys[match.source] not in known][:WHOLES]
        by = [self.whole.by if self.label is Label.COPY and not self.same else None, *(None,) * len(found)]
        return [
            CopySource(0, keys[m.source], False, m.agreement, m.covered, None, None, str(m.transformation), how)
            for m, how in zip(found, by, strict=False)
        ]

    def _parts(self, keys: Sequence[str]) -> list[CopySource]:
        # Of a part copy the piece that is established stands first: the largest, or that of the source of the whole.
        found, is_part = list(self.found.pieces), self.label is Label.PART_COPY
        if is_part and not self.part.by:
            found.sort(key=lambda piece: piece.source != self.found.matches[0].source)
        by = [self.by if is_part else None, *(None,) * len(found)]
        return [
            CopySource(
                0, keys[p.source], True, None, p.area, _box(p.box), _box(p.source_box), str(p.transformation), how
            )
            for p, how in zip(found[:PARTS], by, strict=False)
        ]


def _box(box: Region) -> Box:
    return Box(box.left, box.top, box.right, box.bottom)


def _findings(judged: Judged, rule: CopiesParameters, rows: Sequence[Row]) -> CopiesFindings:
    verdicts = judged.verdicts
    not_used = {member.image_id for member in judged.gallery.bench.frozen.acting(Role.NOT_USED)}
    margins = () if verdicts is None else verdicts.margins
    close = [margin is not None and margin < NEARLY for margin in margins]
    by = Counter(row.by for row in rows if row.label in (Label.COPY, Label.PART_COPY))
    whole = calibration_of(verdicts.whole_family if verdicts else None)
    return CopiesFindings(
        q=rule.q,
        established={how.value: by[how] for how in Established},
        featureless=judged.featureless,
        of_not_used=sum(bool(row.same) and row.same[0].member.image_id in not_used for row in rows),
        ambiguous=sum(
            near and not row.same and row.label is Label.COPY for row, near in zip(rows, close, strict=False)
        ),
        whole=whole,
        part=calibration_of(verdicts.part_family if verdicts else None),
        false_match_rate=false_match_rate_of(verdicts.false_matches if verdicts else None),
        pixels_space=judged.gallery.space.space_id,
        guarantee=guarantee(whole),
        unlike=judged.unlike or None,
    )


def _basis(judged: Judged, figures: CopiesFindings, outcome: Outcome) -> dict[str, Any]:
    verdicts, known = judged.verdicts, judged.known
    scores = [] if known is None or verdicts is None else [*verdicts.calibration]
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


def _calibration(judged: Judged) -> tuple[CalibrationScore, ...]:
    if judged.known is None or judged.verdicts is None:
        return ()
    rows = zip(judged.known.members, judged.verdicts.calibration, strict=True)
    return tuple(CalibrationScore(member.image_key, evidence) for member, evidence in rows)
