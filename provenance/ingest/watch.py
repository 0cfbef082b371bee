"""A folder that is watched: what arrives in it is ingested as soon as it is complete.

A file is complete when its size and times have not changed for a while (``settle_seconds``), by the file's own times
or by looking again and again. The index is held for a batch only, so that audits and other ingests get their turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from provenance.brief import Brief
from provenance.errors import CatalogError, ProvenanceError, SourceError, UsageError, VectorStoreError
from provenance.groups import group_rule
from provenance.images import items_at, open_source
from provenance.ingest.record import told_apart
from provenance.ingest.request import Inside
from provenance.ingest.run import IngestRun, leaving_nothing_empty, require_groups
from provenance.ingest.sidecars import Sidecars
from provenance.logs import note, room
from provenance.vocabulary import SETTLE_SECONDS, DatasetKind, Rejection, SourceItem

if TYPE_CHECKING:
    from provenance.embedding import Backbone
    from provenance.groups import GroupMatches
    from provenance.ingest.held import LostImage
    from provenance.ingest.request import IngestRequest
    from provenance.installation import Installation
    from provenance.vocabulary import Found

_log = room(__name__)
BATCH_FILES = 64
RESCAN_SECONDS = 60.0
"""So long after changes the whole folder is listed again: an overrun queue of the system loses events."""
_LONGEST_TICK_SECONDS = 0.5
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 2.0, 60.0


@dataclass(frozen=True, slots=True, repr=False)
class WatchBatch(Brief):
    """What one batch did; ``image_count`` is of the whole set, all else as in ``IngestReport``.

    ``lost`` is of what arrived or vanished since the batch before.
    """

    run_id: str
    counts: dict[str, int]
    rejections: tuple[Rejection, ...]
    image_count: int
    inside: Inside
    groups: GroupMatches | None = None
    lost: tuple[LostImage, ...] = ()
    retired: int = 0


OnBatch = Callable[[WatchBatch], None]
OnProblem = Callable[[ProvenanceError, float], None]
"""Told an error that may pass, and after how many seconds it is tried again."""


def watch(
    workspace: Installation,
    request: IngestRequest,
    backbone: Backbone,
    on_batch: OnBatch,
    on_problem: OnProblem,
    *,
    settle_seconds: float = SETTLE_SECONDS,
    once: bool = False,
    stop: Event | None = None,
) -> None:
    """Ingest what is in a folder, then what arrives, until ``stop`` is set. See ``Workspace.watch``.

    The workspace is closed between batches, so that other processes can use a local index. ``on_problem`` is told of a
    locked store or a database that is away; the batch is tried again until it goes in.

    Raises:
        UsageError: If the request is not one folder and a set, or ``group_from`` matches none of the names there.
        SourceError: If the folder can't be listed.
        ConflictError: If the set's name stands for something else, or an image contradicts what is on record.
    """
    if len(request.sources) != 1 or request.kind is not DatasetKind.SET:
        raise UsageError("one folder is watched, and it goes into a set", hint="a release is ingested as a whole")
    if settle_seconds < 0:
        raise UsageError(f"settle-seconds must be 0 or more, not {settle_seconds:g}")
    source = open_source(request.sources[0])
    if source.kind != "folder":
        raise UsageError(f"{request.sources[0]} is no folder", hint="use provenance ingest for a file or an archive")
    require_groups(request, [source], group_rule(request.group_from))
    watcher = _Watch(workspace, request, backbone, source.path, settle_seconds, stop or Event())
    dataset = request.dataset(workspace.catalog)  # a name that stands for something else is told at once
    try:
        with leaving_nothing_empty(workspace, dataset.dataset_id, backbone.space):
            watcher.run(on_batch, on_problem, once=once)
    finally:
        workspace.close()


@dataclass(slots=True)
class _Seen:
    """A file that waits: as it was last seen, and since when it looks so."""

    found: Found
    since: float


@dataclass
class _Watch:
    workspace: Installation
    request: IngestRequest
    backbone: Backbone
    root: Path
    settle_seconds: float
    stop: Event

    def __post_init__(self) -> None:
        self.groups = group_rule(self.request.group_from)
        self.waiting: dict[str, _Seen] = {}
        self.changed: set[Path] = set()
        self.vanished: set[str] = set()
        self.refused: dict[str, Found] = {}
        self.sidecars = Sidecars([self.root], places=set())
        self.rehash = self.request.rehash
        self.scan_at: float | None = 0.0
        self.retry_at = self.retry_seconds = 0.0

    def run(self, on_batch: OnBatch, on_problem: OnProblem, *, once: bool) -> None:
        self.workspace.close()
        for changed in self._changes():
            self.changed |= changed
            try:
                if time.monotonic() >= self.retry_at:
                    self._look()
                    self._take_settled(on_batch)
            except (VectorStoreError, CatalogError) as error:
                if once:
                    raise
                self.retry_seconds = min(max(2 * self.retry_seconds, _FIRST_RETRY_SECONDS), _LAST_RETRY_SECONDS)
                self.retry_at = self.scan_at = time.monotonic() + self.retry_seconds
                note(_log, "batch put off", level=logging.WARNING, error=error.message, seconds=self.retry_seconds)
                on_problem(error, self.retry_seconds)
            finally:
                self.workspace.close()
            if self.stop.is_set() or (once and not self.waiting):
                return

    def _changes(self) -> Iterator[set[Path]]:
        """The paths that changed since the last time; an empty set where nothing did for one tick."""
        import watchfiles

        tick_ms = int(1000 * min(max(self.settle_seconds / 4, 0.05), _LONGEST_TICK_SECONDS))
        settings = {"debounce": tick_ms, "rust_timeout": tick_ms, "yield_on_timeout": True, "stop_event": self.stop}
        try:
            for changes in watchfiles.watch(self.root, watch_filter=None, ignore_permission_denied=True, **settings):  # type: ignore[arg-type]
                yield {Path(path) for _, path in changes}
        except OSError as error:
            raise SourceError(
                f"{self.root} can't be watched: {error}", hint="check that the folder is there"
            ) from error

    def _look(self) -> None:
        """Brings what waits up to date: changed files anew, the others looked at again."""
        now = time.monotonic()
        if self.changed and self.scan_at is None:
            self.scan_at = now + RESCAN_SECONDS
        again = self.changed | {Path(place) for place in self.waiting}
        if self.scan_at is not None and now >= self.scan_at:
            self._note(self._unknown(open_source(self.root)), now)
            self.scan_at = None
        for place in [place for place, seen in self.waiting.items() if isinstance(seen.found, SourceItem)]:
            if not Path(place).exists():
                del self.waiting[place]
        self._note(items_at(self.root, again), now)
        self.vanished |= {str(path) for path in self.changed if not path.exists()}
        self.changed = set()

    def _note(self, found: Iterable[Found], now: float) -> None:
        for one in found:
            if self.refused.get(one.source) == one:
                continue
            seen = self.waiting.get(one.source)
            if seen is None or seen.found != one:
                self.waiting[one.source] = _Seen(one, now)

    def _is_settled(self, seen: _Seen) -> bool:
        """Whether a file is complete: unchanged for a while, by its own times or by ours (clocks may differ)."""
        if isinstance(seen.found, Rejection) or time.monotonic() - seen.since >= self.settle_seconds:
            return True
        latest_ns = max(seen.found.modified_ns, seen.found.changed_ns)
        return time.time_ns() - latest_ns >= self.settle_seconds * 1e9

    def _take_settled(self, on_batch: OnBatch) -> None:
        settled = [seen.found for seen in self.waiting.values() if self._is_settled(seen)]
        for start in range(0, len(settled), BATCH_FILES):
            batch = settled[start : start + BATCH_FILES]
            report = self._take(batch)
            for one in batch:
                self.waiting.pop(one.source, None)
            self.retry_seconds = 0.0
            self.rehash = self.rehash and bool(self.waiting)
            if report is not None:
                on_batch(report)
            if self.stop.is_set():
                return

    def _take(self, batch: list[Found]) -> WatchBatch | None:
        """Ingests one batch and lets go of the index; nothing where all of it is on record."""
        try:
            unknown = list(self._unknown(batch))
            if not unknown:
                return None
            dataset = self.request.dataset(self.workspace.catalog)
            how = self.backbone, dataset, self.groups, self.stop, self.sidecars
            run = IngestRun(self.workspace, self.request, *how)
            with run.recorded():
                run.take(unknown)
                places, self.vanished = {one.source for one in unknown} | self.vanished, set()
                run.compare(places.__contains__)
            rejected = {(one.source, one.member) for one in run.rejections} | (self.sidecars.places or set())
            # nor does a file of several pages tell by the record that all of it was read
            taken = rejected | run.paged
            self.refused.update((one.source, one) for one in unknown if (one.source, one.member) in taken)
            count = self.workspace.catalog.member_count(dataset.dataset_id)
            groups = run.matches if self.request.group_from is not None else None
            facts = (run.writer.run_id, run.all_counts, tuple(run.rejections), count)
            return WatchBatch(*facts, Inside(**run.inside), groups, run.lost, run.retired)
        finally:
            self.workspace.close()

    def _unknown(self, found: Iterable[Found]) -> Iterator[Found]:
        """What has to be read; told by the catalog alone, so that nobody's index is held up for it."""
        catalog, space_id = self.workspace.catalog, self.backbone.space.space_id
        dataset = self.request.dataset(catalog)
        keys = [c.collection_key for c in catalog.collections_of(dataset.dataset_id) if c.space_id == space_id]
        if self.rehash or not keys:
            yield from found
            return
        told = told_apart(found, catalog, dataset.dataset_id, keys[0], self.groups)
        yield from (one for one, image_id in told if image_id is None)
