"""What stands beside the strict label, through the command line: best guess, groups, copies among real images."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from sklearn.metrics import accuracy_score, cohen_kappa_score

from tests.e2e.test_calibrated import RELEASES, SETS, WHOLE, make
from tests.runner import answer, refused, run
from tests.servers.cohorts import save

if TYPE_CHECKING:
    from pathlib import Path

FIRST = ["image_id", "name", "role", "group", "label", "score", "p_value", "q_value", "probability", "best_guess"]
SOUGHT = ("--score", "relative", "--fdr", "0.1")
TRUTH = {f"s{seed:04d}": seed < 210 for seed in range(200, 220)}
"""Of the 20 unknown images: noisy copies of the first half stand in the release."""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients of two images: 10 used, 15 not used, 10 unknown (5 of them used); one of the used is in the release."""
    root = tmp_path_factory.mktemp("guess")
    save(root / "used", range(20))
    save(root / "fresh", range(100, 130))
    save(root / "asked", range(200, 220))
    save(root / "leaky", [*range(20), *range(200, 210)], noise=25)
    save(root / "leaky", range(300, 320))
    for seed in (3, 205, 217):
        folder = root / ("used" if seed < 100 else "asked")
        (root / "leaky" / f"copy{seed}.png").write_bytes((folder / f"s{seed:04d}.png").read_bytes())
    seeds = [*range(20), *range(100, 130), *range(200, 220)]
    rows = "".join(f"s{seed:04d}.png,p{seed // 2}\n" for seed in seeds)
    (root / "groups.csv").write_text("name,group\n" + rows)
    (root / "truth.csv").write_text("name,used\n" + "".join(f"{name},{int(used)}\n" for name, used in TRUTH.items()))
    return root


@pytest.fixture(scope="module")
def ws(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"group_from": str(layout / "groups.csv"), "grouped": "used fresh asked"}
    parts = SETS | {"leaky": RELEASES["leaky"]}
    return make(tmp_path_factory.mktemp("guess-ws"), WHOLE, parts, layout=layout, **options)


@pytest.fixture(scope="module")
def found(ws: Path) -> dict[str, Any]:
    return answer(ws, "audit", "leaky", *SOUGHT, "--only", "copies,membership")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def rows(ws: Path, found: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    target = tmp_path_factory.mktemp("rows") / "membership.csv"
    run(ws, "export", found["audit_id"], "--answer", "membership", "--format", "csv", "-o", str(target))
    table = list(csv.DictReader(target.read_text().splitlines()))
    assert list(table[0])[: len(FIRST)] == FIRST
    return {row["name"]: row for row in table}


def test_the_guess_says_how_good_it_is(found: dict[str, Any], rows: dict[str, dict[str, str]]) -> None:
    guess, known = found["membership"]["guess"], [r for r in rows.values() if r["role"] in ("used", "not_used")]
    assert (guess["used"], guess["not_used"], guess["prior"]) == (20, 30, 0.5)
    truth, said = ([row[column] == "used" for row in known] for column in ("role", "best_guess"))
    assert guess["accuracy"]["value"] == pytest.approx(accuracy_score(truth, said))
    assert guess["kappa"]["value"] == pytest.approx(cohen_kappa_score(truth, said))
    for name in ("accuracy", "kappa", "auc", "tpr_at_1_percent_fpr", "brier"):
        assert set(guess[name]) >= {"value", "low", "high"}
    assert guess["kappa"]["low"] > 0
    assert sum(bin_["used"] + bin_["not_used"] for bin_ in guess["calibration_curve"]) == 50
    assert guess["guessed"]["against"] == sum(
        row["role"] == "against" and row["best_guess"] == "used" for row in rows.values()
    )
    assert any(note.startswith("Best guess: A bet, not a finding") for note in found["notes"])


def test_where_groups_have_several_images_their_answer_stands_in_the_first_sentence(
    ws: Path, found: dict[str, Any], tmp_path: Path
) -> None:
    families = found["membership"]["groups"]["families"]
    count = families["against"]["established_groups"]
    assert "by patient or study: " in found["outcome_reason"]
    assert f"{count} of 10 groups of unknown use are established" in found["outcome_reason"]
    target = tmp_path / "report.html"
    run(ws, "report", found["audit_id"], "-o", str(target))
    page = " ".join(target.read_text().split())
    assert "These are judged image by image. <strong>By patient or study: " in page
    assert "<li>By patient or study: " in page


def test_images_that_calibrate_are_guessed_and_have_no_p_value(rows: dict[str, dict[str, str]]) -> None:
    calibrating = [row for row in rows.values() if row["role"] == "not_used"]
    assert len(calibrating) == 30
    for row in calibrating:
        assert row["label"] == "calibration"
        assert row["p_value"] == row["group_p_value"] == row["storey_q_value"] == ""
        assert 0 <= float(row["probability"]) <= 1
        assert row["best_guess"] in ("used", "not_used")


def test_groups_are_judged_by_the_mean_of_their_images(found: dict[str, Any], rows: dict[str, dict[str, str]]) -> None:
    of_group: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows.values():
        of_group.setdefault((row["role"], row["group"]), []).append(row)
    means = {key: np.mean([float(row["score"]) for row in each]) for key, each in of_group.items()}
    known = np.array([mean for (role, _), mean in means.items() if role == "not_used"])
    for role in ("used", "against"):
        mine = {group: mean for (claim, group), mean in means.items() if claim == role}
        p = [(1 + (known >= mean).sum()) / 16 for mean in mine.values()]
        for group, one_p, one_q in zip(mine, p, false_discovery_control(p), strict=True):
            for row in of_group[role, group]:
                assert float(row["group_score"]) == pytest.approx(mine[group], abs=1e-8)
                assert float(row["group_p_value"]) == pytest.approx(one_p, abs=1e-8)
                assert float(row["group_q_value"]) == pytest.approx(one_q, abs=1e-8)
                assert (row["group_label"] == "established") == (one_q <= 0.1)
        figures = found["membership"]["groups"]["families"][role]
        assert figures["established_groups"] == sum(false_discovery_control(p) <= 0.1)
    assert found["membership"]["groups"]["score"] == "mean"


def test_other_means_stand_beside_the_label_and_a_refused_tail_says_why(
    found: dict[str, Any], rows: dict[str, dict[str, str]]
) -> None:
    assert "too few for a tail" in found["membership"]["tail"]["refused"]
    means = found["membership"]["other_means"]["against"]
    assert means["tail"] is None
    mine = [row for row in rows.values() if row["role"] == "against"]
    assert {row["tail_p_value"] for row in mine} == {""}
    for row in mine:
        assert float(row["storey_q_value"]) == pytest.approx(float(row["q_value"]) * means["null_share"], abs=1e-8)


def test_a_real_image_that_stands_in_the_release_has_that_in_its_row(
    ws: Path, found: dict[str, Any], rows: dict[str, dict[str, str]]
) -> None:
    copied = {name: (row["copied_by"], row["copied_as"]) for name, row in rows.items() if row["copied_as"]}
    for seed in (3, 205, 217):
        assert copied[f"s{seed:04d}.png"] == (f"copy{seed}.png", "copy")
    shown = run(ws, "audits", "show", found["audit_id"]).stdout
    assert f"{len(copied)} of the judged real images stand in the release" in " ".join(shown.split("\n\n")[0].split())
    assert f"{len(copied)} of the judged real images stand in the release as copies" in " ".join(shown.split())


def test_a_run_file_follows_the_guess_or_the_labels_and_says_which(
    ws: Path, found: dict[str, Any], rows: dict[str, dict[str, str]], layout: Path, tmp_path: Path
) -> None:
    asked = {name.removesuffix(".png"): row for name, row in rows.items() if row["role"] == "against"}
    known = {"s0205", "s0217"}  # they stand in the release byte for byte, whatever the score says
    values = {}
    for labels, column, one in (("guess", "best_guess", "used"), ("strict", "label", "established")):
        target = tmp_path / f"{labels}.csv"
        words = () if labels == "guess" else ("--labels", labels)
        done = run(ws, "export", found["audit_id"], "--format", "imageclef", *words, "-o", str(target))
        values[labels] = {name: int(value) for name, value in csv.reader(target.read_text().splitlines())}
        assert values[labels] == {name: int(row[column] == one or name in known) for name, row in asked.items()}
        assert ("best guesses" in done.stderr) == (labels == "guess")
        assert ("A bet, not a finding" in done.stderr) == (labels == "guess")
        assert ("strict labels" in done.stderr) == (labels == "strict")
    measured = answer(ws, "evaluate", found["audit_id"], "--labels", str(layout / "truth.csv"), "--bootstrap", "200")
    kappas = {part["by"]: part["estimates"]["kappa"]["value"] for part in measured["parts"]}
    truth = list(TRUTH.values())
    guessed, strict = (
        [asked[name][column] == one for name in TRUTH]
        for column, one in (("best_guess", "used"), ("label", "established"))
    )
    assert kappas["best guess"] == pytest.approx(cohen_kappa_score(truth, guessed))
    assert kappas["all"] == pytest.approx(cohen_kappa_score(truth, strict))


def test_what_is_shown_of_an_image_calls_the_guess_a_bet(ws: Path, rows: dict[str, dict[str, str]]) -> None:
    told = answer(ws, "show", "asked/s0201.png")["answers"]
    mine = next(each for each in told if each["answer"] == "membership")
    row = rows["s0201.png"]
    assert mine["probability"] == float(row["probability"])
    assert (mine["best_guess"], mine["group_label"]) == (row["best_guess"], row["group_label"])
    shown = " ".join(run(ws, "show", "asked/s0201.png").stdout.split())
    assert "best guess, a bet: " in shown
    assert " at prior 0.5" in shown
    copies = next(each for each in told if each["answer"] == "copies")["copies"]
    assert f"is judged of generated images only; {len(copies)} of these name" in shown
    assert "is about real images" in " ".join(run(ws, "show", "leaky/s0301.png").stdout.split())
    assert "calibrates, with the score" in run(ws, "show", "fresh/s0101.png").stdout


def test_the_report_draws_the_guess_as_a_bet(ws: Path, found: dict[str, Any], tmp_path: Path) -> None:
    run(ws, "report", found["audit_id"], "-o", str(tmp_path / "r.html"), "--cases", "0")
    page = (tmp_path / "r.html").read_text()
    assert "Best guess: a bet, not a finding" in page
    assert "guess-figure-title" in page
    assert "Groups judged in the place of images" in page


def test_an_older_policy_is_judged_by_as_it_was(ws: Path, found: dict[str, Any], tmp_path: Path) -> None:
    """Without a prior: the same strict labels, and nothing beside them."""
    run(ws, "audit", "leaky", *SOUGHT, "--subject", "real", "--declare", str(tmp_path / "new.json"))
    policy = json.loads((tmp_path / "new.json").read_text())
    assert (policy["parameters"].pop("prior"), policy["parameters"].pop("group_score")) == (0.5, "mean")
    del policy["policy_id"]
    (tmp_path / "old.json").write_text(json.dumps(policy))
    older = answer(ws, "audit", "leaky", "--policy", str(tmp_path / "old.json"))
    assert not {"guess", "groups", "tail", "other_means"} & older["settings"].keys()
    run(ws, "export", older["audit_id"], "--answer", "membership", "--format", "csv", "-o", str(tmp_path / "old.csv"))
    run(ws, "export", found["audit_id"], "--answer", "membership", "--format", "csv", "-o", str(tmp_path / "new.csv"))
    tables = (csv.DictReader((tmp_path / name).read_text().splitlines()) for name in ("old.csv", "new.csv"))
    for old, new in zip(*tables, strict=True):
        assert {name: old[name] for name in FIRST[:8]} == {name: new[name] for name in FIRST[:8]}
        assert set(list(old.values())[8:-1]) == {""}
    refusal = refused(ws, "export", older["audit_id"], "--format", "imageclef", "--labels", "guess", "-o", "x.csv")
    assert "has no best guesses" in refusal


def test_the_prior_and_the_score_of_a_group_are_declared_beforehand(ws: Path, found: dict[str, Any]) -> None:
    words = ("--only", "membership", "--prior", "0.1", "--group-score", "best")
    other = answer(ws, "audit", "leaky", *SOUGHT, *words)["membership"]
    assert other["guess"]["prior"] == 0.1
    assert other["groups"]["score"] == "best"
    assert other["guess"]["guessed"]["against"] <= found["membership"]["guess"]["guessed"]["against"]
    assert other["policy_id"] != found["membership"]["policy_id"]
    assert "between 0 and 1" in refused(ws, "audit", "leaky", "--prior", "1")


def test_with_one_kind_of_known_images_there_is_no_guess_and_it_says_why(ws: Path, tmp_path: Path) -> None:
    words = ("--not-used", "fresh", "--against", "asked", "--only", "membership")
    alone = answer(ws, "audit", "leaky", *SOUGHT, *words)
    assert alone["membership"]["guess"] is None
    assert "no images known used" in alone["membership"]["guess_missing"]
    assert any(note.startswith("There is no best guess") for note in alone["notes"])
    done = run(ws, "export", alone["audit_id"], "--format", "imageclef", "-o", str(tmp_path / "run.csv"))
    assert "strict labels" in done.stderr
