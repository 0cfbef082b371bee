"""What an audit says beside its verdicts: how often one looked, what a caller fails on, and what its words mean."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from provenance.cli import audit_commands, sensitivity_command
from provenance.glossary import term
from tests.e2e.test_calibrated import RELEASES, SETS, WHOLE, make
from tests.runner import answer, refused, run
from tests.servers.cohorts import save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BASELINE = ("--rule", "mu-alpha-sigma", "--subject", "generated")
REAL = ("--subject", "real", "--rule", "calibrated", "--score", "relative")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 used and 24 not-used images; of 10 generated ones, two are used ones again."""
    root = tmp_path_factory.mktemp("words")
    save(root / "used", range(12))
    save(root / "fresh", range(100, 124))
    save(root / "asked", range(200, 204))
    save(root / "leaky", [0, 1, *range(300, 308)])
    save(root / "clean", range(400, 410))
    return root


@pytest.fixture(scope="module")
def ingested(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the spaces that audits make, and no audit."""
    workspace = make(tmp_path_factory.mktemp("ingested"), WHOLE, SETS | RELEASES, layout=layout)
    for release in RELEASES:
        run(workspace, "audit", release, "--declare", str(workspace / f"{release}.json"))
    return workspace


@pytest.fixture
def audited(ingested: Path) -> Path:
    """The same with the catalog as it was: audits write nothing else (a copy of the index would be dense, and huge)."""
    catalog, kept = ingested / "catalog.sqlite3", ingested.parent / "catalog.sqlite3"
    if not kept.exists():
        shutil.copy2(catalog, kept)
    for stale in ingested.glob("catalog.sqlite3*"):
        stale.unlink()
    shutil.copy2(kept, catalog)
    return ingested


def test_the_same_audit_again_is_no_look_and_another_one_is(audited: Path) -> None:
    first = answer(audited, "audit", "leaky")
    assert (first["looks"], first["predeclared"]) == (1, False)
    again = answer(audited, "audit", "leaky")
    assert (again["looks"], again["verdict_digest"]) == (1, first["verdict_digest"])
    assert any(note.startswith("This repeats an audit on record") for note in again["notes"])
    part = answer(audited, "audit", "leaky", *BASELINE)  # an answer that was seen already
    assert any("1 look at this release so far" in note for note in part["notes"])
    other = answer(audited, "audit", "leaky", "--fdr", "0.1")
    assert other["looks"] == 2
    (note,) = [note for note in other["notes"] if "2nd look" in note]
    assert "at most 60 %" in note  # two looks, each with 0.1 for copies, for part copies and for membership
    assert answer(audited, "audit", "clean")["looks"] == 1
    shown = answer(audited, "audits", "show", other["audit_id"])
    assert (shown["looks"], note in shown["notes"]) == (2, True)


def test_a_policy_that_was_declared_before_anybody_looked_is_marked(audited: Path, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    declared = answer(audited, "audit", "leaky", "--fdr", "0.1", "--declare", str(file))
    assert answer(audited, "audits", "list") == []
    assert json.loads(file.read_text())["policy_id"] == declared["policy_id"]
    assert answer(audited, "audit", "leaky")["looks"] == 1
    second = answer(audited, "audit", "leaky", "--predeclared", str(file))
    assert (second["looks"], second["predeclared"], second["policy_id"]) == (2, True, declared["policy_id"])
    assert any("before anybody looked" in note for note in second["notes"])
    assert not any("at most" in note and "2nd look" in note for note in second["notes"])
    by_id = answer(audited, "audit", "leaky", "--predeclared", declared["policy_id"])
    assert (by_id["predeclared"], by_id["looks"]) == (True, 2)
    late = tmp_path / "late.json"
    answer(audited, "audit", "leaky", "--fdr", "0.3", "--declare", str(late))
    third = answer(audited, "audit", "leaky", "--predeclared", str(late))
    assert (third["looks"], third["predeclared"]) == (3, False)
    assert any("but 2 looks came before that" in note for note in third["notes"])


def test_a_declaration_is_of_all_that_decides(audited: Path, tmp_path: Path) -> None:
    """The printed command holds to it; other sets, twins left out or another release are another declaration."""
    file = tmp_path / "a plan.json"
    words = ("--used", "used", "--not-used", "fresh", "--exclude-twins", "--twin-evidence", "either")
    said = run(audited, "audit", "leaky", *words, "--fdr", "0.1", "--declare", str(file)).stderr
    command = next(line for line in said.splitlines() if line.startswith("next: ")).removeprefix("next: provenance ")
    for more, what in (
        (("--used", "used", "--not-used", "fresh", "--against", "asked"), "sets and twins left out"),
        (("--used", "used", "--not-used", "fresh", "--exclude-twins"), "with other twins left out"),
        (words[:5], "with other twins left out"),
    ):
        assert what in refused(audited, "audit", "leaky", *more, "--predeclared", str(file))
    assert "for clean" in refused(audited, "audit", "clean", *words, "--predeclared", str(file))
    assert answer(audited, "audits", "list") == []
    assert answer(audited, *shlex.split(command))["predeclared"] is True


def test_to_leave_a_set_out_is_to_look_again(audited: Path) -> None:
    answer(audited, "audit", "leaky")
    found = answer(audited, "audit", "leaky", "--used", "used", "--not-used", "fresh")
    assert found["looks"] == 2
    (note,) = [note for note in found["notes"] if "2nd look" in note]
    assert "1 other audit came before, over other sets or images (used as used, fresh as not used, asked as" in note


def test_sets_stand_in_one_order_and_answers_can_be_found(audited: Path) -> None:
    text = run(audited, "audit", "leaky").stdout
    found = answer(audited, "audits", "list")[0]
    roles = re.findall(r"^  (\w+) ", text, re.MULTILINE)[:4]
    assert roles == ["release", "used", "not_used", "against"]
    assert [each["role"] for each in found["datasets"]] == sorted(roles), "in documents as ever"
    shown = run(audited, "audits", "show", found["audit_id"]).stdout
    assert re.findall(r"^  (\w+) ", shown, re.MULTILINE)[:4] == roles
    part = found["membership"]["audit_id"]
    assert f"{part[:8]}, an answer of {found['audit_id'][:8]}" in shown
    assert f"(membership of audit {found['audit_id'][:8]})" in run(audited, "audits", "show", part).stdout
    assert answer(audited, "audits", "show", part)["part_of"] == {"audit_id": found["audit_id"], "answer": "membership"}
    listed = {each["audit_id"]: each.get("part_of") for each in answer(audited, "audits", "list", "--parts")}
    assert len(listed) == 4
    assert listed[found["audit_id"]] is None
    assert listed[part]["answer"] == "membership"


def test_all_copies_are_listed_and_what_is_not_is_counted(audited: Path) -> None:
    text = run(audited, "audit", "leaky", "--only", "copies", "--rows", "1").stdout
    assert "1 more copy or part copy: provenance export" in text
    assert "more copy" not in run(audited, "audit", "leaky", "--only", "copies").stdout


def test_what_is_not_on_record_was_not_declared(audited: Path, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    run(audited, "audit", "leaky", *BASELINE, "--declare", str(file))
    stated = json.loads(file.read_text())
    del stated["policy_id"]
    stated["parameters"]["alpha"] = 0.75
    file.write_text(json.dumps(stated))
    assert "was not declared beforehand" in refused(audited, "audit", "leaky", "--predeclared", str(file))
    words = ("--predeclared", str(file), "--policy", str(file))
    assert "given twice" in refused(audited, "audit", "leaky", *words)
    assert answer(audited, "audits", "list") == []


@pytest.mark.parametrize(
    ("release", "gates", "code"),
    [
        ("leaky", ("copy",), 10),
        ("leaky", ("leak", "inconclusive"), 10),
        ("leaky", ("inconclusive",), 0),
        ("clean", ("copy",), 0),
        ("clean", ("copy", "leak"), 0),
        ("clean", (), 0),
    ],
)
def test_an_exit_code_says_what_a_caller_fails_on(audited: Path, release: str, gates: Sequence[str], code: int) -> None:
    words = [word for gate in gates for word in ("--fail-on", gate)]
    done = run(audited, "audit", release, "--only", "copies", "--json", *words, code=code)
    found = json.loads(done.stdout)  # whole, whatever the exit code
    copies, leaks = (2, True) if release == "leaky" else (0, False)
    assert (found["copies"]["copy"], found["outcome"] == "leak_established") == (copies, leaks)
    assert [each["audit_id"] for each in answer(audited, "audits", "list")] == [found["audit_id"]]


def test_what_the_data_can_not_tell_is_eleven(audited: Path) -> None:
    words = ("audit", "clean", "--subject", "generated", "--rule", "calibrated")
    assert answer(audited, *words)["outcome"] == "inconclusive"
    assert run(audited, *words, "--fail-on", "inconclusive", "--fail-on", "leak", code=11).stdout
    assert run(audited, *words, "--fail-on", "leak", code=0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*BASELINE, "--fail-on", "leak"), "needs an audit with an outcome"),
        (("--only", "baseline", "--fail-on", "inconclusive"), "needs an audit with an outcome"),
        (("--only", "baseline,membership", "--fail-on", "copy"), "needs an audit that looks for copies"),
        ((*REAL, "--fail-on", "copy"), "needs an audit that looks for copies"),
    ],
)
def test_what_an_audit_can_not_conclude_is_refused_before_anything_runs(
    audited: Path, words: Sequence[str], said: str
) -> None:
    assert said in refused(audited, "audit", "leaky", *words)
    assert answer(audited, "audits", "list") == []


@pytest.mark.parametrize("width", [80, 100])
def test_every_table_fits_the_outcome_is_the_first_line_and_every_printed_name_is_explained(
    audited: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: set[str] = set()

    def noting(print_: Any) -> Any:
        def call(first: Any, *rest: Any, **more: Any) -> None:
            names.update(first)
            print_(first, *rest, **more)

        return call

    for module in (audit_commands, sensitivity_command):
        for printer in ("print_table", "print_facts"):
            monkeypatch.setattr(module, printer, noting(getattr(module, printer)))
    monkeypatch.setenv("COLUMNS", str(width))
    said = ""
    for words in ((), BASELINE, REAL, ("--subject", "generated", "--rule", "calibrated")):
        text = run(audited, "audit", "leaky", *words, *(() if words else ("--explain",))).stdout
        lines = text.splitlines()
        assert lines[0].startswith(("LEAK ", "INCONCLUSIVE: ", "NO OUTCOME: ")), words
        assert max(map(len, lines)) <= width, words
        said = said or text
    for parts, count in (((), 4), (("--parts",), 7)):
        lines = run(audited, "audits", "list", *parts).stdout.splitlines()
        assert max(map(len, lines)) <= width
        assert sum(bool(re.match(r" ?[0-9a-f]{8} ", line)) for line in lines) == count
    for found in answer(audited, "audits", "list"):
        run(audited, "audits", "show", found["audit_id"], "--explain")
    assert {name for name in names if term(name) is None} == set()
    explained = said.partition("what the words mean")[2]
    for name in ("AUC", "p (", "q (", "evidence (", "k_min (", "S_u (", "false match", "groups ("):
        assert f"\n  {name}" in explained, name
