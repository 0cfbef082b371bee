"""What is asked and kept: neighbors, history, forgetting, removing, relocating, claims, drift, comparison."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from provenance import AuditRequest, IngestRequest, Policy, Workspace, run_audit, run_ingest
from provenance.audit import compare_audits
from provenance.audit.rules.logistic import LogisticRule
from provenance.audit.rules.mu_alpha_sigma import MuAlphaSigmaRule
from provenance.detection import FitSettings, LogisticModel
from provenance.errors import ConflictError, NotFoundError, SpaceMismatchError, UsageError
from provenance.exports import audit_rows
from provenance.keeping.removal import forget_image, relocate, remove_dataset
from provenance.lookup import drift_of_audit, history_of, neighbors_of_file, neighbors_of_image, show_image
from provenance.records import Generator
from provenance.vocabulary import DatasetKind, Membership, Population, RejectReason, Role, Subject

if TYPE_CHECKING:
    from provenance.ingest import IngestReport

MakeWorkspace = Callable[..., Workspace]


def ingest_set(workspace: Workspace, source: Path, name: str, membership: Membership) -> IngestReport:
    request = IngestRequest((source,), name, DatasetKind.SET, membership)
    return run_ingest(workspace, request, workspace.load_backbone())


@pytest.fixture
def workspace(make_workspace: MakeWorkspace, cohort: Path) -> Workspace:
    workspace = make_workspace()
    ingest_set(workspace, cohort / "real_used", "used", Membership.USED)
    ingest_set(workspace, cohort / "real_not_used", "not_used", Membership.NOT_USED)
    ingest_set(workspace, cohort / "real_unknown", "unknown", Membership.UNKNOWN)
    release = IngestRequest((cohort / "generated",), "release", DatasetKind.RELEASE, generator=Generator("toy"))
    run_ingest(workspace, release, workspace.load_backbone())
    return workspace


def test_neighbors_of_a_known_image_leave_itself_out_and_find_its_copy(workspace: Workspace) -> None:
    found = neighbors_of_image(workspace, "img_0001.png", datasets=["used", "not_used"], top_k=4)
    image_id = workspace.catalog.resolve_image("img_0001.png").image_id
    assert len(found) == 4
    assert image_id not in {n.image_id for n in found}
    similarities = [n.similarity for n in found]
    assert similarities == sorted(similarities, reverse=True)


def test_neighbors_of_an_unknown_file_are_found_and_nothing_is_recorded(workspace: Workspace, tmp_path: Path) -> None:
    with Image.open(next(Path(p.source) for p in show_image(workspace, "img_0007.png").occurrences)) as image:
        image.save(tmp_path / "resaved.webp", lossless=True)
    before = workspace.catalog.datasets()
    (nearest, *_) = neighbors_of_file(workspace, tmp_path / "resaved.webp", workspace.load_backbone(), top_k=3)
    assert (nearest.name, nearest.dataset) == ("img_0007.png", "used")
    assert nearest.similarity == pytest.approx(1.0, abs=1e-9)
    assert workspace.catalog.datasets() == before


def test_neighbors_in_a_space_that_nothing_is_embedded_in(
    workspace: Workspace, tmp_path: Path, other_backbone: Path
) -> None:
    backbone = workspace.load_backbone(backbone_file=other_backbone)
    with pytest.raises(SpaceMismatchError, match="nothing is embedded"):
        neighbors_of_file(workspace, tmp_path, backbone)


def test_sets_in_different_spaces_do_not_meet(workspace: Workspace, cohort: Path, other_backbone: Path) -> None:
    backbone = workspace.load_backbone(backbone_file=other_backbone)
    request = IngestRequest((cohort / "real_used",), "elsewhere", DatasetKind.SET, Membership.USED)
    run_ingest(workspace, request, backbone)
    with pytest.raises(SpaceMismatchError, match="no embedding space holds them all"):
        run_audit(workspace, AuditRequest("release", ("elsewhere",)))
    both = IngestRequest((cohort / "generated",), "release", DatasetKind.RELEASE, generator=Generator("toy"))
    assert run_ingest(workspace, both, backbone).sealed  # another space of the same content is no conflict
    audit = run_audit(workspace, AuditRequest("release", ("elsewhere",))).audit
    assert audit.space_id == backbone.space.space_id
    with pytest.raises(SpaceMismatchError, match="not embedded in"):
        run_audit(
            workspace, AuditRequest("release", ("elsewhere", "used"), space=workspace.load_backbone().space.space_id)
        )


def test_show_and_history_tell_all_of_an_image(workspace: Workspace) -> None:
    report = run_audit(workspace, AuditRequest("release", ("used",), ("not_used",)))
    real = show_image(workspace, "copy_0001.png")  # the same bytes as img_0001.png: one image, two datasets
    assert {m.dataset.name for m in real.memberships} == {"used", "release"}
    assert {o.name for o in real.occurrences} == {"img_0001.png", "copy_0001.png"}
    assert [v.audit_id for v in real.verdicts_about] == [report.audit.audit_id]
    assert real.verdicts_about[0].label.value == "used"
    assert real.verdicts_about[0].score == pytest.approx(1.0, abs=1e-7)
    assert any(v.rank == 1 and v.similarity > 0.999999 and v.role is Role.USED for v in real.verdicts_citing)
    _, history = history_of(workspace, "copy_0001.png")
    assert [entry.at for entry in history] == sorted(entry.at for entry in history)
    kinds = [entry.kind for entry in history]
    assert kinds.count("added") == 2
    assert "verdict" in kinds


def test_forgotten_image_leaves_everything_but_the_history(workspace: Workspace, cohort: Path) -> None:
    policy = Policy(rule=MuAlphaSigmaRule(population=Population.PAIRWISE))
    request = AuditRequest("release", ("used",), ("not_used",), policy=policy)
    before = run_audit(workspace, request)
    image = workspace.catalog.resolve_image("img_0005.png")
    digest_before = image.facts.pixel_digest
    forget_image(workspace, image.image_id, "consent withdrawn")
    assert not list(workspace.vector_folder.glob("*.f32"))
    with pytest.raises(NotFoundError):
        workspace.catalog.resolve_image(image.image_id)
    with pytest.raises(NotFoundError):
        workspace.catalog.resolve_image("copy_0005.png")
    after = run_audit(workspace, request)
    assert after.audit.counts["subjects"] == before.audit.counts["subjects"] - 1
    fresh_moments = workspace.root / "moments"
    shutil.rmtree(fresh_moments)
    rebuilt = run_audit(workspace, request)
    assert (rebuilt.audit.mu, rebuilt.audit.sigma) == (after.audit.mu, after.audit.sigma)
    old = workspace.catalog.verdicts(before.audit.audit_id)
    assert len(old) == before.audit.counts["subjects"]
    assert [v.image_id for v in old].count(None) == 1
    # It stays out: neither the same bytes nor the same pixels come back.
    with Image.open(cohort / "real_used" / "img_0005.png") as again:
        again.save(cohort / "real_used" / "resaved.bmp")
    report = ingest_set(workspace, cohort / "real_used", "used", Membership.USED)
    assert {(r.name, r.reason) for r in report.rejections} == {
        ("img_0005.png", RejectReason.FORGOTTEN),
        ("resaved.bmp", RejectReason.FORGOTTEN),
    }
    assert report.image_count == 11
    assert digest_before


def test_sealed_release_with_a_forgotten_image_is_still_the_release(workspace: Workspace, cohort: Path) -> None:
    forget_image(workspace, "gen_0300.png")
    request = IngestRequest((cohort / "generated",), "release", DatasetKind.RELEASE, generator=Generator("toy"))
    report = run_ingest(workspace, request, workspace.load_backbone())
    assert report.sealed
    assert report.image_count == 8


def test_interrupted_forgetting_is_finished_by_the_next(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = workspace.catalog.resolve_image("img_0002.png"), workspace.catalog.resolve_image("img_0003.png")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(workspace.index), "delete", dies)
    with pytest.raises(KeyboardInterrupt):
        forget_image(workspace, first.image_id)
    monkeypatch.undo()
    forget_image(workspace, second.image_id)
    dataset = workspace.catalog.dataset("used")
    (collection,) = workspace.catalog.collections_of(dataset.dataset_id)
    assert workspace.index.count(collection.collection_key) == 10
    for image in (first, second):
        with pytest.raises(NotFoundError):
            workspace.catalog.resolve_image(image.image_id)


def test_removed_set_is_gone_and_its_audits_stay(workspace: Workspace) -> None:
    report = run_audit(workspace, AuditRequest("release", ("used",), ("not_used",)))
    dataset = workspace.catalog.dataset("used")
    (collection,) = workspace.catalog.collections_of(dataset.dataset_id)
    remove_dataset(workspace, dataset)
    assert collection.collection_key not in workspace.index.collections()
    with pytest.raises(NotFoundError):
        workspace.catalog.dataset("used")
    assert len(workspace.catalog.verdicts(report.audit.audit_id)) == 9
    drift = {d.dataset.name: d for d in drift_of_audit(workspace.catalog, report.audit.audit_id)}
    assert (drift["used"].image_count_now, drift["used"].changed) == (None, True)
    assert not drift["not_used"].changed


def test_grown_set_is_pointed_out_and_compared(workspace: Workspace, cohort: Path) -> None:
    before = run_audit(workspace, AuditRequest("release", ("used",), ("not_used",)))
    shutil.copy(cohort / "generated" / "gen_0301.png", cohort / "real_used" / "grown.png")
    ingest_set(workspace, cohort / "real_used", "used", Membership.USED)
    drift = {d.dataset.name: d for d in drift_of_audit(workspace.catalog, before.audit.audit_id)}
    assert (drift["used"].dataset.image_count, drift["used"].image_count_now, drift["used"].changed) == (12, 13, True)
    after = run_audit(workspace, AuditRequest("release", ("used",), ("not_used",)))
    assert after.audit.audit_id != before.audit.audit_id
    changes = compare_audits(workspace.catalog, before.audit.audit_id, after.audit.audit_id)
    grown = workspace.catalog.resolve_image("grown.png").image_id
    changed = {c.image_id: c for c in changes}
    assert changed[grown].label_after == "used"
    assert changed[grown].score_after == pytest.approx(1.0, abs=1e-7)
    assert compare_audits(workspace.catalog, before.audit.audit_id, before.audit.audit_id) == []
    real = run_audit(workspace, AuditRequest("release", ("used",), policy=Policy(subject=Subject.REAL)))
    with pytest.raises(UsageError, match="nothing to compare"):
        compare_audits(workspace.catalog, before.audit.audit_id, real.audit.audit_id)


def test_contradicting_claims_are_an_error_or_left_out(workspace: Workspace, cohort: Path) -> None:
    shutil.copy(cohort / "real_used" / "img_0008.png", cohort / "real_not_used" / "both.png")
    ingest_set(workspace, cohort / "real_not_used", "not_used", Membership.NOT_USED)
    with pytest.raises(ConflictError, match=r"claimed used and not used at once: (both|img_0008)\.png"):
        run_audit(workspace, AuditRequest("release", ("used",), ("not_used",)))
    for population in Population:
        request = AuditRequest(
            "release",
            ("used",),
            ("not_used",),
            policy=Policy(rule=MuAlphaSigmaRule(population=population)),
            exclude_overlap=True,
        )
        report = run_audit(workspace, request)
        assert report.audit.counts["excluded_overlap"] == 1
        if population is Population.PAIRWISE:
            assert report.audit.population_count == 9 * (11 + 10)


def test_unknown_copy_is_a_candidate_source(workspace: Workspace, cohort: Path) -> None:
    shutil.copy(cohort / "generated" / "gen_0303.png", cohort / "real_unknown" / "leak.png")
    ingest_set(workspace, cohort / "real_unknown", "unknown", Membership.UNKNOWN)
    report = run_audit(workspace, AuditRequest("release", ("used",), ("not_used",), ("unknown",)))
    key = workspace.catalog.resolve_image("leak.png").image_key
    (verdict,) = [v for v in report.verdicts if v.image_key == key]
    assert verdict.label.value == "used"
    assert verdict.s_against == pytest.approx(1.0, abs=1e-7)
    assert verdict.s_used is not None
    assert verdict.s_used < 0.9999


def test_without_flags_every_set_takes_part_by_its_membership(workspace: Workspace) -> None:
    given = run_audit(workspace, AuditRequest("release", ("used",), ("not_used",), ("unknown",)))
    default = run_audit(workspace, AuditRequest("release"))
    assert default.audit.verdict_digest == given.audit.verdict_digest


def test_only_not_used_sets_label_nothing_used_and_say_so(workspace: Workspace) -> None:
    report = run_audit(workspace, AuditRequest("release", not_used=("not_used",)))
    assert report.audit.counts["used"] == 0
    assert any("nothing can be labelled used" in note for note in report.notes)


def test_relocated_sources_are_known_again(workspace: Workspace, cohort: Path, tmp_path: Path) -> None:
    moved = tmp_path / "archive"
    shutil.move(cohort, moved)
    assert relocate(workspace, cohort, moved) == 12 + 10 + 6 + 9
    (source, *_) = (o.source for o in show_image(workspace, "img_0009.png").occurrences)
    assert Path(source).read_bytes()
    report = ingest_set(workspace, moved / "real_used", "used", Membership.USED)
    assert (report.counts["known"], report.counts["embedded"]) == (12, 0)


def test_damaged_vector_is_found_and_nothing_is_recorded(workspace: Workspace) -> None:
    from provenance.errors import VectorStoreError
    from provenance.index import Points

    dataset = workspace.catalog.dataset("used")
    (collection,) = workspace.catalog.collections_of(dataset.dataset_id)
    member = workspace.catalog.members(dataset.dataset_id, collection.collection_key)[3]
    points = workspace.index.get(collection.collection_key, [member.point_id])
    other = np.roll(points.vectors, 1, axis=-1)
    workspace.index.upsert(collection.collection_key, Points(points.ids, other, points.payloads))
    with pytest.raises(VectorStoreError, match="damaged"):
        run_audit(workspace, AuditRequest("release", ("used",)))
    assert workspace.catalog.audits() == []


def test_the_same_bytes_are_named_by_the_role_they_act_in(workspace: Workspace) -> None:
    generated = run_audit(workspace, AuditRequest("release", ("used",)))
    real = run_audit(workspace, AuditRequest("release", ("used",), policy=Policy(subject=Subject.REAL)))
    image_id = workspace.catalog.resolve_image("copy_0005.png").image_id
    (subject,) = [row for row in audit_rows(workspace, generated.audit) if row["subject_id"] == image_id]
    assert (subject["name"], subject["nearest_name"]) == ("copy_0005.png", "img_0005.png")
    (subject,) = [row for row in audit_rows(workspace, real.audit) if row["subject_id"] == image_id]
    assert (subject["name"], subject["nearest_name"]) == ("img_0005.png", "copy_0005.png")


def test_an_audit_refuses_a_model_without_the_sets_it_needs(workspace: Workspace) -> None:
    settings = FitSettings()
    model = LogisticModel(("s_used", "s_not_used"), (1.0, -1.0), 0.0, (0.0, 0.0), (1.0, 1.0), settings)
    with pytest.raises(UsageError, match="logistic needs S_n"):
        run_audit(workspace, AuditRequest("release", ("used",), policy=Policy(rule=LogisticRule(model))))
    assert workspace.catalog.audits() == []
