"""Identity is a fact: the same file, the same canonical pixels, or the same ones after size and file format.

It needs no statistics, and is looked for among all real images of the audit, those claimed not used among them. Bytes
and pixels are compared by the digests on record. For the rest both images are read again, where they look alike already
at 64 x 64: registered in place with an agreement of 0.9, or neighbors with a correlation of 0.98.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from provenance.audit.inputs import CANDIDATES
from provenance.detection.copies.structure import standardised
from provenance.images import IdentityOrder, RecordedImage, identities_of
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.arrays import Float32s
    from provenance.audit.evidence import SubjectEvidence
    from provenance.audit.rules.copies.gallery import Gallery
    from provenance.detection.copies.found import Found
    from provenance.records import Member

AGREES, CORRELATES = 0.9, 0.98
MOST_READ = 3
"""Real images that are read again for one generated one."""
SAME_FILE, SAME_PIXELS, IN_PLACE = "the same file", "the same pixels", "in place"
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
    neighbors = sorted({n.member for s in subjects for n in s.neighbors}, key=lambda member: member.image_id)
    row_of = {member.image_id: row for row, member in enumerate(neighbors)}
    reals = _unit(gallery.images(neighbors)) if neighbors else np.zeros((0, 0), dtype=np.float32)
    queries = _unit(gallery.images([subject.member for subject in subjects]))
    chosen = []
    for subject, query, each in zip(subjects, queries, found, strict=True):
        worth = {
            gallery.candidates[match.source]: match.agreement
            for match in each.matches
            if match.agreement >= AGREES and str(match.transformation) == IN_PLACE
        }
        for neighbor in subject.neighbors:
            correlation = float((reals[row_of[neighbor.member.image_id]] * query).sum(dtype=np.float64))
            if correlation >= CORRELATES:
                worth[neighbor.member] = max(correlation, worth.get(neighbor.member, 0.0))
        best = sorted(worth, key=lambda member: (-round(worth[member], 6), member.image_id))
        chosen.append(tuple(best[:MOST_READ]))
    return chosen


def _unit(images: Float32s) -> Float32s:
    flat = standardised(images).reshape(len(images), -1)
    return flat / np.float32(np.sqrt(flat.shape[1]))


def _read(gallery: Gallery, pairs: Sequence[tuple[Member, tuple[Member, ...]]]) -> dict[str, dict[str, str]]:
    workspace = gallery.bench.workspace

    def recorded(member: Member) -> RecordedImage:
        return RecordedImage(member.image_id, tuple(workspace.catalog.occurrences_for_reading(member.image_key)))

    orders = (IdentityOrder(recorded(member), tuple(map(recorded, reals))) for member, reals in pairs)
    task = partial(identities_of, settings=workspace.preparation())
    with closing(workspace.executor.prepared(orders, task)) as stream:
        return {member.image_id: how for (member, _), how in zip(pairs, stream, strict=True)}
