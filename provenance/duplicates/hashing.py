"""What images on record look like: from the catalog, or read once from their sources and kept there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.embedding import Processes
from provenance.images import (
    PERCEPTUAL_HASH,
    POSITIONS,
    TURNED,
    RecordedImage,
    in_reading_order,
    perceptual_hash,
    read_again,
    turned_hashes,
)
from provenance.ingest import Progress
from provenance.vocabulary import Rejection, RejectReason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provenance.arrays import Float64s
    from provenance.images import PreparationSettings
    from provenance.ingest import OnProgress
    from provenance.installation import Installation
    from provenance.records import Member

_KEPT_AT_ONCE = 256
_Keyed = tuple[str, RecordedImage]
_KINDS = (PERCEPTUAL_HASH, TURNED)


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Images, every one once, in image_id order, with their pixel digests and hashes, row by row.

    ``hashes`` is uint64 ``(n,)``, 0 where there is none; ``hashed`` bool ``(n,)``: which have one; ``unreadable`` has a
    rejection for each that has none. ``turned`` are the hashes in the other positions of ``images.POSITIONS``, uint64
    ``(7, n)``, and ``greys`` mean grey levels, float64 ``(n,)``, NaN where these are not known.
    """

    members: tuple[Member, ...]
    digests: tuple[str, ...]
    hashes: np.ndarray[Any, np.dtype[np.uint64]]
    hashed: np.ndarray[Any, np.dtype[np.bool_]]
    unreadable: tuple[Rejection, ...]
    turned: np.ndarray[Any, np.dtype[np.uint64]]
    greys: Float64s

    def __len__(self) -> int:
        return len(self.members)

    def at(self, rows: Sequence[int]) -> Looks:
        """Some rows, in the order given."""
        place = np.array(rows, dtype=np.int64)
        members, digests = tuple(self.members[row] for row in rows), tuple(self.digests[row] for row in rows)
        own = (self.hashes[place], self.hashed[place], self.unreadable, self.turned[:, place], self.greys[place])
        return Looks(members, digests, *own)

    @property
    def in_other_positions(self) -> Iterator[Looks]:
        """The same images mirrored or turned, position by position, as far as these hashes are known."""
        known = ~np.isnan(self.greys)
        return (replace(self, hashes=hashes, hashed=known) for hashes in self.turned)


def looks_of(workspace: Installation, members: Sequence[Member], on_progress: OnProgress | None = None) -> Looks:
    """The hashes of images (in image_id order, every one once); what is not on record is computed and recorded.

    ``on_progress`` is called with ``Progress("hash", done, total)`` while sources are read.
    """
    catalog = workspace.catalog
    keys = [member.image_key for member in members]
    known = {kind: catalog.perceptual_hashes(kind, keys) for kind in _KINDS}
    digests = catalog.pixel_digests(keys)
    missing = [member for member in members if any(member.image_key not in known[kind] for kind in _KINDS)]
    found, unreadable = _computed(workspace, missing, on_progress)
    # the same pixels have the same hash, whichever of them could be read
    values, turned = ([*_of_all(known[kind] | found[kind], keys, digests)] for kind in _KINDS)
    apart = [(value or _UNKNOWN).split(":") for value in turned]
    return Looks(
        tuple(members),
        tuple(digests.get(key, "") for key in keys),
        np.array([int(value or "0", 16) for value in values], dtype=np.uint64),
        np.array([value is not None for value in values], dtype=bool),
        tuple(unreadable[key] for key, value in zip(keys, values, strict=True) if value is None),
        np.array([[int(value, 16) for value in each[:-1]] for each in apart], dtype=np.uint64)
        .reshape(len(keys), len(POSITIONS) - 1)
        .T,
        np.array([float(each[-1]) for each in apart], dtype=np.float64),
    )


_UNKNOWN = ":".join(("0",) * (len(POSITIONS) - 1) + ("nan",))


def _of_all(known: Mapping[str, str], keys: Sequence[str], digests: Mapping[str, str]) -> Iterator[str | None]:
    of_pixels = {digests[key]: value for key, value in known.items() if key in digests}
    return (known.get(key) or of_pixels.get(digests.get(key, "")) for key in keys)


def _computed(
    workspace: Installation, members: Sequence[Member], on_progress: OnProgress | None
) -> tuple[dict[str, dict[str, str]], dict[str, Rejection]]:
    found: dict[str, dict[str, str]] = {kind: {} for kind in _KINDS}
    waiting: dict[str, tuple[str, ...]] = {}
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
            for place, kind in enumerate(_KINDS):
                values = {each: kept[place] for each, kept in waiting.items()}
                if not workspace.catalog.is_read_only:  # else they are computed again the next time
                    workspace.catalog.record_perceptual_hashes(kind, values)
                found[kind] |= values
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


def _hashed(recorded: RecordedImage, *, settings: PreparationSettings) -> tuple[str, tuple[str, ...] | Rejection]:
    """The image_id with its hashes, kind by kind, or why it has none. Runs in a worker process."""
    reread = read_again(recorded, settings)
    if isinstance(reread, Rejection):
        return recorded.image_id, reread
    return recorded.image_id, (perceptual_hash(reread.frame.pixels), turned_hashes(reread.frame.pixels))


def _failed(recorded: RecordedImage, reason: RejectReason, detail: str) -> tuple[str, tuple[str, ...] | Rejection]:
    return recorded.image_id, recorded.failed(reason, detail)
