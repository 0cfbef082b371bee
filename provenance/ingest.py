"""The ingest service: source -> decode -> embed -> catalog and index.

Order of writes, batch by batch: row ``pending`` -> upsert -> engine flush -> row ``indexed``. What is
``indexed`` was acknowledged and is durable; what is ``pending`` after a crash is embedded again by the next
run of the same source (upserts are idempotent) and is seen by nobody until then.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.catalog import Generator, NewImage
from provenance.errors import ConflictError, SourceError, UsageError
from provenance.groups import GroupRule, group_rule
from provenance.images import PreparationSettings, Prepared, layout_sources, open_source, prepare
from provenance.index import CollectionSpec, Points, point_id, vector_digest
from provenance.version import __version__
from provenance.vocabulary import (
    DatasetKind,
    Membership,
    Rejection,
    RejectReason,
    RunState,
    SourceItem,
    Space,
)

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.catalog import Catalog, Dataset
    from provenance.embedding import Backbone
    from provenance.workspace import Workspace

FloatArray = np.ndarray[Any, np.dtype[np.float32]]

CHUNK = 16
"""Images whose state is looked up in the catalog at once."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: ``done`` of ``total`` inputs (``None``: not known beforehand)."""

    stage: str
    done: int
    total: int | None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """What to ingest, and under which name.

    Attributes:
        sources: Folders, files, list files or archives, read in this order.
        name: The set's or release's name.
        kind: Set or release.
        membership: Default membership of a set; ``None`` for a release.
        generator: Generator of a release; ``None`` for a set.
        modality: DICOM's code, such as ``CT``; empty: not stated.
        group_from: CSV file or regular expression that gives each image its group.
        rehash: Read every file again, also those whose size, times and inode are on record.
    """

    sources: tuple[Path, ...]
    name: str
    kind: DatasetKind
    membership: Membership | None = None
    generator: Generator | None = None
    modality: str = ""
    group_from: str | None = None
    rehash: bool = False

    def __post_init__(self) -> None:
        if not self.sources:
            raise UsageError("nothing to ingest: no source was given")
        if not self.name.strip() or self.name != self.name.strip():
            raise UsageError(f"{self.name!r} is no name for a {self.kind.value}")
        if (self.kind is DatasetKind.SET) != (self.membership is not None):
            raise UsageError("a set needs --membership (used, not-used or unknown); a release has none")
        if (self.kind is DatasetKind.RELEASE) != (self.generator is not None):
            raise UsageError("a release needs --generator NAME; a set has none")


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one run of the ingest service did.

    Attributes:
        counts: ``read`` inputs = ``added`` + ``known`` + ``repeated`` + ``rejected``; of the added, ``embedded``
            went through the backbone and ``copied`` had a vector of the same space in another collection.
        rejections: Every input that did not become an image, with its reason.
        sealed: Whether the release is sealed now; ``None`` for a set.
    """

    run_id: str
    dataset_id: str
    name: str
    kind: DatasetKind
    space_id: str
    counts: dict[str, int]
    rejections: tuple[Rejection, ...]
    image_count: int
    sealed: bool | None
    dataset_digest: str
    duration_seconds: float


LAYOUT_FOLDERS = {
    "real_used": Membership.USED,
    "real_not_used": Membership.NOT_USED,
    "real_unknown": Membership.UNKNOWN,
}


def layout_requests(root: Path, prefix: str, generator: Generator, **common: Any) -> list[IngestRequest]:
    """One request per folder of the ImageCLEFmed-GAN layout that is there: up to three sets and one release.

    Args:
        root: Folder with ``real_used/``, ``real_not_used/``, ``real_unknown/``, ``generated/``.
        prefix: The names become ``prefix-used``, ``prefix-not-used``, ``prefix-unknown``, ``prefix-generated``.
        generator: Of the release.
        common: Further attributes that all requests share.

    Raises:
        SourceError: If none of the folders is there.
    """
    requests = []
    for folder, path in layout_sources(root).items():
        name = f"{prefix}-{folder.removeprefix('real_').replace('_', '-')}"
        membership = LAYOUT_FOLDERS.get(folder)
        if membership is None:
            requests.append(IngestRequest((path,), name, DatasetKind.RELEASE, generator=generator, **common))
        else:
            requests.append(IngestRequest((path,), name, DatasetKind.SET, membership, **common))
    return requests


class _Action(Enum):
    EMBED = "embed"
    COPY = "copy"
    KNOWN = "known"
    REPEATED = "repeated"
    REJECT = "reject"


@dataclass(slots=True)
class _Planned:
    """A prepared image (or a rejection) with what is to be done about it."""

    action: _Action
    prepared: Prepared | None = None
    rejection: Rejection | None = None
    origin: tuple[str, str, str] | None = None

    @property
    def pixels(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Canonical pixels, uint8 (size, size, 3); what was rejected has no such attribute."""
        if self.prepared is None:
            raise AttributeError("a rejected input has no pixels")
        return self.prepared.pixels


def image_ids_digest(image_ids: Iterable[str]) -> str:
    """``sha256:<hex>`` over the sorted image_ids alone: the identity of a set's or release's content."""
    return "sha256:" + hashlib.sha256("\n".join(sorted(image_ids)).encode()).hexdigest()


def run_ingest(
    workspace: Workspace, request: IngestRequest, backbone: Backbone, on_progress: OnProgress | None = None
) -> IngestReport:
    """Bring sources into a set or release, in the backbone's space.

    Raises:
        SourceError: If a source can't be read (nothing is recorded then), or no image of it can.
        ConflictError: If the name stands for something else, or a sealed release would change.
        VectorStoreError: If the index can't be written; what was acknowledged before stays.
    """
    limit = workspace.settings.max_file_bytes
    sources = [open_source(path, max_file_bytes=limit) for path in request.sources]
    groups = group_rule(request.group_from)
    counts = [source.count() for source in sources]
    total = None if None in counts else sum(count for count in counts if count is not None)
    _ = workspace.index
    dataset = _dataset_of(workspace.catalog, request)
    run = _IngestRun(workspace, request, backbone, dataset, groups, on_progress or (lambda _progress: None), total)
    return run.execute(item for source in sources for item in source)


def _dataset_of(catalog: Catalog, request: IngestRequest) -> Dataset:
    if request.kind is DatasetKind.SET:
        assert request.membership is not None
        return catalog.create_set(request.name, request.membership, request.modality)
    assert request.generator is not None
    return catalog.create_release(request.name, request.generator, request.modality)


@dataclass
class _IngestRun:
    """One run: the state that its batches share."""

    workspace: Workspace
    request: IngestRequest
    backbone: Backbone
    dataset: Dataset
    groups: GroupRule
    on_progress: OnProgress
    total: int | None
    counts: Counter[str] = field(default_factory=Counter)
    rejections: list[Rejection] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    unusable: dict[str, str] = field(default_factory=dict)
    run_id: str = ""
    collection_key: str = ""
    sealed_ids: frozenset[str] | None = None
    rejected_before: frozenset[tuple[str, str]] = frozenset()

    @property
    def space(self) -> Space:
        return self.backbone.space

    @property
    def catalog(self) -> Catalog:
        return self.workspace.catalog

    def execute(self, items: Iterable[SourceItem | Rejection]) -> IngestReport:
        started = time.monotonic()
        self._open()
        with self._recorded():
            for planned, vectors in self._embedded(items):
                self._write(planned, vectors)
                self.on_progress(Progress("ingest", self.counts["read"], self.total))
            self._refuse_nothing_read()
            sealed = self._seal() if self.request.kind is DatasetKind.RELEASE else None
        return self._report(sealed, time.monotonic() - started)

    def _open(self) -> None:
        catalog, dataset = self.catalog, self.dataset
        catalog.ensure_space(self.space)
        self.collection_key = catalog.ensure_collection(dataset.dataset_id, self.space.space_id)
        self.workspace.index.create(CollectionSpec(self.collection_key, self.space.dimension, self.space.parts))
        if catalog.latest_seal(dataset.dataset_id) is not None:
            self.sealed_ids = frozenset(catalog.member_ids(dataset.dataset_id))
        self.rejected_before = frozenset((r.source, r.member or "") for r in catalog.rejects(dataset.dataset_id))
        arguments = {
            "membership": self.request.membership.value if self.request.membership else None,
            "group_from": self.request.group_from,
        }
        self.run_id = catalog.start_run("ingest", dataset.dataset_id, self.space.space_id, arguments, __version__)

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Whatever ends the run, the catalog says how it ended and how far it came."""
        state = RunState.FAILED
        try:
            yield
            state = RunState.FINISHED
        except KeyboardInterrupt:
            state = RunState.INTERRUPTED
            raise
        finally:
            self.catalog.finish_run(self.run_id, state, dict(self.counts))

    def _embedded(
        self, items: Iterable[SourceItem | Rejection]
    ) -> Iterator[tuple[list[_Planned], list[FloatArray | None]]]:
        from provenance.embedding import embed_stream, prepared_stream

        settings = self.workspace.settings
        preparation = PreparationSettings(
            size=self.backbone.input_size,
            max_pixels=settings.max_pixels,
            max_file_bytes=settings.max_file_bytes,
        )
        task = partial(_prepare_or_pass, settings=preparation)
        prepared = prepared_stream(self._unknown_items(items), task, workers=settings.workers)
        planned = self._planned(prepared)
        for batch in embed_stream(planned, self.backbone, wanted=lambda plan: plan.action is _Action.EMBED):
            yield [plan for plan, _ in batch], [vector for _, vector in batch]

    def _unknown_items(self, items: Iterable[SourceItem | Rejection]) -> Iterator[SourceItem | Rejection]:
        """Leave out files that are on record as they are: same place, size, times and inode."""
        known: dict[tuple[str, str], tuple[tuple[int, int, int, int], str]] = {}
        if not self.request.rehash:
            for row in self.catalog.known_occurrences(self.dataset.dataset_id, self.collection_key):
                stamp = (row.size_bytes, row.modified_ns, row.changed_ns, row.inode)
                known[row.source, row.member or ""] = (stamp, row.image_id)
        for item in items:
            if isinstance(item, SourceItem):
                stamp = (item.size_bytes, item.modified_ns, item.changed_ns, item.inode)
                on_record = known.get((item.source, item.member or ""))
                if on_record is not None and on_record[0] == stamp:
                    self.seen.add(on_record[1])
                    self.counts["read"] += 1
                    self.counts["known"] += 1
                    continue
            yield item

    def _planned(self, prepared: Iterable[Prepared | Rejection]) -> Iterator[_Planned]:
        chunk: list[Prepared | Rejection] = []
        for item in prepared:
            chunk.append(item)
            if len(chunk) == CHUNK:
                yield from self._plan(chunk)
                chunk = []
        yield from self._plan(chunk)

    def _plan(self, chunk: Sequence[Prepared | Rejection]) -> list[_Planned]:
        images = [item for item in chunk if isinstance(item, Prepared)]
        ids = [image.facts.image_id for image in images]
        if not ids:
            return [_Planned(_Action.REJECT, rejection=item) for item in chunk if isinstance(item, Rejection)]
        points = self.catalog.point_states(self.collection_key, ids)
        indexed = {image_id for image_id, point in points.items() if point.state == "indexed"}
        elsewhere = self.catalog.vectors_elsewhere(self.space.space_id, ids, self.collection_key)
        forgotten = self.catalog.suppressed([(image.facts.image_id, image.facts.pixel_digest) for image in images])
        plans = []
        for item in chunk:
            if isinstance(item, Rejection):
                plans.append(_Planned(_Action.REJECT, rejection=item))
            elif item.facts.image_id in forgotten:
                plans.append(self._reject(item, RejectReason.FORGOTTEN, "was forgotten on request; it stays out"))
            else:
                self._refuse_change_of_sealed(item)
                action = self._action(item.facts.image_id, indexed, elsewhere)
                plans.append(_Planned(action, item, origin=elsewhere.get(item.facts.image_id)))
                self.seen.add(item.facts.image_id)
        return plans

    def _action(self, image_id: str, indexed: set[str], elsewhere: Mapping[str, tuple[str, str, str]]) -> _Action:
        if image_id in indexed:
            return _Action.KNOWN
        if image_id in self.seen:
            return _Action.REPEATED
        return _Action.COPY if image_id in elsewhere else _Action.EMBED

    def _reject(self, prepared: Prepared, reason: RejectReason, detail: str) -> _Planned:
        item = prepared.item
        rejection = Rejection(item.name, item.source, item.member, item.size_bytes, reason, detail)
        return _Planned(_Action.REJECT, rejection=rejection)

    def _refuse_change_of_sealed(self, prepared: Prepared) -> None:
        if self.sealed_ids is None or prepared.facts.image_id in self.sealed_ids:
            return
        if (prepared.item.source, prepared.item.member or "") in self.rejected_before:
            return
        raise ConflictError(
            f"release {self.request.name} is sealed and does not hold {prepared.item.name} "
            f"({prepared.facts.image_id[:19]}...)",
            hint="other content needs another name: --release NAME",
        )

    def _write(self, planned: Sequence[_Planned], vectors: Sequence[FloatArray | None]) -> None:
        rejected: list[Rejection] = []
        images: list[tuple[_Planned, FloatArray | None]] = []
        copies = self._copied([plan for plan in planned if plan.action is _Action.COPY])
        for plan, vector in zip(planned, vectors, strict=True):
            outcome = self._usable(plan, vector)
            if isinstance(outcome, Rejection):
                rejected.append(outcome)
            else:
                images.append((plan, copies.get(id(plan), outcome)))
        self._record(images)
        if rejected:
            self.catalog.add_rejects(self.run_id, self.dataset.dataset_id, rejected)
            self.rejections.extend(rejected)
        self._count(images, len(rejected))

    def _usable(self, plan: _Planned, vector: FloatArray | None) -> FloatArray | Rejection | None:
        if plan.rejection is not None:
            return plan.rejection
        assert plan.prepared is not None
        image_id = plan.prepared.facts.image_id
        if vector is not None and not np.isfinite(vector).all():
            self.unusable[image_id] = f"backbone {self.space.backbone} gives no finite vector for it"
            self.seen.discard(image_id)
        if image_id in self.unusable:
            rejection = self._reject(plan.prepared, RejectReason.NOT_FINITE, self.unusable[image_id]).rejection
            assert rejection is not None
            return rejection
        return vector

    def _copied(self, plans: Sequence[_Planned]) -> dict[int, FloatArray]:
        """Vectors of the same images and space that another collection holds, verified by digest."""
        if not plans:
            return {}
        from provenance.index import load_vectors

        vectors = load_vectors(
            self.workspace.index,
            [plan.origin for plan in plans if plan.origin is not None],
            parts=self.space.parts,
            dimension=self.space.dimension,
        )
        return {id(plan): vector for plan, vector in zip(plans, vectors, strict=True)}

    def _record(self, images: Sequence[tuple[_Planned, FloatArray | None]]) -> None:
        rows, written = [], []
        for plan, vector in images:
            assert plan.prepared is not None
            facts, item = plan.prepared.facts, plan.prepared.item
            identity = point_id(facts.image_id, self.space.space_id)
            digest = None if vector is None else vector_digest(vector)
            rows.append(NewImage(facts, [item], self.groups(item.name), identity, digest))
            if vector is not None and digest is not None:
                written.append((rows[-1], vector))
        if rows:
            self.catalog.record_batch(self.dataset.dataset_id, self.collection_key, self.run_id, rows)
        if written:
            self._upsert([row for row, _ in written], np.stack([vector for _, vector in written]))

    def _upsert(self, rows: Sequence[NewImage], vectors: FloatArray) -> None:
        keys = self.catalog.lookup([row.facts.image_id for row in rows])
        payloads = [
            {
                "image_key": keys[row.facts.image_id],
                "group_key": self.catalog.pseudonym(row.group) if row.group else None,
                "vector_sha256": row.vector_sha256,
            }
            for row in rows
        ]
        ids = [row.point_id for row in rows]
        self.workspace.index.upsert(self.collection_key, Points(ids, vectors, payloads))
        self.workspace.index.flush(self.collection_key)
        self.catalog.acknowledge(self.collection_key, ids)

    def _count(self, images: Sequence[tuple[_Planned, object]], rejected: int) -> None:
        actions = Counter(plan.action for plan, _ in images)
        self.counts["read"] += len(images) + rejected
        self.counts["rejected"] += rejected
        self.counts["embedded"] += actions[_Action.EMBED]
        self.counts["copied"] += actions[_Action.COPY]
        self.counts["added"] += actions[_Action.EMBED] + actions[_Action.COPY]
        self.counts["known"] += actions[_Action.KNOWN]
        self.counts["repeated"] += actions[_Action.REPEATED]

    def _refuse_nothing_read(self) -> None:
        if self.seen:
            return
        first = f"; the first: {self.rejections[0].name}: {self.rejections[0].detail}" if self.rejections else ""
        raise SourceError(
            f"no image could be read from {', '.join(map(str, self.request.sources))} "
            f"({self.counts['rejected']} rejected{first})",
            hint=f"every reason: provenance {self.request.kind.value}s show {self.request.name}",
        )

    def _seal(self) -> bool:
        dataset_id = self.dataset.dataset_id
        members = frozenset(self.catalog.member_ids(dataset_id))
        missing = members - self.seen
        if missing:
            raise ConflictError(
                f"release {self.request.name} holds {len(missing)} images that this source does not "
                f"(first: {min(missing)[:19]}...)",
                hint="give all of its sources in one call, or another --release NAME",
            )
        if members != self.sealed_ids:
            self.catalog.seal(dataset_id, self.run_id, image_ids_digest(members), len(members))
        return True

    def _report(self, sealed: bool | None, seconds: float) -> IngestReport:
        ids = self.catalog.member_ids(self.dataset.dataset_id)
        names = ("read", "added", "embedded", "copied", "known", "repeated", "rejected")
        return IngestReport(
            run_id=self.run_id,
            dataset_id=self.dataset.dataset_id,
            name=self.dataset.name,
            kind=self.request.kind,
            space_id=self.space.space_id,
            counts={name: self.counts[name] for name in names},
            rejections=tuple(self.rejections),
            image_count=len(ids),
            sealed=sealed,
            dataset_digest=image_ids_digest(ids),
            duration_seconds=seconds,
        )


def _prepare_or_pass(item: SourceItem | Rejection, *, settings: PreparationSettings) -> Prepared | Rejection:
    """Runs in a worker process; what the source itself rejected passes through in its place."""
    return item if isinstance(item, Rejection) else prepare(item, settings)


__all__ = [
    "Generator",
    "IngestReport",
    "IngestRequest",
    "OnProgress",
    "Progress",
    "image_ids_digest",
    "layout_requests",
    "run_ingest",
]
