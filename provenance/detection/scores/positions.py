"""Positions of images, worked at side by side: local scores treat each by itself, and sum over them at the end."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")


def each_position(
    work: Callable[[int], Result],
    parts: int,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Result]:
    """What ``work`` gives for every position, in their order, whichever is done first.

    Matrix products let go of the interpreter, so that threads share the positions; each product then should run on one
    thread of the linear algebra library. How many threads there are has no influence on a result.

    Args:
        work: Called with the number of a position; must not depend on another's outcome.
        parts: How many positions there are.
        threads: How many are worked at at once; as many results are held at most, and one more.
        progress: Called with positions done and positions in all, from the caller's thread.
    """
    with ThreadPoolExecutor(max(1, threads)) as pool:
        under_way: deque[Future[Result]] = deque()
        try:
            for step in range(parts + threads):
                if step < parts:
                    under_way.append(pool.submit(work, step))
                if step >= threads:
                    yield under_way.popleft().result()
                    if progress:
                        progress(step - threads + 1, parts)
        finally:
            for future in under_way:
                future.cancel()
