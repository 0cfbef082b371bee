"""Not-used images with near-twins among those that are judged: every audit looks for them, and can leave them out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from provenance.audit.inputs import CANDIDATES
from provenance.duplicates import find_twins, looks_of
from provenance.errors import ConflictError, SpaceMismatchError
from provenance.findings import Twins, Weakness
from provenance.ingest import image_ids_digest
from provenance.spaces import common_space, members_in
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provenance.audit.inputs import FrozenAudit
    from provenance.audit.rule import OnStep
    from provenance.duplicates import DuplicateRule, TwinReport
    from provenance.duplicates.hashing import Looks
    from provenance.ingest import Progress
    from provenance.installation import Installation
    from provenance.records import Member
    from provenance.vocabulary import Space


_AMONG = {Role.USED: "used ones", Role.AGAINST: "ones of unknown use"}


def with_twins(
    workspace: Installation,
    frozen: FrozenAudit,
    rule: DuplicateRule,
    on_step: OnStep,
    *,
    exclude: bool,
    seen: Twins | None = None,
) -> FrozenAudit:
    """The frozen audit with its twins, left out of the not-used images where asked for, and how bright images are.

    Where candidates or not-used images are missing there is nothing to look for. In an audit over parts of images twins
    are looked for in the whole-image space that its sets share; without one they are not. Likewise in one over grey
    levels, where these do without one. ``seen``: what an audit on record left out; it may have looked for less.

    Raises:
        ConflictError: If every not-used image would be left out.
        VectorStoreError: If a stored vector is missing or damaged.
    """
    roles = [role for role in CANDIDATES if frozen.reals.get(role)]
    not_used = frozen.reals.get(Role.NOT_USED, ())
    if not roles or not not_used:
        return frozen
    space, members = _in_whole_space(workspace, frozen, (Role.NOT_USED, *roles)) or (None, frozen.reals)

    def say_first(progress: Progress) -> None:
        if progress.done == 1:
            on_step(f"reading {progress.total:,} images for what they look like, this once")

    looks = {role: looks_of(workspace, members[role], say_first) for role in (Role.NOT_USED, *roles)}
    frozen = replace(frozen, greys=_greys(looks.values()))
    if space is None:
        return frozen
    everywhere = seen is None or bool(seen.turned)
    found: dict[Role, TwinReport] = {}
    for role in roles:
        if role is Role.USED or everywhere:
            count = len(members[role])
            on_step(f"looking for twins of {len(not_used):,} not-used images among {count:,} {_AMONG[role]}")
            sides = {"used": looks[role], "not_used": looks[Role.NOT_USED]}
            found[role] = find_twins(workspace, space, rule, **sides, turned=everywhere)
    frozen = replace(frozen, twins=found.get(Role.USED), unknown_twins=found.get(Role.AGAINST))
    if not exclude:
        return frozen
    left_out = {image_id for role in found for image_id in twins_among(frozen, role)}
    kept = tuple(member for member in not_used if member.image_id not in left_out)
    if not kept:
        raise ConflictError(
            f"all {len(not_used)} not-used images have near-twins among the images that are judged",
            hint="`provenance duplicates` lists them; sets like these can't be told apart",
        )
    return replace(frozen, reals={**frozen.reals, Role.NOT_USED: kept}, twins_excluded=True)


def _greys(looks: Iterable[Looks]) -> dict[str, float]:
    """Mean greys by image_id; of nobody, where not all are known: sources that are gone must not decide."""
    found = {m.image_id: grey for each in looks for m, grey in zip(each.members, each.greys.tolist(), strict=True)}
    return {} if any(map(math.isnan, found.values())) else found


def _in_whole_space(
    workspace: Installation, frozen: FrozenAudit, roles: Sequence[Role]
) -> tuple[Space, Mapping[Role, tuple[Member, ...]]] | None:
    """Images of some roles with their vectors in the whole-image space that the used and not-used sets share."""
    if frozen.space.parts == 1 and not frozen.space.is_of_pixels:
        return frozen.space, frozen.reals
    sets = [each.dataset for each in frozen.sets if each.role in roles]
    try:
        space = common_space(workspace.catalog, sets, None)
        found = {m.image_id: m for dataset in sets for m in members_in(workspace.catalog, dataset, space)[1]}
    except SpaceMismatchError:
        space = None
    if space is None or space.parts != 1:
        return (frozen.space, frozen.reals) if frozen.space.parts == 1 else None
    return space, {role: tuple(found[m.image_id] for m in frozen.reals[role]) for role in roles}


def twins_among(frozen: FrozenAudit, role: Role) -> frozenset[str]:
    """The not-used images, by image_id, that have a near-twin among the images of a role."""
    report = frozen.twins if role is Role.USED else frozen.unknown_twins
    return frozenset(twin.not_used.image_id for twin in report.twins) if report else frozenset()


def twin_counts(frozen: FrozenAudit) -> dict[str, int]:
    """What an audit counts: not-used images with twins among the used ones, and all that were left out for a twin."""
    found = twins_among(frozen, Role.USED)
    left_out = found | twins_among(frozen, Role.AGAINST) if frozen.twins_excluded else ()
    return {"not_used_with_twins": len(found), "excluded_twins": len(left_out)}


def twins_of(frozen: FrozenAudit) -> Twins | None:
    """What an audit records of how it looked: the rule, what was done, and which images it concerned, by digest."""
    report = frozen.twins or frozen.unknown_twins
    if report is None:
        return None
    ids = twins_among(frozen, Role.USED)
    if frozen.twins_excluded or frozen.twins is None:
        ids |= twins_among(frozen, Role.AGAINST)
    return Twins(
        **report.rule.parameters,
        excluded=frozen.twins_excluded,
        images_digest=image_ids_digest(ids),
        unhashed=report.unhashed,
        turned=True,
    )


def twin_notes(frozen: FrozenAudit) -> list[str]:
    """What a person should know of it."""
    notes: list[str] = []
    for role, words in _AMONG.items():
        count = len(twins_among(frozen, role))
        have = "1 not-used image has a near-twin" if count == 1 else f"{count:,} not-used images have near-twins"
        if count and frozen.twins_excluded:
            notes.append(f"{have} among the {words}, and {'was' if count == 1 else 'were'} left out.")
        elif count:
            notes.append(
                Weakness(
                    f"{have} among the {words}: nothing can tell used from not used by them. `provenance duplicates` "
                    "lists them, --exclude-twins leaves them out."
                )
            )
    if unhashed := max((each.unhashed for each in (frozen.twins, frozen.unknown_twins) if each), default=0):
        notes.append(
            Weakness(
                f"{unhashed:,} used or not-used images could not be read from their sources: near-twins "
                "of theirs, other than by the same pixels, were not looked for."
            )
        )
    return notes
