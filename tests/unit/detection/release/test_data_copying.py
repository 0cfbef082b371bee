"""Attribution, C_T and AuthPct straight from distances, and hubs that fool no permutation test."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binomtest, mannwhitneyu

from provenance.detection.release.data_copying import data_copying
from provenance.errors import UsageError
from tests.nearest import nearest_lists
from tests.vectors import unit


def lists(real: np.ndarray, generated: np.ndarray, groups: list[int], k: int) -> tuple:
    own = nearest_lists(real, real, k=k, query_groups=groups, reference_groups=groups)
    return nearest_lists(generated, real, k=min(k, len(real))), own


def by_hand(
    real: np.ndarray, generated: np.ndarray, groups: np.ndarray, members: np.ndarray
) -> tuple[float, float, float]:
    cosine = generated.astype(float) @ real.astype(float).T
    between = real.astype(float) @ real.astype(float).T
    between[groups[:, None] == groups[None, :]] = -2
    share = members[cosine.argmax(axis=1)].mean()
    to_release, to_fresh = cosine[:, members].max(axis=1), between[~members][:, members].max(axis=1)
    n, m = len(to_fresh), len(to_release)
    u = mannwhitneyu(-to_release, -to_fresh).statistic
    nearest = np.flatnonzero(members)[cosine[:, members].argmax(axis=1)]
    authentic = to_release < between[nearest][:, members].max(axis=1)
    return float(share), float((u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12)), float(authentic.mean())


def test_values_and_p_equal_full_enumeration() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), [1, 2, 1, 1, 2, 1, 1, 1])
    real, generated = unit(rng.standard_normal((10, 12))), unit(rng.standard_normal((25, 12)))
    generated[:6] = unit(real[[1, 2, 3, 1, 2, 3]] + 0.05 * rng.standard_normal((6, 12)))
    members = np.isin(groups, [1, 2, 4, 6])
    release, own = lists(real, generated, groups.tolist(), 8)
    result = data_copying(release, own, members, groups=groups.tolist())
    observed = by_hand(real, generated, groups, members)
    every = np.array([by_hand(real, generated, groups, np.isin(groups, c)) for c in combinations(range(8), 4)])
    for test, value, law, sign in zip(
        (result.attribution, result.c_t, result.auth_pct), observed, every.T, (1, -1, -1), strict=True
    ):
        assert test.value == pytest.approx(value)
        assert test.null_mean == pytest.approx(law.mean())
        assert test.p_value == pytest.approx((sign * law >= sign * value - 1e-9).mean())
    assert result.truncated == 0
    json.dumps(result.to_json(), allow_nan=False)


def test_copies_show_in_all_three() -> None:
    rng = np.random.default_rng(1)
    real = unit(rng.standard_normal((80, 16)))
    members = np.arange(80) < 40
    generated = unit(real[rng.integers(0, 40, 120)] + 0.1 * rng.standard_normal((120, 16)))
    result = data_copying(*lists(real, generated, list(range(80)), 30), members, permutations=199)
    assert result.attribution.p_value == result.c_t.p_value == result.auth_pct.p_value == 1 / 200
    assert result.c_t.value < result.c_t.null_low < 0  # type: ignore[operator]


def test_a_hub_that_fools_the_binomial_test_does_not_fool_the_permutations() -> None:
    rng = np.random.default_rng(2)
    real = rng.standard_normal((60, 16))
    real[0] += 40 * np.eye(16)[0]
    generated = unit(0.6 * rng.standard_normal((200, 16)) + 3 * np.eye(16)[0])
    members = np.arange(60) < 30
    result = data_copying(*lists(unit(real), generated, list(range(60)), 30), members, permutations=199)
    share = result.attribution.value
    assert share is not None
    assert binomtest(round(share * 200), 200, 0.5, alternative="greater").pvalue < 1e-6
    assert result.attribution.p_value > 0.2
    assert result.hubs == 1


def test_cells_average_z_by_their_fresh_reals() -> None:
    rng = np.random.default_rng(3)
    real, generated = unit(rng.standard_normal((90, 8))), unit(rng.standard_normal((80, 8)))
    members = np.arange(90) % 3 == 0
    cells = (np.arange(90) % 2, np.arange(80) % 2)
    release, own = lists(real, generated, list(range(90)), 60)
    found = data_copying(release, own, members, cells=cells, permutations=19).c_t.value
    fresh = ~members
    cosine, between = (
        generated.astype(float) @ real[members].astype(float).T,
        real.astype(float) @ real[members].astype(float).T,
    )
    total = 0.0
    for cell in (0, 1):
        one, two = between[fresh & (cells[0] == cell)].max(axis=1), cosine[cells[1] == cell].max(axis=1)
        n, m = len(one), len(two)
        u = mannwhitneyu(-two, -one).statistic
        total += n * (u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12)
    assert found == pytest.approx(total / fresh.sum())


def test_what_cannot_be_permuted_has_a_reason() -> None:
    rng = np.random.default_rng(4)
    real, generated = unit(rng.standard_normal((12, 4))), unit(rng.standard_normal((5, 4)))
    release, own = lists(real, generated, list(range(12)), 5)
    mixed = data_copying(release, own, [1, 0] * 6, groups=["a", "a", *"bcdefghijk"])
    assert (mixed.attribution.value, mixed.mixed_groups) == (None, 1)
    assert "hold members and others" in mixed.c_t.reason
    assert data_copying(release, own, [True] * 12).auth_pct.reason == "all reals are of one kind"
    with pytest.raises(UsageError, match="do not belong to 3 reals"):
        data_copying(release, own, [1, 0, 1])
    with pytest.raises(UsageError, match="cells are needed"):
        data_copying(release, own, [1, 0] * 6, cells=(np.zeros(3, dtype=np.int64), np.zeros(5, dtype=np.int64)))
