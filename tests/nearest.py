"""The nearest references of each query, straight from all their products: what tests judge by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.detection import NearestLists
from provenance.detection.scores.neighborhoods import fixed_point

if TYPE_CHECKING:
    from collections.abc import Sequence


def nearest_lists(
    queries: Any,
    references: Any,
    *,
    k: int,
    query_groups: Sequence[object] | None = None,
    reference_groups: Sequence[object] | None = None,
) -> NearestLists:
    """The k nearest references of each query, own group left out where groups are given for both."""
    similarity = np.clip(fixed_point(queries, "queries") @ fixed_point(references, "references").T, -1, 1)
    if query_groups is not None and reference_groups is not None:
        own = [[one is not None and one == other for other in reference_groups] for one in query_groups]
        similarity[np.array(own)] = -np.inf
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return NearestLists(order, np.take_along_axis(similarity, order, axis=1))
