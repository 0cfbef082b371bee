"""From vectors to labels: the rooms' functions against one independent script of the paper's equations."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from provenance.detection import (
    decide_generated,
    decide_real,
    fit_logistic,
    population_of_maxima,
    sweep_alphas,
    threshold_of_scores,
)
from provenance.vocabulary import Label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


# --- the paper, written down a second time ---------------------------------------------------------------


def cosine(a: Floats, b: Floats) -> Floats:  # eq. 1
    return (a @ b.T) / (np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None, :])


def maxima(generated: Floats, used: Floats, not_used: Floats) -> tuple[Floats, Floats]:  # eq. 2
    return cosine(generated, used).max(axis=1), cosine(generated, not_used).max(axis=1)


def labels_of_generated(s_u: Floats, s_n: Floats, alpha: float) -> Bools:  # eqs. 3 and 4
    combined = np.concatenate([s_u, s_n])
    return (s_u > s_n) & (s_u > combined.mean() + alpha * combined.std())


def labels_of_real(s: Floats, alpha: float) -> Bools:
    return s > s.mean() + alpha * s.std()


def best_alpha(s_u: Floats, s_n: Floats, truth: Bools) -> float:  # 4.4
    grid = [0.1, 0.3, 0.5, 0.7, 1.0]
    return grid[int(np.argmax([f1_score(truth, labels_of_generated(s_u, s_n, alpha)) for alpha in grid]))]


def logistic_labels(features: Floats, truth: Bools, seed: int) -> tuple[Bools, Bools]:  # 4.5
    x, x_test, y, _ = train_test_split(features, truth, test_size=0.2, stratify=truth, random_state=seed)
    model = LogisticRegression().fit(x, y)
    return model.predict(x), model.predict(x_test)


# ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[0, 1, 2])
def vectors(request: pytest.FixtureRequest) -> tuple[Floats, Floats, Floats, Bools]:
    rng = np.random.default_rng(request.param)
    used, not_used = np.abs(rng.standard_normal((80, 128))), np.abs(rng.standard_normal((80, 128)))
    copies = rng.random(200) < 0.5
    generated = np.abs(rng.standard_normal((200, 128)))
    generated[copies] = 0.4 * generated[copies] + 0.6 * used[rng.integers(0, 80, copies.sum())]
    return generated, used, not_used, copies


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_generated_images_are_labelled_alike(vectors: tuple[Floats, Floats, Floats, Bools], alpha: float) -> None:
    s_u, s_n = maxima(*vectors[:3])
    threshold = threshold_of_scores(population_of_maxima(s_u.tolist(), s_n.tolist()), alpha)
    ours = [decide_generated(u, n, threshold).label is Label.USED for u, n in zip(s_u, s_n, strict=True)]
    assert ours == labels_of_generated(s_u, s_n, alpha).tolist()


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_real_images_are_labelled_alike(vectors: tuple[Floats, Floats, Floats, Bools], alpha: float) -> None:
    generated, used, not_used, _ = vectors
    scores = cosine(np.concatenate([used, not_used]), generated).max(axis=1)
    threshold = threshold_of_scores(scores.tolist(), alpha)
    ours = [decide_real(score, threshold).label is Label.USED for score in scores.tolist()]
    assert ours == labels_of_real(scores, alpha).tolist()


def test_the_same_alpha_is_best(vectors: tuple[Floats, Floats, Floats, Bools]) -> None:
    generated, used, not_used, copies = vectors
    s_u, s_n = maxima(generated, used, not_used)
    best = sweep_alphas(s_u, copies, s_not_used=s_n).best
    assert best is not None
    assert best.alpha == best_alpha(s_u, s_n, copies)


def test_logistic_regression_labels_alike(vectors: tuple[Floats, Floats, Floats, Bools]) -> None:
    generated, used, not_used, copies = vectors
    s_u, s_n = maxima(generated, used, not_used)
    of_real = cosine(np.concatenate([used, not_used]), generated).max(axis=1)
    subjects = [({"s_used": s_u, "s_not_used": s_n}, copies), ({"nearest": of_real}, np.arange(160) < 80)]
    for scores, truth in subjects:
        fit = fit_logistic(scores, truth)
        ours = np.array([decision.label is Label.USED for decision in fit.model.decide(scores)])
        training, held_out = logistic_labels(np.column_stack(list(scores.values())), truth, seed=0)
        assert np.array_equal(ours[list(fit.training_rows)], training)
        assert np.array_equal(ours[list(fit.held_out_rows)], held_out)


def test_importing_detection_brings_in_no_scikit_learn() -> None:
    program = "import sys, provenance.detection; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for heavy in ("sklearn", "scipy", "pandas", "torch"):
        assert f"'{heavy}'" not in loaded
