"""Three statistics of copying that stand beside the release test, each with its permutation distribution. Pure.

T are the reals claimed used (members), P the others. For each generated g, r(g) is its nearest real.

    attribution  share of g with r(g) in T. Never against a binomial law: a few hub images attract most g, so the g
                 are not independent.
    C_T          (Meehan, Chaudhuri & Dasgupta 2020) Mann-Whitney z of the distances to T: with n distances d(p) of P
                 and m distances d(g),
                     U = #{(p, g): d(g) > d(p)} + #{equal} / 2        Z = (U - nm/2) / sqrt(nm (n + m + 1) / 12)
                 averaged over cells with weights #P(cell) / n; cells with fewer than ``MIN_IN_CELL`` of either are
                 left out. Far below 0: generated images lie closer to T than fresh reals do.
    AuthPct      (Alaa et al. 2022) share of g that are authentic: with t the member nearest to g and t' the member
                 of another group nearest to t, g is authentic iff d(g, t) > d(t, t'). Low: copies.

The textbook law of Z takes the g as independent, and that of AuthPct is not known. So each is recomputed with the
label "member" permuted over the reals' groups, everything else held: one-sided p-values, exact under the hypothesis
that membership does not matter. Assumptions as in ``release_test``. Own groups are left out of real-to-real distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.detection.checks import checked_flags, group_codes
from provenance.detection.release.membership_test import permutation_test_by_group
from provenance.errors import UsageError
from provenance.findings import DataCopying, PermutationTest

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.arrays import Flags, Float64s, Int64s
    from provenance.detection.checks import FlagsLike, Groups
    from provenance.detection.release.membership_test import Side
    from provenance.detection.scores.neighborhoods import NearestLists

    Cells = tuple[Int64s, Int64s]

MIN_IN_CELL = 10


def data_copying(
    release: NearestLists,
    reals: NearestLists,
    members: FlagsLike,
    *,
    groups: Groups | None = None,
    cells: Cells | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> DataCopying:
    """Attribution share, C_T and AuthPct with their permutation distributions; formulas and sources in the module.

    Labels are permuted over lists of nearest reals, so that no distance is computed again. A list of 50 holds no
    member once in 2^50 permutations when half of the reals are members.

    Args:
        release: The nearest reals of each generated image, indices into the reals.
        reals: The nearest other reals of each real, own group left out.
        members: Whether each real is claimed used; shape (n,).
        groups: Of the reals; ``None`` in a place: a group of its own.
        cells: Of each real and each generated image, whole numbers that were found without the labels (k-means on
            all reals); ``None``: one cell.
        permutations: Where there are more assignments, so many are drawn.
        seed: Of the draws.

    Raises:
        UsageError: If lengths differ or an index lies outside the reals.
    """
    known = checked_flags(members, "members")
    n = len(known)
    if len(reals.index) != n or max(release.index.max(), reals.index.max()) >= n:
        raise UsageError(f"the nearest lists do not belong to {n} reals")
    codes, count = group_codes(groups, n)
    of_members = np.bincount(codes, weights=known, minlength=count)
    mixed = int(((of_members > 0) & (of_members < np.bincount(codes, minlength=count))).sum())
    first = release.index[:, 0]
    attracted = np.sort(np.bincount(first, minlength=n))[::-1]
    hubs = int(np.searchsorted(np.cumsum(attracted), len(first) / 2) + 1)
    missing = np.r_[~known[release.index].any(axis=1), ~known[reals.index].any(axis=1)].mean()
    why = f"{mixed} groups hold members and others" if mixed else ""
    if known.all() or not known.any():
        why = "all reals are of one kind"
    if why:
        none = PermutationTest(None, reason=why)
        return DataCopying(none, none, none, hubs, float(missing), mixed)
    world = _World(release, reals, codes, _checked_cells(cells, n, len(first)))
    counts, size = np.bincount(codes[first], minlength=count), release.index.size + reals.index.size

    statistics: tuple[tuple[Any, Side, int], ...] = (
        (lambda chosen: counts[chosen].sum(axis=-1) / len(first), "greater", count),
        (world.each(world.c_t), "less", size),
        (world.each(world.auth_pct), "less", size),
    )
    attribution, c_t, auth_pct = (
        permutation_test_by_group(statistic, known, codes, permutations, seed, side, size=numbers)
        for statistic, side, numbers in statistics
    )
    return DataCopying(attribution, c_t, auth_pct, hubs, float(missing), mixed)


@dataclass(frozen=True, slots=True)
class _World:
    release: NearestLists
    reals: NearestLists
    codes: Int64s
    cells: Cells

    def each(self, statistic: Callable[[Flags], Float64s]) -> Callable[[Int64s], Float64s]:
        # scipy asks for many assignments at once: rows of codes of member groups.
        def of_assignments(chosen: Int64s) -> Float64s:
            rows = chosen.reshape(-1, chosen.shape[-1])
            of_group = np.zeros((len(rows), int(self.codes.max()) + 1), dtype=np.bool_)
            np.put_along_axis(of_group, rows, values=True, axis=1)
            return statistic(of_group[:, self.codes]).reshape(chosen.shape[:-1])

        return of_assignments

    def c_t(self, members: Flags) -> Float64s:
        real_cells, release_cells = self.cells
        to_reals, to_release = _to_members(self.reals, members)[1], _to_members(self.release, members)[1]
        cells = np.unique(real_cells)
        total, weight = np.zeros(len(members)), np.zeros(len(members))
        for cell in cells:
            mine, theirs = real_cells == cell, release_cells == cell
            fresh, m = ~members[:, mine], int(theirs.sum())
            n = fresh.sum(axis=1)
            counted = n if len(cells) == 1 else np.where(np.minimum(n, m) >= MIN_IN_CELL, n, 0)
            total += counted * _mann_whitney_z(to_reals[:, mine], fresh, to_release[:, theirs])
            weight += counted
        mean: Float64s = np.divide(total, weight, out=np.zeros(len(members)), where=weight > 0)
        return mean

    def auth_pct(self, members: Flags) -> Float64s:
        nearest, similarity = _to_members(self.release, members)
        # Closer = greater similarity: authentic iff g is farther from t than t is from its nearest member.
        to_others = np.take_along_axis(_to_members(self.reals, members)[1], nearest, axis=1)
        share: Float64s = (similarity < to_others).mean(axis=1)
        return share


def _to_members(lists: NearestLists, members: Flags) -> tuple[Int64s, Float64s]:
    # The first member of each list; where it has none, its last place. A row an assignment.
    is_member = members[:, lists.index]
    place = np.where(is_member.any(axis=2), is_member.argmax(axis=2), lists.index.shape[1] - 1)
    rows = np.arange(place.shape[1])
    return lists.index[rows, place], lists.similarity[rows, place]


def _mann_whitney_z(reals: Float64s, fresh: Flags, release: Float64s) -> Float64s:
    # Of distances, from similarities: a greater distance is a smaller similarity. Members stand behind all distances,
    # where they change no rank of the release.
    from scipy.stats import rankdata

    n, m = fresh.sum(axis=1), release.shape[1]
    distances = -np.concatenate([release, np.where(fresh, reals, -np.inf)], axis=1)
    u = rankdata(distances, axis=1)[:, :m].sum(axis=1) - m * (m + 1) / 2
    spread = np.sqrt(n * m * (n + m + 1) / 12)
    z: Float64s = np.divide(u - n * m / 2, spread, out=np.zeros(len(n)), where=spread > 0)
    return z


def _checked_cells(cells: Cells | None, reals: int, release: int) -> Cells:
    if cells is None:
        return np.zeros(reals, dtype=np.int64), np.zeros(release, dtype=np.int64)
    if (len(cells[0]), len(cells[1])) != (reals, release):
        raise UsageError(f"cells are needed for {reals} reals and {release} generated images")
    return cells
