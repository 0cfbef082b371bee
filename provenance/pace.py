"""A long step says something every few seconds, not every time that it could."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def throttled(say: Callable[[str], None], seconds: float) -> Callable[[str], None]:
    """Says one line every few seconds, the first when so many have passed; what comes sooner is dropped."""
    last = time.monotonic()

    def say_now_and_then(line: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            say(line)

    return say_now_and_then
