"""Truth against verdict: what the audit said of each kind of image, and whether the sources it named are true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.demo.making import CONTROL, GENERATOR, PLANTED
from provenance.documents.demo import CopyTotals, KindResult
from provenance.vocabulary import Established, Label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from provenance.demo.making import GeneratedTruth
    from provenance.records import StoredCopySource, StoredVerdict

WHOLE, HALF, LARGE = 0.9, 0.5, 0.25
"""Least share of a generated image's body that comes from one used image: a copy, most of a copy, a large piece."""

WHOLE_KIND, HALF_KIND, LARGE_KIND, SMALL_KIND = (
    f"{share} of one image" for share in ("90-100 %", "50-90 %", "25-50 %", "0-25 %")
)
LARGE_KINDS = (WHOLE_KIND, HALF_KIND, LARGE_KIND)
"""The generator's images with a large piece of one used image, or more."""

_KINDS: tuple[tuple[str, Callable[[GeneratedTruth], bool]], ...] = (
    *((kind, lambda each, kind=kind: each.kind == kind) for kind in PLANTED),
    (WHOLE_KIND, lambda each: each.kind == GENERATOR and each.largest >= WHOLE),
    (HALF_KIND, lambda each: each.kind == GENERATOR and HALF <= each.largest < WHOLE),
    (LARGE_KIND, lambda each: each.kind == GENERATOR and LARGE <= each.largest < HALF),
    (SMALL_KIND, lambda each: each.kind == GENERATOR and each.largest < LARGE),
    (CONTROL, lambda each: each.kind == CONTROL),
)


@dataclass(frozen=True, slots=True)
class CopyVerdict:
    """What the audit said of one generated image: its label, the sources it named (image_ids), the best first."""

    label: Label
    sources: tuple[str | None, ...] = ()
    established_by: Established | None = None


def copy_verdicts(
    verdicts: Iterable[StoredVerdict], sources: Mapping[str, Sequence[StoredCopySource]]
) -> dict[str, CopyVerdict]:
    """Recorded verdicts and sources, by the image_id of the generated image."""
    found = {}
    for verdict in verdicts:
        named = sources.get(verdict.image_key, ())
        by = next((source.established_by for source in named if source.established_by), None)
        if verdict.image_id is not None:
            found[verdict.image_id] = CopyVerdict(verdict.label, tuple(each.image_id for each in named), by)
    return found


def compare_copies(truth: Sequence[GeneratedTruth], said: Mapping[str, CopyVerdict]) -> tuple[KindResult, ...]:
    """Each kind of image that the release holds: planted copies, the generator's images by their pieces, controls."""
    sorted_by_kind = ((kind, [each for each in truth if is_one(each)]) for kind, is_one in _KINDS)
    return tuple(_of_kind(kind, images, said) for kind, images in sorted_by_kind if images)


def _of_kind(kind: str, images: Sequence[GeneratedTruth], said: Mapping[str, CopyVerdict]) -> KindResult:
    labels = [said[each.image_id].label for each in images]
    return KindResult(
        kind=kind,
        images=len(images),
        copy=labels.count(Label.COPY),
        part_copy=labels.count(Label.PART_COPY),
        inconclusive=labels.count(Label.INCONCLUSIVE),
        no_copy_seen=labels.count(Label.NO_COPY_SEEN),
        largest_source_first=None if kind == CONTROL else sum(_first_is_true(each, said, 1) for each in images),
        true_source_first=None if kind == CONTROL else sum(_first_is_true(each, said) for each in images),
    )


def _first_is_true(image: GeneratedTruth, said: Mapping[str, CopyVerdict], most: int | None = None) -> bool:
    """Whether the source named first is among the ``most`` largest true ones (``None``: among all)."""
    named = said[image.image_id].sources
    return bool(named) and named[0] in {source.image_id for source in image.sources[:most]}


def total_of(truth: Sequence[GeneratedTruth], said: Mapping[str, CopyVerdict]) -> CopyTotals:
    """Copies found, missed and false; a copy is a planted one, or one that the generator made of one used image."""

    def called(images: Sequence[GeneratedTruth], label: Label = Label.COPY) -> int:
        return sum(said[each.image_id].label is label for each in images)

    planted = [each for each in truth if each.kind in PLANTED]
    whole = [each for each in truth if each.kind == GENERATOR and each.largest >= WHOLE]
    mostly = [each for each in truth if each.kind == GENERATOR and HALF <= each.largest < WHOLE]
    controls = [each for each in truth if each.kind == CONTROL]
    copies = [each for each in truth if said[each.image_id].label is Label.COPY]
    ways = [said[each.image_id].established_by for each in copies]
    rightly = called(planted) + called(whole)
    return CopyTotals(
        planted=len(planted),
        planted_found=called(planted),
        copied_by_generator=len(whole),
        called_copy=len(copies),
        called_copy_rightly=rightly,
        called_copy_mostly=called(mostly),
        called_copy_wrongly=len(copies) - rightly - called(mostly),
        source_right=sum(_first_is_true(each, said) for each in copies),
        established_by={way.value: ways.count(way) for way in Established if way in ways},
        controls=len(controls),
        controls_called_copy=called(controls),
        controls_called_part_copy=called(controls, Label.PART_COPY),
    )
