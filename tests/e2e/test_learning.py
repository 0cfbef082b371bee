"""Fitting and sweeping on small images: where truth comes from, what is refused, files and JSON."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from provenance.audit import Policy, policy_from_json
from provenance.audit.rules.logistic import LogisticRule
from provenance.audit.rules.mu_alpha_sigma import MuAlphaSigmaRule
from provenance.errors import ConflictError, NotFoundError, SourceError, SpaceMismatchError, UsageError
from provenance.service import frames
from tests.runner import raising

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provenance import Workspace

SETS: dict[str, Any] = {"used": "c-used", "not_used": "c-not-used"}
SEED: dict[str, Any] = {**SETS, "rule": "mu-alpha-sigma"}


@pytest.fixture
def ws(make_workspace: Callable[..., Workspace], cohort: Path) -> Workspace:
    opened = make_workspace()
    backbone = opened.load_backbone()
    opened.ingest_layout(cohort, "c", generator="toy", backbone=backbone)
    (cohort / "other").mkdir()
    for seed in range(500, 511):
        coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize((40, 40)).save(cohort / "other" / f"ctl_{seed}.png")
    opened.ingest(cohort / "other", release="ctl", generator="other", backbone=backbone)
    return opened


def command(ws: Workspace, *words: str) -> Any:
    """The JSON document of a command that is run in this process, once the workspace is closed."""
    ws.close()
    return json.loads(raising(ws.root, *words, "--json").stdout)


def test_a_fitted_policy_goes_from_file_to_audit_and_back(ws: Workspace, tmp_path: Path) -> None:
    real = ws.audit("c-generated", **SEED, against="c-unknown", subject="real")
    fit = ws.fit(real, standardise=True, held_out=0.3, seed=4)
    assert (fit.report.known.source, len(fit.report.known.labelled)) == ("claims", 22)
    assert {str(dtype) for dtype in fit.metrics.dtypes} == {"category", "float64"}
    file = fit.save(tmp_path / "policy.json")
    with pytest.raises(ConflictError, match="is there already"):
        fit.save(file)
    document = json.loads(file.read_text())
    assert policy_from_json(document["rule"], document["parameters"]) == fit.policy
    assert document["policy_id"] == fit.policy.policy_id
    assert document["fitted"]["audits"] == [
        {"audit_id": real.audit.audit_id, "verdict_digest": real.audit.verdict_digest}
    ]

    flags = {**SETS, "against": "c-unknown"}
    audits = [ws.audit("c-generated", **flags, policy=each) for each in (file, fit.policy)]
    audits.append(ws.audit("c-generated", **flags, policy=fit.policy.policy_id, rule="logistic", subject="real"))
    assert len({audit.audit.verdict_digest for audit in audits}) == 1
    assert {audit.audit.policy_id for audit in audits} == {fit.policy.policy_id}
    other = ws.fit(real, standardise=True, held_out=0.3, seed=4, cutoff=0.6)
    changed = ws.audit("c-generated", **flags, policy=other.policy)
    assert changed.audit.verdict_digest != audits[0].audit.verdict_digest
    assert set(ws.verdicts(changed)["threshold"]) == {0.6}
    scores = ws.verdicts(audits[0])["score"]
    assert ((scores > 0.5) == (ws.verdicts(audits[0])["label"] == "used")).all()
    assert np.isnan(ws.audits()["mu"].iloc[0])
    assert set(ws.changes(real, audits[0])["change"]) <= {"label"}, "a cosine and a probability are not compared"


def test_what_contradicts_a_policy_or_is_missing_is_refused(ws: Workspace, tmp_path: Path) -> None:
    generated, control = (ws.audit(name, **SEED) for name in ("c-generated", "ctl"))
    fit = ws.fit(generated, control=control)
    assert isinstance(fit.policy.rule, LogisticRule)
    assert (fit.report.known.source, fit.policy.rule.model.features) == ("control", ("s_used", "s_not_used"))
    file = fit.save(tmp_path / "policy.json")
    before = len(ws.audits())
    for words, told in {
        ("alpha", 0.4): "alpha 0.4 contradicts the policy, which has none",
        ("subject", "real"): "subject real contradicts the policy, which has generated",
        ("top_k", 3): "top-k 3 contradicts the policy, which has 10",
        ("rule", "mu-alpha-sigma"): "contradicts the policy, which has logistic",
    }.items():
        with pytest.raises(UsageError, match=told):
            ws.audit("c-generated", **SETS, policy=file, **dict([words]))
    with pytest.raises(UsageError, match="needs a fitted model"):
        ws.audit("c-generated", **SETS, rule="logistic")
    with pytest.raises(UsageError, match="needs S_n"):
        ws.audit("c-generated", used="c-used", policy=file)
    with pytest.raises(UsageError, match="needs S_u"):
        ws.audit("c-generated", not_used="c-not-used", policy=file)
    document = json.loads(file.read_text())
    document["parameters"]["model"]["intercept"] += 0.125
    (tmp_path / "changed.json").write_text(json.dumps(document))
    with pytest.raises(ConflictError, match="was changed"):
        ws.audit("c-generated", **SETS, policy=tmp_path / "changed.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(SourceError, match="needs rule and parameters"):
        ws.audit("c-generated", **SETS, policy=tmp_path / "list.json")
    with pytest.raises(NotFoundError, match="no policy has the id"):
        ws.audit("c-generated", **SETS, policy="policy:00")
    assert len(ws.audits()) == before


def test_a_model_is_refused_in_another_space(ws: Workspace, cohort: Path, other_backbone: Path) -> None:
    fit = ws.fit("c-generated", **SETS, subject="real")
    for name in ("c-generated", "c-used", "c-not-used"):
        ws.embed(name, backbone=ws.load_backbone(backbone_file=other_backbone))
    first, second = sorted(space.space_id for space in ws.catalog.spaces())
    other = second if first == fit.policy.rule.fitted_space else first
    with pytest.raises(SpaceMismatchError, match="fitted in"):
        ws.audit("c-generated", **SETS, policy=fit.policy, space=other)
    # of two spaces, the policy's own is chosen without a word
    assert ws.audit("c-generated", **SETS, policy=fit.policy).audit.space_id == fit.policy.rule.fitted_space


def test_truth_of_generated_images_is_not_guessed(ws: Workspace, cohort: Path, tmp_path: Path) -> None:
    generated, control = (ws.audit(name, **SEED) for name in ("c-generated", "ctl"))
    real = ws.audit("c-generated", **SEED, subject="real")
    for verb in (ws.fit, ws.sweep):
        with pytest.raises(UsageError, match="all its images are of one class"):
            verb(generated)
        with pytest.raises(UsageError, match="differ in their subjects"):
            verb(generated, control=real)
        with pytest.raises(UsageError, match="given twice"):
            verb(generated, control=generated)
        with pytest.raises(UsageError, match="not from both"):
            verb(generated, control=control, labels={"copy_0001.png": True})
        with pytest.raises(ConflictError, match="same real sets"):
            verb(generated, control=ws.audit("ctl", used="c-used", not_used="c-unknown", rule="mu-alpha-sigma"))
    ws.ingest(cohort / "generated", release="again", generator="toy")
    with pytest.raises(ConflictError, match="9 images are in the release and in the control"):
        ws.fit(generated, control=ws.audit("again", **SEED))
    with pytest.raises(UsageError, match="a control release is for generated images"):
        ws.fit(real, control=ws.audit("ctl", **SEED, subject="real"))

    names = ws.verdicts(generated)["name"]
    labels = tmp_path / "labels.csv"
    labels.write_text("name,label\n" + "".join(f"{n},{'used' if 'copy' in n else 'not_used'}\n" for n in names))
    swept = ws.sweep(generated, labels=labels)
    assert swept.report.known.source == "labels"
    assert swept.rows["recall"].iloc[0] == 1.0, "copies of used images are above every T"
    assert swept.report.beats_all_used
    assert "; calling every image used has F1 0.500." in swept.conclusion
    labels.write_text(labels.read_text() + "nobody.png,used\n")
    with pytest.raises(NotFoundError, match="nobody"):
        ws.sweep(generated, labels=labels)
    assert "1 labels are about no image" in ws.sweep(generated, labels=labels, skip_unknown=True).report.notes[0]


def test_grids_folds_and_splits_that_make_no_sense_are_refused(ws: Workspace) -> None:
    real = ws.audit("c-generated", **SEED, subject="real")
    for alphas, told in {(0.1, float("nan")): "finite", (): "empty", (0.5, 0.5): "twice"}.items():
        with pytest.raises(UsageError, match=told):
            ws.sweep(real, alphas=alphas)
    with pytest.raises(UsageError, match="too few for 11 folds"):
        ws.sweep(real, adaptive=True, folds=11)
    with pytest.raises(UsageError, match="one class only"):
        ws.sweep(ws.audit("c-generated", used="c-used", subject="real"))
    with pytest.raises(UsageError, match="no feature of real images"):
        ws.fit(real, features=["s_used"])
    with pytest.raises(UsageError, match="too few for a stratified split"):
        ws.fit(real, held_out=0.01)
    with pytest.raises(UsageError, match="one class only"):
        ws.fit(real, labels={"img_0001.png": True, "img_0002.png": True})
    negative = ws.sweep(real, alphas=[-1, 0])
    assert list(negative.rows["alpha"].dropna()) == [-1, 0]


def test_every_alpha_of_a_sweep_labels_as_an_audit_with_that_alpha(ws: Workspace) -> None:
    for population in ("maxima", "pairwise"):
        real = ws.audit("c-generated", **SETS, against="c-unknown", subject="real", population=population)
        for row in ws.sweep(real, alphas=[-0.5, 0.3, 1.2]).report.sweep.rows:
            audit = ws.audit(
                "c-generated", **SETS, against="c-unknown", subject="real", population=population, alpha=row.alpha
            )
            table = ws.verdicts(audit).query("role != 'against'")
            used = table["label"] == "used"
            assert row.threshold.value == pytest.approx(audit.audit.threshold, abs=2e-9)
            assert row.metrics.true_positives == int((used & (table["role"] == "used")).sum())
            assert row.metrics.false_positives == int((used & (table["role"] == "not_used")).sum())


def test_commands_write_files_and_one_json_document(ws: Workspace, tmp_path: Path) -> None:
    real = command(
        ws,
        "audit",
        "c-generated",
        "--used",
        "c-used",
        "--not-used",
        "c-not-used",
        "--subject",
        "real",
        "--alpha",
        "0.5",
    )
    assert set(real["settings"]["euclidean"]) == {"nearest", "same_nearest", "tied", "labels", "same_label"}
    table, figure, policy = tmp_path / "sweep.csv", tmp_path / "sweep.png", tmp_path / "policy.json"
    words = ("sweep", real["audit_id"], "--alphas=-1,0.5", "--adaptive", "--folds", "3")
    swept = command(ws, *words, "-o", str(table), "--figure", str(figure))
    assert [row["alpha"] for row in swept["rows"]] == [-1.0, 0.5, None]
    assert swept["adaptive"]["seed"] == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rule"] for row in rows] == ["mu-alpha-sigma", "mu-alpha-sigma", "all-used"]
    assert set(rows[0]) == set(frames.SWEEP)
    for refused in ((*words, "-o", str(table)), (*words, "--figure", str(figure))):
        with pytest.raises(ConflictError, match="is there already"):
            command(ws, *refused)
    with pytest.raises(UsageError, match="not numbers with commas"):
        command(ws, "sweep", real["audit_id"], "--alphas", "0.1;0.2")
    with pytest.raises(UsageError, match="no name of a figure"):
        command(ws, *words, "--figure", str(tmp_path / "sweep.pdf"))

    fitted = command(ws, "fit", real["audit_id"], "--C", "10", "--feature", "nearest", "-o", str(policy))
    assert fitted["parameters"]["model"]["features"] == ["nearest"]
    assert fitted["parameters"]["model"]["settings"]["c"] == 10
    assert set(fitted["fitted"]) >= {"training", "held_out", "truth", "audits", "images", "used"}
    flags = ("--used", "c-used", "--not-used", "c-not-used", "--policy", str(policy))
    audit = command(ws, "audit", "c-generated", *flags)
    assert audit["rule"] == "logistic"
    assert audit["threshold"] == {"mu": None, "sigma": None, "alpha": None, "n": None, "value": 0.5}


def test_a_page_of_a_fitted_model_shows_the_cutoff_and_no_threshold_of_similarities(
    ws: Workspace, tmp_path: Path
) -> None:
    fit = ws.fit("c-generated", control="ctl", **SETS)
    for subject, policy in (("generated", fit.policy), ("real", ws.fit("c-generated", **SETS, subject="real").policy)):
        audit = ws.audit("c-generated", **SETS, policy=policy)
        page = ws.report(audit, tmp_path / f"{subject}.html").read_text()
        assert "cutoff = 0.500000" in page
        assert "T = " not in page
        assert "mu + alpha" not in page
        assert f"--policy {policy.policy_id}" in page
        assert "save this as policy.json" in page
        assert "Euclidean distance beside cosine: the same nearest neighbor" in page
    assert "T = " in ws.report(ws.audit("c-generated", **SEED), tmp_path / "seed.html").read_text()


def test_policies_survive_json_and_damaged_ones_are_refused() -> None:
    policy = Policy(rule=MuAlphaSigmaRule(0.3), top_k=4)
    assert policy_from_json("mu-alpha-sigma", policy.parameters) == policy
    for rule, parameters, told in [
        ("no-rule", {}, "is no rule"),
        ("logistic", [], "must be a JSON object"),
        ("mu-alpha-sigma", {"subject": "generated"}, "lacks the parameter top_k"),
        ("mu-alpha-sigma", {**policy.parameters, "subject": "cats"}, "not what it should be"),
        ("mu-alpha-sigma", {**policy.parameters, "top_k": "4"}, "whole number"),
        ("mu-alpha-sigma", {**policy.parameters, "ddof": 1}, "judges by other parameters: ddof"),
        ("mu-alpha-sigma", {**policy.parameters, "alpha": float("nan")}, "finite"),
        ("logistic", {"subject": "real", "top_k": 3, "model": {}}, "not a model"),
    ]:
        with pytest.raises(UsageError, match=told):
            policy_from_json(rule, parameters)
