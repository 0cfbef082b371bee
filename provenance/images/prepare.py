"""From an item to the pixels that a backbone is given: read, digest, decode, resize. Runs in worker processes.

A bad input is a ``Rejection``; nothing here raises for one. An image on record is read again here too: the places
where it was found are tried in turn, and its bytes are checked against its id.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from provenance.images.decode import file_id_of, frames_of
from provenance.images.dicom import slice_of
from provenance.images.entries import DEFAULT_MAX_FILE_BYTES, is_named_as_image, item_from, rejection_of
from provenance.images.frames import DEFAULT_MAX_PIXELS, BadInput, NotAnImage, Reading, text_of
from provenance.images.pixels import resized
from provenance.images.source import read_item
from provenance.limits import begin_step
from provenance.vocabulary import (
    CANONICAL,
    Canonical,
    Found,
    ImageFacts,
    ImageHeader,
    Pages,
    Rejection,
    RejectReason,
    SourceItem,
    counted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provenance.images.dicom import Slice
    from provenance.images.frames import Frame, Pixels
    from provenance.vocabulary import Resolution

OTHER_BYTES = "other bytes than recorded"
"""How the detail of a rejection begins where a recorded place holds another image now."""


@dataclass(frozen=True, slots=True)
class PreparationSettings:
    """What preparing an image depends on.

    Attributes:
        size: Rows and columns of the prepared pixels.
        match_resolution: ``(width, height)`` that every image is brought to first; ``None``: it stays as it is.
        max_pixels: Larger images are rejected as oversized, by their header.
        max_file_bytes: Larger files are rejected as oversized, unread.
        canonical: The rule by which a file becomes pixels.
        takes_coarse: Whether an image is taken of whose grey levels decoding left too few; else it is rejected.
        pages: Every page of a file or the first; ``None``: as is usual for its format.
        burned_in: Whether images are taken whose pixels may hold a name.
    """

    size: int = 224
    match_resolution: Resolution | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_file_bytes: int = DEFAULT_MAX_FILE_BYTES
    canonical: Canonical = CANONICAL
    takes_coarse: bool = False
    pages: Pages | None = None
    burned_in: bool = False

    @property
    def reading(self) -> Reading:
        """How files are read."""
        return Reading(self.max_pixels, self.canonical, self.pages, burned_in=self.burned_in)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One image, ready for a backbone: found at ``item``, uint8 RGB of shape (size, size, 3), writable, contiguous.

    Attributes:
        page: Its number among several of its file, which is the end of its name; ``None``: the file holds one.
        left_out: Pages of its file that were not asked for, told with the first one; ``reduced``: that are smaller
            copies or masks.
        is_coarse: Whether decoding left few of its grey levels.
        header: What is taken from the header of a medical image.
    """

    item: SourceItem
    facts: ImageFacts
    pixels: Pixels
    page: int | None = None
    left_out: int = 0
    reduced: int = 0
    is_coarse: bool = False
    header: ImageHeader | None = None

    @property
    def file_name(self) -> str:
        """The name of its file, without the page."""
        return self.item.name if self.page is None else self.item.name.removesuffix(f"#{self.page}")


Outcome = Prepared | Rejection
"""What becomes of an input."""


def prepare(item: Found, settings: PreparationSettings) -> Outcome:
    """Reads and prepares one item, of several frames the first; what the source rejected stays so."""
    return next(_outcomes(item, settings))


def prepare_frames(item: Found, settings: PreparationSettings) -> Iterator[Outcome]:
    """As ``prepare``, frame by frame; at last the rejection where a file is damaged behind some that could be read."""
    return _outcomes(item, settings)


def slice_at(item: Found, settings: PreparationSettings) -> tuple[tuple[str, str | None], Slice | None]:
    """Where an item lies, and where in its series (see ``Slice``); ``None``: it is no slice of one."""
    place = item.source, item.member
    if isinstance(item, Rejection):
        return place, None
    try:
        return place, slice_of(read_item(item, max_file_bytes=settings.max_file_bytes), settings.reading)
    except (BadInput, MemoryError):
        return place, None


@dataclass(frozen=True, slots=True)
class RecordedImage:
    """An image on record and where it may be read, the likeliest place first."""

    image_id: str
    places: tuple[SourceItem, ...]

    @property
    def name(self) -> str:
        """For messages."""
        return self.places[0].name if self.places else self.image_id

    def failed(self, reason: RejectReason, detail: str) -> Rejection:
        """The rejection of an image that ended whatever read it."""
        return replace(self.rejected([detail]), reason=reason)

    def rejected(self, details: Sequence[str]) -> Rejection:
        """The rejection of an image that can't be had, under the first of its names."""
        detail = "; ".join(dict.fromkeys(details)) or "nothing on record says where it was"
        first = self.places[0] if self.places else SourceItem(self.image_id, "")
        return rejection_of(first, RejectReason.UNREADABLE, detail)


@dataclass(frozen=True, slots=True, eq=False)
class Reread:
    """An image that was read again, with the place that still held it and its file's bytes."""

    item: SourceItem
    data: bytes
    frame: Frame

    def prepared(self, settings: PreparationSettings) -> Prepared:
        """The same, ready for a backbone."""
        return _prepared(self.item, self.frame, settings)


def read_again(recorded: RecordedImage, settings: PreparationSettings) -> Reread | Rejection:
    """An image on record from the first place that still holds it, or why none does."""
    details = []
    for outcome in reading_again(recorded, settings):
        if isinstance(outcome, Reread):
            return outcome
        details.append(outcome.detail)
    return recorded.rejected(details)


def reading_again(recorded: RecordedImage, settings: PreparationSettings) -> Iterator[Reread | Rejection]:
    """What each place gives, until one gives the image: a rejection as unreadable if other bytes are there now."""
    for place in recorded.places:
        item = _as_it_is_now(place)
        if isinstance(item, Rejection):
            yield item
            continue
        try:
            reread = _reread(item, recorded.image_id, settings)
        except (BadInput, MemoryError) as error:
            yield _rejection(item, error)
        else:
            yield reread
            return


def _reread(item: SourceItem, image_id: str, settings: PreparationSettings) -> Reread:
    data = read_item(item, max_file_bytes=settings.max_file_bytes)
    file_id, _, page = image_id.partition("#")
    found = file_id_of(data)
    number = int(page) if page and found == file_id else None
    wanted = replace(settings.reading, pages=Pages.FIRST, page=number, is_on_record=True)
    # what is there now may not even be an image: decoding tells that first
    for frame in frames_of(data, item.name, wanted):
        if found != file_id:
            raise BadInput(RejectReason.UNREADABLE, f"{OTHER_BYTES}: {found} in place of {image_id}")
        if frame.image_id == image_id:
            return Reread(item, data, frame)
    raise BadInput(RejectReason.UNREADABLE, f"it has no frame {image_id}")


def _as_it_is_now(place: SourceItem) -> Found:
    if place.content is not None:
        return place
    path = Path(place.source)
    name = place.member or path.name
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        gone = SourceItem(name, place.source, place.member or None)
        return rejection_of(gone, RejectReason.UNREADABLE, text_of(error))
    return item_from(status, path, name, member=place.member or None, size_bytes=status.st_size)


def _outcomes(item: Found, settings: PreparationSettings) -> Iterator[Outcome]:
    if isinstance(item, Rejection):
        yield item
        return
    try:
        data = read_item(item, max_file_bytes=settings.max_file_bytes)
        for frame in frames_of(data, item.name, settings.reading):
            yield _taken(item, frame, settings)
            begin_step()
    except (BadInput, MemoryError) as error:
        yield _rejection(item, error)


def _taken(item: SourceItem, frame: Frame, settings: PreparationSettings) -> Outcome:
    """The frame, ready, unless too little is left of it."""
    prepared, coarse = _prepared(item, frame, settings), frame.picture.coarse
    if coarse is None or (settings.takes_coarse and not (coarse.are_colour and settings.canonical.grey_range)):
        return prepared
    kind = "level" if coarse.are_colour else "grey level"
    left = f"{counted(coarse.left, kind)} {'is' if coarse.left == 1 else 'are'} left"
    advice = (
        "16-bit colour is read by its high bytes: save it as 8 bits"
        if coarse.are_colour
        else f"state the range of all images, such as --grey-range={_range_around(coarse.low, coarse.high)}"
    )
    values = f"{coarse.values} or more values from {coarse.low:g} to {coarse.high:g}"
    detail = f"{left} of {values}: {advice}; or, where they really are as dark, --grey-range=full"
    return rejection_of(prepared.item, RejectReason.UNSUPPORTED, detail)


def _range_around(low: float, high: float) -> str:
    """Whole bits that hold the values: 8, 10, 12, 14 or 16 above zero, and what is needed below."""
    if high <= 1:
        return f"{low:g}:{high:g}"
    bits = next((each for each in (8, 10, 12, 14) if high < 2**each), 16)
    below = 0 if low >= 0 else -(2 ** max(1, math.ceil(math.log2(-low))))
    return f"{below}:{2**bits - 1}"


def _prepared(item: SourceItem, frame: Frame, settings: PreparationSettings) -> Prepared:
    picture = frame.picture
    name = item.name if picture.number is None else f"{item.name}#{picture.number}"
    return Prepared(
        replace(item, name=name, content=None),
        frame.facts(),
        resized(frame.pixels, settings.size, settings.match_resolution),
        picture.number,
        picture.left_out,
        picture.reduced,
        picture.coarse is not None,
        picture.header,
    )


def _rejection(item: SourceItem, error: BadInput | MemoryError) -> Rejection:
    if isinstance(error, NotAnImage) and not is_named_as_image(item.name):
        has_extension = PurePosixPath(item.name).suffix != ""
        if has_extension or error.reason is RejectReason.UNSUPPORTED:
            return rejection_of(item, RejectReason.SKIPPED, error.detail)
    if isinstance(error, BadInput):
        return rejection_of(item, error.reason, error.detail)
    return rejection_of(item, RejectReason.OVERSIZED, "it does not fit into memory")
