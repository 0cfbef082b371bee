"""Local membership scores: does a real image's affinity to the release exceed what other reals foretell? Pure.

Descriptors are ``(n, parts, dim)``: one unit vector for each fixed position (patch, feature-map cell, token) of an
image; a whole-image space has one part. Positions are scored one by one and never compared with each other.

The score ``matching`` ("explaining away") at one position, for a real x of the pool, the release G:

    k(a, b) = exp((cos(a, b) - 1) / tau)                       a kernel: how alike two patches are
    f(x)    = mean over g in G of k(x, g)                      x's affinity to the release
    p(x)    = k_x' (K + ridge I)^-1 f                          its prediction from the pool without x's group
    v(x)    = k(x, x) + ridge - k_x' (K + ridge I)^-1 k_x      the prediction's variance, up to a factor
    c(x)    = (f(x) - p(x)) / sqrt(v(x))                       the standardised residual

with K and k_x over the reals of other groups. Were the release a mixture of kernels around some reals, f would be K
times the mixture's weights, and c(x) is x's weight up to scale: kernel mean matching (Huang 2006; Gretton 2009) with
the leave-one-group-out residual of kriging (Dubrule 1983). Difference-of-neighbors scores ask how many generated
patches are near x; this one asks for what no other real explains. c is z-scored over the pool (over each block of a
large one) at each position and averaged over positions.

Assumptions: labels are never used, and all images of the pool are treated alike, so that calibration and subjects
stay exchangeable (images known to be used may and should be in the pool beside them). The release was made at the
descriptors' resolution and orientation: a generator that turns or shifts what it remembers is not seen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.checks import group_codes
from provenance.detection.scores.positions import each_position
from provenance.errors import UsageError
from provenance.findings import JsonValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provenance.arrays import Float32s, Float64s, Int64s
    from provenance.detection.checks import Groups

    Progress = Callable[[int, int], None]

TAU = 0.5
RIDGE = 0.01
POOL_BLOCK = 4000
RELEASE_BLOCK = 1024
SCORE_DECIMALS = 6
UNIT_TOLERANCE = 1e-3
FLAT = 1e-7


@dataclass(frozen=True, slots=True)
class Matching(JsonValue):
    """The parameters of the score ``matching``.

    Attributes:
        tau: Width of the kernel, in cosines; 0.3 to 1 work alike, below 0.2 it sees single neighbors only.
        ridge: Added to the kernel's diagonal, whose own value is 1; 0.001 to 0.1 work alike.
        pool_block: Reals that explain one another at once. A larger pool is dealt by group into blocks of at most
            so many: the memory for one position grows with its square, the time with its cube. Larger sees more: a
            training image in another block explains nothing away.
        seed: Which deal.
    """

    tau: float = TAU
    ridge: float = RIDGE
    pool_block: int = POOL_BLOCK
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tau", "ridge"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UsageError(
                    f"{name} is {value}; it must be a positive number", hint="0.5 and 0.01 are the defaults"
                )
        if self.pool_block < 2:
            raise UsageError(f"pool_block is {self.pool_block}; it must be 2 or more")


@dataclass(frozen=True, slots=True)
class LocalScores:
    """Scores of all images of a pool; higher: rather used.

    Attributes:
        score: ``(n,)`` from the mean of the contributions over positions, rounded to 6 decimals.
        contributions: ``(n, parts)`` what each position speaks for membership, z-scored over the pool; 0 at
            positions where all images are alike.
        copy: ``(n,)`` what was added for being a copy (local_memory.py); 0 in scores of one kind.
    """

    score: Float64s
    contributions: Float64s
    copy: Float64s


def matching_scores(
    pool: Float32s,
    release: Float32s,
    groups: Groups | None = None,
    *,
    matching: Matching | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> LocalScores:
    """The score ``matching`` of every image of the pool against a release (module docstring).

    The order of pool and release, and the number of threads, do not change a bit of the result; block sizes change it
    by less than 1e-5.

    Args:
        pool: ``(n, parts, dim)`` unit vectors: calibration, subjects and known used images together.
        release: ``(m, parts, dim)`` unit vectors of the generated images.
        groups: Patient or study of each pool image; ``None`` (or an entry ``None``): a group of its own.
        matching: Parameters; the defaults if ``None``.
        threads: Positions worked at at once; memory grows with them.
        progress: Called with positions done and positions in all.

    Raises:
        UsageError: If an array is empty, misshapen, not finite or not of unit vectors, or if there are fewer than two
            groups.
    """
    matching = matching or Matching()
    codes, order, release_order = checked_pool(pool, release, groups)
    blocks = dealt(codes, groups, order, matching)

    def column(part: int) -> Float64s:
        generated = part_of(release, release_order, part)
        found = np.empty(len(pool))
        for rows in blocks:
            real = part_of(pool, rows, part)
            raw = residuals(real, affinity(real, generated, matching.tau), codes[rows], matching)
            found[rows] = standardised(raw)
        return found

    columns = each_position(column, pool.shape[1], threads=threads, progress=progress)
    return scores_of(np.stack(list(columns), axis=1))


def scores_of(contributions: Float64s) -> LocalScores:
    """Standardised contributions and their mean over positions: all 0 where no position tells any two images apart."""
    score = np.round(contributions.mean(axis=1), SCORE_DECIMALS) + 0.0
    return LocalScores(score=score, contributions=contributions, copy=np.zeros(len(score)))


def standardised(raw: Float64s) -> Float64s:
    """Columns with mean 0 and standard deviation 1 (ddof 0); columns that are constant up to rounding become 0."""
    centred = raw - raw.mean(axis=0)
    spread = centred.std(axis=0)
    greatest = np.maximum(raw.max(axis=0), -raw.min(axis=0))
    flat = spread <= FLAT * np.maximum(greatest, FLAT)
    centred /= np.where(flat, 1.0, spread)
    return np.where(flat, 0.0, centred) if np.any(flat) else centred


def affinity(real: Float32s, generated: Float32s, tau: float) -> Float64s:
    """``(n,)`` mean kernel of each real to the generated ones, in blocks of the latter."""
    total = np.zeros(len(real))
    for start in range(0, len(generated), RELEASE_BLOCK):
        total += kernel(real, generated[start : start + RELEASE_BLOCK], tau).sum(axis=1)
    return total / len(generated)


def kernel(left: Float32s, right: Float32s, tau: float) -> Float64s:
    """``exp((cos - 1) / tau)`` for all pairs: float32 products, float64 from there on."""
    return kernel_of((left @ right.T).astype(np.float64), tau)


def kernel_of(similarity: Float64s, tau: float) -> Float64s:
    """``exp((cos - 1) / tau)`` in the place of the cosines themselves."""
    np.clip(similarity, -1.0, 1.0, out=similarity)
    similarity -= 1.0
    similarity /= tau
    return np.exp(similarity, out=similarity)


def residuals(real: Float32s, affinities: Float64s, codes: Int64s, matching: Matching) -> Float64s:
    """Standardised leave-one-group-out residuals ``(n,)`` of the affinities f at one position."""
    return residuals_of_kernel(kernel(real, real, matching.tau), affinities, codes, matching.ridge)


def residuals_of_kernel(gram: Float64s, affinities: Float64s, codes: Int64s, ridge: float) -> Float64s:
    """As ``residuals``, from the kernel K of the reals, which is overwritten.

    With M lower triangular and H = M'M the inverse of K + ridge I, w = H f and B a group, the residuals of B without B
    are ``H_BB^-1 w_B`` and their covariance is ``H_BB^-1`` (block inversion); for a group of one, ``w / sqrt(h)``.
    """
    from scipy.linalg.lapack import dtrtri

    root = np.asarray(dtrtri(cholesky_of_kernel(gram, ridge), lower=1, overwrite_c=1)[0], dtype=np.float64)
    weights = root.T @ (root @ affinities)
    out: Float64s = weights / np.sqrt(np.einsum("ij,ij->j", root, root))
    for rows in groups_of_many(codes):
        covariance = np.linalg.inv(root[:, rows].T @ root[:, rows])
        out[rows] = covariance @ weights[rows] / np.sqrt(np.diag(covariance))
    return out


def cholesky_of_kernel(gram: Float64s, ridge: float) -> Float64s:
    """Lower triangular L with LL' = K + ridge I of the reals at one position; what is above it is not cleared."""
    from scipy.linalg.lapack import dpotrf

    gram.flat[:: len(gram) + 1] = 1.0 + ridge
    factor, failed = dpotrf(gram.T, lower=1, overwrite_a=1)
    if failed:
        raise UsageError(
            f"ridge {ridge} is too small: the images are too alike to be told apart",
            hint="give a larger ridge",
        )
    return np.asarray(factor, dtype=np.float64)


def groups_of_many(codes: Int64s) -> Iterator[Int64s]:
    """The rows of each group of two or more."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    return (rows for rows in np.split(order, starts) if len(rows) > 1)


def dealt(codes: Int64s, groups: Groups | None, order: Int64s, matching: Matching) -> list[Int64s]:
    """The pool in blocks of about equal size, whole groups each; one block if it is small enough.

    Groups are dealt by a keyed hash of their name, or of nothing but chance for those without (by content order), never
    by their place in the pool. A group larger than a block makes its block larger; a block of a single group, whose
    images nothing could explain, is refused.
    """
    count = -(-len(codes) // matching.pool_block)
    if count == 1:
        return [order]
    names = [None] * len(codes) if groups is None else list(groups)
    members: dict[int, list[int]] = {}
    keys: dict[int, bytes] = {}
    for place, row in enumerate(order.tolist()):
        code = int(codes[row])
        members.setdefault(code, []).append(row)
        name = f"place {place}" if names[row] is None else f"group {names[row]}"
        keys.setdefault(code, hashlib.sha256(f"{matching.seed}|{name}".encode()).digest())
    blocks: list[list[int]] = [[] for _ in range(count)]
    for code in sorted(members, key=lambda code: keys[code]):
        smallest = min(blocks, key=len)
        smallest += members[code]
    if any(len(np.unique(codes[block])) < 2 for block in blocks):
        raise UsageError("a block of the pool holds fewer than two groups", hint="give a larger pool_block")
    return [np.array(block, dtype=np.int64) for block in blocks]


def part_of(descriptors: Float32s, rows: Int64s, part: int) -> Float32s:
    """The vectors of some images at one position, contiguous float32."""
    return np.ascontiguousarray(descriptors[:, part][rows], dtype=np.float32)


def content_order(descriptors: Float32s) -> Int64s:
    """Rows in the order of their bytes' digests: the same whatever order they came in (equal rows change nothing)."""
    digests = [hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest() for row in descriptors]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)


def check_descriptors(descriptors: Float32s, name: str, like: Float32s | None = None) -> None:
    """Refuse what is not a set of unit vectors by image and position, image by image, shaped as ``like``."""
    if descriptors.ndim != 3 or 0 in descriptors.shape:
        empty = "holds no images" if len(descriptors) == 0 else f"has the shape {descriptors.shape}"
        raise UsageError(f"{name} {empty}; local scores take (images, positions, numbers)")
    if like is not None and descriptors.shape[1:] != like.shape[1:]:
        raise UsageError(
            f"{name} has {descriptors.shape[1:]} positions and numbers, the pool {like.shape[1:]}",
            hint="embed both in the same space",
        )
    for row, image in enumerate(descriptors):
        lengths = np.linalg.norm(np.asarray(image, dtype=np.float32), axis=1)
        if not (np.abs(lengths - 1.0) <= UNIT_TOLERANCE).all():
            raise UsageError(f"{name}: image {row} has a vector that is not finite or not of unit length")


def checked_pool(pool: Float32s, release: Float32s, groups: Groups | None) -> tuple[Int64s, Int64s, Int64s]:
    """Group codes of the pool, and the orders of pool and release by content; all is checked."""
    check_descriptors(pool, "pool")
    check_descriptors(release, "release", like=pool)
    codes, count = group_codes(groups, len(pool))
    if count < 2:
        raise UsageError(
            "the pool has fewer than two groups: without its own group, no image has a reference",
            hint="add images of other patients that are known not to be used",
        )
    return codes, content_order(pool), content_order(release)
