"""Leakage inside sets and across them and releases: the same image or pixels twice, and near-duplicates.

Two images are near-duplicates by two independent kinds of evidence: their perceptual hashes differ in few bits, and
their embeddings are close. Both are asked for by default, either on request.

    members of the sets -> hashes (kept in the catalog, else from the sources) -> pairs by hash -> exact similarities

No table of all pairs is ever held: hashes are compared block by block, vectors only for the pairs that remain.
"""

from provenance.duplicates.hashing import looks_of
from provenance.duplicates.report import (
    DuplicateCluster,
    DuplicatePair,
    DuplicateReport,
    DuplicateRequest,
    find_duplicates,
)
from provenance.duplicates.rule import DuplicateRule
from provenance.duplicates.twins import TwinReport, find_twins

__all__ = [
    "DuplicateCluster",
    "DuplicatePair",
    "DuplicateReport",
    "DuplicateRequest",
    "DuplicateRule",
    "TwinReport",
    "find_duplicates",
    "find_twins",
    "looks_of",
]
