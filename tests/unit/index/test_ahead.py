"""Work ahead of whoever takes its results."""

from __future__ import annotations

from contextvars import ContextVar
from threading import Event
from typing import TYPE_CHECKING

from provenance.index.ahead import ahead, one_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN: ContextVar[str] = ContextVar("run", default="none")


def test_what_hangs_is_not_waited_for() -> None:
    hangs, never, is_over = Event(), Event(), Event()

    def each() -> Iterator[int]:
        yield 1
        hangs.set()
        never.wait(60)
        is_over.set()

    taken = one_ahead(each())
    assert next(taken) == 1
    assert hangs.wait(60)
    taken.close()
    assert not is_over.is_set()
    never.set()


def test_threads_know_the_run_that_they_work_for() -> None:
    """Its id is in the lines that they log."""
    token = RUN.set("this")
    try:
        assert list(ahead(lambda _: RUN.get(), range(3), 2)) == ["this"] * 3
        assert list(one_ahead(RUN.get() for _ in range(3))) == ["this"] * 3
    finally:
        RUN.reset(token)
