"""Phantoms: deterministic and individual."""

import hashlib
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from provenance.images.pixels import jpeg_bytes, png_bytes
from provenance.phantoms import fresh_phantom, patient_slices
from provenance.phantoms.anatomy import SIZE

SEED = 3


@pytest.fixture(scope="module")
def patients():
    """Two slices each of eight phantom patients."""
    return [patient_slices(number, slices=2, seed=SEED) for number in range(1, 9)]


@pytest.fixture(scope="module")
def fresh():
    return [fresh_phantom(number, seed=SEED) for number in range(1, 9)]


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


def test_files_hold_the_pixels(patients):
    source = patients[0][0].pixels
    file_format, pixels = decoded(png_bytes(source))
    assert file_format == "PNG"
    np.testing.assert_array_equal(pixels, source)
    file_format, pixels = decoded(jpeg_bytes(source, 75))
    assert file_format == "JPEG"
    assert 0 < distance(pixels, source) < 4.0
    assert distance(pixels, source) < distance(decoded(jpeg_bytes(source, 20))[1], source)
