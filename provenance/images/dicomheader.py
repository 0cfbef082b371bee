"""The header of a DICOM file: walked before anything is made of it, and read only where it says something of pixels.

A walk over the elements (PS3.5 7) finds the pixels and holds the header to bounds of size, number and depth: no value
is copied, and sequences that nobody asks for are passed over. pydicom then parses the few elements that are wanted.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.images.frames import BadInput
from provenance.vocabulary import RejectReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

MOST_ELEMENTS = 400_000
"""Elements and items that are looked at: 0.4 s. Ten thousand frames that each say where they are have 300,000."""
MOST_ELEMENTS_OF_A_DIRECTORY = 4_000_000
"""Of a DICOMDIR: some 200,000 files."""
MOST_DEPTH = 16
_LEAST_INFLATED, _TIMES_INFLATED = 64 * 1024**2, 32
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SEQUENCE_LIKE = (b"SQ", b"UN")
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_REPRESENTATIONS = _LONG | frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_PIXELS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_SYNTAX = 0x00020010
_KIND = 0x00020002
_RECORDS, _FILE_ID = 0x00041220, 0x00041500
UNCOMPRESSED = _IMPLICIT, _EXPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
_PROGRAMS = {
    b"MZ": "a program for Windows",
    b"\x7fELF": "a program for Linux",
    **dict.fromkeys(
        (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"), "a program for macOS"
    ),
    b"\xca\xfe\xba\xbe": "a program for macOS or Java",
    b"dex\n": "a program for Android",
    b"\0asm": "a program for browsers",
    b"#!": "a script",
    b"PK": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"MSCF": "a cabinet archive",
    b"!<arch>": "an archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"%PDF": "a PDF document",
    b"%!": "a PostScript program",
    b"<": "a web page",
}
_UNWANTED = re.compile(r"'[^']*'|\"[^\"]*\"|b'[^']*'")
# What the elements of group 0028 do not say of pixels and how they are to be shown.
_WANTED_KEYWORDS = [
    "SOPClassUID",
    "Modality",
    "ImageType",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ConversionType",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
]
_IMAGE_GROUP = 0x0028


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What is known of a file before its pixels are decoded.

    Attributes:
        elements: Those that are wanted, parsed; ``file_meta`` names the transfer syntax.
        syntax: Its UID.
        pixels: The value that holds them, encapsulated or not; ``None``: the file has none.
        keyword: The element's name; ``''``: none.
        representation: Its VR as it is written; ``''``: implicit.
    """

    elements: Dataset
    syntax: str
    pixels: memoryview | None
    keyword: str
    representation: str


def is_dicom(head: bytes) -> bool:
    """With its mark, or without the preamble: two elements one after another, the first of group 2 or 8."""
    return head[128:132] == b"DICM" or any(_begins_with_elements(head, order) for order in "<>")


def _begins_with_elements(head: bytes, order: str) -> bool:
    at, before = 0, 0
    for groups in ((2, 8), (2, 8, 0x10, 0x18, 0x20, 0x28)):
        if len(head) < at + 12:
            return False
        group, number, length = struct.unpack_from(order + "HHI", head, at)
        kind, value = head[at + 4 : at + 6], at + 8
        if kind in _LONG:
            (length,), value = struct.unpack_from(order + "I", head, at + 8), at + 12
        elif kind in _REPRESENTATIONS:
            (length,) = struct.unpack_from(order + "H", head, at + 6)
        is_odd = length % 2 and length != _UNDEFINED
        if group not in groups or not before <= (group << 16 | number) or is_odd:
            return False
        at, before = value + length, (group << 16 | number) + 1
    return True


def header_of(data: bytes) -> Header:
    """The header of a file that is DICOM.

    Raises:
        BadInput: If its preamble is a program or an archive, or its header is damaged or beyond the bounds.
    """
    start = 0
    if data[128:132] == b"DICM":
        told = next((kind for mark, kind in _PROGRAMS.items() if data.startswith(mark)), None)
        if told is not None:
            raise BadInput(RejectReason.UNSUPPORTED, f"DICOM: its preamble makes it {told} as well: refused")
        start = 132
    with warnings.catch_warnings(action="ignore"):
        try:
            return _read(data, start)
        except (struct.error, IndexError, EOFError) as error:
            raise BadInput(RejectReason.TRUNCATED, "DICOM: the file ends before its header does") from error
        except (BadInput, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - pydicom's words quote values, which may name somebody
            detail = f"DICOM: its header can't be read ({type(error).__name__})"
            raise BadInput(RejectReason.BROKEN, detail) from None


def file_ids_of(data: bytes) -> Iterator[str]:
    """The files that a DICOMDIR names, as it writes them: parts with backslashes between (PS3.3 F.3.2.2).

    Raises:
        BadInput: If it is damaged or has too many elements; ``struct.error`` where it ends early.
    """
    _, at = _meta_of(data, 132)
    walk = _Walk(data, "<", MOST_ELEMENTS_OF_A_DIRECTORY)
    is_implicit = walk.is_implicit(at)
    while at + 8 <= len(data):
        element = walk.element(at, is_implicit=is_implicit)
        if element.tag == _RECORDS:
            yield from walk.values_in(element, _FILE_ID, is_implicit=is_implicit)
            return
        at = walk.behind(element, is_implicit=is_implicit)


def without_values(text: str) -> str:
    """A library's message without what it quotes of the file."""
    return _UNWANTED.sub("'...'", text.replace("\n", " "))


def _read(data: bytes, start: int) -> Header:
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    meta, at = _meta_of(data, start)
    if at + 8 > len(data):
        raise BadInput(RejectReason.TRUNCATED, "DICOM: the file ends before its header does")
    syntax = meta.get(_SYNTAX, "")
    if syntax == DEFLATED:
        data, at = _inflated(data[at:]), 0
    order = ">" if syntax == _BIG or (not syntax and data[at : at + 1] == b"\0") else "<"
    walk = _Walk(data, order)
    is_implicit = walk.is_implicit(at)
    syntax = syntax or {(">", False): _BIG, ("<", True): _IMPLICIT}.get((order, is_implicit), _EXPLICIT)
    found = walk.to_pixels(at, is_implicit)
    file = io.BytesIO(data)
    file.seek(at)
    stop = None if found is None else (lambda tag, _vr, _length: tag in _PIXELS)
    elements = read_dataset(
        file, is_implicit, order == "<", stop_when=stop, specific_tags=[*_wanted_tags(), *walk.image_tags]
    )
    elements.file_meta = FileMetaDataset()
    elements.file_meta.TransferSyntaxUID = UID(syntax)
    elements.file_meta.MediaStorageSOPClassUID = UID(meta.get(_KIND, ""))
    if found is None:
        return Header(elements, syntax, None, "", "")
    return Header(elements, syntax, memoryview(data)[found.at : found.end], _PIXELS[found.tag], found.representation)


def _wanted_tags() -> list[int]:
    from pydicom.datadict import tag_for_keyword

    return [tag for keyword in _WANTED_KEYWORDS if (tag := tag_for_keyword(keyword)) is not None]


def _meta_of(data: bytes, at: int) -> tuple[dict[int, str], int]:
    """What the file meta information says of kind and transfer syntax, by tag, and where the data set begins."""
    told: dict[int, str] = {}
    walk = _Walk(data, "<")
    while data[at : at + 2] == b"\x02\0":
        element = walk.element(at, is_implicit=data[at + 4 : at + 6] not in _REPRESENTATIONS)
        if element.end is None or element.end > len(data):
            raise BadInput(RejectReason.TRUNCATED, "DICOM: the file ends before its header does")
        if element.tag in (_KIND, _SYNTAX):
            told[element.tag] = data[element.at : element.end].rstrip(b"\0 ").decode("ascii", "replace")
        at = element.end
    return told, at


def _inflated(deflated: bytes) -> bytes:
    """The data set of a deflated file: no more of it than an image has that is worth deflating."""
    most = max(_LEAST_INFLATED, _TIMES_INFLATED * len(deflated))
    inflater = zlib.decompressobj(wbits=-15)
    try:
        data = inflater.decompress(deflated, most)
    except zlib.error as error:
        raise BadInput(RejectReason.BROKEN, "DICOM: its deflated data are damaged") from error
    if inflater.unconsumed_tail:
        raise BadInput(RejectReason.OVERSIZED, f"DICOM: it inflates to more than {most >> 20} MiB")
    if not inflater.eof:
        raise BadInput(RejectReason.TRUNCATED, "DICOM: its deflated data are cut off")
    return data


@dataclass(frozen=True, slots=True)
class _Element:
    """One element: where its value begins and ends; ``end`` is ``None`` where only a delimiter tells."""

    tag: int
    representation: str
    at: int
    end: int | None


class _Walk:
    """Goes over the elements of a data set and copies none of them."""

    def __init__(self, data: bytes, order: str, most: int = MOST_ELEMENTS) -> None:
        self._data = data
        self._tag = struct.Struct(order + "HH")
        self._short, self._long = struct.Struct(order + "H"), struct.Struct(order + "I")
        self._left = self._most = most
        self.image_tags: list[int] = []

    def element(self, at: int, *, is_implicit: bool) -> _Element:
        """The element that begins here; ``struct.error`` where the data end before."""
        self._left -= 1
        if self._left < 0:
            detail = f"DICOM: its header has more than {self._most:,} elements"
            raise BadInput(RejectReason.OVERSIZED, detail)
        group, number = self._tag.unpack_from(self._data, at)
        tag, kind, value = group << 16 | number, b"", at + 8
        if is_implicit or group == 0xFFFE:
            (length,) = self._long.unpack_from(self._data, at + 4)
        else:
            kind = self._data[at + 4 : at + 6]
            if kind in _LONG:
                (length,), value = self._long.unpack_from(self._data, at + 8), at + 12
            elif kind in _REPRESENTATIONS:
                (length,) = self._short.unpack_from(self._data, at + 6)
            elif not kind.isalpha():  # an element of a data set without VR: as pydicom takes it
                (length,), kind = self._long.unpack_from(self._data, at + 4), b""
            else:
                (length,) = self._short.unpack_from(self._data, at + 6)
        end = None if length == _UNDEFINED else value + length
        return _Element(tag, kind.decode("ascii", "replace"), value, end)

    def is_implicit(self, at: int) -> bool:
        """Whether the element here has no VR."""
        return self._data[at + 4 : at + 6] not in _REPRESENTATIONS

    def to_pixels(self, at: int, is_implicit: bool) -> _Element | None:
        """The element of the pixels, with its end; ``None``: there is none."""
        size = len(self._data)
        while at + 8 <= size:
            element = self.element(at, is_implicit=is_implicit)
            if element.tag in _PIXELS:
                return self._whole(element)
            if element.tag >> 16 == _IMAGE_GROUP:
                self.image_tags.append(element.tag)
            if element.end is not None and element.end > size:
                raise BadInput(RejectReason.TRUNCATED, "DICOM: the file ends before its header does")
            at = self._behind(element, 1, is_implicit=is_implicit)
        return None

    def behind(self, element: _Element, *, is_implicit: bool) -> int:
        """Where the next element of the data set begins."""
        return self._behind(element, 1, is_implicit=is_implicit)

    def values_in(self, sequence: _Element, wanted: int, *, is_implicit: bool) -> Iterator[str]:
        """The texts of one element of each of a sequence's items."""
        at, end = sequence.at, sequence.end if sequence.end is not None else len(self._data)
        while at < end:
            item = self.element(at, is_implicit=True)
            if item.tag != _ITEM:
                return
            at, item_end = item.at, item.end if item.end is not None else end
            while at < item_end:
                element = self.element(at, is_implicit=is_implicit)
                if element.tag == _ITEM_END:
                    at = element.at
                    break
                if element.tag == wanted and element.end is not None:
                    yield self._data[element.at : element.end].decode("latin-1").rstrip("\0 ")
                at = self.behind(element, is_implicit=is_implicit)

    def _whole(self, element: _Element) -> _Element:
        if element.end is not None:
            if element.end > len(self._data):
                raise BadInput(RejectReason.TRUNCATED, "DICOM: the file ends before its pixels do")
            return element
        try:
            end = self._behind(element, 1, is_implicit=False)
        except struct.error as error:
            raise BadInput(RejectReason.TRUNCATED, "DICOM: the file ends before its pixels do") from error
        return _Element(element.tag, element.representation, element.at, end)

    def _behind(self, element: _Element, depth: int, *, is_implicit: bool) -> int:
        """Where the next element begins; what is in a sequence is looked at where pydicom will parse it."""
        is_parsed = element.representation in ("SQ", "") and _holds_values(element.tag)
        if element.end is not None and not (is_parsed and self._begins_item(element)):
            return element.end
        if depth > MOST_DEPTH:
            raise BadInput(RejectReason.OVERSIZED, f"DICOM: sequences in sequences, more than {MOST_DEPTH} deep")
        at, end = element.at, element.end
        while end is None or at < end:
            item = self.element(at, is_implicit=True)
            if item.tag == _SEQUENCE_END:
                return item.at
            if item.tag != _ITEM:
                raise BadInput(RejectReason.BROKEN, "DICOM: a sequence holds what is no item")
            at = self._behind_item(item, depth, is_parsed=is_parsed, is_implicit=is_implicit)
        return end

    def _behind_item(self, item: _Element, depth: int, *, is_parsed: bool, is_implicit: bool) -> int:
        if item.end is not None and not is_parsed:
            if item.end > len(self._data):
                raise struct.error("an item ends behind the file")
            return item.end
        at = item.at
        implicit = is_implicit or self.is_implicit(at)
        while item.end is None or at < item.end:
            element = self.element(at, is_implicit=implicit)
            if element.tag == _ITEM_END:
                return element.at
            at = self._behind(element, depth + 1, is_implicit=implicit)
        return item.end

    def _begins_item(self, element: _Element) -> bool:
        return self._tag.unpack_from(self._data, element.at) == (_ITEM >> 16, _ITEM & 0xFFFF)


def _holds_values(tag: int) -> bool:
    """Whether the values in a sequence may be wanted: of LUTs, of functional groups and what is in these."""
    return tag >> 16 in (_IMAGE_GROUP, 0x5200, 0x0020, 0x0018)
