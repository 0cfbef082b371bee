"""What an audit of copies concludes for its release, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.findings import Statements, Weakness
from provenance.vocabulary import Established, Label, Outcome, counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.findings import CopiesFindings, CopyCalibration

_BY = {
    Established.IDENTITY: "by identity (the same file or pixels: a fact)",
    Established.CONFORMAL: "by evidence above what never-used images reach (conformal p-values)",
    Established.TAIL: "by a model of the highest evidence of never-used images (tail)",
    Established.VERIFICATION: "by evidence that real images of different groups do not reach (verification)",
}


@dataclass(frozen=True, slots=True)
class Conclusion:
    """Outcome, why in plain words, and what a person should know beside."""

    outcome: Outcome
    reason: str
    notes: tuple[str, ...]


def concluded(found: CopiesFindings, labels: Mapping[Label, int]) -> Conclusion:
    """A copy is a leak; what can't be told is inconclusive; else nothing was seen, which is not "no copy"."""
    copies, parts, unclear = (labels.get(each, 0) for each in (Label.COPY, Label.PART_COPY, Label.INCONCLUSIVE))
    total = sum(labels.values())
    if copies or parts:
        outcome, reason = Outcome.LEAK_ESTABLISHED, _leak(found, copies, parts, total)
    elif unclear:
        outcome, reason = Outcome.INCONCLUSIVE, _unclear(found, unclear, total)
    else:
        outcome = Outcome.LEAK_NOT_ESTABLISHED
        among = counted(total, "generated image")
        reason = f"No copy was seen among {among}. That does not show that there is none."
    return Conclusion(outcome, reason, tuple(_notes(found, unclear if copies or parts else 0)))


def _leak(found: CopiesFindings, copies: int, parts: int, total: int) -> str:
    named = [words for words in (_named(copies, "copy", "copies"), _named(parts, "part copy", "part copies")) if words]
    are = "is" if copies + parts == 1 else "are"
    how = [f"{found.established[by.value]:,} {words}" for by, words in _BY.items() if found.established.get(by.value)]
    of = "a real image" if copies + parts == 1 else "real images"
    first = f"{' and '.join(named)} of {of} {are} among {counted(total, 'generated one')}"
    return f"{first[0].upper()}{first[1:]}: {'; '.join(how)}."


def _named(count: int, one: str, many: str) -> str:
    return counted(count, one, many) if count else ""


def _unclear(found: CopiesFindings, unclear: int, total: int) -> str:
    if found.whole is None or not found.whole.groups:
        return (
            f"Of {counted(total, 'generated image')} none is identical to a real one. No more can be told: that takes "
            "real images that may have been used, and others to calibrate by."
        )
    stand = "1 generated image stands" if unclear == 1 else f"{unclear:,} generated images stand"
    return (
        f"{stand} out of all {found.whole.groups:,} calibration groups, which are too few to call that a copy "
        f"among {total:,}: look at them. {found.whole.sufficient_groups:,} groups would tell without a model."
    )


def stated(found: CopiesFindings, counts: Mapping[str, int]) -> Statements:
    """What is known of copies, what rests on a model, and what could not be told."""
    how = {by: found.established.get(by.value, 0) for by in Established}
    rate = f"(at a false discovery rate of {found.q:g})."
    known = (
        _is(how[Established.IDENTITY], "the same file, or the same pixels, as a real one: a fact."),
        _is(how[Established.CONFORMAL], f"a copy, whole or in part: it agrees more than never-used images do {rate}"),
    )
    guessed = (
        _is(how[Established.TAIL], "a copy, whole or in part, by a model of the highest agreement there is."),
        _is(how[Established.VERIFICATION], "a copy: it agrees more than strangers do; no never-used image calibrates."),
    )
    unseen, unclear = counts.get("no_copy_seen", 0), counts.get("inconclusive", 0)
    unknown = (
        unseen and f"In {counted(unseen, 'generated image')} no copy is seen. That is not \u201cno copy\u201d.",
        unclear and f"{unclear:,} more stand out, and can't be told with so few calibration images: look at them.",
    )
    return Statements(*(tuple(each for each in said if each) for said in (known, guessed, unknown)))


def _is(count: int, what: str) -> str:
    return f"{count:,} generated {'image is' if count == 1 else 'images are each'} {what}" if count else ""


def guarantee(whole: CopyCalibration | None) -> str:
    """What statements beyond identity are worth."""
    if whole is None:
        return "Identity alone is stated here; it has no error rate."
    if not whole.never_used:
        return (
            "No never-used image calibrates: a verified copy agrees more than real images of different groups do. That "
            "holds as far as generated images that copy nothing agree no more with real ones than those do."
        )
    return (
        "The error rate holds on average over draws of the never-used images, and as far as generated images that copy "
        "nothing agree no more with real ones than never-used images do; by the tail, as far as its model holds."
    )


def _notes(found: CopiesFindings, unclear: int) -> list[str]:
    notes: list[str] = []
    if unclear:
        stand_out = found.whole is not None and found.whole.groups
        notes.append(
            f"{unclear:,} more stand out of all calibration and can't be told: look at them (all are listed by "
            "`provenance export AUDIT --answer copies`)."
            if stand_out
            else f"Of {unclear:,} more nothing can be told beyond identity: there is nothing that calibrates."
        )
    if found.featureless:
        one = "1 generated image shows nothing (a black frame, say) and is the same as a real one that shows nothing"
        many = f"{found.featureless:,} generated images show nothing (black frames, say) and are the same as real ones "
        notes.append(f"{one if found.featureless == 1 else many + 'that show nothing'}: not counted as copies.")
    if found.of_not_used:
        are = "1 copy is" if found.of_not_used == 1 else f"{found.of_not_used:,} copies are"
        notes.append(f"{are} of an image that is claimed not to have been used: the claim is contradicted.")
    if found.ambiguous:
        nearly = "copies have nearly as much evidence for an image of another group: either may be the source."
        notes.append(Weakness(f"{found.ambiguous:,} {nearly}"))
    for name, each in (("copies", found.whole), ("part copies", found.part)):
        if each is not None:
            notes += _calibration_notes(name, each)
    if found.whole is not None:
        notes += [*_limits(found.whole), found.guarantee]
    return notes


def _limits(found: CopyCalibration) -> list[str]:
    # Twins that nobody knew are proof that an image that was never used can match like a copy.
    mirrored = found.twins_mirrored or 0
    counts = {"mirrored": mirrored, "unmirrored": found.twins_by_score - mirrored}
    said = " and ".join(f"{count:,} {way}" for way, count in counts.items() if count)
    if not said or found.twins_mirrored is None:
        return []
    who = "Images that were never used" if found.never_used else "Real images of different groups"
    return [
        Weakness(
            f"{who} match as strongly as copies do ({said}). So a match of that kind and "
            "strength is taken for a copy only as far as such twins are too rare to explain it; the same pixels, "
            "mirrored or turned, are a copy all the same."
        )
    ]


def _calibration_notes(name: str, found: CopyCalibration) -> list[str]:
    notes: list[str] = []
    if twins := found.twins_known + found.twins_by_score:
        kind = "never-used images" if found.never_used else "real images"
        notes.append(
            f"Of {name}: {twins:,} of {found.images:,} {kind} are left out of the calibration as near-twins of others "
            f"({found.twins_known:,} known, {found.twins_by_score:,} by their agreement)."
        )
    if found.tail.refused:
        said = f"Of {name}, no model speaks beyond {found.groups:,} calibration groups: {found.tail.refused}"
        notes.append(Weakness(said))
    return notes
