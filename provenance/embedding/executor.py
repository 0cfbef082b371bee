"""What is slow of an ingest, run ahead of its writer: decoding item by item, inference batch by batch.

    executor = Processes(workers=2)
    prepared = executor.prepared(items, prepare)
    for batch in executor.embedded(prepared, backbone, pixels_of):
        for each, vector in batch: ...

Everything comes out in order, and memory is bounded. With ``Processes``, worker processes prepare items ahead, one
thread runs the forward pass a batch ahead, and the caller's thread writes. Another executor (a cluster's) is another
class with the same methods, made by ``Installation.executor``.

A worker is a plain child interpreter that speaks pickles over its standard streams. It does not import the
caller's ``__main__`` again (so scripts need no guard), inherits no locks, sockets or threads, ends when its parent
does, and because exactly one item is with it at any time, a worker that dies names the item that killed it. It is
replaced, and the run goes on, where the caller says what stands for such an item.

This module is imported by the workers: nothing heavy may be imported here.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Protocol, TypeAlias, TypeVar, cast

import numpy as np

from provenance.errors import EmbeddingError
from provenance.limits import NO_LIMITS, Limits, begin_step, hold_to, is_spent
from provenance.vocabulary import RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from provenance.arrays import Float32s, Uint8s
    from provenance.embedding.inference import Backbone

T = TypeVar("T")
P = TypeVar("P")
Failed: TypeAlias = "Callable[[T, RejectReason, str], P]"

LOOK_AHEAD = 64
# Batches handed to inference before the oldest is given out: one runs, one waits for it to be done.
_BATCHES_AHEAD = 2
# Parts of one item's answer that wait to be taken: a file gives as many as it has frames.
_MOST_PARTS = 4
_NO_MEMORY = "it does not fit into the memory of a worker"
# Items that need no vector travel with the batches; so many of them go on without waiting for a full one.
_MOST_PASSING_BY = 1024
# Workers give way to inference: on a machine with few cores the forward pass sets the pace.
WORKER_NICENESS = 10
_END_TIMEOUT_SECONDS = 5.0
# What a worker answers: a result; or parts and their end; or what was raised.
_RESULT, _PART, _END, _RAISED = "result", "part", "end", "raised"
_LIMITS_TOLD: dict[int, str] = {
    signal.SIGKILL: "as the system does where memory runs short",
    signal.SIGXCPU: "it took more computing time than a worker has",
}
# The interrupt key reaches the whole process group; the parent alone answers it and ends the workers.
# An image's buffers are larger than malloc's default thresholds: handing each back to the system and fetching it
# again cost about a quarter of the time of preparing a small JPEG. glibc reads these when a process starts.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "100000000", "MALLOC_MMAP_THRESHOLD_": "100000000"}
_BOOTSTRAP = (
    "import signal, sys, pickle; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from provenance.embedding.executor import serve; serve()"
)


class Executor(Protocol):
    """Runs preparing and inference, somewhere."""

    def prepared(
        self,
        items: Iterable[T],
        prepare: Callable[[T], P],
        *,
        failed: Failed[T, P] | None = None,
        look_ahead: int = LOOK_AHEAD,
    ) -> Generator[P, None, None]:
        """Runs ``prepare`` on every item; results come in the order of the items, one each.

        Args:
            items: Read lazily, in the caller's thread, never more than ``look_ahead`` ahead of the results.
            prepare: An importable function (or a ``functools.partial`` of one), which may be pickled.
            failed: Gives what stands for an item that ended its worker, or did not fit into the worker's memory.
            look_ahead: Items that may be under way or waiting to be taken.

        Raises:
            EmbeddingError: If what runs it can't be started; without ``failed`` also if it dies, naming its item.
            Exception: What ``prepare`` raised, as it would inline.
        """

    def streamed(
        self,
        items: Iterable[T],
        prepare: Callable[[T], Iterator[P]],
        *,
        failed: Failed[T, P],
        is_last: Callable[[T, P], bool] = lambda *_: False,
        look_ahead: int = LOOK_AHEAD,
    ) -> Generator[P, None, None]:
        """As ``prepared``, for what gives several results an item, one after another: no more than a few are held.

        A worker that ends behind the last result of its item (``is_last``) had no more to give.
        """

    def embedded(
        self, stream: Iterable[P], backbone: Backbone, pixels_of: Callable[[P], Uint8s | None]
    ) -> Generator[list[tuple[P, Float32s | None]], None, None]:
        """Embeds what needs it of a stream; every input comes out exactly once, in order.

        Args:
            stream: Images and other things (rejections); closed at the end, where it can be.
            backbone: Gives the vectors.
            pixels_of: Asked once for every input, in order: uint8 (size, size, 3), or ``None``: it needs no vector.

        Yields:
            Lists of (input, vector) with up to ``backbone.batch_size`` vectors each. A vector is float32
            (parts, dimension); all NaN where the network gave no usable feature: such an image is to be rejected.

        Raises:
            EmbeddingError: If the backbone fails.
        """


@dataclass(frozen=True, slots=True)
class Processes:
    """The executor of one machine: so many workers prepare; 0: the caller's thread does, which has no limits."""

    workers: int
    limits: Limits = NO_LIMITS

    def prepared(
        self,
        items: Iterable[T],
        prepare: Callable[[T], P],
        *,
        failed: Failed[T, P] | None = None,
        look_ahead: int = LOOK_AHEAD,
    ) -> Generator[P, None, None]:
        """See ``Executor``."""
        if self.workers <= 0:
            yield from map(prepare, items)
            return
        staff = _Staff(prepare, self.limits if failed else NO_LIMITS)
        run = staff.call if failed is None else partial(_answered_for, staff, failed=failed)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="prepare")
        waiting: deque[Future[Any]] = deque()
        try:
            for item in items:
                staff.hire_up_to(self.workers)
                waiting.append(pool.submit(run, item))
                if len(waiting) >= look_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            staff.end()
            pool.shutdown(wait=True)
            staff.close()

    def streamed(
        self,
        items: Iterable[T],
        prepare: Callable[[T], Iterator[P]],
        *,
        failed: Failed[T, P],
        is_last: Callable[[T, P], bool] = lambda *_: False,
        look_ahead: int = LOOK_AHEAD,
    ) -> Generator[P, None, None]:
        """See ``Executor``."""
        if self.workers <= 0:
            for item in items:
                yield from prepare(item)
            return
        staff = _Staff(prepare, self.limits)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="prepare")
        waiting: deque[_Answer[P]] = deque()
        try:
            for item in items:
                staff.hire_up_to(self.workers)
                waiting.append(_Answer())
                pool.submit(_stream, staff, item, waiting[-1], failed, is_last)
                if len(waiting) >= look_ahead:
                    yield from waiting[0]
                    waiting.popleft()
            while waiting:
                yield from waiting[0]
                waiting.popleft()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            staff.end()
            for answer in waiting:
                answer.close()
            pool.shutdown(wait=True)
            staff.close()

    def embedded(
        self, stream: Iterable[P], backbone: Backbone, pixels_of: Callable[[P], Uint8s | None]
    ) -> Generator[list[tuple[P, Float32s | None]], None, None]:
        """See ``Executor``; the backbone runs in a thread of its own."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="embed")
        running: deque[Future[list[tuple[P, Float32s | None]]]] = deque()
        try:
            for batch in _batches(stream, backbone.batch_size, pixels_of):
                running.append(pool.submit(_embedded, batch, backbone))
                if len(running) > _BATCHES_AHEAD:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(stream, Generator):
                stream.close()


def _batches(
    stream: Iterable[P], batch_size: int, pixels_of: Callable[[P], Uint8s | None]
) -> Iterator[list[tuple[P, Uint8s | None]]]:
    """Cuts the stream so that a batch is complete with the last image that needs a vector."""
    batch: list[tuple[P, Uint8s | None]] = []
    images = 0
    for each in stream:
        pixels = pixels_of(each)
        batch.append((each, pixels))
        images += pixels is not None
        if images == batch_size or len(batch) - images >= _MOST_PASSING_BY:
            yield batch
            batch, images = [], 0
    if batch:
        yield batch


def _embedded(batch: list[tuple[P, Uint8s | None]], backbone: Backbone) -> list[tuple[P, Float32s | None]]:
    pixels = [image for _, image in batch if image is not None]
    vectors = iter(backbone.embed(np.stack(pixels)) if pixels else ())
    return [(each, None if image is None else next(vectors)) for each, image in batch]


class WorkerDeathError(EmbeddingError):
    """A worker ended before it answered, on account of its item or of the machine.

    Attributes:
        cause: How it ended, for the item that is rejected for it ...
        reason: ... and what that is called.
    """

    def __init__(self, code: int, item: Any) -> None:
        ended = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with code {code}"
        super().__init__(
            f"a worker process {ended} while it prepared {describe(item)}",
            hint="run it again: what is done is kept. If it ends at the same image again, that image breaks the "
            "decoder: take it out and report it. If memory ran short, use fewer workers",
        )
        told = _LIMITS_TOLD.get(-code)
        self.cause = f"the process that read it {ended}" + (f": {told}" if told else "")
        self.reason = RejectReason.OVERSIZED if told else RejectReason.BROKEN


def _answered_for(staff: _Staff, item: T, *, failed: Failed[T, P]) -> P:
    try:
        return cast("P", staff.call(item))
    except WorkerDeathError as death:
        return failed(item, death.reason, death.cause)
    except MemoryError:
        return failed(item, RejectReason.OVERSIZED, _NO_MEMORY)


def _stream(staff: _Staff, item: T, answer: _Answer[P], failed: Failed[T, P], is_last: Callable[[T, P], bool]) -> None:
    is_whole = False

    def take(part: P) -> None:
        nonlocal is_whole
        is_whole = is_last(item, part)
        answer.put(part)

    try:
        staff.stream(item, take)
    except WorkerDeathError as death:
        if not is_whole:
            answer.put(failed(item, death.reason, death.cause))
    except MemoryError:
        if not is_whole:
            answer.put(failed(item, RejectReason.OVERSIZED, _NO_MEMORY))
    except BaseException as error:  # noqa: BLE001 - raised where the answer is taken
        answer.end(error)
        return
    answer.end()


class _Answer(Generic[P]):
    """What one item gives, part by part, from the thread that makes it to the one that takes it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._parts: deque[P] = deque()
        self._error: BaseException | None = None
        self._is_whole, self._is_wanted = False, True

    def put(self, part: P) -> None:
        """One more; waits while enough of them wait to be taken."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_wanted or len(self._parts) < _MOST_PARTS)
            self._parts.append(part)
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """No more come, or what is raised behind the last."""
        with self._changed:
            self._error, self._is_whole = error, True
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody takes any."""
        with self._changed:
            self._is_wanted = False
            self._changed.notify_all()

    def __iter__(self) -> Iterator[P]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._parts or self._is_whole)
                if not self._parts:
                    break
                part = self._parts.popleft()
                self._changed.notify_all()
            yield part
        if self._error is not None:
            raise self._error


class _Staff:
    """The workers of one stream; one that died is replaced by the next item that wants one."""

    def __init__(self, function: Callable[[Any], Any], limits: Limits) -> None:
        self._function = function
        self._limits = limits
        self._hired: list[Worker] = []
        self._idle: queue.SimpleQueue[Worker | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False

    def hire_up_to(self, workers: int) -> None:
        """So many workers: where nothing is to be done, nobody is called."""
        while len(self._hired) < workers:
            self._idle.put(self._started())

    def call(self, item: Any) -> Any:
        """Has an idle worker run the function; ``WorkerDeathError`` if that ends it."""
        with self._idle_worker() as worker:
            return worker.call(item)

    def stream(self, item: Any, take: Callable[[Any], None]) -> None:
        """As ``call``, and hands over each part of the answer as it comes."""
        with self._idle_worker() as worker:
            for part in worker.parts(item):
                take(part)

    @contextmanager
    def _idle_worker(self) -> Iterator[Worker]:
        worker = self._idle.get()
        try:
            worker = worker or self._started()
            yield worker
        except WorkerDeathError:
            worker = None
            raise
        finally:
            if worker is not None and worker.is_spent:
                worker.end()
                worker = None
            self._idle.put(worker)

    def end(self) -> None:
        """Ends them all, whatever they are doing, and lets nobody start another."""
        with self._lock:
            self._is_closed = True
        for worker in self._hired:
            worker.end()

    def close(self) -> None:
        """Closes the streams of ended processes."""
        for worker in self._hired:
            worker.close()

    def _started(self) -> Worker:
        with self._lock:
            if self._is_closed:
                raise EmbeddingError("no worker is started any more")
            worker = Worker(self._function, self._limits)
            self._hired = [each for each in self._hired if not each.is_gone()] + [worker]
        return worker


class Worker:
    """The parent's end of one worker process, which runs one function: pickled, so it must be importable.

    Attributes:
        is_spent: Whether it holds so much memory after its last item that another one should take its place.
    """

    is_spent: bool = False

    def __init__(self, function: Callable[[Any], Any], limits: Limits | None = None) -> None:
        self._greeting = pickle.dumps(sys.path) + _framed(function) + _framed(limits or NO_LIMITS)
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", _BOOTSTRAP],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**_ALLOCATOR, **os.environ},
                process_group=0,  # the interrupt key must not end a worker that has not come to ignore it yet
            )
        except OSError as error:
            raise EmbeddingError(f"a worker process can't be started: {error}", hint="use fewer workers") from error
        self._requests = cast("BinaryIO", self._process.stdin)
        self._replies = cast("BinaryIO", self._process.stdout)

    def call(self, item: Any) -> Any:
        """Runs the function on one item in the worker and waits for the result.

        Raises:
            WorkerDeathError: If the worker ends before it answers; the message names the item.
            EmbeddingError: If it ended before it was ready for any.
            Exception: What the function raised.
        """
        return next(iter(deque(self.parts(item), maxlen=1)), None)

    def parts(self, item: Any) -> Iterator[Any]:
        """As ``call``; what the function yields, one after another, where it is an iterator that it returns."""
        if self._greeting:
            self._exchanged(self._greeting, _not_started)
            self._greeting = b""
        died = partial(WorkerDeathError, item=item)
        word, value = self._exchanged(_framed(item), died)
        while word == _PART:
            yield value
            word, value = self._exchanged(b"", died)
        self.is_spent = self._exchanged(b"", died)
        if word == _RAISED:
            raise value
        if word == _RESULT:
            yield value

    def _exchanged(self, request: bytes, died: Callable[[int], EmbeddingError]) -> Any:
        try:
            self._requests.write(request)
            self._requests.flush()
            return pickle.load(self._replies)  # noqa: S301 - from our own child
        except (EOFError, OSError, pickle.UnpicklingError, ValueError) as error:
            raise died(self._exit_code()) from error

    def is_gone(self) -> bool:
        """Whether its process has ended; its streams are closed then."""
        gone = self._process.poll() is not None
        if gone:
            self.close()
        return gone

    def end(self) -> None:
        """Ends the process, whatever it is doing. Workers only read, so nothing is left half-done."""
        self._process.terminate()
        self._exit_code()

    def close(self) -> None:
        """Closes the streams of an ended process."""
        for stream in (self._requests, self._replies):
            with suppress(OSError):  # what was still buffered for a process that is gone
                stream.close()

    def _exit_code(self) -> int:
        try:
            return self._process.wait(_END_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(_END_TIMEOUT_SECONDS)


def _not_started(code: int) -> EmbeddingError:
    return EmbeddingError(
        f"a worker process ended as it started, with code {code}",
        hint="check the memory and the limits of this machine, or use fewer workers; 0 does without",
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
    hold_to(pickle.loads(pickle.load(requests)))  # noqa: S301 - from our own parent
    replies.write(pickle.dumps("ready"))
    replies.flush()
    while True:
        try:
            request = pickle.load(requests)  # noqa: S301 - from our own parent
        except EOFError:
            return
        begin_step()
        for reply in _replies(function, request):
            replies.write(reply)
            replies.flush()
        replies.write(pickle.dumps(is_spent()))
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


def _replies(function: Callable[[Any], Any], request: bytes) -> Iterator[bytes]:
    item: Any = "an item that can't be rebuilt"
    try:
        item = pickle.loads(request)  # noqa: S301 - from our own parent
        value = function(item)
        if isinstance(value, Iterator):
            for part in value:
                yield _told(_PART, part)
            yield _told(_END, None)
        else:
            yield _told(_RESULT, value)
    except Exception as error:  # noqa: BLE001 - handed to the parent, which raises it
        error.add_note(f"in a worker process, on {describe(item)}:\n{traceback.format_exc()}")
        yield _told(_RAISED, _as_it_comes_back(error, item))


def _as_it_comes_back(error: Exception, item: Any) -> Exception:
    """The error, or another one in its place where it is not one that can be pickled and rebuilt."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - whatever its class does when it is rebuilt
        return EmbeddingError(f"preparing {describe(item)} failed: {error!r}")
    return error


def _told(word: str, value: Any) -> bytes:
    return pickle.dumps((word, value), protocol=pickle.HIGHEST_PROTOCOL)
