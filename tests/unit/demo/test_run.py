"""What the demo refuses before it writes anything, and the backbone that it takes."""

import pytest

from provenance import Workspace
from provenance.demo import DemoRequest, run_demo
from provenance.demo import run as demo_run
from provenance.demo.run import choose_backbone
from provenance.errors import ConflictError, EmbeddingError, SourceError, UsageError, WeightsError


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


@pytest.mark.parametrize(("patients", "seed"), [(19, 0), (20, -1)])
def test_impossible_numbers_are_refused(tmp_path, patients, seed):
    with pytest.raises(UsageError):
        DemoRequest(tmp_path, patients, seed)


def test_nothing_is_downloaded_where_weights_come_as_a_package(tmp_path, without_weights):
    steps: list[str] = []
    backbone, chosen = choose_backbone(Workspace(tmp_path, without_weights()), None, steps.append)
    assert backbone.space.backbone == chosen.name == "efficientnet-lite0"
    assert "nothing is downloaded" in chosen.reason
    assert not chosen.is_default
    assert steps == []


def test_without_that_package_it_is_the_default_one(tmp_path, without_weights, monkeypatch):
    def chosen_backbone(_workspace, _on_step=None, *, backbone=None):
        if backbone is not None:
            raise EmbeddingError("the package is not installed")
        return "the default"

    monkeypatch.setattr(demo_run, "chosen_backbone", chosen_backbone)
    backbone, chosen = choose_backbone(Workspace(tmp_path, without_weights()), None, lambda _step: None)
    assert str(backbone) == "the default"
    assert (chosen.name, chosen.is_default) == ("resnet50", True)
    assert "the package is not installed" in chosen.reason


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
