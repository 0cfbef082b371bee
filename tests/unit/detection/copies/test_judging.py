"""Labels: each kind of evidence gets its own, strangers none, and everything that was left out is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta

from provenance.detection.copies.found import Found
from provenance.detection.copies.judging import Strangers, judge_copies
from provenance.detection.copies.retrieval import sources_of
from provenance.detection.copies.search import search
from provenance.errors import UsageError
from provenance.vocabulary import Established, Label
from tests.unit.detection.copies.pictures import moved, slices

pytestmark = pytest.mark.slow

REALS = slices(48, 1)
SOURCES = sources_of(REALS)
OTHERS = Strangers(search(REALS, SOURCES, left_out=[[row] for row in range(len(REALS))]))
KNOWN = Strangers(search(slices(60, 5), SOURCES))
PATCHED = slices(1, 50)[0].copy()
PATCHED[:, :28] = REALS[3][:, :28]
COPIED = [REALS[4], REALS[5][:, ::-1], moved(REALS[6], rotation=5), PATCHED]
FOUND = search(np.concatenate([np.stack(COPIED), slices(12, 2)]).astype(np.float32), SOURCES)


def test_copies_by_the_tail_a_part_copy_and_strangers() -> None:
    judged = judge_copies(FOUND, SOURCES, impostors=OTHERS, never_used=KNOWN)
    assert judged.labels[:4] == (Label.COPY,) * 3 + (Label.PART_COPY,)
    assert set(judged.labels[4:]) <= {Label.NO_COPY_SEEN, Label.INCONCLUSIVE}
    assert judged.by[:4] == (Established.TAIL,) * 4
    assert [each.matches[0].source for each in judged.found[:3]] == [4, 5, 6]
    assert min(margin or 0 for margin in judged.margins[:3]) > 1
    assert judged.whole_family is not None
    assert judged.whole_family.never_used
    assert judged.whole_family.sufficient_groups == 20 * len(FOUND) - 1
    assert len(judged.calibration) == 60


def test_few_subjects_are_established_without_a_model() -> None:
    judged = judge_copies(FOUND[:4], SOURCES, impostors=OTHERS, never_used=KNOWN)
    assert judged.by[:3] == (Established.CONFORMAL,) * 3
    expected = 4 * (1 / 61) / 4
    assert judged.whole[0].p_value == pytest.approx(min(expected, judged.whole[0].p_value or 1))


def test_too_few_groups_leave_what_stands_out_inconclusive() -> None:
    judged = judge_copies(FOUND, SOURCES, impostors=OTHERS, never_used=KNOWN.some(range(30)))
    assert judged.labels[0] is Label.INCONCLUSIVE
    assert judged.whole_family is not None
    assert judged.whole_family.model is not None
    assert "30 calibration groups" in judged.whole_family.model.refused


def test_without_never_used_images_copies_are_verified_at_a_stated_rate() -> None:
    judged = judge_copies(FOUND, SOURCES, impostors=OTHERS)
    assert judged.whole_family is not None
    assert not judged.whole_family.never_used
    assert judged.calibration == ()
    assert {by for by in judged.by if by} <= {Established.VERIFICATION}
    assert judged.false_matches is not None
    rate = judged.false_matches.rate
    assert rate.groups + judged.false_matches.twins == 48
    assert rate.upper == pytest.approx(1 - 0.05 ** (1 / rate.groups)) or rate.matches > 0


def test_identity_is_no_hypothesis() -> None:
    same = [True] + [False] * (len(FOUND) - 1)
    judged = judge_copies(FOUND, SOURCES, impostors=OTHERS, never_used=KNOWN, identical=same)
    assert judged.labels[0] is Label.COPY
    assert judged.by[0] is Established.IDENTITY
    assert judged.whole[0].p_value is None
    without = judge_copies(FOUND[1:], SOURCES, impostors=OTHERS, never_used=KNOWN)
    assert judged.whole[1:] == without.whole
    alone = judge_copies(FOUND[:1], SOURCES, impostors=OTHERS, never_used=KNOWN, identical=[True])
    assert alone.labels == (Label.COPY,)


def test_near_twins_are_left_out_and_counted_apart() -> None:
    twins = search(moved(REALS[9], down=2)[None], SOURCES)
    found, flags = [*KNOWN.found, *twins], np.arange(61) == 7
    judged = judge_copies(FOUND, SOURCES, impostors=OTHERS, never_used=Strangers(found, None, flags))
    whole, part = judged.whole_family, judged.part_family
    assert whole is not None
    assert part is not None
    assert (whole.twins_flagged, whole.twins_by_whole, whole.twins_by_score, whole.groups) == (1, 0, 1, 59)
    assert (part.twins_flagged, part.twins_by_whole) == (1, 1)
    assert np.flatnonzero(whole.twins).tolist() == [7, 60]


def test_mirrored_twins_bar_mirrored_matches_and_no_others() -> None:
    noise = np.random.default_rng(1).normal(0, 2, (4, 64, 64)).astype(np.float32)
    twins = search(REALS[20:24, :, ::-1] + noise, SOURCES)
    many = [*FOUND, *FOUND[4:] * 4]
    judged = judge_copies(many, SOURCES, impostors=OTHERS, never_used=Strangers([*KNOWN.found, *twins]))
    whole = judged.whole_family
    assert whole is not None
    assert (whole.twins_by_score, whole.twins_mirrored, whole.groups) == (4, 4, 60)
    assert judged.labels[:3] == (Label.COPY, Label.INCONCLUSIVE, Label.COPY)
    least = beta.ppf(0.05, 4, 61)
    assert least / 50 < (judged.whole[1].p_value or 0) < least
    without = judge_copies(many, SOURCES, impostors=OTHERS, never_used=KNOWN)
    assert without.labels[1] is Label.COPY
    assert judged.whole[0].p_value == pytest.approx(without.whole[0].p_value)


def test_what_scores_high_and_does_not_follow_its_source_stays_in_the_calibration() -> None:
    (found,) = search(moved(REALS[9], down=2)[None], SOURCES)
    loose = replace(found, matches=tuple(replace(match, following=0.9) for match in found.matches))
    judged = judge_copies(FOUND, SOURCES, impostors=OTHERS, never_used=Strangers([*KNOWN.found, loose]))
    assert judged.whole_family is not None
    assert (judged.whole_family.twins_by_score, judged.whole_family.groups) == (0, 61)


@pytest.mark.parametrize(
    ("following", "share", "area", "label"),
    [
        (0.96, 0.1, 0.1, Label.COPY),
        (0.8, 0.5, 0.3, Label.COPY),  # as a blend has it: a little everywhere
        (0.8, 0.3, 0.2, Label.PART_COPY),
        (0.6, 0.5, 0.3, Label.PART_COPY),
        (0.8, 0.3, 0.1, Label.INCONCLUSIVE),
    ],
)
def test_a_copy_is_in_all_of_the_image(following: float, share: float, area: float, label: Label) -> None:
    found = FOUND[0]
    best = replace(found.matches[0], following=following)
    piece = next(each for each in found.pieces if each.source == best.source)
    altered = replace(found, matches=(best,), pieces=(replace(piece, share=share, area=area),))
    judged = judge_copies([altered, *FOUND[1:]], SOURCES, impostors=OTHERS, never_used=KNOWN)
    assert judged.labels[0] is label
    assert (judged.by[0] is None) == (label is Label.INCONCLUSIVE)


def test_nothing_calibrates_where_all_are_near_twins_or_there_is_nobody() -> None:
    flags = np.ones(60, dtype=np.bool_)
    judged = judge_copies(FOUND, SOURCES, impostors=OTHERS, never_used=Strangers(KNOWN.found, None, flags))
    assert set(judged.labels) == {Label.NO_COPY_SEEN}
    assert judged.whole_family is not None
    assert judged.whole_family.groups == 0
    alone = judge_copies(FOUND[:2], SOURCES, impostors=Strangers(()))
    assert alone.whole_family is None
    assert alone.false_matches is None
    assert judge_copies([Found((), (), 0.0)], SOURCES, impostors=OTHERS, never_used=KNOWN).labels == (
        Label.NO_COPY_SEEN,
    )


def test_a_level_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        judge_copies(FOUND, SOURCES, impostors=OTHERS, q=1.0)
