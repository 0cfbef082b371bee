"""What a file is that no decoder here reads, told by its content, and what to do about it."""

from __future__ import annotations

import struct
import zlib

from provenance.images.frames import BadInput, NotAnImage
from provenance.vocabulary import RejectReason

_NOT_AN_IMAGE = ", not an image"
_CONVERT = "convert it to PNG or TIFF first"
_SLICES = "convert its slices to 16-bit PNG or TIFF first"
_SIGNATURES = {
    b"%PDF": "a PDF document, not an image",
    b"%!PS": "a PostScript document, not an image",
    b"PK\x03\x04": "a zip archive, not an image",
    b"7z\xbc\xaf": "a 7z archive, not an image",
    b"Rar!": "a RAR archive, not an image",
    b"\x28\xb5\x2f\xfd": "zstd-compressed, not an image",
    b"\x93NUMPY": "a NumPy array, not an image",
    b"\x89HDF": "an HDF5 file, not an image",
    b"8BPS": f"a Photoshop document: {_CONVERT}",
    b"\0\0\1\0": "an icon, not an image",
    b"NRRD": f"an NRRD volume: {_SLICES}",
    b"ObjectType = Image": f"a MetaImage volume: {_SLICES}",
    b"SQLite format 3": "a database, not an image",
    b"\xff\x0a": f"JPEG XL is not read here: {_CONVERT}",
    b"\0\0\0\x0cJXL \r\n\x87\n": f"JPEG XL is not read here: {_CONVERT}",
    b"\x76\x2f\x31\x01": f"OpenEXR is not read here: {_CONVERT}",
    b"#?RADIANCE": f"Radiance HDR is not read here: {_CONVERT}",
    b"qoif": f"QOI is not read here: {_CONVERT}",
    b"DDS ": f"a DirectDraw surface is not read here: {_CONVERT}",
    b"\x01\xda": f"SGI is not read here: {_CONVERT}",
    b"\x59\xa6\x6a\x95": f"a Sun raster is not read here: {_CONVERT}",
    b"FORM": f"an IFF image is not read here: {_CONVERT}",
    b"II\xbc\x01": f"JPEG XR is not read here: {_CONVERT}",
    b"BPG\xfb": f"BPG is not read here: {_CONVERT}",
}
# ISO 14496-12 "ftyp" brands: what is in a file of the family.
_BRANDS = {
    b"avif": f"AVIF is not read here: {_CONVERT}",
    b"avis": f"AVIF is not read here: {_CONVERT}",
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif"),
        f"HEIC is not read here: {_CONVERT} (heif-convert of libheif does)",
    ),
}
_NIFTI = f"a NIfTI volume is not read here: {_SLICES} (nibabel and Pillow do)"
_TGA_DEPTHS = {1: (8, 15, 16, 24, 32), 2: (15, 16, 24, 32), 3: (8, 16)}


def not_an_image(head: bytes, size_bytes: int, tail: bytes = b"") -> BadInput:
    """What to call a file with these first bytes (``HEAD_BYTES``), this size and these last ones."""
    told = _kind_of(head, size_bytes, tail)
    if told is None and head.startswith(b"\x1f\x8b"):
        inside = _unzipped(head)
        told = _NIFTI if _is_nifti(inside) else "gzip-compressed, not an image"
    if told is not None:
        return (NotAnImage if told.endswith(_NOT_AN_IMAGE) else BadInput)(RejectReason.UNSUPPORTED, told)
    text = head.decode("utf-8-sig", "ignore")
    if text and all(character.isprintable() or character.isspace() for character in text) and b"\0" not in head:
        kind = "HTML or XML" if text.lstrip().startswith("<") else "text"
        return NotAnImage(RejectReason.UNSUPPORTED, f"{kind}{_NOT_AN_IMAGE}")
    return NotAnImage(RejectReason.BROKEN, "its first bytes are of no image format that is read here")


def _kind_of(head: bytes, size_bytes: int, tail: bytes) -> str | None:
    if _is_nifti(head):
        return _NIFTI
    if head[4:8] == b"ftyp":
        box = head[8 : max(16, int.from_bytes(head[:4]))]
        brands = [box[:4], *(box[at : at + 4] for at in range(8, len(box), 4))]
        known = next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)
        return known or "a video or an image of the MP4 family, not read here"
    signed = next((kind for signature, kind in _SIGNATURES.items() if head.startswith(signature)), None)
    is_tga = tail.endswith(b"TRUEVISION-XFILE.\0") or _is_old_tga(head, size_bytes)
    return signed or (f"TGA is not read here: {_CONVERT}" if is_tga else None)


def _is_nifti(head: bytes) -> bool:
    sizes = {head[:4], head[3::-1]}
    one = struct.pack("<i", 348) in sizes and head[344:348] in (b"n+1\0", b"ni1\0")
    return one or (struct.pack("<i", 540) in sizes and head[4:8] in (b"n+2\0", b"ni2\0"))


def _is_old_tga(head: bytes, size_bytes: int) -> bool:
    """A TGA without its footer has no mark: its header must be sound, and of an uncompressed one the size right."""
    if len(head) < 18:
        return False
    id_bytes, has_map, kind, _, entries, entry_bits, _, _, width, height, depth, flags = struct.unpack(
        "<BBBHHBHHHHBB", head[:18]
    )
    base = kind & 7
    sound = base in _TGA_DEPTHS and depth in _TGA_DEPTHS[base] and kind & ~8 == base and has_map == (base == 1)
    if not (sound and width and height and not flags & 0xC0 and (has_map or not (entries or entry_bits))):
        return False
    pixels_at = 18 + id_bytes + entries * ((entry_bits + 7) // 8)
    return bool(kind & 8) or pixels_at + width * height * ((depth + 7) // 8) <= size_bytes


def _unzipped(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 1024)
    except zlib.error:
        return b""
