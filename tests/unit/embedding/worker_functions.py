"""What worker processes run in the tests: an importable module, as workers need."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from provenance.errors import SourceError

HEAVY = ("torch", "torchvision", "timm", "onnxruntime", "qdrant_client", "sqlalchemy")


@dataclass
class Picture:
    name: str
    pixels: np.ndarray


@dataclass
class Refusal:
    name: str


def double(number):
    return 2 * number


def process_facts(_):
    return os.getpid(), os.getppid(), os.nice(0), [name for name in HEAVY if name in sys.modules]


def print_and_return(item):
    print("printed in a worker", flush=True)  # noqa: T201
    os.write(1, b"written to the standard output\n")
    return item


def kill_oneself_at(item):
    if getattr(item, "name", "") == "deadly.png":
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def leave_at(item):
    if item == "deadly":
        os._exit(3)
    return item


def use_up(item):
    if item == "memory":
        np.ones(2**30, dtype=np.uint8)
    while item == "time":
        pass
    return item


_lost: list[np.ndarray] = []


def lose(item):
    """Loses memory at "leak" for good, as a library may; gives the process that did."""
    if item == "leak":
        _lost.append(np.ones(300 * 2**20, dtype=np.uint8))
    return os.getpid()


def many_of(path):
    """A mark that it began, and 200 things one after another."""
    Path(path).touch()
    yield from range(200)


def fail_behind(number):
    """Two things, then an error; the end of the process where the number is negative."""
    yield from (number, number)
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if number % 2:
        raise ValueError(number)


class OddError(Exception):
    """Can be pickled, and can't be rebuilt."""

    def __init__(self, first, second):
        super().__init__(first)


def fail_at(item):
    if item == "value":
        raise ValueError("a defect")
    if item == "odd":
        raise OddError(1, 2)
    if item == "source":
        raise SourceError("gone", hint="look again")
    return item


def wait_for_interrupts(item):
    """Blocks SIGTERM, so that ending takes the harder way."""
    if item == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return item


def picture_of(seed):
    """Every third one is refused."""
    if seed % 3 == 2:
        return Refusal(f"{seed}")
    return Picture(f"{seed}", np.random.default_rng(seed).integers(0, 256, (224, 224, 3), dtype=np.uint8))
