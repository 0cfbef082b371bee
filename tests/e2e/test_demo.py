"""The demo through the real command line: first in a process of its own, then in this one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from provenance.cli.main import app
from provenance.errors import ConflictError

pytestmark = pytest.mark.slow

SMALL = ("--backbone", "efficientnet-lite0", "--patients", "20", "--seed", "11")
PLANTED = ["file", "exact", "jpeg:75", "flip", "crop:0.9", "rotate:5", "blur:1", "noise:5", "gamma:1.3", "blend:0.7"]


def provenance(*arguments, cwd, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROVENANCE_")}
    command = [str(Path(sys.executable).with_name("provenance")), *arguments]
    environment |= {"NO_COLOR": "1", **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def here(cwd, *arguments):
    """The same in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        for name in [name for name in os.environ if name.startswith("PROVENANCE_")]:
            patch.delenv(name)
        return CliRunner().invoke(app, arguments)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """The demo in an environment that names a catalog and an index of somebody's own."""
    cwd = tmp_path_factory.mktemp("demo")
    own = {"PROVENANCE_CATALOG_URL": f"sqlite:///{cwd}/own.sqlite3", "PROVENANCE_INDEX_URL": f"local:{cwd}/own-index"}
    return cwd, provenance("demo", *SMALL, cwd=cwd, **own)


@pytest.fixture(scope="module")
def second_run(first_run):
    cwd, _ = first_run
    return here(cwd, "demo", *SMALL, "--json")


def test_it_opens_with_the_outcome_and_sets_truth_against_every_answer(first_run):
    _, run = first_run
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert re.match(r"(LEAK ESTABLISHED|LEAK NOT ESTABLISHED|INCONCLUSIVE): \d+ of 20 generated images", lines[0])
    assert max(len(line) for line in lines if re.match(" (file|flip|[0-9]+-[0-9]+ % of one image) ", line)) <= 100
    for word in (*PLANTED, "control", "COPIES", "MEMBERSHIP", "BASELINE", "AUC", "kappa", "best guess"):
        assert word in run.stdout
    assert "backbone efficientnet-lite0: as asked for" in run.stderr
    commands = [line.strip() for line in run.stderr.splitlines() if line.startswith("  provenance ")]
    assert [line.split()[1] for line in commands] == ["ingest", "ingest", "ingest", "audit"]
    assert "Traceback" not in run.stderr


def test_it_writes_the_report_and_names_it_last(first_run, second_run):
    cwd, run = first_run
    report = cwd / "provenance-demo" / "report.html"
    assert run.stderr.rstrip().splitlines()[-1].endswith(str(report))
    document = json.loads(second_run.stdout)
    assert document["report"] == str(report)
    page = report.read_text("utf-8")
    assert document["audit"]["audit_id"] in page


def test_phantoms_stay_out_of_the_catalog_and_index_that_the_environment_names(first_run):
    cwd, _ = first_run
    assert [path.name for path in cwd.iterdir()] == ["provenance-demo"]


def test_again_it_embeds_nothing_and_finds_the_same(first_run, second_run):
    cwd, first = first_run
    assert second_run.exit_code == 0, second_run.stderr
    document = json.loads(second_run.stdout)
    assert document["audit"]["verdict_digest"] in first.stdout
    assert [ingest["counts"]["known"] for ingest in document["ingests"]] == [6, 14, 4, 20]
    assert sum(ingest["counts"]["embedded"] for ingest in document["ingests"]) == 0
    listed = here(cwd, "--workspace", "provenance-demo/workspace", "audits", "list", "--json")
    assert [audit["audit_id"] in first.stdout for audit in json.loads(listed.stdout)] == [False, True]


def test_the_document_is_whole_and_consistent(second_run):
    document = json.loads(second_run.stdout)
    kinds = {kind["kind"]: kind for kind in document["copies"]}
    assert list(kinds)[: len(PLANTED)] == PLANTED
    assert list(kinds)[-1] == "control"
    assert sum(kind["images"] for kind in kinds.values()) == document["made"]["generated"] == 20
    for kind in kinds.values():
        labels = ("copy", "part_copy", "inconclusive", "no_copy_seen")
        assert sum(kind[label] for label in labels) == kind["images"]
    # the same file and the same pixels are facts, however few images calibrate
    for kind in ("file", "exact"):
        assert kinds[kind]["copy"] == kinds[kind]["largest_source_first"] == 1
    assert kinds["control"]["true_source_first"] is None
    total, made = document["copies_in_all"], document["made"]
    assert total["planted"] == made["planted"] == len(PLANTED)
    assert total["planted_found"] == sum(kinds[kind]["copy"] for kind in PLANTED)
    assert sum(total["established_by"].values()) == total["called_copy"]
    assert set(document["answers"]) == {"copies", "membership", "baseline"}
    assert document["membership"]["n"] == made["unknown"]
    assert document["membership"]["positives"] == made["unknown_used"]
    assert document["baseline"]["n"] == made["generated"]
    assert document["baseline"]["negatives"] == made["controls"]
    assert document["backbone"]["name"] == "efficientnet-lite0"
    assert len(document["next"]) == 4


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
    assert sorted(sizes) == [(1,)] * 16 + [(2,)] * 4


def test_another_seed_does_not_overwrite(first_run):
    cwd, _ = first_run
    before = {path: path.stat().st_mtime_ns for path in (cwd / "provenance-demo").rglob("*.png")}
    run = here(cwd, "demo", *SMALL[:-1], "12")
    assert isinstance(run.exception, ConflictError)
    assert "other settings" in run.exception.message
    assert run.exception.hint
    assert run.stdout == ""
    assert {path: path.stat().st_mtime_ns for path in before} == before
