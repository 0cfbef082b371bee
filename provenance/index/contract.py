"""The one contract of the vector store: what every engine takes, gives and refuses.

    create -> upsert -> flush -> get / iterate / count / search -> delete -> compact -> drop

Vectors are ``(n, parts, dimension)`` float32, unit length per part, checked here before any engine sees them:
engines accept NaN and zero vectors in silence and half apply a batch that holds one wrong vector. They are stored
with distance Dot, so that the bytes in the store are the bytes whose digest the catalog keeps.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from provenance.errors import VectorStoreError
from provenance.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from provenance.arrays import Float32s


NORM_TOLERANCE = 1e-4
POINT_NAMESPACE = uuid.UUID("5b0f5ec2-4c0b-5d4e-9b8f-6a3f0f7c1d21")
LOCK_TIMEOUT_SECONDS = 120.0
REQUEST_TIMEOUT_SECONDS = 60.0
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """Key and shape of one collection.

    Attributes:
        key: Immutable name; letters, digits, ``_`` and ``-``, at most 64.
        dimension: Length of one vector.
        parts: Vectors per image; 1 for a whole-image space.
        label: What an administrator of the engine is told of it.
    """

    key: str
    dimension: int
    parts: int = 1
    label: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise VectorStoreError(f"{self.key!r} can't be a collection's key", hint="use letters, digits, _ and -")
        if self.dimension < 1 or self.parts < 1:
            raise VectorStoreError(f"collection {self.key}: dimension and parts must be at least 1")

    @property
    def shape(self) -> tuple[int, int]:
        """``(parts, dimension)``: the shape of one image's vectors."""
        return self.parts, self.dimension

    @property
    def vector_names(self) -> list[str]:
        """The engine's name of each part: one unnamed vector, or ``p0`` ... where there are several."""
        return [""] if self.parts == 1 else [f"p{part}" for part in range(self.parts)]

    def named(self, vectors: list[list[float]]) -> Any:
        """The vectors of one image as engines take them: by name where there are several."""
        return vectors[0] if self.parts == 1 else dict(zip(self.vector_names, vectors, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """A batch of points, row by row.

    Attributes:
        ids: UUID strings, see ``point_id``.
        vectors: float32, ``(n, parts, dimension)``.
        payloads: Point facts (opaque image key, group key, vector digest); JSON values only.
    """

    ids: list[str]
    vectors: Float32s
    payloads: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.ids)

    def cut(self, start: int, end: int) -> Points:
        """The points from one row to before another."""
        return Points(self.ids[start:end], self.vectors[start:end], self.payloads[start:end])


class Ailment(NamedTuple):
    """How a collection is kept otherwise than it should be; ``key`` is empty for that of the store's identity.

    Unless ``is_lasting`` it takes no action now, or the server mends it itself.
    """

    key: str
    problem: str
    detail: str
    is_mended: bool
    is_lasting: bool = True


class VectorIndex(Resource, Protocol):
    """One vector store. Every method raises ``VectorStoreError`` where the store fails or the collection is unknown."""

    @property
    def store_uuid(self) -> str:
        """Identity of the store itself, made with it and never changed."""

    @property
    def in_flight(self) -> int:
        """How many calls that read are worth having under way at once, from threads; 1 where they would only wait."""

    def create(self, spec: CollectionSpec) -> None:
        """Makes the collection; does nothing where it exists with this shape, raises where it has another."""

    def drop(self, key: str) -> None:
        """Removes the collection and its files; does nothing where there is none."""

    def collections(self) -> list[str]:
        """The keys of all collections, sorted."""

    def upsert(self, key: str, points: Points) -> None:
        """Inserts or replaces points. Everything is checked first: a refused batch changes nothing."""

    def delete(self, key: str, ids: Sequence[str]) -> None:
        """Takes points out of sight at once; ids that aren't there are no error. See ``compact``."""

    def get(self, key: str, ids: Sequence[str], *, payloads: bool = True) -> Points:
        """The points of these ids in this order; those that aren't there are left out.

        Without ``payloads`` these are empty, and nothing is read for them.
        """

    def lacking(self, key: str, ids: Sequence[str]) -> list[str]:
        """Those of the ids that the collection does not hold, as a search of it would see them."""

    def iterate(self, key: str, batch: int = 1000) -> Iterator[Points]:
        """All points in ascending order of id, at most ``batch`` at a time."""

    def count(self, key: str) -> int:
        """The exact number of points."""

    def search(
        self, key: str, queries: Float32s, k: int, *, exact: bool = True, part: int = 0
    ) -> list[list[tuple[str, float]]]:
        """The k best ``(id, score)`` of each query, by falling score; of equal scores at the cut, any.

        Args:
            key: The collection.
            queries: float32, ``(n, 1, dimension)``, unit length.
            k: How many to give.
            exact: Whether to visit every point; an approximate search is for browsing, never for a verdict.
            part: Which part of the stored points is compared.
        """

    def flush(self, key: str) -> None:
        """Returns when everything upserted and deleted so far survives a killed process and a power cut."""

    def compact(self, key: str) -> bool:
        """Rewrites the files so that deleted vectors leave them too.

        Gives True if no deleted vector is left in the files; False if the engine does it in its own time.
        """

    def may_keep(self, key: str) -> list[str]:
        """Where bytes of a collection's vectors may be, or stay when it is dropped, that this contract does not reach.

        In words, each of one place; asked before it is dropped.
        """

    def agreed(self) -> str | None:
        """What reads asked replicas to agree on since this was asked last, at the least; ``None`` if there are none.

        ``majority``, ``quorum`` or ``any``.
        """

    def tend(self, specs: Sequence[CollectionSpec], *, repair: bool) -> list[Ailment]:
        """How these collections and the store's identity are kept otherwise than configured; put right if wanted.

        Of a server: what they allow, their labels (put right in silence) and replicas. In process:
        files that were copied without their holes.
        """

    def set_aside(self, key: str) -> None:
        """Takes a collection that can't be opened out of the way; its files are kept until ``discard``."""

    def remains(self, key: str) -> list[Path]:
        """The folders of what was set aside of a collection; none where an engine keeps no files here."""

    def discard(self, key: str) -> None:
        """Removes what was set aside of a collection."""

    def close(self) -> None:
        """Flushes and lets go of the store; a second call does nothing."""


def point_id(image_id: str, space_id: str) -> str:
    """The id of an image's point in a space: uuid5 of both, so that upserts are idempotent."""
    return str(uuid.uuid5(POINT_NAMESPACE, f"{image_id}\n{space_id}"))


def vector_digest(vector: Float32s) -> str:
    """Hex sha256 over the little-endian float32 bytes of one image's ``(parts, dimension)`` vectors."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype="<f4").tobytes()).hexdigest()


def checked_vectors(vectors: Float32s, spec: CollectionSpec) -> Float32s:
    """The vectors as a C-contiguous float32 array, if the collection may hold them.

    Args:
        vectors: ``(n, parts, dimension)``, float32.
        spec: The collection they are meant for.

    Raises:
        VectorStoreError: If the type or shape is another, or a part isn't finite and of unit length
            (within ``NORM_TOLERANCE``); the first such row is named.
    """
    array = np.asarray(vectors)
    if array.dtype != np.float32:
        raise VectorStoreError(f"collection {spec.key} takes float32 vectors, not {array.dtype}")
    if array.ndim != 3 or array.shape[1:] != spec.shape:
        raise VectorStoreError(
            f"collection {spec.key} takes vectors of shape (n, {spec.parts}, {spec.dimension}), not {array.shape}"
        )
    norms = np.sqrt(np.einsum("npd,npd->np", array, array, dtype=np.float64))
    wrong = np.argwhere(~(np.abs(norms - 1.0) <= NORM_TOLERANCE))  # the negation is true for NaN
    if len(wrong):
        row, part = (int(index) for index in wrong[0])
        raise VectorStoreError(
            f"collection {spec.key} takes vectors of length 1: row {row}, part {part} has length {norms[row, part]}",
            hint="the embedding of that image is broken; nothing of the batch was stored",
        )
    return np.ascontiguousarray(array)


def checked_ids(ids: Sequence[str]) -> list[str]:
    """The ids, if each is a UUID in its canonical text.

    Raises:
        VectorStoreError: Naming the first that isn't.
    """
    for candidate in ids:
        try:
            canonical = str(uuid.UUID(candidate))
        except (ValueError, AttributeError, TypeError):
            canonical = ""
        if canonical != candidate:
            raise VectorStoreError(f"{candidate!r} is no point id: a UUID in lower-case canonical text is needed")
    return list(ids)


def checked_points(points: Points, spec: CollectionSpec) -> Points:
    """The batch, if the collection may hold all of it.

    Raises:
        VectorStoreError: If vectors, ids or payloads are wrong, or an id stands twice.
    """
    vectors = checked_vectors(points.vectors, spec)
    ids = checked_ids(points.ids)
    if not len(ids) == len(vectors) == len(points.payloads):
        raise VectorStoreError(
            f"collection {spec.key}: {len(ids)} ids, {len(vectors)} vectors and {len(points.payloads)} payloads"
        )
    if len(set(ids)) != len(ids):
        raise VectorStoreError(f"collection {spec.key}: an id stands twice in one batch")
    for candidate, payload in zip(ids, points.payloads, strict=True):
        try:
            json.dumps(payload, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise VectorStoreError(f"the payload of point {candidate} isn't plain JSON: {error}") from error
    return Points(ids, vectors, points.payloads)


def checked_queries(queries: Float32s, k: int, part: int, spec: CollectionSpec) -> Float32s:
    """The queries as ``(n, dimension)`` float32.

    Raises:
        VectorStoreError: If they don't fit the collection, or ``k`` or ``part`` is out of range.
    """
    if k < 1 or not 0 <= part < spec.parts:
        raise VectorStoreError(f"collection {spec.key}: no search for k = {k} in part {part} of {spec.parts}")
    return checked_vectors(queries, CollectionSpec(spec.key, spec.dimension))[:, 0]


def by_score(pairs: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Ordered by falling score, then by id: engines leave equal scores unordered."""
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def no_collection(key: str) -> VectorStoreError:
    """The error of every engine for a key it doesn't hold."""
    return VectorStoreError(
        f"the vector index holds no collection {key}",
        hint="another process may have removed it or written it anew: run the command again; if it stays so, "
        "`provenance reconcile`",
    )


def other_shape(spec: CollectionSpec, found: tuple[int, int]) -> VectorStoreError:
    """The error of every engine for a collection that exists with another ``(parts, dimension)``."""
    return VectorStoreError(f"collection {spec.key} exists with (parts, dimension) = {found}, not {spec.shape}")
