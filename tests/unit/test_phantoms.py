"""Phantoms: deterministic, individual, and copied exactly as strongly as their kind says."""

import hashlib
import io
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from provenance.images.pixels import jpeg_bytes, png_bytes
from provenance.phantoms import CopyKind, patient_slices, plan_release, planted_image
from provenance.phantoms.anatomy import SIZE, fresh_phantom
from provenance.phantoms.release import copied

SEED = 3


@pytest.fixture(scope="module")
def patients():
    """Two slices each of eight phantom patients."""
    return [patient_slices(number, slices=2, seed=SEED) for number in range(1, 9)]


@pytest.fixture(scope="module")
def fresh():
    return [fresh_phantom(number, seed=SEED) for number in range(1, 9)]


def correlation(a, b):
    return float(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


def distance(a, b):
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.format, np.asarray(image)


def test_pixels_follow_from_the_seed_alone(patients):
    again = patient_slices(4, slices=2, seed=SEED)
    for before, after in zip(patients[3], again, strict=True):
        assert (before.name, before.patient) == (after.name, after.patient)
        np.testing.assert_array_equal(before.pixels, after.pixels)
    assert (patient_slices(4, slices=1, seed=SEED + 1)[0].pixels != patients[3][0].pixels).any()


def test_another_process_draws_the_same_pixels(patients):
    program = (
        "import hashlib; from provenance.phantoms import patient_slices; "
        f"print(hashlib.sha256(patient_slices(2, slices=2, seed={SEED})[1].pixels.tobytes()).hexdigest())"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == hashlib.sha256(patients[1][1].pixels.tobytes()).hexdigest()


def test_slices_are_eight_bit_pictures_with_air_around_a_body(patients, fresh):
    for pixels in [slice_.pixels for slices in patients for slice_ in slices] + fresh:
        assert pixels.dtype == np.uint8
        assert pixels.shape == (SIZE, SIZE)
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.max() < 40
        assert pixels[96:160, 64:192].mean() > 50
        assert len(np.unique(pixels)) > 100
        # Bone is bright, and there is little of it.
        assert 0.001 < (pixels > 200).mean() < 0.25


def test_names_tell_the_patient_and_are_unique(patients):
    names = [slice_.name for slices in patients for slice_ in slices]
    assert len(set(names)) == len(names)
    for slices in patients:
        for slice_ in slices:
            match = re.search("(P[0-9]+)", slice_.name)
            assert match is not None
            assert match.group(1) == slice_.patient


def test_individuals_differ_more_than_the_slices_of_one(patients):
    within = [distance(first.pixels, second.pixels) for first, second in patients]
    between = [distance(a[0].pixels, b[0].pixels) for i, a in enumerate(patients) for b in patients[i + 1 :]]
    assert min(within) > 1.0
    assert min(between) > 5.0
    assert np.median(between) > 2 * np.median(within)


def test_a_fresh_phantom_is_nobody(patients, fresh):
    everybody = [slice_.pixels for slices in patients for slice_ in slices]
    assert min(distance(pixels, other) for pixels in fresh for other in everybody) > 5.0


def test_both_body_parts_occur():
    # A chest holds much more air than an abdomen: black inside the outline of the body.
    air = [(fresh_phantom(number, seed=SEED)[112:144, 48:208] < 40).mean() for number in range(1, 13)]
    assert min(air) < 0.10
    assert max(air) > 0.25


def test_copies_are_as_close_as_their_strength_says(patients, fresh):
    rng = np.random.default_rng(0)
    source, other = patients[0][0].pixels, fresh[0]
    made = {kind: copied(source, kind, fresh=other, rng=rng) for kind in CopyKind}
    for pixels in made.values():
        assert pixels.dtype == np.uint8
        assert pixels.shape == source.shape
    np.testing.assert_array_equal(made[CopyKind.EXACT], source)
    np.testing.assert_array_equal(made[CopyKind.JPEG], source)
    assert 2.0 < distance(made[CopyKind.NOISY][64:192, 64:192], source[64:192, 64:192]) < 7.0
    assert correlation(made[CopyKind.NOISY], source) > 0.99
    assert correlation(made[CopyKind.BLURRED], source) > 0.97
    gradient = {
        name: np.abs(np.diff(p.astype(float))).mean() for name, p in (("a", source), ("b", made[CopyKind.BLURRED]))
    }
    assert gradient["b"] < 0.8 * gradient["a"]
    blends = [made[kind] for kind in (CopyKind.BLEND_90, CopyKind.BLEND_70, CopyKind.BLEND_50)]
    for share, blend in zip((0.9, 0.7, 0.5), blends, strict=True):
        expected = share * source.astype(float) + (1 - share) * other.astype(float)
        assert np.abs(blend - expected).max() <= 0.501
    closeness = [correlation(blend, source) for blend in blends]
    assert closeness == sorted(closeness, reverse=True)
    assert closeness[2] > correlation(other, source)


def test_a_shift_moves_the_picture_by_a_few_pixels(patients, fresh):
    source = patients[0][0].pixels
    moved = copied(source, CopyKind.SHIFTED, fresh=fresh[0], rng=np.random.default_rng(7))
    inner = source[8:-8, 8:-8]
    steps = [
        (y, x)
        for y in range(-6, 7)
        for x in range(-6, 7)
        if (moved[8 + y : moved.shape[0] - 8 + y, 8 + x : moved.shape[1] - 8 + x] == inner).all()
    ]
    assert len(steps) == 1
    assert all(2 <= abs(step) <= 5 for step in steps[0])


def test_a_release_is_half_copies_of_distinct_used_slices():
    used = [f"P{n:03d}-slice1" for n in range(1, 31)]
    plan = plan_release(used, copies_per_kind=3, seed=SEED)
    kinds = Counter(image.kind for image in plan)
    assert kinds.pop(None) == 24
    assert kinds == dict.fromkeys(CopyKind, 3)
    sources = [image.source for image in plan if image.kind is not None]
    assert len(set(sources)) == 24
    assert set(sources) <= set(used)
    assert all(image.source is None for image in plan if image.kind is None)
    assert [image.number for image in plan] == list(range(1, 49))
    assert len({image.name for image in plan}) == 48
    assert plan == plan_release(used, copies_per_kind=3, seed=SEED)
    assert plan != plan_release(used, copies_per_kind=3, seed=SEED + 1)
    # Neither the order nor the file format gives the copies away.
    assert {image.kind is None for image in plan[:12]} == {True, False}
    assert Counter(image.kind is None for image in plan if image.jpeg_quality is not None) == {True: 3, False: 3}
    assert all(image.jpeg_quality is not None for image in plan if image.kind is CopyKind.JPEG)


def test_a_release_needs_enough_used_slices():
    with pytest.raises(ValueError, match="16 copies need as many used slices, not 15"):
        plan_release([str(n) for n in range(15)], copies_per_kind=2, seed=SEED)


def test_planted_images_follow_the_plan(patients):
    sources = {slice_.name: slice_.pixels for slices in patients for slice_ in slices}
    for planned in plan_release(sorted(sources), copies_per_kind=1, seed=SEED):
        source = sources.get(planned.source or "")
        pixels = planted_image(planned, source, seed=SEED)
        if planned.kind is CopyKind.SHIFTED or planned.number == 1:
            np.testing.assert_array_equal(pixels, planted_image(planned, source, seed=SEED))
        if planned.kind is CopyKind.EXACT:
            assert png_bytes(pixels) == png_bytes(source)
        if planned.kind is None:
            assert min(distance(pixels, other) for other in sources.values()) > 5.0


def test_files_hold_the_pixels(patients):
    source = patients[0][0].pixels
    file_format, pixels = decoded(png_bytes(source))
    assert file_format == "PNG"
    np.testing.assert_array_equal(pixels, source)
    file_format, pixels = decoded(jpeg_bytes(source, 75))
    assert file_format == "JPEG"
    assert 0 < distance(pixels, source) < 4.0
    assert distance(pixels, source) < distance(decoded(jpeg_bytes(source, 20))[1], source)
