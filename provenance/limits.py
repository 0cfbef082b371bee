"""What one piece of work may cost a worker process; here alone such limits are set.

The system holds the process to them, whatever library is at work in it: memory that is refused becomes a
``MemoryError``, and computing time that runs out ends the process. Where a system has no such limits, none are set.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DEFAULT_MEMORY_BYTES = 2 * 1024**3
DEFAULT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one worker; ``None``: none.

    Attributes:
        memory_bytes: Memory that a worker may hold.
        seconds: Computing time, not time that passes, of one step: an item, or one of its pages.
        file_bytes: Size that a file may reach that it writes to.
    """

    memory_bytes: int | None = None
    seconds: float | None = None
    file_bytes: int | None = None


NO_LIMITS = Limits()
_held_to = NO_LIMITS


def hold_to(limits: Limits) -> None:
    """Holds this process to limits from now on."""
    global _held_to
    _held_to = limits
    _lower(resource.RLIMIT_CORE, 0)
    if limits.memory_bytes is not None:
        _lower(resource.RLIMIT_DATA, limits.memory_bytes)
    if limits.file_bytes is not None:
        _lower(resource.RLIMIT_FSIZE, limits.file_bytes)


def begin_step() -> None:
    """Gives the next step its whole computing time, in a process that is held to limits."""
    if _held_to.seconds is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        _lower(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime + _held_to.seconds) + 1)


def is_spent() -> bool:
    """Whether a quarter of the memory is held even between steps: what a library lost, the next step would lack."""
    if _held_to.memory_bytes is None:
        return False
    try:
        data_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    except (OSError, ValueError, IndexError):
        return False
    return 4 * data_pages * resource.getpagesize() > _held_to.memory_bytes


def _lower(kind: int, value: int) -> None:
    with suppress(OSError, ValueError):  # a lower one may be in force, or the system has none of the kind
        resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
