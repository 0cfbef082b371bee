"""What is open, and closed at the end of a ``with``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from types import TracebackType


class Resource(Protocol):
    """Something that is closed when its ``with`` ends, whatever happened there."""

    def close(self) -> None:
        """Lets go of what it holds; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
