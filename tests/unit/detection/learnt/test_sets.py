from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from provenance.detection.learnt.learner import Learner
from provenance.detection.learnt.sets import check_sets, difference_of, lower_test, texture

if TYPE_CHECKING:
    from provenance.findings import SetsTest


SIDE = 60


def slices(seed: int) -> np.ndarray:
    """An ellipse with two blobs of differing size, place and brightness, and fine structure: no two alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] / 63.0 - 0.5
    found = np.zeros((2 * SIDE, 64, 64))
    for image in found:
        for scale in (0.4, 0.15, 0.1):
            a, b = rng.uniform(0.7, 1.2, 2) * scale
            centre = rng.uniform(-0.15, 0.15, 2)
            inside = ((x - centre[0]) / a) ** 2 + ((y - centre[1]) / b) ** 2 < 1
            image += inside * rng.uniform(40, 80)
        image += (image > 0) * gaussian_filter(rng.normal(0, 40, (64, 64)), 1.2)
    grain = gaussian_filter(found, (0, 0.6, 0.6)) + rng.normal(0, 2, found.shape)
    return np.clip(np.rint(grain), 0, 255).astype(np.float32)


def sets_told_apart(pool: np.ndarray, groups: list[str] | None = None) -> tuple[SetsTest, ...]:
    """Of a first half known used and a second one never used, whatever is learnt of them."""
    half, nothing = len(pool) // 2, np.zeros((len(pool), 1))
    learner = Learner.of(nothing, nothing[:, 0], np.arange(half), np.arange(half, len(pool)), groups)
    return check_sets(pool, learner).tests


def altered(images: np.ndarray, kind: str) -> np.ndarray:
    if kind == "gamma":
        return np.rint(255 * (images / 255) ** 0.8)
    if kind == "blur":
        return np.rint(gaussian_filter(images, (0, 0.5, 0.5)))
    noise = np.random.default_rng(9).normal(0, 3, images.shape)
    return np.clip(np.rint(images + noise), 0, 255)


@pytest.mark.parametrize("kind", ["gamma", "blur", "noise"])
def test_sets_of_two_scanners_are_told_apart(kind: str) -> None:
    pool = slices(1)
    pool[:SIDE] = altered(pool[:SIDE], kind)
    tests = sets_told_apart(pool)
    assert "brightness, contrast, sharpness or noise (AUC" in difference_of(tests)
    assert {test.name for test in tests} == {"texture", "pixels"}


def test_sets_of_one_source_are_not() -> None:
    fired = [bool(difference_of(sets_told_apart(slices(seed)))) for seed in range(2, 7)]
    assert sum(fired) <= 1


def test_what_one_patient_looks_like_is_no_difference() -> None:
    """Ten images of each patient, all alike: image by image the two sets differ beyond doubt, by patient they don't."""
    rng = np.random.default_rng(8)
    patient = np.repeat(np.arange(12), 10)
    pool = np.clip(slices(8)[patient * 10] + rng.normal(0, 2, (120, 64, 64)), 0, 255).astype(np.float32)
    groups = [f"patient {each}" for each in patient]
    assert not difference_of(sets_told_apart(pool, groups))


def test_a_leak_must_tell_more_than_the_images_by_themselves() -> None:
    """Features that are the texture again tell nothing of a release, whatever their AUC; a memory beside it does."""
    alike, rng = slices(11), np.random.default_rng(12)
    other = alike.copy()
    other[:SIDE] = 255 * (other[:SIDE] / 255) ** 0.85
    memory = np.where(np.arange(2 * SIDE) < SIDE, 1.5, 0.0)[:, None] + rng.normal(size=(2 * SIDE, 1))
    sides = np.arange(SIDE), np.arange(SIDE, 2 * SIDE)
    without, with_it = (
        check_sets(pool, Learner.of(columns, np.zeros(2 * SIDE), *sides, None)).excess
        for pool, columns in ((other, texture(other)), (alike, 3 * memory))
    )
    assert without.p_value > 0.05
    assert with_it.p_value < 0.01
    assert with_it.value is not None
    assert with_it.value > 0.05


def test_labels_the_wrong_way_round_show_in_what_is_not_learnt() -> None:
    rng = np.random.default_rng(13)
    memory = np.where(np.arange(2 * SIDE) < SIDE, 1.0, 0.0) + rng.normal(size=2 * SIDE)
    columns = np.column_stack([rng.normal(size=2 * SIDE), 10 * memory])
    sides = np.arange(SIDE), np.arange(SIDE, 2 * SIDE)
    right, wrong = (lower_test(Learner.of(columns, np.zeros(2 * SIDE), *each, None)) for each in (sides, sides[::-1]))
    assert right.p_value > 0.5
    assert wrong.p_value < 0.01
    auc = np.mean(memory[:SIDE, None] > memory[None, SIDE:])
    assert wrong.value == pytest.approx(auc)
