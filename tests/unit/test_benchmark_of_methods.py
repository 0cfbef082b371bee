"""The benchmark of methods, on small arrays and images made here: it still runs, and judges as the rules say."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from provenance.detection import SCORES
from tests.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def methods() -> Iterator[ModuleType]:
    """``benchmarks/methods.py``, and by its names the modules beside it."""
    if not BENCHMARKS.is_dir():
        pytest.skip("the benchmarks are not part of a source distribution")
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("methods", BENCHMARKS / "methods.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["methods"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(BENCHMARKS))
    for name in [name for name in sys.modules if name == "methods" or name.startswith("methods_")]:
        del sys.modules[name]


@pytest.fixture
def few_folds(methods: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer folds than a benchmark has: nested cross-validation is most of the time here."""
    monkeypatch.setattr("methods_scores.FOLDS", 3)


def remembered(parts: int, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    """60 reals, a release made of the first 30 with noise, one made of nothing here, and who was used."""
    rng = np.random.default_rng(seed)
    pool = unit(rng.normal(size=(60, parts, 16)) + 1)
    copies = pool[rng.integers(0, 30, 80)]
    release = unit(copies + 0.3 * rng.normal(size=copies.shape) / 4)
    return pool, release, unit(rng.normal(size=(80, parts, 16)) + 1), np.arange(60) < 30


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 3])
def test_every_method_finds_what_a_release_plainly_remembers(few_folds: None, parts: int) -> None:
    from methods_scores import Plan, Truth, judge, method_order, methods_of

    pool, release, other, members = remembered(parts)
    found = methods_of(pool, release, other, members)
    assert [name for name in method_order() if name in found] == list(found)
    assert len(found) == (7 + 2 * len(SCORES) if parts == 1 else 4)
    truth = Truth(members, np.arange(60) % 2 == 0, (np.arange(60) % 2 == 1) & ~members)
    plan = Plan(resamples=100, permutations=99)
    cells = {name: judge(scored, truth, plan, baseline=found["local"]) for name, scored in found.items()}
    assert cells["local"].auc.value is not None
    assert cells["local"].auc.value > 0.9
    assert cells["local"].outcome == "leak_established"
    assert cells["local"].difference is not None
    assert cells["local"].difference.value == 0
    learned = {name for name, cell in cells.items() if cell.p_value is None}
    assert learned == ({"logistic", "logistic, all scores", "chosen by nested CV"} if parts == 1 else set())
    json.dumps([cell.to_json() for cell in cells.values()], allow_nan=False)


@pytest.mark.slow
def test_what_learned_is_at_chance_where_there_is_nothing_to_learn(few_folds: None) -> None:
    from methods_scores import methods_of
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(5)
    pool, release = (unit(rng.normal(size=(size, 1, 16)) + 1) for size in (200, 100))
    members = rng.permutation(200) < 100
    found = methods_of(pool, release, None, members)
    for name in ("logistic", "logistic, all scores", "chosen by nested CV"):
        assert 0.38 < roc_auc_score(members, found[name].scores) < 0.62


def test_labels_of_the_seed_rule_are_its_definition(methods: ModuleType) -> None:
    from methods_scores import seed_labels

    nearest = np.random.default_rng(1).normal(0.7, 0.1, size=80)
    np.testing.assert_array_equal(seed_labels(nearest), nearest > nearest.mean() + 0.5 * nearest.std())


def test_established_counts_are_benjamini_hochberg_on_conformal_p_values(methods: ModuleType) -> None:
    from methods_scores import Scored, Truth, established_at
    from scipy.stats import false_discovery_control

    rng = np.random.default_rng(2)
    members = np.arange(160) < 40
    scores = rng.normal(size=160) + 3 * members
    subjects = (np.arange(160) >= 20) & (np.arange(160) < 60)
    calibration = np.arange(160) >= 60
    p_values = (1 + (scores[calibration] >= scores[subjects][:, None]).sum(axis=1)) / (1 + calibration.sum())
    rejected = false_discovery_control(p_values) <= 0.2
    expected = int(rejected.sum()), int((rejected & ~members[subjects]).sum())
    assert expected[0] > 5
    assert established_at(Scored(scores), Truth(members, subjects, calibration), 0.2) == expected
    # a control release was made of none of them: all that is established is false
    assert established_at(Scored(scores), Truth(members, subjects, calibration, True), 0.2) == (
        expected[0],
        expected[0],
    )


def test_holm_stops_at_the_first_that_fails(methods: ModuleType) -> None:
    from methods_page import holm

    rows = {("a", ""): 0.011, ("b", ""): 0.04, ("c", ""): 0.012, ("d", ""): 0.026}
    assert [name for name, _ in holm(rows)] == ["a", "c"]  # limits 0.0125, 0.0167, 0.025


def test_what_stands_around_the_tables_is_kept(methods: ModuleType) -> None:
    from methods_page import written_between_marks

    first = written_between_marks("", "tables")
    edited = "Intro\n" + first + "Conclusion\n"
    assert written_between_marks(edited, "newer") == edited.replace("tables\n", "newer\n")


def save_images(folder: Path, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{folder.name}_{number:02d}.png")


@pytest.mark.slow
def test_a_run_on_folders_writes_table_figure_and_numbers(
    methods: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(("real_used", "real_not_used", "real_unknown", "generated")):
        save_images(tmp_path / "data" / "toy" / name, 40 if name == "generated" else 14, seed)
    truth = "".join(f"real_unknown_{number:02d},{number % 2}\n" for number in range(14))
    (tmp_path / "data" / "toy" / "real_unknown_truth.csv").write_text(f"name,used\n{truth}")
    save_images(tmp_path / "data" / "toy-control" / "generated", 40, 9)
    words = ["methods.py", "--data", str(tmp_path / "data"), "--quick", "--only", "patches-24"]
    words += ["--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    words += ["--json", str(tmp_path / "out" / "methods.json")]
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(sys, "argv", words)
    assert methods.main() == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(first) == {"methods.md", "methods.json", "methods.svg"}
    cells = json.loads(first["methods.json"])["cells"]
    assert {(cell["method"], cell["release"]) for cell in cells if "referenced" in cell["method"]} == {
        ("referenced:local", "toy")
    }
    assert len(cells) == 4 + 3
    assert "| method | space | toy | toy-control |" in capsys.readouterr().out
    assert methods.main() == 0
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
