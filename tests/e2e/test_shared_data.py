"""The command line on real slices with known truth, and the default backbone with and without its weights."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.runner import process

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture(scope="module")
def shared() -> Path:
    if not (SHARED / "data").is_dir():
        assert not os.environ.get("CI"), f"CI must have the real images at {SHARED}"
        pytest.skip("the real images are not beside the checkout")
    return SHARED


def answer(folder: Path, *words: str, **environment: str) -> Any:
    done = process(folder, *words, "--json", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.shared_data
@pytest.mark.slow
def test_challenge_layout_audited_both_ways(shared: Path, tmp_path: Path) -> None:
    backbone = ("--backbone-file", str(shared / "weights" / "resnet50_caffe_msra_c4.onnx"))
    answer(tmp_path, "init", *backbone)
    root = tmp_path / "part"  # a part of the release keeps this test short
    data = shared / "data" / "brain-mri-small"
    for name in ("real_used", "real_not_used", "real_unknown"):
        (root / name).mkdir(parents=True)
        for file in sorted((data / name).iterdir())[:16]:
            (root / name / file.name).symlink_to(file)
    (root / "generated").mkdir()
    for file in sorted((data / "generated").iterdir())[:24]:
        (root / "generated" / file.name).symlink_to(file)
    reports = answer(tmp_path, "ingest-layout", str(root), "--prefix", "small", "--modality", "MR")
    assert {r["name"]: r["image_count"] for r in reports} == {
        "small-used": 16,
        "small-not-used": 16,
        "small-unknown": 16,
        "small-generated": 24,
    }
    flags = ("--used", "small-used", "--not-used", "small-not-used", "--rule", "mu-alpha-sigma")
    generated = answer(tmp_path, "audit", "small-generated", "--subject", "generated", *flags)
    real = answer(
        tmp_path,
        "audit",
        "small-generated",
        "--subject",
        "generated",
        *flags,
        "--against",
        "small-unknown",
        "--subject",
        "real",
    )
    pairwise = answer(
        tmp_path, "audit", "small-generated", "--subject", "generated", *flags, "--population", "pairwise"
    )
    assert [a["threshold"]["n"] for a in (generated, real, pairwise)] == [48, 48, 24 * 32]
    vectors = {}
    for name in ("small-generated", "small-used", "small-not-used", "small-unknown"):
        answer(tmp_path, "export", name, "--format", "parquet", "-o", f"{name}.parquet")
        table = pq.read_table(tmp_path / f"{name}.parquet")
        vectors[name] = np.array(table["embedding"].to_pylist(), dtype=np.float64)
    g, u, n = (vectors[f"small-{name}"] for name in ("generated", "used", "not-used"))
    maxima = np.concatenate([(g @ u.T).max(axis=1), (g @ n.T).max(axis=1)])
    everything = (g @ np.concatenate([u, n]).T).ravel()
    reals = np.concatenate([u, n, vectors["small-unknown"]])
    for audit, scores in ((generated, maxima), (pairwise, everything), (real, (reals @ g.T).max(axis=1))):
        assert audit["threshold"]["mu"] == pytest.approx(scores.mean(), abs=1e-9)
        assert audit["threshold"]["sigma"] == pytest.approx(scores.std(), abs=1e-9)
    used = ((g @ u.T).max(axis=1) > (g @ n.T).max(axis=1)) & ((g @ u.T).max(axis=1) > maxima.mean() + maxima.std() / 2)
    assert generated["counts"]["used"] == used.sum()
    answer(tmp_path, "export", generated["audit_id"][:8], "--format", "csv", "-o", "verdicts.csv")
    with (tmp_path / "verdicts.csv").open(newline="") as table_of_verdicts:
        rows = list(csv.DictReader(table_of_verdicts))
    assert [row["label"] == "used" for row in rows] == used.tolist()
    shown = answer(tmp_path, "show", rows[0]["subject_id"][:20])
    assert shown["verdicts_about"][0]["audit_id"] in {generated["audit_id"], pairwise["audit_id"]}


def test_resnet50_by_a_weights_file_and_without_one(tmp_path: Path) -> None:
    import torch
    import torchvision
    from PIL import Image

    torch.manual_seed(3)
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), tmp_path / "seeded.pth")
    (tmp_path / "images").mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (60, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{seed}.png")
    words = ("ingest", "images", "--set", "toy", "--membership", "unknown")
    nowhere = {"TORCH_HOME": str(tmp_path / "no-cache"), "https_proxy": "http://127.0.0.1:9"}
    refused = process(tmp_path, *words, **nowhere)
    assert refused.returncode == 4
    assert "error: " in refused.stderr
    for way_out in ("--weights", "PROVENANCE_WEIGHTS_DIR", "--backbone efficientnet-lite0"):
        assert way_out in refused.stderr
    report = answer(tmp_path, *words, "--weights", "seeded.pth")
    assert (report["image_count"], report["counts"]["embedded"]) == (3, 3)
    answer(tmp_path, "export", "toy", "--format", "parquet", "-o", "toy.parquet")
    embeddings = np.array(pq.read_table(tmp_path / "toy.parquet")["embedding"].to_pylist())
    assert embeddings.shape == (3, 2048)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1, abs=1e-6)
