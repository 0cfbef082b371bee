"""Vectors from what is on record: another space for a set, or a vector that the index has lost.

Nothing is ingested: each image is read again from where it was found, its digest is verified, and its vector goes in
by the same order of writes. Where one place can't be read or holds other bytes now, the next one is tried.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from provenance.brief import Brief
from provenance.errors import SourceError, VectorStoreError
from provenance.images import RecordedImage, in_reading_order, read_again, rejection_of
from provenance.index import vector_digest
from provenance.ingest.record import Writer
from provenance.ingest.request import Progress
from provenance.ingest.run import leaving_nothing_empty, no_finite_vector, recorded_run
from provenance.vocabulary import Rejection, RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from provenance.arrays import Float32s, Uint8s
    from provenance.embedding import Backbone
    from provenance.images import Outcome, PreparationSettings
    from provenance.ingest.request import OnProgress
    from provenance.installation import Installation
    from provenance.records import NewImage, VectorLocation

CHUNK = 64
"""Images that are looked up, or copied, at once."""


@dataclass(frozen=True, slots=True, repr=False)
class EmbedReport(Brief):
    """What one ``embed`` did.

    Attributes:
        counts: ``images`` in the dataset = ``known`` (had a vector in the space) + ``embedded`` + ``copied`` (another
            collection had it) + ``unreadable`` + those an interrupted run did not come to.
        unreadable: Every image that has no vector in the space after it, with the reason.
        interrupted: Whether it was asked to stop; the same call goes on.
    """

    run_id: str
    name: str
    dataset_id: str
    space_id: str
    backbone: str
    counts: dict[str, int]
    unreadable: tuple[Rejection, ...]
    duration_seconds: float
    interrupted: bool


def run_embed(
    workspace: Installation,
    name: str,
    backbone: Backbone,
    on_progress: OnProgress | None = None,
    stop: Event | None = None,
) -> EmbedReport:
    """Add a backbone's space to a set or release, from its recorded sources. Running it again goes on.

    ``on_progress`` and ``stop`` as in ``run_ingest``.

    Raises:
        NotFoundError: If there is no such set or release.
        SourceError: If none of its images could be read.
    """
    started = time.monotonic()
    catalog, space = workspace.catalog, backbone.space
    dataset = catalog.dataset(name)
    total = catalog.member_count(dataset.dataset_id)
    with leaving_nothing_empty(workspace, dataset.dataset_id, space):
        writer = Writer.opened(workspace, dataset.dataset_id, space, "embed", {})
        lacking = catalog.without_vector(dataset.dataset_id, writer.collection_key)
        again = Reembedding(workspace, writer, backbone, on_progress, stop or Event(), total, done=total - len(lacking))
        with recorded_run(catalog, writer.run_id, again.counts, lambda: again.interrupted):
            again.run(lacking)
            if again.unreadable and len(again.unreadable) == total:
                first = next(iter(again.unreadable.values()))
                raise SourceError(
                    f"none of the {total:,} images of {name} could be read again; the first: {first.name}: "
                    f"{first.detail}",
                    hint="if the files were moved: provenance relocate OLD NEW",
                )
    counts = {"images": total, "known": total - len(lacking), "embedded": 0, "copied": 0, "unreadable": 0}
    return EmbedReport(
        run_id=writer.run_id,
        name=name,
        dataset_id=dataset.dataset_id,
        space_id=space.space_id,
        backbone=space.backbone,
        counts=counts | again.counts,
        unreadable=tuple(again.unreadable[image_id] for image_id in sorted(again.unreadable)),
        duration_seconds=time.monotonic() - started,
        interrupted=again.interrupted,
    )


@dataclass
class Reembedding:
    """Images on record on their way into one collection.

    Attributes:
        backbone: ``None``: only what another collection holds is copied; the rest is ``unreadable``.
        no_backbone: Why there is none.
        recovered: Gives the vectors of images, by image_id, that were found again in files on this machine.
        unreadable: What has no vector after it, by image_id, with the reason.
        changed: The point_ids whose vector differs from the one on record (another machine or batch size: the last
            bits of a vector may differ).
    """

    workspace: Installation
    writer: Writer
    backbone: Backbone | None
    on_progress: OnProgress | None
    stop: Event
    total: int | None
    done: int = 0
    no_backbone: str = ""
    recovered: Callable[[Sequence[str]], dict[str, Float32s]] = lambda _: {}
    counts: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, Rejection] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    interrupted: bool = False

    def run(self, images: Sequence[tuple[str, str]]) -> None:
        """Gives ``(image_id, image_key)`` their vectors; what can't be had is listed in ``unreadable``."""
        rest = []
        for start in range(0, len(images), CHUNK):
            rest += self._copy(images[start : start + CHUNK])
            if self._is_stopped():
                return
        with closing(self._embedded(rest)) as batches:
            for batch in batches:
                self._write(batch)
                if self._is_stopped():
                    return

    def _is_stopped(self) -> bool:
        self.interrupted = self.interrupted or self.stop.is_set()
        return self.interrupted

    def _copy(self, images: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Copies the vectors that are found in files or another collection undamaged; gives the images without."""
        catalog, space = self.writer.catalog, self.writer.space
        ids = [image_id for image_id, _ in images]
        copies = self.recovered(ids)
        elsewhere = catalog.vectors_elsewhere(
            space.space_id, [image_id for image_id in ids if image_id not in copies], self.writer.collection_key
        )
        copies |= self._undamaged(elsewhere)
        rows = []
        for image_id, key in images:
            record = catalog.image(key) if image_id in copies else None
            if record is not None:
                vector = copies[image_id]
                rows.append((self.writer.row(record.facts, vector), vector))
        if rows:
            self._put("copied", rows)
        copied = {row.facts.image_id for row, _ in rows}
        return [image for image in images if image[0] not in copied]

    def _undamaged(self, located: dict[str, VectorLocation]) -> dict[str, Float32s]:
        found: dict[str, Float32s] = {}
        by_key: dict[str, dict[str, tuple[str, str]]] = {}
        for image_id, place in located.items():
            by_key.setdefault(place.collection_key, {})[place.point_id] = (image_id, place.vector_sha256)
        present = set(self.writer.index.collections()) if by_key else set()
        for key in by_key.keys() & present:
            try:
                points = self.writer.index.get(key, list(by_key[key]))
            except VectorStoreError:  # that collection is damaged as a whole
                continue
            for point, vector in zip(points.ids, points.vectors, strict=True):
                image_id, digest = by_key[key][point]
                if vector_digest(vector) == digest:
                    found[image_id] = vector
        return found

    def _embedded(
        self, images: Sequence[tuple[str, str]]
    ) -> Generator[list[tuple[_Again, Float32s | None]], None, None]:
        recorded = self._recorded(images)
        if self.backbone is None:
            why = self.no_backbone or "no backbone is at hand"
            yield [(_Again(each.image_id, each.rejected([why])), None) for each in recorded]
            return
        executor, task = self.workspace.executor, partial(_again, settings=self.workspace.preparation(self.backbone))
        yield from executor.embedded(executor.prepared(recorded, task, failed=_failed), self.backbone, _pixels_of)

    def _recorded(self, images: Sequence[tuple[str, str]]) -> Iterator[RecordedImage]:
        places = self.writer.catalog.places_for_reading([key for _, key in images])
        recorded = (RecordedImage(image_id, tuple(places.get(key, ()))) for image_id, key in images)
        for image in in_reading_order(recorded, self.workspace.settings.max_file_bytes):
            if self.stop.is_set():
                self.interrupted = True
                return
            yield image

    def _write(self, batch: Sequence[tuple[_Again, Float32s | None]]) -> None:
        rows = []
        for again, vector in batch:
            outcome = again.outcome
            if isinstance(outcome, Rejection):
                self.unreadable[again.image_id] = outcome
            elif vector is None or not np.isfinite(vector).all():
                rejection = rejection_of(outcome.item, RejectReason.NOT_FINITE, no_finite_vector(self.writer.space))
                self.unreadable[again.image_id] = rejection
            else:
                rows.append((self.writer.row(outcome.facts, vector), vector))
        self._put("embedded", rows)
        self._count("unreadable", len(batch) - len(rows))

    def _put(self, what: str, rows: Sequence[tuple[NewImage, Float32s]]) -> None:
        on_record = self.writer.catalog.points_by_id(self.writer.collection_key, [row.point_id for row, _ in rows])
        for row, _ in rows:
            point = on_record.get(row.point_id)
            if point is not None and point.vector_sha256 != row.vector_sha256:
                self.changed.add(row.point_id)
        self.writer.write(rows)
        self._count(what, len(rows))

    def _count(self, what: str, number: int) -> None:
        self.counts[what] += number
        self.done += number
        if self.on_progress is not None:
            self.on_progress(Progress("embed", self.done, self.total))


@dataclass(frozen=True, slots=True)
class _Again:
    """An image on record that was read again, or why it could not be."""

    image_id: str
    outcome: Outcome


def _again(recorded: RecordedImage, *, settings: PreparationSettings) -> _Again:
    """Runs in a worker process."""
    reread = read_again(recorded, settings)
    return _Again(recorded.image_id, reread if isinstance(reread, Rejection) else reread.prepared(settings))


def _failed(recorded: RecordedImage, reason: RejectReason, detail: str) -> _Again:
    return _Again(recorded.image_id, recorded.failed(reason, detail))


def _pixels_of(again: _Again) -> Uint8s | None:
    return None if isinstance(again.outcome, Rejection) else again.outcome.pixels
