"""What the sources of a dataset still hold of it: files are overwritten and deleted, and the record does not know.

An image is held where a place on record has its very bytes: that is told by the file's size, times and inode, and by
its digest where these are not the ones on record. A place outside the scope that was asked for counts as it is on
record.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from provenance.brief import Brief
from provenance.errors import SourceError
from provenance.images import open_source
from provenance.images.entries import item_from
from provenance.images.frames import BadInput
from provenance.images.source import read_item
from provenance.vocabulary import IMAGE_ID_PREFIX, Rejection, SourceItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from provenance.images.entries import Source
    from provenance.installation import Installation
    from provenance.records import Dataset, PlaceOnRecord

    Scope = Callable[[str], bool]


_NAMED = 3


class Problem(StrEnum):
    """Why an image is not where it was found."""

    CHANGED = "changed"
    GONE = "gone"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class LostImage:
    """An image that no place on record holds any more, by the first of its names, and what is wrong with that place."""

    image_id: str
    image_key: str
    name: str
    source: str
    member: str | None
    problem: Problem


@dataclass(frozen=True, slots=True, repr=False)
class HeldReport(Brief):
    """What was looked at and not found.

    Attributes:
        images: How many images the dataset has.
        places: How many places were looked at.
        lost: The images that no place holds any more, by name.
    """

    images: int
    places: int
    lost: tuple[LostImage, ...]

    def count(self, problem: Problem) -> int:
        """How many images are lost for one reason."""
        return sum(one.problem is problem for one in self.lost)

    @property
    def changed(self) -> int:
        """Images whose file holds other bytes now."""
        return self.count(Problem.CHANGED)

    @property
    def gone(self) -> int:
        """Images whose file is not there any more."""
        return self.count(Problem.GONE)

    @property
    def unreadable(self) -> int:
        """Images whose file is there and can't be read: nothing is concluded of these."""
        return self.count(Problem.UNREADABLE)

    @property
    def retirable(self) -> list[str]:
        """The keys of the images that are known not to be there."""
        return [one.image_key for one in self.lost if one.problem is not Problem.UNREADABLE]


def held(workspace: Installation, dataset: Dataset, scope: Scope | None = None, *, rehash: bool = False) -> HeldReport:
    """Which images of a dataset its sources still hold; ``rehash`` reads them all, whatever their times say.

    ``scope`` tells of a source on record whether to look at it; all are without.
    """
    limit = workspace.settings.max_file_bytes
    found: dict[str, list[tuple[PlaceOnRecord, Problem | None]]] = {}
    looked = 0
    for source, rows in groupby(workspace.catalog.places_of(dataset.dataset_id), attrgetter("source")):
        places = list(rows)
        if scope is None or scope(source):
            looked += len(places)
            problems = _problems(source, places, limit, rehash=rehash)
        else:
            problems = [None] * len(places)
        for place, problem in zip(places, problems, strict=True):
            found.setdefault(place.image_key, []).append((place, problem))
    lost = [_lost(places) for places in found.values() if all(problem for _, problem in places)]
    return HeldReport(len(found), looked, tuple(sorted(lost, key=attrgetter("name", "image_id"))))


def within(sources: Iterable[Source]) -> Scope:
    """The scope of sources: what lies in their folders, archives and files, and what their lists name."""
    opened = list(sources)
    folders = [source.path for source in opened if source.kind == "folder"]
    files = {str(source.path) for source in opened if source.kind in ("file", "archive")}
    files |= {found.source for source in opened if source.kind == "list" for found in source}
    return lambda place: place in files or any(Path(place).is_relative_to(folder) for folder in folders)


_WORDS = {Problem.CHANGED: "overwritten", Problem.GONE: "deleted", Problem.UNREADABLE: "unreadable"}


def told(lost: Sequence[LostImage], retired: int) -> str:
    """What is not held any more, in a sentence."""
    count = Counter(one.problem for one in lost)
    kinds = ", ".join(f"{count[problem]:,} {word}" for problem, word in _WORDS.items() if count[problem])
    names = ", ".join(repr(one.name) for one in lost[:_NAMED]) + (", ..." if len(lost) > _NAMED else "")
    what = "image is no longer where it was" if len(lost) == 1 else "images are no longer where they were"
    end = f"{retired:,} retired" if retired else "they stay until --sync retires them"
    return f"{len(lost):,} {what} found ({kinds}): {names}; {end}"


def _lost(places: Sequence[tuple[PlaceOnRecord, Problem | None]]) -> LostImage:
    order = (Problem.UNREADABLE, Problem.CHANGED, Problem.GONE)  # what may still be there says most
    place, problem = min(places, key=lambda each: (order.index(each[1] or Problem.GONE), each[0].name))
    assert problem is not None
    return LostImage(place.image_id, place.image_key, place.name, place.source, place.member, problem)


def _problems(source: str, places: Sequence[PlaceOnRecord], limit: int, *, rehash: bool) -> list[Problem | None]:
    """What is wrong with each place of one file or archive."""
    try:
        status = Path(source).stat()
    except (FileNotFoundError, NotADirectoryError):
        return [Problem.GONE] * len(places)
    except (OSError, ValueError):
        return [Problem.UNREADABLE] * len(places)
    now = item_from(status, Path(source), source, member=None, size_bytes=status.st_size)
    stamp = (now.modified_ns, now.changed_ns, now.inode)
    as_found = [
        stamp == place.stamp and (place.member is not None or place.size_bytes == now.size_bytes) and not rehash
        for place in places
    ]
    # a place whose file is as on record for one image holds no other one
    settled = {place.member for place, same in zip(places, as_found, strict=True) if same}
    open_members = {place.member for place in places} - settled
    digests = dict(_digests(now, open_members, limit)) if open_members else {}
    problems: list[Problem | None] = []
    for place, same in zip(places, as_found, strict=True):
        if same:
            problems.append(None)
        elif place.member in settled:
            problems.append(Problem.CHANGED)
        else:
            digest = digests.get(place.member, Problem.GONE)
            if isinstance(digest, Problem):
                problems.append(digest)
            else:
                problems.append(None if digest == place.image_id.partition("#")[0] else Problem.CHANGED)
    return problems


def _digests(now: SourceItem, members: set[str | None], limit: int) -> Iterator[tuple[str | None, str | Problem]]:
    """The digest of each place's bytes as they are now; a problem where they can't be had, nothing where they are gone.

    What stands behind the damage of an archive may still be there.
    """
    if members == {None}:
        yield None, _digest(now, limit)
        return
    missing = set(members)
    try:
        for found in open_source(Path(now.source), max_file_bytes=limit):
            if isinstance(found, Rejection) and found.member is None:
                yield from ((member, Problem.UNREADABLE) for member in missing)
            elif found.member in missing:
                missing.discard(found.member)
                yield found.member, _digest(found, limit) if isinstance(found, SourceItem) else Problem.UNREADABLE
    except SourceError:
        yield from ((member, Problem.UNREADABLE) for member in missing)


def _digest(item: SourceItem, limit: int) -> str | Problem:
    try:
        return IMAGE_ID_PREFIX + hashlib.sha256(read_item(item, max_file_bytes=limit)).hexdigest()
    except BadInput:
        return Problem.UNREADABLE
