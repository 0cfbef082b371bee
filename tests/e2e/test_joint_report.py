"""The report of an audit of several answers: what is on record, what is forgotten, and how it is made again."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from provenance import AuditRequest, Workspace, run_audit
from provenance.cli.main import app
from provenance.exports.report import gather_joint, write_report
from provenance.keeping.removal import forget_image
from provenance.vocabulary import Answer, Label
from tests.e2e.conftest import save_cohort
from tests.e2e.test_report import BOTH, filled, ingest, workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provenance.records import AuditRecord

__all__ = ["workspace"]


def audited(workspace: Workspace, *only: Answer, **sets: tuple[str, ...]) -> AuditRecord:
    return run_audit(workspace, AuditRequest("release", **(sets or BOTH), policy=None, only=only)).audit


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Iterator[Workspace]:
    """A workspace for tests that change no image of it."""
    root = tmp_path_factory.mktemp("joint")
    settings: dict[str, Any] = {"backbone_file": tiny_backbone, "workers": 0, "batch_size": 4}
    with Workspace.create(root / "workspace", **settings) as made:
        yield filled(made, save_cohort(root / "cohort"))


@pytest.fixture(scope="module")
def audit(shared: Workspace) -> AuditRecord:
    return audited(shared, against=("unknown",), **BOTH)


@pytest.fixture(scope="module")
def page(shared: Workspace, audit: AuditRecord, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(shared, audit, tmp_path_factory.mktemp("page"))


def page_of(workspace: Workspace, audit: AuditRecord, folder: Path, **more: Any) -> str:
    return write_report(workspace, audit, folder / "report.html", replace=True, **more).path.read_text("utf-8")


def test_its_figures_are_those_on_record(shared: Workspace, audit: AuditRecord, page: str) -> None:
    workspace = shared
    parts = workspace.catalog.parts_of(audit.audit_id)
    made = gather_joint(workspace, audit, parts, cases=9)
    assert list(made.answers) == list(Answer)
    copies = made.answers[Answer.COPIES]
    assert {c.subject.name for c in copies.cases if c.verdict.label is Label.COPY} == {
        f"copy_{n:04d}.png" for n in (1, 5, 11)
    }
    members = made.answers[Answer.MEMBERSHIP]
    calibration = sorted(each.score for each in workspace.catalog.calibration_scores(members.audit.audit_id))
    assert sorted(members.series[-1].values) == calibration
    assert members.part is not None
    roc = members.part.own.roc
    used = [v.score for v in workspace.catalog.verdicts(members.audit.audit_id) if v.subject_role == "used"]
    above = float(np.mean([float(u > c) + float(u == c) / 2 for u in used for c in calibration]))
    assert members.part.own.found.release_test.auc.value == pytest.approx(above)
    area = sum(
        (x1 - x0) * (y0 + y1) / 2 for x0, x1, y0, y1 in zip(roc.fpr, roc.fpr[1:], roc.tpr, roc.tpr[1:], strict=False)
    )
    assert area == pytest.approx(above)
    for record in (audit, *parts.values()):
        assert record.verdict_digest in page
    assert "3 generated images are each the same file" in page
    assert f"`provenance sensitivity {audit.audit_id[:8]}`" not in page
    assert f"<code>provenance sensitivity {audit.audit_id[:8]}</code>" in page
    assert str(workspace.root.parent) not in page


def test_notes_that_weaken_a_finding_are_on_record_first(audit: AuditRecord, page: str) -> None:
    notes, weakening = audit.findings.notes or (), audit.findings.weakening or 0
    weak = notes[:weakening]
    assert any("without a patient or study" in note for note in weak)
    assert any("no model speaks beyond" in note for note in weak)
    assert not [note for note in notes[weakening:] if "near-twin among" in note or "differ" in note]
    said = page[page.index('<section id="notes"') : page.index('<section id="audited"')]
    assert said.index("These weaken a finding") < said.index("without a patient or study")


def test_without_not_used_images_it_says_what_is_missing(shared: Workspace, tmp_path: Path) -> None:
    page = page_of(shared, audited(shared, used=("used",)), tmp_path)
    section = page[page.index('<section id="membership"') : page.index('<section id="baseline"')]
    assert "Not answered:" in section
    assert "known not to have been used" in section
    assert "3 generated images are each the same file" in page


def test_a_forgotten_image_is_shown_as_such(workspace: Workspace, tmp_path: Path) -> None:
    audit = audited(workspace, Answer.COPIES, Answer.BASELINE)
    before = page_of(workspace, audit, tmp_path)
    assert "copy_0005.png" in before
    forget_image(workspace, "copy_0005.png")
    page = page_of(workspace, audit, tmp_path)
    assert "copy_0005.png" not in page
    assert "forgotten since" in page
    assert page.count("data:image/png") < before.count("data:image/png")
    assert "data:image" not in page_of(workspace, audit, tmp_path, cases=0)


def test_the_printed_command_makes_the_same_audit(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(workspace, workspace.root.parent / "cohort" / "generated", "other")
    audit = audited(workspace, Answer.COPIES, Answer.BASELINE, against=("unknown",), **BOTH)
    made = gather_joint(workspace, audit, workspace.catalog.parts_of(audit.audit_id))
    workspace.close()
    monkeypatch.setenv("PROVENANCE_WORKSPACE", str(workspace.root))
    app([*shlex.split(made.compare_command)[1:], "--json"], standalone_mode=False)
    again = json.loads(capsys.readouterr().out)
    assert (again["verdict_digest"], again["changes"]) == (audit.verdict_digest, [])
    policy = json.loads(made.policy_file)
    assert (policy["policy_id"], policy["rule"]) == (audit.policy_id, "joint")
    assert re.search(r"--policy policy\.json .*release$", made.audit_command)


def test_the_same_audit_gives_the_same_bytes(shared: Workspace, audit: AuditRecord, page: str, tmp_path: Path) -> None:
    assert page_of(shared, audit, tmp_path) == page
