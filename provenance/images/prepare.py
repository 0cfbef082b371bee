"""From an item to the pixels that a backbone is given: read, digest, decode, resize. Runs in worker processes.

A bad input is a ``Rejection``; nothing here raises for one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from provenance.images.decode import DEFAULT_MAX_PIXELS, Decoded, decode, pixel_digest, rgb_array
from provenance.images.entries import DEFAULT_MAX_FILE_BYTES, BadInput, check_size, item_from, rejection_of, text_of
from provenance.images.source import read_item
from provenance.vocabulary import IMAGE_ID_PREFIX, ImageFacts, Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    import numpy.typing as npt

    from provenance.vocabulary import Resolution


@dataclass(frozen=True, slots=True)
class PreparationSettings:
    """What preparing an image depends on.

    Attributes:
        size: Rows and columns of the prepared pixels.
        match_resolution: ``(width, height)`` that every image is brought to first; ``None``: it stays as it is.
        max_pixels: Larger images are rejected as oversized, by their header.
        max_file_bytes: Larger files are rejected as oversized, unread.
    """

    size: int = 224
    match_resolution: Resolution | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_file_bytes: int = DEFAULT_MAX_FILE_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One image, ready for a backbone.

    Attributes:
        item: Where it was found, without its bytes.
        facts: What is known of it from its bytes.
        pixels: uint8 of shape (size, size, 3), RGB, writable and contiguous.
    """

    item: SourceItem
    facts: ImageFacts
    pixels: npt.NDArray[np.uint8]


def prepare(item: SourceItem, settings: PreparationSettings) -> Prepared | Rejection:
    """Reads and prepares one item."""
    try:
        return _prepared(item, read_item(item, max_file_bytes=settings.max_file_bytes), settings)
    except BadInput as failure:
        return rejection_of(item, failure.reason, failure.detail)
    except MemoryError:
        return rejection_of(item, RejectReason.OVERSIZED, "it does not fit into memory")


def prepare_bytes(data: bytes, name: str, settings: PreparationSettings) -> Prepared | Rejection:
    """Prepares an image that is in memory already, under the label ``name``."""
    return prepare(SourceItem(name, "", None, len(data), 0, 0, 0, content=data), settings)


def read_known(source: str, member: str | None, image_id: str, settings: PreparationSettings) -> Prepared | Rejection:
    """Reads an image again from where it was once found, and checks that it still is that image.

    Args:
        source: Absolute path of the file or archive.
        member: Label inside the archive; ``None`` or empty for a plain file.
        image_id: What its bytes must digest to.
        settings: As for ``prepare``.

    Returns:
        A rejection as unreadable if other bytes are found there now.
    """
    item = known_item(source, member)
    if isinstance(item, Rejection):
        return item
    prepared = prepare(item, settings)
    if isinstance(prepared, Prepared) and prepared.facts.image_id != image_id:
        return other_bytes(item, prepared.facts.image_id, image_id)
    return prepared


def known_bytes(source: str, member: str | None, image_id: str, settings: PreparationSettings) -> bytes | Rejection:
    """The bytes of an image, from where it was once found; a rejection as unreadable if other bytes are there now."""
    item = known_item(source, member)
    if isinstance(item, Rejection):
        return item
    try:
        data = read_item(item, max_file_bytes=settings.max_file_bytes)
        check_size(len(data), settings.max_file_bytes)
    except BadInput as failure:
        return rejection_of(item, failure.reason, failure.detail)
    except MemoryError:
        return rejection_of(item, RejectReason.OVERSIZED, "it does not fit into memory")
    found = IMAGE_ID_PREFIX + hashlib.sha256(data).hexdigest()
    return data if found == image_id else other_bytes(item, found, image_id)


def decode_known(source: str, member: str | None, image_id: str, settings: PreparationSettings) -> Decoded | Rejection:
    """As ``known_bytes``, decoded to canonical pixels."""
    data = known_bytes(source, member, image_id, settings)
    if isinstance(data, Rejection):
        return data
    item = SourceItem(member or Path(source).name, source, member or None, len(data), 0, 0, 0)
    try:
        return decode(data, max_pixels=settings.max_pixels)
    except BadInput as failure:
        return rejection_of(item, failure.reason, failure.detail)
    except MemoryError:
        return rejection_of(item, RejectReason.OVERSIZED, "it does not fit into memory")


def known_item(source: str, member: str | None) -> SourceItem | Rejection:
    """A place where an image was once found, as it is now; a rejection as unreadable if there is nothing."""
    path = Path(source)
    name = member or path.name
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        nothing = SourceItem(name, source, member or None, 0, 0, 0, 0)
        return rejection_of(nothing, RejectReason.UNREADABLE, text_of(error))
    return item_from(status, path, name, member=member or None, size_bytes=status.st_size)


def other_bytes(item: SourceItem, found: str, recorded: str) -> Rejection:
    """The rejection of a place that holds another image now."""
    return rejection_of(item, RejectReason.UNREADABLE, f"other bytes than recorded: {found} in place of {recorded}")


def resized(decoded: Decoded, size: int, first: Resolution | None = None) -> npt.NDArray[np.uint8]:
    """Pillow's ``resize`` with its antialiased bilinear filter, as writable uint8 of shape (size, size, 3).

    With ``first`` = (width, height) the image is brought to that size before: what it holds between the two steps are
    the bytes that a file of that size would hold.
    """
    # A grey image gives the same bytes by way of one channel: the filter works on each channel by itself.
    image = decoded.image if first is None else decoded.image.resize(first, Image.Resampling.BILINEAR)
    small = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.require(rgb_array(small), requirements=["C", "W"])


def _prepared(item: SourceItem, data: bytes, settings: PreparationSettings) -> Prepared:
    check_size(len(data), settings.max_file_bytes)
    decoded = decode(data, max_pixels=settings.max_pixels)
    facts = ImageFacts(
        image_id=IMAGE_ID_PREFIX + hashlib.sha256(data).hexdigest(),
        pixel_digest=pixel_digest(decoded.rgb()),
        width=decoded.image.width,
        height=decoded.image.height,
        file_format=decoded.file_format,
        mode=decoded.mode,
        size_bytes=len(data),
    )
    bare = item if item.content is None else replace(item, content=None)
    return Prepared(bare, facts, resized(decoded, settings.size, settings.match_resolution))
