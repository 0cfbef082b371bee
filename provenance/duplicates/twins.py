"""Not-used images with twins among the used ones: where there are such, nothing can tell the two kinds apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from provenance.duplicates.pairs import PairSearch
from provenance.vocabulary import Evidence

if TYPE_CHECKING:
    from provenance.duplicates.hashing import Looks
    from provenance.duplicates.rule import DuplicateRule
    from provenance.installation import Installation
    from provenance.records import Member
    from provenance.vocabulary import Space


@dataclass(frozen=True, slots=True)
class Twin:
    """A not-used image and a used one that it is a duplicate of (there may be more), with bits and cosine between them.

    The same pixels have the distance 0 and no similarity; the distance is ``None`` where one has no hash. It may be
    mirrored or turned.
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
    workspace: Installation, space: Space, rule: DuplicateRule, *, used: Looks, not_used: Looks, turned: bool = True
) -> TwinReport:
    """For each not-used image whether it has a duplicate among the used ones, and one that it has.

    Both are embedded in ``space``, a whole-image space. ``turned``: also a mirrored or turned one, by its
    hash alone.

    Raises:
        VectorStoreError: If a stored vector is missing or damaged.
    """
    twins = _same_pixels(used, not_used)
    settled = np.zeros(len(not_used), dtype=bool)
    settled[list(twins)] = True
    by_hash = replace(rule, evidence=Evidence.BOTH, min_similarity=-1.0)  # an embedding need not know what is mirrored
    searches = [PairSearch(workspace, space, rule, used, not_used)]
    searches += [PairSearch(workspace, space, by_hash, used, each) for each in not_used.in_other_positions if turned]
    for block in chain.from_iterable(search.blocks(settled) for search in searches):
        for a, b, bits, similarity in block.rows():
            if not settled[b]:
                twins[b] = Twin(not_used.members[b], used.members[a], bits, similarity)
                settled[b] = True
    unhashed = len(used.unreadable) + len(not_used.unreadable)
    return TwinReport(rule, tuple(twins[row] for row in sorted(twins)), unhashed)


def _same_pixels(left: Looks, right: Looks) -> dict[int, Twin]:
    known = {digest: member for digest, member in zip(left.digests, left.members, strict=True) if digest}
    return {
        row: Twin(member, known[digest], 0, None)
        for row, (digest, member) in enumerate(zip(right.digests, right.members, strict=True))
        if digest in known
    }
