"""What an image looks like in 64 bits: close hashes for close looks, whatever the file format, size or small changes.

The hash is ``phash`` of the library imagehash: the canonical image in grey, 32 x 32 pixels, its discrete cosine
transform, the lowest 8 x 8 frequencies, one bit each for being above their median.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from provenance.images.decode import decode
from provenance.images.entries import BadInput, check_size, rejection_of
from provenance.images.prepare import known_item, other_bytes
from provenance.images.source import read_item
from provenance.vocabulary import IMAGE_ID_PREFIX, Rejection, RejectReason

if TYPE_CHECKING:
    from provenance.images.decode import Decoded
    from provenance.images.prepare import PreparationSettings

PERCEPTUAL_HASH = "phash-64-1"
"""Name of the hash with the version of its definition; hashes of two names never meet."""

HASH_BITS = 64


def perceptual_hash(decoded: Decoded) -> str:
    """The hash of canonical pixels, 16 hex digits."""
    import imagehash

    return str(imagehash.phash(decoded.image.convert("L"), hash_size=8, highfreq_factor=4))


def hash_known(source: str, member: str | None, image_id: str, settings: PreparationSettings) -> str | Rejection:
    """The hash of an image that is read again from where it was once found.

    Args:
        source: Absolute path of the file or archive.
        member: Label inside the archive; ``None`` or empty for a plain file.
        image_id: What its bytes must digest to.
        settings: As for ``prepare``; the size plays no part.

    Returns:
        16 hex digits, or a rejection as unreadable if other bytes are found there now.
    """
    item = known_item(source, member)
    if isinstance(item, Rejection):
        return item
    try:
        data = read_item(item, max_file_bytes=settings.max_file_bytes)
        check_size(len(data), settings.max_file_bytes)
        found = IMAGE_ID_PREFIX + hashlib.sha256(data).hexdigest()
        if found != image_id:
            return other_bytes(item, found, image_id)
        return perceptual_hash(decode(data, max_pixels=settings.max_pixels))
    except BadInput as failure:
        return rejection_of(item, failure.reason, failure.detail)
    except MemoryError:
        return rejection_of(item, RejectReason.OVERSIZED, "it does not fit into memory")
