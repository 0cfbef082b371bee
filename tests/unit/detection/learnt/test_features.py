from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, rankdata, spearmanr

from provenance.audit.scoring import LEARNT, score_reals
from provenance.audit.scoring_inputs import ScoringInputs
from provenance.detection.learnt import features as module
from provenance.detection.learnt.features import SIZES, STRIDE, WIDTHS, features, names, places
from provenance.detection.scores.local_memory import copy_bonus
from provenance.errors import UsageError

GROUPS = ["a", "a", None, "b", None, None, "c", "c", "c", None, None, "d", None, None]


def images(count: int, seed: int) -> np.ndarray:
    """Smooth and different everywhere, as medical images are; a corner of each is black."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 9, 9))
    found = np.kron(coarse, np.ones((8, 8)))[:, :64, :64] + rng.normal(0, 6, (count, 64, 64))
    found[:, :20, :20] = 0
    return np.clip(found, 0, 255).astype(np.float32)


def oracle(pool: np.ndarray, release: np.ndarray, groups: list[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Columns and the mean margin of nearest cosines, image by image, each leaving its own group out by itself."""
    codes = [f"lone {i}" if g is None else g for i, g in enumerate(groups)]
    columns, greatest, margins = [], [], []
    for size in SIZES:
        start = (64 - size) % STRIDE // 2
        by_width: dict[float, list[np.ndarray]] = {width: [] for width in WIDTHS}
        nearest = []
        for i in range(start, 65 - size, STRIDE):
            for j in range(start, 65 - size, STRIDE):
                cut = []
                for each in (pool, release):
                    flat = each[:, i : i + size, j : j + size].reshape(len(each), -1).astype(np.float64)
                    flat = np.c_[flat - flat.mean(axis=1, keepdims=True), np.full(len(each), 4.0 * size)]
                    cut.append(flat / np.linalg.norm(flat, axis=1, keepdims=True))
                among, across = cut[0] @ cut[0].T, cut[0] @ cut[1].T
                nearest.append(across.max(axis=1))
                if size == 24:
                    own = [max(among[a, b] for b in range(len(pool)) if codes[a] != codes[b]) for a in range(len(pool))]
                    margins.append(across.max(axis=1) - own)
                for width in WIDTHS:
                    kernel, f = np.exp((among - 1) / width), np.exp((across - 1) / width).mean(axis=1)
                    raw = []
                    for a in range(len(pool)):
                        others = [b for b in range(len(pool)) if codes[a] != codes[b]]
                        inverse = np.linalg.inv(kernel[np.ix_(others, others)] + 0.01 * np.eye(len(others)))
                        k = kernel[a, others]
                        raw.append((f[a] - k @ inverse @ f[others]) / np.sqrt(1.01 - k @ inverse @ k))
                    by_width[width].append(standard(np.array(raw)))
        columns += [np.mean(by_width[width], axis=0) for width in WIDTHS]
        fisher = np.arctanh(np.minimum(np.array(nearest), 0.9999))
        greatest.append(np.sort(fisher, axis=0)[-8:].mean(axis=0))
    found = np.array([norm.ppf((rankdata(np.round(each, 6)) - 0.5) / len(pool)) for each in (*columns, *greatest)]).T
    fixed = names().index("24 px, width 0.5")
    return np.c_[found, 10 * found[:, fixed]], np.mean([standard(each) for each in margins], axis=0)


def standard(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean()
    flat = centred.std() <= 1e-7 * max(abs(values).max(), 1e-7)
    return np.zeros(len(values)) if flat else centred / centred.std()


def test_features_are_those_of_plain_loops() -> None:
    pool, release = images(14, 1), images(9, 2)
    release[0] = pool[3]
    found = features(pool, release, GROUPS, threads=2)
    columns, margins = oracle(pool, release, GROUPS)
    np.testing.assert_allclose(found.columns, columns, atol=2e-4)
    np.testing.assert_allclose(found.copies, copy_bonus(margins), atol=1e-3)
    assert found.copies[3] > 0
    assert len(names()) == found.columns.shape[1] == 56
    sizes = np.array([place.size for place in places()])
    means = np.concatenate([found.by_place[:, sizes == size].mean(axis=1) for size in SIZES], axis=1)
    broad = means[:, :5]  # narrow kernels see nothing but copies here: all others are alike but for rounding
    assert all(spearmanr(*pair).statistic > 0.99 for pair in zip(broad.T, found.columns[:, :5].T, strict=True))
    np.testing.assert_allclose(means.std(axis=0), 1, atol=1e-4)


def test_neither_order_nor_threads_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, release = images(14, 3), images(11, 4)
    once = features(pool, release, GROUPS)
    turned = np.random.default_rng(5).permutation(14)
    again = features(pool[turned], release[::-1], [GROUPS[row] for row in turned], threads=3)
    for name in ("columns", "copies", "by_place"):
        assert np.array_equal(getattr(once, name)[turned], getattr(again, name)), name
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "RELEASE_BLOCK", 4)
    blocks = features(pool, release, GROUPS, progress=lambda done, total: told.append((done, total)))
    np.testing.assert_allclose(blocks.columns, once.columns, atol=1e-4)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]


def test_a_large_pool_is_dealt_into_blocks_of_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, release = images(24, 6), images(5, 7)
    monkeypatch.setattr(module, "POOL_BLOCK", 12)
    found = features(pool, release, [f"patient {row // 2}" for row in range(24)])
    assert np.isfinite(found.columns).all()
    assert not np.array_equal(found.columns, features(pool, release).columns)


@pytest.mark.parametrize(
    ("pool", "release", "groups", "message"),
    [
        (np.zeros((3, 32, 32)), np.zeros((2, 64, 64)), None, "64 x 64"),
        (np.zeros((3, 64, 64)), np.zeros((0, 64, 64)), None, "no images"),
        (np.full((3, 64, 64), np.nan), np.zeros((2, 64, 64)), None, "not finite"),
        (np.zeros((3, 64, 64)), np.zeros((2, 64, 64)), ["a"] * 3, "fewer than two groups"),
    ],
)
def test_what_has_no_features_is_refused(
    pool: np.ndarray, release: np.ndarray, groups: list[str] | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        features(pool.astype(np.float32), release.astype(np.float32), groups)


def test_images_that_show_nothing_have_features_that_tell_nothing() -> None:
    found = features(np.zeros((3, 64, 64), dtype=np.float32), np.zeros((2, 64, 64), dtype=np.float32))
    assert not found.columns.any()
    assert not found.copies.any()


def test_a_learner_of_images_that_show_nothing_tells_nothing_and_warns_of_nothing() -> None:
    blank = np.zeros((24, 1, 64 * 64 + 1), dtype=np.float32)
    blank[:, :, -1] = 1.0
    known = {"used": np.arange(12), "not_used": np.arange(12, 24)}
    scored = score_reals(LEARNT, ScoringInputs(blank, blank[:4], [None] * 24, **known))
    assert not scored.scores.any()
    assert scored.learnt is not None
    assert not scored.learnt.difference
