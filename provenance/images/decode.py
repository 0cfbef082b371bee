"""The registry of decoders: from the bytes of a file to frames, each with its id, pixels and facts.

A decoder is one module of this room and one line in ``DECODERS``: the first that takes a file has it. What it must be
is said by ``frames.Decoder``. A whole one, for bare grey bytes behind ``GREY``, rows and columns:

    import struct
    from collections.abc import Iterator

    import numpy as np

    from provenance.images.frames import BadInput, Decoder, Picture, Reading
    from provenance.vocabulary import RejectReason

    class GreyDecoder(Decoder):
        name, version = "grey", "1"

        def takes(self, head: bytes, name: str) -> bool:
            return head.startswith(b"GREY")

        def frames(self, data: bytes, reading: Reading) -> Iterator[Picture]:
            rows, columns = struct.unpack_from(">HH", data, 4)
            if rows * columns > reading.max_pixels:
                raise BadInput(RejectReason.OVERSIZED, f"{columns} x {rows} pixels")
            yield Picture(np.frombuffer(data, np.uint8, rows * columns, 8).reshape(rows, columns), "GREY", "L")
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from provenance.images.dicom import DicomDecoder
from provenance.images.foreign import not_an_image
from provenance.images.frames import HEAD_BYTES, BadInput, Decoder, Frame, Reading, text_of
from provenance.images.raster import RasterDecoder
from provenance.vocabulary import IMAGE_ID_PREFIX, RejectReason

if TYPE_CHECKING:
    from collections.abc import Iterator

DECODERS: tuple[Decoder, ...] = (DicomDecoder(), RasterDecoder())
DEFAULT_READING = Reading()


def frames_of(data: bytes, name: str = "", reading: Reading = DEFAULT_READING) -> Iterator[Frame]:
    """The frames of a file that are asked for, one after another; at least one. Its ``name`` may tell its format.

    Raises:
        BadInput: If the bytes are no image that is read here; frames before the damage have been given out.
    """
    if not data:
        raise BadInput(RejectReason.EMPTY, "the file is empty")
    decoder = _decoder_of(data, name)
    file_id = file_id_of(data)
    by, frame = f"{decoder.name} {decoder.version}", None
    try:
        for picture in decoder.frames(data, reading):
            image_id = file_id if picture.number is None else f"{file_id}#{picture.number}"
            frame = Frame(image_id, picture, len(data), by)
            yield frame
    except (BadInput, MemoryError):
        raise
    except Exception as error:  # what its library makes of damaged bytes
        raise BadInput(RejectReason.BROKEN, f"{decoder.name}: {text_of(error)}") from error
    if frame is None:
        raise BadInput(RejectReason.BROKEN, f"{decoder.name}: it holds no frame")


def file_id_of(data: bytes) -> str:
    """The id of a file's bytes; ``#N`` behind it is that of one of its several frames."""
    return IMAGE_ID_PREFIX + hashlib.sha256(data).hexdigest()


def is_claimed(name: str) -> bool:
    """Whether a decoder asks for files of this name, whatever they would be taken for otherwise."""
    return any(name.lower().endswith(decoder.suffixes) for decoder in DECODERS)


def _decoder_of(data: bytes, name: str) -> Decoder:
    head = data[:HEAD_BYTES]
    decoder = next((each for each in DECODERS if each.takes(head, name)), None)
    if decoder is None:
        raise not_an_image(head, len(data), data[-HEAD_BYTES:])
    if lack := decoder.lacks():
        raise BadInput(RejectReason.UNSUPPORTED, lack)
    return decoder
