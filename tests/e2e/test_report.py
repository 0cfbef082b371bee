"""The report of real audits: figures against the export, pictures against the sources, bad sources and names."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from provenance import AuditRequest, IngestRequest, Policy, Workspace, run_audit, run_ingest
from provenance.audit.rules.mu_alpha_sigma import MuAlphaSigmaRule
from provenance.cli.main import app
from provenance.errors import ConflictError, SourceError, UsageError
from provenance.exports import audit_rows
from provenance.exports.report import gather_report, write_report
from provenance.keeping.removal import forget_image, remove_dataset
from provenance.records import AuditRecord, Generator, NewAudit, NewImage, StoredVerdict, VerdictRecord
from provenance.vocabulary import DatasetKind, ImageFacts, Label, Membership, Population, Role, Subject
from tests.e2e.conftest import save_pictures

if TYPE_CHECKING:
    from pathlib import Path

MakeWorkspace = Callable[..., Workspace]
EVIL = "<script>alert(1)<"  # a folder; with a file `script>.png` in it the name is <script>alert(1)</script>.png


def ingest(workspace: Workspace, source: Path, name: str, membership: Membership | None = None, **more: Any) -> None:
    kind = DatasetKind.SET if membership else DatasetKind.RELEASE
    generator = None if membership else more.pop("generator", Generator("toy", "gan", "2"))
    request = IngestRequest((source,), name, kind, membership, generator, **more)
    run_ingest(workspace, request, workspace.load_backbone())


def filled(workspace: Workspace, cohort: Path) -> Workspace:
    """With the sets and the release of a cohort, and a file that can't be read."""
    (cohort / "real_used" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    ingest(workspace, cohort / "real_used", "used", Membership.USED, modality="CT")
    ingest(workspace, cohort / "real_not_used", "not_used", Membership.NOT_USED)
    ingest(workspace, cohort / "real_unknown", "unknown", Membership.UNKNOWN)
    ingest(workspace, cohort / "generated", "release")
    return workspace


@pytest.fixture
def workspace(make_workspace: MakeWorkspace, cohort: Path) -> Workspace:
    return filled(make_workspace(), cohort)


def audited(workspace: Workspace, *, policy: Policy | None = None, **sets: tuple[str, ...]) -> AuditRecord:
    return run_audit(workspace, AuditRequest("release", **sets, policy=policy or Policy())).audit


BOTH: dict[str, Any] = {"used": ("used",), "not_used": ("not_used",)}


@pytest.mark.parametrize("population", list(Population))
@pytest.mark.parametrize("subject", [Subject.GENERATED, Subject.REAL])
def test_every_figure_is_the_exports(workspace: Workspace, subject: Subject, population: Population) -> None:
    audit = audited(
        workspace, **BOTH, against=("unknown",), policy=Policy(subject, MuAlphaSigmaRule(population=population))
    )
    rows = {row["subject_id"]: row for row in audit_rows(workspace, audit)}
    made = gather_report(workspace, audit, cases=1000)
    assert len(made.cases) == len(rows) == made.audit.counts["subjects"]
    scores = [case.verdict.score for case in made.cases]
    assert scores == sorted((row["score"] for row in rows.values()), reverse=True)
    for case in made.cases:
        row = rows[str(case.subject.image_id)]
        said = case.verdict
        assert (said.score, said.s_used, said.s_not_used, said.s_against, said.label.value) == tuple(
            row[name] for name in ("score", "s_used", "s_not_used", "s_against", "label")
        )
        # a copy has a name in the release and another one in its set; here each stands under its own
        assert case.subject.name == row["name"] or row["name"].startswith("copy_")
        assert case.nearest is not None
        assert case.nearest.similarity == said.score
        if case.control is not None:
            assert case.control.similarity == said.s_not_used
        if row["nearest_similarity"] == said.score:
            assert case.nearest.picture.image_id == row["nearest_id"]
    drawn = sorted(value for series in made.series for value in series.values)
    names = ("score",) if subject is Subject.REAL else ("s_used", "s_not_used", "s_against")
    assert drawn == sorted(row[n] for row in rows.values() for n in names if row[n] is not None)
    assert (made.audit.mu, made.audit.sigma, made.audit.threshold, made.audit.population_count) == (
        audit.mu,
        audit.sigma,
        audit.threshold,
        audit.population_count,
    )


def test_the_file_says_what_was_audited_and_how(workspace: Workspace, tmp_path: Path) -> None:
    audit = audited(workspace, **BOTH)
    written = write_report(workspace, audit, tmp_path / "report.html", cases=3)
    assert (written.cases, written.pictures_missing, written.size_bytes) == (3, 0, written.path.stat().st_size)
    page = written.path.read_text("utf-8")
    for row in workspace.catalog.audit_datasets(audit.audit_id):
        assert row.dataset_digest in page
    assert audit.threshold is not None
    for word in (audit.verdict_digest, audit.policy_id, audit.space_id, f"{audit.threshold:.9f}", "broken.png"):
        assert word in page
    assert "1 inputs of these sets could not be read" in page
    assert str(tmp_path) not in page, "the page names no place on this machine"
    assert "None when this report was written" in page


def test_pictures_are_the_sources(workspace: Workspace, cohort: Path) -> None:
    Image.new("L", (90, 30), 7).save(cohort / "generated" / "flat.png")
    release = IngestRequest((cohort / "generated",), "wide", DatasetKind.RELEASE, generator=Generator("toy"))
    run_ingest(workspace, release, workspace.load_backbone())
    audit = run_audit(workspace, AuditRequest("wide", used=("used",))).audit
    for case in gather_report(workspace, audit, cases=100).cases:
        assert case.subject.png is not None
        with (
            Image.open(io.BytesIO(case.subject.png)) as shown,
            Image.open(cohort / "generated" / case.subject.name) as file,
        ):
            expected = file.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
            assert (np.asarray(shown.convert("RGB")) == np.asarray(expected)).all()
        flat = case.subject.name == "flat.png"
        assert (case.subject.width_percent, case.subject.height_percent) == ((100, 33) if flat else (100, 100))


def test_copies_are_called_identical(workspace: Workspace, cohort: Path) -> None:
    with Image.open(cohort / "real_used" / "img_0002.png") as image:
        image.save(cohort / "generated" / "resaved.bmp")
    ingest(workspace, cohort / "generated", "again")
    audit = run_audit(workspace, AuditRequest("again", **BOTH)).audit
    cases = gather_report(workspace, audit, cases=100).cases
    names = {c.subject.name: c.nearest.picture.name for c in cases if c.nearest}
    assert names["copy_0005.png"] == "img_0005.png", "each by the name it has in its own place"
    same = {
        c.subject.name: c.nearest.same
        for c in gather_report(workspace, audit, cases=100).cases
        if c.nearest is not None
    }
    assert same.pop("resaved.bmp") == "pixels"
    assert {name for name, how in same.items() if how == "file"} == {f"copy_{n:04d}.png" for n in (1, 5, 11)}


def test_the_same_audit_gives_the_same_bytes(workspace: Workspace, tmp_path: Path) -> None:
    audit = audited(workspace, **BOTH)
    one, other = (write_report(workspace, audit, tmp_path / name).path.read_bytes() for name in ("a.html", "b.html"))
    assert one == other


def test_sources_that_are_gone_changed_or_forgotten_are_shown_as_such(
    workspace: Workspace, cohort: Path, tmp_path: Path
) -> None:
    audit = audited(workspace, **BOTH)
    copy_11 = workspace.catalog.resolve_image("copy_0011.png").image_id
    shutil.rmtree(cohort / "real_used")
    (cohort / "generated" / "copy_0001.png").write_bytes((cohort / "generated" / "gen_0300.png").read_bytes())
    (cohort / "generated" / "copy_0005.png").write_bytes(b"no image")
    forget_image(workspace, "gen_0301.png")
    cases = gather_report(workspace, audit, cases=100).cases
    missing = {c.subject.name: c.subject.missing for c in cases}
    # the copy's bytes stood in the used set too, which is gone, so nothing shows them any more
    assert missing["copy_0001.png"] == "its source holds another image now"
    assert missing["copy_0005.png"].startswith("its source can't be read: ")
    assert missing[""] == "forgotten since"
    assert missing["gen_0303.png"] == ""
    for case in cases:
        assert case.nearest is not None
        # a used image is only shown where its bytes are still to be had: in a copy that the release holds
        shown = case.nearest.picture.png is not None
        assert shown == (case.nearest.picture.image_id == copy_11)
        assert shown or case.nearest.picture.missing.startswith("its source ")
    written = write_report(workspace, audit, tmp_path / "report.html", cases=100)
    assert written.pictures_missing > len(cases)
    assert "its source holds another image now" in written.path.read_text("utf-8")


def test_sets_that_changed_or_went_are_named(workspace: Workspace, cohort: Path, tmp_path: Path) -> None:
    audit = audited(workspace, **BOTH)
    save_pictures(cohort / "real_used", range(50, 53))
    ingest(workspace, cohort / "real_used", "used", Membership.USED)
    remove_dataset(workspace, workspace.catalog.dataset("not_used"))
    remove_dataset(workspace, workspace.catalog.dataset("release"))
    lines = {line.dataset.name: line for line in gather_report(workspace, audit).datasets}
    assert (lines["used"].dataset.image_count, lines["used"].image_count_now, lines["used"].changed) == (12, 15, True)
    assert (lines["not_used"].image_count_now, lines["not_used"].changed) == (None, True)
    page = write_report(workspace, audit, tmp_path / "report.html").path.read_text("utf-8")
    assert "Sets that hold other images than this audit saw" in page


def test_an_audit_without_used_sets(workspace: Workspace, tmp_path: Path) -> None:
    audit = audited(workspace, not_used=("not_used",))
    made = gather_report(workspace, audit)
    assert made.audit.counts["used"] == 0
    assert [series.symbol for series in made.series] == ["S_n"]
    assert all(c.nearest and c.nearest.picture.role is Role.NOT_USED and c.control is None for c in made.cases)
    page = write_report(workspace, audit, tmp_path / "report.html").path.read_text("utf-8")
    assert "nothing <em>could</em> be labelled used" in page


def test_no_verdict_labelled_used(workspace: Workspace, tmp_path: Path) -> None:
    audit = audited(workspace, **BOTH, policy=Policy(rule=MuAlphaSigmaRule(50.0)))
    assert audit.counts["used"] == 0
    page = write_report(workspace, audit, tmp_path / "report.html").path.read_text("utf-8")
    assert "No image was labelled used, and that does not show that none was." in page
    assert "labelled not used" in page


@pytest.mark.parametrize("subject", [Subject.GENERATED, Subject.REAL])
def test_names_with_markup_do_no_harm(make_workspace: MakeWorkspace, tmp_path: Path, subject: Subject) -> None:
    workspace = make_workspace()
    real, fake = tmp_path / "real", tmp_path / "fake"
    for folder, seeds in ((real, range(6)), (fake, range(3, 9))):
        save_pictures(folder / EVIL, seeds, "script>")
        (folder / EVIL / f"script>_{seeds[0]:04d}.png").rename(folder / EVIL / "script>.png")
        (folder / "<img src=x onerror=alert(1)>.png").write_bytes(b"no image")
    name = "--<script>alert('1')</script>\u202e"
    ingest(workspace, real, name, Membership.USED, group_from="(<script>)", modality="<b>")
    ingest(workspace, fake, name + "2", generator=Generator(name, name, name), modality="<b>")
    audit = run_audit(workspace, AuditRequest(name + "2", used=(name,), policy=Policy(subject=subject))).audit
    page = write_report(workspace, audit, tmp_path / "report.html").path.read_text("utf-8")
    assert "<script" not in page
    assert "<b>&" not in page
    assert not re.search(r"<[^>]*\sonerror", page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.png" in page
    assert "://" not in page


def test_the_printed_command_makes_the_same_audit(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Policy(rule=MuAlphaSigmaRule(0.3, Population.PAIRWISE), top_k=3)
    audit = audited(workspace, **BOTH, against=("unknown",), policy=policy)
    command = gather_report(workspace, audit).compare_command
    workspace.close()
    monkeypatch.setenv("PROVENANCE_WORKSPACE", str(workspace.root))
    app([*shlex.split(command)[1:], "--json"], standalone_mode=False)
    again = json.loads(capsys.readouterr().out)
    assert (again["verdict_digest"], again["policy_id"], again["changes"]) == (
        audit.verdict_digest,
        audit.policy_id,
        [],
    )


def test_files_that_are_there_stay_unless_told_otherwise(workspace: Workspace, tmp_path: Path) -> None:
    audit = audited(workspace, **BOTH)
    target = tmp_path / "report.html"
    target.write_text("mine")
    with pytest.raises(ConflictError, match="is there already"):
        write_report(workspace, audit, target)
    assert target.read_text() == "mine"
    assert write_report(workspace, audit, target, replace=True).path.read_bytes().startswith(b"<!DOCTYPE html>")
    with pytest.raises(SourceError, match="is a folder"):
        write_report(workspace, audit, tmp_path, replace=True)
    with pytest.raises(SourceError, match="can't be written"):
        write_report(workspace, audit, tmp_path / "nowhere" / "report.html")
    with pytest.raises(UsageError):
        write_report(workspace, audit, tmp_path / "other.html", cases=-1)
    page = write_report(workspace, audit, tmp_path / "none.html", cases=0).path.read_text("utf-8")
    assert "data:image" not in page


def test_the_command_line(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = audited(workspace, **BOTH)
    workspace.close()
    monkeypatch.setenv("PROVENANCE_WORKSPACE", str(workspace.root))
    target = tmp_path / "report.html"
    app(["report", audit.audit_id[:8], "-o", str(target), "--cases", "2", "--json"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "file": str(target),
        "audit_id": audit.audit_id,
        "size_bytes": target.stat().st_size,
        "cases": 2,
        "pictures_missing": 0,
    }
    shown = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", target.read_text("utf-8"))
    assert len(shown) == 6
    for data in shown:
        Image.open(io.BytesIO(base64.b64decode(data))).verify()


@pytest.mark.slow
def test_ten_thousand_verdicts_are_a_matter_of_seconds(workspace: Workspace, tmp_path: Path) -> None:
    audit = audited(workspace, **BOTH)
    big = record_many(workspace, audit, 10_000)
    started = time.monotonic()
    written = write_report(workspace, big, tmp_path / "report.html")
    assert time.monotonic() - started < 15
    assert written.size_bytes < 2_000_000


def record_many(workspace: Workspace, like: AuditRecord, count: int) -> AuditRecord:
    """An audit of ``count`` images that were never embedded, with the neighbors of another audit's first verdict."""
    catalog = workspace.catalog
    release = catalog.dataset("release")
    (collection,) = catalog.collections_of(release.dataset_id)
    run_id = catalog.start_run("ingest", release.dataset_id, None, {}, "0")
    ids = [f"sha256:{number:064x}" for number in range(count)]
    images = [
        NewImage(ImageFacts(i, i, 8, 8, "PNG", "L", 1), (), None, str(uuid.UUID(int=n)), None)
        for n, i in enumerate(ids)
    ]
    catalog.record_batch(release.dataset_id, collection.collection_key, run_id, images)
    keys = catalog.lookup(ids)
    first: StoredVerdict = catalog.verdicts(like.audit_id)[0]
    neighbors = catalog.neighbors_of(like.audit_id, first.image_key)[first.image_key]
    scores = np.random.default_rng(3).normal(0.5, 0.1, (count, 2))
    verdicts = [
        VerdictRecord(
            keys[i], Role.RELEASE, Label.NOT_USED, s, s, t, None, 0.5, None, None, near_threshold=False,
            verdict_sha256=f"{n:064x}", neighbors=neighbors,
        )
        for n, (i, (s, t)) in enumerate(zip(ids, scores.tolist(), strict=True))
    ]  # fmt: skip
    audit = replace(like, audit_id=uuid.uuid4().hex, counts={**like.counts, "subjects": count})
    catalog.record_audit(NewAudit(audit, catalog.audit_datasets(like.audit_id), verdicts=verdicts))
    return audit
