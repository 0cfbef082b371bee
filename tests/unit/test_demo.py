"""The demo's arithmetic against hand-made cases, and what it refuses before it writes anything."""

from fractions import Fraction
from math import comb

import pytest

from provenance import Workspace
from provenance.demo import (
    FRESH,
    DemoRequest,
    Truth,
    choose_backbone,
    compare_with_truth,
    figures_of,
    run_demo,
)
from provenance.documents.demo import KindResult
from provenance.errors import ConflictError, SourceError, UsageError, WeightsError


def kind(name, total, used, source=None):
    return KindResult(name, total, used, source, 0.9)


def coin_share(total, counts):
    return float(Fraction(sum(comb(total, count) for count in counts), 2**total))


def test_figures_by_hand():
    figures = figures_of([kind("exact", 6, 6, 6), kind("blend-0.5", 6, 1, 0), kind(FRESH, 12, 3)])
    assert (figures.total, figures.correct) == (24, 7 + 9)
    assert figures.accuracy == pytest.approx(16 / 24)
    assert figures.precision == pytest.approx(7 / 10)
    assert figures.recall == pytest.approx(7 / 12)
    assert figures.p_value == pytest.approx(coin_share(24, range(16, 25)), abs=1e-12)


@pytest.mark.parametrize("total", [16, 24, 96])
def test_the_chance_band_is_the_smallest_with_at_most_a_fortieth_on_either_side(total):
    figures = figures_of([kind("exact", total // 2, 0, 0), kind(FRESH, total // 2, 0)])
    low, high = round(figures.chance_low * total), round(figures.chance_high * total)
    assert low + high == total
    assert coin_share(total, range(low)) <= 0.025 < coin_share(total, range(low + 1))


def test_no_label_used_has_no_precision():
    figures = figures_of([kind("exact", 4, 0, 4), kind(FRESH, 4, 0)])
    assert figures.precision is None
    assert figures.recall == 0
    assert figures.accuracy == 0.5


def row(image_id, label, nearest, score):
    return {"subject_id": image_id, "label": label, "nearest_id": nearest, "s_used": score}


def test_truth_is_joined_to_verdicts_by_identity():
    truth = [
        Truth("G001.png", "sha256:a", "noisy", "P001-slice1.png", "sha256:p"),
        Truth("G002.png", "sha256:b", "noisy", "P003-slice1.png", "sha256:q"),
        Truth("G003.jpg", "sha256:c", "exact", "P003-slice2.png", "sha256:r"),
        Truth("G004.png", "sha256:d", FRESH, "", ""),
    ]
    rows = [
        row("sha256:d", "used", "sha256:p", 0.7),
        row("sha256:c", "used", "sha256:r", 1.0),
        row("sha256:b", "not_used", "sha256:p", 0.8),
        row("sha256:a", "used", "sha256:p", 0.9),
    ]
    exact, noisy, fresh = compare_with_truth(truth, rows)
    assert (exact.kind, exact.total, exact.labelled_used, exact.source_named) == ("exact", 1, 1, 1)
    assert (noisy.kind, noisy.total, noisy.labelled_used, noisy.source_named) == ("noisy", 2, 1, 1)
    assert noisy.median_score == pytest.approx(0.85)
    assert (fresh.kind, fresh.total, fresh.labelled_used, fresh.source_named) == (FRESH, 1, 1, None)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConflictError, match="is not empty, and no demo made it"):
        run_demo(DemoRequest(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        run_demo(DemoRequest(file))


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(SourceError, match="can't be written"):
        run_demo(DemoRequest(file / "below", backbone="efficientnet-lite0"))


@pytest.mark.parametrize(("patients", "seed"), [(5, 0), (6, -1)])
def test_impossible_numbers_are_refused(tmp_path, patients, seed):
    with pytest.raises(UsageError):
        DemoRequest(tmp_path, patients, seed)


def test_the_offline_backbone_stands_in_and_says_why(tmp_path, without_weights):
    steps: list[str] = []
    backbone, chosen = choose_backbone(Workspace(tmp_path, without_weights()), None, steps.append)
    assert backbone.space.backbone == chosen.name == "efficientnet-lite0"
    assert "resnet50 was the first choice, but the weights resnet50-0676ba61.pth" in chosen.reason
    assert not chosen.is_default
    assert steps == ["looking for the weights of resnet50"]


def test_a_backbone_that_was_asked_for_has_no_stand_in(tmp_path, without_weights):
    with pytest.raises(WeightsError, match=r"resnet50-0676ba61\.pth"):
        choose_backbone(Workspace(tmp_path, without_weights()), "resnet50", lambda _step: None)


def test_a_backbone_of_the_settings_is_taken(tmp_path, without_weights):
    settings = without_weights(backbone="efficientnet-lite0")
    _, chosen = choose_backbone(Workspace(tmp_path, settings), None, lambda _step: None)
    assert (chosen.name, chosen.reason) == ("efficientnet-lite0", "as the settings say")


@pytest.fixture
def without_weights(tmp_path, monkeypatch):
    """Settings on a machine that has no weights of resnet50 and reaches no network, quickly so."""
    from provenance.config import load_settings

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens at the discard port
    for name in ("WEIGHTS", "WEIGHTS_DIR", "BACKBONE", "BACKBONE_FILE"):
        monkeypatch.delenv(f"PROVENANCE_{name}", raising=False)
    return lambda **settings: load_settings(tmp_path / "workspace", **settings)
