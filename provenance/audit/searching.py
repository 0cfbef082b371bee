"""Where the vectors of an audit are searched: in files that are copied once, or by the server that holds them.

Both give the same verdicts to the last bit; the record says which it was, and no digest covers it. An index in process
is always copied. Vectors of a server are, where they fit ``vector_cache_bytes`` and half of the free disk; what is
there already takes no more of it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.errors import UsageError, VectorStoreError
from provenance.index import content_digest, vector_file
from provenance.vocabulary import Search, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provenance.audit.inputs import FrozenAudit
    from provenance.installation import Installation
    from provenance.records import Member
    from provenance.vocabulary import Space

    Selections = Sequence[Sequence[Member]]


@dataclass(frozen=True, slots=True)
class Way:
    """``Search.FILE`` or ``Search.SERVER``; and, where it was not the first choice, why, in a sentence."""

    search: Search
    note: str = ""


def selections_of(*audits: FrozenAudit) -> Selections:
    """The images whose vectors audits ask for, in the selections that they ask for."""
    found: list[Sequence[Member]] = []
    for frozen in audits:
        is_real = frozen.subject is Subject.REAL
        found += [frozen.release.members, *([frozen.judged_reals] if is_real else frozen.reals.values())]
        found += [frozen.reference.members] if frozen.reference else []
    return found


def way_of(workspace: Installation, space: Space, selections: Selections) -> Way:
    """Where to search these images, as the setting ``search`` asks.

    Raises:
        UsageError: If a server is to search and there is none.
        VectorStoreError: If files are asked for and do not fit; names the sizes.
    """
    asked = workspace.settings.search
    if workspace.exports_vectors:
        if asked is Search.SERVER:
            raise UsageError(
                f"no server can search: the vector index {workspace.index_url} is in process",
                hint="leave --search server (or the setting `search`) out",
            )
        return Way(Search.FILE)
    if asked is Search.SERVER:
        return Way(Search.SERVER)
    lacking = _lacking(workspace, space, selections)
    if not lacking:
        return Way(Search.FILE)
    if asked is Search.FILE:
        raise VectorStoreError(
            f"the vectors of this audit can't be searched in files: {lacking}",
            hint="raise `vector_cache_bytes`, or make room on the workspace's disk, as it says; or give --search "
            "server, or auto",
        )
    return Way(Search.SERVER, f"The server searched the vectors: {lacking}.")


def _lacking(workspace: Installation, space: Space, selections: Selections) -> str:
    """What the files lack, with the sizes; '' where they fit."""
    each = 4 * space.parts * space.dimension
    needed, most = each * len(_distinct(selections)), workspace.settings.vector_cache_bytes
    said = f"{len(_distinct(selections)):,} images take {_size(needed)}"
    if needed > most:
        return f"{said}, and `vector_cache_bytes` allows {_size(most)}"
    folder = workspace.vector_folder
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
    if needed <= free // 2:
        return ""
    there = [members for members in selections if _has_file(workspace, space, members)]
    new = each * len(_distinct(selections) - _distinct(there))
    if new <= free // 2:
        return ""
    return f"{said}, of which {_size(new)} are new, and half of the {_size(free)} that are free on the disk may be used"


def _distinct(selections: Selections) -> set[tuple[str, str]]:
    return {vector_of(member) for members in selections for member in members}


def vector_of(member: Member) -> tuple[str, str]:
    """What tells one vector of a space from another."""
    return member.image_id, member.vector_sha256


def digest_of(space: Space, members: Iterable[Member]) -> str:
    """The content digest of a selection: the name of its vector file."""
    return content_digest(space.space_id, map(vector_of, members))


def _has_file(workspace: Installation, space: Space, members: Sequence[Member]) -> bool:
    return vector_file(workspace.vector_folder, digest_of(space, members)).exists()


def _size(count: int) -> str:
    unit, name = next(((unit, name) for unit, name in _UNITS if count >= unit), (1, "bytes"))
    return f"{count / unit:,.1f} {name}" if unit > 1 else f"{count} {name}"


_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
