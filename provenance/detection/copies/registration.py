"""Registering a query with candidate sources: coarse by Fourier transforms, then to parts of a pixel. Pure.

Coarse: the query at 32 x 32, in 25 views (turned by -12 ... 12 degrees, scaled by 0.8 ... 1.25), is correlated with
each source at all shifts to a quarter of the edge at once; the highest value wins. A second start for each source
comes from its windows alone (``piece_starts``): what moves together, whatever the rest does.

Fine: Gauss-Newton on the four numbers of a similarity (Lucas & Kanade 1981, inverse compositional after Baker &
Matthews 2004), brightness and contrast free as in ECC (Evangelidis & Psarakis 2008); on the coarse image first, then on
the full one, at 32 x 32 of its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.copies.geometry import MIRROR, grid, sampling, similarity
from provenance.detection.copies.retrieval import HIGHEST, PADDED, PLACES, WINDOW, spectra, window_descriptors
from provenance.detection.copies.structure import COARSE_EDGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from provenance.detection.copies.geometry import Floats, Sampling
    from provenance.detection.copies.pieces import Masks
    from provenance.detection.copies.retrieval import Complexes, Prepared, Sources
    from provenance.detection.copies.structure import Images, Rows

ROTATIONS, SCALES = (-12.0, -6.0, 0.0, 6.0, 12.0), (0.8, 0.9, 1.0, 1.11, 1.25)
SHIFTS = 9
COARSE_STEPS, FINE_STEPS = 4, 3
MOST_ROTATION, LEAST_SCALE, MOST_SCALE, MOST_SHIFT = 18.0, 0.74, 1.35, 0.32


@dataclass(frozen=True, slots=True)
class Starts:
    """Maps from a query to sources (geometry.py), in pixels of the coarse image.

    Attributes:
        sources: ``(n,)`` rows of the sources.
        matrices: ``(n, 2, 2)``.
        shifts: ``(n, 2)``.
        weights: ``(n, 32, 32)`` which parts of the query are held against the source.
        values: ``(n,)`` how well each fits; higher is better.
        turning: ``(n,)`` whether rotation and scale are free; shifts always are.
    """

    sources: Rows
    matrices: Floats
    shifts: Floats
    weights: Images
    values: Floats
    turning: NDArray[np.bool_]

    def best(self, count: int) -> Starts:
        """The ``count`` of the highest values, in their order."""
        order = np.argsort(-self.values, kind="stable")[:count]
        return Starts(*(getattr(self, each.name)[order] for each in fields(self)))

    def joined(self, other: Starts) -> Starts:
        """These and the others."""
        names = [each.name for each in fields(self)]
        return Starts(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


@dataclass(frozen=True, slots=True)
class Query:
    """An image that is registered.

    Attributes:
        images: This one alone.
        coarse: ``(6, 1024)`` of its coarse form, at 32 x 32 places: value, 1, and how it changes where it is turned,
            enlarged, and moved down and right.
        fine: Likewise of the contrast-normalised form.
    """

    images: Prepared
    coarse: Images
    fine: Images


def queries_of(images: Prepared) -> list[Query]:
    """Each image by itself."""
    coarse, fine = _changes(images.coarse), _changes(images.normalised)
    return [Query(images.one(at), coarse[at], fine[at]) for at in range(len(images))]


def _changes(images: Images) -> Images:
    edge, step = images.shape[1], images.shape[1] // COARSE_EDGE
    places = (slice(None), slice(None, None, step), slice(None, None, step))
    gradients = np.gradient(images, axis=(1, 2))
    values, down, right = (part[places].reshape(len(images), -1) for part in (images, *gradients))
    row, column = (grid(edge).reshape(2, edge, edge)[places].reshape(2, -1) / (edge / 4)).astype(np.float32)
    turn, grow = right * row - down * column, down * row + right * column
    return np.stack([values, np.ones_like(values), turn, grow, down, right], axis=1)


@cache
def _views(mirrored: bool) -> tuple[Sampling, Floats]:
    # Where the query is read, and the way back.
    views = [similarity(rotation, scale, mirrored=mirrored) for rotation in ROTATIONS for scale in SCALES]
    return sampling(COARSE_EDGE, np.stack(views), np.zeros((len(views), 2))), np.linalg.inv(np.stack(views))


def whole_starts(query: Images, sources: Sources, rows: Rows, mirrored: NDArray[np.bool_]) -> Starts:
    """The best coarse registration of the whole query with each source.

    Args:
        query: ``(32, 32)`` in coarse form.
        sources: The real images.
        rows: ``(c,)`` candidates among them.
        mirrored: ``(c,)`` whether the query stands mirrored to each.
    """
    matrices = np.empty((len(rows), 2, 2))
    shifts, values = np.empty((len(rows), 2)), np.empty(len(rows))
    for flipped in np.unique(mirrored):
        these, (views, back) = np.flatnonzero(mirrored == flipped), _views(bool(flipped))
        turned = views.of(query[None]) * views.inside
        surface = _correlations(spectra(turned), sources.spectra[rows[these]])
        highest = surface.max(axis=0).max(axis=2)
        view = highest.argmax(axis=1)
        values[these] = highest.max(axis=1)
        best = surface[:, np.arange(len(these)), view].swapaxes(0, 1).reshape(len(these), -1).argmax(axis=1)
        # The source at x + t agrees with the query at view(x): y = view(x) lies at view^-1(y) + t.
        matrices[these] = back[view]
        shifts[these] = np.stack(np.divmod(best, 2 * SHIFTS + 1), axis=1) - SHIFTS
    weights = np.ones((len(rows), COARSE_EDGE, COARSE_EDGE), dtype=np.float32)
    return Starts(rows, matrices, shifts, weights, values, np.ones(len(rows), dtype=np.bool_))


@cache
def _waves() -> tuple[Complexes, Images]:
    # Fourier sums over the frequencies kept, at the shifts wanted only: fewer than all that a fast transform gives.
    # The second one for real and imaginary parts in turn, as they lie in memory.
    shifts = np.arange(-SHIFTS, SHIFTS + 1)
    rows = np.r_[0 : HIGHEST + 1, -HIGHEST:0]
    down = np.exp(2j * np.pi * np.outer(shifts, rows) / PADDED).astype(np.complex64)
    columns = np.arange(HIGHEST + 1)
    twice = np.where(columns > 0, 2, 1)[:, None]
    right = twice * np.exp(2j * np.pi * np.outer(columns, shifts) / PADDED) / PADDED**2
    return down, np.stack([right.real, -right.imag], axis=1).reshape(-1, len(shifts)).astype(np.float32)


def _correlations(views: Complexes, sources: Complexes) -> Images:
    # (shifts, c, v, shifts): of every view with every source.
    down, right = _waves()
    views, sources = np.conj(views).swapaxes(0, 1), sources.swapaxes(0, 1)
    product = sources[:, :, None] * views[:, None]
    along = down @ product.reshape(len(product), -1)
    surface = along.view(np.float32).reshape(-1, len(right)) @ right
    return surface.reshape(len(down), *product.shape[1:3], -1)


def piece_starts(query: Images, sources: Sources, rows: Rows, mirrored: NDArray[np.bool_]) -> Starts:
    """Where the windows of the query that move together find themselves in each source.

    Args:
        query: ``(32, 32)`` in coarse form.
        sources: The real images.
        rows: ``(c,)`` candidates among them.
        mirrored: ``(c,)`` whether the query stands mirrored to each.
    """
    matrices = np.where(mirrored[:, None, None], MIRROR, np.eye(2))
    descriptors, structured = window_descriptors(np.stack([query, query[:, ::-1]]))
    view, chosen = mirrored.astype(np.int64), np.arange(len(rows))
    cosines = descriptors[view] @ sources.windows[:, :, rows].transpose(2, 1, 0)
    windows, others, numbers, steps = _steps()
    fisher = np.arctanh(np.clip(cosines[:, windows, others], -0.99, 0.99))
    excess = np.zeros(cosines.shape, dtype=np.float32)
    excess[:, windows, numbers] = np.maximum(fisher - 0.6, 0) * structured[view][:, windows]
    total = excess.sum(axis=1)
    best = total.argmax(axis=1)
    weights = np.minimum(excess[chosen, :, best] @ _windows(), 1).reshape(-1, COARSE_EDGE, COARSE_EDGE)
    weights[~weights.any(axis=(1, 2))] = 1
    weights[mirrored] = weights[mirrored, :, ::-1]
    values = total[chosen, best].astype(np.float64)
    return Starts(rows, matrices, steps[best], weights, values, np.zeros(len(rows), dtype=np.bool_))


@cache
def _steps() -> tuple[Rows, Rows, Rows, Floats]:
    # Pairs of windows near each other, with the number of the step that leads from one to the other; and the 49 steps.
    side = len(PLACES)
    reach, place = side // 2, np.arange(side)
    row, column = (each.ravel() for each in np.meshgrid(place, place, indexing="ij"))
    down, right = row[None] - row[:, None], column[None] - column[:, None]
    windows, others = np.nonzero(np.maximum(abs(down), abs(right)) <= reach)
    numbers: Rows = ((down + reach) * side + right + reach)[windows, others]
    steps = (np.stack([row, column], axis=1) - reach) * (PLACES[1] - PLACES[0])
    return windows, others, numbers, steps.astype(np.float64)


@cache
def _windows() -> Images:
    # (49, 1024): the pixels of each window.
    place = np.arange(COARSE_EDGE) - np.array(PLACES)[:, None]
    within = ((place >= 0) & (place < WINDOW)).astype(np.float32)
    return np.kron(within, within)


def refined(query: Query, sources: Sources, starts: Starts) -> tuple[Floats, Floats]:
    """Matrices and shifts in pixels of the full image, from a few dozen starts of one query."""
    factor = sources.edge // COARSE_EDGE
    matrices, shifts = starts.matrices.copy(), starts.shifts.copy()
    of_coarse = sources.images.coarse[starts.sources]
    _descend(query.coarse, of_coarse, starts.weights, matrices, shifts, COARSE_STEPS, starts.turning)
    shifts *= factor
    of_fine = sources.images.normalised[starts.sources]
    _descend(query.fine, of_fine, starts.weights, matrices, shifts, FINE_STEPS, starts.turning)
    lost = ~_within(matrices, shifts, sources.edge)
    matrices[lost], shifts[lost] = starts.matrices[lost], starts.shifts[lost] * factor
    return matrices, shifts


def polished(query: Query, sources: Sources, rows: Rows, masks: Masks, matrices: Floats, shifts: Floats) -> None:
    """Matrices and shifts that are nearly right made better, in place, where masks at the full size say."""
    step = sources.edge // COARSE_EDGE
    few, turning = masks[:, ::step, ::step].astype(np.float32), np.ones(len(rows), dtype=np.bool_)
    _descend(query.fine, sources.images.normalised[rows], few, matrices, shifts, FINE_STEPS, turning)


def _descend(
    changes: Images,
    images: Images,
    weights: Images,
    matrices: Floats,
    shifts: Floats,
    steps: int,
    turning: NDArray[np.bool_],
) -> None:
    # Solves source(A y + t) = a query(y) + b + J(y) d for (a, b, d), and takes d / a back from (A, t); in place.
    count, edge = images.shape[:2]
    products = (changes[:, None] * changes[None]).reshape(36, -1).T
    weights = weights.reshape(count, -1)
    free = np.ones((count, 6))
    free[~turning, 2:4] = 0
    held = np.array([1e-3, 1e-3, *[1.001] * 4]) * np.eye(6)
    for _ in range(steps):
        where = sampling(edge, matrices, shifts, edge // COARSE_EDGE)
        weight = weights * where.inside.reshape(weights.shape)
        values = where.of(images).reshape(weights.shape)
        normal = (weight @ products).reshape(-1, 6, 6) * (free[:, :, None] * free[:, None])
        right = ((weight * values) @ changes.T) * free
        ridge = 1e-4 * np.trace(normal, axis1=1, axis2=2) + 1e-6
        solved = np.linalg.solve(normal + ridge[:, None, None] * held, right[:, :, None])[..., 0]
        gain = solved[:, 0]
        step = np.clip(solved[:, 2:] / np.maximum(gain, 0.1)[:, None], -3, 3) * (gain > 0.1)[:, None]
        turn, grow = step[:, 0] / (edge / 4), step[:, 1] / (edge / 4)
        change = np.stack([1 + grow, -turn, turn, 1 + grow], axis=1).reshape(-1, 2, 2)
        # y moves to change(y) + shift; the map is followed backwards.
        matrices[:] = matrices @ np.linalg.inv(change)
        shifts -= (matrices @ step[:, 2:, None])[..., 0]


def _within(matrices: Floats, shifts: Floats, edge: int) -> NDArray[np.bool_]:
    straight = np.where((np.linalg.det(matrices) < 0)[:, None, None], matrices @ MIRROR, matrices)
    scale = np.sqrt(abs(np.linalg.det(matrices)))
    angle = np.degrees(np.arctan2(straight[:, 0, 1] - straight[:, 1, 0], straight[:, 0, 0] + straight[:, 1, 1]))
    near = (abs(angle) <= MOST_ROTATION) & (abs(shifts).max(axis=1) <= MOST_SHIFT * edge)
    found: NDArray[np.bool_] = near & (scale >= LEAST_SCALE) & (scale <= MOST_SCALE)
    return found
