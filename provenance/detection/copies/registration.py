"""Registering a query with candidate sources: coarse by Fourier transforms, then to parts of a pixel. Pure.

Coarse: the query at 32 x 32, in 25 views (turned by -12 ... 12 degrees, scaled by 0.8 ... 1.25), is correlated with
each source at all shifts to a quarter of the edge at once; the highest value wins. A second start for each source
comes from its windows alone (``piece_starts``): what moves together, whatever the rest does.

Fine: Gauss-Newton on the four numbers of a similarity (Lucas & Kanade 1981, inverse compositional after Baker &
Matthews 2004), brightness and contrast free as in ECC (Evangelidis & Psarakis 2008), coarse image first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.copies.geometry import MIRROR, grid, sampled, similarity
from provenance.detection.copies.retrieval import HIGHEST, PADDED, PLACES, WINDOW, spectra, window_descriptors
from provenance.detection.copies.structure import COARSE_EDGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from provenance.detection.copies.geometry import Floats
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
        weights: ``(n, 32, 32)`` which pixels of the query are held against the source.
        values: ``(n,)`` how well each fits; higher is better.
    """

    sources: Rows
    matrices: Floats
    shifts: Floats
    weights: Images
    values: Floats

    def best(self, count: int) -> Starts:
        """The ``count`` of the highest values, in their order."""
        order = np.argsort(-self.values, kind="stable")[:count]
        return Starts(
            self.sources[order], self.matrices[order], self.shifts[order], self.weights[order], self.values[order]
        )


@cache
def _views() -> Floats:
    views = [similarity(rotation, scale, mirrored=False) for rotation in ROTATIONS for scale in SCALES]
    return np.stack(views)


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
        these = np.flatnonzero(mirrored == flipped)
        views = _views() @ MIRROR if flipped else _views()
        turned, inside = sampled(np.repeat(query[None], len(views), 0), views, np.zeros((len(views), 2)))
        surface = _correlations(spectra(turned * inside), sources.spectra[rows[these]]).reshape(len(these), -1)
        best = surface.argmax(axis=1)
        values[these] = surface[np.arange(len(these)), best]
        view, down, right = np.unravel_index(best, (len(views), 2 * SHIFTS + 1, 2 * SHIFTS + 1))
        # The source at x + t agrees with the query at view(x): y = view(x) lies at view^-1(y) + t.
        matrices[these] = np.linalg.inv(views)[view]
        shifts[these] = np.stack([down, right], axis=1) - SHIFTS
    weights = np.ones((len(rows), COARSE_EDGE, COARSE_EDGE), dtype=np.float32)
    return Starts(np.asarray(rows), matrices, shifts, weights, values)


@cache
def _waves() -> tuple[Complexes, Images]:
    # Fourier sums over the frequencies kept, at the shifts wanted only: fewer than all that a fast transform gives.
    shifts = np.arange(-SHIFTS, SHIFTS + 1)
    rows = np.r_[0 : HIGHEST + 1, -HIGHEST:0]
    down = np.exp(2j * np.pi * np.outer(shifts, rows) / PADDED).astype(np.complex64)
    columns = np.arange(HIGHEST + 1)
    twice = np.where(columns > 0, 2, 1)[:, None]
    right = twice * np.exp(2j * np.pi * np.outer(columns, shifts) / PADDED) / PADDED**2
    return down, np.concatenate([right.real, -right.imag]).astype(np.float32)


def _correlations(views: Complexes, sources: Complexes) -> Images:
    # (c, v, shifts, shifts): of every view with every source.
    down, right = _waves()
    product = np.conj(views)[:, None] * sources[None]
    v, c, rows, columns = product.shape
    along = down @ np.ascontiguousarray(product.transpose(2, 1, 0, 3)).reshape(rows, -1)
    halves = along.reshape(-1, columns)
    surface = np.concatenate([halves.real, halves.imag], axis=1) @ right
    return surface.reshape(len(down), c, v, right.shape[1]).transpose(1, 2, 0, 3)


def piece_starts(query: Images, sources: Sources, rows: Rows, mirrored: NDArray[np.bool_]) -> Starts:
    """Where the windows of the query that move together find themselves in each source.

    Args:
        query: ``(32, 32)`` in coarse form.
        sources: The real images.
        rows: ``(c,)`` candidates among them.
        mirrored: ``(c,)`` whether the query stands mirrored to each.
    """
    shifts, values = np.zeros((len(rows), 2)), np.zeros(len(rows))
    weights = np.zeros((len(rows), COARSE_EDGE, COARSE_EDGE), dtype=np.float32)
    matrices = np.stack([MIRROR if flipped else np.eye(2) for flipped in mirrored])
    for flipped in np.unique(mirrored):
        view = np.ascontiguousarray(query[:, ::-1]) if flipped else query
        descriptors, structured = window_descriptors(view[None])
        for at in np.flatnonzero(mirrored == flipped):
            cosines = descriptors[0] @ sources.windows[:, :, rows[at]].T
            step, agreeing, values[at] = _moved_together(cosines, structured[0])
            shifts[at] = step
            mask = _covered(agreeing)
            weights[at] = mask[:, ::-1] if flipped else mask
    return Starts(np.asarray(rows), matrices, shifts, weights, values)


@cache
def _steps() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    # Of each pair of windows (49, 49): which of the 7 x 7 steps leads from one to the other, or -1; and the steps.
    side = len(PLACES)
    row, column = np.divmod(np.arange(side**2), side)
    down, right = row[None] - row[:, None], column[None] - column[:, None]
    near = np.maximum(abs(down), abs(right)) <= side // 2
    number = np.where(near, (down + side // 2) * side + right + side // 2, -1)
    spacing = PLACES[1] - PLACES[0]
    return number, (np.stack(np.divmod(np.arange(side**2), side), axis=1) - side // 2) * spacing


def _moved_together(cosines: Images, structured: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Images, float]:
    number, steps = _steps()
    windows = len(number)
    fisher = np.full((windows, windows), np.nan, dtype=np.float32)
    at, to = np.nonzero(number >= 0)
    fisher[at, number[at, to]] = np.arctanh(np.clip(cosines[at, to], -0.99, 0.99))
    excess = np.nan_to_num(np.maximum(fisher - 0.6, 0), nan=0.0) * structured[:, None]
    total = excess.sum(axis=0)
    step = int(total.argmax())
    return steps[step], excess[:, step], float(total[step])


def _covered(agreeing: Images) -> Images:
    mask = np.zeros((COARSE_EDGE, COARSE_EDGE), dtype=np.float32)
    for place, much in enumerate(agreeing):
        if much > 0:
            row, column = (PLACES[index] for index in divmod(place, len(PLACES)))
            mask[row : row + WINDOW, column : column + WINDOW] += much
    return np.minimum(mask, 1) if mask.any() else np.ones_like(mask)


def refined(query: Prepared, sources: Sources, starts: Starts, *, turning: bool = True) -> tuple[Floats, Floats]:
    """Matrices and shifts in pixels of the full image, from starts of one query.

    Args:
        query: One image.
        sources: The real images.
        starts: At most a few dozen.
        turning: Whether rotation and scale are free; shifts always are.
    """
    factor = sources.edge // COARSE_EDGE
    matrices, shifts = starts.matrices.copy(), starts.shifts.astype(np.float64)
    of_coarse = sources.images.coarse[starts.sources]
    _descend(query.coarse[0], of_coarse, starts.weights, matrices, shifts, COARSE_STEPS, turning)
    shifts *= factor
    weights = starts.weights.repeat(factor, axis=1).repeat(factor, axis=2)
    polished(query, sources, starts.sources, weights, matrices, shifts, turning=turning)
    lost = ~_within(matrices, shifts, sources.edge)
    matrices[lost], shifts[lost] = starts.matrices[lost], starts.shifts[lost] * factor
    return matrices, shifts


def polished(
    query: Prepared,
    sources: Sources,
    rows: Rows,
    weights: Images,
    matrices: Floats,
    shifts: Floats,
    *,
    turning: bool = True,
) -> None:
    """Matrices and shifts that are nearly right made better, in place, at full size and where there is weight."""
    of_sources = sources.images.normalised[rows]
    _descend(query.normalised[0], of_sources, weights, matrices, shifts, FINE_STEPS, turning)


def _descend(
    query: Images, images: Images, weights: Images, matrices: Floats, shifts: Floats, steps: int, turning: bool
) -> None:
    # Solves source(A y + t) = a query(y) + b + J(y) d for (a, b, d), and takes d / a back from (A, t); in place.
    edge = len(query)
    columns = _columns(query)[:, :] if turning else _columns(query)[[0, 1, 4, 5]]
    free = len(columns)
    products = np.ascontiguousarray((columns[:, None] * columns[None]).reshape(free * free, -1).T)
    for _ in range(steps):
        values, inside = sampled(images, matrices, shifts)
        weight = (weights * inside).reshape(len(images), -1)
        normal = (weight @ products).reshape(-1, free, free).astype(np.float64)
        right = ((weight * values.reshape(len(images), -1)) @ columns.T).astype(np.float64)
        ridge = 1e-4 * np.trace(normal, axis1=1, axis2=2) + 1e-6
        held = np.diag([0.0, 0.0, *[1.0] * (free - 2)])
        solved = np.linalg.solve(normal + ridge[:, None, None] * (held + 1e-3 * np.eye(free)), right[:, :, None])[
            ..., 0
        ]
        gain = solved[:, 0]
        step = np.clip(solved[:, 2:] / np.maximum(gain, 0.1)[:, None], -3, 3) * (gain > 0.1)[:, None]
        if turning:
            turn, grow = step[:, 0] / (edge / 4), step[:, 1] / (edge / 4)
            change = np.stack([np.stack([1 + grow, -turn], 1), np.stack([turn, 1 + grow], 1)], axis=1)
            # y moves to change(y) + shift; the map is followed backwards.
            matrices[:] = matrices @ np.linalg.inv(change)
        shifts -= (matrices @ step[:, -2:, None])[..., 0]


def _columns(query: Images) -> Images:
    edge = len(query)
    down, right = (part.ravel() for part in np.gradient(query))
    row, column = grid(edge) / (edge / 4)
    turn, grow = right * row - down * column, down * row + right * column
    return np.stack([query.ravel(), np.ones(edge * edge), turn, grow, down, right]).astype(np.float32)


def _within(matrices: Floats, shifts: Floats, edge: int) -> NDArray[np.bool_]:
    straight = np.where((np.linalg.det(matrices) < 0)[:, None, None], matrices @ MIRROR, matrices)
    scale = np.sqrt(abs(np.linalg.det(matrices)))
    angle = np.degrees(np.arctan2(straight[:, 0, 1] - straight[:, 1, 0], straight[:, 0, 0] + straight[:, 1, 1]))
    near = (abs(angle) <= MOST_ROTATION) & (abs(shifts).max(axis=1) <= MOST_SHIFT * edge)
    found: NDArray[np.bool_] = near & (scale >= LEAST_SCALE) & (scale <= MOST_SCALE)
    return found
