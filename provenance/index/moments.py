"""Mean and spread of ALL pairwise cosines between two collections, without visiting a pair.

With n vectors x, their sum s and their Gram matrix G = sum of x x^T (plain algebra):

    mean(A, B) = s_A . s_B / (n_A n_B)        E[c^2] = <G_A, G_B>_F / (n_A n_B)        variance = E[c^2] - mean^2

Both cost the same for a thousand images as for a hundred million. Vectors are those of a whole-image space
(parts = 1); cosines are taken as they are, without clipping to [-1, 1]. Everything here is float64.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import VectorStoreError
from provenance.files import UNFINISHED_SUFFIX, Outdated, unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from provenance.arrays import Float32s, Float64s

    Members = Sequence[tuple[str, str]]
    Fetch = Callable[[list[str]], Float32s]

SIGMA_FLOOR = 1e-4
DECIMALS = 9
_BLOCK_ROWS = 1024
_VERSION = 1


@dataclass(slots=True, eq=False)
class Moments:
    """Number, sum and Gram matrix of a collection of unit vectors.

    Attributes:
        n: How many vectors.
        s: Their sum, float64 ``(d,)``.
        gram: The sum of x x^T, float64 ``(d, d)``.
    """

    n: int
    s: Float64s
    gram: Float64s

    @classmethod
    def zero(cls, dimension: int) -> Moments:
        """The moments of no vectors."""
        return cls(0, np.zeros(dimension), np.zeros((dimension, dimension)))

    @classmethod
    def from_vectors(cls, vectors: Float32s) -> Moments:
        """The moments of float32 vectors ``(n, 1, d)`` or ``(n, d)``."""
        moments = cls.zero(vectors.shape[-1])
        moments.add(vectors)
        return moments

    @property
    def dimension(self) -> int:
        """Length of one vector."""
        return len(self.s)

    def add(self, vectors: Float32s) -> None:
        """Takes in vectors ``(n, 1, d)`` or ``(n, d)``."""
        self._change(vectors, 1)

    def remove(self, vectors: Float32s) -> None:
        """Takes out vectors that were taken in before; without the last one it is exactly zero again."""
        self._change(vectors, -1)

    def combined(self, other: Moments) -> Moments:
        """The moments of both together. What they share counts twice: take it off with ``minus``."""
        self._require_same_space(other)
        return Moments(self.n + other.n, self.s + other.s, self.gram + other.gram)

    def minus(self, other: Moments) -> Moments:
        """The moments without those of a part."""
        self._require_same_space(other)
        if other.n >= self.n:
            return self._emptied(self.n - other.n)
        return Moments(self.n - other.n, self.s - other.s, self.gram - other.gram)

    def _change(self, vectors: Float32s, sign: int) -> None:
        flat = _flat(vectors)
        if flat.shape[1] != self.dimension:
            raise VectorStoreError(f"moments of dimension {self.dimension} take no vectors of shape {vectors.shape}")
        if sign < 0 and len(flat) >= self.n:
            empty = self._emptied(self.n - len(flat))
            self.n, self.s, self.gram = empty.n, empty.s, empty.gram
            return
        for start in range(0, len(flat), _BLOCK_ROWS):
            block = flat[start : start + _BLOCK_ROWS].astype(np.float64)
            self.s += sign * block.sum(axis=0)
            self.gram += sign * (block.T @ block)
        self.n += sign * len(flat)

    def _emptied(self, left: int) -> Moments:
        if left < 0:
            raise VectorStoreError(f"{self.n} vectors are held; {self.n - left} can't be taken away")
        return Moments.zero(self.dimension)

    def _require_same_space(self, other: Moments) -> None:
        if other.dimension != self.dimension:
            raise VectorStoreError(f"moments of dimensions {self.dimension} and {other.dimension} don't go together")


def pairwise(a: Moments, b: Moments) -> tuple[float, float]:
    """Mean and variance (ddof = 0) of the ``n_a * n_b`` cosines between two collections.

    Raises:
        VectorStoreError: If one of them is empty.
    """
    a._require_same_space(b)
    pairs = _pairs(a.n, b.n)
    mean = math.fsum((a.s * b.s).tolist()) / pairs
    square = float(np.vdot(a.gram, b.gram)) / pairs
    return mean, max(0.0, square - mean * mean)


def needs_direct(mean: float, variance: float, *, tolerance: float = 1e-12) -> bool:
    """Whether mean and sigma should be computed by ``direct_pairwise`` before they are rounded to 9 decimals.

    So it is where sigma is below ``SIGMA_FLOOR`` (the difference E[c^2] - mean^2 has lost its digits), or where mean or
    sigma lies within ``tolerance`` of a rounding boundary; for sigma at least ``4e-15 / sigma``, as the rounding error
    of the variance is divided by 2 sigma.
    """
    sigma = math.sqrt(variance)
    if sigma < SIGMA_FLOOR:
        return True
    margins = ((mean, tolerance), (sigma, max(tolerance, 4e-15 / sigma)))
    return any(abs(abs(value) * 10**DECIMALS % 1.0 - 0.5) <= margin * 10**DECIMALS for value, margin in margins)


def direct_pairwise(a: Float32s, b: Float32s) -> tuple[float, float]:
    """Mean and sigma (ddof = 0) of all cosines, by visiting every pair: two passes, centred, block by block.

    Args:
        a: float32 ``(n, 1, d)`` or ``(n, d)``, in image_id order (the order of summation follows it).
        b: Likewise.

    Raises:
        VectorStoreError: If one of them is empty.
    """
    first, second = _flat(a), _flat(b)
    pairs = _pairs(len(first), len(second))
    products: Float64s = first.sum(axis=0, dtype=np.float64) * second.sum(axis=0, dtype=np.float64)
    mean = math.fsum(products.tolist()) / pairs
    shifts: list[float] = []
    squares: list[float] = []
    for left in range(0, len(first), _BLOCK_ROWS):
        rows = first[left : left + _BLOCK_ROWS].astype(np.float64)
        for right in range(0, len(second), _BLOCK_ROWS):
            centred = rows @ second[right : right + _BLOCK_ROWS].astype(np.float64).T - mean
            shifts.append(float(centred.sum()))
            squares.append(float(np.vdot(centred, centred)))
    shift = math.fsum(shifts) / pairs
    return mean + shift, math.sqrt(max(0.0, math.fsum(squares) / pairs - shift * shift))


class MomentsCache:
    """Moments of collections, one file each, with the set of members they hold (the watermark).

    A file is only ever a cache: what does not fit the members asked for is added or made anew, and a damaged file is
    made anew. Ask for whole collections; what sets share or an audit leaves out is taken off with ``Moments.minus``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def for_members(
        self,
        collection_key: str,
        members: Members,
        fetch: Fetch,
        *,
        dimension: int,
        is_current: Callable[[], bool] = lambda: True,
    ) -> Moments:
        """The moments of a collection's members: ``(point_id, vector_sha256)`` of each, in any order.

        ``fetch`` gives the verified vectors ``(n, 1, d)`` of point ids; it is asked only for members not held yet.
        Nothing is kept if they are not ``is_current`` any more (see ``kept_arrays``).

        Raises:
            VectorStoreError: If the file can't be written, or as ``fetch`` raises.
        """
        wanted = {member_key(*member): member[0] for member in members}
        moments, held = self._load(collection_key, dimension)
        if not held <= wanted.keys():
            moments, held = Moments.zero(dimension), set()
        new = [point for key, point in wanted.items() if key not in held]
        for start in range(0, len(new), _BLOCK_ROWS):
            moments.add(fetch(new[start : start + _BLOCK_ROWS]))
        if new:
            self._save(collection_key, moments, wanted.keys(), is_current)
        return moments

    def forget(self, collection_key: str, point_id: str, vector_sha256: str, vector: Float32s) -> None:
        """Takes one member's vector ``(1, d)`` or ``(d,)`` out of the file at once; nothing where it isn't in.

        A vector that is not the member's any more can't be taken out: then the file goes, as one that is being written.
        """
        flat = np.asarray(vector, dtype="<f4").reshape(1, -1)
        for file in self._folder.glob(f"{collection_key}-*{UNFINISHED_SUFFIX}"):
            file.unlink(missing_ok=True)
        moments, held = self._load(collection_key, flat.shape[1])
        key = member_key(point_id, vector_sha256)
        if key not in held:
            return
        if hashlib.sha256(flat.tobytes()).hexdigest() != vector_sha256:
            self.drop(collection_key)
            return
        moments.remove(flat)
        self._save(collection_key, moments, held - {key})

    def watermark(self, collection_key: str, *, dimension: int) -> set[bytes] | None:
        """The members that a collection's file holds (see ``member_key``): none where it is damaged.

        ``None``: there is no file.
        """
        return self._load(collection_key, dimension)[1] if self._file(collection_key).exists() else None

    def collections(self) -> list[str]:
        """The keys of the collections that have a file, sorted."""
        return sorted(file.stem for file in self._folder.glob("*.moments"))

    def drop(self, collection_key: str) -> None:
        """Removes the collection's file."""
        self._file(collection_key).unlink(missing_ok=True)

    def rename(self, collection_key: str, new_key: str) -> None:
        """Gives the file of a collection to the one that was written anew in its place; nothing where there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._file(collection_key).replace(self._file(new_key))

    def _file(self, collection_key: str) -> Path:
        return self._folder / f"{collection_key}.moments"

    def _load(self, collection_key: str, dimension: int) -> tuple[Moments, set[bytes]]:
        """What the file holds; nothing where there is none, it is damaged, or of another version or dimension."""
        try:
            content = self._file(collection_key).read_bytes()
        except OSError:
            content = b""
        arrays, digest = content[:-32], content[-32:]
        if hashlib.sha256(arrays).digest() != digest:
            return Moments.zero(dimension), set()
        with np.load(io.BytesIO(arrays), allow_pickle=False) as stored:
            if (int(stored["version"]), len(stored["s"])) != (_VERSION, dimension):
                return Moments.zero(dimension), set()
            moments = Moments(int(stored["n"]), stored["s"], stored["gram"])
            return moments, {key.tobytes() for key in stored["members"]}

    def _save(
        self, key: str, moments: Moments, keys: Collection[bytes], is_current: Callable[[], bool] = lambda: True
    ) -> None:
        members = np.frombuffer(b"".join(sorted(keys)), dtype=np.uint8).reshape(-1, 16)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            arrays = io.BytesIO()
            np.savez(arrays, version=_VERSION, n=moments.n, s=moments.s, gram=moments.gram, members=members)
            with suppress(Outdated), unfinished(self._file(key)) as stream:
                stream.write(arrays.getbuffer())
                stream.write(hashlib.sha256(arrays.getbuffer()).digest())
                if not is_current():
                    raise Outdated
        except OSError as error:
            raise VectorStoreError(
                f"the moments of collection {key} can't be kept in {self._folder}: {error}",
                hint="check that the disk has room and is writable",
            ) from error


def member_key(point_id: str, vector_sha256: str) -> bytes:
    """One member as the watermark knows it."""
    return hashlib.sha256(f"{point_id}|{vector_sha256}".encode()).digest()[:16]


def _flat(vectors: Float32s) -> Float32s:
    flat = vectors[:, 0] if vectors.ndim == 3 and vectors.shape[1] == 1 else vectors
    if flat.ndim != 2:
        raise VectorStoreError(f"moments are of whole-image vectors (n, 1, d), not {vectors.shape}")
    return flat


def _pairs(n_a: int, n_b: int) -> int:
    if not n_a or not n_b:
        raise VectorStoreError("there are no pairs between collections of which one is empty")
    return n_a * n_b
