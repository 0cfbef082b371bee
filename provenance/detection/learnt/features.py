"""Features of the learnt score: how much of a release each real leaves unexplained, at many scales. Pure, label-free.

Patches of several sizes are cut from 64 x 64 grey levels at fixed places, centred, extended by a constant and brought
to unit length (as the space ``patches-24-8@64`` has them). At each place, and for each kernel width, the residual of
``provenance.detection.scores.local``: a real's affinity to the release less what the reals of other groups foretell,
standardised. Its mean over places is one feature for each size and width. A narrow kernel sees single patches that came
through whole, a broad one what is spread over many generated images; which of them tells used images from others
depends on the generator. Two more kinds go with them, and
all are ranked over the pool and the ranks made normal scores:

    nearest   per size, the mean over the 8 places with the greatest cosines to the release, Fisher-transformed
    fixed     10 times the residual of 24 pixels at a width of 0.5, the core of the fixed score ``local``, which a
              ridge then hardly shrinks: with few known images what is learnt starts from there

No label enters, and all of the pool are treated alike: permuting labels afterwards, and learning again, is exact.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from provenance.detection.checks import group_codes
from provenance.detection.scores.local import (
    FLAT,
    SCORE_DECIMALS,
    Matching,
    dealt,
    residuals_of_kernel,
    standardised,
)
from provenance.detection.scores.local_memory import copy_bonus
from provenance.detection.scores.local_neighbors import SpeakingParts, rounded_cosines
from provenance.detection.scores.positions import each_position
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.arrays import Float32s, Float64s, Int64s
    from provenance.detection.checks import Groups
    from provenance.detection.scores.local import Progress

VERSION = 1
EDGE = 64
STRIDE = 8
SIZES = (16, 24, 32, 40, 56)
WIDTHS = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.35, 0.15, 0.05, 0.02)
"""The first six are made of one another: halving a width squares its kernel."""
RIDGE = 0.01
CONSTANT = 4.0
POOL_BLOCK = 2000
RELEASE_BLOCK = 1024
GREATEST = 8
NEAREST_CAP = 0.9999
FIXED_SIZE, FIXED_WIDTH, FIXED_WEIGHT = 24, 0.5, 10.0
CELLS = EDGE // STRIDE


class Images(Protocol):
    """Grey levels in [0, 255] by their rows: an array (n, 64, 64), or what makes such of some rows when asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Int64s, /) -> Float32s: ...


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Of every image of a pool; rows in its order.

    Attributes:
        columns: Float64 (n, 56), ``names`` says which: ranks over the pool as normal scores (the last: 10 times).
        copies: What the fixed score ``local`` adds for being a copy, float64 (n,).
        by_place: Float32 (n, places, widths): standardised residuals, divided by the standard deviation of their mean
            over the places of a size, which is ranked for the column.
    """

    columns: Float64s
    copies: Float64s
    by_place: Float32s


def names() -> tuple[str, ...]:
    """Of the columns."""
    by_width = (f"{size} px, width {width:g}" for size in SIZES for width in WIDTHS)
    return (*by_width, *(f"{size} px, nearest" for size in SIZES), "fixed")


def parameters() -> dict[str, Any]:
    """Everything that shapes the features, as JSON values."""
    return {
        "version": VERSION,
        "edge": EDGE,
        "sizes": list(SIZES),
        "stride": STRIDE,
        "widths": sorted(WIDTHS, reverse=True),
        "ridge": RIDGE,
        "constant": CONSTANT,
        "pool_block": POOL_BLOCK,
        "greatest": GREATEST,
        "nearest_cap": NEAREST_CAP,
        "fixed": [FIXED_SIZE, FIXED_WIDTH, FIXED_WEIGHT],
        "scale": "normal scores",
    }


def weights_by_scale(weights: Float64s) -> tuple[Float64s, Float64s]:
    """A learner's weights of the columns by size and width (the widest kernel first), and of the nearest by size."""
    return _table(weights)[:, np.argsort(WIDTHS)[::-1]], weights[len(SIZES) * len(WIDTHS) : -1]


def by_window(cells: Float64s) -> Float64s:
    """What the cells of each window of 24 pixels speak together, z-scored over the images, (n, windows)."""
    grid = cells.reshape(len(cells), CELLS, CELLS)
    found = [
        grid[:, top : top + across, left : left + across].mean(axis=(1, 2))
        for top, left, across in ((p.top // STRIDE, p.left // STRIDE, p.size // STRIDE) for p in windows())
    ]
    return standardised(np.stack(found, axis=1))


def windows() -> tuple[Place, ...]:
    """The windows by which an image is explained, row by row."""
    return tuple(place for place in places() if place.size == FIXED_SIZE)


def nearest_windows(images: Float32s, release: Images) -> SpeakingParts:
    """For each window of some images the generated image that is most like it there."""
    everywhere = windows()
    rows = np.zeros((len(images), len(everywhere)), dtype=np.int64)
    similarity = np.full(rows.shape, -np.inf)
    for start in range(0, len(release), RELEASE_BLOCK):
        block = release[np.arange(start, min(start + RELEASE_BLOCK, len(release)))]
        for number, place in enumerate(everywhere):
            found = rounded_cosines(cosines(place.cut(images), place.cut(block)))
            closer = found.max(axis=1) > similarity[:, number]
            rows[closer, number] = start + found.argmax(axis=1)[closer]
            similarity[closer, number] = found.max(axis=1)[closer]
    return SpeakingParts(rows, similarity)


def normal_scores(values: Float64s) -> Float64s:
    """Columns of ranks as the quantiles of a normal law that have them; equal values share one, constants become 0.

    What is remembered strongly by a few would stretch a column so far that all others are alike in it.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    ranks = rankdata(np.round(values, SCORE_DECIMALS), axis=0)
    found: Float64s = ndtri((ranks - 0.5) / len(values))
    return found


def _table(weights: Float64s) -> Float64s:
    table: Float64s = weights[: len(SIZES) * len(WIDTHS)].reshape(len(SIZES), len(WIDTHS)).copy()
    table[SIZES.index(FIXED_SIZE), WIDTHS.index(FIXED_WIDTH)] += FIXED_WEIGHT * weights[-1]
    return table


def by_cell(found: Features, weights: Float64s) -> Float64s:
    """What each 8 x 8 cell of each image speaks for its use by a learner's weights, row by row; (n, 64).

    The part of a window is spread evenly over the cells that it covers; cells are then divided by one number, so that
    they have a standard deviation of 1 over all images. Nearest neighbors, which have no such sum, are left out.
    """
    table, everywhere = _table(weights), places()
    counts = {size: sum(place.size == size for place in everywhere) for size in SIZES}
    cells = np.zeros((len(found.by_place), CELLS, CELLS))
    for number, place in enumerate(everywhere):
        spoken = found.by_place[:, number].astype(np.float64) @ table[SIZES.index(place.size)]
        top, left, across = place.top // STRIDE, place.left // STRIDE, place.size // STRIDE
        part = spoken / (counts[place.size] * across**2)
        cells[:, top : top + across, left : left + across] += part[:, None, None]
    summed = cells.reshape(len(cells), -1)
    spread = summed.std()
    scaled: Float64s = summed / spread if spread > 0 else summed
    return scaled


@dataclass(frozen=True, slots=True)
class Place:
    """A window of an image: its size, and where its upper left corner is."""

    size: int
    top: int
    left: int

    def cut(self, images: Float32s) -> Float32s:
        """The windows of some images, as unit vectors, float32 (n, size^2 + 1)."""
        window = images[:, self.top : self.top + self.size, self.left : self.left + self.size]
        flat = np.full((len(images), self.size**2 + 1), CONSTANT * self.size, dtype=np.float32)
        flat[:, :-1] = window.reshape(len(images), -1)
        flat[:, :-1] -= flat[:, :-1].mean(axis=1, dtype=np.float64, keepdims=True).astype(np.float32)
        flat /= np.sqrt(np.einsum("ij,ij->i", flat, flat, dtype=np.float64))[:, None].astype(np.float32)
        return flat


def places() -> tuple[Place, ...]:
    """All windows, size by size and row by row."""
    found = []
    for size in SIZES:
        start = (EDGE - size) % STRIDE // 2
        corners = range(start, EDGE - size + 1, STRIDE)
        found += [Place(size, top, left) for top in corners for left in corners]
    return tuple(found)


def features(
    pool: Images,
    release: Images,
    groups: Groups | None = None,
    *,
    threads: int = 1,
    progress: Progress | None = None,
) -> Features:
    """Features of every image of the pool against a release; which, see the module.

    Neither the order of pool and release nor the number of threads changes a bit. The release is read in blocks:
    memory is that of the pool, squared. A pool of more than 2,000 is dealt by group into blocks.

    Args:
        pool: The reals, all of them together.
        release: The generated images.
        groups: Patient or study of each pool image; ``None`` (or an entry ``None``): a group of its own.
        threads: Places worked at at once.
        progress: Called with steps done and steps in all.

    Raises:
        UsageError: If there are no images, one is misshapen or not finite, or there are fewer than two groups.
    """
    work = seen(pool, release, groups, threads=threads, progress=_share(progress, 0))
    return _joined(work.residuals(_share(progress, 1)), work)


def seen(
    pool: Images, release: Images, groups: Groups | None, *, threads: int = 1, progress: Progress | None = None
) -> Pool:
    """A pool that has seen all of a release; what it takes and refuses is as in ``features``."""
    codes, count = group_codes(groups, len(pool))
    if count < 2:
        raise UsageError(
            "the pool has fewer than two groups: without its own group, no image has a reference",
            hint="add images of other patients that are known not to be used",
        )
    order, release_order = _content_order(pool, "pool"), _content_order(release, "release")
    real = pool[np.arange(len(pool))]
    found = Pool(real, codes, dealt(codes, groups, order, Matching(pool_block=POOL_BLOCK)), threads)
    starts = range(0, len(release), RELEASE_BLOCK)
    for step, start in enumerate(starts):
        found.add(release[release_order[start : start + RELEASE_BLOCK]], _block(progress, step, len(starts)))
    return found


class Pool:
    """A pool, and the sums over what it has seen of a release, place by place."""

    def __init__(self, real: Float32s, codes: Int64s, blocks: list[Int64s], threads: int) -> None:
        self.real, self.codes, self.blocks, self.threads = real, codes, blocks, threads
        self.places = places()
        self.count = 0
        self.total = np.zeros((len(self.places), len(real), len(WIDTHS)))
        self.closest = np.full((len(self.places), len(real)), -1.0)
        self.margins = np.zeros((len(self.places), len(real)))

    def add(self, generated: Float32s, progress: Progress | None) -> None:
        """One more block of the release."""

        def at(number: int) -> None:
            place = self.places[number]
            planted = place.cut(generated)
            for rows in self.blocks:
                similarity = cosines(place.cut(self.real[rows]), planted)
                closest = np.maximum(self.closest[number, rows], similarity.max(axis=1))
                self.closest[number, rows] = closest
                for column, kernel in kernels(similarity):
                    self.total[number, rows, column] += kernel.sum(axis=1)

        deque(each_position(at, len(self.places), threads=self.threads, progress=progress), maxlen=0)
        self.count += len(generated)

    def residuals(self, progress: Progress | None) -> list[Float64s]:
        """Standardised, (n, widths) for each place; and the margins of the places of the fixed score."""

        def at(number: int) -> Float64s:
            place, found = self.places[number], np.empty((len(self.real), len(WIDTHS)))
            for rows in self.blocks:
                real, own = place.cut(self.real[rows]), self.codes[rows]
                similarity = cosines(real, real)
                for column, kernel in kernels(similarity):
                    affinity = self.total[number, rows, column] / self.count
                    found[rows, column] = standardised(residuals_of_kernel(kernel, affinity, own, RIDGE))
                if place.size == FIXED_SIZE:
                    similarity[own[:, None] == own[None, :]] = -1.0
                    other = similarity.max(axis=1)
                    self.margins[number, rows] = rounded_cosines(self.closest[number, rows]) - rounded_cosines(other)
            return found

        return list(each_position(at, len(self.places), threads=self.threads, progress=progress))


def cosines(left: Float32s, right: Float32s) -> Float64s:
    """Of all pairs of unit vectors."""
    found: Float64s = np.clip((left @ right.T).astype(np.float64), -1.0, 1.0)
    return found


def kernels(similarity: Float64s) -> Iterator[tuple[int, Float64s]]:
    """``exp((cos - 1) / width)`` with the number of each width; what is done to one touches no other."""
    shifted, kept, before = similarity - 1.0, np.empty(0), 0.0
    for column, width in enumerate(WIDTHS):
        kept = np.square(kept) if before == 2 * width else np.exp(shifted / width)
        before = width
        yield column, kept.copy()


def _joined(residuals: list[Float64s], work: Pool) -> Features:
    sizes = np.array([place.size for place in work.places])
    by_place = np.stack(residuals, axis=1)
    nearest = np.arctanh(np.minimum(work.closest.T, NEAREST_CAP))
    means = np.concatenate([by_place[:, sizes == size].mean(axis=1) for size in SIZES], axis=1)
    greatest = [np.sort(nearest[:, sizes == size], axis=1)[:, -GREATEST:].mean(axis=1) for size in SIZES]
    spread = means.std(axis=0).reshape(len(SIZES), len(WIDTHS))
    for number, size in enumerate(SIZES):
        by_place[:, sizes == size] /= np.maximum(spread[number], FLAT)
    columns = normal_scores(np.column_stack([means, *greatest]))
    fixed = SIZES.index(FIXED_SIZE) * len(WIDTHS) + WIDTHS.index(FIXED_WIDTH)
    columns = np.column_stack([columns, FIXED_WEIGHT * columns[:, fixed]])
    copies = copy_bonus(standardised(work.margins[sizes == FIXED_SIZE].T).mean(axis=1))
    columns, copies = (np.round(each, SCORE_DECIMALS) + 0.0 for each in (columns, copies))
    return Features(columns, copies, by_place.astype(np.float32))


def _block(progress: Progress | None, step: int, blocks: int) -> Progress | None:
    """Progress of one of some blocks as progress of all."""
    if progress is None:
        return None
    told = progress
    return lambda done, total: told(step * total + done, blocks * total)


def _share(progress: Progress | None, which: int) -> Progress | None:
    """Progress of the first or second of two passes, in hundredths, as progress of both."""
    if progress is None:
        return None
    told = progress
    return lambda done, total: told(100 * done // total + 100 * which, 200)


def _content_order(images: Images, name: str) -> Int64s:
    """Rows in the order of their digests; all images are looked at, and refused if they are none."""
    digests: list[bytes] = []
    for start in range(0, len(images), RELEASE_BLOCK):
        block = images[np.arange(start, min(start + RELEASE_BLOCK, len(images)))]
        if block.shape[1:] != (EDGE, EDGE):
            raise UsageError(f"{name} has images of {block.shape[1:]}; learnt scores take {EDGE} x {EDGE}")
        if not np.isfinite(block).all():
            raise UsageError(f"{name} holds numbers that are not finite")
        digests += (hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in block)
    if not digests:
        raise UsageError(f"{name} holds no images")
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)
