"""Images: from a place on disk to canonical pixels with their digests.

A source (folder, file, list, archive) is opened as an ordered iterable of items; each item is prepared by itself,
in any process, into pixels and facts, or into the rejection that says what was wrong with it.
"""

from provenance.images.decode import PIXEL_DIGEST_VERSION, Decoded, decode, pixel_digest
from provenance.images.entries import BadInput, Source
from provenance.images.perceptual import HASH_BITS, PERCEPTUAL_HASH, hash_known, perceptual_hash
from provenance.images.plants import (
    DEFAULT_KINDS,
    PlantKind,
    PlantOrder,
    Plants,
    RecordedImage,
    ReleaseFormat,
    jpeg_tables_of,
    kinds_named,
    plants_of,
)
from provenance.images.prepare import PreparationSettings, Prepared, prepare, prepare_bytes, read_known
from provenance.images.source import items_at, layout_sources, open_source, read_item

__all__ = [
    "DEFAULT_KINDS",
    "HASH_BITS",
    "PERCEPTUAL_HASH",
    "PIXEL_DIGEST_VERSION",
    "BadInput",
    "Decoded",
    "PlantKind",
    "PlantOrder",
    "Plants",
    "PreparationSettings",
    "Prepared",
    "RecordedImage",
    "ReleaseFormat",
    "Source",
    "decode",
    "hash_known",
    "items_at",
    "jpeg_tables_of",
    "kinds_named",
    "layout_sources",
    "open_source",
    "perceptual_hash",
    "pixel_digest",
    "plants_of",
    "prepare",
    "prepare_bytes",
    "read_item",
    "read_known",
]
