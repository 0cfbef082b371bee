"""Leakage inside the real sets: planted duplicates are found, and audits say so or leave them out."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from provenance import AuditRequest, IngestRequest, Policy, Workspace, run_audit, run_ingest
from provenance.audit.rules.mu_alpha_sigma import MuAlphaSigmaRule
from provenance.documents.rows import DuplicatePair as DocumentOfPair
from provenance.duplicates import DuplicatePair, DuplicateRequest, DuplicateRule, find_duplicates
from provenance.errors import ConflictError, NotFoundError, UsageError
from provenance.exports import DUPLICATE_COLUMNS, export_duplicates_csv
from provenance.files import csv_bytes
from provenance.images import PERCEPTUAL_HASH
from provenance.ingest import image_ids_digest
from provenance.keeping.removal import forget_image
from provenance.phantoms import patient_slices
from provenance.phantoms.anatomy import fresh_phantom
from provenance.records import Generator
from provenance.vocabulary import DatasetKind, Evidence, Membership, Population, Role, Subject, digest_of_json
from tests.runner import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provenance.audit import AuditReport

    MakeWorkspace = Callable[..., Workspace]

SHARED = Path(__file__).resolve().parents[3] / "shared"
Pixels = np.ndarray[Any, np.dtype[np.uint8]]
ALL = DuplicateRequest(("used", "not_used", "unknown"))


def save(pixels: Pixels, folder: Path, name: str, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name, **options)
    return folder / name


def plant(source: Path, folder: Path, kind: str, name: str) -> None:
    """A copy of an image file, changed or not."""
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        pixels = np.asarray(image.convert("L"))
        size = (image.width // 2, image.height // 2)
        small = np.asarray(image.convert("L").resize(size, Image.Resampling.BICUBIC))
    if kind == "bytes":
        shutil.copyfile(source, folder / f"{name}{source.suffix}")
    elif kind == "pixels":
        save(pixels, folder, f"{name}.bmp")
    elif kind == "jpeg":
        save(pixels, folder, f"{name}.jpg", quality=70)
    elif kind == "half":
        save(small, folder, f"{name}.png")
    else:
        shaken = pixels + np.random.default_rng(len(name)).integers(-1, 2, pixels.shape)
        save(np.clip(shaken, 0, 255).astype(np.uint8), folder, f"{name}.png")


KINDS = ("bytes", "pixels", "jpeg", "half", "plus-minus-one")


@pytest.fixture(scope="module")
def real_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve used, eight not used, four unknown phantoms; one duplicate of each kind not used, one in its own set."""
    root = tmp_path_factory.mktemp("sets")
    for name, first, count in (("used", 1, 12), ("not_used", 21, 8), ("unknown", 41, 4), ("generated", 61, 5)):
        for number in range(first, first + count):
            save(fresh_phantom(number, seed=4), root / name, f"{name}_{number:02d}.png")
    for number, kind in enumerate(KINDS, start=1):
        plant(root / "used" / f"used_{number:02d}.png", root / "not_used", kind, f"across_{kind}")
        plant(root / "used" / f"used_{number + 5:02d}.png", root / "used", kind, f"within_{kind}")
    return root


def ingest(workspace: Workspace, source: Path, name: str, membership: Membership) -> None:
    request = IngestRequest((source,), name, DatasetKind.SET, membership)
    run_ingest(workspace, request, workspace.load_backbone())


def fill(workspace: Workspace, root: Path) -> Workspace:
    for membership in Membership:
        ingest(workspace, root / membership.value, membership.value, membership)
    release = IngestRequest((root / "generated",), "release", DatasetKind.RELEASE, generator=Generator("toy"))
    run_ingest(workspace, release, workspace.load_backbone())
    return workspace


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path, real_sets: Path) -> Iterator[Workspace]:
    """A workspace for all tests that change nothing but by audits."""
    root = tmp_path_factory.mktemp("filled")
    with Workspace.create(root / "workspace", backbone_file=tiny_backbone, workers=0, batch_size=4) as workspace:
        yield fill(workspace, real_sets)


@pytest.fixture
def own(make_workspace: MakeWorkspace, real_sets: Path, tmp_path: Path) -> Workspace:
    """One of a test's own, whose sources are in ``sets``."""
    return fill(make_workspace(), Path(shutil.copytree(real_sets, tmp_path / "sets")))


def names(pair: DuplicatePair) -> tuple[str, str]:
    return pair.left.name, pair.right.name


def test_planted_duplicates_are_found_and_nothing_else(filled: Workspace) -> None:
    report = find_duplicates(filled, ALL)
    found = {names(pair)[1].partition(".")[0]: pair for pair in report.pairs if "_" in names(pair)[1]}
    for number, kind in enumerate(KINDS, start=1):
        across, within = found[f"across_{kind}"], found.get(f"within_{kind}")
        within = within or next(pair for pair in report.pairs if f"within_{kind}" in pair.left.name)
        assert across.left.name == f"used_{number:02d}.png"
        assert f"used_{number + 5:02d}.png" in names(within)
        assert (across.crosses, within.crosses) == (True, False)
        for pair in (across, within):
            assert pair.same_bytes == (kind == "bytes") == (pair.left.image_id == pair.right.image_id)
            assert pair.same_pixels == (kind in {"bytes", "pixels"})
            assert pair.hash_distance is not None
            assert (pair.hash_distance == 0) or not pair.same_pixels
            assert pair.hash_distance <= 4
            assert 0.65 <= pair.similarity <= 1.0
    assert report.counts == {
        "images": 32,  # the two copies of the same bytes are no images of their own
        "pairs": 10,
        "same_bytes": 2,
        "same_pixels": 2,
        "near": 6,
        "clusters": 10,
        "used_and_not_used": 5,
        "real_and_generated": 0,
        "not_used": 13,
        "not_used_with_twins": 5,
        "unhashed": 0,
    }
    assert [pair.crosses for pair in report.pairs] == [True] * 5 + [False] * 5


def test_hashes_are_read_once_and_go_with_the_image(own: Workspace, tmp_path: Path) -> None:
    first = find_duplicates(own, ALL)
    shutil.rmtree(tmp_path / "sets")
    steps: list[Any] = []
    again = find_duplicates(own, ALL, steps.append)
    assert (again.pairs, steps) == (first.pairs, [])
    key = own.catalog.resolve_image("used_03.png").image_key
    assert own.catalog.perceptual_hashes(PERCEPTUAL_HASH, [key])
    forget_image(own, "used_03.png")
    assert own.catalog.perceptual_hashes(PERCEPTUAL_HASH, [key]) == {}
    left = {names(pair) for pair in find_duplicates(own, ALL).pairs}
    assert left == {pair for pair in map(names, first.pairs) if "used_03.png" not in pair}


def test_sources_that_are_gone_are_named_and_same_pixels_are_found_without_them(own: Workspace, tmp_path: Path) -> None:
    shutil.move(tmp_path / "sets", tmp_path / "moved")
    report = find_duplicates(own, ALL)
    assert len(report.unhashed) == report.image_count == 32
    assert all("No such file" in rejection.detail for rejection in report.unhashed)
    assert [pair.same_pixels for pair in report.pairs] == [True] * 4
    either = find_duplicates(own, DuplicateRequest(ALL.sets, DuplicateRule(Evidence.EITHER, 4, 0.9999)))
    assert any(not pair.same_pixels and pair.hash_distance is None for pair in either.pairs)
    (tmp_path / "sets").symlink_to(tmp_path / "moved")
    assert find_duplicates(own, ALL).counts["near"] == 6


def test_both_kinds_of_evidence_or_either(filled: Workspace) -> None:
    def near(evidence: Evidence, bits: int, least: float) -> dict[tuple[str, str], DuplicatePair]:
        request = DuplicateRequest(("used", "not_used"), DuplicateRule(evidence, bits, least))
        return {names(pair): pair for pair in find_duplicates(filled, request).pairs if not pair.same_pixels}

    everything = near(Evidence.EITHER, 64, 1.0)
    rows = len(filled.catalog.member_ids(filled.catalog.dataset("used").dataset_id)) + 13
    contents = rows - 3  # the same bytes once more and the same pixels twice have no pairs of their own
    assert len(everything) == contents * (contents - 1) // 2
    for bits, least in ((4, 0.65), (20, 0.99), (0, 0.5), (64, -1.0)):
        close = {pair for pair, facts in everything.items() if (facts.hash_distance or 0) <= bits}
        alike = {pair for pair, facts in everything.items() if facts.similarity >= least}
        assert near(Evidence.BOTH, bits, least).keys() == close & alike
        assert near(Evidence.EITHER, bits, least).keys() == close | alike
        found = near(Evidence.EITHER, bits, least)
        assert all(found[pair].hash_distance == everything[pair].hash_distance for pair in found)
        assert all(found[pair].similarity == everything[pair].similarity for pair in found)


def reconstructed(pixels: Pixels, sharp: bool, seed: int) -> Pixels:
    """As another kernel would give it: smooth with little noise, or sharp with more."""
    smooth = ndimage.gaussian_filter(pixels.astype(float), 0.8)
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(pixels.shape), 0.5 if sharp else 1.0)
    picture = pixels + 0.8 * (pixels - smooth) if sharp else smooth
    return np.clip(np.rint(picture + noise / noise.std() * (6 if sharp else 2)), 0, 255).astype(np.uint8)


def test_two_reconstructions_of_a_patient_meet_at_equal_positions(
    make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    for patient in (1, 2, 3):
        for each in patient_slices(patient, slices=4, seed=9):
            save(reconstructed(each.pixels, False, 1), tmp_path / "smooth", f"{each.name}.png")
            save(reconstructed(each.pixels, True, 2), tmp_path / "sharp", f"{each.name}.png")
    workspace = make_workspace()
    ingest(workspace, tmp_path / "smooth", "smooth", Membership.USED)
    ingest(workspace, tmp_path / "sharp", "sharp", Membership.NOT_USED)
    pairs = find_duplicates(workspace, DuplicateRequest(("smooth", "sharp"))).pairs
    equal = {pair.left.name for pair in pairs if pair.left.name == pair.right.name and pair.crosses}
    assert equal == {file.name for file in (tmp_path / "smooth").iterdir()}
    others = [names(pair) for pair in pairs if pair.left.name != pair.right.name]
    assert all(left[:4] == right[:4] for left, right in others), "slices of two patients were taken for one another"


def request_for(**changes: Any) -> AuditRequest:
    return AuditRequest("release", ("used",), ("not_used",), exclude_overlap=True, **changes)


def recomputed_digest(workspace: Workspace, report: AuditReport, reals: dict[str, set[str]], **more: Any) -> str:
    """The verdict digest as it always was, over what is on record."""
    audit = report.audit
    header = {
        "version": 1,
        "policy_id": audit.policy_id,
        "space_id": audit.space_id,
        "release": audit.release_digest,
        "reals": {role: image_ids_digest(ids) for role, ids in reals.items()},
        "threshold": {
            "mu": audit.mu,
            "sigma": audit.sigma,
            "alpha": audit.alpha,
            "n": audit.population_count,
            "value": audit.threshold,
        },
        "verdicts": [verdict.verdict_sha256 for verdict in workspace.catalog.verdicts(audit.audit_id)],
        **more,
    }
    return "sha256:" + digest_of_json(header)


def members(workspace: Workspace, name: str) -> set[str]:
    return set(workspace.catalog.member_ids(workspace.catalog.dataset(name).dataset_id))


def test_an_audit_notes_twins_and_judges_as_without_looking(filled: Workspace) -> None:
    report = run_audit(filled, request_for())
    assert any("4 not-used images have near-twins" in note and "--exclude-twins" in note for note in report.notes)
    assert (report.audit.counts["not_used_with_twins"], report.audit.counts["excluded_twins"]) == (4, 0)
    assert report.audit.settings["twins"]["excluded"] is False
    used, not_used = members(filled, "used"), members(filled, "not_used")
    reals = {"used": used - not_used, "not_used": not_used - used}
    assert report.audit.verdict_digest == recomputed_digest(filled, report, reals)
    other = run_audit(filled, request_for(twin_rule=DuplicateRule(hash_distance=0, min_similarity=1.0)))
    assert other.audit.counts["not_used_with_twins"] == 1, "the same pixels are twins whatever the limits"
    assert other.audit.verdict_digest == report.audit.verdict_digest


@pytest.mark.parametrize("population", list(Population))
@pytest.mark.parametrize("subject", [Subject.GENERATED, Subject.REAL])
def test_an_audit_leaves_twins_out(filled: Workspace, subject: Subject, population: Population) -> None:
    policy = Policy(subject, MuAlphaSigmaRule(population=population))
    report = run_audit(filled, request_for(exclude_twins=True, policy=policy))
    assert any("4 not-used images have near-twins" in note and "left out" in note for note in report.notes)
    assert report.audit.counts["excluded_twins"] == 4
    used, not_used = members(filled, "used"), members(filled, "not_used")
    twins = {filled.catalog.resolve_image(name).image_id for name in planted_across(filled)}
    kept = not_used - used - twins
    facts = report.audit.settings["twins"]
    rule = {"evidence": "both", "hash": PERCEPTUAL_HASH, "hash_distance": 4, "min_similarity": 0.65}
    beside = {"excluded": True, "images_digest": image_ids_digest(twins), "unhashed": 0, "turned": True}
    assert facts == rule | beside
    reals = {"used": used - not_used, "not_used": kept}
    assert report.audit.verdict_digest == recomputed_digest(filled, report, reals, excluded_twins=rule)
    cited = {
        neighbor.image_id
        for neighbors in filled.catalog.neighbors_of(report.audit.audit_id).values()
        for neighbor in neighbors
    } | {verdict.image_id for verdict in report_verdicts(filled, report)}
    assert not cited & twins


def planted_across(workspace: Workspace) -> list[str]:
    pairs = find_duplicates(workspace, DuplicateRequest(("used", "not_used"))).pairs
    return [pair.right.name for pair in pairs if pair.crosses and not pair.same_bytes]


def report_verdicts(workspace: Workspace, report: AuditReport) -> list[Any]:
    return workspace.catalog.verdicts(report.audit.audit_id)


def test_left_out_twins_equal_an_audit_of_a_set_without_them(own: Workspace, tmp_path: Path) -> None:
    for file in (tmp_path / "sets" / "not_used").glob("not_used_*.png"):
        (tmp_path / "clean").mkdir(exist_ok=True)
        shutil.copyfile(file, tmp_path / "clean" / file.name)
    ingest(own, tmp_path / "clean", "clean", Membership.NOT_USED)
    excluded = run_audit(
        own, AuditRequest("release", ("used",), ("not_used",), exclude_overlap=True, exclude_twins=True)
    )
    clean = run_audit(own, AuditRequest("release", ("used",), ("clean",)))
    # the used image that is not used as well is left out of the first, and a fifth plant with it
    shared = own.catalog.resolve_image("used_01.png").image_id
    differing = {
        verdict.image_key
        for verdict, other in zip(report_verdicts(own, excluded), report_verdicts(own, clean), strict=True)
        if verdict.s_not_used != other.s_not_used
    }
    assert differing == set()
    assert shared not in {n.image_id for v in own.catalog.neighbors_of(excluded.audit.audit_id).values() for n in v}


def test_an_audit_with_nothing_but_twins_is_refused(own: Workspace, tmp_path: Path) -> None:
    ingest(own, tmp_path / "sets" / "not_used" / "across_half.png", "copies", Membership.NOT_USED)
    request = AuditRequest("release", ("used",), ("copies",), exclude_twins=True)
    with pytest.raises(ConflictError, match="all 1 not-used images have near-twins"):
        run_audit(own, request)
    assert own.catalog.audits() == []


def test_an_audit_without_sources_says_what_it_could_not_see(own: Workspace, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "sets")
    report = run_audit(own, request_for(exclude_twins=True))
    assert report.audit.counts["excluded_twins"] == 1
    assert report.audit.settings["twins"]["unhashed"] > 0
    assert any("could not be read from their sources" in note for note in report.notes)


def test_an_audit_without_not_used_sets_has_nothing_to_look_for(filled: Workspace) -> None:
    report = run_audit(filled, AuditRequest("release", ("used",), exclude_twins=True))
    assert "twins" not in report.audit.settings
    assert report.audit.counts["excluded_twins"] == 0
    assert Role.NOT_USED not in {row.role for row in report.datasets}


def test_table_and_audit_from_python(filled: Workspace) -> None:
    report = find_duplicates(filled, ALL)
    table = filled.duplicates(ALL.sets)
    assert [*zip(table["left_name"], table["right_name"], strict=True)] == [names(pair) for pair in report.pairs]
    assert table["similarity"].tolist() == [pair.similarity for pair in report.pairs]
    assert table["used_and_not_used"].sum() == 5
    assert len(filled.duplicates("unknown")) == 0
    flags = {"used": "used", "not_used": "not_used", "exclude_overlap": True, "exclude_twins": True}
    assert filled.audit("release", **flags).audit.counts["excluded_twins"] == 4
    strict = filled.audit("release", **flags, twins=DuplicateRule(hash_distance=0, min_similarity=1.0))
    assert strict.audit.counts["excluded_twins"] == 1


def test_a_report_says_what_was_left_out_and_how_to_do_it_again(filled: Workspace, tmp_path: Path) -> None:
    from provenance.exports.report import write_report

    rule = DuplicateRule(hash_distance=3, min_similarity=0.7)
    left_out = run_audit(filled, request_for(exclude_twins=True, twin_rule=rule)).audit
    noted = run_audit(filled, request_for()).audit
    pages = []
    for audit in (left_out, noted):
        write_report(filled, audit, tmp_path / f"{audit.audit_id}.html")
        pages.append((tmp_path / f"{audit.audit_id}.html").read_text(encoding="utf-8"))
    assert "--exclude-twins --twin-hash-distance 3 --twin-min-similarity 0.7 --twin-evidence both" in pages[0]
    assert "near-twins among the used ones were left out" in pages[0]
    assert "--exclude-twins" not in pages[1]
    assert "4 not-used images have near-twins among the used ones" in pages[1]


def test_csv_holds_every_pair(filled: Workspace, tmp_path: Path) -> None:
    report = find_duplicates(filled, ALL)
    assert export_duplicates_csv(report.pairs, tmp_path / "pairs.csv") == 10
    with (tmp_path / "pairs.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == DUPLICATE_COLUMNS
    assert [(row["left_name"], row["right_name"]) for row in rows] == [names(pair) for pair in report.pairs]
    assert [float(row["similarity"]) for row in rows] == [pair.similarity for pair in report.pairs]
    documents = (DocumentOfPair.of(pair).to_json() for pair in report.pairs)
    assert csv_bytes(DUPLICATE_COLUMNS, documents) == (tmp_path / "pairs.csv").read_bytes()
    assert {row["left_memberships"] for row in rows if row["used_and_not_used"] == "true"} <= {"used", "used;not_used"}


def test_wrong_questions(filled: Workspace) -> None:
    with pytest.raises(UsageError, match="no set or release was given"):
        DuplicateRequest(())
    with pytest.raises(NotFoundError, match="nobody"):
        find_duplicates(filled, DuplicateRequest(("nobody",)))
    with pytest.raises(NotFoundError, match="nobody"):
        find_duplicates(filled, DuplicateRequest(("release/nobody",)))


def test_too_many_pairs_are_written_as_they_come_and_told_as_clusters(
    filled: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose = {"evidence": "either", "hash_distance": 64}
    whole = filled.find_duplicates(ALL.sets, **loose, file=tmp_path / "listed.csv")
    assert whole.listed
    (cluster,) = whole.clusters
    assert (cluster.image_count, cluster.pairs, cluster.crosses) == (32, whole.counts["pairs"], True)
    assert [image.memberships[:1] for image in cluster.images[:1]] == [(Membership.USED,)]
    monkeypatch.setattr("provenance.duplicates.report.MAX_PAIRS", 9)
    report = filled.find_duplicates(ALL.sets, **loose, file=tmp_path / "streamed.csv")
    assert (report.listed, report.pairs, report.counts, report.clusters) == (False, (), whole.counts, whole.clusters)
    listed, streamed = ((tmp_path / name).read_text().splitlines() for name in ("listed.csv", "streamed.csv"))
    assert len(listed) == whole.counts["pairs"] + 1
    assert (listed[0], sorted(listed)) == (streamed[0], sorted(streamed))
    assert find_duplicates(filled, ALL).counts["pairs"] == 10  # also where nobody wants them
    with pytest.raises(ConflictError, match="10 pairs of duplicates are too many for a table"):
        filled.duplicates(ALL.sets)


def test_releases_are_looked_into_by_themselves_and_against_sets(own: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "copied"
    for number, kind in enumerate(KINDS, start=1):
        plant(tmp_path / "sets" / "used" / f"used_{number:02d}.png", folder, kind, f"copied_{kind}")
    shutil.copy(folder / "copied_half.png", folder / "copied_twice.png")
    request = IngestRequest((folder,), "used/gan", DatasetKind.RELEASE, generator=Generator("toy"))
    run_ingest(own, request, own.load_backbone())
    report = find_duplicates(own, DuplicateRequest(("release/used/gan", "set/used", "used/gan")))
    across = {(pair.left.name, pair.right.name) for pair in report.pairs if pair.is_of_both_kinds}
    planted = {(f"used_{number:02d}.png", f"copied_{kind}") for number, kind in enumerate(KINDS, start=1)}
    assert {(left, right.partition(".")[0]) for left, right in across} == planted
    assert (report.counts["real_and_generated"], report.counts["used_and_not_used"]) == (5, 0)
    assert [one.name for one in report.sets] == ["used/gan", "used"]
    (alone,) = find_duplicates(own, DuplicateRequest(("releases/used/gan",))).pairs
    assert (names(alone), alone.same_bytes) == (("copied_half.png", "copied_twice.png"), True)
    assert own.duplicates(["release"]).empty


def test_command_lists_exports_and_audits(filled: Workspace, tmp_path: Path) -> None:
    filled.close()
    workspace = ("--workspace", str(filled.root))
    done = process(tmp_path, *workspace, "duplicates", "used", "not_used", "-o", "pairs.csv", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["counts"]["used_and_not_used"] == 5
    assert len(document["pairs"]) == document["counts"]["pairs"] == len(document["clusters"]) == 10
    assert document["listed"] is True
    assert document["rule"]["hash_distance"] == 4
    with (tmp_path / "pairs.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["right_id"] for row in csv.DictReader(stream)] == [row["right_id"] for row in document["pairs"]]
    again = process(tmp_path, *workspace, "duplicates", "used", "-o", "pairs.csv")
    assert (again.returncode, "is there already" in again.stderr) == (8, True)
    shown = process(tmp_path, *workspace, "duplicates", "used", "not_used", "--rows", "3")
    assert "10 pairs of duplicates" in shown.stdout
    assert "5 of 13 not-used images" in shown.stderr
    refused = process(tmp_path, *workspace, "duplicates", "used", "--min-similarity", "2")
    assert (refused.returncode, refused.stdout) == (2, "")
    words = (
        "audit",
        "release",
        "--subject",
        "generated",
        "--used",
        "used",
        "--not-used",
        "not_used",
        "--exclude-overlap",
        "--exclude-twins",
    )
    audited = json.loads(process(tmp_path, *workspace, *words, "--twin-hash-distance", "2", "--json").stdout)
    assert audited["settings"]["twins"]["hash_distance"] == 2
    assert audited["counts"]["excluded_twins"] == audited["counts"]["not_used_with_twins"] > 0


@pytest.mark.shared_data
@pytest.mark.slow
def test_planted_duplicates_of_real_slices(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    originals = SHARED / "data" / "brain-mri" / "real_used"
    if not originals.is_dir():
        assert not os.environ.get("CI"), f"CI must have the real images at {SHARED}"
        pytest.skip("the real images are not beside the checkout")
    (tmp_path / "used").mkdir()
    chosen = sorted(originals.iterdir())[:15]
    for number, file in enumerate(chosen):
        shutil.copyfile(file, tmp_path / "used" / file.name)
        plant(file, tmp_path / "not_used", KINDS[number % 5], f"plant_{number:02d}")
    workspace = make_workspace()
    backbone = workspace.load_backbone(name="efficientnet-lite0")
    for membership in (Membership.USED, Membership.NOT_USED):
        request = IngestRequest((tmp_path / membership.value,), membership.value, DatasetKind.SET, membership)
        run_ingest(workspace, request, backbone)
    pairs = find_duplicates(workspace, DuplicateRequest(("used", "not_used"))).pairs
    assert {(file.name, f"plant_{number:02d}") for number, file in enumerate(chosen)} == {
        (pair.left.name, pair.right.name.partition(".")[0]) for pair in pairs if pair.crosses
    }
