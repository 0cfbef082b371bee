"""Euclidean distance beside cosine, as a validation metric: what every audit records of it (seed paper, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.detection import Policy, check_by_distance, check_nearest
from provenance.vocabulary import Population

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.audit.evidence import SubjectEvidence


def nearest_by_distance(subjects: Sequence[SubjectEvidence]) -> dict[str, int]:
    """In how many cases (a subject and a role) the nearest neighbor is the same by Euclidean distance.

    ``nearest``: cases with two recorded neighbors or more; ``same_nearest``: the same for certain; ``tied``: the two
    closest are equally near up to rounding, by either metric.
    """
    closest, second = [], []
    for subject in subjects:
        ranked = {(n.role, n.rank): n.similarity for n in subject.neighbors if n.rank <= 2}
        for (role, rank), similarity in ranked.items():
            if rank == 1 and (role, 2) in ranked:
                closest.append(similarity)
                second.append(ranked[role, 2])
    found = check_nearest(closest, second)
    return {"nearest": found.n, "same_nearest": found.same, "tied": found.tied}


def labels_by_distance(
    policy: Policy, scores: Sequence[float | None], others: Sequence[float | None]
) -> dict[str, Any]:
    """How many labels stay when mu, sigma and T are those of Euclidean distances.

    Nothing where T is not over these scores, or some image has no score.
    """
    known = [score for score in scores if score is not None]
    s_not_used = [other for other in others if other is not None]
    if policy.population is not Population.MAXIMA or len(known) < len(scores) or len(s_not_used) not in (0, len(known)):
        return {}
    found = check_by_distance(known, s_not_used or None, policy.alpha)
    return {"labels": found.n, "same_label": found.agreeing}
