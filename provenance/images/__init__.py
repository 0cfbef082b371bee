"""Images: from a place on disk to canonical pixels with their digests.

A source (folder, file, list, archive) is opened as an ordered iterable of items; each item is prepared by itself,
in any process, into pixels and facts, or into the rejection that says what was wrong with it.
"""

from provenance.images.decode import PIXEL_DIGEST_VERSION, Decoded, decode, pixel_digest
from provenance.images.entries import BadInput, Source
from provenance.images.looks import HASH_BITS, PERCEPTUAL_HASH, hash_known, perceptual_hash
from provenance.images.prepare import PreparationSettings, Prepared, prepare, prepare_bytes, read_known
from provenance.images.source import items_at, layout_sources, open_source, read_item

__all__ = [
    "HASH_BITS",
    "PERCEPTUAL_HASH",
    "PIXEL_DIGEST_VERSION",
    "BadInput",
    "Decoded",
    "PreparationSettings",
    "Prepared",
    "Source",
    "decode",
    "hash_known",
    "items_at",
    "layout_sources",
    "open_source",
    "perceptual_hash",
    "pixel_digest",
    "prepare",
    "prepare_bytes",
    "read_item",
    "read_known",
]
