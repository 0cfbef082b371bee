"""Truth against verdict on cases small enough to count by hand."""

from provenance.demo.comparing import (
    HALF_KIND,
    LARGE_KIND,
    SMALL_KIND,
    WHOLE_KIND,
    CopyVerdict,
    compare_copies,
    copy_verdicts,
    total_of,
)
from provenance.demo.making import CONTROL, FILE, GENERATOR, GeneratedTruth, TrueSource
from provenance.records import StoredCopySource, StoredVerdict
from provenance.vocabulary import Established, Label, Role


def image(name, kind, **shares):
    return GeneratedTruth(
        name, name, kind, tuple(TrueSource(source, source, share) for source, share in shares.items())
    )


TRUTH = [
    image("a", FILE, p=1.0),
    image("b", "flip", q=1.0),
    image("c", "flip", r=1.0),
    image("d", GENERATOR, p=0.95),
    image("e", GENERATOR, p=0.6, q=0.2),
    image("f", GENERATOR, p=0.3, q=0.25),
    image("g", GENERATOR, p=0.2),
    image("h", CONTROL),
    image("i", CONTROL),
]
SAID = {
    "a": CopyVerdict(Label.COPY, ("p",), Established.IDENTITY),
    "b": CopyVerdict(Label.COPY, ("x", "q"), Established.CONFORMAL),
    "c": CopyVerdict(Label.INCONCLUSIVE, ("r",)),
    "d": CopyVerdict(Label.COPY, ("p",), Established.CONFORMAL),
    "e": CopyVerdict(Label.COPY, ("q", "p"), Established.TAIL),
    "f": CopyVerdict(Label.PART_COPY, ("q",), Established.CONFORMAL),
    "g": CopyVerdict(Label.NO_COPY_SEEN, ()),
    "h": CopyVerdict(Label.COPY, ("p",), Established.TAIL),
    "i": CopyVerdict(Label.PART_COPY, ("q",), Established.TAIL),
}


def test_kinds_by_hand():
    kinds = {each.kind: each for each in compare_copies(TRUTH, SAID)}
    assert list(kinds) == [FILE, "flip", WHOLE_KIND, HALF_KIND, LARGE_KIND, SMALL_KIND, CONTROL]
    flip = kinds["flip"]
    assert (flip.images, flip.copy, flip.part_copy, flip.inconclusive, flip.no_copy_seen) == (2, 1, 0, 1, 0)
    # of b another image is named first; that the right one comes second does not count
    assert (flip.largest_source_first, flip.true_source_first) == (1, 1)
    # of e a true source is named first, not the largest
    assert (kinds[HALF_KIND].largest_source_first, kinds[HALF_KIND].true_source_first) == (0, 1)
    assert (kinds[SMALL_KIND].no_copy_seen, kinds[SMALL_KIND].true_source_first) == (1, 0)
    assert (kinds[CONTROL].copy, kinds[CONTROL].part_copy) == (1, 1)
    assert kinds[CONTROL].true_source_first is None
    assert sum(each.images for each in kinds.values()) == len(TRUTH)


def test_totals_by_hand():
    total = total_of(TRUTH, SAID)
    assert (total.planted, total.planted_found, total.copied_by_generator) == (3, 2, 1)
    assert total.called_copy == 5
    assert (total.called_copy_rightly, total.called_copy_mostly, total.called_copy_wrongly) == (3, 1, 1)
    assert total.source_right == 3
    assert total.established_by == {"identity": 1, "conformal": 2, "tail": 2}
    assert (total.controls, total.controls_called_copy, total.controls_called_part_copy) == (2, 1, 1)


def test_recorded_sources_are_joined_to_verdicts_by_rank():
    def verdict(key, label):
        empty = dict.fromkeys(("score", "s_used", "s_not_used", "s_against", "threshold", "p_value", "q_value"))
        known = {"image_key": key, "subject_role": Role.RELEASE, "label": label, "image_id": f"id-{key}"}
        return StoredVerdict(**known, **empty, near_threshold=False, verdict_sha256="")

    def source(rank, key, established_by=None):
        return StoredCopySource(rank, key, False, 0.9, 1.0, established_by=established_by, image_id=f"id-{key}")

    said = copy_verdicts(
        [verdict("a", Label.COPY), verdict("b", Label.NO_COPY_SEEN)],
        {"a": [source(1, "p"), source(2, "q", Established.TAIL)]},
    )
    assert said["id-a"] == CopyVerdict(Label.COPY, ("id-p", "id-q"), Established.TAIL)
    assert said["id-b"] == CopyVerdict(Label.NO_COPY_SEEN)
