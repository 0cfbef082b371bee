"""All duplicates within sets and releases and across them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.brief import Brief
from provenance.duplicates.hashing import looks_of
from provenance.duplicates.pairs import PairSearch
from provenance.duplicates.rule import DuplicateRule
from provenance.errors import SpaceMismatchError, UsageError
from provenance.logs import room, step
from provenance.spaces import common_space, members_in
from provenance.vocabulary import DatasetKind, Membership, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provenance.catalog import Catalog
    from provenance.duplicates.hashing import Looks
    from provenance.ingest import OnProgress
    from provenance.installation import Installation
    from provenance.records import Dataset, Member
    from provenance.vocabulary import Space

_log = room(__name__)

MAX_PAIRS = 200_000
"""More pairs than this are not listed one by one, but written to a file as they are found, and told as clusters."""

_ORDER = (Membership.USED, Membership.NOT_USED, Membership.UNKNOWN, None)
_GENERATED = _ORDER.index(None)

WritePairs = Callable[[Iterable["DuplicatePair"]], object]


@dataclass(frozen=True, slots=True)
class DuplicateRequest:
    """Where to look for duplicates: within sets and releases and across them, in the space that they share."""

    sets: tuple[str, ...]
    rule: DuplicateRule = field(default_factory=DuplicateRule)
    space: str | None = None

    def __post_init__(self) -> None:
        if not self.sets:
            raise UsageError("no set or release was given to look for duplicates in")


@dataclass(frozen=True, slots=True)
class DuplicateImage:
    """One side of a pair: an image, its smallest name, and the sets and releases it is in, with what sets claim."""

    image_id: str
    name: str
    sets: tuple[str, ...]
    memberships: tuple[Membership, ...]
    is_generated: bool = False

    @property
    def rank(self) -> int:
        """Used before not-used before unknown before what is in a release alone."""
        return min(map(_ORDER.index, self.memberships), default=_GENERATED)


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

    @property
    def is_of_both_kinds(self) -> bool:
        """Whether one side is in a real set and the other in a release."""
        sides = (self.left, self.right)
        return any(a.memberships and b.is_generated for a, b in (sides, sides[::-1]))


@dataclass(frozen=True, slots=True, repr=False)
class DuplicateCluster(Brief):
    """Images that are joined by pairs of duplicates, used before not-used before unknown before generated ones.

    Attributes:
        pairs: How many pairs join them; places of one image are pairs, too.
    """

    images: tuple[DuplicateImage, ...]
    pairs: int

    @property
    def image_count(self) -> int:
        """How many images it joins."""
        return len(self.images)

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets and releases that they are in."""
        return tuple(dict.fromkeys(name for image in self.images for name in image.sets))

    @property
    def memberships(self) -> tuple[Membership, ...]:
        """What is claimed of them."""
        return tuple(dict.fromkeys(claim for image in self.images for claim in image.memberships))

    @property
    def crosses(self) -> bool:
        """Whether images that are claimed used and such that are claimed not used are in it."""
        return {Membership.USED, Membership.NOT_USED} <= set(self.memberships)


@dataclass(frozen=True, slots=True, repr=False)
class DuplicateReport(Brief):
    """What was found.

    Attributes:
        sets: The sets and releases that were looked into.
        rule: What counted as a near-duplicate.
        space: The embedding space.
        counts: The figures by name; the kinds of pairs add up to ``pairs``. ``not_used_with_twins`` are images of
            not-used sets that are, or have a duplicate, among the used ones.
        pairs: Across used and not-used first, then the most alike; none where they are too many to be ``listed``.
        clusters: What the pairs join: across used and not-used first, then the largest.
        unhashed: One rejection for each image whose source could not be read for its perceptual hash.
    """

    sets: tuple[Dataset, ...]
    rule: DuplicateRule
    space: Space
    counts: Mapping[str, int]
    pairs: tuple[DuplicatePair, ...]
    clusters: tuple[DuplicateCluster, ...]
    unhashed: tuple[Rejection, ...]

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        return {"sets": ", ".join(each.name for each in self.sets), **self.counts}

    @property
    def listed(self) -> bool:
        """Whether ``pairs`` has them all."""
        return len(self.pairs) == self.counts["pairs"]

    @property
    def image_count(self) -> int:
        """Different images in all sets and releases together."""
        return self.counts["images"]


@step(_log, "find duplicates")
def find_duplicates(
    workspace: Installation,
    request: DuplicateRequest,
    on_progress: OnProgress | None = None,
    write: WritePairs | None = None,
) -> DuplicateReport:
    """Look for the same bytes, the same pixels and near-duplicates within sets and releases and across them.

    ``on_progress`` is called with ``Progress("hash", done, total)`` while sources are read for hashes. ``write`` is
    given every pair: in the report's order, or, where they are more than ``MAX_PAIRS``, as they are found.

    Raises:
        NotFoundError: If a set or release is unknown or empty.
        SpaceMismatchError: If they share no whole-image space, or several and none was chosen.
        VectorStoreError: If a stored vector is missing or damaged.
    """
    catalog = workspace.catalog
    sets = list({one.dataset_id: one for one in map(catalog.dataset, request.sets)}.values())
    space = common_space(catalog, sets, request.space)
    if space.parts != 1:
        raise SpaceMismatchError(
            f"duplicates are whole images; {space.backbone} gives {space.parts} parts",
            hint="choose a whole-image space with --space",
        )
    by_set = [(one, members_in(catalog, one, space)[1]) for one in sets]
    looks = looks_of(workspace, _every_once(by_set), on_progress)
    search = _Duplicates(catalog, by_set, looks, partial(PairSearch, workspace, space, request.rule))
    listed = search.taken(write)
    claimed = {m.image_id for one, members in by_set for m in members if one.membership is Membership.NOT_USED}
    counts = search.tally.counts | {
        "images": len(looks),
        "not_used": len(claimed),
        "not_used_with_twins": len(search.twins & claimed),
        "unhashed": len(looks.unreadable),
    }
    return DuplicateReport(
        tuple(sets),
        request.rule,
        space,
        {name: counts[name] for name in COUNTS},
        listed,
        search.tally.clusters(search.images()),
        looks.unreadable,
    )


COUNTS = (
    *("images", "pairs", "same_bytes", "same_pixels", "near", "clusters", "used_and_not_used", "real_and_generated"),
    *("not_used", "not_used_with_twins", "unhashed"),
)


class _Tally:
    """What is kept of every pair, however many there are."""

    def __init__(self, image_ids: Iterable[str]) -> None:
        from scipy.cluster.hierarchy import DisjointSet

        self.joined = DisjointSet(image_ids)
        self.pairs_of: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()

    def noted(self, pairs: Iterable[DuplicatePair]) -> Iterator[DuplicatePair]:
        """The pairs as they come, each counted."""
        for pair in pairs:
            self.kinds["same_bytes" if pair.same_bytes else "same_pixels" if pair.same_pixels else "near"] += 1
            self.kinds["used_and_not_used"] += pair.crosses
            self.kinds["real_and_generated"] += pair.is_of_both_kinds
            self.pairs_of[pair.left.image_id] += 1
            self.joined.merge(pair.left.image_id, pair.right.image_id)
            yield pair

    @property
    def counts(self) -> dict[str, int]:
        """Pairs by kind, and clusters."""
        kinds = ("same_bytes", "same_pixels", "near", "used_and_not_used", "real_and_generated")
        counts = {kind: self.kinds[kind] for kind in kinds}
        return counts | {"pairs": self.pairs_of.total(), "clusters": len(self._subsets())}

    def _subsets(self) -> list[set[str]]:
        return [ids for ids in self.joined.subsets() if len(ids) > 1 or self.pairs_of[next(iter(ids))]]

    def clusters(self, images: Mapping[str, DuplicateImage]) -> tuple[DuplicateCluster, ...]:
        """Across used and not-used first, then the largest; ``images`` by image_id."""
        found = [
            DuplicateCluster(
                tuple(sorted((images[image_id] for image_id in ids), key=lambda image: (image.rank, image.image_id))),
                sum(self.pairs_of[image_id] for image_id in ids),
            )
            for ids in self._subsets()
        ]
        return tuple(sorted(found, key=lambda one: (not one.crosses, -one.image_count, one.images[0].image_id)))


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
        self._images: dict[int, DuplicateImage] = {}
        self.groups = self._same_pixels()
        self.tally = _Tally(member.image_id for member in looks.members)
        self.twins: set[str] = set()
        """image_ids of what is not used, or not known, and has a duplicate that is used."""

    def taken(self, write: WritePairs | None) -> tuple[DuplicatePair, ...]:
        """The pairs, if they are not too many to be listed; all of them are counted, and given to ``write``."""
        pairs = self.tally.noted(chain(self._places(), self._pixels(), self._near()))
        first = sorted(islice(pairs, MAX_PAIRS + 1), key=_rank)
        every = chain(first, pairs)
        if write is not None:
            write(every)
        deque(every, maxlen=0)  # those that nobody wants to have are counted all the same
        return tuple(first) if len(first) <= MAX_PAIRS else ()

    def images(self) -> dict[str, DuplicateImage]:
        """Every image, by image_id."""
        return {member.image_id: self._image(row) for row, member in enumerate(self.looks.members)}

    def _same_pixels(self) -> list[list[int]]:
        """Rows by equal pixels; the first of each group stands for it."""
        by_digest: dict[str, list[int]] = {}
        for row, member in enumerate(self.looks.members):
            by_digest.setdefault(self.looks.digests[row] or member.image_id, []).append(row)
        return [sorted(rows, key=self._claim) for rows in by_digest.values()]

    def _claim(self, row: int) -> int:
        return self._image(row).rank

    def _claims(self, row: int) -> tuple[Membership, ...]:
        return self._image(row).memberships

    def _places(self) -> Iterator[DuplicatePair]:
        """One image under several names, or in several sets."""
        for row, member in enumerate(self.looks.members):
            if {Membership.USED, Membership.NOT_USED} <= set(self._claims(row)):
                self.twins.add(member.image_id)
            places = [
                DuplicateImage(member.image_id, name, (one.name,), *_standing([one]))
                for one in self._sets(member)
                for name in self.names[one.dataset_id].get(member.image_key, [""])
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
        if row not in self._images:  # both sides of many pairs are the same
            member = self.looks.members[row]
            sets = self._sets(member)
            names = [name for one in sets for name in self.names[one.dataset_id].get(member.image_key, [])[:1]]
            where = tuple(one.name for one in sets)
            self._images[row] = DuplicateImage(member.image_id, names[0] if names else "", where, *_standing(sets))
        return self._images[row]


def _standing(sets: Sequence[Dataset]) -> tuple[tuple[Membership, ...], bool]:
    """What sets claim of an image in them, and whether one is a release."""
    claims = tuple(dict.fromkeys(one.membership for one in sets if one.membership is not None))
    return claims, any(one.kind is DatasetKind.RELEASE for one in sets)


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
