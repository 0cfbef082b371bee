"""From what a search found to labels: copies and part copies, each a family with its own level. Pure.

    copy           its evidence (evidence.py) is rejected by Benjamini-Hochberg at q: by conformal p-values, or where
                   these end by the model of the tail; and the source is in all of it: 95 % of the structure or more
                   follow it (local correlation 0.5 or more), or two thirds do, and a piece of two fifths agrees
    part_copy      its largest piece, of the least area, is rejected likewise by its own calibration and not the whole;
                   or the whole is, is no copy by the above, and there is a piece of its source of the least area
    inconclusive   above all calibration and not rejected, where groups are too few and no model speaks, or the
                   q-value is no more than four times q; or rejected, and neither in all of it nor in a large piece
    no_copy_seen   all others, which is not "no copy"

Wholes and pieces are two families, each tested at level q, for two statements: of images called copies, and of those
whose piece is rejected, no more than a share q is wrong on average; of both together then no more than 2 q. What is
known by identity is no hypothesis and stands outside.

Near-twins among the calibration images are left out of it: those that the caller knows; and those whose score, or whose
agreement as a whole on Fisher's scale, is beyond its bound (calibration.py) while 95 % of the structure or more follow
the source. (Agreement is learnt from nothing: a twin that evidence takes for a stranger would spoil the tail.) Those
nobody knew are proof that a never-used image may match so strongly: no p-value of a match that is mirrored is below
what the mirrored ones among them prove, and of one that is not, what the others do. Pixels that are the same, mirrored
or turned, are known by identity all the same.

Without never-used images impostors calibrate: real images against those of other groups, by filters that were fitted to
the other half of their groups. What is rejected then is *verified*: it agrees more than strangers among the reals do.
The rate of false matches is taken over impostors, in both cases: how many groups reach the least evidence of a copy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import check_level, group_codes, same_length
from provenance.detection.copies.calibration import (
    Rate,
    agreement_scores,
    calibrated_copies,
    false_match_rate,
    proven_by_twins,
    share_scores,
    twin_bound,
)
from provenance.detection.copies.evidence import fitted_verifier, simulated_copies
from provenance.detection.decision import SIMILARITY_TOLERANCE
from provenance.errors import UsageError
from provenance.vocabulary import Established, Label

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from provenance.arrays import Flags
    from provenance.detection.checks import Groups
    from provenance.detection.copies.calibration import CalibratedCopies
    from provenance.detection.copies.evidence import Verifier
    from provenance.detection.copies.found import Found, Match, Piece
    from provenance.detection.copies.retrieval import Sources
    from provenance.detection.copies.tail import Tail

    Floats = NDArray[np.float64]

DOUBT = 4
LEAST_AREA = 0.15
WHOLLY, LARGELY, TWIN_FOLLOWS = 2 / 3, 0.4, 0.95
_STEP = 1e-6


@dataclass(frozen=True, slots=True)
class Strangers:
    """Real images that went through the same search, their own group left out.

    Attributes:
        found: Of each.
        groups: Patient or study of each; ``None``: each its own.
        flagged: Which are known to be near-twins of a source; ``None``: none.
    """

    found: Sequence[Found]
    groups: Groups | None = None
    flagged: Flags | None = None

    def some(self, rows: Sequence[int]) -> Strangers:
        """A part of them."""
        groups = None if self.groups is None else [self.groups[row] for row in rows]
        flagged = None if self.flagged is None else np.asarray(self.flagged)[list(rows)]
        return Strangers([self.found[row] for row in rows], groups, flagged)


@dataclass(frozen=True, slots=True)
class CopyTest:
    """What calibration says of one subject, as a whole or by its largest piece.

    Attributes:
        p_value: Of the model where it speaks, else conformal; ``None``: nothing calibrates, or it is known already.
        q_value: Its Benjamini-Hochberg level.
        by: How it is established; ``None``: it is not.
        doubtful: Whether it stands out of all calibration and can't be told.
        near: Whether evidence within the tolerance of machines could change that.
    """

    p_value: float | None = None
    q_value: float | None = None
    by: Established | None = None
    doubtful: bool = False
    near: bool = False


@dataclass(frozen=True, slots=True)
class CopyFamily:
    """By what wholes, or pieces, were calibrated.

    Attributes:
        never_used: By images known not to be used; else by impostors.
        images: That were searched.
        groups: That calibrate; 0: all were near-twins.
        twins_flagged: Left out: known to be near-twins.
        twins_by_whole: Likewise, of pieces alone: near-twins as wholes, and not flagged.
        twins_by_score: Likewise: near-twins by score, and neither of those.
        twins_mirrored: Of those near-twins by score that are not flagged, how many are so mirrored.
        twins: ``images`` flags: all that were left out.
        sufficient_groups: With which one copy alone would be established without a model.
        model: The tail; ``None`` without groups.
    """

    never_used: bool
    images: int
    groups: int
    twins_flagged: int
    twins_by_whole: int
    twins_by_score: int
    twins_mirrored: int
    twins: tuple[bool, ...]
    sufficient_groups: int
    model: Tail | None


@dataclass(frozen=True, slots=True)
class FalseMatches:
    """How often strangers among the sources match.

    Attributes:
        threshold: The least evidence of a copy, or the next above all calibration where there is none.
        rate: Of groups of impostors, with its bound.
        twins: Impostors that are near-twins by score, left out.
    """

    threshold: float
    rate: Rate
    twins: int


@dataclass(frozen=True, slots=True)
class CopyVerdicts:
    """Labels of all subjects, and by what.

    Attributes:
        found: Of each subject, matches by evidence.
        labels: Likewise.
        by: How it is known to be a copy or part copy; ``None`` else.
        margins: Of evidence over the best source of another group; ``None``: no other was registered.
        whole: Tests as wholes.
        part: Tests of largest pieces; what is below the least area is tested and establishes nothing.
        whole_family: ``None``: nothing calibrates.
        part_family: Likewise.
        false_matches: ``None`` without impostors.
        calibration: Evidence of the calibration images, in their order.
        verifier: What evidence was made by.
    """

    found: tuple[Found, ...]
    labels: tuple[Label, ...]
    by: tuple[Established | None, ...]
    margins: tuple[float | None, ...]
    whole: tuple[CopyTest, ...]
    part: tuple[CopyTest, ...]
    whole_family: CopyFamily | None
    part_family: CopyFamily | None
    false_matches: FalseMatches | None
    calibration: tuple[float, ...]
    verifier: Verifier


def judge_copies(
    found: Sequence[Found],
    sources: Sources,
    *,
    impostors: Strangers,
    never_used: Strangers | None = None,
    identical: Sequence[bool] | None = None,
    source_groups: Groups | None = None,
    q: float = 0.05,
    least_area: float = LEAST_AREA,
) -> CopyVerdicts:
    """Labels of generated images (module docstring).

    Args:
        found: Of each generated image.
        sources: The real images that were searched.
        impostors: Some of the sources, searched among those of other groups.
        never_used: Images known not to be used; ``None``: impostors calibrate.
        identical: Which subjects are known to be copies already.
        source_groups: Of all sources, by the caller's rows; for margins.
        q: Level of each of the two families.
        least_area: Share of the image that a piece must have.

    Raises:
        UsageError: If q is not in (0, 1), or lengths differ.
    """
    check_level(q)
    known = np.zeros(len(found), dtype=np.bool_) if identical is None else np.asarray(identical, dtype=np.bool_)
    same_length(known, len(found), "identical images")
    copies = simulated_copies(sources)
    verifier = fitted_verifier(copies, impostors.found, impostors.groups)
    subjects = verifier.verified(found)
    others = _cross_verified(copies, impostors)
    strangers = others if never_used is None else _verified(verifier, never_used)
    judged = _Family(strangers, never_used is not None, q)
    whole, whole_family = judged.tested(_WHOLES, subjects, ~known, None)
    large = np.array([bool(each.pieces) and each.pieces[0].area >= least_area for each in subjects], dtype=np.bool_)
    part, part_family = judged.tested(_PIECES, subjects, ~known, whole_family)
    part = tuple(
        test if enough else CopyTest(test.p_value, test.q_value) for test, enough in zip(part, large, strict=True)
    )
    rows = list(zip(known.tolist(), whole, part, strict=True))
    labels = tuple(_label(each, *row, least_area) for each, row in zip(subjects, rows, strict=True))
    return CopyVerdicts(
        found=subjects,
        labels=labels,
        by=tuple(_by(label, *row) for label, row in zip(labels, rows, strict=True)),
        margins=tuple(each.margin(source_groups) for each in subjects),
        whole=whole,
        part=part,
        whole_family=whole_family,
        part_family=part_family,
        false_matches=_false_matches(others, subjects, whole, strangers, whole_family),
        calibration=tuple(each.evidence for each in strangers.found) if never_used else (),
        verifier=verifier,
    )


def _label(found: Found, known: bool, whole: CopyTest, part: CopyTest, least_area: float) -> Label:
    piece = _piece_of_best(found)
    if known or (whole.by and _in_all_of_it(found, piece)):
        return Label.COPY
    if part.by or (whole.by and piece is not None and piece.area >= least_area):
        return Label.PART_COPY
    return Label.INCONCLUSIVE if whole.by or whole.doubtful or part.doubtful else Label.NO_COPY_SEEN


def _by(label: Label, known: bool, whole: CopyTest, part: CopyTest) -> Established | None:
    if label not in (Label.COPY, Label.PART_COPY):
        return None
    return Established.IDENTITY if known else whole.by or part.by


def _piece_of_best(found: Found) -> Piece | None:
    return next((each for each in found.pieces if each.source == found.matches[0].source), None)


def _in_all_of_it(found: Found, piece: Piece | None) -> bool:
    # An image put together from several agrees fully in one region and little elsewhere; a blend a little everywhere.
    following = found.matches[0].following
    return following >= TWIN_FOLLOWS or (following >= WHOLLY and piece is not None and piece.share >= LARGELY)


def _evidence(found: Sequence[Found]) -> Floats:
    return np.array([each.evidence for each in found])


def _shares(found: Sequence[Found]) -> Floats:
    return share_scores([each.share for each in found])


@dataclass(frozen=True, slots=True)
class _Measure:
    """What of a query is tested, and by what it has its score; ``None``: by nothing."""

    score: Callable[[Sequence[Found]], Floats]
    best: Callable[[Found], Match | Piece | None]

    def mirrored(self, found: Sequence[Found]) -> NDArray[np.bool_]:
        return np.array([(best := self.best(each)) is not None and best.transformation.mirrored for each in found])

    def twins(self, strangers: Strangers) -> tuple[NDArray[np.bool_], float]:
        """Which are near-twins by score, and beyond which score an image may be one."""
        scores = self.score(strangers.found)
        bound = twin_bound(scores, strangers.groups)
        suspected = scores > bound
        if self is _WHOLES:
            agreements = agreement_scores([each.agreement for each in strangers.found])
            suspected |= agreements > twin_bound(agreements, strangers.groups)
        twins = suspected & [self._follows(each) for each in strangers.found]
        return twins, min(bound, float(np.nextafter(scores[twins].min(), -np.inf))) if twins.any() else bound

    def _follows(self, found: Found) -> bool:
        best = self.best(found)
        return best is not None and any(
            match.source == best.source and match.following >= TWIN_FOLLOWS for match in found.matches
        )


_WHOLES = _Measure(_evidence, lambda found: found.matches[0] if found.matches else None)
_PIECES = _Measure(_shares, lambda found: found.pieces[0] if found.pieces else None)


def _verified(verifier: Verifier, strangers: Strangers) -> Strangers:
    return Strangers(verifier.verified(strangers.found), strangers.groups, strangers.flagged)


def _cross_verified(copies: Sequence[Floats], impostors: Strangers) -> Strangers:
    # Each half of the groups by filters that were fitted to the other half; in the order given.
    codes, _ = group_codes(impostors.groups, len(impostors.found))
    found: list[Found] = list(impostors.found)
    for half in (0, 1):
        mine, other = np.flatnonzero(codes % 2 == half).tolist(), np.flatnonzero(codes % 2 != half).tolist()
        fit = impostors.some(other)
        verifier = fitted_verifier(copies, fit.found, fit.groups)
        for row, each in zip(mine, verifier.verified([found[row] for row in mine]), strict=True):
            found[row] = each
    return Strangers(found, impostors.groups, impostors.flagged)


@dataclass(frozen=True, slots=True)
class _Family:
    strangers: Strangers
    never_used: bool
    q: float

    def tested(
        self,
        measure: _Measure,
        subjects: Sequence[Found],
        tried: NDArray[np.bool_],
        wholes: CopyFamily | None,
    ) -> tuple[tuple[CopyTest, ...], CopyFamily | None]:
        """Tests of the subjects that are tried, and by what; near-twins as wholes calibrate no pieces."""
        tests = [CopyTest()] * len(subjects)
        if not self.strangers.found:
            return tuple(tests), None
        twins = self._twins(measure, wholes)
        rows = np.flatnonzero(tried).tolist()
        try:
            here, near = self._calibrated(measure, [subjects[row] for row in rows], twins)
        except UsageError:
            return tuple(tests), self._figures(None, twins, len(rows))
        for row, test in zip(rows, self._tests(here, near), strict=False):
            tests[row] = test
        return tuple(tests), self._figures(here, twins, len(rows))

    def _twins(self, measure: _Measure, wholes: CopyFamily | None) -> _Twins:
        flagged = np.zeros(len(self.strangers.found), dtype=np.bool_)
        if self.strangers.flagged is not None:
            same_length(self.strangers.flagged, len(flagged), "flags of near-twins")
            flagged = np.asarray(self.strangers.flagged, dtype=np.bool_)
        before = flagged if wholes is None else np.array(wholes.twins)
        by_score, bound = measure.twins(self.strangers)
        return _Twins(flagged, before, by_score, measure.mirrored(self.strangers.found), bound)

    def _calibrated(
        self, measure: _Measure, subjects: Sequence[Found], twins: _Twins
    ) -> tuple[CalibratedCopies, NDArray[np.bool_]]:
        # As it is, and which would be told otherwise within the tolerance of machines.
        groups, known = self.strangers.groups, measure.score(self.strangers.found)
        # Without a subject there still is a calibration to tell of.
        scores = measure.score(subjects) if subjects else np.zeros(1)
        mirrored = measure.mirrored(subjects) if subjects else np.zeros(1, dtype=np.bool_)

        def moved(by: float) -> CalibratedCopies:
            proofs = [
                proven_by_twins(scores + by, known, twins.proof & (twins.mirrored == way), twins.bound, groups)
                for way in (False, True)
            ]
            proven = np.where(mirrored, proofs[1], proofs[0])
            return calibrated_copies(scores + by, known, calibration_groups=groups, twins=twins.all, proven=proven)

        here, lower, higher = (moved(by) for by in (0.0, -SIMILARITY_TOLERANCE, SIMILARITY_TOLERANCE))
        return here, (_levels(lower)[1] <= self.q) != (_levels(higher)[1] <= self.q)

    def _tests(self, here: CalibratedCopies, near: NDArray[np.bool_]) -> list[CopyTest]:
        p_values, levels = _levels(here)
        coarse = bool(here.model.refused) and _needed(len(levels), self.q) > here.groups
        doubtful = (here.conformal <= 1 / (here.groups + 1) + 1e-12) & (coarse | (levels <= DOUBT * self.q))
        rows = zip(p_values, levels, here.conformal_q, doubtful, near, strict=True)
        return [
            CopyTest(float(p), float(level), by := self._by(level, conformal), by is None and bool(doubt), bool(close))
            for p, level, conformal, doubt, close in rows
        ]

    def _by(self, level: float, conformal: float) -> Established | None:
        if level > self.q:
            return None
        if not self.never_used:
            return Established.VERIFICATION
        return Established.CONFORMAL if conformal <= self.q else Established.TAIL

    def _figures(self, here: CalibratedCopies | None, twins: _Twins, count: int) -> CopyFamily:
        return CopyFamily(
            never_used=self.never_used,
            images=len(twins.all),
            groups=0 if here is None else here.groups,
            twins_flagged=int(twins.flagged.sum()),
            twins_by_whole=int((twins.before & ~twins.flagged).sum()),
            twins_by_score=int((twins.all & ~twins.before).sum()),
            twins_mirrored=int((twins.proof & twins.mirrored).sum()),
            twins=tuple(twins.all.tolist()),
            sufficient_groups=_needed(max(count, 1), self.q),
            model=None if here is None else here.model,
        )


@dataclass(frozen=True, slots=True)
class _Twins:
    """Of calibration images: known, known or near-twins as wholes, by score; and whether they match mirrored."""

    flagged: NDArray[np.bool_]
    before: NDArray[np.bool_]
    by_score: NDArray[np.bool_]
    mirrored: NDArray[np.bool_]
    bound: float

    @property
    def all(self) -> NDArray[np.bool_]:
        """Those that are left out."""
        return self.before | self.by_score

    @property
    def proof(self) -> NDArray[np.bool_]:
        """Those that nobody knew to be twins."""
        return self.by_score & ~self.flagged


def _levels(here: CalibratedCopies) -> tuple[Floats, Floats]:
    # P-values and Benjamini-Hochberg levels, by the model where there is one.
    p_values = np.where(np.isnan(here.tail), here.conformal, here.tail)
    return p_values, here.conformal_q if here.model.refused else here.tail_q


def _needed(subjects: int, q: float) -> int:
    return math.ceil(subjects / q) - 1


def _false_matches(
    impostors: Strangers,
    subjects: Sequence[Found],
    whole: Sequence[CopyTest],
    strangers: Strangers,
    family: CopyFamily | None,
) -> FalseMatches | None:
    if not impostors.found:
        return None
    scores = _evidence(impostors.found)
    kept = ~_WHOLES.twins(impostors)[0]
    groups = None if impostors.groups is None else list(compress(impostors.groups, kept))
    copies = [each.evidence for each, test in zip(subjects, whole, strict=True) if test.by]
    twins = () if family is None else family.twins
    others = [each.evidence for each, twin in zip(strangers.found, twins, strict=False) if not twin]
    threshold = min(copies) if copies else max(others, default=0.0) + _STEP
    return FalseMatches(threshold, false_match_rate(scores[kept], threshold, groups), int((~kept).sum()))
