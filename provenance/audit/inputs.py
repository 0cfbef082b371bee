"""What an audit is about: its datasets, frozen, with the claim each makes, and the one space they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provenance.detection import Policy
from provenance.duplicates import DuplicateRule
from provenance.errors import ConflictError, NotFoundError, UsageError
from provenance.ingest import image_ids_digest
from provenance.spaces import common_space, members_in
from provenance.vocabulary import DatasetKind, Membership, Role, Space

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.catalog import Catalog
    from provenance.duplicates import TwinReport
    from provenance.records import Dataset, Member

ROLE_OF_MEMBERSHIP = {
    Membership.USED: Role.USED,
    Membership.NOT_USED: Role.NOT_USED,
    Membership.UNKNOWN: Role.AGAINST,
}

CANDIDATES = (Role.USED, Role.AGAINST)
"""The roles of images that were, or may have been, used."""


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What to audit.

    Attributes:
        release: Name of the release.
        used: Names of sets claimed to have been used for training the generator.
        not_used: Names of sets claimed not to have been used.
        against: Names of sets of which it is not known. With no set at all, every set takes part by its
            default membership (of the release's modality, where both state one).
        policy: The rule and its parameters.
        space: Backbone name or ``space_id`` (prefix); ``None``: the one space that all have in common.
        exclude_overlap: Leave images out that are claimed used and not used; otherwise they are an error.
        exclude_twins: Leave not-used images out that have a near-twin among the used ones; otherwise a note says so.
        twin_rule: What counts as a near-twin.
        match_resolution: Judge in the space in which every image is first brought to the release's native resolution;
            what is missing there is embedded from the recorded sources.
        reference_release: Name of a release whose generator was trained on other images, for ``calibrated``: a control
            of its scores, or what a ``referenced:`` score subtracts.
    """

    release: str
    used: tuple[str, ...] = ()
    not_used: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    policy: Policy = field(default_factory=Policy)
    space: str | None = None
    exclude_overlap: bool = False
    exclude_twins: bool = False
    twin_rule: DuplicateRule = field(default_factory=DuplicateRule)
    match_resolution: bool = False
    reference_release: str | None = None


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
        release: The generated images.
        sets: The real sets with the role each was given.
        reals: Per role, the images that act in it: every image once, sorted by image_id.
        excluded_overlap: Images left out because they are claimed used and not used.
        claimed_otherwise: Images of ``against`` sets that a used or not-used set claims, and that act there.
        twins: Not-used images with near-twins among the used ones; ``None`` where it was not looked for.
        twins_excluded: Whether those were left out of ``reals``.
        reference: A release of a generator trained on other images; ``None`` without.
    """

    release: FrozenDataset
    sets: tuple[FrozenDataset, ...]
    reals: Mapping[Role, tuple[Member, ...]]
    space: Space
    excluded_overlap: int
    claimed_otherwise: int
    twins: TwinReport | None = None
    twins_excluded: bool = False
    reference: FrozenDataset | None = None

    @property
    def judged_reals(self) -> tuple[Member, ...]:
        """All real images of all roles, sorted by image_id."""
        return tuple(sorted((m for members in self.reals.values() for m in members), key=lambda m: m.image_id))

    @property
    def candidates(self) -> tuple[Member, ...]:
        """The real images that were or may have been used, sorted by image_id: what calibrated verdicts are about."""
        acting = (m for role in CANDIDATES for m in self.reals.get(role, ()))
        return tuple(sorted(acting, key=lambda m: m.image_id))


def freeze(catalog: Catalog, request: AuditRequest) -> FrozenAudit:
    """Resolve names, choose the space, and take the members of every dataset as they are now.

    Raises:
        NotFoundError: If a name is unknown, or there is no set to audit against.
        ConflictError: If the release is not sealed, or an image is claimed used and not used.
        SpaceMismatchError: If the datasets share no space, or several and none was chosen.
    """
    release, roles = datasets_of(catalog, request)
    reference = _reference(catalog, request, release)
    space = common_space(catalog, participants(catalog, request), request.space)
    frozen_release = _frozen(catalog, release, Role.RELEASE, space)
    sets = tuple(_frozen(catalog, dataset, role, space) for dataset, role in roles)
    reals, excluded, otherwise = _resolve_claims(catalog, sets, exclude_overlap=request.exclude_overlap)
    frozen_reference = None if reference is None else _frozen(catalog, reference, Role.RELEASE, space)
    return FrozenAudit(frozen_release, sets, reals, space, excluded, otherwise, reference=frozen_reference)


def datasets_of(catalog: Catalog, request: AuditRequest) -> tuple[Dataset, list[tuple[Dataset, Role]]]:
    """The release, and the real sets with their roles.

    Raises:
        NotFoundError: If a name is unknown, or there is no set to audit against.
        ConflictError: If the release is not sealed.
    """
    release = catalog.dataset(request.release, DatasetKind.RELEASE)
    if catalog.latest_seal(release.dataset_id) is None:
        raise ConflictError(
            f"release {release.name} is not complete: its ingest never reached the end of its source",
            hint="run the same ingest again; it goes on where it stopped",
        )
    return release, _roles(catalog, request, release)


def participants(catalog: Catalog, request: AuditRequest) -> list[Dataset]:
    """Every dataset whose images must be in one space: release, real sets, and the reference release where given.

    Raises:
        NotFoundError: As ``datasets_of``.
        ConflictError: Likewise.
    """
    release, roles = datasets_of(catalog, request)
    reference = _reference(catalog, request, release)
    return [release, *(dataset for dataset, _ in roles), *([] if reference is None else [reference])]


def _reference(catalog: Catalog, request: AuditRequest, release: Dataset) -> Dataset | None:
    if request.reference_release is None:
        return None
    reference = catalog.dataset(request.reference_release, DatasetKind.RELEASE)
    if reference.dataset_id == release.dataset_id:
        raise UsageError(
            f"{release.name} can't be its own reference",
            hint="--reference-release takes a release whose generator was trained on other images",
        )
    if catalog.latest_seal(reference.dataset_id) is None:
        raise ConflictError(
            f"release {reference.name} is not complete: its ingest never reached the end of its source",
            hint="run the same ingest again; it goes on where it stopped",
        )
    return reference


def _roles(catalog: Catalog, request: AuditRequest, release: Dataset) -> list[tuple[Dataset, Role]]:
    given = {Role.USED: request.used, Role.NOT_USED: request.not_used, Role.AGAINST: request.against}
    roles: dict[str, tuple[Dataset, Role]] = {}
    for role, names in given.items():
        for name in names:
            dataset = catalog.dataset(name, DatasetKind.SET)
            if roles.setdefault(dataset.dataset_id, (dataset, role))[1] is not role:
                raise UsageError(f"set {name} was given twice with different claims", hint="one flag a set")
    return list(roles.values()) if any(given.values()) else _default_roles(catalog, release)


def _default_roles(catalog: Catalog, release: Dataset) -> list[tuple[Dataset, Role]]:
    sets = [summary.dataset for summary in catalog.datasets(DatasetKind.SET) if summary.image_count]
    fitting = [s for s in sets if not s.modality or not release.modality or s.modality == release.modality]
    if not fitting:
        raise NotFoundError(
            f"there is no real set to audit {release.name} against",
            hint="ingest one: provenance ingest FOLDER --set NAME --membership used|not-used|unknown",
        )
    return [(s, ROLE_OF_MEMBERSHIP[s.membership]) for s in fitting if s.membership is not None]


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
    used, not_used = by_role.get(Role.USED, {}), by_role.get(Role.NOT_USED, {})
    overlap = used.keys() & not_used.keys()
    if overlap and not exclude_overlap:
        _refuse_overlap(catalog, sets, [used[image_id] for image_id in sorted(overlap)])
    for image_id in overlap:
        del used[image_id], not_used[image_id]
    against = by_role.get(Role.AGAINST, {})
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
