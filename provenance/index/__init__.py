"""The vector index: one small contract, three engines held to it, and the exact mathematics on stored vectors.

Importing this costs NumPy alone; an engine's library is imported when its first store is opened.
"""

from provenance.index.contract import (
    CollectionSpec,
    Points,
    VectorIndex,
    checked_vectors,
    point_id,
    vector_digest,
)
from provenance.index.moments import Moments, MomentsCache, direct_pairwise, member_key, needs_direct, pairwise
from provenance.index.opening import mend_identity, open_index, require_index_url
from provenance.index.ranges import pairs_in_file
from provenance.index.rescoring import similarities
from provenance.index.salvage import Salvage
from provenance.index.search import available_threads, neighbors_by_engine, neighbors_in_file
from provenance.index.vectorfile import (
    clear,
    content_digest,
    ensure_vector_file,
    kept_arrays,
    load_vectors,
    prune,
    vector_file,
)

__all__ = [
    "CollectionSpec",
    "Moments",
    "MomentsCache",
    "Points",
    "Salvage",
    "VectorIndex",
    "available_threads",
    "checked_vectors",
    "clear",
    "content_digest",
    "direct_pairwise",
    "ensure_vector_file",
    "kept_arrays",
    "load_vectors",
    "member_key",
    "mend_identity",
    "needs_direct",
    "neighbors_by_engine",
    "neighbors_in_file",
    "open_index",
    "pairs_in_file",
    "pairwise",
    "point_id",
    "prune",
    "require_index_url",
    "similarities",
    "vector_digest",
    "vector_file",
]
