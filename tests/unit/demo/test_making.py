"""What the demo makes: a truth that fits the files, and pieces that are where they come from."""

import csv
import hashlib
import io
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from provenance.demo.making import CONTROL, FILE, GENERATOR, PLANTED, RELEASE_FORMAT, make_demo
from provenance.embedding import Processes
from provenance.images.plants import in_release_size
from provenance.vocabulary import Membership

PATIENTS = 20


def made_in(folder, seed=3, workers=0):
    bars = []
    made = make_demo(folder, PATIENTS, seed, Processes(workers), lambda what: bars.append(what) or nullcontext(print))
    assert bars == ["phantoms", "generator", "controls"]
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def made(folder):
    return made_in(folder)


def digest(path):
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_every_file_has_its_truth(folder, made):
    for real in made.reals:
        assert digest(folder / f"real_{real.membership.value}" / real.name) == real.image_id
    for each in made.generated:
        assert digest(folder / "generated" / each.name) == each.image_id
    assert len(list(folder.glob("real_*/*.png"))) == len(made.reals)
    assert len(list((folder / "generated").iterdir())) == len(made.generated)


def test_slices_of_a_patient_share_their_fate(made):
    fates: dict[str, set[tuple[Membership, bool]]] = {}
    for real in made.reals:
        fates.setdefault(real.name[:4], set()).add((real.membership, real.was_used))
    assert len(fates) == PATIENTS
    assert all(len(each) == 1 for each in fates.values())
    patients = Counter(next(iter(each)) for each in fates.values())
    assert patients == {
        (Membership.USED, True): 6,
        (Membership.NOT_USED, False): 10,
        (Membership.UNKNOWN, True): 2,
        (Membership.UNKNOWN, False): 2,
    }
    assert max(Counter(real.name[:4] for real in made.reals).values()) == 2


def test_sources_are_used_images_and_controls_have_none(made):
    used = {real.image_id for real in made.reals if real.was_used}
    assert {source.image_id for each in made.generated for source in each.sources} <= used
    for each in made.generated:
        assert bool(each.sources) == (each.kind != CONTROL)
        assert sum(source.share for source in each.sources) <= 1 + 1e-9
        assert [source.share for source in each.sources] == sorted((s.share for s in each.sources), reverse=True)
    kinds = Counter(each.kind for each in made.generated)
    assert kinds == {GENERATOR: 8, CONTROL: 2, **dict.fromkeys(PLANTED, 1)}
    assert made.counts.generated == 20
    assert made.counts.by_generator == 8
    assert made.counts.planted == len(PLANTED)
    assert made.counts.training == len(used)
    assert made.counts.unknown_used == sum(made.unknown.values())


def test_planted_copies_show_their_source(folder, made):
    places = {real.image_id: folder / f"real_{real.membership.value}" / real.name for real in made.reals}
    for each in made.generated:
        if each.kind not in PLANTED:
            continue
        source = places[each.sources[0].image_id]
        if each.kind == FILE:
            assert each.image_id == each.sources[0].image_id
            continue
        copy, original = pixels(folder / "generated" / each.name), in_release_size(pixels(source), RELEASE_FORMAT)
        assert copy.shape == (64, 64)
        if each.kind == "flip":
            copy = copy[:, ::-1]
        if each.kind in ("exact", "flip"):
            np.testing.assert_array_equal(copy, original)
        else:
            assert np.corrcoef(copy.ravel().astype(float), original.ravel())[0, 1] > 0.6


def test_the_written_truth_is_the_same(folder, made):
    with (folder / "real_unknown_truth.csv").open(newline="") as file:
        reals = {row["name"]: row["used"] == "1" for row in csv.DictReader(file)}
    by_name = {real.name: made.unknown[real.image_id] for real in made.reals if real.image_id in made.unknown}
    assert reals == by_name
    rows = list(csv.DictReader(io.StringIO((folder / "generated_truth.csv").read_text("utf-8"))))
    assert {row["name"] for row in rows} == {each.name for each in made.generated}
    shares = {(row["name"], row["source"]): float(row["share"]) for row in rows if row["source"]}
    for each in made.generated:
        for source in each.sources:
            assert shares.pop((each.name, source.name)) == pytest.approx(source.share, abs=5e-4)
    assert not shares


def test_again_it_writes_nothing_and_worker_processes_make_the_same(folder, made, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert made_in(folder) == made
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == before
    assert made_in(tmp_path / "workers", workers=1) == made
    assert made_in(tmp_path / "seed", seed=4) != made
