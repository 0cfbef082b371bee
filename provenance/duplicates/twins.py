"""Not-used images with twins among the used ones: where there are such, nothing can tell the two kinds apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.duplicates.hashing import looks_of
from provenance.duplicates.pairs import PairSearch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.duplicates.hashing import Looks
    from provenance.duplicates.rule import DuplicateRule
    from provenance.ingest import OnProgress
    from provenance.installation import Installation
    from provenance.records import Member
    from provenance.vocabulary import Space


@dataclass(frozen=True, slots=True)
class Twin:
    """A not-used image and a used one that it is a duplicate of (there may be more), with bits and cosine between them.

    The same pixels have the distance 0 and no similarity; the distance is ``None`` where one has no hash.
    """

    not_used: Member
    used: Member
    hash_distance: int | None
    similarity: float | None


@dataclass(frozen=True, slots=True)
class TwinReport:
    """The twins that a rule found, in order of the not-used images' image_ids, each once.

    ``unhashed`` images of either kind have no perceptual hash, because their source could not be read.
    """

    rule: DuplicateRule
    twins: tuple[Twin, ...]
    unhashed: int


def find_twins(
    workspace: Installation,
    space: Space,
    rule: DuplicateRule,
    *,
    used: Sequence[Member],
    not_used: Sequence[Member],
    on_progress: OnProgress | None = None,
) -> TwinReport:
    """For each not-used image whether it has a duplicate among the used ones, and one that it has.

    Both are embedded in ``space``, a whole-image space, and come in image_id order, every image once. ``on_progress``
    as in ``find_duplicates``.

    Raises:
        VectorStoreError: If a stored vector is missing or damaged.
    """
    left, right = (looks_of(workspace, members, on_progress) for members in (used, not_used))
    twins = _same_pixels(left, right)
    settled = np.zeros(len(right), dtype=bool)
    settled[list(twins)] = True
    for block in PairSearch(workspace, space, rule, left, right).blocks(settled):
        for a, b, bits, similarity in block.rows():
            if not settled[b]:
                twins[b] = Twin(right.members[b], left.members[a], bits, similarity)
                settled[b] = True
    return TwinReport(rule, tuple(twins[row] for row in sorted(twins)), len(left.unreadable) + len(right.unreadable))


def _same_pixels(left: Looks, right: Looks) -> dict[int, Twin]:
    known = {digest: member for digest, member in zip(left.digests, left.members, strict=True) if digest}
    return {
        row: Twin(member, known[digest], 0, None)
        for row, (digest, member) in enumerate(zip(right.digests, right.members, strict=True))
        if digest in known
    }
