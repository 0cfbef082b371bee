"""An audit of several answers: what is exported of each, and what is shown of an image."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from provenance import Workspace
from provenance.errors import NotFoundError, UsageError
from provenance.findings import Findings
from provenance.records import AuditRecord, CalibrationScore, CopySource, NeighborRecord, NewAudit, VerdictRecord
from provenance.vocabulary import JOINT_RULE, Answer, Box, Established, Label, Outcome, Role, Subject
from tests.properties.test_exports_round_trip import Planted, space_of
from tests.runner import answer as json_of
from tests.runner import refused, run

COPIES = [
    *("image_id", "name", "label", "established_by", "agreement", "p_value", "q_value"),
    *("source_id", "source_name", "transformation", "rank", "extent", "share"),
    *("left", "top", "right", "bottom", "source_left", "source_top", "source_right", "source_bottom", "evidence"),
]
MEMBERSHIP = ["image_id", "name", "role", "group", "label", "score", "p_value", "q_value", "probability", "best_guess"]


def verdict(key: str, label: Label, role: Role = Role.RELEASE, **more: Any) -> VerdictRecord:
    columns = ("score", "s_used", "s_not_used", "s_against", "threshold", "p_value", "q_value")
    values = {**dict.fromkeys(columns), "near_threshold": False, "verdict_sha256": "s", "score": 0.5, **more}
    return VerdictRecord(key, role, label, **values)


class Joint:
    """A release of three images and a set of four, two of which calibrate, with all three answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with Workspace.create(folder) as workspace:
            planted = Planted(workspace, space_of(workspace))
            self.release, generated = planted.put([["g0.png"], ["g1.png"], ["g2.png"]], release=True)
            self.reals, real = planted.put([["r0.png"], ["r1.png"], ["r2.png"], ["r3.png"]], groups=True)
            names = {Role.RELEASE: self.release, Role.USED: self.reals}
            whole = CopySource(1, real[1], False, 0.9, 0.8, None, None, "mirrored", Established.TAIL)
            piece = CopySource(2, real[0], True, None, 0.2, Box(0, 0, 0.5, 0.5), Box(0, 0.5, 0.5, 1), "in place")
            sources = (whole, piece)
            copies = [
                verdict(generated[0], Label.COPY, p_value=0.01, q_value=0.03, sources=sources),
                verdict(generated[1], Label.COPY, sources=(replace(whole, established_by=Established.IDENTITY),)),
                verdict(generated[2], Label.NO_COPY_SEEN, p_value=0.9, q_value=0.9),
            ]
            judged = {"p_value": 0.02, "q_value": 0.04, "score": 3.0}
            members = [verdict(key, Label.ESTABLISHED, Role.USED, **judged) for key in real[:2]]
            baseline = planted.audit([verdict(key, Label.USED) for key in generated], names, Subject.GENERATED)
            parts = {
                Answer.COPIES: self._part(baseline, "copies", copies),
                Answer.MEMBERSHIP: replace(
                    self._part(baseline, "calibrated", members, Subject.REAL),
                    calibration=[CalibrationScore(key, score) for key, score in zip(real[2:], (1.0, 0.5), strict=True)],
                ),
                Answer.BASELINE: self._part(baseline, "mu-alpha-sigma", [verdict(k, Label.USED) for k in generated]),
            }
            found = Findings(outcome=Outcome.LEAK_ESTABLISHED, outcome_reason="Because.")
            record = replace(baseline, audit_id="f" * 32, subject=Subject.RELEASE, rule=JOINT_RULE, findings=found)
            played = workspace.catalog.audit_datasets(baseline.audit_id)
            new = NewAudit(record, played, parts={each: replace(part, datasets=played) for each, part in parts.items()})
            workspace.catalog.record_audit(new)
            membership = new.parts[Answer.MEMBERSHIP]
            only = {Answer.MEMBERSHIP: replace(membership, audit=replace(membership.audit, audit_id="b" * 32))}
            workspace.catalog.record_audit(NewAudit(replace(record, audit_id="c" * 32), played, parts=only))
            bare = replace(record, audit_id="e" * 32, finished_at=record.finished_at - timedelta(hours=1))
            less = {Answer.COPIES: replace(new.parts[Answer.COPIES], audit=replace(baseline, audit_id="d" * 32))}
            workspace.catalog.record_audit(NewAudit(bare, played, parts=less))
            self.id_of = {row["name"]: row["subject_id"] for row in workspace.verdict_rows(baseline)}
            ids = {key: image.image_id for key in real if (image := workspace.catalog.image(key))}
            self.id_of |= {f"r{n}.png": ids[key] for n, key in enumerate(real)}
            self.baseline, self.parts = baseline, {each: part.audit.audit_id for each, part in parts.items()}

    @staticmethod
    def _part(
        like: AuditRecord, rule: str, verdicts: list[VerdictRecord], subject: Subject = Subject.GENERATED
    ) -> NewAudit:
        return NewAudit(replace(like, audit_id=rule.ljust(32, "0"), rule=rule, subject=subject), verdicts=verdicts)

    def rows(self, *words: str) -> tuple[list[str], list[dict[str, str]]]:
        """The header and the rows of an export as CSV."""
        target = self.folder / "out.csv"
        run(self.folder, "export", "ffff", *words, "-o", str(target), "--force")
        with target.open(newline="") as file:
            reader = csv.DictReader(file)
            return list(reader.fieldnames or ()), list(reader)


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Joint:
    return Joint(tmp_path_factory.mktemp("joint") / "workspace")


def test_copies_have_a_row_an_image_and_source_with_the_best_first(joint: Joint) -> None:
    columns, rows = joint.rows("--answer", "copies", "--format", "csv")
    assert columns == COPIES
    by_name: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        assert row["image_id"] == joint.id_of[row["name"]]
        by_name.setdefault(row["name"], []).append(row)
    # what is known by identity first; an image's label stands in one of its rows, so that rows can be counted by it
    assert [(row["name"], row["label"]) for row in rows] == [
        ("g1.png", "copy"),
        ("g0.png", "copy"),
        ("g0.png", ""),
        ("g2.png", "no_copy_seen"),
    ]
    first, second = by_name["g0.png"]
    told = ("label", "established_by", "agreement", "p_value", "q_value", "source_id", "source_name", "transformation")
    whole = ("copy", "tail", "0.9", "0.01", "0.03", joint.id_of["r1.png"], "r1.png", "mirrored")
    assert tuple(first[name] for name in told) == whole
    piece = ("", "", "", "", "", joint.id_of["r0.png"], "r0.png", "in place")
    assert tuple(second[name] for name in told) == piece
    extents = [tuple(row[name] for name in COPIES[10:]) for row in (first, second)]
    assert extents[0] == ("1", "whole", "0.8", *[""] * 8, "0.5")
    assert extents[1] == ("2", "part", "0.2", "0", "0", "0.5", "0.5", "0", "0.5", "0.5", "1", "")
    assert [row["established_by"] for row in by_name["g1.png"]] == ["identity"]
    (none,) = by_name["g2.png"]
    assert tuple(none[name] for name in told) == ("no_copy_seen", "", "", "0.9", "0.9", "", "", "")


def test_membership_has_the_images_that_calibrate_with_their_role(joint: Joint) -> None:
    columns, rows = joint.rows("--answer", "membership", "--format", "csv")
    assert columns[: len(MEMBERSHIP)] == MEMBERSHIP
    assert {row[name] for row in rows for name in columns[len(MEMBERSHIP) : -3]} == {""}  # of an audit without any
    assert [row["image_id"] for row in rows] == sorted(joint.id_of[f"r{n}.png"] for n in range(4))
    told = {row["name"]: tuple(row[name] for name in MEMBERSHIP[2:] if name != "group") for row in rows}
    judged = ("used", "established", "3.0", "0.02", "0.04", "", "")
    assert told == {
        "r0.png": judged,
        "r1.png": judged,
        "r2.png": ("not_used", "calibration", "1.0", "", "", "", ""),
        "r3.png": ("not_used", "calibration", "0.5", "", "", "", ""),
    }
    group = {row["name"]: row["group"] for row in rows}
    assert group["r0.png"] == group["r3.png"] != ""  # patient 0 has both
    assert len(set(group.values())) == 3


@pytest.mark.parametrize("which", [Answer.COPIES, Answer.MEMBERSHIP])
def test_the_forms_hold_the_same_rows(joint: Joint, which: Answer, tmp_path: Path) -> None:
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.parquet"
    for target in (lines, table):
        words = ("--answer", which, "--format", target.suffix[1:], "-o", str(target))
        said = json_of(joint.folder, "export", "ffff", *words)
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert pq.read_table(table).to_pylist() == found
    assert said["rows"] == len(found)
    assert said["answer"] == which
    texts = [{name: "" if value is None else str(value) for name, value in row.items()} for row in found]
    assert texts == joint.rows("--answer", which, "--format", "csv")[1]


def test_the_baseline_is_written_as_an_audit_by_its_rule_alone(joint: Joint, tmp_path: Path) -> None:
    run(joint.folder, "export", joint.baseline.audit_id, "--format", "csv", "-o", str(tmp_path / "alone.csv"))
    run(joint.folder, "export", "ffff", "--answer", "baseline", "--format", "csv", "-o", str(tmp_path / "part.csv"))
    assert (tmp_path / "part.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


@pytest.mark.parametrize(
    ("fmt", "which"), [("csv", "copies"), ("parquet", "copies"), ("jsonl", "copies"), ("max-similarity", "baseline")]
)
def test_without_an_answer_the_form_decides_and_it_is_said(joint: Joint, fmt: str, which: str, tmp_path: Path) -> None:
    said = run(joint.folder, "export", "ffff", "--format", fmt, "-o", str(tmp_path / "out")).stderr
    assert f"the answer {which} (others: --answer " in said
    if fmt != "max-similarity":  # an audit with `--only membership`: what it has, and no word of others
        said = run(joint.folder, "export", "cccc", "--format", fmt, "-o", str(tmp_path / "only")).stderr
        assert "the answer membership\n" in said
        assert (tmp_path / "only").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("eeee", "--answer", "membership", "--format", "csv"), "does not answer membership"),
        (
            ("ffff", "--answer", "copies", "--format", "imageclef"),
            "--format imageclef does not go with --answer copies",
        ),
        (("ffff", "--answer", "membership", "--format", "max-similarity"), "does not go with --answer membership"),
        (("BASELINE", "--answer", "copies", "--format", "csv"), "does not answer copies"),
        (("SET", "--answer", "copies", "--format", "parquet"), "--answer copies takes an audit id"),
    ],
)
def test_what_an_audit_does_not_answer_is_refused(
    joint: Joint, words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    named = {"BASELINE": joint.baseline.audit_id, "SET": joint.reals}
    words = tuple(named.get(word, word) for word in words)
    assert said in refused(joint.folder, "export", *words, "-o", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_show_says_what_an_image_copies_and_where_both_files_are(joint: Joint) -> None:
    found = json_of(joint.folder, "show", "g0", "--audit", "ffff")
    assert found["audit_id"] == "f" * 32
    copies, membership, baseline = found["answers"]
    assert (copies["answer"], copies["label"], copies["p_value"], copies["q_value"]) == ("copies", "copy", 0.01, 0.03)
    assert (membership["label"], baseline["label"], baseline["probability"]) == (None, "used", None)
    first, second = copies["sources"]
    assert (first["name"], first["established_by"], first["transformation"]) == ("r1.png", "tail", "mirrored")
    assert (second["part"], second["box"], second["source_box"]) == (True, [0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1])
    assert found["places"] == [{"source": "/data/0/0", "member": None}]
    assert [place["source"] for place in first["places"]] == ["/data/1/0"]
    said = run(joint.folder, "show", "g0", "--audit", "ffff").stdout
    assert "copies" in said
    assert "copy, score 0.5, p 0.01, q 0.03" in said
    assert "/data/1/0" in said


def test_show_says_which_images_copy_a_real_one_and_what_calibrates(joint: Joint) -> None:
    copies, membership, _ = json_of(joint.folder, "show", f"{joint.reals}/r1", "--audit", "ffff")["answers"]
    assert [(copy["name"], copy["label"], copy["rank"]) for copy in copies["copies"]] == [
        *(("g1.png", "copy", 1), ("g0.png", "copy", 1)),  # what is identical first, as in every list
    ]
    assert (membership["label"], membership["score"]) == ("established", 3.0)
    assert json_of(joint.folder, "show", "r2", "--audit", "ffff")["answers"][1]["calibration_score"] == 1.0
    assert "calibrates, with the score 1" in run(joint.folder, "show", "r2", "--audit", "ffff").stdout


def test_show_takes_the_latest_audit_of_the_release_that_an_image_is_in(joint: Joint) -> None:
    assert json_of(joint.folder, "show", "g0")["audit_id"] == "e" * 32  # recorded last, whatever a clock said
    with Workspace.open(joint.folder) as workspace:
        planted = Planted(workspace, space_of(workspace))
        planted.put([["alone.png"]])
        assert workspace.show("alone").audit is None
        with pytest.raises(NotFoundError, match="took no part in audit ffffffff"):
            workspace.show("alone", "ffff")
        with pytest.raises(UsageError, match="is no answer"):
            workspace.export("ffff", joint.folder / "x", answer="everything")


def test_show_takes_the_audit_that_an_image_had_part_in(tmp_path: Path) -> None:
    """Not the latest, nor one of its set of before it was in it; and of one that it calibrates alone."""
    with Workspace.create(tmp_path / "workspace") as workspace:
        catalog, planted = workspace.catalog, Planted(workspace, space_of(workspace))
        release, _ = planted.put([["g.png"]], release=True)
        first, (one, other) = planted.put([["one.png"], ["other.png"]])
        mine = planted.audit(
            [verdict(one, Label.USED, Role.USED)], {Role.RELEASE: release, Role.USED: first}, Subject.REAL
        )
        played = catalog.audit_datasets(mine.audit_id)
        calibrated = replace(
            mine, audit_id="c" * 32, rule="calibrated", finished_at=mine.finished_at + timedelta(hours=1)
        )
        catalog.record_audit(NewAudit(calibrated, played, calibration=[CalibrationScore(other, 0.5)]))
        sets = Planted(workspace, planted.space, "later")
        second, _ = sets.put([["elsewhere.png"]])
        aside = replace(mine, audit_id="a" * 32, subject=Subject.RELEASE, rule=JOINT_RULE)
        late = replace(aside, finished_at=mine.finished_at + timedelta(hours=2))
        early = replace(aside, audit_id="b" * 32, finished_at=mine.finished_at - timedelta(days=1))
        of_second = [each for each in played if each.role is Role.RELEASE]
        catalog.record_audit(
            NewAudit(late, [*of_second, replace(played[1], dataset_id=catalog.dataset(second).dataset_id)])
        )
        catalog.record_audit(NewAudit(early, played))
        seen = {name: workspace.show(name) for name in ("one", "other", "elsewhere", "g")}
        assert {name: view.audit and view.audit.audit.audit_id for name, view in seen.items()} == {
            "one": mine.audit_id,
            "other": "c" * 32,
            "elsewhere": "a" * 32,
            "g": "a" * 32,
        }
        assert [each.calibration_score for each in seen["other"].answers] == [0.5]
        with pytest.raises(NotFoundError, match="took no part in audit bbbbbbbb"):
            workspace.show("one", "bbbb")
        assert workspace.show("one", "cccc").audit is not None


def test_show_prints_a_few_of_many_verdicts_and_says_so(tmp_path: Path) -> None:
    with Workspace.create(tmp_path / "workspace") as workspace:
        planted = Planted(workspace, space_of(workspace))
        release, generated = planted.put([[f"g{n}.png"] for n in range(9)], release=True)
        reals, (real,) = planted.put([["r.png"]])
        near = NeighborRecord(Role.USED, 1, real, 0.5)
        found = [verdict(key, Label.USED, neighbors=(near,)) for key in generated]
        planted.audit(found, {Role.RELEASE: release, Role.USED: reals}, Subject.GENERATED)
    few, everything = (run(tmp_path / "workspace", "show", "r", *words).stdout for words in ((), ("--all",)))
    assert "evidence in 9 verdicts (the first 5 of 9; --all prints the others)" in " ".join(few.split())
    assert [text.count("0.500000") for text in (few, everything)] == [5, 9]
    assert len(json_of(tmp_path / "workspace", "show", "r")["verdicts_citing"]) == 9


def test_minus_is_standard_output_and_the_workspace_may_stand_behind_the_command(joint: Joint) -> None:
    words = ("export", "ffff", "--format", "csv")
    target = joint.folder / "file.csv"
    run(joint.folder, *words, "-o", str(target), "--force")
    for place in ((), ("--workspace", str(joint.folder)), (f"-w{joint.folder}",)):
        done = run(joint.folder / ("elsewhere" if place else ""), *words, "-o", "-", *place)
        assert done.stdout_bytes == target.read_bytes()
        assert "-: " in done.stderr
        assert "provenance-" not in done.stderr
    table = run(joint.folder, *words[:3], "parquet", "-o", "-").stdout_bytes
    assert (table[:4], table[-4:]) == (b"PAR1", b"PAR1")
    assert "would both write to stdout" in refused(joint.folder, *words, "-o", "-", "--json")
    assert not Path("-").exists()
