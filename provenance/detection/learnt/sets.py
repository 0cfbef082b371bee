"""Do the used and the never-used images differ by themselves, whatever the release? Pure.

A learner finds any difference between two sets of images, such as another scanner's noise. So the same learner is first
given features that have not seen the release:

    texture   mean, deviation, quantiles and gradient of the grey levels, and the energy of what a Gaussian blur takes
              away, at several scales, all over and in the smoothest places (noise)
    pixels    the first 32 principal components of the images, taken without labels

For each family the AUC of its cross-fitted scores is tested by permuting labels over groups and learning again, Holm
over the families. Where one is significant, a difference in membership scores may be that difference, and nothing
follows from them. That none is shows nothing. So a leak must pass a second test, too: by how much the AUC against the
release exceeds the greatest of theirs (0.5 at least), labels permuted and all learnt again. A difference that neither
family sees is not excluded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.calibrated.shift import apart, holm
from provenance.detection.release.membership_test import auc_test, learnt_auc, permutation_test_by_group
from provenance.detection.scores.local import standardised
from provenance.findings import SetsTest

if TYPE_CHECKING:
    from provenance.arrays import Float32s, Float64s, Int64s
    from provenance.detection.learnt.learner import Learner
    from provenance.findings import PermutationTest

LEVEL = 0.05
PERMUTATIONS = 999
COMPONENTS = 32
CLIP = 3.0
_SCALES = (0.5, 1.0, 2.0, 4.0)
_QUANTILES = (1, 5, 25, 50, 75, 95, 99)
_SMOOTHEST = 25


@dataclass(frozen=True, slots=True)
class SetsCheck:
    """Every family's test; and of how much more the release tells than the family that tells most."""

    tests: tuple[SetsTest, ...]
    excess: PermutationTest


def check_sets(pool: Float32s, learner: Learner, *, seed: int = 0) -> SetsCheck:
    """How well the images that a learner learnt from are told apart without the release, (n, 64, 64) in its order."""
    known = learner.known
    members, codes = learner.used[known] > 0, _compact(learner.codes[known])
    families = {name: learner.of_other(columns) for name, columns in _families(pool).items()}
    relearnt = {name: each.relearnt(known) for name, each in families.items()}
    found = {
        name: auc_test(each.scores[known], members, codes, PERMUTATIONS, seed, relearnt=relearnt[name])
        for name, each in families.items()
    }
    corrected = holm([each.p_value for each in found.values()])
    tests = tuple(
        SetsTest(name, round(0.5 if each.value is None else each.value, 6), round(each.p_value, 6), round(step, 6))
        for (name, each), step in zip(found.items(), corrected, strict=True)
    )

    def excess(chosen: Int64s) -> Float64s:
        by_sets = [learnt_auc(each, chosen, codes) for each in relearnt.values()]
        more: Float64s = learnt_auc(learner.relearnt(known), chosen, codes) - np.maximum(0.5, np.max(by_sets, axis=0))
        return more

    size = len(known)
    return SetsCheck(tests, permutation_test_by_group(excess, members, codes, PERMUTATIONS, seed, "greater", size=size))


def lower_test(learner: Learner, permutations: int = PERMUTATIONS, *, seed: int = 0) -> PermutationTest:
    """Do the known used images have less of the column ``fixed``, for which nothing is learnt, than the never used?

    A learner whose labels are the wrong way round takes negative weights and tells the two apart as well. Its value is
    the AUC of the never used over the used.
    """
    known = learner.known
    codes = _compact(learner.codes[known])
    return auc_test(-learner.columns[known, -1], learner.used[known] > 0, codes, permutations, seed)


def _families(pool: Float32s) -> dict[str, Float64s]:
    return {name: np.clip(made(pool), -CLIP, CLIP) for name, made in (("texture", texture), ("pixels", _components))}


def _compact(codes: Int64s) -> Int64s:
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def difference_of(tests: tuple[SetsTest, ...], level: float = LEVEL) -> str:
    """What tells the sets apart by itself, in a sentence; empty: nothing that was looked at."""
    words = {"texture": "brightness, contrast, sharpness or noise", "pixels": "what the images show"}
    seen = [test for test in tests if test.p_corrected <= level]
    if not seen:
        return ""
    return apart(" and ".join(f"by {words[t.name]} (AUC {t.auc:.2f}, p = {t.p_corrected:.2g})" for t in seen))


def texture(images: Float32s) -> Float64s:
    """What of an image says how it was made rather than what it shows, standardised, (n, features)."""
    from scipy.ndimage import gaussian_filter

    wide = images.astype(np.float64)
    flat = wide.reshape(len(wide), -1)
    down, across = np.diff(wide, axis=1)[:, :, :-1], np.diff(wide, axis=2)[:, :-1]
    gradient = np.hypot(down, across).reshape(len(wide), -1)
    found = [flat.mean(axis=1), flat.std(axis=1), gradient.mean(axis=1), *np.percentile(flat, _QUANTILES, axis=1)]
    laplacian = (
        wide[:, 1:-1, 1:-1] * 4 - wide[:, :-2, 1:-1] - wide[:, 2:, 1:-1] - wide[:, 1:-1, :-2] - wide[:, 1:-1, 2:]
    )
    fine = np.abs(laplacian).reshape(len(wide), -1)
    # logarithms: by how many times one scale is weaker than another tells blur and noise from anatomy
    energies = [fine.mean(axis=1), np.percentile(fine, _SMOOTHEST, axis=1), np.median(fine, axis=1)]
    before = wide
    for scale in _SCALES:
        after = gaussian_filter(wide, (0, scale, scale))
        band = np.abs(before - after).reshape(len(wide), -1)
        energies += [np.sqrt((band**2).mean(axis=1)), np.percentile(band, _SMOOTHEST, axis=1)]
        before = after
    return standardised(np.column_stack([*found, gradient.std(axis=1), *(np.log(each + 0.1) for each in energies)]))


def _components(images: Float32s) -> Float64s:
    from sklearn.decomposition import PCA

    flat = images.reshape(len(images), -1).astype(np.float64)
    if not np.ptp(flat, axis=0).any():  # nothing varies
        return np.zeros((len(images), 1))
    # which sign a component has teaches the same; randomised: the cost grows with the number of images, not its cube
    model = PCA(min(COMPONENTS, len(images) - 1), svd_solver="randomized", random_state=0)
    found = model.fit_transform(flat)
    return standardised(found[:, model.explained_variance_ > model.explained_variance_[0] * 1e-9])
