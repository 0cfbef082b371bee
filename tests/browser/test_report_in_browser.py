"""The report in a headless Chromium: it shows something, in light and dark, and asks the network for nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from provenance import AuditRequest, IngestRequest, Workspace, run_audit, run_ingest
from provenance.exports.report import write_report
from provenance.records import Generator
from provenance.vocabulary import DatasetKind, Membership
from tests.e2e.conftest import make_workspace, save_pictures, tiny_backbone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["make_workspace", "tiny_backbone"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--proxy-server=http://127.0.0.1:9",  # the discard port: nobody listens there
)
DARK = "--blink-settings=preferredColorScheme=0"
EVIL = "<script>document.title='harm'<"


@pytest.fixture(scope="session")
def browser() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        assert not os.environ.get("CI"), "CI must have a browser (scripts/ensure-chromium)"
        pytest.skip("no Chromium or Chrome")
    return found


def run_browser(browser: str, page: Path, folder: Path, *flags: str) -> tuple[str, list[str]]:
    """What the browser prints, and the addresses that the page asked the network for.

    Nothing leaves the machine: the proxy is one that nobody runs. What the browser asks for on its own account
    (updates, the time) has no origin in its log, and is left out.
    """
    log = folder / "net.json"
    log.unlink(missing_ok=True)
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", *flags]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    events = read_log(log)
    asked = [e["params"] for e in events if "url" in e.get("params", {}) and "initiator" in e["params"]]
    return done.stdout, [p["url"] for p in asked if p["initiator"] != "not an origin" and remote(p["url"])]


def read_log(log: Path) -> list[dict[str, Any]]:
    """The events of the browser's network log; its end is missing where the browser was quick to leave."""
    text = log.read_text("utf-8").strip()
    try:
        return list(json.loads(text)["events"])
    except json.JSONDecodeError:
        return list(json.loads(text.rstrip(",") + "]}")["events"])


def remote(url: str) -> bool:
    return not url.startswith(("data:", "file:", "about:", "chrome:"))


@pytest.fixture
def page(make_workspace: Callable[..., Workspace], tmp_path: Path) -> Path:
    workspace = make_workspace()
    real, fake = tmp_path / "real", tmp_path / "fake"
    for folder, seeds in ((real, range(8)), (fake, range(4, 12))):
        save_pictures(folder / EVIL, seeds, "script>")
    backbone = workspace.load_backbone()
    name = "<script>document.title='harm'</script>"
    run_ingest(workspace, IngestRequest((real,), name, DatasetKind.SET, Membership.USED), backbone)
    release = IngestRequest((fake,), name + "2", DatasetKind.RELEASE, generator=Generator(name))
    run_ingest(workspace, release, backbone)
    audit = run_audit(workspace, AuditRequest(name + "2", used=(name,))).audit
    return write_report(workspace, audit, tmp_path / "report.html").path


def pixels(file: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def test_it_shows_something_and_asks_for_nothing(browser: str, page: Path, tmp_path: Path) -> None:
    backgrounds = []
    for scheme in ((), (DARK,)):
        shot = tmp_path / f"shot{len(scheme)}.png"
        _, asked = run_browser(browser, page, tmp_path, f"--screenshot={shot}", "--window-size=1280,2400", *scheme)
        assert asked == []
        seen = pixels(shot)
        assert seen.shape == (2400, 1280, 3)
        backgrounds.append(int(seen[5, 5].mean()))
        differing = (np.abs(seen.astype(int) - seen[5, 5].astype(int)).max(axis=2) > 24).mean(axis=1)
        assert (differing > 0).mean() > 0.3, "text, figure and pictures fill the page"
        assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 500
    assert backgrounds[0] > 240
    assert backgrounds[1] < 40


SEEN = """
const wide = window.innerWidth, seen = e => e.getClientRects().length > 0;
const beyond = [...document.querySelectorAll("svg.figure, table, img")].filter(seen)
  .filter(e => e.getBoundingClientRect().right > wide + 1).length;
const figures = [...document.querySelectorAll("svg.figure")].filter(seen).length;
const blank = [...document.querySelectorAll("tr, dl.tiles > div")].filter(seen)
  .filter(e => !e.textContent.trim() || e.getBoundingClientRect().height > 400).length;
document.title = [document.documentElement.scrollWidth - wide, beyond, blank, figures].join(" ");
"""


@pytest.mark.parametrize("width", [400, 1200])
def test_any_window_shows_whole_figures_and_no_blank_rows(browser: str, page: Path, tmp_path: Path, width: int) -> None:
    probe = page.read_text("utf-8").replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    (tmp_path / "probe.html").write_text(probe.replace("</html>", f"<script>{SEEN}</script></html>"), "utf-8")
    dom, _ = run_browser(browser, tmp_path / "probe.html", tmp_path, "--dump-dom", f"--window-size={width},900")
    assert "<title>0 0 0 1</title>" in dom, dom[dom.index("<title>") :][:60]


def test_markup_in_names_stays_text(browser: str, page: Path, tmp_path: Path) -> None:
    dom, asked = run_browser(browser, page, tmp_path, "--dump-dom")
    assert "<title>Audit of &lt;script&gt;" in dom
    assert "<script" not in dom
    assert asked == []


def test_a_request_would_be_heard(browser: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text('<!DOCTYPE html><title>x</title><img src="http://leak.example/pixel.png">', "utf-8")
    _, asked = run_browser(browser, bad, tmp_path, "--dump-dom")
    assert asked == ["http://leak.example/pixel.png"]
