"""The catalog against the index: what the index lost, damaged or should not hold, and its repair.

SQL is the truth. Both sides are read in order of point_id and merged as streams, so that memory does not grow with
the collections; every stored vector is digested. Collections that this catalog does not know are never touched: a
server may hold those of other catalogs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby
from operator import itemgetter
from threading import Event
from typing import TYPE_CHECKING, Any

from provenance.brief import Brief
from provenance.errors import ConflictError, EmbeddingError, VectorStoreError
from provenance.index import CollectionSpec, Salvage, member_key, vector_digest
from provenance.ingest import Progress, Reembedding, Writer, recorded_run
from provenance.keeping.removal import finish_forgetting
from provenance.keeping.rewriting import write_anew
from provenance.logs import room, step
from provenance.version import __version__
from provenance.vocabulary import DatasetKind, PointState, Rejection, Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provenance.arrays import Float32s
    from provenance.embedding import Backbone
    from provenance.ingest import OnProgress
    from provenance.installation import Installation
    from provenance.records import Collection, PointRecord

_log = room(__name__)

_CHUNK = 1000
_UNWRITTEN = "the server may keep their bytes: it was not written anew since an image was forgotten"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not as the catalog says, or not kept as configured, and was not repaired: one vector, or a collection.

    Attributes:
        problem: ``missing``, ``damaged`` or ``pending`` (recorded, never acknowledged) of a vector, else in words.
        detail: Why it was not repaired; empty where nothing was to be repaired.
    """

    dataset: str
    backbone: str
    image_id: str
    name: str
    problem: str
    detail: str


@dataclass(slots=True)
class CollectionCheck:
    """One collection: what the catalog says, what the index holds, what was done.

    Attributes:
        recorded: Points that the catalog calls indexed.
        stored: Points in the index.
        missing: Recorded points that the index lacks.
        damaged: Stored vectors whose digest is not the recorded one.
        pending: Points that an interrupted run never acknowledged.
        deleting: Points of images that are being forgotten.
        extra: Stored points that the catalog does not know.
        without_vector: Images of the dataset without a point in this space (``provenance embed`` gives them one).
        unusable: Why the collection can't be opened; empty where it can. A repair sets it aside and makes it anew.
        stale_moments: Whether its cached moments held what it does not hold.
        repaired: How many of these were put right.
        copied: Of the repaired vectors, how many were found in other files and collections, by their digests.
        changed: Of the repaired vectors, how many differ in their last bits from those on record before.
        left: How many problems are left.
    """

    dataset: str
    kind: DatasetKind
    backbone: str
    space_id: str
    collection_key: str
    recorded: int = 0
    stored: int = 0
    missing: int = 0
    damaged: int = 0
    pending: int = 0
    deleting: int = 0
    extra: int = 0
    without_vector: int = 0
    unusable: str = ""
    stale_moments: bool = False
    repaired: int = 0
    copied: int = 0
    changed: int = 0
    left: int = 0

    @property
    def problems(self) -> int:
        """How many points were not as they should be."""
        return self.missing + self.damaged + self.pending + self.deleting + self.extra


@dataclass(frozen=True, slots=True, repr=False)
class ReconcileReport(Brief):
    """What was compared, found and repaired.

    Attributes:
        collections: One row a live collection.
        dropped: Collections of removed datasets that the index still held.
        foreign: Collections in the index that this catalog does not know; left alone.
        findings: Every vector that is not repaired.
        left: How many problems are left, of any kind; 0 is clean.
    """

    collections: tuple[CollectionCheck, ...]
    dropped: tuple[str, ...]
    foreign: int
    findings: tuple[Finding, ...]
    left: int
    repaired: int

    @property
    def is_clean(self) -> bool:
        """Whether catalog and index agree now."""
        return self.left == 0


@step(_log, "reconcile")
def reconcile(
    workspace: Installation,
    *,
    repair: bool = True,
    backbone: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    adopt_index: bool = False,
) -> ReconcileReport:
    """Compare catalog and index, and repair the index from what is on record (see ``Workspace.reconcile``).

    ``backbone`` is the one to embed with again (``name``, ``backbone_file``, ``weights``), where it can't be found by
    what the space says of it. An empty index in the workspace's own folder always takes the place of a lost one.

    Raises:
        ConflictError: If the index is another one than the catalog's.
        VectorStoreError: If a server can't be reached, or the store is held by another process.
    """
    if repair:
        workspace.mend_index_identity()
    if repair and (adopt_index or not workspace.settings.index_url):
        workspace.adopt_empty_index()
    return _Reconciliation(workspace, repair, dict(backbone or {}), on_progress).run()


@dataclass(slots=True)
class _Differences:
    """What is wrong with one collection: points by what has to be done about them."""

    lost: list[tuple[PointRecord, str]] = field(default_factory=list)
    acknowledge: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)


class _Reconciliation:
    def __init__(
        self, workspace: Installation, repair: bool, backbone: dict[str, Any], on_progress: OnProgress | None
    ) -> None:
        self.workspace = workspace
        self.catalog, self.index = workspace.catalog, workspace.index
        self.repair = repair
        self.backbone_choice = backbone
        self.on_progress = on_progress
        self.spaces = {space.space_id: space for space in self.catalog.spaces()}
        self.backbones: dict[str, tuple[Backbone | None, str]] = {}
        self.findings: list[Finding] = []
        self.compared = 0
        # an engine in this process rewrites its files with each forgetting; of a server's the last rewriting is known
        self.unwritten = set() if workspace.exports_vectors else set(self.catalog.older_than_forgetting())

    def run(self) -> ReconcileReport:
        live = self.catalog.live_collections()
        present = set(self.index.collections())
        dropped = sorted(set(self.catalog.dropped_collections()) & present)
        for key in dropped if self.repair else ():
            self.index.drop(key)
        keys = {collection.collection_key for collection in live}
        tended, untended = self._tended([each for each in live if each.collection_key in present])
        for key in set(self.workspace.moments.collections()) - keys if self.repair else ():
            self.workspace.moments.drop(key)
        checks = [self._check(collection, collection.collection_key in present) for collection in live]
        left = sum(check.left for check in checks) + self._forgettings() + (0 if self.repair else len(dropped))
        left += untended
        return ReconcileReport(
            collections=tuple(checks),
            dropped=tuple(dropped),
            foreign=len(present - set(dropped) - keys),
            findings=tuple(self.findings),
            left=left,
            repaired=sum(check.repaired for check in checks) + (len(dropped) if self.repair else 0) + tended,
        )

    def _tended(self, live: Sequence[Collection]) -> tuple[int, int]:
        """How much of the way the index keeps collections was put right, and how much is left, which is listed."""
        by_key = {each.collection_key: each for each in live}
        specs = [self.workspace.spec_of(key, c.dataset_id, self.spaces[c.space_id]) for key, c in by_key.items()]
        found = self.index.tend(specs, repair=self.repair)
        for ailment in found:
            if not ailment.is_mended:
                collection = by_key.get(ailment.key)
                dataset = self.catalog.dataset_by_id(collection.dataset_id).name if collection else ""
                space = self.spaces[collection.space_id].backbone if collection else ""
                self.findings.append(Finding(dataset, space, "", "", ailment.problem, ailment.detail))
        mended = sum(ailment.is_mended for ailment in found)
        return mended, sum(ailment.is_lasting and not ailment.is_mended for ailment in found)

    def _forgettings(self) -> int:
        """Finishes every forgetting that was begun; gives how many are left."""
        begun = len(self.catalog.unfinished_forgets())
        if not begun or not self.repair:
            return begun
        try:
            finish_forgetting(self.workspace)
        except (ConflictError, VectorStoreError) as error:
            self.findings.append(Finding("", "", "", "", "forgetting is not finished", error.message))
        return len(self.catalog.unfinished_forgets())

    def _check(self, collection: Collection, is_present: bool) -> CollectionCheck:
        dataset = self.catalog.dataset_by_id(collection.dataset_id)
        space = self.spaces[collection.space_id]
        key = collection.collection_key
        check = CollectionCheck(dataset.name, dataset.kind, space.backbone, space.space_id, key)
        check.without_vector = len(self.catalog.without_vector(dataset.dataset_id, key))
        held = self.workspace.moments.watermark(key, dimension=space.dimension)
        check.stale_moments = held is not None and not held
        differences = self._compared(check, is_present, held or set())
        check.without_vector -= check.pending
        check.stale_moments = check.stale_moments or bool(held)
        if self.repair:
            self._mend(check, differences, collection, space, is_present)
        else:
            check.left = max(check.problems - check.deleting, check.unusable != "" or not is_present)
            self._list(check, collection, differences.lost, {})
            if key in self.unwritten and not check.deleting:
                check.left += 1
                self.findings.append(
                    Finding(dataset.name, space.backbone, "", "", "holds forgotten vectors", _UNWRITTEN)
                )
        return check

    def _compared(self, check: CollectionCheck, is_present: bool, held: set[bytes]) -> _Differences:
        """The differences; what moments hold rightly is taken out of ``held``."""
        if is_present:
            try:
                check.stored = self.index.count(check.collection_key)
                found = self._differences(check, self._stored(check.collection_key), held)
                self._look_again(check, found)
            except VectorStoreError as error:
                if not self.workspace.exports_vectors:
                    raise  # a server that can't be asked is no damaged collection
                check.unusable = error.message
                check.recorded = check.stored = check.deleting = 0
            else:
                return _counted(check, found)
        return _counted(check, self._differences(check, iter(()), held))

    def _stored(self, key: str) -> Iterator[tuple[str, str]]:
        last = ""
        for points in self.index.iterate(key, batch=_CHUNK):
            for point, vector in zip(points.ids, points.vectors, strict=True):
                if point <= last:
                    raise VectorStoreError(f"collection {key} gives its points out of order: {point} after {last}")
                last = point
                yield point, vector_digest(vector)

    def _differences(self, check: CollectionCheck, stored: Iterator[tuple[str, str]], held: set[bytes]) -> _Differences:
        found = _Differences()
        for point, entry in _paired(self.catalog.points_of(check.collection_key), stored):
            self.compared += 1
            if self.on_progress is not None and self.compared % _CHUNK == 0:
                self.on_progress(Progress("compare", self.compared, None))
            if point is None:
                assert entry is not None
                found.extra.append(entry[0])
                continue
            is_right = entry is not None and entry[1] == point.vector_sha256
            if point.state is PointState.INDEXED:
                check.recorded += 1
                if is_right:
                    held.discard(member_key(point.point_id, point.vector_sha256))
                else:
                    found.lost.append((point, "missing" if entry is None else "damaged"))
            elif point.state is PointState.DELETING:
                check.deleting += 1
            elif is_right:
                found.acknowledge.append(point.point_id)
            else:
                found.lost.append((point, "pending"))
        return found

    def _look_again(self, check: CollectionCheck, found: _Differences) -> None:
        """Leaves out what another process has put right since: a server's collections are written to meanwhile."""
        key = check.collection_key
        known = self.catalog.points_by_id(key, found.extra)
        found.extra = [point for point in found.extra if point not in known]
        still = []
        for start in range(0, len(found.lost), _CHUNK):
            chunk = found.lost[start : start + _CHUNK]
            ids = [point.point_id for point, _ in chunk]
            recorded = self.catalog.points_by_id(key, ids)
            points = self.index.get(key, ids)
            stored = {point: vector_digest(vector) for point, vector in zip(points.ids, points.vectors, strict=True)}
            for point, problem in chunk:
                now = recorded.get(point.point_id)
                if now is None or now.state is PointState.DELETING or stored.get(now.point_id) == now.vector_sha256:
                    continue
                still.append((now, problem))
        found.lost = still

    def _mend(
        self, check: CollectionCheck, found: _Differences, collection: Collection, space: Space, is_present: bool
    ) -> None:
        key = check.collection_key
        if check.unusable:
            self.index.set_aside(key)
        if check.unusable or not is_present:
            self.index.create(self.workspace.spec_of(key, collection.dataset_id, space))
        if found.acknowledge:
            self.index.flush(key)
            self.catalog.acknowledge(key, found.acknowledge)
        if found.extra:
            self.index.delete(key, found.extra)
            self.index.flush(key)
            if not self.index.compact(key):
                self.unwritten.add(key)
        refused = self._embed_again(check, found.lost, collection, space) if found.lost else {}
        if check.stale_moments or found.extra or found.lost:
            self.workspace.moments.drop(key)
        if not refused:
            self.index.discard(key)
        check.left = len(refused)
        check.repaired = max(check.problems - check.deleting, check.unusable != "" or not is_present) - len(refused)
        lost = [(point, problem) for point, problem in found.lost if point.image_id in refused]
        self._list(check, collection, lost, refused)
        if key in self.unwritten and not check.deleting:  # else forgetting does it, which comes last
            write_anew(self.workspace, key)
            check.repaired += 0 if found.extra else 1

    def _embed_again(
        self, check: CollectionCheck, lost: Sequence[tuple[PointRecord, str]], collection: Collection, space: Space
    ) -> dict[str, Rejection]:
        """Puts vectors back from what is left of them anywhere, else from the sources; gives those it could not.

        They are looked for in what was set aside of the collection, in vector files and in other collections.
        """
        digests = {point.image_id: point.vector_sha256 for point, _ in lost}
        folders = (*self.index.remains(collection.collection_key), self.workspace.vector_folder)
        spec = CollectionSpec(collection.collection_key, space.dimension, space.parts)
        salvage = Salvage(spec, digests.values(), folders)

        def recovered(ids: Sequence[str]) -> dict[str, Float32s]:
            found = ((image_id, salvage.get(digests[image_id])) for image_id in ids)
            return {image_id: vectors for image_id, vectors in found if vectors is not None}

        backbone, reason = self._backbone_of(space)
        run_id = self.catalog.start_run("reconcile", collection.dataset_id, space.space_id, {}, __version__)
        writer = Writer(self.catalog, self.index, collection.dataset_id, collection.collection_key, space, run_id)
        again = Reembedding(
            self.workspace,
            writer,
            backbone,
            self.on_progress,
            Event(),
            total=len(lost),
            no_backbone=reason,
            recovered=recovered,
        )
        with recorded_run(self.catalog, run_id, again.counts, lambda: False):
            again.run([(point.image_id, point.image_key) for point, _ in lost])
        check.changed, check.copied = len(again.changed), again.counts["copied"]
        return again.unreadable

    def _backbone_of(self, space: Space) -> tuple[Backbone | None, str]:
        """The backbone whose space it is, or why it can't be had."""
        if space.space_id not in self.backbones:
            try:
                self.backbones[space.space_id] = self.workspace.backbone_of(space, **self.backbone_choice), ""
            except EmbeddingError as error:
                self.backbones[space.space_id] = None, f"{error.message}: {error.hint}" if error.hint else error.message
        return self.backbones[space.space_id]

    def _list(
        self,
        check: CollectionCheck,
        collection: Collection,
        lost: Sequence[tuple[PointRecord, str]],
        refused: Mapping[str, Rejection],
        detail: str = "",
    ) -> None:
        names = self.catalog.names_of([collection.dataset_id], [point.image_key for point, _ in lost])
        for point, problem in lost:
            why = refused[point.image_id].detail if point.image_id in refused else detail
            name = names.get(point.image_key, "")
            self.findings.append(Finding(check.dataset, check.backbone, point.image_id, name, problem, why))


def _counted(check: CollectionCheck, found: _Differences) -> _Differences:
    counts = Counter(problem for _, problem in found.lost)
    check.missing, check.damaged = counts["missing"], counts["damaged"]
    check.pending = counts["pending"] + len(found.acknowledge)
    check.extra = len(found.extra)
    return found


def _paired(
    points: Iterator[PointRecord], stored: Iterator[tuple[str, str]]
) -> Iterator[tuple[PointRecord | None, tuple[str, str] | None]]:
    """Merges two streams in ascending order of point_id: what both have comes together."""
    sides = ((point.point_id, 0, point) for point in points), ((entry[0], 1, entry) for entry in stored)
    for _, together in groupby(merge(*sides, key=itemgetter(0)), key=itemgetter(0)):
        found: dict[int, Any] = {side: value for _, side, value in together}
        yield found.get(0), found.get(1)
