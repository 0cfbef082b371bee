"""Decode, inference and the consumer's writing at the same time, in order, with bounded memory.

    for batch in embed_stream(prepared_stream(items, prepare, workers=2), backbone, wanted=is_new):
        for prepared, vector in batch: ...

Worker processes prepare items ahead; one thread runs the forward pass a batch ahead; the caller's thread writes.
This module imports no model library.
"""

from __future__ import annotations

import queue
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from provenance.embedding.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

T = TypeVar("T")
P = TypeVar("P")

LOOK_AHEAD = 64
# Batches handed to inference before the oldest is given out: one runs, one waits for it to be done.
_BATCHES_AHEAD = 2
# Items that need no vector travel with the batches; so many of them go on without waiting for a full one.
_MOST_PASSING_BY = 1024


class Embedder(Protocol):
    """What ``embed_stream`` needs of a backbone."""

    @property
    def batch_size(self) -> int:
        """The most images that ``embed`` takes at once."""

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (n, size, size, 3) -> float32 (n, parts, dimension)."""


def prepared_stream(
    items: Iterable[T], prepare: Callable[[T], P], *, workers: int, look_ahead: int = LOOK_AHEAD
) -> Iterator[P]:
    """Runs ``prepare`` on every item in worker processes; results come in the order of the items.

    Args:
        items: Read lazily, in the caller's thread, never more than ``look_ahead`` ahead of the results.
        prepare: An importable function (or a ``functools.partial`` of one) that is pickled to the workers.
        workers: Number of processes; 0 runs ``prepare`` in the caller's thread.
        look_ahead: Items that may be under way or waiting to be taken.

    Yields:
        One result an item.

    Raises:
        EmbeddingError: If a worker process dies; the message names the item it had.
        Exception: What ``prepare`` raised, as it would inline.
    """
    if workers <= 0:
        yield from map(prepare, items)
        return
    staff: list[Worker] = []
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()

    def run(item: T) -> P:
        worker = idle.get()
        try:
            result: P = worker.call(item)
        finally:
            idle.put(worker)
        return result

    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    waiting: deque[Future[P]] = deque()
    try:
        for item in items:
            while len(staff) < workers:  # where nothing is to be done, nobody is called
                staff.append(Worker(prepare))
                idle.put(staff[-1])
            waiting.append(pool.submit(run, item))
            if len(waiting) >= look_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in staff:
            worker.end()
        pool.shutdown(wait=True)
        for worker in staff:
            worker.close()


def embed_stream(
    prepared: Iterable[P], backbone: Embedder, *, wanted: Callable[[P], bool]
) -> Iterator[list[tuple[P, NDArray[np.float32] | None]]]:
    """Embeds what is wanted of a stream; every input comes out exactly once, in order.

    Args:
        prepared: Images (objects with ``.pixels``, uint8 (size, size, 3)) and other things (rejections).
        backbone: Gives the vectors; runs in a thread of its own.
        wanted: Asked once for every image, in order: does it need a vector?

    Yields:
        Lists of (input, vector) with up to ``backbone.batch_size`` vectors each. A vector is float32
        (parts, dimension); all NaN where the network gave no usable feature: such an image is to be rejected.
        ``None`` for what is no image or not wanted.

    Raises:
        EmbeddingError: If the backbone fails.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="embed")
    running: deque[Future[list[tuple[P, NDArray[np.float32] | None]]]] = deque()
    try:
        for batch in _batches(prepared, backbone.batch_size, wanted):
            running.append(pool.submit(_embedded, batch, backbone))
            if len(running) > _BATCHES_AHEAD:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        close = getattr(prepared, "close", None)
        if close is not None:
            close()


def _batches(
    prepared: Iterable[P], batch_size: int, wanted: Callable[[P], bool]
) -> Iterator[list[tuple[P, NDArray[np.uint8] | None]]]:
    """Cuts the stream so that a batch is complete with its last wanted image."""
    batch: list[tuple[P, NDArray[np.uint8] | None]] = []
    images = 0
    for each in prepared:
        pixels = getattr(each, "pixels", None)
        if pixels is not None and not wanted(each):
            pixels = None
        batch.append((each, pixels))
        images += pixels is not None
        if images == batch_size or len(batch) - images >= _MOST_PASSING_BY:
            yield batch
            batch, images = [], 0
    if batch:
        yield batch


def _embedded(
    batch: list[tuple[P, NDArray[np.uint8] | None]], backbone: Embedder
) -> list[tuple[P, NDArray[np.float32] | None]]:
    pixels = [image for _, image in batch if image is not None]
    vectors = iter(backbone.embed(np.stack(pixels)) if pixels else ())
    return [(each, None if image is None else next(vectors)) for each, image in batch]
