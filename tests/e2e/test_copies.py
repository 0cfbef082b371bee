"""Audits of copies through the command line: identity, altered copies, pieces, never-used images, what is missing."""

from __future__ import annotations

import csv
import json
import re
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from provenance import Workspace
from provenance.vocabulary import Established, Label, Outcome
from tests.runner import answer, refused, run
from tests.unit.detection.copies.pictures import moved, slices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.records import StoredCopySource, StoredVerdict

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
WHOLE = "patches-16-16@16"
USED, FRESH, STRANGERS, EDGE = 60, 80, 24, 96
BY_IDENTITY = {"bytes": 0, "resaved": 1, "resized": 2, "jpeg": 3, "grey-as-rgb": 9, "flip": 4}
ALTERED = {"dimmed-flip": 10, "turned": 5, "cropped": 6}
SETS = {
    "used": ("--set", "used", "--membership", "used"),
    "fresh": ("--set", "fresh", "--membership", "not-used"),
    "release": ("--release", "rel", "--generator", "g"),
}


def save(folder: Path, images: np.ndarray[Any, Any], prefix: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image.round().astype(np.uint8)).save(folder / f"{prefix}{number:03d}.png")


def release(root: Path, used: np.ndarray[Any, Any]) -> None:
    """Strangers, and used images again: as files, as pixels, altered, and in pieces."""
    folder = root / "release"
    save(folder, slices(STRANGERS, seed=3), "stranger")
    (folder / "bytes.png").write_bytes((root / "used" / "u000.png").read_bytes())
    written = used.round().astype(np.uint8)
    files = {name: Image.fromarray(written[row]) for name, row in (BY_IDENTITY | ALTERED).items()}
    files["resaved"].save(folder / "resaved.png", compress_level=0)
    files["resized"].resize((64, 64), Image.Resampling.BICUBIC).save(folder / "resized.png")
    files["jpeg"].resize((64, 64), Image.Resampling.LANCZOS).save(folder / "jpeg.jpg", quality=70)
    files["grey-as-rgb"].convert("RGB").save(folder / "grey-as-rgb.png")
    files["flip"].transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "flip.png")
    mirrored = files["dimmed-flip"].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.point(lambda level: round(0.8 * level)).save(folder / "dimmed-flip.png")
    save(folder, moved(used[5], rotation=6)[None], "turned")
    cropped = files["cropped"].resize((EDGE, EDGE), Image.Resampling.BILINEAR, box=(5, 5, 91, 91))
    cropped.save(folder / "cropped.png")
    collage = slices(1, seed=4, edge=EDGE)[0]
    collage[20:76, 14:48], collage[20:76, 48:82] = used[7, 20:76, 14:48], used[8, 20:76, 48:82]
    save(folder, collage[None], "collage")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copies")
    used = slices(USED, seed=1, edge=EDGE)
    save(root / "used", used, "u")
    save(root / "fresh", slices(FRESH, seed=2, edge=EDGE), "f")
    release(root, used)
    return root


def made(root: Path, layout: Path, *parts: str) -> Path:
    workspace = root / "ws"
    run(workspace, "init")
    with (workspace / "provenance.toml").open("a") as file:
        file.write("\nworkers = 0\n")
    for part in parts or SETS:
        run(workspace, "ingest", str(layout / part), *SETS[part], "--backbone", WHOLE)
    return workspace


@pytest.fixture(scope="module")
def workspace(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("audited"), layout)


Judged = dict[str, tuple["StoredVerdict", "list[StoredCopySource]"]]


def judged(workspace: Path, audit_id: str) -> tuple[Judged, Mapping[str, str]]:
    """Verdict and sources by the generated image's name; and the names of all images by key."""
    with Workspace.open(workspace) as opened:
        catalog = opened.catalog
        verdicts, sources = catalog.verdicts(audit_id), catalog.sources_of(audit_id)
        keys = [v.image_key for v in verdicts] + [s.image_key for each in sources.values() for s in each]
        datasets = [row.dataset_id for row in catalog.audit_datasets(audit_id)]
        release = catalog.audit(audit_id).dataset_id
        of_release = catalog.names_of([release], [v.image_key for v in verdicts])
        names = catalog.names_of([each for each in datasets if each != release], keys)
    found = {of_release[v.image_key].partition(".")[0]: (v, sources.get(v.image_key, [])) for v in verdicts}
    return {name.rstrip("0"): each for name, each in found.items()}, names


@pytest.fixture(scope="module")
def audited(workspace: Path) -> dict[str, Any]:
    found: dict[str, Any] = answer(
        workspace, "audit", "rel", "--rule", "copies", "--used", "used", "--not-used", "fresh"
    )
    return found


def test_identity_is_a_fact_whatever_the_file(workspace: Path, audited: dict[str, Any]) -> None:
    found, names = judged(workspace, audited["audit_id"])
    for name, row in BY_IDENTITY.items():
        verdict, sources = found[name]
        assert verdict.label is Label.COPY, name
        assert (names[sources[0].image_key], sources[0].established_by) == (f"u{row:03d}.png", Established.IDENTITY)
    words = {name: found[name][1][0].transformation for name in BY_IDENTITY}
    assert words["bytes"] == "the same file"
    assert words["resaved"] == words["grey-as-rgb"] == "the same pixels"
    assert words["flip"] == "the same pixels, mirrored"
    assert words["resized"] == "the same pixels, brought to 64x64 (bicubic)"
    assert words["jpeg"].endswith("(Lanczos), written as JPEG")


def test_altered_copies_are_established_with_source_and_transformation(
    workspace: Path, audited: dict[str, Any]
) -> None:
    found, names = judged(workspace, audited["audit_id"])
    words = {"dimmed-flip": "mirrored", "turned": "turned by +6", "cropped": "scaled by 1.1"}
    for name, row in ALTERED.items():
        verdict, sources = found[name]
        assert verdict.label is Label.COPY, (name, verdict.score, verdict.q_value)
        assert names[sources[0].image_key] == f"u{row:03d}.png"
        assert sources[0].established_by in (Established.TAIL, Established.CONFORMAL)
        assert words[name] in sources[0].transformation
        assert verdict.q_value is not None
        assert verdict.q_value <= 0.05
    strangers = [verdict.label for name, (verdict, _) in found.items() if name.startswith("stranger")]
    assert set(strangers) == {Label.NO_COPY_SEEN}
    assert audited["outcome"] == Outcome.LEAK_ESTABLISHED


def test_a_collage_names_its_sources_with_boxes_where_they_are(workspace: Path, audited: dict[str, Any]) -> None:
    found, names = judged(workspace, audited["audit_id"])
    verdict, sources = found["collage"]
    assert sources[0].part is (verdict.label is not Label.COPY), "regions first, where they say more than the whole"
    parts = {names[each.image_key]: each for each in sources if each.part}
    for name, left, right in (("u007.png", 14, 48), ("u008.png", 48, 82)):
        box, there = parts[name].box, parts[name].source_box
        assert box is not None
        assert there is not None
        wanted = np.array([left, 20, right, 76]) / EDGE
        for each in (box, there):
            assert np.abs(np.array([each.left, each.top, each.right, each.bottom]) - wanted).max() < 0.12
    assert [each.rank for each in sources] == list(range(1, len(sources) + 1))
    assert {each.agreement for each in sources if each.part} == {None}


def test_every_output_names_the_same_sources_in_the_same_order(
    workspace: Path, audited: dict[str, Any], tmp_path: Path
) -> None:
    """Terminal, CSV, JSON Lines, report, and what is said of one image; by label, then facts, then evidence."""
    audit_id, table, lines, page = audited["audit_id"], tmp_path / "c.csv", tmp_path / "c.jsonl", tmp_path / "r.html"
    run(workspace, "export", audit_id, "--format", "csv", "-o", str(table))
    run(workspace, "export", audit_id, "--format", "jsonl", "-o", str(lines))
    run(workspace, "report", audit_id, "-o", str(page), "--cases", "99")
    rows = [each for each in csv.DictReader(table.read_text().splitlines()) if each["label"]]
    order = [each["name"] for each in rows]
    named = {each["name"]: each["source_name"] for each in rows}
    kinds = [("copy", "part_copy", "inconclusive", "no_copy_seen").index(each["label"]) for each in rows]
    wanted = [
        (kind, each["established_by"] != "identity", -float(each["evidence"]))
        for kind, each in zip(kinds, rows, strict=True)
    ]
    assert wanted == sorted(wanted)
    assert len({kind for kind, *_ in wanted}) > 1
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(each["name"], each["source_name"]) for each in records if each["label"]] == list(named.items())
    shown = run(workspace, "audits", "show", audit_id, "--rows", "99").stdout
    found = re.findall(r"(\S+\.(?:png|jpg)) .* (\S+\.png)\s*$", shown, re.MULTILINE)
    assert found == list(named.items())
    cards = page.read_text().split("<article")[1:]
    names = [re.findall(r'<bdi class="name">([^<]*)', card) for card in cards]
    assert [(generated, real) for generated, real, *_ in names] == list(named.items())
    for name in (order[0], order[-1], "collage000.png"):
        said = answer(workspace, "show", f"rel/{name}", "--audit", audit_id)["answers"][0]
        assert said["sources"][0]["name"] == named[name]
        copied = answer(workspace, "show", f"used/{named[name]}", "--audit", audit_id)["answers"][0]["copies"]
        assert name in {each["name"] for each in copied}, "by its name in the release, though the file is the same"


def labels_of(document: dict[str, Any]) -> dict[str, int]:
    return {label.value: document["counts"][label.value] for label in (Label.COPY, Label.PART_COPY, Label.INCONCLUSIVE)}


def test_identity_needs_no_calibration_and_impostors_verify(
    workspace: Path, layout: Path, audited: dict[str, Any]
) -> None:
    """Without never-used images the same identities, and what agrees more than strangers do is verified."""
    document = answer(workspace, "audit", "rel", "--rule", "copies", "--used", "used")
    found, names = judged(workspace, document["audit_id"])
    with_calibration, _ = judged(workspace, audited["audit_id"])
    for name in BY_IDENTITY:
        assert found[name][1][0] == with_calibration[name][1][0]
    for name, row in ALTERED.items():
        verdict, sources = found[name]
        assert (verdict.label, names[sources[0].image_key]) == (Label.COPY, f"u{row:03d}.png")
        assert sources[0].established_by is Established.VERIFICATION
    with Workspace.open(workspace) as opened:
        figures = opened.catalog.audit(document["audit_id"]).findings.own
    assert figures["false_match_rate"]["value"] == 0
    assert figures["whole"]["never_used"] is False
    assert 0 < figures["false_match_rate"]["upper"] < 0.06, "some 60 groups without a match"


def test_never_used_images_passed_off_as_generated_are_no_copies(workspace: Path, tmp_path: Path, layout: Path) -> None:
    save(tmp_path / "fakes", slices(40, seed=5, edge=EDGE), "fake")
    run(workspace, "ingest", str(tmp_path / "fakes"), "--release", "fakes", "--generator", "g", "--backbone", WHOLE)
    document = answer(workspace, "audit", "fakes", "--rule", "copies", "--used", "used", "--not-used", "fresh")
    assert document["counts"]["copy"] == document["counts"]["part_copy"] == 0
    assert document["outcome"] != Outcome.LEAK_ESTABLISHED
    # an image that is claimed not used and is there byte for byte contradicts the claim
    again = layout / "fresh" / "f000.png"
    run(workspace, "ingest", str(again), "--release", "again", "--generator", "g", "--backbone", WHOLE)
    document = answer(workspace, "audit", "again", "--rule", "copies", "--used", "used", "--not-used", "fresh")
    assert labels_of(document)["copy"] == 1
    assert any("the claim is contradicted" in note for note in document["notes"])


@pytest.fixture(scope="module")
def empty(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with black frames and a nearly black one with noise, all of them among the used ones, and one copy."""
    root = tmp_path_factory.mktemp("empty")
    shutil.copytree(layout / "used", root / "used")
    save(root / "release", slices(STRANGERS, seed=3), "stranger")
    (root / "release" / "copy.png").write_bytes((root / "used" / "u000.png").read_bytes())
    black, dark = np.zeros((EDGE, EDGE)), np.random.default_rng(8).integers(0, 12, (EDGE, EDGE))
    for folder, compressed in (("used", 9), ("release", 1)):
        frames = {"black": black, "again": black, "dark": dark}
        for name, frame in frames.items():
            how = compressed if name == "again" else 9
            Image.fromarray(frame.astype(np.uint8)).save(root / folder / f"{name}.png", compress_level=how)
    workspace = made(root, layout, "fresh")
    for folder in ("used", "release"):
        run(workspace, "ingest", str(root / folder), *SETS[folder], "--backbone", WHOLE)
    return workspace


@pytest.mark.parametrize("sets", [("--used", "used", "--not-used", "fresh"), ("--used", "used")])
def test_an_image_that_shows_nothing_is_nobodys_copy(empty: Path, sets: tuple[str, ...]) -> None:
    """Neither by bytes nor by pixels nor by its noise; a real copy beside it is found all the same."""
    document = answer(empty, "audit", "rel", "--rule", "copies", *sets)
    found, _ = judged(empty, document["audit_id"])
    assert found["copy"][0].label is Label.COPY
    assert {found[name][0].label for name in ("black", "again", "dark")} <= {Label.NO_COPY_SEEN, Label.INCONCLUSIVE}
    assert document["counts"]["copy"] == 1
    assert any("3 generated images show nothing (black frames, say)" in note for note in document["notes"])


def test_the_same_digest_again_whatever_threads_engine_and_order(
    tmp_path: Path, layout: Path, audited: dict[str, Any]
) -> None:
    settings = {"index_url": f"memory:{uuid.uuid4().hex}", "threads": 1, "workers": 0}
    with Workspace.create(tmp_path / "other", **settings) as other:
        for name, membership in (("fresh", "not-used"), ("used", "used")):
            other.ingest(layout / name, set=name, membership=membership, backbone=WHOLE)
        other.ingest(layout / "release", release="rel", generator="g", backbone=WHOLE)
        report = other.audit("rel", rule="copies", used="used", not_used="fresh")
    assert report.audit.verdict_digest == audited["verdict_digest"]


def test_planted_copies_say_what_it_would_have_found(workspace: Path, audited: dict[str, Any]) -> None:
    words = ("--plants", "6", "--kinds", "exact,flip,contrast,shift,blend:0.1")
    found = answer(workspace, "sensitivity", audited["audit_id"], *words)
    shares = {row["kind"]: row["share"] for row in found["rows"]}
    assert [shares[kind] for kind in ("exact", "flip", "contrast", "shift")] == [1, 1, 1, 1]
    assert shares["blend"] == 0, "a tenth of an image is nothing to be seen"


@pytest.mark.usefixtures("audited")
def test_grey_levels_are_no_choice_of_a_space(workspace: Path, layout: Path, tmp_path: Path) -> None:
    """After an audit of copies every other command judges in the space that it judged in before."""
    document = answer(workspace, "audit", "rel", "--rule", "mu-alpha-sigma", "--used", "used")
    with Workspace.open(workspace) as opened:
        assert opened.catalog.space(document["space_id"]).backbone == WHOLE
    both = tmp_path / "both"
    run(both, "init")
    for name in ("used", "release"):
        for backbone in ("patches-16-8@32", "pixels"):
            run(both, "ingest", str(layout / name), *SETS[name], "--backbone", backbone)
    document = answer(both, "audit", "rel", "--rule", "mu-alpha-sigma", "--used", "used")
    with Workspace.open(both) as opened:
        assert opened.catalog.space(document["space_id"]).backbone == "pixels", "parts are no whole images"


def test_sources_that_are_gone_cost_this_answer_alone(tmp_path: Path, layout: Path) -> None:
    shutil.copytree(layout / "used", tmp_path / "used")
    workspace = made(tmp_path, layout, "release")
    run(workspace, "ingest", str(tmp_path / "used"), *SETS["used"], "--backbone", WHOLE)
    shutil.rmtree(tmp_path / "used")
    message = refused(workspace, "audit", "rel", "--rule", "copies", "--used", "used", code=3)
    assert "can't be read again" in message
    document = answer(workspace, "audit", "rel", "--used", "used", "--space", WHOLE)
    assert document["copies"] is None
    assert document["baseline"] is not None


def test_what_it_takes_and_what_it_refuses(workspace: Path, tmp_path: Path) -> None:
    assert "copies are looked for among generated images" in refused(
        workspace, "audit", "rel", "--rule", "copies", "--used", "used", "--subject", "real"
    )
    assert "--score belongs to the rule calibrated" in refused(
        workspace, "audit", "rel", "--rule", "copies", "--used", "used", "--score", "nearest"
    )
    assert "q lies between 0 and 1" in refused(
        workspace, "audit", "rel", "--rule", "copies", "--used", "used", "--fdr", "1"
    )
    words = ("--fdr", "0.01", "--declare", str(tmp_path / "policy.json"))
    document = answer(workspace, "audit", "rel", "--rule", "copies", "--used", "used", *words)
    with Workspace.open(workspace) as opened:
        parameters = opened.catalog.policy(document["policy_id"]).parameters
    assert (parameters["q"], parameters["least_area"], parameters["search"]["edge"]) == (0.01, 0.15, 64)


def test_a_forgotten_source_leaves_the_audit_readable(tmp_path: Path, layout: Path) -> None:
    workspace = made(tmp_path, layout)
    document = answer(workspace, "audit", "rel", "--rule", "copies", "--used", "used", "--not-used", "fresh")
    found, _ = judged(workspace, document["audit_id"])
    source = found["flip"][1][0]
    run(workspace, "sets", "forget", str(source.image_id), "--yes")
    again, names = judged(workspace, document["audit_id"])
    assert (again["flip"][1][0].image_id, again["flip"][0].label) == (None, Label.COPY)
    assert source.image_key not in names
    run(workspace, "audits", "show", document["audit_id"])
    run(workspace, "report", document["audit_id"], "-o", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert "forgotten since" in page
    assert all(words in page for words in ("What evidence means here", "established by", "the same file", "mirrored"))
    assert "region of the real image" in page, "the collage, with its boxes"
    assert "best source, role erased" in page
    assert "name erased" in page


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "brain-mri").is_dir(), reason="the shared data are not here")
def test_copies_of_real_slices_are_named_with_their_source(tmp_path: Path) -> None:
    data, release = SHARED / "brain-mri", tmp_path / "release"
    used = sorted((data / "real_used").iterdir())
    release.mkdir()
    for path in sorted((data / "generated").iterdir())[:40]:
        shutil.copy(path, release / path.name)
    for row, change in enumerate((None, Image.Transpose.FLIP_LEFT_RIGHT, 8.0), start=1):
        with Image.open(used[row]) as image:
            small = image.convert("L").resize((64, 64), Image.Resampling.BILINEAR)
        if isinstance(change, float):
            small = small.rotate(change, Image.Resampling.BILINEAR)
        elif change is not None:
            small = small.transpose(change)
        small.save(release / f"plant{row}.png")
    workspace = tmp_path / "ws"
    run(workspace, "init")
    for folder, words in ((data / "real_used", SETS["used"]), (data / "real_not_used", SETS["fresh"])):
        run(workspace, "ingest", str(folder), *words, "--backbone", WHOLE)
    run(workspace, "ingest", str(release), *SETS["release"], "--backbone", WHOLE)
    document = answer(workspace, "audit", "rel", "--rule", "copies", "--used", "used", "--not-used", "fresh")
    found, names = judged(workspace, document["audit_id"])
    for row, by in enumerate((Established.IDENTITY, Established.IDENTITY, Established.TAIL), start=1):
        verdict, sources = found[f"plant{row}"]
        assert (verdict.label, sources[0].established_by) == (Label.COPY, by)
        assert names[sources[0].image_key] == used[row].name
    assert document["counts"]["copy"] == 3, "no generated image is called a copy"
