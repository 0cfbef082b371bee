"""The tree of errors. Each carries what happened, what to do about it, and an exit code.

    ProvenanceError            1   root; a bare one is a defect
    +-- UsageError             2   the call's own words are wrong
    +-- SourceError            3   a source can't be read, or holds nothing to read
    +-- EmbeddingError         4   a backbone, its weights or its space
    |   +-- WeightsError           weights not to be had, or not what they claim
    |   +-- SpaceMismatchError     vectors of two spaces would meet
    +-- VectorStoreError       5   the index: unreachable, damaged, or wrong vectors
    |   +-- StoreLockedError       another process holds it
    +-- CatalogError           6   the database: unreachable, not migrated, or append-only
    +-- NotFoundError          7   no such name or id, or more than one
    +-- ConflictError          8   it contradicts what is on record

A bad input image is no error: it is a ``Rejection``. Exit codes 10 and 11 are those of ``audit --fail-on``.
Standard library only.
"""

from __future__ import annotations


class ProvenanceError(Exception):
    """Root of all errors that are meant for people.

    Attributes:
        message: What happened, to which item.
        hint: What to do about it; empty where there is nothing to advise.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ProvenanceError):
    """The call's own words are wrong."""

    exit_code = 2


class SourceError(ProvenanceError):
    """A source can't be read, or holds nothing to read."""

    exit_code = 3


class EmbeddingError(ProvenanceError):
    """A backbone can't be had or gives no usable vectors."""

    exit_code = 4


class WeightsError(EmbeddingError):
    """Weights are not to be had, or are not what they claim to be."""


class SpaceMismatchError(EmbeddingError):
    """Vectors of different embedding spaces would meet."""


class VectorStoreError(ProvenanceError):
    """The vector index is unreachable, damaged, or was given vectors it must not take."""

    exit_code = 5


class StoreLockedError(VectorStoreError):
    """Another process holds the vector index."""


class CatalogError(ProvenanceError):
    """The database is unreachable, not migrated, or refused the change."""

    exit_code = 6


class NotFoundError(ProvenanceError):
    """No such name or id, or more than one that it could mean."""

    exit_code = 7


class ConflictError(ProvenanceError):
    """What was asked contradicts what is on record."""

    exit_code = 8
