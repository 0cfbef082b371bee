"""Audits against truth: every figure against scikit-learn and scipy called directly on the recorded verdicts."""

from __future__ import annotations

import csv
import json
import os
import shutil
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from provenance import Workspace
from provenance.errors import ConflictError, NotFoundError, SourceError, UsageError
from provenance.records import AuditDataset, AuditRecord, NewAudit, VerdictRecord
from provenance.service import frames
from provenance.vocabulary import Label
from tests.e2e.conftest import save_cohort
from tests.runner import raising

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SHARED = Path(__file__).resolve().parents[3] / "shared"
REALS: dict[str, Any] = {"used": "c-used", "not_used": "c-not-used", "against": "c-unknown"}
FEW: dict[str, Any] = {"bootstrap": 200}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = save_cohort(tmp_path_factory.mktemp("evaluate") / "cohort")
    (root / "real_unknown" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    return root


@pytest.fixture(scope="module")
def ws(cohort: Path, tiny_backbone: Path) -> Iterator[Workspace]:
    """A workspace that all tests read, and add audits to."""
    with Workspace.create(cohort.parent / "ws", backbone_file=tiny_backbone, workers=0, batch_size=4) as opened:
        made_by = {"generator": "toy", "architecture": "stylegan2"}
        opened.ingest_layout(cohort, "c", **made_by, modality="MR", group_from="(....)[.]")
        yield opened


@pytest.fixture(scope="module")
def audit(ws: Workspace) -> str:
    return ws.audit("c-generated", **REALS, subject="real", alpha=0.0).audit.audit_id


def figures(table: pd.DataFrame, by: str = "all", value: str = "all") -> dict[str, float | None]:
    part = table[(table["by"] == by) & (table["value"] == value)]
    return {
        name: None if pd.isna(number) else number for name, number in zip(part["metric"], part["estimate"], strict=True)
    }


def directly(truth: Sequence[bool], called: Sequence[bool], scores: Sequence[float]) -> dict[str, float]:
    tn, fp, fn, tp = sk.confusion_matrix(truth, called).ravel()
    chance = max(np.mean(truth), 1 - np.mean(truth))
    right = stats.binomtest(int(tp + tn), len(truth), chance, alternative="greater")
    return {
        "accuracy": sk.accuracy_score(truth, called),
        "precision": sk.precision_score(truth, called),
        "recall": sk.recall_score(truth, called),
        "f1": sk.f1_score(truth, called),
        "kappa": sk.cohen_kappa_score(truth, called),
        "auc": sk.roc_auc_score(truth, scores),
        "true_positives": tp,
        "false_positives": fp,
        "false_negatives": fn,
        "true_negatives": tn,
        "chance_accuracy": chance,
        "chance_p_value": right.pvalue,
    }


def labels_csv(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def run(ws: Workspace, *words: str) -> Any:
    return raising(ws.root, "evaluate", *words)


def test_figures_are_those_of_scikit_learn(ws: Workspace, audit: str) -> None:
    verdicts = ws.verdicts(audit)
    known = verdicts[verdicts["role"] != "against"]
    result = ws.evaluate(audit, **FEW)
    table = result.metrics
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == frames.METRICS
    expected = directly(known["role"] == "used", known["label"] == "used", known["score"])
    for by, value in (("all", "all"), ("generator", "toy"), ("architecture", "stylegan2"), ("modality", "MR")):
        found = figures(table, by, value)
        for name, number in expected.items():
            assert found[name] == pytest.approx(number), name
        assert (found["tpr@0.01"], found["inconclusive"]) == (None, 0)
    rows = table[table["by"] == "all"].set_index("metric")
    for name in ("accuracy", "auc", "kappa"):
        assert rows.loc[name, "low"] <= rows.loc[name, "estimate"] <= rows.loc[name, "high"]
    low, high = stats.binom.interval(0.95, len(known), expected["chance_accuracy"])
    assert rows.loc["chance_accuracy", "low"] == pytest.approx(low / len(known))
    assert rows.loc["chance_accuracy", "high"] == pytest.approx(high / len(known))
    assert any("without known truth" in note and "6" in note for note in result.notes)
    pd.testing.assert_frame_equal(table, ws.evaluate(audit, **FEW).metrics)
    assert not table.equals(ws.evaluate(audit, bootstrap=200, seed=1).metrics)


def test_labels_find_images_by_every_kind_of_name(ws: Workspace, audit: str, tmp_path: Path) -> None:
    verdicts = ws.verdicts(audit).set_index("name")
    first, second, third = "img_0200.png", "img_0201.png", "img_0202.png"
    ids = verdicts.loc[:, "subject_id"]
    text = (
        "name,image_id,set,used\n"
        f"img_0200,,,1\n{second},,c-unknown,not_used\n,{ids[third]},,false\n"
        f",{ids['img_0203.png'][7:19].upper()},,TRUE\nbroken.png,,,1\nimg_0200.png,,,used\n"
    )
    result = ws.evaluate(audit, labels=labels_csv(tmp_path, text), **FEW)
    (one,) = result.to_json()["audits"]
    assert (one["truth"], one["with_truth"], one["labels_of_unjudged_images"]) == ("labels", 4, 1)
    chosen = verdicts.loc[[first, second, third, "img_0203.png"]]
    expected = sk.accuracy_score([True, False, False, True], chosen["label"] == "used")
    assert figures(result.metrics)["accuracy"] == expected
    mapping = {first: True, second: 0, ids[third]: "not_used", "img_0203": "used"}
    pd.testing.assert_frame_equal(ws.evaluate(audit, labels=mapping, **FEW).metrics, result.metrics)
    contrary = ws.evaluate(audit, labels={"img_0001.png": 0, "img_0100.png": 0}, **FEW)
    assert any("not what audit" in note for note in contrary.notes)


def test_one_name_of_many_occurrences_and_of_many_images(
    make_workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    ws, cohort = make_workspace(), save_cohort(tmp_path / "cohort")
    unknown = cohort / "real_unknown"
    for folder in ("a", "b"):
        (unknown / folder).mkdir()
        shutil.copy(unknown / "img_0200.png", unknown / folder / "twice.png")
    shutil.copy(unknown / "img_0201.png", unknown / "a" / "other.png")
    shutil.copy(unknown / "img_0202.png", unknown / "b" / "other.png")
    ws.ingest_layout(cohort, "c", generator="toy")
    audit = ws.audit("c-generated", against="c-unknown", subject="real")
    result = ws.evaluate(audit, labels={"twice.png": 1, "img_0200.png": 1, "b/other.png": 0}, **FEW)
    assert result.to_json()["audits"][0]["with_truth"] == 2
    with pytest.raises(ConflictError, match=r"'other.png' could mean 2 different images"):
        ws.evaluate(audit, labels={"other.png": 1})
    with pytest.raises(SourceError, match="contradict each other"):
        ws.evaluate(audit, labels={"twice.png": 1, "img_0200": 0})


def test_bad_labels_are_refused(ws: Workspace, audit: str, tmp_path: Path) -> None:
    generated = ws.audit("c-generated", used="c-used", not_used="c-not-used", rule="mu-alpha-sigma")
    unknown = ws.audit("c-generated", against="c-unknown", subject="real")
    for what, error, said in (
        (lambda: ws.evaluate(generated), UsageError, "judged generated images"),
        (lambda: ws.evaluate(unknown), UsageError, "are of unknown use"),
        (lambda: ws.evaluate([audit, generated]), UsageError, "can't stand in one table"),
        (lambda: ws.evaluate([]), UsageError, "no audit"),
        (lambda: ws.evaluate([audit, audit]), ConflictError, "count twice"),
        (lambda: ws.evaluate(audit, labels={"nobody": 1, "img_0001": 1}), NotFoundError, "does not know: 'nobody'"),
        (lambda: ws.evaluate(audit, labels={"nobody": 1}, skip_unknown=True), NotFoundError, "none of the 1 labels"),
        (lambda: ws.evaluate(audit, labels={"broken.png": 1}), NotFoundError, "none of the 1 labels"),
        (lambda: ws.evaluate(audit, labels={"sha256:" + "0" * 64: 1, "img_0001": 1}), NotFoundError, "does not know"),
        (lambda: ws.evaluate(audit, labels=[{"img_0001": 1}] * 2), UsageError, "2 files of labels for 1"),
        (lambda: ws.evaluate(audit, labels=3), UsageError, "can't be int"),
        (lambda: ws.evaluate(audit, against=audit), UsageError, "with itself"),
        (lambda: ws.evaluate(audit, against=generated), UsageError, "nothing to compare"),
        (lambda: ws.evaluate(audit, against=unknown), NotFoundError, "no image with known truth was judged by both"),
        (lambda: ws.evaluate([audit, unknown], against=audit, labels={"img_0200": 1}), UsageError, "one audit"),
        (lambda: ws.evaluate(audit, bootstrap=3), UsageError, "100 resamples or more"),
        (lambda: ws.evaluate("beef" * 8), NotFoundError, "no audit"),
    ):
        with pytest.raises(error, match=said):
            what()


def test_what_can_not_be_estimated_says_so_and_is_never_nan(ws: Workspace, audit: str, tmp_path: Path) -> None:
    for number, (labels, said) in enumerate(
        (
            ({"img_0001": 1, "img_0002": 1}, "Every image of audit"),
            ({"img_0001": 1}, "no interval can be given"),
            ({"img_0001": 1, "img_0101": 0}, "without known truth"),
        )
    ):
        result = ws.evaluate(audit, labels=labels, **FEW)
        assert any(said in note for note in result.notes)
        json.dumps(result.to_json(), allow_nan=False)
        files = result.write(tmp_path / str(number))
        assert all(file.stat().st_size for file in files)
        assert ("roc.svg" in {file.name for file in files}) == (number == 2)
        with (tmp_path / str(number) / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert all("nan" not in (row["estimate"], row["low"], row["high"]) for row in rows)
        assert all(row["estimate"] or row["reason"].startswith("not estimable") for row in rows)


def test_groups_are_drawn_whole(cohort: Path, make_workspace: Callable[..., Workspace]) -> None:
    """All images in two groups of one class each: AUC has no interval by group, but would have one by image."""
    other = make_workspace()
    other.ingest_layout(cohort, "c", generator="toy", group_from=r"img_(0\d)")
    audit = other.audit("c-generated", used="c-used", not_used="c-not-used", subject="real", alpha=0.5)
    table = other.evaluate(audit, **FEW).metrics
    auc = table[(table["by"] == "all") & (table["metric"] == "auc")].iloc[0]
    assert auc["groups"] == 2
    assert pd.isna(auc["low"])
    assert "fewer than two groups" in auc["reason"]
    other.remove("c-not-used")
    result = other.evaluate(audit, **FEW)
    assert any(note.startswith("c-not-used: removed since") for note in result.notes)
    assert figures(result.metrics)["negatives"] == 10


def test_two_audits_are_compared_by_mcnemar_and_paired_bootstrap(ws: Workspace, audit: str) -> None:
    strict = ws.audit("c-generated", **REALS, subject="real", alpha=1.0)
    one, two = (ws.verdicts(each).set_index("subject_id") for each in (audit, strict))
    one, two = (each[each["role"] != "against"] for each in (one, two))
    truth = one["role"] == "used"
    right = [(each["label"] == "used") == truth for each in (one, two)]
    only = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    found = ws.evaluate(audit, against=strict, **FEW).comparison
    assert found is not None
    assert (found["mcnemar"]["first_only"], found["mcnemar"]["second_only"]) == only
    assert found["mcnemar"]["p_value"] == pytest.approx(stats.binomtest(only[0], sum(only), 0.5).pvalue)
    assert found["accuracy_difference"]["value"] == pytest.approx(right[0].mean() - right[1].mean())
    assert found["auc_difference"]["value"] == found["auc_difference"]["high"] == 0  # the same scores
    assert found["n"] == len(truth)
    labels = {"img_0200": 1, "img_0201": 0, "img_0001": 1}
    other = ws.evaluate(audit, against=strict, labels=labels, **FEW).comparison
    assert other is not None
    assert other["n"] == 3


def test_several_audits_make_one_table(ws: Workspace, audit: str, cohort: Path) -> None:
    ws.ingest(cohort / "generated", release="again", generator="other", architecture="ddpm", modality="MR")
    second = ws.audit("again", **REALS, subject="real", alpha=0.0)
    table = ws.evaluate([audit, second], **FEW).metrics
    parts = dict.fromkeys(zip(table["by"], table["value"], strict=True))
    assert list(parts) == [
        ("all", "all"),
        ("audit", audit[:8]),
        ("audit", second.audit.audit_id[:8]),
        ("generator", "other"),
        ("generator", "toy"),
        ("architecture", "ddpm"),
        ("architecture", "stylegan2"),
        ("modality", "MR"),
    ]
    verdicts = pd.concat([ws.verdicts(audit), ws.verdicts(second)])
    known = verdicts[verdicts["role"] != "against"]
    expected = directly(known["role"] == "used", known["label"] == "used", known["score"])
    assert figures(table)["auc"] == pytest.approx(expected["auc"])
    everything = table[table["by"] == "all"].iloc[0]
    assert (everything["n"], everything["groups"]) == (44, 22), "an image judged twice is one group"
    other_policy = ws.audit("again", **REALS, subject="real", alpha=0.7)
    mixed = ws.evaluate([audit, other_policy], **FEW)
    assert "all" not in set(mixed.metrics["by"])
    assert any("Not pooled" in note for note in mixed.notes)


def calibrated(ws: Workspace, like: str, p_values: Sequence[float | None], counts: dict[str, int]) -> str:
    """An audit with the words of calibrated rules, made from another audit's verdicts."""
    old = ws.catalog.audit(like)
    words = [Label.ESTABLISHED, Label.INCONCLUSIVE, Label.NOT_ESTABLISHED]
    names = {name for name in VerdictRecord.__dataclass_fields__ if name != "neighbors"}
    verdicts = [
        VerdictRecord(**{name: getattr(verdict, name) for name in names})
        for verdict in ws.catalog.verdicts(old.audit_id)
    ]
    verdicts = [
        replace(verdict, label=words[place % 3], p_value=p_values[place % len(p_values)], threshold=None)
        for place, verdict in enumerate(verdicts)
    ]
    values: dict[str, Any] = {name: getattr(old, name) for name in AuditRecord.__dataclass_fields__}
    values |= {"audit_id": uuid.uuid4().hex, "rule": "calibrated", "policy_id": "policy:" + "1" * 64}
    values |= dict.fromkeys(("mu", "sigma", "alpha", "threshold", "population_count"))
    values |= {"finished_at": datetime.now(UTC), "counts": {**old.counts, **counts}}
    record = AuditRecord(**values)
    ws.catalog.ensure_policy(record.policy_id, record.rule, {"q": 0.1})
    datasets: list[AuditDataset] = ws.catalog.audit_datasets(old.audit_id)
    ws.catalog.record_audit(NewAudit(record, datasets, verdicts=verdicts))
    return record.audit_id


def test_calibrated_labels_and_p_values(ws: Workspace, audit: str, tmp_path: Path) -> None:
    p_values = [number / 20 for number in range(1, 21)]
    result = ws.evaluate(calibrated(ws, audit, p_values, {"calibration_groups": 19}), **FEW)
    verdicts = ws.verdicts(result.to_json()["audits"][0]["audit_id"])
    known = verdicts[verdicts["role"] != "against"]
    expected = directly(known["role"] == "used", known["label"] == "established", known["score"])
    found = figures(result.metrics)
    for name, number in expected.items():
        assert found[name] == pytest.approx(number), name
    assert found["inconclusive"] == (known["label"] == "inconclusive").sum() > 0
    (one,) = result.to_json()["audits"]
    of_not_used = known[known["role"] == "not_used"]["p_value"].to_numpy()
    assert (one["calibration"]["n"], one["calibration"]["steps"]) == (len(of_not_used), 20)
    shares = np.array([(of_not_used <= step / 20).mean() - step / 20 for step in range(1, 21)])
    assert one["calibration"]["distance"] == pytest.approx(np.abs(shares).max())
    assert {"calibration.svg", "histogram.png"} <= {file.name for file in result.write(tmp_path / "out")}
    unstated = ws.evaluate(calibrated(ws, audit, p_values, {}), **FEW)
    assert any("how many groups its p-values" in note for note in unstated.notes)
    against = ws.evaluate(audit, against=calibrated(ws, audit, [None], {}), **FEW)
    assert against.report.audits[0].calibration is None


def test_files_are_the_same_twice_and_not_replaced_unasked(ws: Workspace, audit: str, tmp_path: Path) -> None:
    words = (audit[:8], "--bootstrap", "200", "-o")
    document = json.loads(run(ws, *words, str(tmp_path / "one"), "--json").stdout)
    run(ws, *words, str(tmp_path / "two"))
    names = {Path(file).name for file in document["files"]}
    assert names == {
        *("evaluation.json", "metrics.csv", "curves.json"),
        *(f"{name}.{form}" for name in ("histogram", "roc", "roc_log") for form in ("svg", "png")),
    }
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    kept = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    assert kept == {name: value for name, value in document.items() if name != "files"}
    assert list(kept) == ["audits", "parts", "comparison", "notes"]
    with pytest.raises(ConflictError, match="is there already"):
        run(ws, *words, str(tmp_path / "one"))
    run(ws, *words, str(tmp_path / "one"), "--force")
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="can't be made"):
        run(ws, *words, str(tmp_path / "file"))
    curves = json.loads((tmp_path / "one" / "curves.json").read_text())
    verdicts = ws.verdicts(audit)
    known = verdicts[verdicts["role"] != "against"]
    fpr, tpr, _ = sk.roc_curve(known["role"] == "used", known["score"])
    assert (curves[0]["roc"]["fpr"], curves[0]["roc"]["tpr"]) == (pytest.approx(fpr), pytest.approx(tpr))


def test_of_generated_images_the_figure_is_that_of_the_paper(ws: Workspace, tmp_path: Path) -> None:
    audit = ws.audit("c-generated", used="c-used", not_used="c-not-used", rule="mu-alpha-sigma")
    labels = {f"copy_{number:04d}": 1 for number in (1, 5, 11)} | {f"gen_{number:04d}": 0 for number in range(300, 306)}
    result = ws.evaluate(audit, labels=labels, **FEW)
    assert figures(result.metrics)["auc"] == 1
    result.write(tmp_path / "out")
    svg = (tmp_path / "out" / "histogram.svg").read_text()
    for words in ("S_u to used images (n = 9)", "S_n to not-used images (n = 9)", "cosine similarity", "T = "):
        assert words in svg


@pytest.mark.shared_data
def test_the_truth_that_comes_with_real_slices_works_as_it_is(
    make_workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    data = SHARED / "data" / "brain-mri"
    if not data.is_dir():
        assert not os.environ.get("CI"), f"CI must have the real images at {SHARED}"
        pytest.skip("the real images are not beside the checkout")
    for name, count in (("real_used", 10), ("real_not_used", 10), ("real_unknown", 200), ("generated", 40)):
        (tmp_path / "part" / name).mkdir(parents=True)
        for file in sorted((data / name).iterdir())[:count]:
            (tmp_path / "part" / name / file.name).symlink_to(file)
    ws = make_workspace()
    ws.ingest_layout(tmp_path / "part", "brain", generator="dcgan", architecture="dcgan", modality="MR")
    sets = {"used": "brain-used", "not_used": "brain-not-used", "against": "brain-unknown"}
    audit = ws.audit("brain-generated", **sets, subject="real", alpha=0.0).audit.audit_id
    file = data / "real_unknown_truth.csv"
    document = json.loads(run(ws, audit, "--labels", str(file), "--json").stdout)
    with file.open(newline="") as rows:
        truth = {row["name"]: row["used"] == "1" for row in csv.DictReader(rows)}
    verdicts = ws.verdicts(audit)
    verdicts["truth"] = verdicts["name"].str.removesuffix(".jpg").map(truth)
    known = verdicts.dropna(subset="truth")
    assert len(known) == document["parts"][0]["n"] == 200
    known_truth = known["truth"].astype(bool)
    expected = directly(known_truth, known["label"] == "used", known["score"])
    for name, estimate in document["parts"][0]["estimates"].items():
        if name in expected:
            assert estimate["value"] == pytest.approx(expected[name]), name
    fpr, tpr, _ = sk.roc_curve(known_truth, known["score"], drop_intermediate=False)
    assert document["parts"][0]["estimates"]["tpr@0.01"]["value"] == pytest.approx(tpr[fpr <= 0.01].max())
    assert document["parts"][0]["estimates"]["tpr@0.001"]["value"] is None
    text = run(ws, audit, "--labels", str(file)).stdout
    for words in ("Cohen's kappa", "TPR at 1 % FPR", "chance", "dcgan", "not estimable"):
        assert words in text
