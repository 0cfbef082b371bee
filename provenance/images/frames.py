"""What a decoder is, what it gives, and how an input is refused on its way to an image."""

from __future__ import annotations

import hashlib
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.vocabulary import ImageFacts, RejectReason

if TYPE_CHECKING:
    from collections.abc import Iterator

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""Canonical pixels, uint8 (height, width, 3) RGB; (height, width) stands for three equal channels, at a third of the
cost."""

PIXEL_DIGEST_VERSION = 1
HEAD_BYTES = 512
"""So many first bytes tell what a file is."""

_FOREIGN = {
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript document",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip-compressed",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"8BPS": "a Photoshop document",
    b"\0\0\1\0": "an icon",
    b"NRRD": "an NRRD volume",
    b"SQLite format 3": "a database",
}


class BadInput(Exception):  # noqa: N818 - it never leaves the room: ``prepare`` makes a Rejection of it
    """An input that can't become an image, on its way to the ``Rejection`` that says so."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What a decoder makes of one frame.

    Attributes:
        pixels: Canonical: 8 bits, RGB, upright, over black.
        file_format: The decoder's name of the format, such as ``PNG``.
        mode: Its name of the pixel mode that was stored, such as ``I;16``.
        number: Which frame of several, from 1; ``None``: the file holds one.
    """

    pixels: Pixels
    file_format: str
    mode: str
    number: int | None = None


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
    def frames(self, data: bytes, max_pixels: int) -> Iterator[Picture]:
        """Every frame of a file, one after another: no more than one is held in memory.

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
            pixel_digest=pixel_digest(self.rgb()),
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


def pixel_digest(rgb: Pixels) -> str:
    """``sha256:<hex>`` over version, height, width (three big-endian uint32) and pixels (height, width, 3)."""
    height, width, _ = rgb.shape
    digest = hashlib.sha256(struct.pack(">III", PIXEL_DIGEST_VERSION, height, width))
    digest.update(np.ascontiguousarray(rgb).reshape(-1).data)
    return "sha256:" + digest.hexdigest()


def text_of(error: BaseException) -> str:
    """What a foreign exception says, without errno and path; never empty."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def not_an_image(head: bytes) -> BadInput:
    """What to call a file with these first ``HEAD_BYTES``, which are of nothing that is read here."""
    if head[128:132] == b"DICM":
        return BadInput(RejectReason.UNSUPPORTED, "DICOM is not read yet")
    for signature, kind in _FOREIGN.items():
        if head.startswith(signature):
            return BadInput(RejectReason.UNSUPPORTED, f"{kind}, not an image")
    text = head.decode("utf-8-sig", "ignore")
    if text and all(character.isprintable() or character.isspace() for character in text) and b"\0" not in head:
        kind = "HTML or XML" if text.lstrip().startswith("<") else "text"
        return BadInput(RejectReason.UNSUPPORTED, f"{kind}, not an image")
    return BadInput(RejectReason.BROKEN, "its first bytes are of no image format that is read here")
