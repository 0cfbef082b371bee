"""Identity is a fact: the same file, the same canonical pixels, or the same ones mirrored, turned, resized, compressed.

It needs no statistics, and is looked for among all real images of the audit, those claimed not used among them. Bytes
and pixels are compared by the digests on record. For the rest both images are read again, where they look alike already
at 64 x 64: registered in place or mirrored alone with an agreement of 0.9; or with a correlation of 0.98 at 16 x 16 in
one of the eight positions of a square.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from provenance.audit.inputs import CANDIDATES
from provenance.detection.copies.structure import standardised
from provenance.images import POSITIONS, IdentityOrder, RecordedImage, identities_of, supplied
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.arrays import Float32s
    from provenance.audit.evidence import SubjectEvidence
    from provenance.audit.rules.copies.gallery import Gallery
    from provenance.detection.copies.found import Found
    from provenance.records import Member
    from provenance.vocabulary import RejectReason

AGREES, CORRELATES, COARSE, BLOCK = 0.9, 0.98, 16, 256
MOST_READ = 3
"""Real images that are read again for one generated one."""
SAME_FILE, SAME_PIXELS = "the same file", "the same pixels"
UNMOVED = ("in place", "mirrored")
_ORDER = (*CANDIDATES, Role.NOT_USED)


class Identical(NamedTuple):
    """A real image that is the generated one, and how, in words."""

    member: Member
    how: str


def identities(
    gallery: Gallery, subjects: Sequence[SubjectEvidence], found: Sequence[Found]
) -> list[tuple[Identical, ...]]:
    """The real images that each subject is, those that were or may have been used first."""
    frozen = gallery.bench.frozen
    role_of = frozen.role_of
    by_digest = _by_digest(gallery, subjects)
    alike = _alike(gallery, subjects, found)
    gallery.bench.on_step(f"reading {sum(map(bool, alike)):,} generated images again that look like a real one")
    read = _read(gallery, [(s.member, reals) for s, reals in zip(subjects, alike, strict=True) if reals])
    all_reals = {member.image_id: member for member in frozen.judged_reals}
    result = []
    for subject in subjects:
        how = read.get(subject.member.image_id, {}) | by_digest.get(subject.member.image_id, {})
        same = (Identical(all_reals[image_id], words) for image_id, words in how.items())
        result.append(tuple(sorted(same, key=lambda s: (_ORDER.index(role_of[s.member.image_id]), s.member.image_id))))
    return result


def _by_digest(gallery: Gallery, subjects: Sequence[SubjectEvidence]) -> dict[str, dict[str, str]]:
    reals, catalog = gallery.bench.frozen.judged_reals, gallery.bench.workspace.catalog
    of_real = catalog.pixel_digests([member.image_key for member in reals])
    of_subject = catalog.pixel_digests([subject.member.image_key for subject in subjects])
    same: dict[str, list[str]] = {}
    for member in reals:
        if digest := of_real.get(member.image_key):
            same.setdefault(digest, []).append(member.image_id)
    return {
        own: {image_id: SAME_FILE if image_id == own else SAME_PIXELS for image_id in there}
        for own, there in ((s.member.image_id, same.get(of_subject.get(s.member.image_key, ""), ())) for s in subjects)
        if there
    }


def _alike(gallery: Gallery, subjects: Sequence[SubjectEvidence], found: Sequence[Found]) -> list[tuple[Member, ...]]:
    """For each subject the real images that are worth reading again."""
    correlated = _correlated(gallery, [subject.member for subject in subjects])
    chosen = []
    for each, worth in zip(found, correlated, strict=True):
        for match in each.matches:
            if match.agreement >= AGREES and str(match.transformation) in UNMOVED:
                member = gallery.candidates[match.source]
                worth[member] = max(match.agreement, worth.get(member, 0.0))
        best = sorted(worth, key=lambda member: (-round(worth[member], 6), member.image_id))
        chosen.append(tuple(best[:MOST_READ]))
    return chosen


def _correlated(gallery: Gallery, members: Sequence[Member]) -> list[dict[Member, float]]:
    """Of each image the real ones that it correlates with, in the position in which it does so most."""
    reals = gallery.bench.frozen.judged_reals
    nothing = np.zeros((0, COARSE**2), dtype=np.float32)
    there = np.concatenate([nothing, *(_unit(images) for images in gallery.blocks(reals, BLOCK))])
    found: list[dict[Member, float]] = []
    for queries in gallery.blocks(members, BLOCK):
        best = np.full((len(queries), len(reals)), -1, dtype=np.float32)
        for position in POSITIONS:
            np.maximum(best, _unit(position.of(queries, (1, 2))) @ there.T, out=best)
        found += ({reals[at]: float(row[at]) for at in np.flatnonzero(row >= CORRELATES).tolist()} for row in best)
    return found


def _unit(images: Float32s) -> Float32s:
    n, edge = images.shape[:2]
    squares = images.reshape(n, COARSE, edge // COARSE, COARSE, edge // COARSE).mean(axis=(2, 4))
    return standardised(squares).reshape(n, -1) / np.float32(COARSE)


def _read(gallery: Gallery, pairs: Sequence[tuple[Member, tuple[Member, ...]]]) -> dict[str, dict[str, str]]:
    workspace = gallery.bench.workspace

    def recorded(member: Member) -> RecordedImage:
        return RecordedImage(member.image_id, tuple(workspace.catalog.occurrences_for_reading(member.image_key)))

    orders = (IdentityOrder(recorded(member), tuple(map(recorded, reals))) for member, reals in pairs)
    task = partial(identities_of, settings=workspace.preparation())
    ready = supplied(orders, workspace.settings.max_file_bytes, most=len(pairs))
    with closing(workspace.executor.prepared(ready, task, failed=_none)) as stream:
        return {member.image_id: how for (member, _), how in zip(pairs, stream, strict=True)}


def _none(_order: IdentityOrder, _reason: RejectReason, _detail: str) -> dict[str, str]:
    """What can't be read any more is the same as nothing, whatever ended the reading."""
    return {}
