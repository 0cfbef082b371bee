"""The perceptual hashes of images on record: from the catalog, or read once from their sources and kept there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.embedding import Processes
from provenance.images import PERCEPTUAL_HASH, RecordedImage, in_reading_order, perceptual_hash, read_again
from provenance.ingest import Progress
from provenance.vocabulary import Rejection, RejectReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.images import PreparationSettings
    from provenance.ingest import OnProgress
    from provenance.installation import Installation
    from provenance.records import Member

_KEPT_AT_ONCE = 256
_Keyed = tuple[str, RecordedImage]


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Images, every one once, in image_id order, with their pixel digests and hashes, row by row.

    ``hashes`` is uint64 ``(n,)``, 0 where there is none; ``hashed`` bool ``(n,)``: which have one; ``unreadable`` has a
    rejection for each that has none.
    """

    members: tuple[Member, ...]
    digests: tuple[str, ...]
    hashes: np.ndarray[Any, np.dtype[np.uint64]]
    hashed: np.ndarray[Any, np.dtype[np.bool_]]
    unreadable: tuple[Rejection, ...]

    def __len__(self) -> int:
        return len(self.members)

    def at(self, rows: Sequence[int]) -> Looks:
        """Some rows, in the order given."""
        place = np.array(rows, dtype=np.int64)
        members, digests = tuple(self.members[row] for row in rows), tuple(self.digests[row] for row in rows)
        return Looks(members, digests, self.hashes[place], self.hashed[place], self.unreadable)


def looks_of(workspace: Installation, members: Sequence[Member], on_progress: OnProgress | None = None) -> Looks:
    """The hashes of images (in image_id order, every one once); what is not on record is computed and recorded.

    ``on_progress`` is called with ``Progress("hash", done, total)`` while sources are read.
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
    found: dict[str, str] = {}
    waiting: dict[str, str] = {}
    images, gone = _there(_recorded(workspace, members))
    # what is gone is said here: asking a worker for each, at every audit anew, takes longer than the search
    unreadable = {key: image.rejected(["No such file any more"] * bool(image.places)) for key, image in gone}
    # a few images are read sooner than workers are started
    executor = workspace.executor if len(images) > _KEPT_AT_ONCE else Processes(0)
    task = partial(_hashed, settings=workspace.preparation())
    key_of = {image.image_id: key for key, image in images}
    ordered = in_reading_order((image for _, image in images), workspace.settings.max_file_bytes)
    for done, (image_id, outcome) in enumerate(executor.prepared(ordered, task, failed=_failed), start=1):
        key = key_of[image_id]
        if isinstance(outcome, Rejection):
            unreadable[key] = outcome
        else:
            waiting[key] = outcome
        if len(waiting) >= _KEPT_AT_ONCE or done == len(images):
            if not workspace.catalog.is_read_only:  # else they are computed again the next time
                workspace.catalog.record_perceptual_hashes(PERCEPTUAL_HASH, waiting)
            found |= waiting
            waiting = {}
        if on_progress is not None:
            on_progress(Progress("hash", done, len(images)))
    return found, unreadable


def _recorded(workspace: Installation, members: Sequence[Member]) -> list[_Keyed]:
    """In the order of files and archives, so that an archive is read from its beginning to its end."""
    places = workspace.catalog.places_for_reading([member.image_key for member in members])
    images = [(m.image_key, RecordedImage(m.image_id, tuple(places.get(m.image_key, ())))) for m in members]
    return sorted(images, key=lambda each: [(item.source, item.member or "") for item in each[1].places[:1]])


def _there(images: list[_Keyed]) -> tuple[list[_Keyed], list[_Keyed]]:
    """The images of which at least one source still exists, and the others."""
    exists = {source: _exists(source) for source in {item.source for _, image in images for item in image.places}}
    there = [any(exists[item.source] for item in image.places) for _, image in images]
    return list(compress(images, there)), [each for each, kept in zip(images, there, strict=True) if not kept]


def _exists(source: str) -> bool:
    try:
        Path(source).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # whoever reads it says what is wrong
        return True
    return True


def _hashed(recorded: RecordedImage, *, settings: PreparationSettings) -> tuple[str, str | Rejection]:
    """The image_id with its hash, or why it has none. Runs in a worker process."""
    reread = read_again(recorded, settings)
    return recorded.image_id, reread if isinstance(reread, Rejection) else perceptual_hash(reread.frame.pixels)


def _failed(recorded: RecordedImage, reason: RejectReason, detail: str) -> tuple[str, str | Rejection]:
    return recorded.image_id, recorded.failed(reason, detail)
