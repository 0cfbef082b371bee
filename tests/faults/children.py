"""Child processes that run the real command line and may be killed at any moment.

One process imports everything once and forks a child for each command, so that a child is at work within
milliseconds. A child is a process of its own: what SIGKILL does to it, it does to `provenance` in a shell.
Run as a script, this file is that process; imported, it is the way to talk to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.005
_PRELOADED = (
    "provenance.cli.main",
    "provenance.installation",
    "provenance.keeping.reconcile",
    "provenance.audit",
    "provenance.audit.rules.calibrated",
    "provenance.audit.rules.mu_alpha_sigma",
    "provenance.documents.registry",
    "provenance.service",
    "provenance.service.auditing",
    "provenance.ingest",
    "provenance.lookup",
    "provenance.keeping.removal",
    "provenance.exports",
    "provenance.embedding.backbones",
    "provenance.embedding.executor",
    "provenance.index.edge",
    "alembic.command",
    "qdrant_edge",
    "sqlalchemy.dialects.sqlite",
    "PIL.PngImagePlugin",
    "rich.table",
    "rich.progress",
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: exit code (minus the signal's number where it was killed) and what it printed."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass(slots=True)
class Child:
    """A command under way."""

    pid: int
    output: Path
    _ask: Callable[[dict[str, Any]], dict[str, Any]]
    _code: int | None = None

    def code(self) -> int | None:
        """The exit code; ``None`` while it runs."""
        if self._code is None:
            self._code = self._ask({"poll": self.pid})["code"]
        return self._code

    def kill(self) -> None:
        if self.code() is None:  # not yet waited for: the number is still its own
            os.kill(self.pid, signal.SIGKILL)

    def interrupt(self) -> None:
        if self.code() is None:
            os.kill(self.pid, signal.SIGINT)

    def ended(self) -> Ended:
        """Waits for the end."""
        code = until(self.code, "the end of a command")
        read = [Path(f"{self.output}.{name}").read_text() for name in ("out", "err")]
        return Ended(code, *read)


class Children:
    """Starts commands; ``folder`` takes their output."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Child] = []
        # Threads do not survive a fork: no library may start one when it is imported.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__]
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env=environment)

    def start(self, *arguments: str | Path, **how: Any) -> Child:
        """Starts ``provenance ARGUMENTS``.

        ``how``: ``environment`` (variables), ``dies_at`` (see ``_arm``), ``without_privilege`` (file permissions hold
        for root too).
        """
        output = self._folder / f"command-{len(self._started):04d}"
        request = {"arguments": [str(each) for each in arguments], "output": str(output), **how}
        child = Child(self._ask(request)["pid"], output, self._ask)
        self._started.append(child)
        return child

    def run(self, *arguments: str | Path, **how: Any) -> Ended:
        """Runs ``provenance ARGUMENTS`` to its end."""
        return self.start(*arguments, **how).ended()

    def close(self) -> None:
        for child in self._started:
            child.kill()
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(DEADLINE_SECONDS)
        self._server.stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer


def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """Asks until the answer is not ``None`` or ``False``, and gives it; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while (answer := condition()) is None or answer is False:
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(POLL_SECONDS)
    return answer


def _serve() -> dict[str, Any] | None:
    """Forks a child a request. Gives the request in the child, and ``None`` when there are no more."""
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer = {"code": _exit_code(request["poll"])}
        else:
            pid = os.fork()
            if pid == 0:
                return request
            answer = {"pid": pid}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return None


def _exit_code(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _become(request: dict[str, Any]) -> None:
    """Turns the forked child into the process of a command."""
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(f"{request['output']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.environ.update(request.get("environment", {}))
    sys.argv = ["provenance", *request["arguments"]]
    if request.get("without_privilege"):
        _drop_privilege()
    if place := request.get("dies_at"):
        _arm(place)
    if call := request.get("before_call"):  # by the library of benchmarks/kills.py: kind and number of the call
        ctypes.CDLL(None).provenance_arm(*map(int, call.split(":")))


def _drop_privilege() -> None:
    """Root without CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER obeys file permissions like anybody."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for number in range(3):
        sets[number] &= ~0b1110
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def _arm(place: str) -> None:
    """Arms ``module:Class.method:N:before|after``: SIGKILL at the N-th call of the method, before or after it works."""
    module, path, number, moment = place.split(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    original = getattr(owner, name)
    calls = 0

    @functools.wraps(original)
    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == int(number) and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def _script(arguments: Sequence[str]) -> None:
    assert not arguments
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # what is shared with the children is not copied for the sake of counting it
    request = _serve()
    if request is None:
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        return
    _become(request)
    from provenance.cli.main import main

    main()


if __name__ == "__main__":
    _script(sys.argv[1:])
