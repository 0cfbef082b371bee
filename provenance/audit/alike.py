"""Are the not-used images of an audit like those that they are held against, so that anything follows from them?

Compared is what is on record of both: modality, native size, mean grey, distance in the space. A gross shift makes
nothing follow, whatever the scores are; so do near-twins where they leave too few other images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.inputs import CANDIDATES
from provenance.audit.twins import twins_among
from provenance.detection import Appearance, ShiftCheck, check_shift
from provenance.vocabulary import Role, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.audit.bench import Bench
    from provenance.audit.inputs import FrozenAudit
    from provenance.records import Member

_CLAIMS = {Role.USED: "claimed used", Role.AGAINST: "of unknown use"}


def shifts_of(bench: Bench, seed: int) -> dict[tuple[Role, ...], ShiftCheck]:
    """Not-used images against those of each candidate role, and of all of them.

    Modality is that of the set, size the native one, distance that of the mean vectors (of a local space: of its parts'
    means).
    """
    frozen = bench.frozen
    roles = [role for role in CANDIDATES if frozen.reals.get(role)]
    pool, role_of = frozen.judged_reals, frozen.role_of
    acting = [role_of[member.image_id] for member in pool]
    sizes = bench.workspace.catalog.sizes_of([member.image_key for member in pool])
    vectors = bench.vectors.of(pool)

    def side(*those: Role) -> Appearance:
        rows = np.flatnonzero([role in those for role in acting])
        return _appearance(frozen, [pool[row] for row in rows.tolist()], sizes, vectors[rows])

    known = side(Role.NOT_USED)
    found = {(role,): check_shift(known, side(role), seed=seed) for role in roles}
    return found | {CANDIDATES: found[roles[0],] if len(roles) == 1 else check_shift(known, side(*roles), seed=seed)}


def gross_of(check: ShiftCheck | None, role: Role | None = None) -> str:
    """In what not-used images differ grossly from those of a role, and that nothing follows; empty: in nothing."""
    seen = [each for each in check.tests if each.gross] if check else []
    if not seen:
        return ""
    those = "the images that are judged" if role is None else f"the images {_CLAIMS[role]}"
    how = " and ".join(f"in {each.name} ({each.detail}; p = {each.p_corrected:.2g})" for each in seen)
    return (
        f"The images known not used are of another kind than {those}: they differ grossly {how}. The two kinds are "
        "told apart whether or not anything was used, so nothing follows from scores, one way or the other."
    )


MANY_TWINS, MOSTLY = 0.1, 0.5
"""The least share of calibration groups with near-twins that leaves too little to calibrate by, where nothing is found;
and above which nothing follows from what is found either: it tells two ways of saving one picture apart."""


def twins_too_many(frozen: FrozenAudit, roles: Sequence[Role], q: float, *, found: bool = False) -> str:
    """Why near-twins among the not-used images leave too few others to calibrate by; empty: they don't.

    A used image and its twin score alike, so that the twins rank among the highest of the calibration. With t of G
    groups, no p-value of a used image is below (1 + t) / (G + 1), and the AUC is nearer to 0.5 by the share t / G.
    ``found``: whether something is established all the same, which stands unless most of the groups are twins.
    """
    twins = frozenset().union(*(twins_among(frozen, role) for role in roles))
    members = frozen.reals.get(Role.NOT_USED, ())
    groups = {member.group_key or member.image_id for member in members}
    of_twins = {member.group_key or member.image_id for member in members if member.image_id in twins}
    t, g = len(of_twins), len(groups)
    few = t <= MOSTLY * g if found else t < MANY_TWINS * g or (1 + t) / (g + 1) <= q
    if not t or frozen.twins_excluded or few:
        return ""
    among = "those that are judged" if len(roles) > 1 else f"those {_CLAIMS[roles[0]]}"
    have = "has a near-twin" if len(twins) == 1 else "have near-twins"
    rest = (
        f"and the {g - t:,} calibration groups without one are too few to tell" if g > t else "and there are no others"
    )
    return (
        f"{len(twins):,} of {counted(len(members), 'image')} known not used {have} among {among} (the same picture "
        f"again, if re-encoded, resized, mirrored or turned). A used image can't outrank its twin, {rest}."
    )


def _appearance(
    frozen: FrozenAudit, members: Sequence[Member], sizes: Mapping[str, tuple[int, int]], vectors: np.ndarray
) -> Appearance:
    modality_of = {each.collection_key: each.dataset.modality for each in frozen.sets}
    modalities = [modality_of.get(member.collection_key, "") for member in members]
    pixels = [sizes[m.image_key][0] * sizes[m.image_key][1] for m in members if m.image_key in sizes]
    return Appearance(
        modalities=modalities if all(modalities) else None,
        pixels=np.array(pixels, dtype=np.float64) if len(pixels) == len(members) else None,
        intensities=np.array([frozen.greys[m.image_id] for m in members]) if frozen.greys else None,
        vectors=vectors[:, 0] if vectors.shape[1] == 1 else vectors.mean(axis=1),
        groups=[member.group_key for member in members],
    )
