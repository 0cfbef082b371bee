"""Requests under way at once: an engine that is asked over a network works on the next while one is waited for."""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from multiprocessing.pool import AsyncResult

Asked = TypeVar("Asked")
Given = TypeVar("Given")


def ahead(ask: Callable[[Asked], Given], each: Iterable[Asked], in_flight: int) -> Generator[Given]:
    """What ``ask`` gives for each, in order; as many are asked by threads at once, and no more wait to be taken.

    The first failure is raised in its turn, and nothing more is asked. Threads that hang are not waited for.
    """
    if in_flight <= 1:
        yield from map(ask, each)
        return
    pool = ThreadPool(in_flight)  # its threads are daemons: Ctrl-C does not wait for a server's answer
    waiting: deque[AsyncResult[Given]] = deque()
    try:
        for one in each:
            waiting.append(pool.apply_async(copy_context().run, (ask, one)))
            if len(waiting) > in_flight:
                yield waiting.popleft().get()
        while waiting:
            yield waiting.popleft().get()
    finally:
        pool.terminate()


def one_ahead(each: Iterator[Given]) -> Generator[Given]:
    """The same, while a thread makes the next one; what is not wanted any more is not waited for."""
    pool = ThreadPool(1)
    ended = object()

    def coming() -> AsyncResult[Any]:
        return pool.apply_async(copy_context().run, (next, each, ended))

    try:
        next_one = coming()
        while (one := next_one.get()) is not ended:
            next_one = coming()
            yield one
    finally:
        pool.terminate()
