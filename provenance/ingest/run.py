"""One run of the ingest service: source -> decode -> embed -> catalog and index, batch by batch."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import PurePath
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.errors import ConflictError, EmbeddingError, ProvenanceError, SourceError
from provenance.groups import GroupRule, group_rule
from provenance.images import PreparationSettings, Prepared, open_source, prepare
from provenance.index import CollectionSpec, load_vectors
from provenance.ingest.known import KnownFiles
from provenance.ingest.request import IngestReport, IngestRequest, OnProgress, Progress, image_ids_digest
from provenance.ingest.writing import FloatArray, Writer
from provenance.version import __version__
from provenance.vocabulary import DatasetKind, PointState, Rejection, RejectReason, RunState, SourceItem

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from provenance.catalog import Catalog
    from provenance.embedding import Backbone
    from provenance.installation import Installation
    from provenance.records import Dataset
    from provenance.vocabulary import Space

COUNTS = ("read", "added", "embedded", "copied", "known", "repeated", "rejected")
CHUNK = 16
"""Images whose state is looked up in the catalog at once."""


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


def run_ingest(
    workspace: Installation,
    request: IngestRequest,
    backbone: Backbone,
    on_progress: OnProgress | None = None,
    stop: Event | None = None,
) -> IngestReport:
    """Bring sources into a set or release, in the backbone's space.

    Args:
        workspace: Where to.
        request: What, and under which name.
        backbone: Gives the vectors.
        on_progress: Told after each batch.
        stop: Set by somebody else, it ends the run after the batch in flight; the report says ``interrupted``.

    Raises:
        SourceError: If a source can't be read (nothing is recorded then), or no image of it can.
        EmbeddingError: If the backbone fails, or has no finite vector for any image.
        ConflictError: If the name stands for something else, or a sealed release would change.
        VectorStoreError: If the index can't be written; what was acknowledged before stays.
    """
    started = time.monotonic()
    limit = workspace.settings.max_file_bytes
    sources = [open_source(path, max_file_bytes=limit) for path in request.sources]
    groups = group_rule(request.group_from)
    counts = [source.count() for source in sources]
    total = None if None in counts else sum(count for count in counts if count is not None)
    _ = workspace.index
    run = IngestRun(workspace, request, backbone, request.dataset(workspace.catalog), groups, stop or Event())
    with run.recorded():
        run.take((item for source in sources for item in source), on_progress, total)
        sealed = None if run.interrupted else run.complete()
    return run.report(sealed, time.monotonic() - started)


@contextmanager
def recorded_run(
    catalog: Catalog, run_id: str, counts: Mapping[str, int], is_interrupted: Callable[[], bool]
) -> Iterator[None]:
    """Whatever ends a run, the catalog says how it ended and how far it came."""
    try:
        yield
    except BaseException as error:
        state = RunState.INTERRUPTED if isinstance(error, KeyboardInterrupt) else RunState.FAILED
        with suppress(ProvenanceError):  # what ended the run is the news, also where the catalog itself is gone
            catalog.finish_run(run_id, state, dict(counts))
        raise
    catalog.finish_run(run_id, RunState.INTERRUPTED if is_interrupted() else RunState.FINISHED, dict(counts))


def preparation_of(workspace: Installation, backbone: Backbone) -> PreparationSettings:
    """How images are prepared for a backbone under the workspace's limits."""
    settings = workspace.settings
    return PreparationSettings(
        size=backbone.input_size,
        match_resolution=backbone.space.matched_resolution,
        max_pixels=settings.max_pixels,
        max_file_bytes=settings.max_file_bytes,
    )


@dataclass
class IngestRun:
    """One run: the state that its batches share."""

    workspace: Installation
    request: IngestRequest
    backbone: Backbone
    dataset: Dataset
    groups: GroupRule
    stop: Event
    counts: Counter[str] = field(default_factory=Counter)
    rejections: list[Rejection] = field(default_factory=list)
    interrupted: bool = False
    seen: set[str] = field(default_factory=set)
    unusable: dict[str, str] = field(default_factory=dict)
    sealed_ids: frozenset[str] | None = None

    def __post_init__(self) -> None:
        catalog, dataset_id = self.catalog, self.dataset.dataset_id
        catalog.ensure_space(self.space)
        key = catalog.ensure_collection(dataset_id, self.space.space_id)
        self.workspace.index.create(CollectionSpec(key, self.space.dimension, self.space.parts))
        if catalog.latest_seal(dataset_id) is not None:
            self.sealed_ids = frozenset(catalog.member_ids(dataset_id))
        self.rejected_before = frozenset((r.source, r.member or "") for r in catalog.rejects(dataset_id))
        membership = self.request.membership
        arguments = {
            "membership": membership.value if membership else None,
            "group_from": self.request.group_from,
        }
        run_id = catalog.start_run("ingest", dataset_id, self.space.space_id, arguments, __version__)
        self.writer = Writer(catalog, self.workspace.index, dataset_id, key, self.space, run_id)

    @property
    def space(self) -> Space:
        """The backbone's space."""
        return self.backbone.space

    @property
    def catalog(self) -> Catalog:
        """The workspace's catalog."""
        return self.workspace.catalog

    @property
    def all_counts(self) -> dict[str, int]:
        """Every count of ``IngestReport``, also those that are 0."""
        return {name: self.counts[name] for name in COUNTS}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Whatever ends the run, the catalog says how it ended and how far it came."""
        with recorded_run(self.catalog, self.writer.run_id, self.counts, lambda: self.interrupted):
            yield

    def take(
        self, items: Iterable[SourceItem | Rejection], on_progress: OnProgress | None = None, total: int | None = None
    ) -> None:
        """Takes items in, batch by batch, until they end or the run is asked to stop."""
        with closing(self._embedded(items)) as batches:
            for planned, vectors in batches:
                self._write(planned, vectors)
                if on_progress is not None:
                    on_progress(Progress("ingest", self.counts["read"], total))
                if self.stop.is_set():
                    self.interrupted = True
                    return

    def complete(self) -> bool | None:
        """What is to be done when the sources were read to the end; gives whether the release is sealed.

        Raises:
            SourceError: If no image could be read.
            EmbeddingError: If the backbone has no finite vector for any of them.
            ConflictError: If a release holds images that its sources do not.
        """
        self._refuse_nothing_read()
        return self._seal() if self.request.kind is DatasetKind.RELEASE else None

    def _embedded(
        self, items: Iterable[SourceItem | Rejection]
    ) -> Generator[tuple[list[_Planned], list[FloatArray | None]], None, None]:
        from provenance.embedding import embed_stream, prepared_stream

        task = partial(_prepare_or_pass, settings=preparation_of(self.workspace, self.backbone))
        prepared = prepared_stream(self._unknown_items(items), task, workers=self.workspace.settings.workers)
        planned = self._planned(prepared)
        for batch in embed_stream(planned, self.backbone, wanted=lambda plan: plan.action is _Action.EMBED):
            yield [plan for plan, _ in batch], [vector for _, vector in batch]

    def _unknown_items(self, items: Iterable[SourceItem | Rejection]) -> Iterator[SourceItem | Rejection]:
        groups = self.groups if self.request.group_from is not None else None
        known = KnownFiles(self.catalog, self.dataset.dataset_id, self.writer.collection_key, groups)
        told_apart = ((item, None) for item in items) if self.request.rehash else known.told_apart(items)
        for item, image_id in told_apart:
            if self.stop.is_set():
                self.interrupted = True
                return
            if image_id is None or self._lies_in_rejected(item):
                yield item
            else:
                self.seen.add(image_id)
                self.counts.update(("read", "known"))

    def _lies_in_rejected(self, item: SourceItem | Rejection) -> bool:
        """Whether a folder above it could not be listed before: recording the item takes that reject back."""
        if not self.rejected_before:
            return False
        return any((str(folder), "") in self.rejected_before for folder in PurePath(item.source).parents)

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
        key = self.writer.collection_key
        points = self.catalog.point_states(key, ids)
        indexed = {image_id for image_id, point in points.items() if point.state is PointState.INDEXED}
        elsewhere = self.catalog.vectors_elsewhere(self.space.space_id, ids, key)
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
            self.catalog.add_rejects(self.writer.run_id, self.dataset.dataset_id, rejected)
            self.rejections.extend(rejected)
        self._count(images, len(rejected))

    def _usable(self, plan: _Planned, vector: FloatArray | None) -> FloatArray | Rejection | None:
        if plan.rejection is not None:
            return plan.rejection
        assert plan.prepared is not None
        image_id = plan.prepared.facts.image_id
        if vector is not None and not np.isfinite(vector).all():
            self.unusable[image_id] = no_finite_vector(self.space)
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
        vectors = load_vectors(
            self.workspace.index,
            [plan.origin for plan in plans if plan.origin is not None],
            parts=self.space.parts,
            dimension=self.space.dimension,
        )
        return {id(plan): vector for plan, vector in zip(plans, vectors, strict=True)}

    def _record(self, images: Sequence[tuple[_Planned, FloatArray | None]]) -> None:
        rows = []
        for plan, vector in images:
            assert plan.prepared is not None
            facts, item = plan.prepared.facts, plan.prepared.item
            rows.append((self.writer.row(facts, [item], self.groups(item.name), vector), vector))
        self.writer.write(rows)

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
        if self.unusable:
            raise EmbeddingError(
                f"backbone {self.space.backbone} gives no finite vector for any of the {len(self.unusable):,} images",
                hint="its weights or its file are broken: take another one; the same ingest goes on with it",
            )
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
            self.catalog.seal(dataset_id, self.writer.run_id, image_ids_digest(members), len(members))
        return True

    def report(self, sealed: bool | None, seconds: float) -> IngestReport:
        """What the run did."""
        ids = self.catalog.member_ids(self.dataset.dataset_id)
        if sealed is None and self.request.kind is DatasetKind.RELEASE:
            sealed = self.sealed_ids is not None
        return IngestReport(
            run_id=self.writer.run_id,
            dataset_id=self.dataset.dataset_id,
            name=self.dataset.name,
            kind=self.request.kind,
            space_id=self.space.space_id,
            counts=self.all_counts,
            rejections=tuple(self.rejections),
            image_count=len(ids),
            sealed=sealed,
            dataset_digest=image_ids_digest(ids),
            duration_seconds=seconds,
            interrupted=self.interrupted,
        )


def no_finite_vector(space: Space) -> str:
    """Why an image is rejected whose features are NaN or infinite."""
    return f"backbone {space.backbone} gives no finite vector for it"


def _prepare_or_pass(item: SourceItem | Rejection, *, settings: PreparationSettings) -> Prepared | Rejection:
    """Runs in a worker process; what the source itself rejected passes through in its place."""
    return item if isinstance(item, Rejection) else prepare(item, settings)
