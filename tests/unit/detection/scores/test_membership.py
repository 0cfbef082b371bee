"""Membership scores against plain float64 loops, and that no block size or order shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import rankdata

from provenance.detection.scores.membership import RANKED, SCORES, combine_by_rank, membership_scores
from provenance.detection.scores.neighborhoods import fixed_point, neighborhoods
from provenance.errors import UsageError
from tests.vectors import unit

K = 4


def drawn(rng: np.random.Generator, n: int, dimension: int = 24) -> np.ndarray:
    return unit(rng.standard_normal((n, dimension)) + 0.5)


@pytest.fixture
def world() -> tuple[np.ndarray, np.ndarray, list[str | None]]:
    rng = np.random.default_rng(0)
    pool, release = drawn(rng, 31), drawn(rng, 47)
    release[3] = pool[5]
    groups = [f"patient{row // 3}" if row < 18 else None for row in range(31)]
    return pool, release, groups


def oracle(pool: np.ndarray, release: np.ndarray, groups: list[str | None]) -> dict[str, np.ndarray]:
    # One image at a time, straight from the formulas, in the vectors as they were given.
    p, g = pool.astype(np.float64), release.astype(np.float64)
    eps = np.median([min(np.linalg.norm(x - other) for other in g) for x in p])
    rows: dict[str, list[float]] = {name: [] for name in SCORES}
    for i, x in enumerate(p):
        others = [j for j in range(len(p)) if j != i and (groups[i] is None or groups[j] != groups[i])]
        to_g, to_r = sorted(g @ x)[::-1], sorted(p[others] @ x)[::-1]
        rows["nearest"].append(to_g[0])
        rows["nearest-mean"].append(sum(to_g[:K]) / K)
        rows["relative"].append(to_g[0] - to_r[0])
        r_g, r_r = (max(math.sqrt(max(2 - 2 * values[K - 1], 0)), 1e-3) for values in (to_g, to_r))
        densities = [K / (len(g) * r_g ** (p.shape[1] - 1)), K / (len(others) * r_r ** (p.shape[1] - 1))]
        rows["density"].append(math.log(densities[0] / densities[1]))
        labelled = sorted([(v, 1) for v in to_g] + [(v, 0) for v in to_r])[::-1][:K]
        rows["local-share"].append(sum(mark for _, mark in labelled) / K)
        rows["monte-carlo"].append(float(np.mean([np.linalg.norm(x - other) <= eps + 1e-9 for other in g])))
        ranks = [1 + sum(p[j] @ other > x @ other for j in others) for other in g]
        rows["retrieved"].append(ranks.count(1) / len(g))
        rows["retrieved-rank"].append(-(sum(ranks) / len(g) - 1) / len(others))
    return {name: np.array(values) for name, values in rows.items()}


def test_scores_are_those_of_plain_loops(world: tuple[np.ndarray, np.ndarray, list[str | None]]) -> None:
    pool, release, groups = world
    expected = oracle(pool, release, groups)
    assert list(membership_scores(neighborhoods(pool, release, groups, k=K))) == list(SCORES)
    found = membership_scores(neighborhoods(pool, release, groups, k=K), names=RANKED)  # those that stand in the oracle
    for name, values in found.items():
        # The factor d - 1 = 23 of the density multiplies the rounding of the vectors.
        np.testing.assert_allclose(values, expected[name], atol=2e-6 if name == "density" else 1e-7, err_msg=name)


def test_referenced_takes_the_same_score_of_another_release_off(
    world: tuple[np.ndarray, np.ndarray, list[str | None]],
) -> None:
    pool, release, groups = world
    other = drawn(np.random.default_rng(9), 20)
    found = membership_scores(
        neighborhoods(pool, release, groups, k=K), neighborhoods(pool, other, groups, k=K), ["referenced:density"]
    )
    difference = oracle(pool, release, groups)["density"] - oracle(pool, other, groups)["density"]
    np.testing.assert_allclose(found["referenced:density"], difference, atol=4e-6)


@pytest.mark.parametrize("block_numbers", [1, 7, 100, 1000])
def test_block_size_changes_no_bit(world: tuple[np.ndarray, np.ndarray, list[str | None]], block_numbers: int) -> None:
    pool, release, groups = world
    whole = membership_scores(neighborhoods(pool, release, groups, k=K))
    blocked = membership_scores(neighborhoods(pool, release, groups, k=K, block_numbers=block_numbers))
    for name in whole:
        np.testing.assert_array_equal(whole[name], blocked[name], err_msg=name)


def test_order_of_images_changes_no_bit(world: tuple[np.ndarray, np.ndarray, list[str | None]]) -> None:
    pool, release, groups = world
    rng = np.random.default_rng(1)
    by_pool, by_release = rng.permutation(len(pool)), rng.permutation(len(release))
    one = membership_scores(neighborhoods(pool, release, groups, k=K))
    two = membership_scores(neighborhoods(pool[by_pool], release[by_release], [groups[i] for i in by_pool], k=K))
    for name in one:
        np.testing.assert_array_equal(one[name][by_pool], two[name], err_msg=name)


def test_products_are_exact_whatever_the_order_of_the_sum() -> None:
    rng = np.random.default_rng(2)
    vectors = fixed_point(drawn(rng, 30, 2048), "vectors")
    as_integers = (vectors * 2**26).astype(np.int64)
    # Whole numbers as Python ints: no rounding anywhere.
    exact = [
        [int(sum(int(a) * int(b) for a, b in zip(x, y, strict=True))) for y in as_integers[:3]] for x in as_integers[:3]
    ]
    assert ((vectors @ vectors.T)[:3, :3] * 2.0**52).astype(np.int64).tolist() == exact


def test_one_planted_image_gives_what_the_larger_release_gives(
    world: tuple[np.ndarray, np.ndarray, list[str | None]],
) -> None:
    pool, release, groups = world
    small = neighborhoods(pool, release[:-1], groups, k=K)
    similarities = fixed_point(pool, "pool") @ fixed_point(release[-1:], "plant")[0]
    planted = small.with_planted(similarities, groups)
    whole = neighborhoods(pool, release, groups, k=K)
    names = [name for name in SCORES if name != "monte-carlo"]  # its radius is not recomputed
    for name in names:
        np.testing.assert_array_equal(membership_scores(planted)[name], membership_scores(whole)[name], err_msg=name)
    within = (fixed_point(pool, "pool") @ fixed_point(release, "release").T >= small.radius_similarity).sum(axis=1)
    assert planted.within_radius.tolist() == within.tolist()


def test_copies_stay_finite_and_rank_first(world: tuple[np.ndarray, np.ndarray, list[str | None]]) -> None:
    pool, release, groups = world
    release = np.concatenate([release, np.repeat(pool[7][None], K, axis=0)])
    for name, values in membership_scores(neighborhoods(pool, release, groups, k=K)).items():
        assert np.isfinite(values).all()
        # Image 5 is copied too; and a hub may be retrieved more often than a copied image.
        assert name.startswith("retrieved") or 7 in np.argsort(-values, kind="stable")[:2]


def test_where_all_are_equal_no_score_tells_them_apart() -> None:
    same = np.repeat(drawn(np.random.default_rng(3), 1), 12, axis=0)
    for values in membership_scores(neighborhoods(same, same[:5], k=2)).values():
        assert len(set(values.tolist())) == 1
        assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k must be 1 or more"),
        ({"k": 48}, "only 47 generated images"),
        ({"k": 28, "groups": ["a"] * 5 + [None] * 26}, "only 26 reals of other groups"),
        ({"pool": np.zeros((0, 24), dtype=np.float32)}, "one vector or more"),
        ({"pool": np.full((31, 24), np.nan, dtype=np.float32)}, "not finite"),
        ({"pool": np.ones((31, 24), dtype=np.float32)}, "not of unit length"),
        ({"pool": drawn(np.random.default_rng(0), 31, 12)}, "12 and of 24"),
        ({"groups": ["a"]}, "1 values for 31 images"),
    ],
)
def test_bad_input_is_named(
    world: tuple[np.ndarray, np.ndarray, list[str | None]], change: dict[str, object], message: str
) -> None:
    pool, release, _ = world
    arguments = {"pool": pool, "release": release, "groups": None, "k": K} | change
    with pytest.raises(UsageError, match=message):
        neighborhoods(**arguments)  # type: ignore[arg-type]


def test_unknown_scores_and_missing_references_are_named(
    world: tuple[np.ndarray, np.ndarray, list[str | None]],
) -> None:
    found = neighborhoods(world[0], world[1], k=K)
    with pytest.raises(UsageError, match="no membership score is called"):
        membership_scores(found, names=["closest"])
    with pytest.raises(UsageError, match="needs a reference release"):
        membership_scores(found, names=["referenced:nearest"])
    with pytest.raises(UsageError, match="same pool"):
        membership_scores(found, neighborhoods(world[0], world[1], k=2))
    with pytest.raises(UsageError, match="31 similarities"):
        found.with_planted(np.zeros(3))


def test_rank_average_by_hand() -> None:
    scores = {"a": [1.0, 2.0, 2.0, 9.0], "b": [0.4, 0.3, 0.2, 0.1]}
    expected = (rankdata(scores["a"]) + rankdata(scores["b"])) / 2 / 5
    assert combine_by_rank(scores) == pytest.approx(expected)
    monotone = {"a": np.exp(scores["a"]), "b": scores["b"]}
    assert combine_by_rank(monotone).tolist() == combine_by_rank(scores).tolist()
    with pytest.raises(UsageError, match="no scores"):
        combine_by_rank({})
    with pytest.raises(UsageError, match="not finite"):
        combine_by_rank({"a": [1.0, float("nan")]})
