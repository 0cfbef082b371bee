"""Not-used images with near-twins among the used ones: every audit looks for them, and can leave them out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provenance.duplicates import find_twins
from provenance.errors import ConflictError, SpaceMismatchError
from provenance.findings import Twins, Weakness
from provenance.ingest import image_ids_digest
from provenance.spaces import common_space, members_in
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from provenance.audit.inputs import FrozenAudit
    from provenance.audit.rule import OnStep
    from provenance.duplicates import DuplicateRule
    from provenance.ingest import Progress
    from provenance.installation import Installation
    from provenance.records import Member
    from provenance.vocabulary import Space


def with_twins(
    workspace: Installation, frozen: FrozenAudit, rule: DuplicateRule, on_step: OnStep, *, exclude: bool
) -> FrozenAudit:
    """The frozen audit with its twins, left out of the not-used images where asked for.

    Where used or not-used images are missing there is nothing to look for. In an audit over parts of images twins are
    looked for in the whole-image space that its sets share; without one they are not. Likewise in one over grey levels,
    where these do without one.

    Raises:
        ConflictError: If every not-used image would be left out.
        VectorStoreError: If a stored vector is missing or damaged.
    """
    used, not_used = frozen.reals.get(Role.USED, ()), frozen.reals.get(Role.NOT_USED, ())
    if not used or not not_used:
        return frozen
    whole = _in_whole_space(workspace, frozen) if frozen.space.parts > 1 or frozen.space.is_of_pixels else None
    if whole is None and frozen.space.parts == 1:
        whole = frozen.space, used, not_used
    if whole is None:
        return frozen
    space, used_there, not_used_there = whole
    on_step(f"looking for twins of {len(not_used):,} not-used images among {len(used):,} used ones")

    def say_first(progress: Progress) -> None:
        if progress.done == 1:
            on_step(f"reading {progress.total:,} images for their perceptual hashes, this once")

    twins = find_twins(workspace, space, rule, used=used_there, not_used=not_used_there, on_progress=say_first)
    if not exclude:
        return replace(frozen, twins=twins)
    left_out = {twin.not_used.image_id for twin in twins.twins}
    kept = tuple(member for member in not_used if member.image_id not in left_out)
    if not kept:
        raise ConflictError(
            f"all {len(not_used)} not-used images have near-twins among the used ones",
            hint="`provenance duplicates` lists them; sets like these can't be told apart",
        )
    return replace(frozen, reals={**frozen.reals, Role.NOT_USED: kept}, twins=twins, twins_excluded=True)


def _in_whole_space(
    workspace: Installation, frozen: FrozenAudit
) -> tuple[Space, tuple[Member, ...], tuple[Member, ...]] | None:
    """The used and the not-used images with their vectors in the whole-image space that their sets share."""
    sets = [each.dataset for each in frozen.sets if each.role in (Role.USED, Role.NOT_USED)]
    try:
        space = common_space(workspace.catalog, sets, None)
        found = {m.image_id: m for dataset in sets for m in members_in(workspace.catalog, dataset, space)[1]}
    except SpaceMismatchError:
        return None
    if space.parts != 1:
        return None
    used, not_used = (tuple(found[m.image_id] for m in frozen.reals[role]) for role in (Role.USED, Role.NOT_USED))
    return space, used, not_used


def twin_counts(frozen: FrozenAudit) -> dict[str, int]:
    """What an audit counts: not-used images with twins, and those left out for it."""
    found = len(frozen.twins.twins) if frozen.twins else 0
    return {"not_used_with_twins": found, "excluded_twins": found if frozen.twins_excluded else 0}


def twins_of(frozen: FrozenAudit) -> Twins | None:
    """What an audit records of how it looked: the rule, what was done, and which images it concerned, by digest."""
    if frozen.twins is None:
        return None
    ids = [twin.not_used.image_id for twin in frozen.twins.twins]
    return Twins(
        **frozen.twins.rule.parameters,
        excluded=frozen.twins_excluded,
        images_digest=image_ids_digest(ids),
        unhashed=frozen.twins.unhashed,
    )


def twin_notes(frozen: FrozenAudit) -> list[str]:
    """What a person should know of it."""
    if frozen.twins is None:
        return []
    notes: list[str] = []
    count = len(frozen.twins.twins)
    have = "1 not-used image has a near-twin" if count == 1 else f"{count:,} not-used images have near-twins"
    if count and frozen.twins_excluded:
        notes.append(f"{have} among the used ones, and {'was' if count == 1 else 'were'} left out.")
    elif count:
        notes.append(
            Weakness(
                f"{have} among the used ones: nothing can tell used from not used by them. `provenance duplicates` "
                "lists them, --exclude-twins leaves them out."
            )
        )
    if frozen.twins.unhashed:
        notes.append(
            Weakness(
                f"{frozen.twins.unhashed:,} used or not-used images could not be read from their sources: near-twins "
                "of theirs, other than by the same pixels, were not looked for."
            )
        )
    return notes
