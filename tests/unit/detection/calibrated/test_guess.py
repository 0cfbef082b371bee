"""The best guess: an oracle in plain NumPy, what the prior does, whole groups held out, and what it is worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from provenance.detection.calibrated.guess import BestGuess, best_guess
from provenance.detection.metrics.evaluation import evaluate
from provenance.errors import UsageError
from provenance.findings import GuessFigures, NotComputed, Resampling
from provenance.vocabulary import Label

QUICK = Resampling(resamples=200)


def drawn(seed: int = 0, n: int = 120, gap: float = 1.5) -> tuple[np.ndarray, list[bool | None], list[str]]:
    """Scores of pairs of images; the last third is of unknown use."""
    rng = np.random.default_rng(seed)
    of_group = rng.random(n // 2) < 0.4
    truth = of_group.repeat(2)
    scores = rng.normal(size=n) + gap * truth
    known: list[bool | None] = [bool(each) if row < 2 * n // 3 else None for row, each in enumerate(truth)]
    return scores, known, [f"g{row // 2}" for row in range(n)]


def guessed(*given: object, **how: object) -> BestGuess:
    found = best_guess(*given, resampling=QUICK, **how)  # type: ignore[arg-type]
    assert isinstance(found, BestGuess)
    return found


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    return np.log(probabilities / (1 - probabilities))


def regressed(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Ridge logistic regression by Newton's method, both kinds weighing the same; coefficients of (1, score)."""
    standard = (scores - scores.mean()) / scores.std()
    design, weights = np.c_[np.ones(len(scores)), standard], np.where(truth, 0.5 / truth.mean(), 0.5 / (~truth).mean())
    found, ridge = np.zeros(2), np.diag([0.0, 1.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ found))
        slope = design.T @ (weights * (p - truth)) + ridge @ found
        found -= np.linalg.solve(design.T @ (design * (weights * p * (1 - p))[:, None]) + ridge, slope)
    return np.array([found[0] - found[1] * scores.mean() / scores.std(), found[1] / scores.std()])


def test_unknown_images_are_guessed_by_a_regression_on_all_known_ones() -> None:
    scores, known, groups = drawn()
    rows = [row for row, each in enumerate(known) if each is not None]
    intercept, slope = regressed(scores[rows], np.array([known[row] for row in rows], dtype=bool))
    found = guessed(scores, known, groups=groups)
    unknown = [row for row, each in enumerate(known) if each is None]
    assert found.probabilities[unknown] == pytest.approx(
        1 / (1 + np.exp(-intercept - slope * scores[unknown])), abs=1e-6
    )
    assert (found.figures.intercept, found.figures.slope) == pytest.approx((intercept, slope), abs=1e-6)


@pytest.mark.parametrize("prior", [0.03, 0.5, 0.8])
def test_the_prior_shifts_the_odds_by_its_own(prior: float) -> None:
    scores, known, groups = drawn()
    even, other = (guessed(scores, known, groups=groups, prior=each) for each in (0.5, prior))
    middle = abs(even.probabilities - 0.5) < 0.45
    shift = log_odds(other.probabilities[middle]) - log_odds(even.probabilities[middle])
    assert shift == pytest.approx(np.log(prior / (1 - prior)), abs=1e-3)
    assert other.figures.auc.value == pytest.approx(even.figures.auc.value or 0, abs=1e-9)
    assert [each is Label.USED for each in other.labels] == (other.probabilities >= 0.5).tolist()


def test_neither_the_order_of_images_nor_the_names_of_groups_matter() -> None:
    scores, known, groups = drawn()
    order = np.random.default_rng(1).permutation(len(scores))
    found = guessed(scores, known, groups=groups)
    again = guessed(scores[order], [known[row] for row in order], groups=[f"{hash(groups[row])}" for row in order])
    assert (again.probabilities == found.probabilities[order]).all()
    assert again.figures.to_json() == found.figures.to_json()


def test_a_known_image_is_guessed_without_its_group_and_never_against_its_score() -> None:
    rng = np.random.default_rng(2)
    scores = np.r_[rng.normal(2, 1, 30), rng.normal(0, 1, 30), -200.0, -201.0]
    known: list[bool | None] = [*[True] * 30, *[False] * 30, True, True]
    groups = [f"g{row}" for row in range(60)] + ["far", "far"]
    found = guessed(scores, known, groups=groups)
    # whoever has seen the pair would have to say that high scores speak against use: then nothing is said
    assert found.probabilities[-2:].tolist() == [0, 0]
    assert (found.probabilities[:60] == 0.5).sum() >= 50
    assert found.figures.slope == 0
    assert set(found.labels[:60]) >= {Label.USED}  # one half is guessed used


def test_its_worth_is_measured_on_the_known_images() -> None:
    scores, known, groups = drawn()
    found = guessed(scores, known, groups=groups, prior=0.3)
    rows = [row for row, each in enumerate(known) if each is not None]
    truth, p = np.array([known[row] for row in rows], dtype=bool), found.probabilities[rows]
    figures = found.figures
    right = (p >= 0.5) == truth
    assert figures.accuracy.value == pytest.approx(right.mean())
    below = (p[truth][:, None] > p[~truth]) + 0.5 * (p[truth][:, None] == p[~truth])
    assert figures.auc.value == pytest.approx(below.mean())
    expected = 0.3 * ((1 - p[truth]) ** 2).mean() + 0.7 * (p[~truth] ** 2).mean()
    assert figures.brier.value == pytest.approx(expected)
    for each in (figures.accuracy, figures.kappa, figures.auc, figures.brier):
        assert each.low is not None
        assert each.high is not None
        assert each.low <= (each.value or 0) <= each.high
    assert figures.chance_band is not None
    assert figures.chance_band.chance == pytest.approx(max(truth.mean(), 1 - truth.mean()))
    curve = figures.calibration_curve
    assert sum(each.used for each in curve) == truth.sum()
    assert sum(each.not_used for each in curve) == (~truth).sum()
    for one in curve:
        u, v = 0.3 * one.used / truth.sum(), 0.7 * one.not_used / (~truth).sum()
        assert one.share == pytest.approx(u / (u + v), abs=1e-6)
        assert one.low <= one.probability <= one.high
    assert GuessFigures.from_json(figures.to_json()) == figures


def test_where_chance_does_as_well_that_is_said_first() -> None:
    scores, known, groups = drawn(n=300, gap=0)
    figures = guessed(scores, known, groups=groups).figures
    assert not figures.better_than_chance
    assert figures.sentence.startswith("The best guess is no better than chance")
    good = guessed(*drawn(gap=3)[:2], groups=groups[:120]).figures
    assert good.better_than_chance
    assert good.sentence.startswith("A bet, not a finding")
    assert replace(good, caution="But look.").sentence.endswith("But look.")


def test_a_bet_against_a_finding_is_counted_and_another_prior_says_what_the_accuracy_is_of() -> None:
    scores, known, groups = drawn(gap=3)
    even, other = (guessed(scores, known, groups=groups, prior=prior).figures for prior in (0.5, 0.1))
    share = 100 * even.used / (even.used + even.not_used)
    assert "were used" not in even.sentence
    assert f"known images, of which {share:.0f} % were used (prior 0.1), each" in other.sentence
    assert "bet on as not used" not in other.sentence
    for count, words in ((1, "1 established image is"), (2, "2 established images are")):
        said = replace(other, established_not_used=count).sentence
        assert f"{words} bet on as not used: the finding stands, the bet is a bet at prior 0.1." in said


@pytest.mark.parametrize(("used", "others", "words"), [(0, 9, "no images known used"), (9, 0, "no images known not"),
                                                       (4, 9, "5 groups or more each; there are 4 and 9")])  # fmt: skip
def test_both_kinds_are_needed(used: int, others: int, words: str) -> None:
    known: list[bool | None] = [*[True] * used, *[False] * others, None]
    found = best_guess(np.arange(len(known), dtype=float), known)
    assert isinstance(found, NotComputed)
    assert words in found.reason


def test_a_score_that_is_the_same_for_all_leaves_the_prior() -> None:
    known: list[bool | None] = [row < 6 for row in range(12)]
    found = guessed(np.ones(12), known, prior=0.3)
    assert set(found.probabilities.tolist()) == {0.3}
    assert found.figures.auc.value is None


def test_what_makes_no_sense_is_refused() -> None:
    scores, known, groups = drawn()
    for prior in (0.0, 1.0, -1.0):
        with pytest.raises(UsageError, match="prior"):
            best_guess(scores, known, groups=groups, prior=prior)
    with pytest.raises(UsageError, match="not finite"):
        best_guess([*scores[:-1], np.nan], known, groups=groups)


@pytest.mark.parametrize("gap", [0.0, 1.5])
def test_intervals_of_kappa_foresee_what_it_is_on_the_unknown_images(gap: float) -> None:
    held = 0
    for seed in range(40):
        scores, known, groups = drawn(seed, n=180, gap=gap)
        truth = np.random.default_rng(seed).random(90).repeat(2) < 0.4  # as drawn
        unknown = np.array([each is None for each in known])
        found = guessed(scores, known, groups=groups)
        figures, p = found.figures, found.probabilities[unknown] >= 0.5
        real = cohen_kappa_score(truth[unknown], p)
        assert figures.foreseen_groups == 30
        assert figures.kappa.low is not None
        assert figures.kappa.high is not None
        held += figures.kappa.low <= real <= figures.kappa.high
    assert held >= 34  # of 40; 38 are promised


def test_without_unknown_images_intervals_are_those_of_the_figure() -> None:
    scores, known, groups = drawn(n=90)
    rows = [row for row, each in enumerate(known) if each is not None]
    some = [known[row] for row in rows], [groups[row] for row in rows]
    alone = guessed(scores[rows], some[0], groups=some[1]).figures
    whole = evaluate(
        np.array(some[0]), guessed(scores[rows], some[0], groups=some[1]).probabilities >= 0.5,
        scores[rows], groups=some[1], resampling=QUICK,
    )  # fmt: skip
    assert alone.foreseen_groups == 0
    assert alone.kappa.value == whole.estimates["kappa"].value
    wider = guessed(scores, known, groups=groups).figures.kappa
    assert (wider.low or 0) < (alone.kappa.low or 0) < (alone.kappa.high or 0) < (wider.high or 0)
