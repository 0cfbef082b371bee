"""Local scores against plain loops in float64, their invariances, bad input, and real slices with known truth."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provenance.detection.scores.local import LocalScores, Matching, matching_scores
from provenance.detection.scores.local_memory import local_scores, referenced, robust, scores_with_each_plant
from provenance.detection.scores.local_neighbors import local_nearest_scores, speaking_parts
from provenance.errors import UsageError
from tests.vectors import unit

DATA = Path(__file__).resolve().parents[5] / "shared" / "data"


def made_up(n: int = 24, m: int = 30, parts: int = 3, dim: int = 6, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=(n, parts, dim)) + 1), unit(rng.normal(size=(m, parts, dim)) + 1)


def by_loops(pool: Any, release: Any, groups: list[str], tau: float, ridge: float) -> Any:
    """The definition, one image at a time: predict its affinity from the images of other groups."""
    pool, release = pool.astype(np.float64), release.astype(np.float64)
    columns = []
    for part in range(pool.shape[1]):
        kernel = np.exp((pool[:, part] @ pool[:, part].T - 1) / tau)
        wanted = np.exp((pool[:, part] @ release[:, part].T - 1) / tau).mean(axis=1)
        column = []
        for x in range(len(pool)):
            others = [r for r in range(len(pool)) if groups[r] != groups[x]]
            against = kernel[np.ix_(others, others)] + ridge * np.eye(len(others))
            weights = np.linalg.solve(against, kernel[others, x])
            variance = 1 + ridge - kernel[others, x] @ weights
            column.append((wanted[x] - weights @ wanted[others]) / np.sqrt(variance))
        columns.append((np.array(column) - np.mean(column)) / np.std(column))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("groups", [None, ["a", "b", "c", "d", "e", "f"] * 4, ["a"] * 5 + [None] * 19])
def test_matching_is_its_definition(groups: list[Any] | None) -> None:
    pool, release = made_up()
    names = [f"own {row}" if groups is None or groups[row] is None else groups[row] for row in range(len(pool))]
    expected = by_loops(pool, release, names, tau=0.4, ridge=0.05)
    found = matching_scores(pool, release, groups, matching=Matching(tau=0.4, ridge=0.05))
    np.testing.assert_allclose(found.contributions, expected, atol=2e-5)
    np.testing.assert_allclose(found.score, expected.mean(axis=1), atol=2e-5)


def test_an_image_of_the_own_group_explains_nothing_away() -> None:
    pool, release = made_up()
    pool[1] = pool[0]
    release = np.concatenate([release, np.repeat(pool[:1], 10, axis=0)])
    apart = matching_scores(pool, release).score
    together = matching_scores(pool, release, ["same", "same", *(str(row) for row in range(22))]).score
    assert together[0] == together[1]
    assert together[0] > apart[0] + 0.5


def with_memory() -> tuple[Any, Any]:
    """200 images, the first half of which a release was made of, with noise."""
    rng = np.random.default_rng(3)
    pool = unit(rng.normal(size=(200, 4, 12)) + 1)
    chosen = pool[rng.integers(0, 100, 400)]
    return pool, unit(chosen + 0.1 * rng.normal(size=chosen.shape) / np.sqrt(12))


def test_it_finds_the_images_that_a_release_was_made_of() -> None:
    pool, release = with_memory()
    score = matching_scores(pool, release).score
    assert score[:100].min() > score[100:].max()


def test_order_of_pool_and_release_changes_not_one_bit() -> None:
    pool, release = made_up(n=60, m=50)
    rng = np.random.default_rng(1)
    groups = [f"p{row // 2}" for row in range(60)]
    shuffled, mixed = rng.permutation(60), rng.permutation(50)
    for matching in (Matching(), Matching(pool_block=25, seed=4)):
        first = matching_scores(pool, release, groups, matching=matching)
        second = matching_scores(pool[shuffled], release[mixed], [groups[row] for row in shuffled], matching=matching)
        np.testing.assert_array_equal(first.contributions[shuffled], second.contributions)
        np.testing.assert_array_equal(first.score[shuffled], second.score)


def test_threads_share_the_positions_and_change_not_one_bit() -> None:
    pool, release = made_up(n=40, m=50, parts=7)
    steps: list[tuple[int, int]] = []
    one = local_scores(pool, release)
    many = local_scores(pool, release, threads=3, progress=lambda done, total: steps.append((done, total)))
    assert np.array_equal(one.score, many.score)
    assert np.array_equal(one.contributions, many.contributions)
    assert steps == [(done, 14) for done in range(1, 15)]
    plants = release[:5]
    alone = scores_with_each_plant(pool, release, plants)
    assert np.array_equal(alone, scores_with_each_plant(pool, release, plants, threads=4))


def test_blocks_of_the_release_change_nothing_that_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, release = made_up(n=40, m=200)
    whole = matching_scores(pool, release).contributions
    monkeypatch.setattr("provenance.detection.scores.local.RELEASE_BLOCK", 7)
    np.testing.assert_allclose(matching_scores(pool, release).contributions, whole, atol=1e-5)


def test_a_large_pool_is_scored_block_by_block_and_groups_stay_whole() -> None:
    pool, release = with_memory()
    groups = [f"patient {row // 2}" for row in range(200)]
    seen = matching_scores(pool, release, groups, matching=Matching(pool_block=70))
    again = matching_scores(pool, release, groups, matching=Matching(pool_block=70))
    other = matching_scores(pool, release, groups, matching=Matching(pool_block=70, seed=1))
    np.testing.assert_array_equal(seen.score, again.score)
    assert not np.array_equal(seen.score, other.score)
    assert np.mean(seen.score[:100, None] > seen.score[None, 100:]) > 0.8


def test_blank_positions_say_nothing_and_all_blank_images_score_alike() -> None:
    pool, release = made_up()
    pool[:, 1], release[:, 1] = unit(np.ones(6)), unit(np.ones(6))
    found = matching_scores(pool, release)
    assert not found.contributions[:, 1].any()
    assert np.isfinite(found.score).all()
    blank = np.broadcast_to(unit(np.ones(6)), (9, 3, 6))
    for found in (
        matching_scores(blank, release),
        local_nearest_scores(blank, release, k=2),
        local_scores(blank, release),
    ):
        assert not found.score.any()


def test_bad_input_is_named() -> None:
    pool, release = made_up()
    broken = pool.copy()
    broken[3, 1, 2] = np.nan
    for wrong, words in (
        ((pool[:0], release), "pool holds no images"),
        ((pool, release[:0]), "release holds no images"),
        ((pool[:, 0], release), "has the shape"),
        ((pool, release[:, :2]), "the pool"),
        ((broken, release), "image 3"),
        ((pool * 2, release), "unit length"),
        ((pool[:1], release), "fewer than two groups"),
        ((pool, release, ["one"] * 24), "fewer than two groups"),
        ((pool, release, ["one"]), "groups"),
    ):
        with pytest.raises(UsageError, match=words):
            matching_scores(*wrong)
    for parameters in ({"tau": 0.0}, {"ridge": float("nan")}, {"pool_block": 1}):
        with pytest.raises(UsageError):
            Matching(**parameters)  # type: ignore[arg-type]
    for k in (0, 24, 31):
        with pytest.raises(UsageError, match="k is"):
            local_nearest_scores(pool, release, k=k)
    alike = np.concatenate([pool, pool])
    with pytest.raises(UsageError, match="ridge 1e-18 is too small"):
        matching_scores(alike, release, matching=Matching(ridge=1e-18))
    with pytest.raises(UsageError, match="a block of the pool"):
        matching_scores(pool, release, ["a"] * 12 + ["b"] * 12, matching=Matching(pool_block=12))


@pytest.mark.parametrize("matching", [Matching(), Matching(pool_block=20)])
def test_each_plant_is_scored_as_if_it_had_been_in_the_release(matching: Matching) -> None:
    pool, release = made_up()
    plants = pool[[2, 5, 11]]
    groups = [f"p{row // 2}" for row in range(24)]
    found = scores_with_each_plant(pool, release, plants, groups, matching=matching)
    assert found.shape == (3, 24)
    for row in range(3):
        whole = local_scores(pool, np.concatenate([release, plants[row : row + 1]]), groups, matching=matching).score
        np.testing.assert_allclose(found[row], whole, atol=3e-5)
    before = local_scores(pool, release, groups, matching=matching).score
    assert all(found[row, target] > before[target] for row, target in enumerate((2, 5, 11)))


def test_nearest_is_its_definition() -> None:
    pool, release = made_up()
    groups = [f"p{row // 2}" for row in range(24)]
    columns = []
    for part in range(3):
        column = []
        for x in range(24):
            to_release = sorted(float(pool[x, part] @ g[part]) for g in release)[-4:]
            to_others = sorted(float(pool[x, part] @ pool[r, part]) for r in range(24) if groups[r] != groups[x])[-4:]
            column.append(np.mean(to_release) - np.mean(to_others))
        columns.append((np.array(column) - np.mean(column)) / np.std(column))
    found = local_nearest_scores(pool, release, groups, k=4)
    np.testing.assert_allclose(found.contributions, np.stack(columns, axis=1), atol=1e-4)


def test_the_parts_that_speak() -> None:
    pool, release = made_up()
    release[7, 1] = pool[4, 1]
    release[9, 1] = pool[4, 1]
    found = speaking_parts(pool, release, np.array([4, 0]))
    assert found.release_row[0, 1] == 7
    assert found.similarity[0, 1] == 1.0
    assert found.release_row[1, 2] == int(np.argmax(release[:, 2] @ pool[0, 2]))
    with pytest.raises(UsageError, match="among the pool"):
        speaking_parts(pool, release, np.array([24]))


@pytest.mark.slow
def test_the_default_score_adds_copies_to_matching() -> None:
    pool, release = with_memory()
    clean = local_scores(pool, release[40:])
    np.testing.assert_allclose(clean.score - clean.copy, robust(matching_scores(pool, release[40:]).score), atol=1e-6)
    other = made_up(n=200, m=300, dim=12, seed=9)[1].repeat(2, axis=1)[:, :4]
    copied = local_scores(pool, np.concatenate([unit(other), pool[150:151]]))
    assert copied.score.argmax() == 150
    assert copied.copy[150] == copied.copy.max() > 4
    assert np.count_nonzero(copied.copy) < 20


def test_robust_scores() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, size=(4001, 2))
    values[:200] += 1e6
    assert np.abs(robust(values)[200:].std(axis=0) - 1).max() < 0.1
    np.testing.assert_array_equal(robust(np.array([5.0, 5.0, 5.0])), np.zeros(3))
    assert robust(np.array([5.0] * 9 + [6.0]))[-1] > 2


def test_referenced_is_a_difference() -> None:
    pool, release = made_up()
    _, reference = made_up(seed=5)
    ours, theirs = local_scores(pool, release), local_scores(pool, reference)
    apart = ours.contributions - theirs.contributions
    expected = ((apart - apart.mean(axis=0)) / apart.std(axis=0)).mean(axis=1)
    expected = (expected - np.median(expected)) / np.median(np.abs(expected - np.median(expected))) / 1.4826
    np.testing.assert_allclose(referenced(ours, theirs).score, expected + ours.copy - theirs.copy, atol=1e-5)
    assert not referenced(ours, ours).score.any()
    shorter = LocalScores(score=ours.score[1:], contributions=ours.contributions[1:], copy=ours.copy[1:])
    with pytest.raises(UsageError, match="against a reference"):
        referenced(ours, shorter)


def test_p_values_are_uniform_for_not_used_subjects_beside_known_used_ones() -> None:
    from scipy.stats import binom

    repetitions, low = 200, 0
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        pool = unit(rng.normal(size=(50, 2, 8)) + 1)
        known_used, calibration, subject = pool[:30], slice(30, 49), 49
        release = unit(known_used[rng.integers(0, 30, 60)] + 0.2 * rng.normal(size=(60, 2, 8)))
        score = local_scores(pool, release).score
        low += (1 + (score[calibration] >= score[subject]).sum()) / 20 <= 0.1
    assert binom.ppf(0.001, repetitions, 0.1) <= low <= binom.ppf(0.999, repetitions, 0.1)


# ---- real slices


def greys(folder: Path) -> Any:
    from PIL import Image

    images = [
        Image.open(path).convert("L").resize((64, 64), Image.Resampling.BILINEAR) for path in sorted(folder.iterdir())
    ]
    return np.stack([np.asarray(image, dtype=np.float32) for image in images])


def patches(images: Any) -> Any:
    """24 x 24 at 36 places, mean removed, a constant of 4 grey levels for each pixel, unit length."""
    places = [(y, x) for y in range(0, 41, 8) for x in range(0, 41, 8)]
    cut = np.stack([images[:, y : y + 24, x : x + 24].reshape(len(images), -1) for y, x in places], axis=1)
    cut = cut - cut.mean(axis=2, keepdims=True)
    return unit(np.concatenate([cut, np.full((*cut.shape[:2], 1), 4 * 24.0)], axis=2))


def real_case(name: str, release: str) -> tuple[Any, Any, Any]:
    if not DATA.is_dir():
        assert not os.environ.get("CI"), f"CI must have the real images at {DATA}"
        pytest.skip("the real images are not beside the checkout")
    root = DATA / name
    with (root / "real_unknown_truth.csv").open() as file:
        known = {row["name"].split(".")[0]: row["used"] == "1" for row in csv.DictReader(file)}
    unknown = [known[path.stem] for path in sorted((root / "real_unknown").iterdir())]
    sets = [greys(root / part) for part in ("real_used", "real_not_used", "real_unknown")]
    truth = np.array([True] * len(sets[0]) + [False] * len(sets[1]) + unknown)
    return patches(np.concatenate(sets)), patches(greys(DATA / release / "generated")), truth


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "release", "least", "most"),
    [
        ("brain-mri-small", "brain-mri-small", 0.94, 1.0),
        ("brain-mri", "brain-mri", 0.82, 1.0),
        ("brain-mri", "brain-mri-control", 0.44, 0.56),
    ],
)
def test_real_slices_with_known_truth(name: str, release: str, least: float, most: float) -> None:
    from sklearn.metrics import roc_auc_score

    pool, generated, truth = real_case(name, release)
    found = roc_auc_score(truth, local_scores(pool, generated).score)
    assert least <= found <= most
    if name == release:
        assert found > roc_auc_score(truth, local_nearest_scores(pool, generated).score) + 0.05


@pytest.mark.slow
def test_a_single_copy_among_real_generated_images_is_found() -> None:
    pool, generated, _ = real_case("brain-mri", "brain-mri-control")
    pool = pool[::2]
    targets = np.arange(0, 300, 15)
    scores = scores_with_each_plant(pool, generated, pool[targets])
    above = [(scores[row] > scores[row, target]).sum() for row, target in enumerate(targets)]
    assert max(above) <= 1
