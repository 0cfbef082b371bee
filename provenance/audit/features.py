"""The scores that a rule may use of one subject, from its neighbors: the same for fresh and for recorded evidence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from provenance.vocabulary import Role, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provenance.audit.evidence import Nearest
    from provenance.records import StoredNeighbor

S_USED, S_NOT_USED, NEAREST, NEAREST_MEAN = "s_used", "s_not_used", "nearest", "nearest_mean"
FEATURES = {Subject.GENERATED: (S_USED, S_NOT_USED), Subject.REAL: (NEAREST, NEAREST_MEAN)}
"""What is there for each kind of subject, in the order in which models take them."""


def features_of(subject: Subject, neighbors: Iterable[Nearest | StoredNeighbor]) -> Mapping[str, float | None]:
    """The features of one subject; all are cosines, ``None`` where there is nothing to compare with.

    For a generated image ``s_used`` is its greatest similarity to a candidate source (an image that was used, or of an
    unknown set may have been), ``s_not_used`` to an image known not to be used: S_u and S_n of the seed paper, eq. 2.
    For a real image ``nearest`` is S(r), its greatest similarity to a generated image (GAN-Leaks, Chen 2020), and
    ``nearest_mean`` the mean over its recorded neighbors, the policy's ``top_k`` nearest.
    """
    by_role: dict[Role, list[float]] = {}
    for neighbor in neighbors:
        by_role.setdefault(neighbor.role, []).append(neighbor.similarity)
    if subject is Subject.REAL:
        near = by_role.get(Role.RELEASE, [])
        mean = math.fsum(near) / len(near) if near else None
        return {NEAREST: max(near, default=None), NEAREST_MEAN: mean}
    candidates = by_role.get(Role.USED, []) + by_role.get(Role.AGAINST, [])
    return {S_USED: max(candidates, default=None), S_NOT_USED: max(by_role.get(Role.NOT_USED, []), default=None)}


def there(score: float | None) -> float:
    """A score that the rule's check has made sure of: every role that it needs holds an image."""
    assert score is not None, "checked before"
    return score
