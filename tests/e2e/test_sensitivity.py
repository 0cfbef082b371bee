"""Planted copies the whole way: what is found, by which rule, and that nothing of them is left behind."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import operator
import random
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import create_engine, inspect, text

from provenance import Workspace
from provenance.audit import Policy
from provenance.audit.rules.calibrated import CalibratedRule
from provenance.audit.rules.logistic import LogisticRule
from provenance.audit.rules.mu_alpha_sigma import MuAlphaSigmaRule
from provenance.audit.scoring import score_parameters
from provenance.catalog.engine import parse_url
from provenance.cli.sensitivity_command import print_recorded
from provenance.detection import LogisticModel
from provenance.documents.measures import misfit_of_measured
from provenance.errors import CatalogError, ConflictError, NotFoundError, SourceError, UsageError
from provenance.images import DEFAULT_KINDS, PlantKind
from provenance.images.plants import altered
from provenance.keeping.reconcile import reconcile
from provenance.records import NewAudit, latest_by_answer
from provenance.sensitivity import SensitivityRequest, run_sensitivity
from provenance.vocabulary import JOINT_RULE, Population, Subject
from tests.e2e.conftest import picture, save_pictures
from tests.runner import raising, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provenance.audit import AuditReport

MakeWorkspace = Callable[..., Workspace]
PATCHES = "patches-16-8@32"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """80 used images, 60 not-used ones of another kind and 60 of the same, 5 generated ones, in patches of pixels."""
    root = tmp_path_factory.mktemp("sensitivity")
    with Workspace.create(root / "workspace", backbone=PATCHES, workers=0, batch_size=16) as workspace:
        workspace.ingest(save_textures(root / "used", range(80)), set="used", membership="used")
        workspace.ingest(
            save_textures(root / "not_used", range(100, 160), common=0.4), set="not_used", membership="not-used"
        )
        workspace.ingest(save_textures(root / "alike", range(400, 460)), set="alike", membership="not-used")
        workspace.ingest(save_textures(root / "gan", range(300, 305)), release="gan", generator="g")
        yield workspace


def save_textures(folder: Path, seeds: range, common: float = 0.0) -> Path:
    """Grey pictures of which no two are alike, but for what they have in common.

    Not-used images that are somewhat alike are closer to each other than any used one is to them: the control, which
    asks whether a plant is as close to not-used images as these are to one another, never speaks by chance then.
    """
    folder.mkdir(parents=True)
    shared = np.random.default_rng(999).integers(0, 256, (16, 16))
    for seed in seeds:
        own = np.random.default_rng(seed).integers(0, 256, (16, 16))
        coarse = Image.fromarray((common * shared + (1 - common) * own).astype(np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"img_{seed:04d}.png")
    return folder


def calibrated(workspace: Workspace, subject: str, fdr: float) -> AuditReport:
    others = "alike" if subject == "real" else "not_used"
    return workspace.audit("gan", used="used", not_used=others, rule="calibrated", subject=subject, fdr=fdr)


def shares(report: Any) -> dict[str, float]:
    return dict(zip(report.rows["kind"], report.rows["share"], strict=True))


def test_exact_copies_are_found_swamped_ones_are_not_and_73_carry_the_claim(world: Workspace, tmp_path: Path) -> None:
    audit = calibrated(world, "generated", 0.2)  # 6 / (0.2 x 61) < 1: a single image can be established
    found = world.sensitivity(audit, plants=80, kinds=["exact", "noise:1000"])
    assert shares(found) == {"exact": 1.0, "noise": 0.0}
    assert found.sentence.startswith("A copy at least as close as exact (cosine 1.000")
    assert found.report.reach is not None
    assert (found.report.reach.k_min, found.report.reach.subject_groups) == (1, 6)
    few = world.sensitivity(audit, plants=72, kinds="exact")
    assert shares(few) == {"exact": 1.0}
    assert "73 plants of a kind" in few.sentence
    assert any("needs 73 or more" in note for note in few.notes)
    files = found.write(tmp_path / "out")
    assert [file.name for file in files] == [f"sensitivity.{end}" for end in ("json", "csv", "svg", "png")]
    document = json.loads(files[0].read_text())
    assert document["rows"][0]["low"] == pytest.approx(80 / (80 + 1.959964**2))
    with Image.open(files[3]) as figure:
        assert figure.width > 1000
    with pytest.raises(ConflictError):
        found.write(tmp_path / "out")


def test_too_few_calibration_groups_see_no_single_copy_and_say_so(world: Workspace) -> None:
    audit = calibrated(world, "generated", 0.05)
    found = world.sensitivity(audit, plants=80, kinds="exact")
    assert found.report.reach is not None
    assert found.report.reach.k_min == 2  # 6 / (0.05 x 61), rounded up
    assert shares(found) == {"exact": 0.0}
    assert found.rows["outranking_share"].tolist() == [1.0]
    assert found.sentence.startswith("However close, a single copy can't be established here by itself")
    assert "119 calibration groups would show a single one" in found.sentence


def test_the_copied_real_image_is_found_by_its_parts(world: Workspace) -> None:
    audit = calibrated(world, "real", 0.9)  # 80 / (0.9 x 61): 2 of them
    found = world.sensitivity(audit, plants=10, kinds=["exact", "noise:1000"])
    rows = found.rows.set_index("kind")
    assert rows["outranking_share"]["exact"] == 1.0
    assert rows["outranking_share"]["noise"] < 0.4
    assert rows["similarity"]["exact"] == pytest.approx(1.0, abs=1e-6)
    again = world.sensitivity(audit, plants=10, kinds=["noise:1000"])
    other = world.sensitivity(audit, plants=10, kinds=["noise:1000"], seed=1)
    assert again.report.table() == [row for row in found.report.table() if row["kind"] == "noise"]
    assert again.report.table() != other.report.table()


def test_the_release_test_has_its_power_curves(world: Workspace, tmp_path: Path) -> None:
    audit = calibrated(world, "real", 0.05)
    found = world.sensitivity(audit, plants=20, kinds=["exact", "noise:1000"])
    power = found.report.power
    assert power is not None
    assert (power.used_groups, power.not_used_groups, power.level) == (80, 60, 0.05)
    exact, noise = power.curves
    assert [(curve.like, curve.images) for curve in power.curves] == [
        ("a planted copy (exact)", 20),
        ("a planted copy (noise 1000)", 20),
    ]
    assert exact.least_share is not None
    assert exact.least_share < 0.5
    assert noise.least_share is None or noise.least_share > 2 * exact.least_share
    assert power.sentence.startswith(f"Had {100 * exact.least_share:.3g} % or more of the used images been remembered")
    assert world.catalog.sensitivities(audit.audit.audit_id)[-1].result["power"] == power.to_json()
    assert [file.name for file in found.write(tmp_path / "out")][4:] == ["power.svg", "power.png"]
    page = world.report(audit, tmp_path / "report.html").read_text()
    assert power.sentence in page
    assert "power-figure-title" in page
    assert calibrated(world, "generated", 0.2).audit.findings.release_test_json is None
    assert world.sensitivity(calibrated(world, "generated", 0.2), plants=2, kinds="exact").report.power is None


def test_of_a_leak_that_is_established_images_found_come_first(world: Workspace, tmp_path: Path) -> None:
    world.ingest(save_textures(tmp_path / "leaky", range(40)), release="leaky", generator="l")
    audit = world.audit("leaky", used="used", not_used="alike", rule="calibrated", subject="real", fdr=0.2)
    established = audit.audit.counts["established"]
    assert audit.audit.findings.outcome == "leak_established"
    assert established > 20
    power = world.sensitivity(audit, plants=5, kinds="exact").report.power
    assert power is not None
    first = power.curves[0]
    assert (first.like, first.images) == (f"the {established:,} images established here", established)
    assert first.least_share is not None


def joint(workspace: Workspace, **parts: AuditReport) -> str:
    """An audit of several answers, put on record by hand; gives its id."""
    whole = replace(
        next(iter(parts.values())).audit, audit_id=uuid.uuid4().hex, subject=Subject.RELEASE, rule=JOINT_RULE
    )
    workspace.catalog.record_audit(NewAudit(whole))
    engine = create_engine(parse_url(workspace.catalog_place))
    with engine.begin() as connection:
        for answer, part in parts.items():
            values = {"whole": whole.audit_id, "answer": answer, "part": part.audit.audit_id}
            connection.execute(text("INSERT INTO audit_parts VALUES (:whole, :answer, :part)"), values)
    engine.dispose()
    return whole.audit_id


def leaves(value: Any, *above: str | int) -> Iterator[tuple[str | int, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in pairs:
        yield from leaves(each, *above, name)
        yield (*above, name)


def refuses_what_is_not_of_its_types(world: Workspace, whole: str, folder: Path) -> None:
    """No part of a recorded sensitivity is another thing than its reader expects, and a backup with such is refused."""
    recorded = world.catalog.sensitivities(whole)[0].result
    assert misfit_of_measured(recorded) == ""
    places = [place for place in leaves(recorded["answers"]) if not {"seconds", "kinds"} & {*place}]
    for place in random.Random(5).sample(places, min(60, len(places))):
        changed = copy.deepcopy(recorded)
        parent = functools.reduce(operator.getitem, place[:-1], changed["answers"])
        parent[place[-1]] = {"x": []}
        assert misfit_of_measured(changed), place
    world.backup(folder / "sound.zip")
    world.catalog.record_sensitivity(whole, changed)
    world.backup(folder / "wrong.zip")
    for name, ends in (
        ("sound", contextlib.nullcontext()),
        ("wrong", pytest.raises(CatalogError, match=r"events\.detail")),
    ):
        with Workspace.create(folder / name, backbone_file=world.settings.backbone_file) as new, ends:
            new.restore(folder / f"{name}.zip")


def test_every_answer_of_an_audit_is_measured_and_recorded_with_the_whole(
    world: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = calibrated(world, "generated", 0.2)  # stands for it here: the seed rule judges no parts
    whole = joint(world, membership=calibrated(world, "real", 0.1), baseline=baseline)
    steps: list[str] = []
    found = world.sensitivity(whole, plants=4, kinds="exact", on_step=steps.append)
    assert found.rows[["answer", "kind"]].to_numpy().tolist() == [["membership", "exact"], ["baseline", "exact"]]
    assert [step for step in steps if step.startswith("measuring")] == [
        "measuring membership (1 of 2)",
        "measuring baseline (2 of 2)",
    ]
    assert found.sentence.startswith("Membership: ")
    [recorded] = world.catalog.sensitivities(whole)
    assert set(recorded.result["answers"]) == {"membership", "baseline"}
    assert recorded.result["answers"]["membership"]["power"]["curves"]
    assert recorded.result["answers"]["baseline"]["power"] is None
    assert world.catalog.sensitivities(baseline.audit.audit_id)[-1].result == recorded.result["answers"]["baseline"]
    names = [file.name for file in found.write(tmp_path / "out")]
    figures = [
        f"{name}.{end}"
        for name in ("sensitivity-membership", "power", "sensitivity-baseline")
        for end in ("svg", "png")
    ]
    assert names == ["sensitivity.json", "sensitivity.csv", *figures]
    document = json.loads((tmp_path / "out" / "sensitivity.json").read_text())
    assert document["answers"]["membership"]["power"]["used_groups"] == 80
    assert (tmp_path / "out" / "sensitivity.csv").read_text().startswith("answer,kind,")
    one = world.sensitivity(whole, plants=4, kinds="exact", answers="baseline")
    assert list(one.rows["answer"]) == ["baseline"]
    print_recorded(latest_by_answer(world.catalog.sensitivities(whole)), 2)
    shown = capsys.readouterr().out
    assert shown.index("sensitivity of membership (2 measured)") < shown.index("sensitivity of baseline (2 measured)")
    refuses_what_is_not_of_its_types(world, whole, tmp_path)


def tables(workspace: Workspace) -> dict[str, list[tuple[Any, ...]]]:
    engine = create_engine(parse_url(workspace.catalog_place))
    with engine.connect() as connection:
        names = inspect(engine).get_table_names()
        found = {name: [tuple(row) for row in connection.execute(text(f"SELECT * FROM {name}"))] for name in names}
    engine.dispose()
    return found


def test_nothing_of_the_plants_is_left_behind(world: Workspace) -> None:
    audit = calibrated(world, "real", 0.5)
    before, history = tables(world), world.history("img_0003.png")
    points = {key: world.index.count(key) for key in world.index.collections()}
    files = sorted(path for path in world.root.rglob("*") if path.is_file())
    found = world.sensitivity(audit, plants=12, kinds="exact,blend:0.5")
    after = tables(world)
    events = [row for row in after.pop("events") if row not in before["events"]]
    del before["events"]
    assert after == before
    assert len(events) == 1
    assert {key: world.index.count(key) for key in world.index.collections()} == points
    assert reconcile(world, repair=False).is_clean
    assert world.history("img_0003.png").equals(history)
    new = [path for path in world.root.rglob("*") if path.is_file() and path not in files]
    of_the_open_workspace = {"vectors", "index", "unanswered"}  # the last until it is closed
    assert [path for path in new if not of_the_open_workspace & {*path.parts}] == []
    recorded = world.catalog.sensitivities(audit.audit.audit_id)
    assert [each.result["sentence"] for each in recorded] == [found.sentence]
    text_of_event = json.dumps(recorded[0].result)
    assert "sha256" not in text_of_event
    assert "img_" not in text_of_event
    assert str(world.root.parent) not in text_of_event


def model(*features: str, weight: float, intercept: float) -> LogisticModel:
    count = len(features)
    return LogisticModel(features, (weight,) * count, intercept, (0.0,) * count, (1.0,) * count)


POLICIES = {
    "calibrated generated": Policy(rule=CalibratedRule(q=0.4)),
    "calibrated real, whole": Policy(
        Subject.REAL, CalibratedRule(score_parameters("relative", 10), q=0.5, permutations=19)
    ),
    "calibrated real, local": Policy(
        Subject.REAL, CalibratedRule(score_parameters("local", 10), q=0.5, permutations=19)
    ),
    "maxima generated": Policy(rule=MuAlphaSigmaRule(1.5)),
    "pairwise generated": Policy(rule=MuAlphaSigmaRule(1.2, Population.PAIRWISE)),
    "maxima real": Policy(Subject.REAL, MuAlphaSigmaRule(1.0)),
    "pairwise real": Policy(Subject.REAL, MuAlphaSigmaRule(2.0, Population.PAIRWISE)),
    "logistic generated": Policy(rule=LogisticRule(model("s_used", weight=100, intercept=-97))),
    "logistic real": Policy(
        Subject.REAL, LogisticRule(model("nearest", "nearest_mean", weight=50, intercept=-94)), top_k=2
    ),
}


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Iterator[Workspace]:
    """4 used, 5 unknown, 24 not used, 5 generated images; and, for each used one, a release with its copy beside."""
    root = tmp_path_factory.mktemp("twice")
    with Workspace.create(root / "workspace", backbone_file=tiny_backbone, workers=0, batch_size=8) as workspace:
        backbones = [workspace.load_backbone(), workspace.load_backbone(name=PATCHES)]
        for backbone in backbones:
            workspace.ingest(save_pictures(root / "u", range(4)), set="used", membership="used", backbone=backbone)
            workspace.ingest(
                save_pictures(root / "n", range(100, 124)), set="not_used", membership="not-used", backbone=backbone
            )
            workspace.ingest(
                save_pictures(root / "a", range(200, 205)), set="unknown", membership="unknown", backbone=backbone
            )
            workspace.ingest(
                save_pictures(root / "gan", range(300, 305), "gen"), release="gan", generator="g", backbone=backbone
            )
            for seed in range(4):
                folder = save_pictures(root / f"gan{seed}", range(300, 305), "gen")
                copy = altered(picture(seed), PlantKind("blur", 3), np.random.default_rng(0))
                Image.fromarray(copy).save(folder / "plant.png")
                workspace.ingest(folder, release=f"gan{seed}", generator="g", backbone=backbone)
        yield workspace


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_found_is_what_an_audit_of_a_release_with_the_plant_says(twice: Workspace, name: str) -> None:
    policy = POLICIES[name]
    space = PATCHES if "local" in name else twice.load_backbone().space.space_id
    request = {"policy": policy, "used": "used", "against": "unknown", "not_used": "not_used", "space": space}
    if name.startswith("logistic"):
        request.pop("not_used")
    base = twice.audit("gan", **request)  # type: ignore[arg-type]
    labels = twice.verdicts(base).set_index("name")["label"].astype(str)
    positive = ("established", "used")
    found = []
    for seed in range(4):
        if policy.subject is Subject.REAL and labels[f"img_{seed:04d}.png"] in positive:
            continue
        after = twice.verdicts(twice.audit(f"gan{seed}", **request)).set_index("name")["label"]  # type: ignore[arg-type]
        found.append(after[f"img_{seed:04d}.png" if policy.subject is Subject.REAL else "plant.png"] in positive)
    row = twice.sensitivity(base, kinds="blur:3").report.rows[0]
    assert (row.found, row.plants) == (sum(found), len(found))
    if "calibrated" not in name:
        assert sum(found) > 0, "the policy is so chosen that there is something to find"


def small(make_workspace: MakeWorkspace, cohort: Path) -> Workspace:
    workspace = make_workspace()
    workspace.ingest(cohort / "real_used", set="used", membership="used")
    workspace.ingest(cohort / "real_not_used", set="not_used", membership="not-used")
    workspace.ingest(cohort / "generated", release="gan", generator="g")
    return workspace


def test_lost_sources_are_named_or_refused(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace = small(make_workspace, cohort)
    audit = workspace.audit("gan", rule="calibrated")
    (cohort / "real_used" / "img_0002.png").unlink()
    (cohort / "real_used" / "img_0007.png").write_bytes(b"something else")
    found = workspace.sensitivity(audit, kinds="exact,blend:0.5")
    assert found.report.originals == 10
    assert {each.name for each in found.report.unreadable} == {"img_0002.png", "img_0007.png"}
    assert any("2 images could not be read again" in note for note in found.notes)
    some = workspace.sensitivity(audit, plants=10, kinds="exact")  # others take their place
    assert some.report.originals == 10
    for path in [*(cohort / "real_used").iterdir(), *(cohort / "generated").glob("copy*")]:
        path.unlink()
    with pytest.raises(SourceError, match="none of the 12 images"):
        workspace.sensitivity(audit)


def test_what_can_not_be_measured_is_refused(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace = small(make_workspace, cohort)
    audit = workspace.audit("gan", used="used", not_used="not_used", rule="calibrated")
    with pytest.raises(NotFoundError):
        workspace.sensitivity("f00d")
    with pytest.raises(UsageError, match="no kind of plant"):
        workspace.sensitivity(audit, kinds="melt")
    with pytest.raises(UsageError, match="one plant"):
        workspace.sensitivity(audit, plants=0)
    only = workspace.audit("gan", not_used="not_used", rule="mu-alpha-sigma")
    with pytest.raises(UsageError, match="no used and no unknown"):
        workspace.sensitivity(only)
    everything = workspace.audit("gan", used="used", subject="real", rule="mu-alpha-sigma", alpha=-99)
    with pytest.raises(UsageError, match="labels all 12"):
        workspace.sensitivity(everything)
    stop = threading.Event()
    stop.set()
    assert run_sensitivity(workspace, SensitivityRequest(audit.audit.audit_id), stop=stop) is None
    assert workspace.catalog.sensitivities(audit.audit.audit_id) == []
    workspace.ingest(save_pictures(cohort / "real_used", range(50, 51)), set="used", membership="used")
    with pytest.raises(ConflictError, match="used has changed since audit"):
        workspace.sensitivity(audit)


def test_unknown_images_are_copied_where_none_is_known_to_be_used(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace = small(make_workspace, cohort)
    workspace.ingest(cohort / "real_unknown", set="unknown", membership="unknown")
    audit = workspace.audit("gan", against="unknown", not_used="not_used", rule="calibrated")
    found = workspace.sensitivity(audit, kinds="exact")
    assert found.report.originals == 6
    assert "No used images take part: copies are of unknown ones." in found.notes


def test_an_answer_that_can_not_be_measured_says_why(make_workspace: MakeWorkspace, cohort: Path) -> None:
    world = small(make_workspace, cohort)
    everything = world.audit("gan", used="used", subject="real", rule="mu-alpha-sigma", alpha=-99)
    whole = joint(
        world, membership=world.audit("gan", used="used", not_used="not_used", rule="calibrated"), baseline=everything
    )
    found = world.sensitivity(whole, plants=2, kinds="exact")
    assert list(found.rows["answer"]) == ["membership"]
    assert any(note.startswith("baseline: not measured, as audit ") for note in found.notes)
    with pytest.raises(UsageError, match=r"no answer of audit .* can be measured: baseline: "):
        world.sensitivity(whole, answers="baseline")
    with pytest.raises(UsageError, match="copies: the audit does not have this answer"):
        world.sensitivity(whole, answers=["copies"])
    with pytest.raises(UsageError, match="by one rule, and has no answers"):
        world.sensitivity(everything, answers="baseline")


def run(workspace: Workspace, *words: str) -> str:
    return str(raising(workspace.root, *words).stdout)


def test_an_outcome_says_what_is_not_measured_and_then_what_was(world: Workspace) -> None:
    audit = calibrated(world, "real", 0.051)
    assert audit.audit.findings.outcome == "leak_not_established"
    before = world.outcome_of(audit)
    plants = 80 * len(DEFAULT_KINDS)
    command = f"`provenance sensitivity {audit.audit.audit_id[:8]}`"
    assert re.search(
        rf"{command} measures it in some \d+ (seconds|minutes) \(an estimate: {plants:,} planted copies, ",
        before,
    )
    found = world.sensitivity(audit, plants=3, kinds="exact")
    after = world.outcome_of(audit)
    assert found.report.power is not None
    assert after.endswith(f" {found.sentence} {found.report.power.sentence}")
    assert after.startswith(before.split(" How small")[0])
    again = calibrated(world, "real", 0.052)
    assert "as long as each took here before" in world.outcome_of(again)


def test_several_answers_are_measured_from_the_command_line(make_workspace: MakeWorkspace, cohort: Path) -> None:
    workspace = small(make_workspace, cohort)
    workspace.close()
    words = ("--used", "used", "--not-used", "not_used", "--rows", "0")
    found = json.loads(run(workspace, "audit", "gan", *words, "--json"))
    planting = ("sensitivity", found["audit_id"], "--plants", "2", "--kinds", "exact,blur:2", "--json")
    measured = json.loads(run(workspace, *planting))
    assert list(measured["answers"]) == ["copies", "membership", "baseline"]
    assert measured["answers"]["membership"]["audit_id"] == found["membership"]["audit_id"]
    assert "measured yet" in found["outcome_reason"]
    shown = run(workspace, "audits", "show", found["audit_id"])
    assert "measured yet" not in shown
    assert "Baseline: " in shown
    assert "sensitivity of membership (1 measured)" in shown
    alone = json.loads(run(workspace, *planting, "--answer", "baseline"))
    assert alone["answers"]["baseline"]["rows"] == measured["answers"]["baseline"]["rows"], "with the plants of copies"


def test_the_command_line_measures_and_shows(make_workspace: MakeWorkspace, cohort: Path, tmp_path: Path) -> None:
    workspace = small(make_workspace, cohort)
    workspace.close()
    words = ("--used", "used", "--not-used", "not_used", "--rows", "0", "--rule", "calibrated")
    audited = json.loads(run(workspace, "audit", "gan", *words, "--sensitivity", "--json"))
    assert audited["sensitivity"]["audit_id"] == audited["audit_id"]
    assert [row["kind"] for row in audited["sensitivity"]["rows"]].count("blend") == 4
    shown = json.loads(run(workspace, "audits", "show", audited["audit_id"], "--json"))
    assert shown["sensitivities"][0]["result"]["sentence"] == audited["sensitivity"]["sentence"]
    out = ("--plants", "5", "--kinds", "exact,blur:2", "-o", str(tmp_path / "out"))
    text_of_run = run(workspace, "sensitivity", audited["audit_id"][:8], *out)
    assert "blur 2" in text_of_run
    assert (tmp_path / "out" / "sensitivity.png").exists()
    assert "sensitivity (2 measured)" in run(workspace, "audits", "show", audited["audit_id"][:8])
    page = tmp_path / "report.html"
    run(workspace, "report", audited["audit_id"], "-o", str(page), "--cases", "1")
    assert ">blur 2</td>" in page.read_text(), "the latest measurement"
    assert ">exact</td>" in page.read_text()
    assert "Sensitivity: not measured" not in page.read_text()
    refused(workspace.root, "sensitivity", audited["audit_id"], *out, code=ConflictError.exit_code)
