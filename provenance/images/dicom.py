"""The decoder of DICOM, with pydicom: one frame at a time, by the chain of ``dicomgrey``.

What a file is shows in its header, before its pixels: what is no image (reports, plans, directories, segmentations) or
only a plan of where the images lie (localizers) is skipped; what may have a name burned into its pixels is quarantined
(``Reading.burned_in``). One library decodes each transfer syntax, whatever else is installed, so that everybody has
the same pixels: GDCM JPEG and JPEG-LS, OpenJPEG JPEG 2000, pydicom the rest.
"""

from __future__ import annotations

import logging
import struct
import warnings
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from provenance.images import dicom12
from provenance.images.damage import damage_of_jpeg
from provenance.images.dicomgrey import shown
from provenance.images.dicomheader import DEFLATED, UNCOMPRESSED, header_of, is_dicom, without_values
from provenance.images.dicomrecord import kept
from provenance.images.frames import HEAD_BYTES, BadInput, Decoder, Picture
from provenance.vocabulary import Pages, RejectReason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from pydicom.dataset import Dataset

    from provenance.images.dicomheader import Header
    from provenance.images.frames import Reading
    from provenance.vocabulary import ImageHeader

    Values = np.ndarray[Any, Any]

NO_IMAGE = "DICOM without an image: "
"""How the detail of what is skipped begins; its kind follows."""
LEFT_OUT = "a slice that --slices leaves out"
_INSTALL = "pip install 'provenance-audit[dicom]'"
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_SEGMENTATIONS = (f"{_STORAGE}66.4", f"{_STORAGE}66.7")
_ULTRASOUND = (f"{_STORAGE}6.", f"{_STORAGE}3.1")
_SECONDARY = f"{_STORAGE}7."
_CODECS = {
    "gdcm": "python-gdcm",
    "gdcm 12 bits": "python-gdcm",
    "pylibjpeg": "pylibjpeg-openjpeg",
    "pydicom": "pydicom",
}
_JPEG = "1.2.840.10008.1.2.4."
_PLUGINS = {
    **dict.fromkeys((f"{_JPEG}{each}" for each in (50, 57, 70, 80, 81)), "gdcm"),
    f"{_JPEG}51": "gdcm 12 bits",
    **dict.fromkeys((f"{_JPEG}{each}" for each in (90, 91, 201, 202, 203)), "pylibjpeg"),
    "1.2.840.10008.1.2.5": "pydicom",
}
_J2K = tuple(syntax for syntax, plugin in _PLUGINS.items() if plugin == "pylibjpeg")
_LOSSY_JPEG = (f"{_JPEG}50", f"{_JPEG}51")
_RLE = "1.2.840.10008.1.2.5"
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


class DicomDecoder(Decoder):
    """What pydicom and its codecs decode; a damaged frame ends the file, and those before it are given out."""

    name = "dicom"
    version = "1"

    def takes(self, head: bytes, name: str) -> bool:
        """Whether it bears DICOM's mark, or begins as a data set without a preamble does."""
        return is_dicom(head)

    def lacks(self) -> str:
        """pydicom, where it is not installed."""
        return "" if find_spec("pydicom") else f"DICOM needs pydicom: {_INSTALL}"

    def frames(self, data: bytes, reading: Reading) -> Iterator[Picture]:
        """Every frame, unless one or the first alone is asked for."""
        try:
            with _quiet():
                file = _File(header_of(data), reading)
            for place, (number, values, properties) in enumerate(file.decoded()):
                yield file.picture(number, values, properties, is_first=not place)
        except (BadInput, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - a value of another kind than its element has; its words are not repeated
            raise BadInput(RejectReason.BROKEN, f"DICOM: it can't be read ({type(error).__name__})") from None


class _Chosen(NamedTuple):
    """Frames by place, from 0; whether numbers tell them apart; and how many are left out."""

    places: Sequence[int]
    are_several: bool
    left_out: int = 0


class _File:
    """A file whose header says that it may be decoded."""

    def __init__(self, header: Header, reading: Reading) -> None:
        from pydicom.pixels.utils import as_pixel_options

        self._header, self._reading = header, reading
        self._elements = header.elements
        if not reading.is_on_record:
            _refuse(header, reading)
        if header.pixels is None:
            raise _without_pixels(self._elements)
        try:
            self._options = as_pixel_options(self._elements)
            self._check_size()
        except BadInput:
            raise
        except Exception as error:  # noqa: BLE001 - pydicom raises whatever a wrong value brings
            detail = f"DICOM: its header does not say what its pixels are ({type(error).__name__})"
            raise BadInput(RejectReason.BROKEN, detail) from None
        self._plugin = self._codec()
        self._chosen = self._frames()

    @property
    def frame_count(self) -> int:
        """As its header says."""
        return int(self._options["number_of_frames"])

    def _check_size(self) -> None:
        rows, columns, most = self._options["rows"], self._options["columns"], self._reading.max_pixels
        if rows * columns > most:
            raise BadInput(RejectReason.OVERSIZED, f"{columns} x {rows} pixels, where the limit is {most} pixels")
        if not rows * columns:
            raise BadInput(RejectReason.BROKEN, "DICOM: it has no rows or columns")

    def _codec(self) -> str:
        """The plugin of the transfer syntax; '': none is needed."""
        from pydicom._uid_dict import UID_dictionary
        from pydicom.uid import UID

        syntax = UID(self._header.syntax)
        if syntax in (*UNCOMPRESSED, DEFLATED):
            return ""
        plugin = _PLUGINS.get(syntax)
        if plugin is None:
            name = syntax.name if syntax in UID_dictionary else "its transfer syntax"
            raise BadInput(RejectReason.UNSUPPORTED, f"DICOM: {name} is not read here")
        if find_spec({"pylibjpeg": "openjpeg", "pydicom": "pydicom"}.get(plugin, "gdcm")) is None:
            raise BadInput(RejectReason.UNSUPPORTED, f"DICOM in {syntax.name} needs {_CODECS[plugin]}: {_INSTALL}")
        return plugin

    def _frames(self) -> _Chosen:
        number, reading = self._options["number_of_frames"], self._reading
        if reading.page is not None:
            if not 1 <= reading.page <= number:
                raise BadInput(RejectReason.UNREADABLE, f"it has no page {reading.page}")
            return _Chosen((reading.page - 1,), are_several=True)
        first = Pages.FIRST if reading.canonical.version == 1 else reading.pages
        if number == 1 or first is Pages.FIRST:
            return _Chosen((0,), are_several=False, left_out=number - 1)
        return _Chosen(range(number), are_several=True)

    def decoded(self) -> Iterator[tuple[int, Values, dict[str, Any]]]:
        """Number, values and properties of each frame that is asked for."""
        encoded = self._encoded() if self._plugin else None
        decoding = self._decoding()
        for place in self._chosen.places:
            with _quiet():
                try:
                    if encoded is not None:
                        self._check_frame(next(encoded, b""))
                    values, properties = next(decoding)
                except (BadInput, MemoryError):
                    raise
                except StopIteration:
                    raise self._damage(place, "it is not there", RejectReason.TRUNCATED) from None
                except Exception as error:  # noqa: BLE001 - each codec raises its own
                    reason = RejectReason.TRUNCATED if "less than expected" in str(error) else RejectReason.BROKEN
                    raise self._damage(place, self._in_words(error), reason) from None
            yield place + 1, values, properties

    def _in_words(self, error: Exception) -> str:
        """What pydicom says, unless it is that its one plugin failed: what that said is of its own code."""
        if "all available plugins" in str(error):
            return f"{_CODECS[self._plugin]} can't decode it"
        return without_values(str(error))[:300]

    def _damage(self, place: int, told: str, reason: RejectReason) -> BadInput:
        number = self._options["number_of_frames"]
        where = f"frame {place + 1} of {number}: " if number > 1 else ""
        return BadInput(reason, f"DICOM: {where}{told}")

    def _decoding(self) -> Iterator[tuple[Values, dict[str, Any]]]:
        from pydicom.pixels.decoders.base import get_decoder
        from pydicom.uid import UID

        syntax = UID(self._header.syntax)
        options = {**self._options, "transfer_syntax_uid": syntax, "pixel_keyword": self._header.keyword}
        options["pixel_vr"] = self._header.representation or "OW"
        wanted = None if len(self._chosen.places) == self._options["number_of_frames"] else self._chosen.places
        decoder = get_decoder(syntax)
        frames: Iterator[tuple[Values, dict[str, Any]]] = decoder.iter_array(
            self._source(), indices=wanted, decoding_plugin=self._plugin, **options
        )
        return frames

    def _source(self) -> Any:
        assert self._header.pixels is not None
        return self._header.pixels.tobytes() if self._plugin else self._header.pixels

    def _encoded(self) -> Iterator[bytes]:
        from pydicom.encaps import generate_frames

        offsets, number = self._options.get("extended_offsets"), self._options["number_of_frames"]
        frames = generate_frames(self._source(), number_of_frames=number, extended_offsets=offsets)
        return islice(frames, self._chosen.places[0], None)

    def _check_frame(self, frame: bytes) -> None:
        """Refuses a frame that would decode to something else than the header announces, or that is damaged."""
        rows, columns = self._options["rows"], self._options["columns"]
        samples, bits = self._options["samples_per_pixel"], self._options["bits_allocated"]
        if self._header.syntax == _RLE:
            if len(frame) > 1024 + 2 * rows * columns * samples * bits // 8:
                raise BadInput(RejectReason.BROKEN, "DICOM: its run lengths hold more than its pixels")
            return
        size = _size_of_j2k(frame) if self._header.syntax in _J2K else _size_of_jpeg(frame)
        if size is None:
            raise BadInput(RejectReason.BROKEN, "DICOM: a frame does not begin as its transfer syntax does")
        if size != (columns, rows):
            told = f"{size[0]} x {size[1]} pixels, where its header says {columns} x {rows}"
            raise BadInput(RejectReason.BROKEN, f"DICOM: a frame has {told}")
        if b"\xff\xd9" not in frame[-64:]:
            raise BadInput(RejectReason.TRUNCATED, "DICOM: a frame ends before its image does")
        is_checked = self._header.syntax in _LOSSY_JPEG and bits == 8 and not self._reading.is_on_record
        if is_checked and (damage := damage_of_jpeg(frame)):
            raise BadInput(RejectReason.BROKEN, f"DICOM: a frame is damaged ({damage})")

    def picture(self, number: int, values: Values, properties: dict[str, Any], *, is_first: bool) -> Picture:
        """What becomes of a decoded frame."""
        with _quiet():
            try:
                pixels, window = shown(values, properties, self._elements, number, self._reading.canonical)
            except (BadInput, MemoryError):
                raise
            except Exception as error:  # noqa: BLE001 - damaged tables, values of another kind
                told = f"what says how to show it can't be read ({type(error).__name__})"
                raise self._damage(number - 1, told, RejectReason.BROKEN) from None
            header = self._kept(number, window)
        bits, sign = (
            self._options.get("bits_stored", 8 * values.dtype.itemsize),
            "s" if values.dtype.kind == "i" else "",
        )
        return Picture(
            pixels,
            "DICOM",
            f"{self._options['photometric_interpretation']};{bits}{sign}",
            number if self._chosen.are_several else None,
            left_out=self._chosen.left_out if is_first else 0,
            header=header,
        )

    def _kept(self, number: int, window: str) -> ImageHeader:
        return kept(self._header, number, window, _decoder_told(self._plugin))


@cache
def _decoder_told(plugin: str) -> str:
    names = dict.fromkeys(("pydicom", _CODECS.get(plugin, "pydicom")))
    return f"dicom {DicomDecoder.version} ({', '.join(f'{each} {metadata.version(each)}' for each in names)})"


def _refuse(header: Header, reading: Reading) -> None:
    """Raises for what is no image to be audited, or not without being asked."""
    elements = header.elements
    kind = str(elements.get("SOPClassUID") or "")
    if kind in _SEGMENTATIONS:
        raise BadInput(RejectReason.SKIPPED, f"{NO_IMAGE}{_class_of(elements)}")
    words = _words(elements.get("ImageType"))
    if "LOCALIZER" in words and header.pixels is not None:
        raise BadInput(RejectReason.SKIPPED, f"{NO_IMAGE}localizer")
    if header.pixels is None or reading.burned_in:
        return
    told = {
        "its header says that its pixels hold annotations": elements.get("BurnedInAnnotation") == "YES",
        "its header says that somebody can be recognised in it": elements.get("RecognizableVisualFeatures") == "YES",
        "a secondary capture, which may hold a name": f"{kind}.".startswith(_SECONDARY),
        "ultrasound, which may hold a name": kind.startswith(_ULTRASOUND) or elements.get("Modality") in ("US", "IVUS"),
    }
    for detail, is_so in told.items():
        if is_so:
            raise BadInput(RejectReason.QUARANTINED, f"DICOM: {detail}: look at it, then --allow-burned-in")


def _without_pixels(elements: Dataset) -> BadInput:
    """What has none: another kind of object, unless it should have some."""
    kind = _class_of(elements)
    if "Rows" in elements or "Image Storage" in kind:
        return BadInput(RejectReason.TRUNCATED, "DICOM: the file ends before its pixels do")
    if not kind:
        return BadInput(RejectReason.BROKEN, "DICOM: it has no pixels, and does not say what it is")
    return BadInput(RejectReason.SKIPPED, f"{NO_IMAGE}{kind}")


def _words(value: Any) -> tuple[str, ...]:
    return (value.upper(),) if isinstance(value, str) else tuple(str(each).upper() for each in value or ())


def _class_of(elements: Dataset) -> str:
    """The kind of the object, in the standard's words alone; '': it is none of the standard."""
    from pydicom._uid_dict import UID_dictionary

    known = UID_dictionary.get(str(elements.get("SOPClassUID") or elements.file_meta.get("MediaStorageSOPClassUID")))
    return known[0] if known else ""


def _size_of_jpeg(frame: bytes) -> tuple[int, int] | None:
    """Columns and rows that a JPEG or JPEG-LS states."""
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 9 <= len(frame) and frame[at] == 0xFF:
        if frame[at + 1] in _FRAME_HEADERS:
            rows, columns = struct.unpack_from(">HH", frame, at + 5)
            return columns, rows
        at += 1 if frame[at + 1] == 0xFF else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _size_of_j2k(frame: bytes) -> tuple[int, int] | None:
    at = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at < 0 or len(frame) < at + 24:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
    return right - left, bottom - top


@contextmanager
def _quiet() -> Iterator[None]:
    """The libraries at work: no words of theirs, which may quote a header, go into a log; the 12-bit codec is known."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    if find_spec("gdcm"):
        dicom12.register()
    with warnings.catch_warnings(action="ignore"):
        yield


class Slice(NamedTuple):
    """Where a file of one image lies in its series.

    Attributes:
        series: As the file names it; never recorded.
        position: mm along the direction across it; ``None``: its header does not say.
        number: That of the instance; 0: none.
    """

    series: str
    position: float | None
    number: int


def slice_of(data: bytes, reading: Reading) -> Slice | None:
    """Where an image lies in its series; ``None``: it is in none, holds several, or is none that would be taken."""
    if not is_dicom(data[:HEAD_BYTES]) or DicomDecoder().lacks():
        return None
    try:
        with _quiet():
            header = header_of(data)
            file = _File(header, reading)
            told = kept(header, 1, "", "")
            number = header.elements.get("InstanceNumber")
    except BadInput:
        return None
    except Exception:  # noqa: BLE001 - it is refused, with its reason, when it is decoded
        return None
    if not told.series or file.frame_count != 1:
        return None
    return Slice(told.series, told.technical.slice_position, number if isinstance(number, int) else 0)
