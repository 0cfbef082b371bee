"""The perceptual hashes of images on record: from the catalog, or read once from their sources and kept there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.images import PERCEPTUAL_HASH, PreparationSettings, hash_known
from provenance.ingest import Progress
from provenance.vocabulary import Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.ingest import OnProgress
    from provenance.installation import Installation
    from provenance.records import Member

_KEPT_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Images with their hashes, row by row.

    Attributes:
        members: The images, every one once, in image_id order.
        digests: ``pixel_digest`` of each.
        hashes: uint64 ``(n,)``; 0 where there is none.
        hashed: bool ``(n,)``: which have one.
        unreadable: One rejection for each that has none.
    """

    members: tuple[Member, ...]
    digests: tuple[str, ...]
    hashes: np.ndarray[Any, np.dtype[np.uint64]]
    hashed: np.ndarray[Any, np.dtype[np.bool_]]
    unreadable: tuple[Rejection, ...]

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True, slots=True)
class _Places:
    """An image and where it may be read."""

    image_key: str
    image_id: str
    items: tuple[SourceItem, ...]

    @property
    def name(self) -> str:
        """For messages."""
        return self.items[0].name if self.items else self.image_id


def looks_of(workspace: Installation, members: Sequence[Member], on_progress: OnProgress | None = None) -> Looks:
    """The hashes of images; those that are not on record are computed from the sources and recorded.

    Args:
        workspace: Where to look.
        members: Images, every one once, in image_id order.
        on_progress: Called with ``Progress("hash", done, total)`` while sources are read.
    """
    catalog = workspace.catalog
    keys = [member.image_key for member in members]
    known = catalog.perceptual_hashes(PERCEPTUAL_HASH, keys)
    digests = catalog.pixel_digests(keys)
    missing = [member for member in members if member.image_key not in known]
    found, unreadable = _computed(workspace, missing, on_progress)
    known |= found
    # the same pixels have the same hash, whichever of them could be read
    of_pixels = {digests[key]: value for key, value in known.items() if key in digests}
    hashes = [known.get(key) or of_pixels.get(digests.get(key, "")) for key in keys]
    return Looks(
        tuple(members),
        tuple(digests.get(key, "") for key in keys),
        np.array([int(value or "0", 16) for value in hashes], dtype=np.uint64),
        np.array([value is not None for value in hashes], dtype=bool),
        tuple(unreadable[key] for key, value in zip(keys, hashes, strict=True) if value is None),
    )


def _computed(
    workspace: Installation, members: Sequence[Member], on_progress: OnProgress | None
) -> tuple[dict[str, str], dict[str, Rejection]]:
    from provenance.embedding import prepared_stream

    found: dict[str, str] = {}
    waiting: dict[str, str] = {}
    settings = workspace.settings
    preparation = PreparationSettings(max_pixels=settings.max_pixels, max_file_bytes=settings.max_file_bytes)
    places, gone = _there(_places(workspace, members))
    # what is gone is said here: asking a worker for each, at every audit anew, takes longer than the search
    unreadable = {place.image_key: _unreadable(place, ["No such file any more"]) for place in gone}
    # a few images are read sooner than workers are started
    workers = settings.workers if len(places) > _KEPT_AT_ONCE else 0
    stream = prepared_stream(places, partial(_hashed, settings=preparation), workers=workers)
    for done, (place, outcome) in enumerate(zip(places, stream, strict=True), start=1):
        if isinstance(outcome, Rejection):
            unreadable[place.image_key] = outcome
        else:
            waiting[place.image_key] = outcome
        if len(waiting) >= _KEPT_AT_ONCE or done == len(places):
            workspace.catalog.record_perceptual_hashes(PERCEPTUAL_HASH, waiting)
            found |= waiting
            waiting = {}
        if on_progress is not None:
            on_progress(Progress("hash", done, len(places)))
    return found, unreadable


def _places(workspace: Installation, members: Sequence[Member]) -> list[_Places]:
    """In the order of files and archives, so that an archive is read from its beginning to its end."""
    found = workspace.catalog.places_for_reading([member.image_key for member in members])
    places = [_Places(m.image_key, m.image_id, tuple(found.get(m.image_key, ()))) for m in members]
    return sorted(places, key=lambda place: [(item.source, item.member or "") for item in place.items[:1]])


def _there(places: list[_Places]) -> tuple[list[_Places], list[_Places]]:
    """The images of which at least one source still exists, and the others."""
    exists = {source: _exists(source) for source in {item.source for place in places for item in place.items}}
    there = [any(exists[item.source] for item in place.items) for place in places]
    return list(compress(places, there)), [place for place, kept in zip(places, there, strict=True) if not kept]


def _exists(source: str) -> bool:
    try:
        Path(source).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # whoever reads it says what is wrong
        return True
    return True


def _hashed(places: _Places, *, settings: PreparationSettings) -> str | Rejection:
    """Runs in a worker process: the hash from the first place that still holds the image's bytes."""
    problems = []
    for item in places.items:
        outcome = hash_known(item.source, item.member, places.image_id, settings)
        if not isinstance(outcome, Rejection):
            return outcome
        problems.append(outcome.detail)
    return _unreadable(places, problems)


def _unreadable(places: _Places, problems: list[str]) -> Rejection:
    if not places.items:
        detail = "nothing on record says where it was"
        return Rejection(places.image_id, "", None, 0, RejectReason.UNREADABLE, detail)
    first, detail = places.items[0], "; ".join(dict.fromkeys(problems))
    return Rejection(first.name, first.source, first.member, first.size_bytes, RejectReason.UNREADABLE, detail)
