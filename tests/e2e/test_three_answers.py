"""One audit of a release, and everything that it answers: copies, membership, and the published baseline."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from provenance import Workspace
from provenance.errors import NotFoundError, UsageError
from provenance.vocabulary import Answer
from tests.e2e.test_calibrated import RELEASES, SETS, WHOLE, make
from tests.runner import answer, refused, run
from tests.servers.cohorts import save

if TYPE_CHECKING:
    from pathlib import Path

NAMED = (
    "audit_id",
    "verdict_digest",
    "outcome",
    "outcome_reason",
    "copies",
    "membership",
    "baseline",
    "notes",
    "looks",
)
OF_COPIES = ("copy", "part_copy", "inconclusive", "no_copy_seen")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 used, 30 not used, 10 unknown; the release has two of the used as files, one saved again, and strangers."""
    root = tmp_path_factory.mktemp("three")
    save(root / "used", range(20))
    save(root / "fresh", range(100, 130))
    save(root / "asked", range(200, 210))
    save(root / "leaky", range(300, 320))
    for seed in (3, 7):
        (root / "leaky" / f"copy{seed}.png").write_bytes((root / "used" / f"s{seed:04d}.png").read_bytes())
    Image.open(root / "used" / "s0011.png").save(root / "leaky" / "again11.bmp")
    save(root / "clean", range(400, 420))
    return root


@pytest.fixture(scope="module")
def ws(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("three-ws"), WHOLE, SETS | RELEASES, layout=layout)


ALL = ("--used", "used", "--not-used", "fresh", "--against", "asked")


@pytest.fixture(scope="module")
def found(ws: Path) -> dict[str, Any]:
    return answer(ws, "audit", "leaky", *ALL)  # type: ignore[no-any-return]


def test_a_copied_file_is_a_copy_and_the_outcome_says_so(found: dict[str, Any]) -> None:
    assert set(NAMED) <= found.keys()
    assert found["outcome"] == "leak_established"
    assert found["outcome_reason"].startswith("3 of 23 generated images are copies of real ones")
    assert "AUC" in found["outcome_reason"]
    assert found["copies"]["copy"] == 3
    assert sum(found["copies"][label] for label in OF_COPIES) == 23
    assert set(found["copies"]["false_match_rate"]) >= {"value", "upper"}
    assert sum(found["membership"][label] for label in ("established", "not_established", "inconclusive")) == 30
    assert set(found["membership"]["auc"]) >= {"value", "low", "high"}
    assert "guess" in found["membership"]
    assert found["baseline"]["rule"] == "mu-alpha-sigma"
    assert found["looks"] == 1


def test_each_answer_is_what_the_audit_by_its_rule_alone_gives(ws: Path, found: dict[str, Any]) -> None:
    for name, words in {
        "baseline": ("--rule", "mu-alpha-sigma"),
        "membership": ("--subject", "real"),
        "copies": ("--rule", "copies"),
    }.items():
        alone = answer(ws, "audit", "leaky", *ALL, *words)
        assert alone["verdict_digest"] == found[name]["verdict_digest"], name
        assert alone["policy_id"] == found[name]["policy_id"], name


def test_a_policy_on_record_gives_the_same_audit_and_other_figures_do_not(ws: Path, found: dict[str, Any]) -> None:
    text = run(ws, "audit", "leaky", *ALL, "--policy", found["policy_id"]).stdout
    assert text.startswith("LEAK ESTABLISHED: 3 of 23 generated images are copies of real ones")
    assert text.index("\nCOPIES") < text.index("\nMEMBERSHIP") < text.index("\nBASELINE")
    again = answer(ws, "audits", "list")[0]
    assert again["audit_id"] != found["audit_id"]
    assert (again["verdict_digest"], again["policy_id"]) == (found["verdict_digest"], found["policy_id"])
    assert "contradicts the policy" in refused(
        ws, "audit", "leaky", *ALL, "--policy", found["policy_id"], "--alpha", "1"
    )
    other = answer(ws, "audit", "leaky", *ALL, "--alpha", "0.7", "--fdr", "0.1")
    assert other["verdict_digest"] != found["verdict_digest"]
    assert other["baseline"]["threshold"]["alpha"] == 0.7
    assert other["membership"]["settings"]["calibrated"]["q"] == 0.1
    assert other["copies"]["settings"]["q"] == 0.1


def test_what_a_set_lacks_is_said_and_no_error(ws: Path) -> None:
    text = run(ws, "audit", "leaky", "--used", "used").stdout
    assert "MEMBERSHIP: not answered" in text
    one = answer(ws, "audits", "list")[0]
    assert one["membership"] is None
    assert "known not to have been used" in one["missing"]["membership"]
    assert "no best guess and no run file of real images" in one["missing"]["membership"]
    assert one["copies"]["copy"] == 3
    assert one["outcome"] == "leak_established"


def test_sets_that_are_left_empty_cost_the_answers_that_need_them_alone(ws: Path, layout: Path, tmp_path: Path) -> None:
    """A not-used set of which every image is claimed used as well; and counts of one read as one."""
    save(tmp_path / "claimed", range(3))
    save(tmp_path / "single", [0])
    run(ws, "ingest", str(tmp_path / "claimed"), "--set", "claimed", "--membership", "not-used", "--backbone", WHOLE)
    run(ws, "ingest", str(tmp_path / "single"), "--release", "single", "--generator", "g", "--backbone", WHOLE)
    words = ("audit", "single", "--used", "used", "--not-used", "claimed", "--exclude-overlap")
    found = answer(ws, *words)
    assert found["membership"] is None
    assert "3 images claimed used and not used are left out" in found["missing"]["membership"]
    assert "nothing can be answered" in refused(ws, *words, "--only", "membership")
    found = answer(ws, "audit", "single", "--used", "used")
    assert found["outcome_reason"].startswith("1 of 1 generated image is a copy of a real one.")
    assert found["copies"]["outcome_reason"].startswith(
        "1 copy of a real image is among 1 generated one: 1 by identity"
    )
    nobody = answer(ws, "audit", "single", "--not-used", "fresh", "--only", "copies")
    assert "No copy is established among 1 generated image; 1 can't be told." in nobody["outcome_reason"]


@pytest.mark.parametrize(
    ("group_from", "lacks"), [("s..(.)", ""), ("(s)", "every calibration group is judged as well")]
)
def test_groups_of_both_kinds_cost_no_other_answer(layout: Path, tmp_path: Path, group_from: str, lacks: str) -> None:
    """Patients with images of both kinds teach nothing; where all are such, membership alone is not answered."""
    save(tmp_path / "used", range(20))
    save(tmp_path / "fresh", range(100, 130))
    save(tmp_path / "leaky", range(300, 310))
    parts = {"used": SETS["used"], "fresh": SETS["fresh"], "leaky": RELEASES["leaky"]}
    ws = make(tmp_path, WHOLE, parts, layout=tmp_path, grouped="used fresh", group_from=group_from)
    if lacks:
        found = answer(ws, "audit", "leaky")
        assert lacks in found["missing"]["membership"]
        assert {"copies", "baseline"} <= found.keys()
        assert lacks in refused(ws, "audit", "leaky", "--only", "membership")
    else:
        found = answer(ws, "audit", "leaky")
        assert found["membership"]["outcome"] == "inconclusive"
        assert "missing" not in found or not found["missing"]
        assert "beside groups that have images of both kinds" in refused(
            ws, "audit", "leaky", "--subject", "real", "--score", "learnt"
        )


def test_only_restricts(ws: Path, found: dict[str, Any]) -> None:
    one = answer(ws, "audit", "leaky", *ALL, "--only", "baseline")
    assert (one["copies"], one["membership"]) == (None, None)
    assert one["outcome"] is None
    assert one["baseline"]["verdict_digest"] == found["baseline"]["verdict_digest"]
    assert "nothing can be answered" in refused(ws, "audit", "leaky", "--used", "used", "--only", "membership")
    assert "no answer" in refused(ws, "audit", "leaky", *ALL, "--only", "copy")
    assert "--only" in refused(ws, "audit", "leaky", *ALL, "--only", "copies", "--rule", "copies")


def test_a_recorded_audit_says_what_it_said(ws: Path, found: dict[str, Any]) -> None:
    shown = answer(ws, "audits", "show", found["audit_id"])
    for name in NAMED:
        assert shown[name] == found[name], name
    listed = answer(ws, "audits", "list")
    parts = {found[each]["audit_id"] for each in ("copies", "membership", "baseline")}
    assert found["audit_id"] in {each["audit_id"] for each in listed}
    assert parts.isdisjoint(each["audit_id"] for each in listed)


def test_nothing_to_find_is_no_leak(ws: Path) -> None:
    clean = answer(ws, "audit", "clean", *ALL)
    assert clean["copies"]["copy"] == 0
    assert clean["outcome"] != "leak_established"
    assert clean["outcome_reason"].startswith("No copy is established among 20 generated images; 3 can't be told.")


def test_tables_of_each_answer(ws: Path, found: dict[str, Any]) -> None:
    with Workspace.open(ws) as workspace:
        copies = workspace.verdicts(found["audit_id"])
        assert set(copies["label"]) <= set(OF_COPIES)
        assert (copies["label"] == "copy").sum() == 3
        assert len(workspace.verdicts(found["audit_id"], "membership")) == 30
        assert len(workspace.verdicts(found["audit_id"], Answer.BASELINE)) == 23
        with pytest.raises(UsageError):
            workspace.verdicts(found["audit_id"], "other")
        alone = workspace.audit("leaky", used="used", rule="mu-alpha-sigma")
        with pytest.raises(NotFoundError):
            workspace.verdicts(alone, "copies")
        again = workspace.audit("leaky", used="used", not_used="fresh", against="asked", only="baseline")
        assert list(again.answers) == [Answer.BASELINE]
        assert workspace.find_changes(found["audit_id"], again) == []


def test_an_audit_and_its_answers_go_in_together(ws: Path, found: dict[str, Any]) -> None:
    database = sqlite3.connect(ws / "catalog.sqlite3")
    rows = database.execute("SELECT answer FROM audit_parts WHERE audit_id = ?", (found["audit_id"],)).fetchall()
    database.close()
    assert {row[0] for row in rows} == {"copies", "membership", "baseline"}
    assert json.dumps(found["notes"]).count("published baseline") == 1
