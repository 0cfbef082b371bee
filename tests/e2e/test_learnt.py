"""Audits by the score that learns: the default where enough is known, what they say of the sets, what is kept."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from provenance.audit import learning
from tests.e2e.test_calibrated import REAL, begin
from tests.runner import answer, refused, run

MEMBERS, OTHERS, ASKED = range(20), range(100, 140), range(200, 206)
SETS = {
    "used": ("--set", "used", "--membership", "used"),
    "fresh": ("--set", "fresh", "--membership", "not-used"),
    "asked": ("--set", "asked", "--membership", "unknown"),
    "leaky": ("--release", "leaky", "--generator", "g"),
    "clean": ("--release", "clean", "--generator", "h"),
}


def slice_of(seed: int) -> np.ndarray[Any, Any]:
    """64 x 64 grey levels of its own, fine structure on blobs; the blobs of all are in like places."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    found = np.zeros((64, 64))
    for row, column in ((20, 20), (20, 44), (44, 20), (44, 44), (32, 32)):
        at = np.array([row, column]) + rng.normal(0, 3, 2)
        found += rng.uniform(30, 70) * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / rng.uniform(60, 160))
    return found + gaussian_filter(rng.normal(0, 60, (64, 64)), 1.5) * (found > 8)


def save(folder: Path, images: dict[str, np.ndarray[Any, Any]]) -> None:
    folder.mkdir(parents=True)
    for name, levels in images.items():
        Image.fromarray(np.clip(np.rint(levels + 20), 0, 255).astype(np.uint8)).save(folder / f"{name}.png")


def blended(seeds: list[int], count: int) -> dict[str, np.ndarray[Any, Any]]:
    """Generated images: each half is, faintly, that of one training image among a mean of four others."""
    found = {}
    for number in range(count):
        rng = np.random.default_rng(9000 + number)
        chosen = rng.choice(seeds, 6, replace=False)
        level = np.mean([slice_of(seed) for seed in chosen[2:]], axis=0)
        for place, seed in zip((slice(32), slice(32, 64)), chosen[:2], strict=True):
            level[place] = 0.4 * level[place] + 0.6 * slice_of(seed)[place]
        found[f"g{number:03d}"] = level + rng.normal(0, 3, level.shape)
    return found


def cohort(root: Path) -> Path:
    for name, seeds in (("used", MEMBERS), ("fresh", OTHERS), ("asked", ASKED)):
        save(root / name, {f"s{seed:04d}": slice_of(seed) for seed in seeds})
    save(root / "leaky", blended([*MEMBERS, *ASKED[:3]], 60))
    save(root / "clean", blended([*range(400, 430)], 40))
    return root


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = cohort(tmp_path_factory.mktemp("learnt"))
    begin(root / "ws")
    for name, words in SETS.items():
        run(root / "ws", "ingest", str(root / name), *words, "--backbone", "patches-24-8@64")
    return root / "ws"


def made(workspace: Path) -> list[Path]:
    return sorted(workspace.rglob("*.made"))


def test_it_is_the_default_where_enough_is_known_and_sees_the_leak(workspace: Path) -> None:
    found = answer(workspace, "audit", "leaky", *REAL, "--fdr", "0.1")
    settings = found["settings"]
    assert (found["outcome"], settings["calibrated"]["score"]) == ("leak_established", "learnt")
    assert (settings["learnt"]["used_groups"], settings["learnt"]["not_used_groups"]) == (20, 40)
    assert not settings["learnt"]["difference"]
    assert found["release_test"]["auc"]["value"] > 0.9
    assert found["counts"]["established"] >= 15
    kept = made(workspace)
    again = answer(workspace, "audit", "leaky", *REAL, "--fdr", "0.1")
    assert again["verdict_digest"] == found["verdict_digest"]
    assert (len(kept), made(workspace)) == (1, kept)
    kept[0].write_bytes(b"damaged")
    assert answer(workspace, "audit", "leaky", *REAL, "--fdr", "0.1")["verdict_digest"] == found["verdict_digest"]
    shown = run(workspace, "audits", "show", found["audit_id"]).stdout
    assert "from 20 used and 40 never-used groups; most weight on patches of" in re.sub(r"\s+", " ", shown)


def test_the_fixed_score_is_one_flag_away_and_what_few_known_images_get(workspace: Path, tmp_path: Path) -> None:
    found = answer(workspace, "audit", "leaky", *REAL, "--score", "local")
    assert (found["settings"]["calibrated"]["score"], "learnt" in found["settings"]) == ("local", False)
    for number, name in enumerate(("used", "fresh")):
        few = tmp_path / name
        save(few, {f"s{seed:04d}": slice_of(seed) for seed in range(100 * number, 100 * number + 9)})
        run(workspace, "ingest", str(few), "--set", f"few-{name}", *SETS[name][2:], "--backbone", "patches-24-8@64")
    few_sets = ("--used", "few-used", "--not-used", "few-fresh")
    assert answer(workspace, "audit", "leaky", *REAL, *few_sets)["settings"]["calibrated"]["score"] == "local"
    learnt = answer(workspace, "audit", "leaky", *REAL, *few_sets, "--score", "learnt")
    assert learnt["settings"]["learnt"]["used_groups"] == 9
    run(workspace, "sets", "remove", "few-used", "--yes")
    run(workspace, "sets", "remove", "few-fresh", "--yes")


def test_a_policy_states_everything_that_it_learns_by(workspace: Path, tmp_path: Path) -> None:
    found = answer(workspace, "audit", "leaky", *REAL)
    policy = tmp_path / "policy.json"
    declared = answer(workspace, "audit", "leaky", *REAL, "--policy", found["policy_id"])
    assert declared["verdict_digest"] == found["verdict_digest"]
    run(workspace, "audit", "leaky", *REAL, "--score", "learnt", "--declare", str(policy))
    document = json.loads(policy.read_text())
    assert document["parameters"]["features"]["version"] == 1
    document["parameters"]["learner"]["penalty"] = 1.0
    del document["policy_id"]
    policy.write_text(json.dumps(document))
    assert "other parameters" in refused(workspace, "audit", "leaky", "--policy", str(policy))


def test_one_kind_of_known_images_teaches_nothing(workspace: Path) -> None:
    words = (*REAL, "--against", "asked", "--not-used", "fresh")
    assert answer(workspace, "audit", "leaky", *words)["settings"]["calibrated"]["score"] == "local"
    assert "one kind is missing" in refused(workspace, "audit", "leaky", *words, "--score", "learnt")
    assert "no membership score" in refused(workspace, "audit", "leaky", *REAL, "--score", "referenced:learnt")


def test_patients_with_images_of_both_kinds_are_not_counted_as_known(workspace: Path, tmp_path: Path) -> None:
    """20 used groups and 24 never used, but 16 of them are the same patients."""
    for name, seeds in (("used", range(500, 520)), ("fresh", range(604, 628))):
        save(tmp_path / name, {f"p{seed % 100:02d}-{name}": slice_of(seed) for seed in seeds})
        words = ("--set", f"mixed-{name}", *SETS[name][2:], "--backbone", "patches-24-8@64", "--group-from", "(p..)")
        run(workspace, "ingest", str(tmp_path / name), *words)
    sets = ("--used", "mixed-used", "--not-used", "mixed-fresh")
    assert answer(workspace, "audit", "leaky", *REAL, *sets)["settings"]["calibrated"]["score"] == "local"
    learnt = answer(workspace, "audit", "leaky", *REAL, *sets, "--score", "learnt")["settings"]["learnt"]
    assert (learnt["used_groups"], learnt["not_used_groups"]) == (4, 8)
    for name in ("used", "fresh"):
        run(workspace, "sets", "remove", f"mixed-{name}", "--yes")


def test_a_release_without_memory_is_no_leak_and_controls_one(workspace: Path) -> None:
    assert answer(workspace, "audit", "clean", *REAL)["outcome"] == "leak_not_established"
    found = answer(workspace, "audit", "leaky", *REAL, "--reference-release", "clean")
    assert found["release_test"]["control"]["p_value"] > 0.05
    assert found["outcome"] == "leak_established"


def test_sets_that_were_taken_for_one_another_establish_nothing(workspace: Path) -> None:
    """A learner is as sure of it the other way round; the part that learns nothing is not."""
    swapped = ("--used", "fresh", "--not-used", "used", "--override-membership")
    found = answer(workspace, "audit", "leaky", *REAL, *swapped, "--fdr", "0.2")
    assert found["outcome"] == "inconclusive"
    assert (
        "score LOWER than images known not used by the part of the score that learns nothing"
        in (found["outcome_reason"])
    )
    assert found["counts"]["inconclusive"] == found["counts"]["subjects"]
    assert "wrong way round" in run(workspace, "audits", "show", found["audit_id"]).stdout.replace("\n", " ")


def test_an_image_is_explained_and_the_report_draws_what_was_learnt(workspace: Path, tmp_path: Path) -> None:
    audit_id = answer(workspace, "audit", "leaky", *REAL, "--fdr", "0.1")["audit_id"]
    run(workspace, "report", audit_id, "-o", str(tmp_path / "r.html"), "--cases", "1")
    page = (tmp_path / "r.html").read_text()
    assert "What the score learnt" in page
    assert 'class="heat-picture"' in page
    assert len(re.findall(r'<td[^>]* class="number (?:for|against)"', page)) == 55
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)


def test_sets_of_two_sizes_establish_nothing_by_any_score(workspace: Path, tmp_path: Path) -> None:
    """The used images leak, but were recorded at twice the size: a gross shift, by policies of before the prior too."""
    save(tmp_path / "large", {f"l{seed:04d}": np.kron(slice_of(seed), np.ones((2, 2))) for seed in MEMBERS})
    words = ("--set", "large", *SETS["used"][2:], "--backbone", "patches-24-8@64")
    run(workspace, "ingest", str(tmp_path / "large"), *words)
    sets = (*REAL, "--used", "large", "--not-used", "fresh", "--against", "asked")
    found = answer(workspace, "audit", "leaky", *sets, "--score", "local")
    assert found["outcome"] == found["release_test"]["outcome"] == "inconclusive"
    assert "differ grossly in size" in found["outcome_reason"]
    assert found["counts"]["inconclusive"] == found["counts"]["subjects"]
    policy = tmp_path / "policy.json"
    run(workspace, "audit", "leaky", *sets, "--score", "local", "--declare", str(policy))
    document = json.loads(policy.read_text())
    for name in ("prior", "group_score"):
        del document["parameters"][name]
    del document["policy_id"]
    policy.write_text(json.dumps(document))
    assert answer(workspace, "audit", "leaky", *sets, "--policy", str(policy))["outcome"] == "inconclusive"
    run(workspace, "sets", "remove", "large", "--yes")


def test_sets_of_two_scanners_establish_nothing(tmp_path: Path) -> None:
    """The images claimed used come from a noisier scanner; the release has seen neither set."""
    cohort(tmp_path)
    rng = np.random.default_rng(3)
    noisy = {f"s{seed:04d}": slice_of(seed) + rng.normal(0, 4, (64, 64)) for seed in MEMBERS}
    save(tmp_path / "noisy", noisy)
    begin(tmp_path / "ws")
    for folder, name in (("noisy", "used"), ("fresh", "fresh"), ("asked", "asked"), ("clean", "clean")):
        run(tmp_path / "ws", "ingest", str(tmp_path / folder), *SETS[name], "--backbone", "pixels")
    found = answer(tmp_path / "ws", "audit", "clean", *REAL)
    assert found["outcome"] == "inconclusive"
    assert (
        "differ by themselves, whatever the release: by brightness, contrast, sharpness or noise"
        in (found["outcome_reason"])
    )
    assert found["counts"]["inconclusive"] == found["counts"]["subjects"]
    assert found["release_test"]["outcome"] == "inconclusive"


def test_what_is_forgotten_during_an_audit_is_in_no_file_that_it_keeps(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, backup = tmp_path / "ws", tmp_path / "backup.zip"
    run(workspace, "backup", str(backup))
    run(own, "restore", str(backup))
    original: Any = vars(learning)["features"]

    def forgetting(*given: Any, **more: Any) -> Any:
        found = original(*given, **more)
        if "s0003" in {Path(name).stem for name in names_in(own)}:
            run(own, "sets", "forget", "s0003.png", "--yes")
        return found

    def names_in(folder: Path) -> list[str]:
        with closing(sqlite3.connect(folder / "catalog.sqlite3")) as connection:
            return [name for (name,) in connection.execute("SELECT base_name FROM occurrences")]

    monkeypatch.setattr(learning, "features", forgetting)
    answer(own, "audit", "leaky", *REAL, "--fdr", "0.1")  # reads again: of the images that are left
    kept = made(own)
    assert len(kept) == 1
    assert "s0003" not in {Path(name).stem for name in names_in(own)}
    answer(own, "audit", "leaky", *REAL, "--fdr", "0.1")
    assert made(own) == kept
