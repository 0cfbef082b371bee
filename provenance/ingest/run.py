"""One run of the ingest service: source -> decode -> embed -> catalog and index, batch by batch."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from itertools import chain, islice
from pathlib import PurePath
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import ConflictError, EmbeddingError, ProvenanceError, SourceError
from provenance.groups import GroupMatches, GroupRule, group_rule
from provenance.images import Prepared, open_source, prepare_frames, rejection_of
from provenance.index import load_vectors
from provenance.ingest.held import held, told, within
from provenance.ingest.record import Writer, told_apart
from provenance.ingest.request import IngestReport, IngestRequest, Inside, OnProgress, Progress, image_ids_digest
from provenance.ingest.sidecars import Sidecars, is_sidecar
from provenance.ingest.slices import Chosen, SliceRule
from provenance.logs import note, room, run_of, step
from provenance.text import pasted
from provenance.vocabulary import DatasetKind, Pages, PointState, Rejection, RejectReason, RunState, SourceItem

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from provenance.arrays import Float32s, Uint8s
    from provenance.catalog import Catalog
    from provenance.embedding import Backbone
    from provenance.images import Outcome, PreparationSettings
    from provenance.images.entries import Source
    from provenance.ingest.held import LostImage, Scope
    from provenance.installation import Installation
    from provenance.records import Dataset, VectorLocation
    from provenance.vocabulary import Found, Space

COUNTS = ("read", "added", "embedded", "copied", "known", "repeated", "rejected", "skipped")
_log = room(__name__)
CHUNK = 16
"""Images whose state is looked up in the catalog at once."""


class _Action(Enum):
    EMBED = "embed"
    COPY = "copy"
    KNOWN = "known"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class _Planned:
    """A prepared image with what is to be done about it; what was rejected is planned as its ``Rejection``."""

    prepared: Prepared
    action: _Action
    origin: VectorLocation | None = None


_Plan = _Planned | Rejection


def run_ingest(
    workspace: Installation,
    request: IngestRequest,
    backbone: Backbone,
    on_progress: OnProgress | None = None,
    stop: Event | None = None,
    on_step: Callable[[str], None] | None = None,
) -> IngestReport:
    """Bring sources into a set or release, in the backbone's space; ``on_progress`` is told after each batch.

    Once ``stop`` is set, by somebody else, the run ends after the batch in flight; the report says ``interrupted``.
    A run that ends before anything went in leaves no set, release or space behind. ``on_step`` is told what should be
    known before anything is embedded.

    Raises:
        UsageError: If ``group_from`` matches no name and that is not forced.
        SourceError: If a source can't be read (nothing is recorded then), or no image of it can.
        EmbeddingError: If the backbone fails, or has no finite vector for any image.
        ConflictError: If the name stands for something else, or a sealed release would change.
        VectorStoreError: If the index can't be written; what was acknowledged before stays.
    """
    started = time.monotonic()
    limit = workspace.settings.max_file_bytes
    sources = [open_source(path, max_file_bytes=limit) for path in request.sources]
    groups = group_rule(request.group_from)
    require_groups(request, sources, groups, on_step)
    counts = [source.count() for source in sources]
    total = None if None in counts else sum(count for count in counts if count is not None)
    _ = workspace.index
    dataset = request.dataset(workspace.catalog)
    with leaving_nothing_empty(workspace, dataset.dataset_id, backbone.space):
        sidecars = Sidecars([source.path for source in sources])
        run = IngestRun(workspace, request, backbone, dataset, groups, stop or Event(), sidecars)
        with run.recorded():
            inputs: Iterable[Found] = chain.from_iterable(sources)
            if (rule := SliceRule.of(request.slices)) is not None:
                inputs = Chosen(workspace, chain.from_iterable(sources), rule, run.settings).of(inputs)
            run.take(inputs, on_progress, total)
            sealed = None if run.interrupted else run.complete(within(sources))
        if request.group_by is not None and run.by_header.names and on_step is not None:
            found = f"{run.by_header.matched:,} of {run.by_header.names:,} images"
            on_step(f"--group-by {request.group_by}: named in the headers of {found}, {run.by_header.groups:,} groups")
        if run.lost and on_step is not None:
            on_step(told(run.lost, run.retired))
        return run.report(sealed, time.monotonic() - started)


def require_groups(
    request: IngestRequest,
    sources: Sequence[Source],
    groups: GroupRule,
    on_step: Callable[[str], None] | None = None,
) -> None:
    """Refuse a rule of groups that matches no name in the sources; say where it does not match them all.

    Sources that can be listed are asked for every name, a stream until the first one that matches.

    Raises:
        UsageError: If none matches and that is not forced.
    """
    if request.group_from is None:
        return
    matches = GroupMatches()
    listable = all(source.count() is not None for source in sources)
    for item in (item for source in sources for item in source if isinstance(item, SourceItem)):
        matches.ask(groups, item.name)
        if matches.matched and not listable:
            return
    matches.require_some(force=request.force)
    if matches.matched < matches.names and on_step is not None:
        on_step(str(matches))


def require_groups_of_all(
    requests: Sequence[IngestRequest], on_step: Callable[[str], None] | None = None
) -> list[IngestRequest]:
    """Requests of one call, whose rule of groups has to match a name in one of them at least (``require_groups``)."""
    sources = [open_source(path) for request in requests for path in request.sources]
    require_groups(requests[0], sources, group_rule(requests[0].group_from), on_step)
    return [replace(request, force=True) for request in requests]


@contextmanager
def leaving_nothing_empty(workspace: Installation, dataset_id: str, space: Space) -> Iterator[None]:
    """What was begun for a dataset and got nothing is taken back at the end: its collection in the space, or all.

    Who interrupts waits for no server, which may hang: what was begun there stays, for the same command to go on with.
    """
    asks = True
    try:
        yield
    except KeyboardInterrupt:
        asks = workspace.exports_vectors
        raise
    finally:
        with suppress(ProvenanceError):  # what ended the run is the news
            if asks and (dropped := workspace.catalog.discard_empty(dataset_id, space.space_id)):
                for key in set(dropped) & set(workspace.index.collections()):
                    workspace.index.drop(key)


@contextmanager
def recorded_run(
    catalog: Catalog, run_id: str, counts: Mapping[str, int], is_interrupted: Callable[[], bool]
) -> Iterator[None]:
    """Whatever ends a run, the catalog and the log say how it ended and how far it came."""
    with run_of(run_id), step(_log, "run") as facts:
        try:
            yield
        except BaseException as error:
            facts.update(counts)
            state = RunState.INTERRUPTED if isinstance(error, KeyboardInterrupt) else RunState.FAILED
            with suppress(ProvenanceError):  # what ended the run is the news, also where the catalog itself is gone
                catalog.finish_run(run_id, state, dict(counts))
            raise
        facts.update(counts)
        catalog.finish_run(run_id, RunState.INTERRUPTED if is_interrupted() else RunState.FINISHED, dict(counts))


@dataclass
class IngestRun:
    """One run: the state that its batches share."""

    workspace: Installation
    request: IngestRequest
    backbone: Backbone
    dataset: Dataset
    groups: GroupRule
    stop: Event
    sidecars: Sidecars
    counts: Counter[str] = field(default_factory=Counter)
    rejections: list[Rejection] = field(default_factory=list)
    interrupted: bool = False
    matches: GroupMatches = field(default_factory=GroupMatches)
    seen: set[str] = field(default_factory=set)
    unusable: dict[str, str] = field(default_factory=dict)
    lost: tuple[LostImage, ...] = ()
    retired: int = 0
    sealed_ids: frozenset[str] | None = None
    inside: Counter[str] = field(default_factory=Counter)
    paged: set[tuple[str, str | None]] = field(default_factory=set)
    by_header: GroupMatches = field(default_factory=GroupMatches)
    modalities: set[str] = field(default_factory=set)
    is_new: bool = False

    def __post_init__(self) -> None:
        catalog, dataset_id = self.catalog, self.dataset.dataset_id
        if catalog.latest_seal(dataset_id) is not None:
            self.sealed_ids = frozenset(catalog.member_ids(dataset_id))
            if self.request.sync:
                raise ConflictError(
                    f"release {self.request.name} is sealed: its content does not change, so nothing can be retired",
                    hint="ingest what there is now under another name: --release NAME",
                )
        self.rejected_before = frozenset((r.source, r.member or "") for r in catalog.rejects(dataset_id))
        self.is_new = not catalog.member_count(dataset_id)
        membership = self.request.membership
        arguments = {"membership": membership.value if membership else None, "group_from": self.request.group_from}
        if self.request.pages is not None:
            arguments["pages"] = self.request.pages.value
        arguments |= {"group_by": self.request.group_by} if self.request.group_by else {}
        arguments |= {"slices": self.request.slices} if self.request.slices else {}
        arguments |= {"burned_in": "allowed"} if self.request.burned_in else {}
        self.writer = Writer.opened(self.workspace, dataset_id, self.space, "ingest", arguments)

    @property
    def space(self) -> Space:
        """The backbone's space."""
        return self.backbone.space

    @property
    def settings(self) -> PreparationSettings:
        """How its images are prepared."""
        burned_in = self.request.burned_in
        return self.workspace.preparation(self.backbone, self.request.pages, burned_in=burned_in)

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

    def take(self, items: Iterable[Found], on_progress: OnProgress | None = None, total: int | None = None) -> None:
        """Takes items in, batch by batch, until they end or the run is asked to stop."""
        with closing(self._embedded(items)) as batches:
            for batch in batches:
                with step(_log, "batch", level=logging.DEBUG, dataset=self.dataset.name, images=len(batch)):
                    self._write(batch)
                if on_progress is not None:
                    pages = self.inside["images"] - self.inside["files"]  # behind the first of a file, which is counted
                    done = self.counts["read"] + self.counts["skipped"]
                    on_progress(Progress("ingest", done, None if total is None else total + pages))
                if self.stop.is_set():
                    self.interrupted = True
                    break
        told = self.sidecars.told()
        self.catalog.record_sidecars(self.writer.run_id, self.dataset.dataset_id, told)
        self.rejections.extend(line for line, _ in told)

    def complete(self, scope: Scope) -> bool | None:
        """What is to be done when the sources were read to the end; gives whether the release is sealed."""
        self._refuse_nothing_read()
        self._note_modality()
        self.compare(scope)
        return self._seal() if self.request.kind is DatasetKind.RELEASE else None

    def _note_modality(self) -> None:
        """Takes the modality from the headers, where nobody states it and all images of a new dataset have one."""
        if not self.request.modality and not self.dataset.modality and self.is_new and len(self.modalities) == 1:
            self.dataset = replace(self.request, modality=min(self.modalities)).dataset(self.catalog)

    def compare(self, scope: Scope) -> None:
        """Notes which images on record the sources hold no more; these are retired where that was asked for."""
        report = held(self.workspace, self.dataset, scope)
        self.lost = report.lost
        if self.request.sync and report.retirable:
            self.retired = self.catalog.retire(self.dataset.dataset_id, self.writer.run_id, report.retirable)

    def _embedded(self, items: Iterable[Found]) -> Generator[list[tuple[_Plan, Float32s | None]], None, None]:
        executor = self.workspace.executor
        task = partial(prepare_frames, settings=self.settings)
        prepared = executor.streamed(
            self._unknown_items(self._without_sidecars(items)), task, failed=_failed, is_last=_is_last
        )
        yield from executor.embedded(self._planned(prepared), self.backbone, _pixels_of)

    def _without_sidecars(self, items: Iterable[Found]) -> Iterator[Found]:
        for item in items:
            if is_sidecar(item):
                self._skip(item)
            else:
                yield item

    def _skip(self, found: Rejection) -> None:
        self.sidecars.add(found)
        self.counts["skipped"] += 1

    def _unknown_items(self, items: Iterable[Found]) -> Iterator[Found]:
        where = self.catalog, self.dataset.dataset_id, self.writer.collection_key, self.groups
        # what is on record of a file's first page does not say whether the others are wanted now
        again = self.request.rehash or self.request.pages is Pages.ALL
        by_header = self.request.group_by is not None
        told = ((item, None) for item in items) if again else told_apart(items, *where, by_header=by_header)
        for item, image_id in told:
            if self.request.group_from is not None and isinstance(item, SourceItem):
                self.matches.ask(self.groups, item.name)
            if self.stop.is_set():
                self.interrupted = True
                return
            if image_id is None or self._lies_in_rejected(item):
                yield item
            else:
                self.seen.add(image_id)
                self.counts.update(("read", "known"))

    def _lies_in_rejected(self, item: Found) -> bool:
        """Whether a folder above it could not be listed before: recording the item takes that reject back."""
        before = self.rejected_before
        return bool(before) and any((str(folder), "") in before for folder in PurePath(item.source).parents)

    def _planned(self, prepared: Iterable[Outcome]) -> Generator[_Plan, None, None]:
        stream = iter(prepared)
        while chunk := list(islice(stream, CHUNK)):
            yield from self._plan(chunk)

    def _plan(self, chunk: Sequence[Outcome]) -> Sequence[_Plan]:
        images = [outcome for outcome in chunk if isinstance(outcome, Prepared)]
        ids = [image.facts.image_id for image in images]
        if not ids:
            return [outcome for outcome in chunk if isinstance(outcome, Rejection)]
        key = self.writer.collection_key
        points = self.catalog.point_states(key, ids)
        indexed = {image_id for image_id, point in points.items() if point.state is PointState.INDEXED}
        elsewhere = self.catalog.vectors_elsewhere(self.space.space_id, ids, key)
        forgotten = self.catalog.suppressed([(image.facts.image_id, image.facts.pixel_digest) for image in images])
        plans: list[_Plan] = []
        for outcome in chunk:
            if isinstance(outcome, Rejection):
                plans.append(outcome)
            elif (image_id := outcome.facts.image_id) in forgotten:
                detail = "was forgotten on request; it stays out"
                plans.append(rejection_of(outcome.item, RejectReason.FORGOTTEN, detail))
            else:
                self._refuse_change_of_sealed(outcome)
                self._look_inside(outcome)
                self.modalities.add(outcome.header.technical.modality if outcome.header else "")
                plans.append(_Planned(outcome, self._action(image_id, indexed, elsewhere), elsewhere.get(image_id)))
                self.seen.add(image_id)
        return plans

    def _look_inside(self, prepared: Prepared) -> None:
        paged, left_out = prepared.page is not None, prepared.left_out
        place = (prepared.item.source, prepared.item.member)
        self.inside.update(
            files=paged and place not in self.paged,
            images=paged,
            left_out=left_out,
            left_out_files=left_out > 0,
            reduced=prepared.reduced,
            coarse=prepared.is_coarse,
        )
        if paged:
            self.paged.add(place)

    def _action(self, image_id: str, indexed: set[str], elsewhere: Mapping[str, VectorLocation]) -> _Action:
        if image_id in indexed:
            return _Action.KNOWN
        if image_id in self.seen:
            return _Action.REPEATED
        return _Action.COPY if image_id in elsewhere else _Action.EMBED

    def _refuse_change_of_sealed(self, prepared: Prepared) -> None:
        item, image_id = prepared.item, prepared.facts.image_id
        is_held = self.sealed_ids is None or image_id in self.sealed_ids
        if not is_held and (item.source, item.member or "") not in self.rejected_before:
            raise ConflictError(
                f"release {self.request.name} is sealed and does not hold {item.name} ({image_id[:19]}...)",
                hint="other content needs another name: --release NAME",
            )

    def _write(self, batch: Sequence[tuple[_Plan, Float32s | None]]) -> None:
        refused: list[Rejection] = []
        images: list[tuple[_Planned, Float32s | None]] = []
        for plan, vector in batch:
            outcome = plan if isinstance(plan, Rejection) else self._usable(plan, vector)
            if is_sidecar(outcome):
                self._skip(outcome)
            elif isinstance(outcome, Rejection):
                refused.append(outcome)
            else:
                images.append((outcome, vector))
        self._record(images)
        if refused:
            self.catalog.add_rejects(self.writer.run_id, self.dataset.dataset_id, refused)
            self.rejections.extend(refused)
        for one in refused:
            note(_log, "rejected", name=one.name, member=one.member, reason=one.reason.value, detail=one.detail)
        self._count([plan for plan, _ in images], len(refused))

    def _usable(self, plan: _Planned, vector: Float32s | None) -> _Plan:
        image_id = plan.prepared.facts.image_id
        if vector is not None and not np.isfinite(vector).all():
            self.unusable[image_id] = no_finite_vector(self.space)
            self.seen.discard(image_id)
        if image_id in self.unusable:
            return rejection_of(plan.prepared.item, RejectReason.NOT_FINITE, self.unusable[image_id])
        return plan

    def _record(self, images: Sequence[tuple[_Planned, Float32s | None]]) -> None:
        copies = self._copied([plan for plan, _ in images if plan.action is _Action.COPY])
        rows = []
        for plan, embedded in images:
            facts, item = plan.prepared.facts, plan.prepared.item
            vector = copies.get(id(plan), embedded)
            group, header = self._group_of(plan.prepared), plan.prepared.header
            rows.append((self.writer.row(facts, vector, [item], group, header), vector))
        self.writer.write(rows)

    def _group_of(self, prepared: Prepared) -> str | None:
        """By its name or, where that is asked for, its header; one that is never shown or written as it is."""
        if self.request.group_by is None:
            return self.groups(prepared.file_name)
        key = getattr(prepared.header, self.request.group_by, "")
        return self.by_header.ask(lambda _: key or None, prepared.file_name)

    def _copied(self, plans: Sequence[_Planned]) -> dict[int, Float32s]:
        """Vectors of the same images and space that another collection holds, verified by digest."""
        if not plans:
            return {}
        origins = [plan.origin for plan in plans if plan.origin is not None]
        parts, dimension = self.space.parts, self.space.dimension
        vectors = load_vectors(self.workspace.index, origins, parts=parts, dimension=dimension)
        return {id(plan): vector for plan, vector in zip(plans, vectors, strict=True)}

    def _count(self, images: Sequence[_Planned], rejected: int) -> None:
        actions = Counter(plan.action for plan in images)
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
        reasons = Counter(one.reason.value for one in self.rejections if not is_sidecar(one)).most_common()
        told = ": " + ", ".join(f"{count:,} {reason}" for reason, count in reasons) if reasons else ""
        skipped = f", {self.counts['skipped']:,} skipped" if self.counts["skipped"] else ""
        first = f"; the first: {self.rejections[0].name}: {self.rejections[0].detail}" if self.rejections else ""
        is_there = self.catalog.member_count(self.dataset.dataset_id) > 0
        show = pasted(["provenance", f"{self.request.kind.value}s", "show", self.request.name])
        raise SourceError(
            f"no image could be read from {', '.join(map(str, self.request.sources))} "
            f"({self.counts['rejected']:,} rejected{told}{skipped}{first})",
            hint=f"every reason: {show if is_there else 'the same command with provenance -v'}",
        )

    def _seal(self) -> bool:
        dataset_id = self.dataset.dataset_id
        members = frozenset(self.catalog.member_ids(dataset_id))
        if missing := members - self.seen:
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
            groups=self.matches if self.request.group_from is not None else None,
            inside=Inside(**self.inside),
            lost=self.lost,
            retired=self.retired,
            claimed_elsewhere=tuple(self.catalog.claimed_elsewhere(self.dataset.dataset_id)),
        )


def no_finite_vector(space: Space) -> str:
    """Why an image is rejected whose features are NaN or infinite."""
    return f"backbone {space.backbone} gives no finite vector for it"


def _failed(item: Found, reason: RejectReason, detail: str) -> Outcome:
    return item if isinstance(item, Rejection) else rejection_of(item, reason, detail)


def _is_last(item: Found, outcome: Outcome) -> bool:
    """Whether nothing more comes of a file: its only image, or the rejection of the file and not of one page."""
    return outcome.name == item.name if isinstance(outcome, Rejection) else outcome.page is None


def _pixels_of(plan: _Plan) -> Uint8s | None:
    return plan.prepared.pixels if isinstance(plan, _Planned) and plan.action is _Action.EMBED else None
