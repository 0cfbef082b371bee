"""Known copies of an image: what an audit's sensitivity is measured with. Each kind is a function of pixels alone.

A plant is made as a generator would have given it away: the original is brought to the release's size (Pillow's
antialiased bilinear filter on canonical 8-bit pixels) and to grey where the release is grey, then altered, then written
and read in the release's file format. All strengths are therefore in the release's own pixels and grey levels.

    exact        nothing more
    jpeg Q       written as baseline JPEG of quality Q and read again
    resize F     to F times width and height, and back (bilinear, antialiased)
    crop F       the middle F of width and height, brought back to full size (bilinear)
    flip         left and right exchanged
    rotate D     turned D degrees counter-clockwise about the middle (bilinear), corners black
    blur S       Gaussian, sigma S pixels (Pillow's three box blurs)
    noise S      plus normal noise of standard deviation S grey levels, every pixel and channel by itself
    gamma G      255 (v / 255)^G
    contrast F   F (v - 128) + 128
    shift F      moved right and down by F of width and height (whole pixels), what is uncovered black
    blend W      W v + (1 - W) g with g a generated image of the release

Results are rounded half to even and cut to 0..255. Noise comes from the generator of random numbers that is given.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageFilter, JpegImagePlugin

from provenance.errors import UsageError
from provenance.images.pixels import POSITIONS, encoded, jpeg_bytes, resized
from provenance.images.prepare import RecordedImage, Reread, read_again
from provenance.vocabulary import Rejection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from provenance.images.frames import Pixels
    from provenance.images.prepare import PreparationSettings

TOLERANCE = 1
"""Levels by which two roundings of one value may differ."""

UNKNOWN_QUALITY = 90
"""JPEG quality where the release's own quantisation tables can't be read."""

_BILINEAR = Image.Resampling.BILINEAR


@dataclass(frozen=True, slots=True, order=True)
class PlantKind:
    """One way to alter a copy: ``name`` and ``strength`` as in the module; 0 for kinds without one."""

    name: str
    strength: float = 0.0

    def __str__(self) -> str:
        return f"{self.name}:{self.strength:g}" if self.strength else self.name


def kinds_named(names: Sequence[str]) -> tuple[PlantKind, ...]:
    """Kinds from words such as ``exact``, ``blend`` (all default strengths) or ``blend:0.6``; the order is kept.

    Raises:
        UsageError: If a kind is unknown, or a strength missing, out of range or not a number.
    """
    found: dict[PlantKind, None] = {}
    for word in (part.strip() for name in names for part in name.split(",") if part.strip()):
        name, _, strength = word.partition(":")
        if name not in _KINDS:
            raise UsageError(f"there is no kind of plant {name!r}", hint=f"there are {', '.join(_KINDS)}")
        chosen = [_kind(name, strength)] if strength else [kind for kind in DEFAULT_KINDS if kind.name == name]
        found |= dict.fromkeys(chosen)
    if not found:
        raise UsageError("no kind of plant was named", hint=f"there are {', '.join(_KINDS)}")
    return tuple(found)


def _kind(name: str, strength: str) -> PlantKind:
    limits = _KINDS[name].limits
    if limits is None:
        raise UsageError(f"plants of the kind {name} have no strength", hint=f"write {name}")
    try:
        value = float(strength)
    except ValueError:
        value = float("nan")
    if not limits[0] <= value <= limits[1] or (name == "jpeg" and value != int(value)):
        raise UsageError(
            f"{name}:{strength} is no strength of this kind", hint=f"a number from {limits[0]:g} to {limits[1]:g}"
        )
    return PlantKind(name, value)


@dataclass(frozen=True, slots=True)
class ReleaseFormat:
    """How a release's images are stored: what every plant goes through.

    Attributes:
        width: In pixels.
        height: In pixels.
        grey: Whether they have one channel.
        file_format: Pillow's name; JPEG alone changes pixels here, every other format is taken as lossless.
        tables: Quantisation tables of its JPEG files, as Pillow gives them; empty: not known.
        subsampling: Of its JPEG files, as Pillow gives it.
    """

    width: int
    height: int
    grey: bool
    file_format: str
    tables: tuple[tuple[int, ...], ...] = ()
    subsampling: int = -1

    @property
    def words(self) -> str:
        """Size, channels and file format with what is known of its quality."""
        compressed = self.file_format
        if self.file_format == "JPEG":
            quality = jpeg_quality(self.tables)
            known = "the release's own tables" if quality is None else f"the release's quality {quality}"
            compressed += f" of {known}" if self.tables else f" of quality {UNKNOWN_QUALITY} (the release's is unknown)"
        elif self.file_format not in ("PNG", "TIFF", "BMP", "GIF", "PPM"):
            compressed += " taken as lossless"
        return f"{self.width}x{self.height} pixels, {'grey' if self.grey else 'RGB'}, {compressed}"


def altered(pixels: Pixels, kind: PlantKind, rng: Generator, partner: Pixels | None = None) -> Pixels:
    """A copy of an image, altered by one kind as the module says; ``partner`` is the other image of a blend.

    Raises:
        UsageError: If the kind is unknown, or a blend has no partner of its shape.
    """
    if kind.name == "blend":
        if partner is None or partner.shape != pixels.shape:
            raise UsageError("a blend needs a generated image of the same shape")
        return _rounded(kind.strength * pixels + (1 - kind.strength) * partner.astype(np.float64))
    known = _KINDS.get(kind.name)
    if known is None or known.alter is None:
        raise UsageError(f"there is no kind of plant {kind.name!r}", hint=f"there are {', '.join(_KINDS)}")
    return known.alter(pixels, kind.strength, rng)


def _resize(pixels: Pixels, factor: float, _rng: Generator) -> Pixels:
    image = Image.fromarray(pixels)
    small = image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))), _BILINEAR)
    return np.asarray(small.resize(image.size, _BILINEAR))


def _crop(pixels: Pixels, share: float, _rng: Generator) -> Pixels:
    image = Image.fromarray(pixels)
    left, top = (side * (1 - share) / 2 for side in image.size)
    return np.asarray(image.resize(image.size, _BILINEAR, box=(left, top, image.width - left, image.height - top)))


def _shift(pixels: Pixels, share: float) -> Pixels:
    down, right = (round(share * edge) for edge in pixels.shape[:2])
    image = Image.fromarray(pixels)
    return np.asarray(image.transform(image.size, Image.Transform.AFFINE, (1, 0, -right, 0, 1, -down)))


def _rounded(values: NDArray[np.floating]) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


class _Kind(NamedTuple):
    """Default strengths; the least and the greatest, both allowed (``None``: there is no strength); what is done."""

    defaults: tuple[float, ...]
    limits: tuple[float, float] | None
    alter: Callable[[Pixels, float, Generator], Pixels] | None


_KINDS = {
    "exact": _Kind((0.0,), None, lambda image, _, _rng: image),
    "jpeg": _Kind((90, 50), (1, 95), lambda image, quality, _: _opened(jpeg_bytes(image, int(quality)))),
    "resize": _Kind((0.5,), (0.01, 1), _resize),
    "crop": _Kind((0.9,), (0.05, 1), _crop),
    "flip": _Kind((0.0,), None, lambda image, _, _rng: np.ascontiguousarray(image[:, ::-1])),
    "rotate": _Kind(
        (5,), (-180, 180), lambda image, degrees, _: np.asarray(Image.fromarray(image).rotate(degrees, _BILINEAR))
    ),
    "blur": _Kind(
        (1,),
        (0.01, 1000),
        lambda image, sigma, _: np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma))),
    ),
    "noise": _Kind(
        (10, 25), (0.01, 1000), lambda image, sigma, rng: _rounded(image + sigma * rng.standard_normal(image.shape))
    ),
    "gamma": _Kind((1.3,), (0.01, 100), lambda image, gamma, _: _rounded(255 * (np.arange(256) / 255) ** gamma)[image]),
    "contrast": _Kind((0.7,), (0.01, 100), lambda image, factor, _: _rounded(factor * (image - 128.0) + 128)),
    "shift": _Kind((0.1,), (-0.9, 0.9), lambda image, share, _: _shift(image, share)),
    "blend": _Kind((0.9, 0.7, 0.5, 0.3), (0.001, 1), None),  # it takes another image
}
DEFAULT_KINDS = tuple(PlantKind(name, strength) for name, kind in _KINDS.items() for strength in kind.defaults)


def in_release_size(pixels: Pixels, form: ReleaseFormat) -> Pixels:
    """Canonical pixels at the release's size, grey where it is grey."""
    brought = Image.fromarray(pixels).convert("L" if form.grey else "RGB")
    return np.asarray(brought.resize((form.width, form.height), _BILINEAR))


def through_format(pixels: Pixels, form: ReleaseFormat) -> Pixels:
    """What is left of pixels after they were written and read in the release's file format."""
    if form.file_format != "JPEG":
        return pixels
    if not form.tables:
        return _opened(jpeg_bytes(pixels, UNKNOWN_QUALITY))
    tables = [list(table) for table in form.tables]
    return _opened(encoded(pixels, "JPEG", qtables=tables, subsampling=max(form.subsampling, 0)))


def _opened(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)))


def jpeg_quality(tables: Sequence[Sequence[int]]) -> int | None:
    """The quality setting that gives these quantisation tables; ``None``: they are not the usual ones."""
    wanted = [tuple(table) for table in tables]
    black = np.zeros((8, 8) if len(wanted) == 1 else (8, 8, 3), dtype=np.uint8)
    for quality in range(1, 101) if wanted else ():
        with Image.open(io.BytesIO(jpeg_bytes(black, quality))) as image:
            if [tuple(table) for table in image.quantization.values()] == wanted:  # type: ignore[attr-defined]
                return quality
    return None


def jpeg_tables_of(recorded: RecordedImage, settings: PreparationSettings) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Quantisation tables and subsampling of a recorded JPEG file; empty and -1 if no place still holds it."""
    reread = read_again(recorded, settings)
    return jpeg_tables_in(reread.data) if isinstance(reread, Reread) else ((), -1)


def jpeg_tables_in(data: bytes) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Quantisation tables and subsampling of a JPEG file's bytes; empty and -1 of other ones."""
    if not data.startswith(b"\xff\xd8"):
        return (), -1
    with Image.open(io.BytesIO(data)) as image:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            return (), -1
        return tuple(tuple(table) for table in image.quantization.values()), JpegImagePlugin.get_sampling(image)


@dataclass(frozen=True, slots=True)
class PlantOrder:
    """A used image to copy, and generated images to blend with: the first one that can be read serves."""

    original: RecordedImage
    partners: tuple[RecordedImage, ...] = ()

    @property
    def name(self) -> str:
        """For messages."""
        return self.original.name

    @property
    def images(self) -> tuple[RecordedImage, ...]:
        """What is read again for it."""
        return self.original, *self.partners

    def with_images(self, known: Mapping[str, RecordedImage]) -> PlantOrder:
        """See ``rereading.Order``."""
        return PlantOrder(known[self.original.image_id], tuple(known[each.image_id] for each in self.partners))


@dataclass(frozen=True, slots=True, eq=False)
class Plants:
    """Every plant of one original (its image_id).

    Attributes:
        kinds: What was made, in the order asked for: without blends if no partner could be read.
        pixels: Of each, prepared for every backbone: uint8 (size, size, 3).
        identical: Which differ nowhere by more than one level from the original in the release's size and format, as it
            stands, mirrored or turned by right angles.
        unreadable: The partners that could not be read.
    """

    original: str
    kinds: tuple[PlantKind, ...]
    pixels: tuple[tuple[Pixels, ...], ...]
    identical: tuple[bool, ...]
    unreadable: tuple[Rejection, ...] = ()


def plants_of(
    order: PlantOrder,
    *,
    kinds: tuple[PlantKind, ...],
    form: ReleaseFormat,
    seed: int,
    settings: tuple[PreparationSettings, ...],
) -> Plants | Rejection:
    """Makes the plants of an original; a rejection if no recorded place holds its bytes. Runs in a worker process.

    Noise depends on seed, original and kind alone: not on what else is planted. ``settings`` are those of every
    backbone that is to see them.
    """
    original = read_again(order.original, settings[0])
    if isinstance(original, Rejection):
        return original
    base = in_release_size(original.frame.pixels, form)
    partner, unreadable = None, []
    for recorded in order.partners if any(kind.name == "blend" for kind in kinds) else ():
        read = read_again(recorded, settings[0])
        if isinstance(read, Reread):
            partner = in_release_size(read.frame.pixels, form)
            break
        unreadable.append(read)
    made = tuple(kind for kind in kinds if kind.name != "blend" or partner is not None)
    rows = (altered(base, kind, _noise_of(seed, order.original.image_id, kind), partner) for kind in made)
    plants = [through_format(plant, form) for plant in rows]
    positions = [position.of(base) for position in POSITIONS]
    same = [made for each in positions if each.shape == base.shape for made in (each, through_format(each, form))]
    return Plants(
        order.original.image_id,
        made,
        tuple(tuple(resized(plant, each.size, each.match_resolution) for each in settings) for plant in plants),
        tuple(any(within(plant, each, TOLERANCE) for each in same) for plant in plants),
        tuple(unreadable),
    )


def within(one: Pixels, other: Pixels, levels: int) -> bool:
    """Whether two images of one shape differ nowhere by more than so many levels, and are not of one level alone."""
    return bool(np.ptp(one)) and bool((np.abs(one.astype(np.int16) - other) <= levels).all())


def _noise_of(seed: int, image_id: str, kind: PlantKind) -> Generator:
    digest = hashlib.sha256(f"{seed}|{image_id}|{kind}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))
