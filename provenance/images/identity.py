"""Whether a real image gives a generated one, pixel by pixel, once it has its size, channels and file format.

The real image's canonical pixels are made grey where the generated image is grey, brought to its size by each of
Pillow's filters, mirrored and turned by right angles in each of the eight ways that keep a square and, where the
generated image is a JPEG file, written and read by its own quantisation tables. If one of these differs nowhere by more
than one level from the generated image, the two are the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from provenance.images.frames import rgb_of
from provenance.images.pixels import POSITIONS
from provenance.images.plants import TOLERANCE, ReleaseFormat, jpeg_tables_in, through_format, within
from provenance.images.prepare import Reread, read_again
from provenance.limits import begin_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provenance.images.frames import Pixels
    from provenance.images.prepare import PreparationSettings, RecordedImage
    from provenance.vocabulary import Resolution

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "Hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "Lanczos": Image.Resampling.LANCZOS,
}
COMPRESSED = 32
"""Levels by which writing as JPEG changes an image on average at the most: beyond, it isn't tried."""


@dataclass(frozen=True, slots=True)
class IdentityOrder:
    """A generated image, and the real ones that may be it."""

    generated: RecordedImage
    reals: tuple[RecordedImage, ...]

    @property
    def name(self) -> str:
        """For messages."""
        return self.generated.name

    @property
    def images(self) -> tuple[RecordedImage, ...]:
        """What is read again for it."""
        return self.generated, *self.reals

    def with_images(self, known: Mapping[str, RecordedImage]) -> IdentityOrder:
        """See ``rereading.Order``."""
        return IdentityOrder(known[self.generated.image_id], tuple(known[each.image_id] for each in self.reals))


def identities_of(order: IdentityOrder, *, settings: PreparationSettings) -> dict[str, str]:
    """The real images that give the generated one, by image_id, and how, in words. Runs in a worker process.

    An image that can't be read again is none of them, and so is one without any structure: all of one level.
    """
    generated = read_again(order.generated, settings)
    if not isinstance(generated, Reread) or not np.ptp(generated.frame.pixels):
        return {}
    found = {}
    for recorded in order.reals:
        real = read_again(recorded, settings)
        if isinstance(real, Reread) and (how := same_picture(generated, real)):
            found[recorded.image_id] = how
        begin_step()
    return found


def same_picture(generated: Reread, real: Reread) -> str:
    """How the real image gives the generated one, in words; '': it doesn't."""
    shown = generated.frame.pixels
    grey = shown.ndim == 2 or bool((shown == shown[..., :1]).all())
    form = _form_of(generated, grey=grey)
    wanted = shown if not grey or shown.ndim == 2 else shown[..., 0]
    image = Image.fromarray(real.frame.pixels).convert("L" if grey else "RGB")
    for size_words, sized in _at_size(image, (form.width, form.height)):
        for made, format_words in ((sized, ""), *_written(sized, wanted, form)):
            if _equal(made, wanted):
                return f"the same pixels{size_words}{format_words}"
    return ""


def _at_size(image: Image.Image, size: Resolution) -> Iterator[tuple[str, Pixels]]:
    """The image at a size in each of the eight positions, with what was done in words; by each filter if it is resized.

    As it stands by all filters first: what is symmetric itself was not mirrored.
    """
    of_size = {each: tuple(_resized(image, each)) for each in {size, size[::-1]}}
    for position in POSITIONS:
        for by, sized in of_size[size[::-1] if position.lying else size]:
            yield f"{position.words}{by}", position.of(sized)


def _resized(image: Image.Image, size: Resolution) -> Iterator[tuple[str, Pixels]]:
    if image.size == size:
        yield "", np.asarray(image)
        return
    for name, way in FILTERS.items():
        yield f", brought to {size[0]}x{size[1]} ({name})", np.asarray(image.resize(size, way))


def _written(sized: Pixels, wanted: Pixels, form: ReleaseFormat) -> Iterator[tuple[Pixels, str]]:
    if form.file_format == "JPEG" and abs(sized.astype(np.int16) - wanted).mean() <= COMPRESSED:
        yield through_format(sized, form), ", written as JPEG"


def _equal(made: Pixels, wanted: Pixels) -> bool:
    made, wanted = (made, wanted) if made.ndim == wanted.ndim else (rgb_of(made), rgb_of(wanted))
    return within(made, wanted, TOLERANCE)


def _form_of(generated: Reread, *, grey: bool) -> ReleaseFormat:
    height, width = generated.frame.pixels.shape[:2]
    return ReleaseFormat(width, height, grey, generated.frame.picture.file_format, *jpeg_tables_in(generated.data))
