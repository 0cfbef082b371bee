"""A TorchScript file as an engine: a program, so it runs in an interpreter of its own that can be ended.

That keeps a loop without end, a crash or a flood of memory out of the process that holds the catalog and the index; it
is no cage: the program has its user's rights. Only arrays and text come back from it, never a pickle.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from multiprocessing import Pipe
from typing import TYPE_CHECKING

import numpy as np

from provenance.embedding.inference import Engine
from provenance.errors import EmbeddingError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from provenance.arrays import Float32s, Uint8s
    from provenance.embedding.parts import PartSpec

LOAD_SECONDS = 300.0
BATCH_SECONDS = 600.0
_MOST_BYTES = 2**31
_GOOD, _BAD = b"+", b"-"
_BOOTSTRAP = (
    "import sys; from multiprocessing.connection import Connection; "
    "c = Connection(int(sys.argv[1])); sys.path[:] = c.recv(); "
    "from provenance.embedding.script_engine import serve; serve(c)"
)


def open_file(path: Path, parts: PartSpec | None, *, device: str, threads: int | None) -> Engine:
    """A TorchScript file; ``parts``: what of its output becomes a part. ``EmbeddingError`` if it is none."""
    return ScriptEngine(path, parts, device=device, threads=threads)


class ScriptEngine(Engine):
    """The parent's side: a batch goes out, and its features or the reason why there are none come back in time."""

    def __init__(self, path: Path, parts: PartSpec | None, *, device: str, threads: int | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", _BOOTSTRAP, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        weakref.finalize(self, _end, self._process, self._connection)
        self._connection.send(sys.path)
        self._connection.send((path, parts, device, threads, os.getpid()))
        self.device = self._answer(LOAD_SECONDS).decode()

    def __call__(self, pixels: Uint8s) -> Float32s:
        """Features of one whole batch."""
        with self._lock:
            try:
                self._connection.send(pixels)
            except OSError:
                raise self._died() from None
            features = np.load(io.BytesIO(self._answer(BATCH_SECONDS)), allow_pickle=False)
        return np.asarray(features, dtype=np.float32)

    def _answer(self, seconds: float) -> bytes:
        try:
            if not self._connection.poll(seconds):
                _end(self._process, self._connection)
                raise EmbeddingError(
                    f"the backbone file {self._path} gave no answer for {seconds:.0f} seconds and was ended",
                    hint="does its network come to an end? try a smaller --batch-size",
                )
            reply = self._connection.recv_bytes(_MOST_BYTES)
        except (OSError, EOFError):
            raise self._died() from None
        if reply[:1] != _GOOD:
            message, _, hint = reply[1:].decode("utf-8", "replace").partition("\0")
            raise EmbeddingError(message, hint=hint)
        return reply[1:]

    def _died(self) -> EmbeddingError:
        _end(self._process, self._connection)
        return EmbeddingError(
            f"the backbone file {self._path} ended the process that ran it (exit code {self._process.returncode})",
            hint="out of memory: try a smaller --batch-size; otherwise the network itself crashes",
        )


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    connection.close()
    process.kill()
    process.wait()


def serve(connection: Connection) -> None:
    """The child's side, until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the whole group; the parent alone answers it
    path, parts, device, threads, parent = connection.recv()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    from provenance.embedding.torch_engine import load_script

    try:
        engine = load_script(path, parts, device=device, threads=threads)
        connection.send_bytes(_GOOD + engine.device.encode())
        while True:
            _reply(connection, engine)
    except EmbeddingError as error:
        connection.send_bytes(_refusal(error))
    except (EOFError, OSError):
        return


def _reply(connection: Connection, engine: Engine) -> None:
    pixels = connection.recv()
    try:
        written = io.BytesIO()
        np.save(written, engine(pixels), allow_pickle=False)
    except EmbeddingError as error:
        connection.send_bytes(_refusal(error))
        return
    connection.send_bytes(_GOOD + written.getvalue())


def _refusal(error: EmbeddingError) -> bytes:
    return _BAD + f"{error.message}\0{error.hint}".encode("utf-8", "replace")


def _end_with(parent: int) -> None:
    """A network without an end is ended when nobody waits for it any more."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
