"""Used images, read again from their recorded places, altered, and embedded: plants that stay in memory only."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from provenance.audit.bench import PlantVectors
from provenance.audit.nearest import concatenated
from provenance.errors import NotFoundError, SourceError
from provenance.images import (
    PlantKind,
    PlantOrder,
    RecordedImage,
    ReleaseFormat,
    jpeg_tables_of,
    plants_of,
    supplied,
)
from provenance.index import similarities
from provenance.ingest import Progress
from provenance.vocabulary import Rejection

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from threading import Event

    from provenance.arrays import Float32s, Uint8s
    from provenance.audit.inputs import FrozenDataset
    from provenance.catalog import Catalog
    from provenance.embedding import Backbone
    from provenance.images import PreparationSettings
    from provenance.ingest import OnProgress
    from provenance.installation import Installation
    from provenance.records import Member
    from provenance.sensitivity.values import SensitivityRequest
    from provenance.vocabulary import RejectReason


PARTNERS = 3
"""Generated images that may serve for a blend: the first one that can be read."""

TABLES_FROM = 16
"""Generated JPEG files that are tried for the release's quantisation tables."""

LOOK_AHEAD = 4
"""Originals under way: each gives as many images as there are kinds."""

_GREY_MODES = ("1", "L", "LA", "F")


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedPlants(PlantVectors):
    """Plants with their vectors and kinds; images that could not be read again; and how many plants have no vector."""

    kinds: tuple[PlantKind, ...]
    unreadable: tuple[Rejection, ...]
    unusable: int


def chosen_originals(members: Sequence[Member], seed: int) -> list[Member]:
    """All images in the order in which they are copied: by chance, one of each group before any second one."""
    shuffled = [members[place] for place in np.random.default_rng(seed).permutation(len(members)).tolist()]
    seen: Counter[str] = Counter()
    turns = []
    for member in shuffled:
        group = member.group_key or member.image_id
        turns.append(seen[group])
        seen[group] += 1
    return [shuffled[place] for place in np.argsort(turns, kind="stable").tolist()]


def release_format(
    catalog: Catalog, release: FrozenDataset, settings: PreparationSettings
) -> tuple[ReleaseFormat, int]:
    """The most frequent native size, mode and file format of a release, and how many of its images have another.

    Of equally frequent ones the smallest. JPEG tables are those of a file that can still be read.

    Raises:
        NotFoundError: If nothing is on record of its images.
    """
    formats = catalog.native_formats(release.dataset.dataset_id)
    if not formats:
        raise NotFoundError(
            f"nothing is on record of the images of {release.dataset.name}", hint="were they forgotten?"
        )
    (width, height), name, mode = min(formats, key=lambda each: (-formats[each], each[0][0] * each[0][1], each))
    tables: tuple[tuple[int, ...], ...] = ()
    subsampling = -1
    if name == "JPEG":
        for member in release.members[:TABLES_FROM]:
            tables, subsampling = jpeg_tables_of(_recorded(catalog, member), settings)
            if tables:
                break
    grey = mode.startswith("I") or mode in _GREY_MODES
    form = ReleaseFormat(width, height, grey, name, tables, subsampling)
    return form, sum(formats.values()) - formats[(width, height), name, mode]


@dataclass
class Planting:
    """Plants on their way from recorded sources to vectors."""

    workspace: Installation
    backbone: Backbone
    further: tuple[Backbone, ...]
    request: SensitivityRequest
    form: ReleaseFormat
    release: Sequence[Member]
    stop: Event
    on_progress: OnProgress | None = None
    unreadable: dict[str, Rejection] = field(default_factory=dict)
    planted: int = 0

    def run(self, originals: Sequence[Member], vector_of: dict[str, Float32s]) -> EmbeddedPlants | None:
        """Plants of the first ``request.plants`` originals that can be read; ``None`` if it was asked to stop.

        Originals stand in the order in which they are copied; ``vector_of`` has theirs (parts, dim) by image_id.

        Raises:
            SourceError: If none can be read again, or none gives a vector.
        """
        by_id = {member.image_id: member for member in originals}
        wanted = min(self.request.plants, len(originals))
        kept: list[_Plant] = []
        vectors, unusable = [], 0
        plants = self._plants(originals, wanted)
        with closing(self.workspace.executor.embedded(plants, self.backbone, lambda plant: plant.pixels[0])) as batches:
            for batch in batches:
                for plant, vector in batch:
                    if vector is None or not np.isfinite(vector).all():
                        unusable += 1
                        continue
                    kept.append(plant._replace(pixels=plant.pixels[1:]))
                    vectors.append(vector)
                if self.on_progress is not None:
                    done, total = len(kept) + unusable, wanted * len(self.request.kinds)
                    self.on_progress(Progress("plant", done, total))
                if self.stop.is_set():
                    return None
        if self.stop.is_set():
            return None
        if not vectors:
            first = next(iter(self.unreadable.values()), None)
            why = f"; the first: {first.name}: {first.detail}" if first else ": the backbone gives no vector for them"
            raise SourceError(
                f"none of the {len(originals):,} images that were used could be planted{why}",
                hint="if the files were moved: provenance relocate OLD NEW",
            )
        array = np.stack(vectors)
        own = np.stack([vector_of[plant.original] for plant in kept])
        to_own = similarities(*(concatenated(each)[:, 0] for each in (array, own)))
        return EmbeddedPlants(
            originals=tuple(by_id[plant.original] for plant in kept),
            vectors=array,
            similarities=to_own,
            identical=np.array([plant.identical for plant in kept]),
            further=self._further(kept),
            kinds=tuple(plant.kind for plant in kept),
            unreadable=tuple(self.unreadable.values()),
            unusable=unusable,
        )

    def _further(self, plants: Sequence[_Plant]) -> dict[str, Float32s]:
        found = {}
        for place, backbone in enumerate(self.further):
            step, pixels = backbone.batch_size, [plant.pixels[place] for plant in plants]
            blocks = (np.stack(pixels[at : at + step]) for at in range(0, len(pixels), step))
            found[backbone.space.space_id] = np.concatenate([backbone.embed(block) for block in blocks])
        return found

    def _plants(self, originals: Sequence[Member], wanted: int) -> Generator[_Plant, None, None]:
        task = partial(
            plants_of,
            kinds=self.request.kinds,
            form=self.form,
            seed=self.request.seed,
            settings=tuple(map(self.workspace.preparation, (self.backbone, *self.further))),
        )
        limit = self.workspace.settings.max_file_bytes
        orders = supplied(self._orders(originals, wanted), limit, most=LOOK_AHEAD)
        with closing(self.workspace.executor.prepared(orders, task, failed=_failed, look_ahead=LOOK_AHEAD)) as stream:
            for outcome in stream:
                if isinstance(outcome, Rejection):
                    self.unreadable[outcome.name] = outcome
                    continue
                self.unreadable |= {each.name: each for each in outcome.unreadable}
                for each in zip(outcome.kinds, outcome.pixels, outcome.identical, strict=True):
                    yield _Plant(outcome.original, *each)
                self.planted += 1
                if self.planted >= wanted:
                    return

    def _orders(self, originals: Sequence[Member], wanted: int) -> Iterator[PlantOrder]:
        blends = any(kind.name == "blend" for kind in self.request.kinds)
        for place, member in enumerate(originals):
            # those under way are enough, unless some of them can't be read
            if self.stop.is_set() or (self.planted >= wanted and place >= wanted):
                return
            partners = self._partners(member) if blends else ()
            catalog = self.workspace.catalog
            yield PlantOrder(_recorded(catalog, member), tuple(_recorded(catalog, each) for each in partners))

    def _partners(self, member: Member) -> Sequence[Member]:
        digest = hashlib.sha256(f"{self.request.seed}|partners|{member.image_id}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:16]))
        chosen = rng.choice(len(self.release), min(PARTNERS, len(self.release)), replace=False)
        return [self.release[place] for place in chosen.tolist()]


def _failed(order: PlantOrder, reason: RejectReason, detail: str) -> Rejection:
    return order.original.failed(reason, detail)


def _recorded(catalog: Catalog, member: Member) -> RecordedImage:
    return RecordedImage(member.image_id, tuple(catalog.occurrences_for_reading(member.image_key)))


class _Plant(NamedTuple):
    original: str
    kind: PlantKind
    pixels: tuple[Uint8s, ...]
    identical: bool
