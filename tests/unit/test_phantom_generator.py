"""The generator without training: its weights against sums written out, and the truth it tells about itself."""

import math
import subprocess
import sys

import numpy as np
import pytest

from provenance.phantoms import GeneratedImage, LocalDenoiser, Source, patient_slices
from provenance.phantoms.generator import NOBODY, local_weights

SIZE = 32


@pytest.fixture(scope="module")
def training():
    """Twelve phantoms of 32 x 32 pixels, each the mean of blocks of 8 x 8."""
    slices = [patient_slices(number, slices=1, seed=5)[0].pixels for number in range(1, 13)]
    blocks = np.stack(slices).reshape(len(slices), SIZE, 8, SIZE, 8)
    return np.rint(blocks.mean((2, 4))).astype(np.uint8)


def weights_written_out(noisy, known, signal, window):
    """The definition, pixel by pixel, in float64 and without a matrix."""
    size, reach = len(noisy), window // 2
    weights = np.zeros(known.shape)
    for y in range(size):
        for x in range(size):
            rows, columns = (slice(max(at - reach, 0), at + reach + 1) for at in (y, x))
            seen = noisy[rows, columns].astype(float)
            far = [((seen - math.sqrt(signal) * each[rows, columns]) ** 2).sum() for each in known.astype(float)]
            raised = [math.exp(-(each - min(far)) / (2 * (1 - signal))) for each in far]
            weights[:, y, x] = np.array(raised) / sum(raised)
    return weights


@pytest.mark.parametrize(("signal", "window"), [(0.001, 11), (0.3, 5), (0.7, 3), (0.95, 1)])
def test_weights_are_the_definition(signal, window):
    rng = np.random.default_rng(7)
    known = rng.uniform(-1, 1, (4, 6, 6)).astype(np.float32)
    noisy = (signal**0.5 * known[1] + (1 - signal) ** 0.5 * rng.standard_normal((6, 6))).astype(np.float32)
    weights = local_weights(noisy, known, signal, window)
    np.testing.assert_allclose(weights, weights_written_out(noisy, known, signal, window), atol=2e-5)
    np.testing.assert_allclose(weights.sum(0), 1, atol=1e-6)


def test_weights_stay_finite_where_all_images_are_far():
    known = np.stack([np.full((8, 8), value, dtype=np.float32) for value in (-1, 1)])
    weights = local_weights(np.full((8, 8), 40, dtype=np.float32), known, 0.9999, 15)
    np.testing.assert_array_equal(weights[1], 1)


def test_a_window_as_wide_as_the_image_gives_training_images_back(training):
    everything = LocalDenoiser(training, widest=2 * SIZE + 1, narrowest=2 * SIZE + 1)
    for seed in range(6):
        made = everything.image(seed)
        (number,) = np.unique(made.origin)
        np.testing.assert_array_equal(made.pixels, training[number])
        assert made.sources() == (Source(number, 1.0),)


def test_small_windows_never_do(training):
    for seed in range(6):
        made = LocalDenoiser(training, widest=9, narrowest=3).image(seed)
        distances = np.abs(training.astype(float) - made.pixels).mean((1, 2))
        assert distances.min() > 3
        assert made.sources()[0].share < 0.7


def test_wider_windows_make_larger_pieces(training):
    def largest(widest, narrowest):
        made = [LocalDenoiser(training, widest, narrowest).image(seed) for seed in range(8)]
        return np.mean([image.sources(0.0)[0].share for image in made])

    assert largest(9, 3) < largest(17, 9) < largest(41, 25)


def test_pieces_are_where_the_truth_says(training):
    """Where one training image has nearly all of the weight, the generated pixels are its own."""
    made = LocalDenoiser(training, widest=21, narrowest=11).image(3)
    known = np.take_along_axis(training, np.maximum(made.origin, 0)[None], 0)[0].astype(float)
    apart = np.abs(known - made.pixels)[made.origin != NOBODY]
    assert np.median(apart) <= 1
    assert np.mean(apart <= 8) > 0.9
    others = np.abs(training.astype(float) - made.pixels).mean((1, 2))
    assert apart.mean() < 0.5 * others.min()


def test_shares_are_of_the_body_and_air_counts_for_nobody():
    pixels = np.full((10, 10), 200, dtype=np.uint8)
    pixels[:5] = 0
    origin = np.full((10, 10), 4)
    origin[5:7] = 2
    origin[7, :5] = NOBODY
    made = GeneratedImage(pixels, origin)
    assert made.sources() == (Source(4, 0.5), Source(2, 0.4))
    assert [each.training for each in made.sources(least=0.45)] == [4]
    assert GeneratedImage(np.zeros_like(pixels), origin).sources() == ()


def test_an_image_follows_from_its_seed_in_any_process(training, tmp_path):
    first = LocalDenoiser(training).image(1, 2)
    np.testing.assert_array_equal(LocalDenoiser(training).image(1, 2).pixels, first.pixels)
    assert (LocalDenoiser(training).image(1, 3).pixels != first.pixels).any()
    np.save(tmp_path / "training.npy", training)
    program = (
        "import sys, numpy; from provenance.phantoms import LocalDenoiser; "
        "sys.stdout.buffer.write(LocalDenoiser(numpy.load(sys.argv[1])).image(1, 2).pixels.tobytes())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "training.npy")]
    other = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert other.stdout == first.pixels.tobytes()
