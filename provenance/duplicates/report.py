"""All duplicates within sets and across them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.brief import Brief
from provenance.duplicates.hashing import looks_of
from provenance.duplicates.pairs import PairSearch
from provenance.duplicates.rule import DuplicateRule
from provenance.errors import ConflictError, SpaceMismatchError, UsageError
from provenance.logs import room, step
from provenance.spaces import common_space, members_in
from provenance.vocabulary import DatasetKind, Membership, Rejection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from provenance.catalog import Catalog
    from provenance.duplicates.hashing import Looks
    from provenance.ingest import OnProgress
    from provenance.installation import Installation
    from provenance.records import Dataset, Member
    from provenance.vocabulary import Space

_log = room(__name__)

MAX_PAIRS = 200_000
"""More pairs than this are an error: nobody reads them, and limits that give them are too loose."""

_ORDER = (Membership.USED, Membership.NOT_USED, Membership.UNKNOWN, None)


@dataclass(frozen=True, slots=True)
class DuplicateRequest:
    """Where to look for duplicates: in real sets and across them, in the space that they share. See ``Workspace``."""

    sets: tuple[str, ...]
    rule: DuplicateRule = field(default_factory=DuplicateRule)
    space: str | None = None

    def __post_init__(self) -> None:
        if not self.sets:
            raise UsageError("no set was given to look for duplicates in")


@dataclass(frozen=True, slots=True)
class DuplicateImage:
    """One side of a pair: an image, its smallest name, and the sets it is in, with what each claims."""

    image_id: str
    name: str
    sets: tuple[str, ...]
    memberships: tuple[Membership, ...]


@dataclass(frozen=True, slots=True, repr=False)
class DuplicatePair(Brief):
    """Two images that are duplicates of one another, or one image that was found in two places.

    Of images with the same pixels the first (used before not-used before unknown, then by image_id) is paired with
    each other one, and stands for them all in near-duplicates; so it is with the places of one image.

    Attributes:
        left: The image, used before not-used before unknown.
        right: The other.
        same_bytes: One image, in two places.
        same_pixels: The same canonical pixels before resizing.
        hash_distance: Bits in which the perceptual hashes differ; 0 for the same pixels, ``None`` where not known.
        similarity: Cosine of the embeddings; 1 for the same image.
    """

    left: DuplicateImage
    right: DuplicateImage
    same_bytes: bool
    same_pixels: bool
    hash_distance: int | None
    similarity: float

    @property
    def crosses(self) -> bool:
        """Whether one side is claimed used and the other not used."""
        sides = (self.left.memberships, self.right.memberships)
        return any(Membership.USED in a and Membership.NOT_USED in b for a, b in (sides, sides[::-1]))


@dataclass(frozen=True, slots=True, repr=False)
class DuplicateReport(Brief):
    """What was found.

    Attributes:
        sets: The sets that were looked into.
        rule: What counted as a near-duplicate.
        space: The embedding space.
        image_count: Different images in all sets together.
        pairs: Across used and not-used first, then the most alike.
        not_used_with_twins: Images of not-used sets that are, or have a duplicate, among the used ones.
        not_used_count: Images of not-used sets.
        unhashed: One rejection for each image whose source could not be read for its perceptual hash.
    """

    sets: tuple[Dataset, ...]
    rule: DuplicateRule
    space: Space
    image_count: int
    pairs: tuple[DuplicatePair, ...]
    not_used_with_twins: int
    not_used_count: int
    unhashed: tuple[Rejection, ...]

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        return {"sets": ", ".join(each.name for each in self.sets), "images": self.image_count, **self.counts}

    @property
    def counts(self) -> dict[str, int]:
        """The figures by name; the kinds of pairs add up to ``pairs``."""
        pairs = self.pairs
        same_bytes = sum(pair.same_bytes for pair in pairs)
        same_pixels = sum(pair.same_pixels and not pair.same_bytes for pair in pairs)
        return {
            "images": self.image_count,
            "pairs": len(pairs),
            "same_bytes": same_bytes,
            "same_pixels": same_pixels,
            "near": len(pairs) - same_bytes - same_pixels,
            "used_and_not_used": sum(pair.crosses for pair in pairs),
            "not_used": self.not_used_count,
            "not_used_with_twins": self.not_used_with_twins,
            "unhashed": len(self.unhashed),
        }


@step(_log, "find duplicates")
def find_duplicates(
    workspace: Installation, request: DuplicateRequest, on_progress: OnProgress | None = None
) -> DuplicateReport:
    """Look for the same bytes, the same pixels and near-duplicates within sets and across them.

    ``on_progress`` is called with ``Progress("hash", done, total)`` while sources are read for hashes.

    Raises:
        NotFoundError: If a set is unknown or empty.
        SpaceMismatchError: If the sets share no whole-image space, or several and none was chosen.
        ConflictError: If there are more than ``MAX_PAIRS`` pairs.
        VectorStoreError: If a stored vector is missing or damaged.
    """
    catalog = workspace.catalog
    sets = [catalog.dataset(name, DatasetKind.SET) for name in dict.fromkeys(request.sets)]
    space = common_space(catalog, sets, request.space)
    if space.parts != 1:
        raise SpaceMismatchError(
            f"duplicates are whole images; {space.backbone} gives {space.parts} parts",
            hint="choose a whole-image space with --space",
        )
    by_set = [(one, members_in(catalog, one, space)[1]) for one in sets]
    looks = looks_of(workspace, _every_once(by_set), on_progress)
    search = _Duplicates(catalog, by_set, looks, partial(PairSearch, workspace, space, request.rule))
    pairs = search.found()
    claimed = {m.image_id for one, members in by_set for m in members if one.membership is Membership.NOT_USED}
    return DuplicateReport(
        tuple(sets),
        request.rule,
        space,
        len(looks),
        tuple(sorted(pairs, key=_rank)),
        len(search.twins & claimed),
        len(claimed),
        looks.unreadable,
    )


def _every_once(by_set: Iterable[tuple[Dataset, Sequence[Member]]]) -> list[Member]:
    # An image whose two vectors are not the same bytes (made on two machines) stands by the smaller digest.
    acting: dict[str, Member] = {}
    for _, members in by_set:
        for member in members:
            other = acting.setdefault(member.image_id, member)
            if member.vector_sha256 < other.vector_sha256:
                acting[member.image_id] = member
    return [acting[image_id] for image_id in sorted(acting)]


class _Duplicates:
    """The state of one search: who is where, and who stands for whom."""

    def __init__(
        self,
        catalog: Catalog,
        by_set: Sequence[tuple[Dataset, Sequence[Member]]],
        looks: Looks,
        search: Callable[[Looks, Looks], PairSearch],
    ) -> None:
        self.looks = looks
        self.search = search
        self.sets_of: dict[str, list[Dataset]] = {}
        for one, members in by_set:
            for member in members:
                self.sets_of.setdefault(member.image_key, []).append(one)
        self.names = {one.dataset_id: catalog.occurrence_names([one.dataset_id]) for one, _ in by_set}
        self.groups = self._same_pixels()
        self.twins: set[str] = set()
        """image_ids of what is not used, or not known, and has a duplicate that is used."""

    def found(self) -> list[DuplicatePair]:
        pairs: list[DuplicatePair] = []
        for more in (self._places(), self._pixels(), self._near()):
            for pair in more:
                pairs.append(pair)
                if len(pairs) > MAX_PAIRS:
                    raise ConflictError(
                        f"more than {MAX_PAIRS:,} pairs of duplicates",
                        hint="ask for more alike ones: a smaller --hash-distance, a greater --min-similarity",
                    )
        return pairs

    def _same_pixels(self) -> list[list[int]]:
        """Rows by equal pixels; the first of each group stands for it."""
        by_digest: dict[str, list[int]] = {}
        for row, member in enumerate(self.looks.members):
            by_digest.setdefault(self.looks.digests[row] or member.image_id, []).append(row)
        return [sorted(rows, key=self._claim) for rows in by_digest.values()]

    def _claim(self, row: int) -> int:
        return min(map(_ORDER.index, self._claims(row)))

    def _claims(self, row: int) -> set[Membership]:
        member = self.looks.members[row]
        return {one.membership for one in self.sets_of[member.image_key] if one.membership is not None}

    def _places(self) -> Iterator[DuplicatePair]:
        """One image under several names, or in several sets."""
        for row, member in enumerate(self.looks.members):
            if {Membership.USED, Membership.NOT_USED} <= self._claims(row):
                self.twins.add(member.image_id)
            places = [
                DuplicateImage(member.image_id, name, (one.name,), (one.membership,))
                for one in self._sets(member)
                for name in self.names[one.dataset_id].get(member.image_key, [""])
                if one.membership is not None
            ]
            for place in places[1:]:
                yield DuplicatePair(places[0], place, True, True, 0, 1.0)

    def _pixels(self) -> Iterator[DuplicatePair]:
        first = np.array([rows[0] for rows in self.groups for _ in rows[1:]], dtype=np.int64)
        other = np.array([row for rows in self.groups for row in rows[1:]], dtype=np.int64)
        exact = self.search(self.looks, self.looks).similarities(first, other)
        for left, right, similarity in zip(first.tolist(), other.tolist(), exact.tolist(), strict=True):
            yield DuplicatePair(self._image(left), self._image(right), False, True, 0, similarity)
        for rows in self.groups:
            self._note_twins(rows, rows)

    def _near(self) -> Iterator[DuplicatePair]:
        groups = {rows[0]: rows for rows in self.groups}
        firsts = sorted(groups)
        standing = self.looks.at(firsts)
        for block in self.search(standing, standing).blocks():
            for a, b, bits, similarity in block.rows():
                left, right = sorted((firsts[a], firsts[b]), key=lambda row: (self._claim(row), row))
                self._note_twins(groups[left], groups[right])
                yield DuplicatePair(self._image(left), self._image(right), False, False, bits, similarity)

    def _note_twins(self, left: Sequence[int], right: Sequence[int]) -> None:
        if len(left) == 1 and left is right:
            return
        for mine, others in ((left, right), (right, left)):
            if any(Membership.USED in self._claims(row) for row in mine):
                self.twins |= {self.looks.members[row].image_id for row in others}

    def _sets(self, member: Member) -> list[Dataset]:
        return sorted(self.sets_of[member.image_key], key=lambda one: (_ORDER.index(one.membership), one.name))

    def _image(self, row: int) -> DuplicateImage:
        member = self.looks.members[row]
        sets = self._sets(member)
        names = [name for one in sets for name in self.names[one.dataset_id].get(member.image_key, [])[:1]]
        claims = tuple(dict.fromkeys(one.membership for one in sets if one.membership is not None))
        return DuplicateImage(member.image_id, names[0] if names else "", tuple(one.name for one in sets), claims)


def _rank(pair: DuplicatePair) -> tuple[bool, bool, bool, int, float, str, str, str, str]:
    return (
        not pair.crosses,
        not pair.same_bytes,
        not pair.same_pixels,
        65 if pair.hash_distance is None else pair.hash_distance,
        -pair.similarity,
        pair.left.image_id,
        pair.right.image_id,
        pair.left.name,
        pair.right.name,
    )
