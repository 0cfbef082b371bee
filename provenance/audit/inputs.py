"""What an audit is about: its datasets, found and frozen, with the claim each makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provenance.errors import ConflictError, NotFoundError, UsageError
from provenance.findings import Weakness
from provenance.ingest import image_ids_digest
from provenance.spaces import members_in
from provenance.vocabulary import DatasetKind, Membership, Role, Space, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provenance.catalog import Catalog
    from provenance.duplicates import TwinReport
    from provenance.records import Dataset, Member

_CLAIMED = {Membership.USED: Role.USED, Membership.NOT_USED: Role.NOT_USED, Membership.UNKNOWN: Role.AGAINST}

_MEMBERSHIP = {role: membership for membership, role in _CLAIMED.items()}

CANDIDATES = (Role.USED, Role.AGAINST)
"""The roles of images that were, or may have been, used."""


@dataclass(frozen=True, slots=True)
class Parties:
    """The datasets of an audit, found by their names.

    Attributes:
        sets: The real sets, each with the claim it makes.
        reference: A release of a generator trained on other images; ``None`` without.
        left_out: Where no set was named, those of another modality than the release.
    """

    release: Dataset
    sets: tuple[tuple[Dataset, Role], ...]
    reference: Dataset | None = None
    left_out: tuple[Dataset, ...] = ()

    @property
    def everyone(self) -> list[Dataset]:
        """Every dataset whose images must be in one space."""
        return [self.release, *(dataset for dataset, _ in self.sets), *([self.reference] if self.reference else ())]


@dataclass(frozen=True, slots=True)
class FrozenDataset:
    """One dataset as the audit sees it: its members at the beginning, sorted by image_id.

    Attributes:
        digest: ``sha256:<hex>`` over the image_ids of its members.
    """

    dataset: Dataset
    role: Role
    members: tuple[Member, ...]
    collection_key: str
    digest: str


@dataclass(frozen=True, slots=True)
class FrozenAudit:
    """Everything an audit judges by, before a vector is read.

    Attributes:
        top_k: Neighbors that are kept of each judged image, per role.
        reals: Per role, the images that act in it: every image once, sorted by image_id.
        excluded_overlap: Images left out because they are claimed used and not used.
        claimed_otherwise: Images of ``against`` sets that a used or not-used set claims, and that act there.
        twins: Not-used images with near-twins among the used ones; ``None`` where it was not looked for.
        unknown_twins: Likewise among those of unknown use.
        twins_excluded: Whether those were left out of ``reals``.
        greys: Mean grey of the real images, by image_id, where all are known; else empty.
        left_out: Sets that did not join of themselves, as they are of another modality than the release.
        reference: A release of a generator trained on other images; ``None`` without.
    """

    subject: Subject
    top_k: int
    release: FrozenDataset
    sets: tuple[FrozenDataset, ...]
    reals: Mapping[Role, tuple[Member, ...]]
    space: Space
    excluded_overlap: int
    claimed_otherwise: int
    twins: TwinReport | None = None
    twins_excluded: bool = False
    reference: FrozenDataset | None = None
    unknown_twins: TwinReport | None = None
    greys: Mapping[str, float] = field(default_factory=dict)
    left_out: tuple[Dataset, ...] = ()

    @property
    def role_of(self) -> dict[str, Role]:
        """The role that each real image acts in, by image_id."""
        return {member.image_id: role for role, members in self.reals.items() for member in members}

    def acting(self, *roles: Role) -> tuple[Member, ...]:
        """The real images that act in some roles, sorted by image_id."""
        acting = (member for role in roles for member in self.reals.get(role, ()))
        return tuple(sorted(acting, key=lambda member: member.image_id))

    @property
    def judged_reals(self) -> tuple[Member, ...]:
        """All real images of all roles, sorted by image_id."""
        return self.acting(*self.reals)

    @property
    def candidates(self) -> tuple[Member, ...]:
        """The real images that were or may have been used, sorted by image_id: what calibrated verdicts are about."""
        return self.acting(*CANDIDATES)


def parties_of(
    catalog: Catalog,
    release: str,
    claims: Mapping[Role, Sequence[str]],
    reference: str | None = None,
    *,
    override_membership: bool = False,
    mix_modalities: bool = False,
) -> Parties:
    """Find a release, the real sets with their claims, and a reference release, by their names.

    Args:
        catalog: Where they are on record.
        release: Its name.
        claims: Names of sets, by the claim that counts; without any all sets take part by their own membership that are
            not of another modality than the release.
        reference: Name of a release of a generator trained on other images.
        override_membership: Whether a claim may contradict the membership on record.
        mix_modalities: Whether what is named may be of several modalities.

    Raises:
        NotFoundError: If a name is unknown, or there is no set to audit against.
        ConflictError: If a release is not sealed, a claim contradicts the membership on record, or several modalities
            would act together.
        UsageError: If a set is claimed twice, or the release is its own reference.
    """
    found = _sealed(catalog, release)
    named = any(claims.values())
    sets, left_out = (_claimed(catalog, claims), []) if named else _by_membership(catalog, found)
    other = None if reference is None else _sealed(catalog, reference)
    if other is not None and other.dataset_id == found.dataset_id:
        raise UsageError(
            f"{found.name} can't be its own reference",
            hint="--reference-release takes a release whose generator was trained on other images",
        )
    parties = Parties(found, tuple(sets), other, tuple(left_out))
    if not override_membership and (against := overridden(sets)):
        raise ConflictError(
            f"it contradicts the membership on record: {', '.join(against)}",
            hint="another generator may have used other images: --override-membership takes the flags for this audit "
            "alone; what is on record stays",
        )
    if not mix_modalities and len(by_modality := modalities(parties)) > 1:
        raise ConflictError(
            f"images of several modalities can't be held against each other: {_modality_words(by_modality)}",
            hint="name sets of the release's modality with --used, --not-used and --against, or audit all the same "
            "with --mix-modalities",
        )
    return parties


def overridden(sets: Iterable[tuple[Dataset, Role]]) -> list[str]:
    """The sets that act as used and are on record as not used, or the other way round, in words."""
    words = {Membership.USED: "used", Membership.NOT_USED: "not used"}
    return [
        f"set {dataset.name} is {words[dataset.membership]} on record, and acts as {words[_MEMBERSHIP[role]]}"
        for dataset, role in sets
        if dataset.membership is not None and {dataset.membership, _MEMBERSHIP[role]} == words.keys()
    ]


def modalities(parties: Parties) -> dict[str, list[str]]:
    """The names of those that state a modality, by it."""
    found: dict[str, list[str]] = {}
    for dataset in parties.everyone:
        if dataset.modality:
            found.setdefault(dataset.modality, []).append(dataset.name)
    return found


def _modality_words(found: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{modality}: {', '.join(names)}" for modality, names in found.items())


def party_notes(frozen: FrozenAudit) -> list[str]:
    """What a person should know of the claims and the modalities of an audit's sets."""
    sets = [(each.dataset, each.role) for each in frozen.sets]
    parties = Parties(frozen.release.dataset, tuple(sets), frozen.reference.dataset if frozen.reference else None)
    notes: list[str] = [Weakness(f"{each[0].upper()}{each[1:]} (--override-membership).") for each in overridden(sets)]
    found = modalities(parties)
    if len(found) > 1:
        notes.append(Weakness(f"Images of several modalities act together here: {_modality_words(found)}."))
    if frozen.left_out:
        named = ", ".join(f"{each.name} ({each.modality})" for each in frozen.left_out)
        modality = frozen.release.dataset.modality
        notes.append(f"Left out, as the release is of another modality ({modality}): {named}.")
    silent = [dataset.name for dataset in parties.everyone if not dataset.modality]
    if found and silent:
        notes.append(
            Weakness(
                f"No modality is on record of {', '.join(silent)}; that of others is {' and '.join(found)}. Whether "
                "all are of one was not checked: ingesting again with --modality puts it on record."
            )
        )
    return notes


def _sealed(catalog: Catalog, name: str) -> Dataset:
    release = catalog.dataset(name, DatasetKind.RELEASE)
    if catalog.latest_seal(release.dataset_id) is None:
        raise ConflictError(
            f"release {release.name} is not complete: its ingest never reached the end of its source",
            hint="run the same ingest again; it goes on where it stopped",
        )
    return release


def _claimed(catalog: Catalog, claims: Mapping[Role, Sequence[str]]) -> list[tuple[Dataset, Role]]:
    roles: dict[str, tuple[Dataset, Role]] = {}
    for role, names in claims.items():
        for name in names:
            dataset = catalog.dataset(name, DatasetKind.SET)
            if roles.setdefault(dataset.dataset_id, (dataset, role))[1] is not role:
                raise UsageError(f"set {name} was given twice with different claims", hint="one flag a set")
    return list(roles.values())


def _by_membership(catalog: Catalog, release: Dataset) -> tuple[list[tuple[Dataset, Role]], list[Dataset]]:
    sets = [summary.dataset for summary in catalog.datasets(DatasetKind.SET) if summary.image_count]
    fitting = [s for s in sets if not s.modality or not release.modality or s.modality == release.modality]
    if not fitting:
        of_modality = f" of its modality, {release.modality}" * bool(sets)
        raise NotFoundError(
            f"there is no real set{of_modality} to audit {release.name} against",
            hint="ingest one: provenance ingest FOLDER --set NAME --membership used|not-used|unknown",
        )
    claimed = [(s, _CLAIMED[s.membership]) for s in fitting if s.membership is not None]
    return claimed, [s for s in sets if s not in fitting]


def freeze(
    catalog: Catalog, parties: Parties, space: Space, subject: Subject, top_k: int, *, exclude_overlap: bool
) -> FrozenAudit:
    """Take the members of every dataset as they are now, and settle which claim of an image counts.

    Raises:
        ConflictError: If an image is claimed used and not used.
        SpaceMismatchError: If an image has no vector in the space.
    """
    release = _frozen(catalog, parties.release, Role.RELEASE, space)
    sets = tuple(_frozen(catalog, dataset, role, space) for dataset, role in parties.sets)
    reals, excluded, otherwise = _resolve_claims(catalog, sets, exclude_overlap=exclude_overlap)
    reference = None if parties.reference is None else _frozen(catalog, parties.reference, Role.RELEASE, space)
    return FrozenAudit(
        subject,
        top_k,
        release,
        sets,
        reals,
        space,
        excluded,
        otherwise,
        reference=reference,
        left_out=parties.left_out,
    )


def _frozen(catalog: Catalog, dataset: Dataset, role: Role, space: Space) -> FrozenDataset:
    key, members = members_in(catalog, dataset, space)
    return FrozenDataset(dataset, role, members, key, image_ids_digest(member.image_id for member in members))


def _resolve_claims(
    catalog: Catalog, sets: Sequence[FrozenDataset], *, exclude_overlap: bool
) -> tuple[dict[Role, tuple[Member, ...]], int, int]:
    by_role: dict[Role, dict[str, Member]] = {}
    for frozen in sets:
        acting = by_role.setdefault(frozen.role, {})
        for member in frozen.members:
            # The same image in two sets is one image; were its two vectors not the same bytes (embedded on
            # two machines), the smaller digest acts, so that the order of the sets does not matter.
            other = acting.get(member.image_id)
            if other is None or member.vector_sha256 < other.vector_sha256:
                acting[member.image_id] = member
    used, not_used, against = (by_role.get(role, {}) for role in (Role.USED, Role.NOT_USED, Role.AGAINST))
    overlap = used.keys() & not_used.keys()
    if overlap and not exclude_overlap:
        _refuse_overlap(catalog, sets, [used[image_id] for image_id in sorted(overlap)])
    for image_id in overlap:
        del used[image_id], not_used[image_id]
    claimed = against.keys() & (used.keys() | not_used.keys() | overlap)
    for image_id in claimed:
        del against[image_id]
    reals = {role: tuple(acting[i] for i in sorted(acting)) for role, acting in by_role.items() if acting}
    if not reals:
        raise ConflictError("no real image is left to audit against", hint="all were claimed used and not used")
    return reals, len(overlap), len(claimed)


def _refuse_overlap(catalog: Catalog, sets: Sequence[FrozenDataset], overlap: Sequence[Member]) -> None:
    first = overlap[0]
    ids = [s.dataset.dataset_id for s in sets if s.role in (Role.USED, Role.NOT_USED)]
    name = catalog.names_of(ids, [first.image_key]).get(first.image_key, "")
    more = f" and {len(overlap) - 1} more" if len(overlap) > 1 else ""
    raise ConflictError(
        f"claimed used and not used at once: {name} ({first.image_id[:19]}...){more}",
        hint="mend the sets, or leave such images out with --exclude-overlap",
    )
