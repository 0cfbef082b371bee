"""Questions about what is on record: images, sets and releases, audits, neighbors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from provenance.brief import Brief
from provenance.errors import NotFoundError, SourceError, SpaceMismatchError, UsageError
from provenance.findings import JointFindings
from provenance.records import AuditWithSets, Drift, latest_by_answer
from provenance.spaces import is_plain
from provenance.vocabulary import TOP_K, Answer, DatasetKind, PointState, Rejection, Role, Space, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from provenance.arrays import Float32s, Int64s
    from provenance.catalog import Catalog
    from provenance.embedding import Backbone
    from provenance.installation import Installation
    from provenance.records import (
        AuditDataset,
        AuditRecord,
        AuditReject,
        Collection,
        CopyOfImage,
        Dataset,
        DatasetSummary,
        HistoryEntry,
        ImageRecord,
        ImageSpace,
        Member,
        MembershipFigures,
        MembershipRecord,
        OccurrenceRecord,
        RejectRecord,
        ReplacedImage,
        RunRecord,
        SensitivityRecord,
        StoredCopySource,
        StoredVerdict,
        VerdictAbout,
        VerdictCiting,
    )
    from provenance.vocabulary import Answer, SourceItem


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One known image near the one that was asked about; rank 1 is the closest."""

    rank: int
    similarity: float
    image_id: str
    name: str
    dataset: str
    kind: str
    group_key: str | None


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image as people find it: by name, and where it can be opened (the latest place first)."""

    image_id: str | None
    name: str
    places: tuple[SourceItem, ...]


@dataclass(frozen=True, slots=True, repr=False)
class AnswerAbout(Brief):
    """What one answer of an audit says of one image.

    Attributes:
        answer: ``None``: the audit is one by a single rule.
        audit: The answer's own record.
        verdict: On the image; ``None``: it did not judge it.
        calibration_score: Where the image calibrated it.
        beside: What stands beside its label, where something does.
        sources: What it copies, best first, each with its image.
        copies: Which images copy it, likewise.
        by_position: Whether its verdict is by a score of positions, so that it can be told which of them speak for use.
    """

    answer: Answer | None
    audit: AuditRecord
    verdict: StoredVerdict | None
    calibration_score: float | None
    beside: MembershipFigures | None
    sources: tuple[tuple[StoredCopySource, NamedImage], ...]
    copies: tuple[tuple[CopyOfImage, NamedImage], ...]
    by_position: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class ImageView(Brief):
    """Everything on record about one image; ``audit`` and its ``answers``: what one audit says of it."""

    image: ImageRecord
    occurrences: tuple[OccurrenceRecord, ...]
    memberships: tuple[MembershipRecord, ...]
    spaces: tuple[ImageSpace, ...]
    verdicts_about: tuple[VerdictAbout, ...]
    verdicts_citing: tuple[VerdictCiting, ...]
    places: tuple[SourceItem, ...]
    audit: RecordedAudit | None = None
    answers: tuple[AnswerAbout, ...] = ()

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        said = {each.answer or each.audit.rule: each.verdict and each.verdict.label for each in self.answers}
        held = ", ".join(each.dataset.name for each in self.memberships)
        named = {
            "image_id": self.image.image_id[:19],
            "name": next((o.name for o in self.occurrences), None),
            "in": held,
        }
        return named | {"audit": self.audit and self.audit.audit.audit_id[:8]} | said


@dataclass(frozen=True, slots=True, repr=False)
class DatasetView(Brief):
    """A set or release with its counts and spaces, and, shown in full, its groups, runs and rejected inputs.

    Attributes:
        group_sizes: How many images each group has, by pseudonym, the largest first; those of no group are left out.
        retired_count: Images that take part no more, because no source holds them.
    """

    summary: DatasetSummary
    spaces: tuple[Space, ...]
    runs: tuple[RunRecord, ...] = ()
    rejects: tuple[RejectRecord, ...] = ()

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        return {**self.summary.told(), "spaces": ", ".join(space.backbone for space in self.spaces)}

    group_sizes: Mapping[str, int] = field(default_factory=dict)
    retired_count: int = 0

    @property
    def group_count(self) -> int:
        """How many groups its images are in."""
        return len(self.group_sizes)

    @property
    def largest_group_count(self) -> int:
        """How many images the largest group has; 0 where there is none."""
        return max(self.group_sizes.values(), default=0)

    @property
    def ungrouped_count(self) -> int:
        """How many images are in no group."""
        return self.summary.image_count - sum(self.group_sizes.values())


@dataclass(frozen=True, slots=True, repr=False)
class RecordedAudit(AuditWithSets):
    """A recorded audit with every dataset in its role; ``part_of``: the audit that it is an answer of, and which."""

    audit: AuditRecord
    datasets: tuple[AuditDataset, ...]
    answers: Mapping[Answer, RecordedAudit] = field(default_factory=dict, kw_only=True)
    part_of: tuple[str, Answer] | None = field(default=None, kw_only=True)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, as it was said when the audit was made."""
        return self.audit.findings.notes or ()

    @property
    def missing(self) -> Mapping[str, str]:
        """Of answers that there are not, why not."""
        return self.audit.findings.own_as(JointFindings).missing


@dataclass(frozen=True, slots=True, repr=False)
class AuditInFull(RecordedAudit):
    """The same with the inputs it rejected, what was measured of it since, and how its datasets have changed."""

    rejects: tuple[AuditReject, ...]
    sensitivities: tuple[SensitivityRecord, ...]
    drift: tuple[Drift, ...]

    @property
    def latest_sensitivities(self) -> Mapping[str, SensitivityRecord]:
        """The latest measurement of each answer; of an audit by one rule under ''."""
        return latest_by_answer(self.sensitivities)


def list_audits(catalog: Catalog, *, parts: bool = False) -> list[RecordedAudit]:
    """All audits, the newest first; ``parts``: their answers too, each an audit of its own."""
    return [_recorded(catalog, each) for each in catalog.audits(parts=parts)]


def _recorded(catalog: Catalog, audit: AuditRecord) -> RecordedAudit:
    played = tuple(catalog.audit_datasets(audit.audit_id))
    whole = catalog.whole_of(audit.audit_id)
    return RecordedAudit(audit, played, answers=_answers(catalog, audit), part_of=whole)


def _answers(catalog: Catalog, audit: AuditRecord) -> dict[Answer, RecordedAudit]:
    return {answer: _recorded(catalog, part) for answer, part in catalog.parts_of(audit.audit_id).items()}


def show_audit(catalog: Catalog, audit_id: str) -> AuditInFull:
    """One audit with all that is on record of it.

    Raises:
        NotFoundError: If there is no such audit, or more than one.
    """
    audit = catalog.audit(audit_id)
    return AuditInFull(
        audit,
        tuple(catalog.audit_datasets(audit.audit_id)),
        tuple(catalog.audit_rejects(audit.audit_id)),
        tuple(catalog.sensitivities(audit.audit_id)),
        tuple(drift_of_audit(catalog, audit.audit_id)),
        answers=_answers(catalog, audit),
        part_of=catalog.whole_of(audit.audit_id),
    )


def show_image(workspace: Installation, text: str, audit_id: str | None = None) -> ImageView:
    """Everything on record about one image: by id, a unique prefix of 8 or more hex digits, or a unique file name.

    What one audit says of it is that of ``audit_id``, or of the latest one of several answers that it had part in, else
    of the latest one by one rule that judged it, else of the latest that it had part in.

    Raises:
        NotFoundError: If it is unknown or not unique, or took no part in the audit that is asked for.
    """
    catalog = workspace.catalog
    image = catalog.resolve_image(text)
    key = image.image_key
    memberships, about = tuple(catalog.memberships_of(key)), tuple(catalog.verdicts_about(key))
    audit = _audit_about(catalog, image, memberships, about, audit_id)
    return ImageView(
        image,
        tuple(catalog.occurrences_of(key)),
        memberships,
        tuple(catalog.spaces_of(key)),
        about,
        tuple(catalog.verdicts_citing(key)),
        tuple(catalog.occurrences_for_reading(key)),
        audit,
        () if audit is None else tuple(_answers_about(catalog, audit, key)),
    )


def _audit_about(
    catalog: Catalog,
    image: ImageRecord,
    memberships: Sequence[MembershipRecord],
    about: Sequence[VerdictAbout],
    asked: str | None,
) -> RecordedAudit | None:
    joined = {each.dataset.dataset_id: each.added_at for each in memberships}
    judging = {verdict.audit_id for verdict in about}
    judging |= {whole[0] for audit_id in judging if (whole := catalog.whole_of(audit_id)) is not None}

    def has_part(audit: AuditRecord) -> bool:
        """Whether it judged the image, or the image was in one of its sets by then."""
        played = (row.dataset_id for row in catalog.audit_datasets(audit.audit_id))
        return audit.audit_id in judging or any(joined[each] <= audit.finished_at for each in played if each in joined)

    if asked is not None:
        found = catalog.audit(asked)
        if not has_part(found):
            raise NotFoundError(
                f"image {image.image_id[:19]} took no part in audit {found.audit_id[:8]}",
                hint="`provenance show` without --audit says in which it did",
            )
        return _recorded(catalog, found)
    # the newest first; of several answers before those by one rule, and of these first what judged it
    audits = sorted(
        catalog.audits(), key=lambda each: (each.subject is not Subject.RELEASE, each.audit_id not in judging)
    )
    latest = next(filter(has_part, audits), None)
    return None if latest is None else _recorded(catalog, latest)


def _answers_about(catalog: Catalog, found: RecordedAudit, image_key: str) -> Iterator[AnswerAbout]:
    answers: list[tuple[Answer | None, AuditRecord]] = [(name, part.audit) for name, part in found.answers.items()]
    for answer, audit in answers or [(None, found.audit)]:
        sources = catalog.sources_of(audit.audit_id, image_key).get(image_key, [])
        copies = catalog.copies_of(audit.audit_id, image_key)
        real, made = _named(catalog, found, sources), _named(catalog, found, copies, released=True)
        verdict, space = catalog.verdict_on(audit.audit_id, image_key), catalog.space(audit.space_id)
        calibrated = audit.subject is Subject.REAL and audit.findings.calibrated is not None
        yield AnswerAbout(
            answer,
            audit,
            verdict,
            catalog.calibration_score(audit.audit_id, image_key),
            catalog.membership_figures(audit.audit_id, image_key).get(image_key),
            tuple((source, real[source.image_key]) for source in sources),
            tuple((copy, made[copy.image_key]) for copy in copies),
            verdict is not None and calibrated and (space.parts > 1 or space.is_of_pixels),
        )


def _named(
    catalog: Catalog,
    found: RecordedAudit,
    images: Sequence[StoredCopySource] | Sequence[CopyOfImage],
    *,
    released: bool = False,
) -> dict[str, NamedImage]:
    """Sources by their names as real images, copies by theirs in the release: a file may stand in both."""
    ids = {each.image_key: each.image_id for each in images}
    keys, release = sorted(ids), [row.dataset_id for row in found.datasets if row.role is Role.RELEASE]
    names = catalog.names_of(release, keys) if released else real_names(catalog, found.datasets, keys)
    places = catalog.places_for_reading(keys)
    return {key: NamedImage(ids[key], names.get(key, ""), tuple(places.get(key, ()))) for key in ids}


def real_names(catalog: Catalog, played: Sequence[AuditDataset], image_keys: Iterable[str]) -> dict[str, str]:
    """The name of each real image in the first role that it has in an audit: used, of unknown use, not used."""
    keys, names = sorted(image_keys), dict[str, str]()
    for role in (Role.NOT_USED, Role.AGAINST, Role.USED):
        names |= catalog.names_of([row.dataset_id for row in played if row.role is role], keys)
    return names


def list_datasets(workspace: Installation, kind: DatasetKind) -> list[DatasetView]:
    """All sets, or all releases, by name."""
    spaces = {space.space_id: space for space in workspace.catalog.spaces()}
    return [
        DatasetView(summary, tuple(spaces[space_id] for space_id in summary.space_ids))
        for summary in workspace.catalog.datasets(kind)
    ]


def show_dataset(workspace: Installation, name: str, kind: DatasetKind | None = None) -> DatasetView:
    """One set or release, with its runs and rejected inputs.

    Raises:
        NotFoundError: If there is none of that name and kind.
    """
    catalog = workspace.catalog
    dataset = catalog.dataset(name, kind)
    view = next(v for v in list_datasets(workspace, dataset.kind) if v.summary.dataset == dataset)
    sizes = catalog.group_sizes(dataset.dataset_id)
    groups = {key: sizes[key] for key in sorted(filter(None, sizes), key=lambda key: (-sizes[key], key))}
    runs, rejects = catalog.runs(dataset.dataset_id), catalog.rejects(dataset.dataset_id)
    return replace(
        view,
        runs=tuple(runs),
        rejects=tuple(rejects),
        group_sizes=groups,
        retired_count=catalog.retired_count(dataset.dataset_id),
    )


def earlier_named(workspace: Installation, text: str) -> list[ReplacedImage]:
    """The images that the name of an image meant before its file was overwritten; of no known image none."""
    try:
        image = workspace.catalog.resolve_image(text)
    except NotFoundError:
        return []
    return workspace.catalog.replaced_by(image.image_key)


def history_of(workspace: Installation, text: str) -> tuple[ImageRecord, list[HistoryEntry]]:
    """Everything that ever happened to an image, in order.

    Raises:
        NotFoundError: If it is unknown or not unique.
    """
    image = workspace.catalog.resolve_image(text)
    return image, workspace.catalog.history_of(image.image_key)


def neighbors_of_image(
    workspace: Installation, text: str, *, datasets: Sequence[str] = (), top_k: int = TOP_K, space: str | None = None
) -> list[Neighbor]:
    """Exact nearest images of a known image (by id, prefix or name), itself left out.

    They are looked for in the named sets and releases, or in all that share the space. ``space`` is a backbone name or
    space id where the image is embedded in several.

    Raises:
        NotFoundError: If the image or a dataset is unknown.
        SpaceMismatchError: If the image has no vector in the space, or several spaces and none was chosen.
    """
    image = workspace.catalog.resolve_image(text)
    indexed = [s for s in workspace.catalog.spaces_of(image.image_key) if s.state is PointState.INDEXED]
    place = _place_in_space(workspace.catalog, indexed, space)
    chosen = workspace.catalog.space(place.space_id)
    located = [(place.collection_key, place.point_id, place.vector_sha256)]
    from provenance.index import load_vectors

    vector = load_vectors(workspace.index, located, parts=chosen.parts, dimension=chosen.dimension)
    return _nearest(workspace, vector, chosen, datasets, top_k, leave_out=image.image_id)


def neighbors_of_file(
    workspace: Installation, path: Path, backbone: Backbone, *, datasets: Sequence[str] = (), top_k: int = TOP_K
) -> list[Neighbor]:
    """Exact nearest known images of a file that need not be known; nothing is recorded.

    Raises:
        SourceError: If the file is no image.
        SpaceMismatchError: If nothing on record is embedded in the backbone's space.
    """
    known = {space.space_id for space in workspace.catalog.spaces()}
    if backbone.space.space_id not in known:
        listed = ", ".join(sorted({space.backbone for space in workspace.catalog.spaces()})) or "nothing"
        raise SpaceMismatchError(
            f"nothing is embedded in the space of {backbone.space.backbone} with these weights",
            hint=f"on record: {listed}; choose with --backbone, --backbone-file or --weights",
        )
    vector = _embed_file(workspace, path, backbone)
    return _nearest(workspace, vector, backbone.space, datasets, top_k, leave_out=None)


def _embed_file(workspace: Installation, path: Path, backbone: Backbone) -> Float32s:
    import numpy as np

    from provenance.images import open_source, prepare

    item = next(iter(open_source(path, max_file_bytes=workspace.settings.max_file_bytes)), None)
    outcome = None if item is None else prepare(item, workspace.preparation(backbone, burned_in=True))
    if outcome is None or isinstance(outcome, Rejection):
        detail = outcome.detail if outcome else "it is empty"
        raise SourceError(f"{path} can't be read as an image: {detail}", hint="give one image file")
    vectors = backbone.embed(outcome.pixels[None])
    if not np.isfinite(vectors).all():
        raise SourceError(f"{path}: backbone {backbone.space.backbone} gives no finite vector for it")
    return vectors


def _place_in_space(catalog: Catalog, places: Sequence[ImageSpace], wanted: str | None) -> ImageSpace:
    if wanted is not None:
        space_id = catalog.space(wanted).space_id
        places = [place for place in places if place.space_id == space_id]
    if len({place.space_id for place in places}) > 1:
        places = [place for place in places if is_plain(catalog.space(place.space_id))] or places
    spaces = {place.space_id: place.backbone for place in places}
    if not spaces:
        raise SpaceMismatchError(
            "this image has no vector in that space", hint="provenance show IMAGE_ID lists its spaces"
        )
    if len(spaces) > 1:
        listed = ", ".join(f"{name} ({space_id[:18]})" for space_id, name in spaces.items())
        raise SpaceMismatchError(f"this image is embedded in several spaces: {listed}", hint="choose one with --space")
    return places[0]


def _nearest(
    workspace: Installation, vector: Float32s, space: Space, names: Sequence[str], top_k: int, leave_out: str | None
) -> list[Neighbor]:
    from provenance.index import neighbors_by_engine

    if top_k < 1:
        raise UsageError(f"top-k must be 1 or more, not {top_k}")
    if space.parts != 1:
        raise SpaceMismatchError(f"{space.backbone} gives {space.parts} parts an image; neighbors compare whole images")
    found: list[tuple[float, Member, Dataset]] = []
    for dataset, collection in _collections(workspace.catalog, space, names):
        key = collection.collection_key
        members = [m for m in workspace.catalog.members(dataset.dataset_id, key) if m.image_id != leave_out]
        rank = {m.point_id: row for row, m in enumerate(members)}
        if not members:
            continue
        fetch = partial(_vectors, workspace, space, members)
        rows, values = neighbors_by_engine(workspace.index, [key], vector, top_k, rank, fetch)
        found += [(float(v), members[int(r)], dataset) for r, v in zip(rows[0], values[0], strict=True) if r >= 0]
    found.sort(key=lambda row: (-row[0], row[1].image_id, row[2].name))
    return [_neighbor(workspace.catalog, rank, *row) for rank, row in enumerate(found[:top_k], start=1)]


def _vectors(workspace: Installation, space: Space, members: Sequence[Member], rows: Int64s) -> Float32s:
    from provenance.index import load_vectors

    located = [(m.collection_key, m.point_id, m.vector_sha256) for m in map(members.__getitem__, rows.tolist())]
    return load_vectors(workspace.index, located, parts=space.parts, dimension=space.dimension)


def _neighbor(catalog: Catalog, rank: int, similarity: float, member: Member, dataset: Dataset) -> Neighbor:
    name = catalog.names_of([dataset.dataset_id], [member.image_key]).get(member.image_key, "")
    return Neighbor(rank, similarity, member.image_id, name, dataset.name, dataset.kind.value, member.group_key)


def _collections(catalog: Catalog, space: Space, names: Sequence[str]) -> list[tuple[Dataset, Collection]]:
    datasets = [catalog.dataset(name) for name in names] or [summary.dataset for summary in catalog.datasets()]
    pairs = [(d, c) for d in datasets for c in catalog.collections_of(d.dataset_id) if c.space_id == space.space_id]
    lacking = {d.name for d in datasets} - {d.name for d, _ in pairs}
    if names and lacking:
        raise SpaceMismatchError(
            f"not embedded in {space.backbone}: {', '.join(sorted(lacking))}", hint="choose another --space"
        )
    return pairs


def drift_of_audit(catalog: Catalog, audit_id: str) -> list[Drift]:
    """For each dataset of an audit: whether it holds other images now. A removed dataset has no count."""
    from provenance.ingest import image_ids_digest

    live = {summary.dataset.dataset_id for summary in catalog.datasets()}
    drifts = []
    for row in catalog.audit_datasets(audit_id):
        ids = catalog.member_ids(row.dataset_id) if row.dataset_id in live else None
        changed = ids is None or image_ids_digest(ids) != row.dataset_digest
        drifts.append(Drift(row, None if ids is None else len(ids), changed))
    return drifts
