"""Images on record in an order in which reading them again costs one pass over each archive.

A compressed tar can be read from its beginning only: read image by image, its cost is the square of their number. So
the images in one are found in one pass, here, in the archive's own order, and handed on with their bytes.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from provenance.images.archives import is_streamed, streamed_members

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from provenance.images.prepare import RecordedImage
    from provenance.vocabulary import SourceItem

HELD_BYTES = 128 * 2**20
"""So many bytes of members are held at once for orders that need several images."""


class Order(Protocol):
    """What needs some images on record at once."""

    @property
    def images(self) -> Sequence[RecordedImage]:
        """The images."""

    def with_images(self, known: Mapping[str, RecordedImage]) -> Self:
        """The same with these in place of its own, by image_id."""


T = TypeVar("T", bound=Order)


def in_reading_order(images: Iterable[RecordedImage], max_file_bytes: int) -> Iterator[RecordedImage]:
    """The same images: those in files as they come, then archive by archive, in a compressed tar with their bytes."""
    kinds = _Kinds()
    streamed: dict[str, list[RecordedImage]] = {}
    archived: dict[str, list[RecordedImage]] = {}
    for given in images:
        image = replace(given, places=tuple(sorted(given.places, key=kinds.is_gone)))
        first = image.places[0] if image.places else None
        if first is None or first.member is None:
            yield image
        else:
            (streamed if kinds.is_streamed(first) else archived).setdefault(first.source, []).append(image)
    for of_archive in archived.values():
        yield from of_archive
    for source, of_archive in streamed.items():
        yield from _passed(Path(source), of_archive, max_file_bytes)


def supplied(orders: Iterable[T], max_file_bytes: int, *, most: int) -> Iterator[T]:
    """The same orders, in order; images in compressed tars have their bytes, found in one pass for many orders.

    Up to ``most`` orders with such images are held at once, and ``HELD_BYTES`` of them.
    """
    kinds = _Kinds()
    waiting: list[T] = []
    held_bytes = 0
    for order in orders:
        of_order = sum(kinds.streamed_bytes(image) for image in order.images)
        if not of_order and not waiting:
            yield order
            continue
        waiting.append(order)
        held_bytes += of_order
        if held_bytes >= HELD_BYTES or len(waiting) >= most:
            yield from _with_bytes(waiting, max_file_bytes)
            waiting, held_bytes = [], 0
    yield from _with_bytes(waiting, max_file_bytes)


def _with_bytes(orders: Sequence[T], max_file_bytes: int) -> Iterator[T]:
    images = {image.image_id: image for order in orders for image in order.images}
    known = {image.image_id: image for image in in_reading_order(images.values(), max_file_bytes)}
    yield from (order.with_images(known) for order in orders)


def _passed(path: Path, images: Sequence[RecordedImage], max_file_bytes: int) -> Iterator[RecordedImage]:
    """The images of one compressed tar as they come in it; at last, as they were, those that it does not give."""
    waiting: dict[str, list[RecordedImage]] = {}
    for image in images:
        waiting.setdefault(image.places[0].member or "", []).append(image)
    with closing(streamed_members(path, set(waiting), max_file_bytes)) as members:
        for item in members:
            for image in waiting.pop(item.member or "", ()):
                place = replace(image.places[0], content=item.content)
                yield replace(image, places=(place, *image.places[1:]))
            if not waiting:
                return
    for rest in waiting.values():  # whoever reads it again says what is wrong
        yield from rest


class _Kinds:
    """What the sources of recorded places are now; each is looked at once."""

    def __init__(self) -> None:
        self._gone = cache(_is_gone)
        self._streamed = cache(_is_streamed)

    def is_gone(self, place: SourceItem) -> bool:
        return self._gone(place.source)

    def is_streamed(self, place: SourceItem) -> bool:
        return place.member is not None and self._streamed(place.source)

    def streamed_bytes(self, image: RecordedImage) -> int:
        first = next((place for place in image.places if not self.is_gone(place)), None)
        return first.size_bytes if first is not None and self.is_streamed(first) else 0


def _is_gone(source: str) -> bool:
    try:
        Path(source).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # whoever reads it says what is wrong
        return False
    return False


def _is_streamed(source: str) -> bool:
    try:
        return Path(source).is_file() and is_streamed(Path(source))
    except (OSError, ValueError):
        return False
