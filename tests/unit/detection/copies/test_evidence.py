"""Evidence: features as plain formulae give them, filters as textbook algebra does, strangers apart from copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

from provenance.detection.copies.evidence import features_of, fitted_verifier, simulated_copies
from provenance.detection.copies.found import NO_EVIDENCE, Found
from provenance.detection.copies.retrieval import Prepared, prepared, sources_of
from provenance.detection.copies.search import search
from tests.unit.detection.copies.pictures import moved, slices

pytestmark = pytest.mark.slow

REALS = slices(48, 1)
SOURCES = sources_of(REALS)
COPIES = simulated_copies(SOURCES)
IMPOSTORS = search(REALS, SOURCES, left_out=[[row] for row in range(len(REALS))])
VERIFIER = fitted_verifier(COPIES, IMPOSTORS)
STRANGERS = VERIFIER.verified(search(slices(16, 2), SOURCES))
RNG = np.random.default_rng(3)


def of_source(query, row: int):
    (at,) = np.flatnonzero(SOURCES.rows == row)
    return in_place(query, SOURCES.images.one(at))


def in_place(query, real: Prepared):
    inside = np.ones(real.standard.shape, dtype=np.bool_)
    return features_of(prepared(query[None].astype(np.float32)), real.standard, real.normalised, inside)[0]


def test_an_exact_copy_is_coherent_and_rigid_everywhere() -> None:
    features = of_source(REALS[4], 4)
    assert features[:23] == pytest.approx(np.arctanh(0.995))
    assert features[23] > 1.3
    assert features[24] == pytest.approx(-np.log(0.003), abs=0.1)


def test_noise_lowers_high_rings_as_its_energy_does_and_blur_none_that_it_leaves() -> None:
    noisy = np.tanh(of_source(REALS[4] + RNG.normal(0, 12, (64, 64)), 4)[:11])
    blurred = np.tanh(of_source(gaussian_filter(REALS[4], 1), 4)[:11])
    assert (np.diff(noisy[4:]) < 0.02).all()
    assert noisy[-1] < 0.6 < 0.98 < noisy[2]
    assert blurred[2:9].min() > 0.97


def test_coherence_is_that_of_white_noise_in_white_noise() -> None:
    shared = RNG.normal(size=(64, 64))
    images = np.stack([shared + RNG.normal(size=(64, 64)) for _ in range(2)]).astype(np.float32)
    features = in_place(images[0], prepared(images[1:]))
    assert np.tanh(features[6:11]) == pytest.approx(0.5, abs=0.1)


def test_anatomy_that_is_displaced_here_and_there_is_less_rigid_than_noise_is() -> None:
    warped = REALS[4].copy()
    for row in range(0, 64, 16):
        warped[row : row + 16] = np.roll(REALS[4][row : row + 16], 1 if row % 32 else -1, axis=1)
    bent, noisy = of_source(warped, 4), of_source(REALS[4] + RNG.normal(0, 12, (64, 64)), 4)
    assert bent[23] < noisy[23]
    assert bent[24] < noisy[24]


def test_log_odds_are_those_of_the_regression() -> None:
    """At its optimum the weighted residuals of every kind equal the ridge's pull, whatever the solver."""
    strangers = np.concatenate([[match.features for match in each.matches] for each in IMPOSTORS])
    unit = np.concatenate([strangers, *COPIES])
    unit = (unit - strangers.mean(axis=0)) / strangers.std(axis=0)
    sizes = [len(strangers), *map(len, COPIES)]
    kinds = np.repeat(np.arange(6), sizes)
    odds = unit @ (VERIFIER.weights * strangers.std(axis=0)[:, None]) + VERIFIER.offset
    chances = softmax(np.column_stack([np.zeros(len(unit)), odds]), axis=1)
    weight = len(unit) / 6 / np.array(sizes)[kinds]
    gradient = unit.T @ ((chances - np.eye(6)[kinds]) * weight[:, None])
    weights = np.column_stack([np.zeros(26), VERIFIER.weights * strangers.std(axis=0)[:, None]])
    pull = weights - weights.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(gradient, -pull, atol=1e-4)


def test_the_scale_is_that_of_impostors() -> None:
    best = [max(match.strength for match in each.matches) for each in VERIFIER.verified(IMPOSTORS)]
    assert np.quantile(best, [0.5, 0.95]) == pytest.approx([0, 1], abs=1e-5)


def test_of_sources_with_nearly_as_much_evidence_the_one_that_agrees_most_stands_first() -> None:
    (found,) = search(REALS[4:5], SOURCES)
    best = found.matches[0]
    worse = replace(best, source=40, agreement=best.agreement - 0.001)
    far = replace(best, source=41, agreement=best.agreement + 0.001, features=found.matches[-1].features)
    (ordered,) = VERIFIER.verified([replace(found, matches=(far, worse, best))])
    assert [match.source for match in ordered.matches] == [4, 40, 41]


@pytest.mark.parametrize(
    "made",
    [
        lambda x: x + RNG.normal(0, 10, x.shape),
        lambda x: gaussian_filter(x, 1),
        lambda x: 255 * (x / 255) ** 1.4,
        lambda x: x[:, ::-1],
        lambda x: moved(x, rotation=6),
        lambda x: moved(x, scale=1.1),
        lambda x: 0.7 * x + 0.3 * slices(1, 77)[0],
    ],
)
def test_copies_have_more_evidence_than_all_strangers(made) -> None:
    queries = np.stack([made(REALS[row]) for row in (4, 17, 30)]).astype(np.float32)
    found = VERIFIER.verified(search(queries, SOURCES))
    assert [each.matches[0].source for each in found] == [4, 17, 30]
    assert min(each.evidence for each in found) > max(each.evidence for each in STRANGERS)


def test_an_image_gains_nothing_by_what_it_lacks() -> None:
    lacking = np.where(VERIFIER.weights.max(axis=1) < 0, VERIFIER.floor - 5, VERIFIER.centre)
    at_floor = np.where(VERIFIER.weights.max(axis=1) < 0, VERIFIER.floor, VERIFIER.centre)
    np.testing.assert_allclose(VERIFIER.evidence(lacking[None]), VERIFIER.evidence(at_floor[None]))


def test_of_few_impostors_nothing_is_learnt_and_near_twins_teach_nothing() -> None:
    few = fitted_verifier(COPIES, IMPOSTORS[:19])
    assert few.impostors == 0
    (found,) = few.verified(search(REALS[4:5], SOURCES))
    assert found.evidence == pytest.approx(np.mean(found.matches[0].features[:11]))
    twins = fitted_verifier(COPIES, [*IMPOSTORS, *search(REALS[:4], SOURCES)])
    assert twins.impostors == VERIFIER.impostors
    assert fitted_verifier(COPIES, []).impostors == 0
    assert few.verified([Found((), (), 0.0)])[0].evidence == NO_EVIDENCE
