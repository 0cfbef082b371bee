"""What an image looks like in 64 bits: close hashes for close looks, whatever the file format, size or small changes.

The hash is ``phash`` of the library imagehash: the canonical image in grey, 32 x 32 pixels, its discrete cosine
transform, the lowest 8 x 8 frequencies, one bit each for being above their median.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.images.prepare import decode_known
from provenance.vocabulary import Rejection

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
    decoded = decode_known(source, member, image_id, settings)
    return decoded if isinstance(decoded, Rejection) else perceptual_hash(decoded)
