"""The demo through the real command line, in a process of its own."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SMALL = ("--backbone", "efficientnet-lite0", "--patients", "6", "--seed", "11")
COPIES = ["exact", "jpeg", "noisy", "blurred", "shifted", "blend-0.9", "blend-0.7", "blend-0.5"]


def provenance(*arguments, cwd, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROVENANCE_")}
    command = [str(Path(sys.executable).with_name("provenance")), *arguments]
    environment |= {"NO_COLOR": "1", **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """The demo in an environment that names a catalog and an index of somebody's own."""
    cwd = tmp_path_factory.mktemp("demo")
    own = {"PROVENANCE_CATALOG_URL": f"sqlite:///{cwd}/own.sqlite3", "PROVENANCE_INDEX_URL": f"local:{cwd}/own-index"}
    return cwd, provenance("demo", *SMALL, cwd=cwd, **own)


@pytest.fixture(scope="module")
def second_run(first_run):
    cwd, _ = first_run
    return provenance("demo", *SMALL, "--json", cwd=cwd)


def test_it_succeeds_and_prints_truth_against_verdict(first_run):
    _, run = first_run
    assert run.returncode == 0, run.stderr
    for word in (*COPIES, "fresh", "precision", "recall", "accuracy", "exact binomial", "efficientnet-lite0"):
        assert word in run.stdout
    assert "backbone efficientnet-lite0: as asked for" in run.stderr
    commands = [line.strip() for line in run.stderr.splitlines() if line.startswith("  provenance ")]
    assert [line.split()[1] for line in commands] == ["ingest", "ingest", "audit"]
    assert "Traceback" not in run.stderr


def test_it_writes_the_report_and_names_it_last(first_run, second_run):
    cwd, run = first_run
    report = cwd / "provenance-demo" / "report.html"
    assert run.stderr.rstrip().splitlines()[-1].endswith(str(report))
    document = json.loads(second_run.stdout)
    assert document["report"] == str(report)
    page = report.read_text("utf-8")
    assert document["audit"]["audit_id"] in page
    assert document["audit"]["verdict_digest"] in page
    assert "identical file" in page


def test_phantoms_stay_out_of_the_catalog_and_index_that_the_environment_names(first_run):
    cwd, _ = first_run
    assert [path.name for path in cwd.iterdir()] == ["provenance-demo"]


def test_it_makes_the_folders_and_a_truth_that_fits_the_files(first_run):
    cwd, _ = first_run
    folder = cwd / "provenance-demo"
    used, not_used = (sorted(path.name for path in (folder / "cohort" / n).iterdir()) for n in ("used", "not_used"))
    assert (len(used), len(not_used)) == (9, 9)
    assert not {name[:4] for name in used} & {name[:4] for name in not_used}
    with (folder / "truth.csv").open(newline="") as file:
        truth = list(csv.DictReader(file))
    assert sorted(row["kind"] for row in truth) == sorted([*COPIES, *["fresh"] * 8])
    assert {row["file"] for row in truth} == {path.name for path in (folder / "release").iterdir()}
    for row in truth:
        data = (folder / "release" / row["file"]).read_bytes()
        assert row["image_id"] == "sha256:" + hashlib.sha256(data).hexdigest()
        if row["source_file"]:
            source = (folder / "cohort" / "used" / row["source_file"]).read_bytes()
            assert row["source_image_id"] == "sha256:" + hashlib.sha256(source).hexdigest()
            assert (data == source) == (row["kind"] == "exact")


def test_again_it_embeds_nothing_and_finds_the_same(first_run, second_run):
    cwd, first = first_run
    assert second_run.returncode == 0, second_run.stderr
    document = json.loads(second_run.stdout)
    assert document["audit"]["verdict_digest"] in first.stdout
    assert [ingest["counts"]["known"] for ingest in document["ingests"]] == [9, 9, 16]
    assert sum(ingest["counts"]["embedded"] for ingest in document["ingests"]) == 0
    listed = provenance("--workspace", "provenance-demo/workspace", "audits", "list", "--json", cwd=cwd)
    assert [audit["audit_id"] in first.stdout for audit in json.loads(listed.stdout)] == [False, True]


def test_the_document_is_whole_and_consistent(second_run):
    document = json.loads(second_run.stdout)
    kinds = {kind["kind"]: kind for kind in document["truth"]}
    assert list(kinds) == [*COPIES, "fresh"]
    assert all(kind["source_named"] is None for name, kind in kinds.items() if name == "fresh")
    assert kinds["exact"]["source_named"] == 1
    assert kinds["exact"]["median_score"] == pytest.approx(1.0, abs=1e-6)
    assert document["backbone"]["name"] == "efficientnet-lite0"
    counts, figures = document["audit"]["counts"], document["figures"]
    assert sum(kind["labelled_used"] for kind in kinds.values()) == counts["used"]
    assert figures["total"] == counts["subjects"] == 16
    right = sum(kinds[name]["labelled_used"] for name in COPIES) + 8 - kinds["fresh"]["labelled_used"]
    assert figures["correct"] == right
    assert figures["chance_low"] < 0.5 < figures["chance_high"]
    assert len(document["next"]) == 3


def test_slices_of_a_patient_are_grouped(first_run):
    import sqlite3

    cwd, _ = first_run
    database = sqlite3.connect(cwd / "provenance-demo" / "workspace" / "catalog.sqlite3")
    try:
        sizes = database.execute(
            "select count(*) from memberships where group_key is not null group by group_key"
        ).fetchall()
    finally:
        database.close()
    assert sizes == [(3,)] * 6


def test_another_seed_does_not_overwrite(first_run):
    cwd, _ = first_run
    before = {path: path.stat().st_mtime_ns for path in (cwd / "provenance-demo").rglob("*.png")}
    run = provenance("demo", *SMALL[:-1], "12", cwd=cwd)
    assert run.returncode == 8
    assert "other settings" in run.stderr
    assert "hint:" in run.stderr
    assert run.stdout == ""
    assert {path: path.stat().st_mtime_ns for path in before} == before
