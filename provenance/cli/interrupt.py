"""Ctrl-C: the first one ends a run after the batch in flight, the second one, or where a store hangs, at once."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from provenance.cli.output import message, progress_bar
from provenance.logs import HANGS_AFTER_SECONDS, something_hangs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.service import OnProgress

EXIT_CODE = 130


class Stop(threading.Event):
    """Set by the first Ctrl-C. Until a run has asked for it once, it can't end after a batch: it ends at once."""

    is_asked_for = False

    def is_set(self) -> bool:
        """Whether the run is to end after the batch in flight."""
        self.is_asked_for = True
        return super().is_set()


@contextmanager
def stop_on_interrupt(stop: Stop | None = None) -> Iterator[Stop]:
    """An event that the first Ctrl-C (or SIGTERM) sets; the second raises KeyboardInterrupt.

    So does the first one where a store does not answer, then or a moment after.
    """
    stop = stop or Stop()
    again = threading.Timer(HANGS_AFTER_SECONDS, _interrupt_what_hangs)
    again.daemon = True

    def answer(_number: int, _frame: Any) -> None:
        if not stop.is_asked_for or stop.is_set() or something_hangs():
            raise KeyboardInterrupt
        stop.set()
        again.start()
        # past Python's buffers: the signal may have come while one of them was being written
        os.write(2, b"\nstopping after the batch in flight; again Ctrl-C stops at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals are the main thread's
        return
    before = {number: signal.signal(number, answer) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        again.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt_what_hangs() -> None:
    if something_hangs():
        os.kill(os.getpid(), signal.SIGINT)


class Run:
    """A run that Ctrl-C ends: its ``stop``, and the progress bar of what is in flight."""

    def __init__(self, name: str) -> None:
        self.stop, self.name = Stop(), name

    def bar(self, name: str) -> AbstractContextManager[OnProgress]:
        """The progress bar of one part, by whose name it goes on."""
        self.name = name
        return progress_bar(name)

    def end_if(self, interrupted: bool) -> None:
        """End the command if the run did not come to its end."""
        if interrupted:
            end(f"what was acknowledged is kept; the same command goes on with {self.name}")


@contextmanager
def interruptible(name: str) -> Iterator[Run]:
    """A run whose parts that were acknowledged are kept, also where it ends at once."""
    run = Run(name)
    try:
        with stop_on_interrupt(run.stop):
            yield run
    except KeyboardInterrupt:
        run.end_if(interrupted=True)


def end(said: str) -> NoReturn:
    """End the command as interrupted."""
    message(f"interrupted: {said}")
    raise typer.Exit(EXIT_CODE)
