"""Images: from a place on disk to canonical pixels with their digests.

A source (folder, file, list, archive) is opened as an ordered iterable of items; each item is prepared by itself,
in any process, into pixels and facts, or into the rejection that says what was wrong with it.
"""

from provenance.images.dicom import LEFT_OUT, NO_IMAGE, Slice
from provenance.images.entries import rejection_of
from provenance.images.identity import IdentityOrder, identities_of
from provenance.images.pixels import (
    HASH_BITS,
    PERCEPTUAL_HASH,
    POSITIONS,
    TURNED,
    perceptual_hash,
    png_bytes,
    turned_hashes,
)
from provenance.images.plants import (
    DEFAULT_KINDS,
    PlantKind,
    PlantOrder,
    Plants,
    ReleaseFormat,
    jpeg_tables_of,
    kinds_named,
    plants_of,
)
from provenance.images.prepare import (
    OTHER_BYTES,
    Outcome,
    PreparationSettings,
    Prepared,
    RecordedImage,
    Reread,
    prepare,
    prepare_frames,
    read_again,
    reading_again,
    slice_at,
)
from provenance.images.rereading import in_reading_order, supplied
from provenance.images.source import items_at, layout_of, open_source

__all__ = [
    "DEFAULT_KINDS",
    "HASH_BITS",
    "LEFT_OUT",
    "NO_IMAGE",
    "OTHER_BYTES",
    "PERCEPTUAL_HASH",
    "POSITIONS",
    "TURNED",
    "IdentityOrder",
    "Outcome",
    "PlantKind",
    "PlantOrder",
    "Plants",
    "PreparationSettings",
    "Prepared",
    "RecordedImage",
    "ReleaseFormat",
    "Reread",
    "Slice",
    "identities_of",
    "in_reading_order",
    "items_at",
    "jpeg_tables_of",
    "kinds_named",
    "layout_of",
    "open_source",
    "perceptual_hash",
    "plants_of",
    "png_bytes",
    "prepare",
    "prepare_frames",
    "read_again",
    "reading_again",
    "rejection_of",
    "slice_at",
    "supplied",
    "turned_hashes",
]
