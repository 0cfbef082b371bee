"""Euclidean distance beside cosine, as a validation metric: what every audit records of it (seed paper, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.detection import check_nearest

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
