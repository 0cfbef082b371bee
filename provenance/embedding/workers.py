"""Worker processes that run one function on one item after another.

A worker is a plain child interpreter that speaks pickles over its standard streams. It does not import the
caller's ``__main__`` again (so scripts need no guard), inherits no locks, sockets or threads, ends when its parent
does, and because exactly one item is with it at any time, a worker that dies names the item that killed it.

This module is imported by the workers: nothing heavy may be imported here.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from provenance.errors import EmbeddingError

if TYPE_CHECKING:
    from collections.abc import Callable

# Workers give way to inference: on a machine with few cores the forward pass sets the pace.
WORKER_NICENESS = 10
_END_TIMEOUT_SECONDS = 5.0
# The interrupt key reaches the whole process group; the parent alone answers it and ends the workers.
# An image's buffers are larger than malloc's default thresholds: handing each back to the system and fetching it
# again cost about a quarter of the time of preparing a small JPEG. glibc reads these when a process starts.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "100000000", "MALLOC_MMAP_THRESHOLD_": "100000000"}
_BOOTSTRAP = (
    "import signal, sys, pickle; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from provenance.embedding.workers import serve; serve()"
)


class Worker:
    """The parent's end of one worker process.

    Args:
        function: What it runs; pickled, so it must be importable.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        greeting = pickle.dumps(sys.path) + _framed(function)
        command = [sys.executable, "-P", "-c", _BOOTSTRAP]
        try:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**_ALLOCATOR, **os.environ},
                process_group=0,  # the interrupt key must not end a worker that has not come to ignore it yet
            )
        except OSError as error:
            raise EmbeddingError(f"a worker process can't be started: {error}", hint="use fewer workers") from error
        self._requests = cast("BinaryIO", self._process.stdin)
        self._replies = cast("BinaryIO", self._process.stdout)
        self._greeting = greeting

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def call(self, item: Any) -> Any:
        """Runs the function on one item in the worker and waits for the result.

        Raises:
            EmbeddingError: If the worker ends before it answers; the message names the item.
            Exception: What the function raised.
        """
        request = self._greeting + _framed(item)
        self._greeting = b""
        try:
            self._requests.write(request)
            self._requests.flush()
            done, value = pickle.load(self._replies)  # noqa: S301 - from our own child
        except (EOFError, OSError, pickle.UnpicklingError, ValueError) as error:
            raise self._died(item) from error
        if not done:
            raise value
        return value

    def end(self) -> None:
        """Ends the process, whatever it is doing. Workers only read, so nothing is left half-done."""
        self._process.terminate()
        self._exit_code()

    def close(self) -> None:
        """Closes the streams of an ended process."""
        for stream in (self._requests, self._replies):
            try:
                stream.close()
            except OSError:  # what was still buffered for a process that is gone
                continue

    def _exit_code(self) -> int:
        try:
            return self._process.wait(_END_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(_END_TIMEOUT_SECONDS)

    def _died(self, item: Any) -> EmbeddingError:
        code = self._exit_code()
        cause = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with code {code}"
        return EmbeddingError(
            f"a worker process {cause} while it prepared {describe(item)}",
            hint="run it again: what is done is kept. If it ends at the same image again, that image breaks the "
            "decoder: take it out and report it. If memory ran short, use fewer workers",
        )


def serve() -> None:
    """The worker's loop: greeting (the function), then item after item, until the parent closes the stream."""
    requests = sys.stdin.buffer
    # Whatever prints in a worker must not get between the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(WORKER_NICENESS)
    function = _received_function(requests)
    while True:
        try:
            request = pickle.load(requests)  # noqa: S301 - from our own parent
        except EOFError:
            return
        replies.write(_reply(function, request))
        replies.flush()


def describe(item: Any) -> str:
    """An item's name if it has one, else its short representation."""
    name = getattr(item, "name", None)
    return name if isinstance(name, str) else repr(item)[:200]


def signal_name(number: int) -> str:
    """Such as ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _received_function(requests: BinaryIO) -> Callable[[Any], Any]:
    """The function, or one that fails with the reason why it can't be had here."""
    try:
        return cast("Callable[[Any], Any]", pickle.loads(pickle.load(requests)))  # noqa: S301 - from our own parent
    except (AttributeError, ImportError) as error:
        reason = str(error)

    def fail(_: Any) -> Any:
        raise EmbeddingError(
            f"a worker process can't import the function to run: {reason}",
            hint="define it in a module that can be imported, not in a script; or use workers=0",
        )

    return fail


def _framed(value: Any) -> bytes:
    """A pickle inside a pickle: the frame can always be read, even where the value can't be rebuilt."""
    return pickle.dumps(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL), protocol=pickle.HIGHEST_PROTOCOL)


def _reply(function: Callable[[Any], Any], request: bytes) -> bytes:
    item: Any = "an item that can't be rebuilt"
    try:
        item = pickle.loads(request)  # noqa: S301 - from our own parent
        return pickle.dumps((True, function(item)), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - handed to the parent, which raises it
        error.add_note(f"in a worker process, on {describe(item)}:\n{traceback.format_exc()}")
        try:
            reply = pickle.dumps((False, error))
            pickle.loads(reply)  # noqa: S301 - an exception may be picklable and yet not come back
        except Exception:  # noqa: BLE001 - whatever its class does when it is rebuilt
            return pickle.dumps((False, EmbeddingError(f"preparing {describe(item)} failed: {error!r}")))
        return reply
