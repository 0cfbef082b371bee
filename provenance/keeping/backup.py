"""One file that holds a whole installation: the catalog, its vectors, and a manifest of their digests.

The file is a zip archive:

    catalog.sqlite3      the catalog at one moment, of whatever database it is
    vectors/<key>        one collection: for each point its UUID (16 bytes), then its little-endian float32 vectors
    manifest.json        digest and size of each of these, and what they are

It holds names, paths and the key of the pseudonyms: it is as confidential as the workspace itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path  # noqa: TC003 - documents read the types of reports
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from provenance.brief import Brief
from provenance.catalog import (
    Catalog,
    head_revision,
    rename_collections,
    require_empty,
    restore_from_file,
    upgrade_copy,
    vet_rows,
)
from provenance.errors import ConflictError, SourceError, VectorStoreError
from provenance.files import hold, json_bytes, made_before, scratch_folder, sync_folder, when_answered, write_bytes
from provenance.index import Points, vector_digest
from provenance.ingest import Progress
from provenance.installation import ARCHIVE_FILE, BACKUP_PREFIX, RESTORE_PREFIX, RESTORING_FILE
from provenance.keeping.manifest import (
    CATALOG_ENTRY,
    FORMAT,
    ID_BYTES,
    MANIFEST_ENTRY,
    USE_ANOTHER,
    VECTORS_FOLDER,
    VERSION,
    StatedCollection,
    checked_manifest,
    stated_manifest,
)
from provenance.keeping.reconcile import reconcile
from provenance.logs import room, step
from provenance.version import __version__
from provenance.vocabulary import PointState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from provenance.index import CollectionSpec, VectorIndex
    from provenance.ingest import OnProgress
    from provenance.installation import Installation
    from provenance.keeping.manifest import Manifest
    from provenance.keeping.reconcile import ReconcileReport
    from provenance.records import Collection
    from provenance.vocabulary import Space

_log = room(__name__)

_POINTS = 256
_ZIP_YEARS = 1980, 2107
_BLOCK_BYTES = 2**20


@dataclass(frozen=True, slots=True, repr=False)
class BackupReport(Brief):
    """What a backup holds."""

    file: Path
    size_bytes: int
    catalog_uuid: str
    collections: int
    vectors: int
    created_at: datetime


@dataclass(frozen=True, slots=True, repr=False)
class RestoreReport(Brief):
    """What was restored, and what the comparison of catalog and index says of it."""

    file: Path
    catalog_uuid: str
    collections: int
    vectors: int
    backed_up_at: datetime
    reconciled: ReconcileReport


@step(_log, "backup")
def backup(workspace: Installation, file: Path, on_progress: OnProgress | None = None) -> BackupReport:
    """Write catalog and vectors into one file, which appears whole or not at all.

    The catalog may be in use. A local index is held meanwhile; on a server others may go on. ``on_progress`` is told
    how many vectors are in it.

    One that was killed when its file was whole is complete: made again, it says so.

    Raises:
        ConflictError: If the file exists.
        SourceError: If it can't be written.
        VectorStoreError: If a vector is missing or damaged: a backup is whole, or there is none.
    """
    target = file.expanduser().absolute()
    if target.exists():
        if made_before(target):
            return _made_before(target, workspace.catalog.catalog_uuid)
        raise ConflictError(f"{target} exists", hint="a backup is never overwritten: give another name")
    index = workspace.index
    with _writing(target), scratch_folder(target.parent, BACKUP_PREFIX, target=target) as (folder, note):
        copy, unfinished = folder / CATALOG_ENTRY, folder / ARCHIVE_FILE
        workspace.catalog.copy_to(copy)
        with unfinished.open("xb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            with zipfile.ZipFile(stream, "w") as archive:
                manifest = _Packing(archive, index, on_progress).pack(copy)
            stream.flush()
            os.fsync(stream.fileno())
        note.finished(unfinished)
        unfinished.rename(target)
        sync_folder(target.parent)
    counts = [collection["count"] for collection in manifest["collections"]]
    moment, size = datetime.fromisoformat(manifest["created_at"]), target.stat().st_size
    return BackupReport(target, size, manifest["catalog"]["uuid"], len(counts), sum(counts), moment)


def _made_before(target: Path, catalog_uuid: str) -> BackupReport:
    """What a killed backup of this catalog wrote."""
    with _opened(target) as archive:
        manifest = checked_manifest(archive, target)
    if manifest.catalog.uuid != catalog_uuid:
        raise ConflictError(f"{target} is a backup of another catalog", hint="give another name")
    counts = [collection.count for collection in manifest.collections]
    size = target.stat().st_size
    return BackupReport(target, size, catalog_uuid, len(counts), sum(counts), manifest.created_at)


@dataclass
class _Packing:
    """A backup while it is written."""

    archive: zipfile.ZipFile
    index: VectorIndex
    on_progress: OnProgress | None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    done: int = 0
    total: int = 0

    def pack(self, copy: Path) -> dict[str, Any]:
        with copy.open("rb") as stream:
            self._add(CATALOG_ENTRY, iter(lambda: stream.read(_BLOCK_BYTES), b""), zipfile.ZIP_DEFLATED)
        with Catalog.open(copy) as frozen:
            spaces = {space.space_id: space for space in frozen.spaces()}
            live = frozen.live_collections()
            self.total = sum(frozen.member_count(collection.dataset_id) for collection in live)
            collections = [self._collection(frozen, each, spaces[each.space_id]) for each in live]
            manifest = {
                "format": FORMAT,
                "version": VERSION,
                "software_version": __version__,
                "created_at": datetime.now(UTC).isoformat(),
                "catalog": {"uuid": frozen.catalog_uuid, "revision": head_revision()},
                "collections": collections,
                "files": self.files,
            }
        self.archive.writestr(MANIFEST_ENTRY, json.dumps(manifest, indent=2), zipfile.ZIP_DEFLATED)
        return manifest

    def _add(self, name: str, blocks: Iterator[bytes], compression: int = zipfile.ZIP_STORED) -> None:
        digest, size = hashlib.sha256(), 0
        entry = zipfile.ZipInfo(name, _as_zips_know(datetime.now(UTC)))
        entry.compress_type = compression
        entry.external_attr = 0o600 << 16
        with self.archive.open(entry, "w", force_zip64=True) as stream:
            for block in blocks:
                stream.write(block)
                digest.update(block)
                size += len(block)
        self.files[name] = {"sha256": digest.hexdigest(), "size_bytes": size}

    def _collection(self, frozen: Catalog, collection: Collection, space: Space) -> dict[str, Any]:
        before = self.done
        self._add(f"{VECTORS_FOLDER}{collection.collection_key}", self._vectors(frozen, collection, space))
        return {
            "key": collection.collection_key,
            "dataset": frozen.dataset_by_id(collection.dataset_id).name,
            "space_id": space.space_id,
            "dimension": space.dimension,
            "parts": space.parts,
            "count": self.done - before,
        }

    def _vectors(self, frozen: Catalog, collection: Collection, space: Space) -> Iterator[bytes]:
        key = collection.collection_key
        indexed = (point for point in frozen.points_of(key) if point.state is PointState.INDEXED)
        while chunk := list(islice(indexed, _POINTS)):
            found = self.index.get(key, [point.point_id for point in chunk])
            vectors = dict(zip(found.ids, found.vectors, strict=True))
            for point in chunk:
                vector = vectors.get(point.point_id)
                if vector is None or vector_digest(vector) != point.vector_sha256:
                    raise VectorStoreError(
                        f"the vector of image {point.image_id} in collection {key} is "
                        f"{'missing' if vector is None else 'damaged'}: no backup was written",
                        hint="run `provenance reconcile`, then the backup again",
                    )
                yield uuid.UUID(point.point_id).bytes + np.ascontiguousarray(vector, dtype="<f4").tobytes()
            self.done += len(chunk)
            if self.on_progress is not None:
                self.on_progress(Progress("backup", self.done, self.total))


def require_backup(file: Path) -> None:
    """Refuse what is no backup, before anything is made for it.

    Raises:
        SourceError: If it can't be read, or is none.
    """
    source = file.expanduser().absolute()
    with _opened(source) as archive:
        stated_manifest(archive, source)


@step(_log, "restore")
def restore(
    workspace: Installation,
    file: Path,
    on_progress: OnProgress | None = None,
    misfit_of_measured: Callable[[dict[str, Any]], str] = lambda _: "",
) -> RestoreReport:
    """Bring a backup into an empty workspace, and compare catalog and index.

    Everything in the file is checked against the manifest before anything is written. The catalog comes last: a
    restore that was cut off leaves an empty workspace, and the next one goes through; one that was cut off after its
    catalog was in is brought to its end. On a server its collections get new keys, beside those of others, which may
    be the original's own. ``on_progress`` is told how many vectors are in the index; ``misfit_of_measured``: see
    ``vet_rows``.

    Raises:
        SourceError: If the file is no undamaged backup.
        ConflictError: If the workspace's catalog holds anything, or its index in process.
    """
    source = file.expanduser().absolute()
    if (done := _restored_before(workspace, source)) is not None:
        return _ended(workspace, source, *done)
    require_empty(workspace.catalog_place)
    workspace.upgrade_catalog()
    with _opened(source) as archive, _writing(workspace.root), workspace.private_files():
        manifest = checked_manifest(archive, source)
        with scratch_folder(workspace.root, RESTORE_PREFIX) as (folder, _):
            copy = folder / CATALOG_ENTRY
            with archive.open(CATALOG_ENTRY) as packed, copy.open("xb") as plain:
                shutil.copyfileobj(packed, plain)
            upgrade_copy(copy)
            vet_rows(copy, misfit_of_measured)
            renamed = {} if workspace.exports_vectors else rename_collections(copy)
            with Catalog.open(copy) as frozen:
                unpacking = _Unpacking(archive, workspace, frozen, renamed, on_progress)
                specs = unpacking.specs(manifest.collections)
                _claim_index(workspace, manifest, [spec.key for spec in specs])
                count = unpacking.unpack(manifest.collections, specs)
            workspace.close()
            restore_from_file(workspace.catalog_place, copy)
    return _ended(workspace, source, manifest, count)


def _ended(workspace: Installation, source: Path, manifest: Manifest, count: int) -> RestoreReport:
    report = RestoreReport(
        file=source,
        catalog_uuid=manifest.catalog.uuid,
        collections=len(manifest.collections),
        vectors=count,
        backed_up_at=manifest.created_at,
        reconciled=reconcile(workspace),
    )
    when_answered(partial((workspace.root / RESTORING_FILE).unlink, missing_ok=True))
    return report


def _restored_before(workspace: Installation, source: Path) -> tuple[Manifest, int] | None:
    """The manifest and number of vectors, if it is this backup that a restore which was cut off had brought in."""
    if _marked(workspace.root).get("restored") is None or not hold(workspace.root / RESTORING_FILE):
        return None
    try:
        require_empty(workspace.catalog_place)
    except ConflictError:
        with _opened(source) as archive:
            manifest = checked_manifest(archive, source)
        if _name_of(manifest) == _marked(workspace.root)["restored"]:
            return manifest, sum(collection.count for collection in manifest.collections)
    return None


def _name_of(manifest: Manifest) -> str:
    return f"{manifest.catalog.uuid} {manifest.created_at.isoformat()}"


def _marked(root: Path) -> dict[str, Any]:
    """What a restore that was cut off noted: the collections that are its own, and the backup."""
    try:
        noted = json.loads((root / RESTORING_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _claim_index(workspace: Installation, manifest: Manifest, keys: list[str]) -> None:
    """Makes sure that the index is free for the keys; takes out what a restore that was cut off left."""
    mine = set(_marked(workspace.root).get("collections", ()))
    index = workspace.index
    present = set(index.collections())
    in_the_way = present - mine if workspace.exports_vectors else set()
    if in_the_way:
        raise ConflictError(
            f"the vector index {workspace.index_url} is not empty: it holds collection {min(in_the_way)}",
            hint="restore into a new workspace, or with another index URL",
        )
    for key in sorted(present & mine):
        index.drop(key)
    write_bytes(workspace.root / RESTORING_FILE, json_bytes({"collections": keys, "restored": _name_of(manifest)}))
    hold(workspace.root / RESTORING_FILE)


@dataclass
class _Unpacking:
    """A backup's vectors on their way into an index."""

    archive: zipfile.ZipFile
    workspace: Installation
    frozen: Catalog
    renamed: Mapping[str, str]
    on_progress: OnProgress | None
    done: int = 0

    def specs(self, collections: Sequence[StatedCollection]) -> list[CollectionSpec]:
        """The collections as they are made, each under its key here."""
        live = {each.collection_key: each for each in self.frozen.live_collections()}
        spaces = {space.space_id: space for space in self.frozen.spaces()}
        made = []
        for stated in collections:
            known = live.get(self.renamed.get(stated.key, stated.key))
            space = spaces.get(known.space_id) if known else None
            if known is None or space is None or (space.dimension, space.parts) != (stated.dimension, stated.parts):
                raise SourceError(f"collection {stated.key} is not what the backup's catalog says", hint=USE_ANOTHER)
            made.append(self.workspace.spec_of(known.collection_key, known.dataset_id, space, self.frozen))
        return made

    def unpack(self, collections: Sequence[StatedCollection], specs: Sequence[CollectionSpec]) -> int:
        """Gives how many vectors went in."""
        index, total = self.workspace.index, sum(collection.count for collection in collections)
        for collection, spec in zip(collections, specs, strict=True):
            index.create(spec)
            with self.archive.open(f"{VECTORS_FOLDER}{collection.key}") as stream:
                for ids, vectors in _points_in(stream, spec):
                    self._put(spec.key, ids, vectors)
                    if self.on_progress is not None:
                        self.on_progress(Progress("restore", self.done, total))
            index.flush(spec.key)
        return self.done

    def _put(self, key: str, ids: list[str], vectors: Any) -> None:
        facts = self.frozen.point_facts(key, ids)
        for point, vector in zip(ids, vectors, strict=True):
            if point not in facts or facts[point].vector_sha256 != vector_digest(vector):
                raise SourceError(f"point {point} of collection {key} is not what the backup's catalog says")
        self.workspace.index.upsert(key, Points(ids, vectors, [facts[point]._asdict() for point in ids]))
        self.done += len(ids)


def _as_zips_know(moment: datetime) -> tuple[int, int, int, int, int, int]:
    """The nearest moment that a zip can hold: a clock that was never set says 1970."""
    year = min(max(moment.year, _ZIP_YEARS[0]), _ZIP_YEARS[1])
    return year, moment.month, moment.day, moment.hour, moment.minute, moment.second


def _points_in(stream: IO[bytes], spec: CollectionSpec) -> Iterator[tuple[list[str], Any]]:
    row = np.dtype([("id", f"V{ID_BYTES}"), ("vectors", "<f4", spec.shape)])
    while block := stream.read(row.itemsize * _POINTS):
        rows = np.frombuffer(block, dtype=row)
        yield [str(uuid.UUID(bytes=bytes(each))) for each in rows["id"]], np.ascontiguousarray(rows["vectors"])


def _opened(source: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(source)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise SourceError(f"{source} can't be read as a backup: {reason}", hint="use another backup") from error


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{target} can't be written: {error.strerror or error}", hint="check the folder and the room on its disk"
        ) from error
