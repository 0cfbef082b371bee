"""Which real images may a query be a copy of? Local windows vote for sources, wherever they moved to. Pure.

An image in coarse form is cut into 49 windows of 12 x 12 (24 pixels of 64, 6 apart); each becomes its lowest 24 cosine
coefficients without the mean, at unit length. A window w of the query is compared with those of a source r within a
third of the edge of its own place; of the best cosine c(w, r), Fisher-transformed, the excess over the tenth best

    vote(r) = sum over windows with structure of max(0, artanh c(w, r) - its tenth largest over all sources)

counts: what many reals have in common says nothing. The query is tried as it is and mirrored, and (with 16 windows)
turned by 10 degrees and scaled by 0.85 and 1.18 either way. One piece suffices for a vote.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.copies.geometry import sampled, similarity
from provenance.detection.copies.structure import (
    COARSE_EDGE,
    checked_images,
    coarse,
    contrast_normalised,
    standardised,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from provenance.detection.copies.structure import Images, Rows

    Floats32 = NDArray[np.float32]
    Complexes = NDArray[np.complex64]

WINDOW, PLACES, FEW_PLACES, REACH = 12, (1, 4, 7, 10, 13, 16, 19), (0, 2, 4, 6), 3
COEFFICIENTS = 5
WINDOW_STRUCTURE = 0.25
TENTH = 10
QUERY_BLOCK, SOURCE_BLOCK, PADDING, SET = 64, 256, 64, 16
VOTE_DECIMALS = 4
TURNS = ((10.0, 1.0), (-10.0, 1.0), (0.0, 0.85), (0.0, 1.18))
PADDED, HIGHEST = 48, 14


@dataclass(frozen=True, slots=True)
class Prepared:
    """Images in every form that the search needs.

    Attributes:
        standard: ``(n, edge, edge)`` standardised.
        normalised: Contrast-normalised.
        coarse: At 32 x 32.
    """

    standard: Images
    normalised: Images
    coarse: Images

    def __len__(self) -> int:
        return len(self.standard)

    def one(self, at: int) -> Prepared:
        """One of them, still with three axes."""
        return Prepared(*(form[at : at + 1] for form in (self.standard, self.normalised, self.coarse)))


@dataclass(frozen=True, slots=True)
class Sources:
    """Real images that queries are held against, in the order of their contents.

    Attributes:
        images: In that order.
        rows: ``(m,)`` the caller's row of each.
        windows: ``(49, 24, padded m)`` unit descriptors of all windows.
        spectra: ``(m, 29, 15)`` of the coarse images, of unit energy.
    """

    images: Prepared
    rows: Rows
    windows: Floats32
    spectra: Complexes

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def edge(self) -> int:
        """Of the images, in pixels."""
        return int(self.images.standard.shape[1])


def prepared(images: Images) -> Prepared:
    """All forms of checked images."""
    standard = standardised(images)
    normalised = contrast_normalised(standard)
    return Prepared(standard=standard, normalised=normalised, coarse=coarse(normalised))


def sources_of(images: Images) -> Sources:
    """Real images made ready; about 50 KB an image at 64 pixels.

    Args:
        images: ``(m, edge, edge)`` grey, edge 64 or 96.

    Raises:
        UsageError: As ``checked_images``.
    """
    array = checked_images(images, "sources")
    digests = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in array]
    rows = np.array(sorted(range(len(array)), key=digests.__getitem__), dtype=np.int64)
    ready = prepared(array[rows])
    descriptors, _ = window_descriptors(ready.coarse)
    padded = -(-len(rows) // PADDING) * PADDING
    windows = np.zeros((descriptors.shape[1], descriptors.shape[2], padded), dtype=np.float32)
    windows[:, :, : len(rows)] = descriptors.transpose(1, 2, 0)
    return Sources(images=ready, rows=rows, windows=windows, spectra=spectra(ready.coarse))


def spectra(images: Images) -> Complexes:
    """Low frequencies of coarse images of unit energy, padded so that shifts don't wrap; (..., 29, 15)."""
    from scipy.fft import rfft2

    energy = np.sqrt((images**2).sum(axis=(-2, -1), keepdims=True))
    found = rfft2(images / np.maximum(energy, 1e-6), s=(PADDED, PADDED))[..., : HIGHEST + 1]
    return np.concatenate([found[..., : HIGHEST + 1, :], found[..., -HIGHEST:, :]], axis=-2).astype(np.complex64)


@cache
def _cosines() -> Floats32:
    from scipy.fft import dct

    rows = dct(np.eye(WINDOW), axis=0, norm="ortho")[:COEFFICIENTS]
    return np.ascontiguousarray(np.kron(rows, rows)[1:].T.astype(np.float32))


def window_descriptors(images: Images) -> tuple[Floats32, NDArray[np.bool_]]:
    """``(n, 49, 24)`` unit descriptors of the windows of coarse images, and which have structure."""
    views = np.lib.stride_tricks.sliding_window_view(images, (WINDOW, WINDOW), axis=(1, 2))
    cut = views[:, list(PLACES)][:, :, list(PLACES)].reshape(len(images), len(PLACES) ** 2, WINDOW * WINDOW)
    found = cut @ _cosines()
    length = np.linalg.norm(found, axis=2)
    return found / np.maximum(length, 1e-3 * WINDOW)[:, :, None], length / WINDOW > WINDOW_STRUCTURE


def votes(queries: Images, sources: Sources) -> Floats32:
    """``(n, 2, m)`` votes of coarse queries for sources, as they are and mirrored; 4 decimals.

    All views of 64 queries are compared with a window of the sources in one product; which takes some 5 KB a source.

    Args:
        queries: ``(n, 32, 32)``, n at most 64.
        sources: The real images.
    """
    block = np.zeros((QUERY_BLOCK, COARSE_EDGE, COARSE_EDGE), dtype=np.float32)
    block[: len(queries)] = queries
    views = _views(block)
    descriptors, structured = window_descriptors(views.reshape(-1, COARSE_EDGE, COARSE_EDGE))
    side, whole = len(PLACES), 2 * QUERY_BLOCK
    weights = structured.astype(np.float32)
    weights[whole:] *= (side / len(FEW_PLACES)) ** 2
    found = np.zeros((len(descriptors), len(sources)), dtype=np.float32)
    for here in range(side**2):
        down, right = divmod(here, side)
        every = down in FEW_PLACES and right in FEW_PLACES
        rows = slice(0, len(found) if every else whole)
        if structured[rows, here].any():
            best = _best_cosines(np.ascontiguousarray(descriptors[rows, here]), sources, down, right)
            _add_excess(found[rows], best, len(sources), weights[rows, here])
    highest = found.reshape(len(views) // 2, 2, QUERY_BLOCK, -1).max(axis=0)
    rounded: Floats32 = np.round(highest[:, : len(queries)].transpose(1, 0, 2), VOTE_DECIMALS)
    return rounded


def _views(block: Images) -> Images:
    # (10, 64, 32, 32): as it is and mirrored, in place and then by all turns.
    both = np.stack([block, block[:, :, ::-1]])
    views, straight = [both], both.reshape(-1, COARSE_EDGE, COARSE_EDGE)
    for rotation, scale in TURNS:
        matrix = similarity(rotation, 1 / scale, mirrored=False)
        turned, inside = sampled(straight, np.broadcast_to(matrix, (len(straight), 2, 2)), np.zeros((len(straight), 2)))
        views.append((turned * inside).reshape(both.shape))
    return np.concatenate(views)


def _best_cosines(descriptors: Floats32, sources: Sources, down: int, right: int) -> Floats32:
    side = len(PLACES)
    near = [
        row * side + column
        for row in range(max(0, down - REACH), min(side, down + REACH + 1))
        for column in range(max(0, right - REACH), min(side, right + REACH + 1))
    ]
    best = np.empty((len(descriptors), sources.windows.shape[2]), dtype=np.float32)
    for start in range(0, best.shape[1], SOURCE_BLOCK):
        part = slice(start, min(start + SOURCE_BLOCK, best.shape[1]))
        highest = descriptors @ sources.windows[near[0], :, part]
        product = np.empty_like(highest)
        for place in near[1:]:
            np.matmul(descriptors, sources.windows[place, :, part], out=product)
            np.maximum(highest, product, out=highest)
        best[:, part] = highest
    return best


def _add_excess(votes_of: Floats32, best: Floats32, count: int, weight: Floats32) -> None:
    # Over the tenth best source of each query; few are above it, so that only they are transformed.
    best[:, count:] = -2
    columns, values = _highest(best)
    if count == 1:
        reference = np.zeros((len(best), 1), dtype=np.float32)
    else:
        rank = min(TENTH, count)
        reference = np.partition(values, values.shape[1] - rank, axis=1)[:, -rank, None]
    rows, at = np.nonzero((values > reference) & (weight > 0)[:, None])
    fisher = np.arctanh(np.clip(values[rows, at], 0, 0.99)) - np.arctanh(np.clip(reference[rows, 0], 0, 0.99))
    votes_of[rows, columns[rows, at]] += fisher * weight[rows]


def _highest(best: Floats32) -> tuple[Rows, Floats32]:
    # Columns and values among which are the ten highest of each row: those of the ten sets of 16 with the highest one.
    sets = best.reshape(len(best), SET, -1)
    count = sets.shape[2]
    chosen = np.tile(np.arange(count), (len(best), 1))
    if count > TENTH:
        chosen = np.argpartition(sets.max(axis=1), count - TENTH, axis=1)[:, -TENTH:]
    columns = (np.arange(SET)[:, None] * count + chosen[:, None, :]).reshape(len(best), -1)
    return columns, np.take_along_axis(best, columns, axis=1)
