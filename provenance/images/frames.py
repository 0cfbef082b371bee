"""What a decoder is, what it gives, and how an input is refused on its way to an image."""

from __future__ import annotations

import hashlib
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.vocabulary import CANONICAL, Canonical, ImageFacts, ImageHeader, Pages, RejectReason

if TYPE_CHECKING:
    from collections.abc import Iterator

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""Canonical pixels, uint8 (height, width, 3) RGB; (height, width) stands for three equal channels, at a third of the
cost."""

PIXEL_DIGEST_VERSION = 1
STRIP_PIXELS = 4 * 1024**2
HEAD_BYTES = 512
"""So many first bytes tell what a file is."""

DEFAULT_MAX_PIXELS = 64 * 1024**2


class BadInput(Exception):  # noqa: N818 - it never leaves the room: ``prepare`` makes a Rejection of it
    """An input that can't become an image, on its way to the ``Rejection`` that says so."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class NotAnImage(BadInput):
    """A file whose first bytes are of something else, or of nothing that is known here."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is to be read.

    Attributes:
        max_pixels: A frame whose header announces more is refused before pixels are allocated.
        canonical: The rule that makes its pixels.
        pages: Every page or only the first; ``None``: as is usual for the format.
        page: The number of the one page that is wanted, from 1; ``None``: what ``pages`` says.
        is_on_record: Whether it was taken before, by rules that may not have noticed that it is damaged.
        burned_in: Whether images are taken whose pixels may hold a name.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    canonical: Canonical = CANONICAL
    pages: Pages | None = None
    page: int | None = None
    is_on_record: bool = False
    burned_in: bool = False


@dataclass(frozen=True, slots=True)
class Levels:
    """Levels that decoding left, of so many values or more, from the lowest to the highest; of grey, or of colour."""

    left: int
    values: int
    low: float
    high: float
    are_colour: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What a decoder makes of one frame.

    Attributes:
        pixels: Canonical: 8 bits, RGB, upright, over black.
        file_format: The decoder's name of the format, such as ``PNG``.
        mode: Its name of the pixel mode that was stored, such as ``I;16``.
        number: Which frame of several, from 1; ``None``: the file holds one, or one was asked for.
        coarse: What decoding left of grey levels, where that is too little to be taken for the image.
        left_out: With the first one: how many pages were not asked for ...
        reduced: ... and how many hold no more than a smaller copy or a mask of another.
        header: What is taken from the header of a medical image.
    """

    pixels: Pixels
    file_format: str
    mode: str
    number: int | None = None
    coarse: Levels | None = None
    left_out: int = 0
    reduced: int = 0
    header: ImageHeader | None = None


class Decoder(ABC):
    """Makes pictures of the bytes of some formats; one module each, and a line in ``decode.DECODERS``.

    Attributes:
        name: For records and messages, such as ``raster``.
        version: Of its rules and of the library that it rests on: another one may give other pixels.
        suffixes: Names that end so are let through to it, whatever else they would be taken for (``.nii.gz``).
    """

    name: str
    version: str
    suffixes: tuple[str, ...] = ()

    @abstractmethod
    def takes(self, head: bytes, name: str) -> bool:
        """Whether it is for a file with these first bytes (``HEAD_BYTES``, or all) and this name."""

    def lacks(self) -> str:
        """What it needs and does not find here: ``DICOM needs pydicom: pip install pydicom``; empty: nothing."""
        return ""

    @abstractmethod
    def frames(self, data: bytes, reading: Reading) -> Iterator[Picture]:
        """The frames of a file that are asked for, one after another: no more than one is held in memory.

        Raises:
            BadInput: If it can't be read, or a frame has more than ``max_pixels``. Anything else that is raised over
                damaged bytes counts as broken.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded image, with the length of its file, and the name and version of its decoder.

    Its id is ``sha256:<hex>`` of the file's bytes, and ``#N`` after it where the file holds several.
    """

    image_id: str
    picture: Picture
    size_bytes: int
    decoder: str

    @property
    def pixels(self) -> Pixels:
        """Canonical pixels; (height, width) where the three channels are equal."""
        return self.picture.pixels

    def rgb(self) -> Pixels:
        """Canonical pixels, (height, width, 3)."""
        return rgb_of(self.pixels)

    def facts(self) -> ImageFacts:
        """What is on record of it."""
        return ImageFacts(
            image_id=self.image_id,
            pixel_digest=pixel_digest(self.pixels),
            width=self.pixels.shape[1],
            height=self.pixels.shape[0],
            file_format=self.picture.file_format,
            mode=self.picture.mode,
            size_bytes=self.size_bytes,
        )


def rgb_of(pixels: Pixels) -> Pixels:
    """Pixels with three channels, (height, width, 3)."""
    if pixels.ndim == 3:
        return pixels
    rgb = np.empty((*pixels.shape, 3), dtype=np.uint8)
    for channel in range(3):  # four times as fast as np.repeat or broadcasting
        rgb[:, :, channel] = pixels
    return rgb


def pixel_digest(pixels: Pixels) -> str:
    """``sha256:<hex>`` over version, height, width (three big-endian uint32) and pixels (height, width, 3)."""
    digest = hashlib.sha256(struct.pack(">III", PIXEL_DIGEST_VERSION, *pixels.shape[:2]))
    for rows in strips_of(*pixels.shape[:2]):
        digest.update(np.ascontiguousarray(rgb_of(pixels[rows])).reshape(-1).data)
    return "sha256:" + digest.hexdigest()


def strips_of(height: int, width: int) -> Iterator[slice]:
    """An image's rows in strips, so that what is made on the way to a result never has its size."""
    step = max(1, STRIP_PIXELS // max(1, width))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def text_of(error: BaseException) -> str:
    """What a foreign exception says, without errno and path; never empty."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
