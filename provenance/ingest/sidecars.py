"""Files beside images that are no images: counted by extension and place, not told one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from provenance.images import LEFT_OUT, NO_IMAGE
from provenance.vocabulary import Rejection, RejectReason, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeGuard

_LARGEST = 2**63 - 1


@dataclass(slots=True)
class _Kind:
    """The files of one extension in one place, and what is said of the first of them."""

    detail: str
    files: int = 0
    size_bytes: int = 0


@dataclass
class Sidecars:
    """What was skipped.

    Attributes:
        sources: The folders, lists and archives of the run.
        places: Where each file stands that was skipped, for those who must not take it again; ``None``: not kept.
    """

    sources: Sequence[Path]
    places: set[tuple[str, str | None]] | None = None
    _kinds: dict[tuple[str, str | None], _Kind] = field(default_factory=dict)
    _new: dict[tuple[str, str | None], None] = field(default_factory=dict)

    def add(self, found: Rejection) -> None:
        """Counts one more."""
        suffix = PurePosixPath(found.name).suffix.lower()
        name = f"*{suffix}" if suffix else "files without an extension"
        if found.detail.startswith(NO_IMAGE):  # these are told by what they are
            name = f"{name} ({found.detail.removeprefix(NO_IMAGE)})"
        elif found.detail == LEFT_OUT:
            name = f"{name} (slices left out)"
        place = (found.source, name) if found.member is not None else (str(self._root(found.source) / name), None)
        kind = self._kinds.setdefault(place, _Kind(found.detail))
        kind.files += 1
        kind.size_bytes = min(kind.size_bytes + found.size_bytes, _LARGEST)
        self._new[place] = None
        if self.places is not None:
            self.places.add((found.source, found.member))

    def told(self) -> list[tuple[Rejection, str]]:
        """A line for each kind that has more than when this was asked last; and what is said of each file of it."""
        lines = []
        for source, member in self._new:
            kind = self._kinds[source, member]
            detail = f"{counted(kind.files, 'file')}: {kind.detail}"
            name = member or Path(source).name
            line = Rejection(name, source, member, kind.size_bytes, RejectReason.SKIPPED, detail)
            lines.append((line, kind.detail))
        self._new.clear()
        return lines

    def _root(self, source: str) -> Path:
        path = Path(source)
        return next((root for root in self.sources if root.is_dir() and path.is_relative_to(root)), path.parent)


def is_sidecar(found: object) -> TypeGuard[Rejection]:
    """Whether it is a file that is no image."""
    return isinstance(found, Rejection) and found.reason is RejectReason.SKIPPED
