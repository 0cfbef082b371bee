"""Ctrl-C on a terminal while a Qdrant server hangs: the command ends at once, as an interrupted one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.runner import run
from tests.servers.cohorts import BACKBONE, begin, save
from tests.servers.fake import FakeQdrant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# What was begun in the background of a script ignores the interrupt, and so do its children.
_ON_A_TERMINAL = (
    "import fcntl, runpy, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); sys.argv[0] = 'provenance'; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('provenance', run_name='__main__', alter_sys=True)"
)


class Terminal:
    """A command with a terminal of its own, and what it shows."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        command = [sys.executable, "-c", _ON_A_TERMINAL, *arguments]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.shown = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while read := os.read(self._ours, 4096):
                self.shown += read.decode("utf-8", "replace")
        except OSError:
            return

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as running:
        yield running


@pytest.fixture(scope="module", params=["rest", "grpc"])
def workspace(request: pytest.FixtureRequest, server: FakeQdrant, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    url = server.url if request.param == "rest" else server.grpc_url
    made = begin(folder / "workspace", url, index_timeout_seconds=30)
    used, leaky = (str(save(folder / name, seeds)) for name, seeds in (("used", range(8)), ("leaky", range(50, 58))))
    run(made, "ingest", used, "--set", "used", "--membership", "used", "--backbone", BACKBONE)
    run(made, "ingest", leaky, "--release", "leaky", "--generator", "g", "--backbone", BACKBONE)
    return made


def soon(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it comes true within that time."""
    ends = time.monotonic() + seconds
    while not (so := condition()) and time.monotonic() < ends:
        time.sleep(0.02)
    return so


AUDIT = ("audit", "leaky", "--used", "used", "--search")
INGEST = ("ingest", "NEW", "--set", "more", "--membership", "used", "--backbone", BACKBONE)


@pytest.mark.parametrize(
    ("hanging", "command", "is_said"),
    [
        (None, ("reconcile",), True),
        ("query", (*AUDIT, "server"), False),
        ("upsert", INGEST, False),
        ("upsert", INGEST, True),
    ],
)
def test_it_ends_at_once(
    server: FakeQdrant, workspace: Path, hanging: str | None, command: tuple[str, ...], is_said: bool, tmp_path: Path
) -> None:
    """As soon as it is asked, or after it said that it waits; nothing of the request's 30 s."""
    new = str(save(tmp_path / "new", range(80, 84)))
    server.requests.clear()
    server.hang(request=hanging)
    terminal = Terminal("-w", str(workspace), *(new if word == "NEW" else word for word in command))
    try:
        assert soon(lambda: any(hanging in {None, asked.name} for asked in list(server.requests))), terminal.shown
        assert not is_said or soon(lambda: "waiting for the vector index at" in terminal.shown), terminal.shown
        started = time.monotonic()
        terminal.type(b"\x03")
        code = terminal.process.wait(20)
        took = time.monotonic() - started
        assert code == 130, terminal.shown
        assert took < 5, terminal.shown  # 1 s on a machine that does nothing else
        assert "Traceback" not in terminal.shown
        assert command != INGEST or "interrupted: what was acknowledged is kept" in terminal.shown
    finally:
        terminal.close()
        server.resume()
