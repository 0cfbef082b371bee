"""Audits as CSV, sets and releases as Parquet: written beside the target and renamed, so that a file is whole."""

from __future__ import annotations

import csv
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from provenance.errors import SourceError, SpaceMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provenance.catalog import AuditRecord, Dataset, StoredNeighbor
    from provenance.vocabulary import Space
    from provenance.workspace import Workspace

AUDIT_COLUMNS = (
    "subject_id",
    "name",
    "role",
    "label",
    "score",
    "s_used",
    "s_not_used",
    "s_against",
    "threshold",
    "near_threshold",
    "nearest_id",
    "nearest_name",
    "nearest_role",
    "nearest_similarity",
    "p_value",
    "q_value",
)
ROWS_AT_ONCE = 1000


def audit_rows(workspace: Workspace, audit: AuditRecord) -> Iterator[dict[str, Any]]:
    """One row a verdict, in image_id order; the nearest is the closest neighbor of any role.

    Images that were forgotten since have empty ids and names.
    """
    catalog = workspace.catalog
    datasets = [row.dataset_id for row in catalog.audit_datasets(audit.audit_id)]
    neighbors = catalog.neighbors_of(audit.audit_id)
    verdicts = catalog.verdicts(audit.audit_id)
    nearest = {v.image_key: _closest(neighbors.get(v.image_key, ())) for v in verdicts}
    keys = {v.image_key for v in verdicts} | {n.image_key for n in nearest.values() if n is not None}
    names = catalog.names_of(datasets, sorted(keys))
    for verdict in verdicts:
        closest = nearest[verdict.image_key]
        yield {
            "subject_id": verdict.image_id or "",
            "name": names.get(verdict.image_key, ""),
            "role": verdict.subject_role.value,
            "label": verdict.label.value,
            "score": verdict.score,
            "s_used": verdict.s_used,
            "s_not_used": verdict.s_not_used,
            "s_against": verdict.s_against,
            "threshold": verdict.threshold,
            "near_threshold": verdict.near_threshold,
            "nearest_id": (closest.image_id or "") if closest else "",
            "nearest_name": names.get(closest.image_key, "") if closest else "",
            "nearest_role": closest.role.value if closest else "",
            "nearest_similarity": closest.similarity if closest else None,
            "p_value": verdict.p_value,
            "q_value": verdict.q_value,
        }


def export_audit_csv(workspace: Workspace, audit: AuditRecord, target: Path) -> int:
    """Write an audit's verdicts as CSV (UTF-8, RFC 4180, header line); gives the number of rows.

    Floats are written with all their digits; a missing value is empty.

    Raises:
        SourceError: If the file can't be written.
    """

    def write(file: IO[bytes]) -> int:
        import io

        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.DictWriter(text, AUDIT_COLUMNS)
        writer.writeheader()
        count = 0
        for row in audit_rows(workspace, audit):
            writer.writerow({name: _cell(value) for name, value in row.items()})
            count += 1
        text.detach()
        return count

    return _replace(target, write)


def export_dataset_parquet(workspace: Workspace, dataset: Dataset, target: Path, space: str | None = None) -> int:
    """Write a set or release as Parquet: image_id, name, group, embedding (float32 list); gives the row count.

    Rows are in image_id order; every vector is verified by its digest. Memory does not grow with the set.

    Raises:
        SpaceMismatchError: If the dataset is in several spaces and none was chosen, or not in the one chosen.
        VectorStoreError: If a stored vector is missing or damaged.
        SourceError: If the file can't be written.
    """
    key, chosen = _collection(workspace, dataset, space)
    return _replace(target, lambda file: _write_parquet(workspace, dataset, key, chosen, file))


def _write_parquet(workspace: Workspace, dataset: Dataset, key: str, space: Space, file: IO[bytes]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from provenance.index import load_vectors

    members = workspace.catalog.members(dataset.dataset_id, key)
    metadata = {"dataset": dataset.name, "kind": dataset.kind.value, "space_id": space.space_id}
    schema = pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("name", pa.string()),
            pa.field("group", pa.string()),
            pa.field("embedding", pa.list_(pa.float32()), nullable=False),
        ],
        metadata=metadata,
    )
    with pq.ParquetWriter(file, schema) as writer:
        for start in range(0, len(members), ROWS_AT_ONCE):
            chunk = members[start : start + ROWS_AT_ONCE]
            vectors = load_vectors(
                workspace.index,
                [(m.collection_key, m.point_id, m.vector_sha256) for m in chunk],
                parts=space.parts,
                dimension=space.dimension,
            )
            names = workspace.catalog.names_of([dataset.dataset_id], [m.image_key for m in chunk])
            columns = {
                "image_id": [m.image_id for m in chunk],
                "name": [names.get(m.image_key) for m in chunk],
                "group": [m.group_key for m in chunk],
                "embedding": list(vectors.reshape(len(chunk), -1)),
            }
            writer.write_table(pa.table(columns, schema=schema))
    return len(members)


def _collection(workspace: Workspace, dataset: Dataset, space: str | None) -> tuple[str, Space]:
    collections = {c.space_id: c.collection_key for c in workspace.catalog.collections_of(dataset.dataset_id)}
    if space is not None:
        chosen = workspace.catalog.space(space)
        if chosen.space_id not in collections:
            raise SpaceMismatchError(f"{dataset.kind.value} {dataset.name} is not embedded in {space}")
        return collections[chosen.space_id], chosen
    if len(collections) != 1:
        what = "in no space" if not collections else "in several spaces"
        raise SpaceMismatchError(
            f"{dataset.kind.value} {dataset.name} is embedded {what}", hint="choose one with --space"
        )
    ((space_id, key),) = collections.items()
    return key, workspace.catalog.space(space_id)


def _closest(neighbors: Sequence[StoredNeighbor]) -> StoredNeighbor | None:
    return min(neighbors, key=lambda n: (-n.similarity, n.image_id or n.image_key), default=None)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _replace(target: Path, write: Callable[[IO[bytes]], int]) -> int:
    try:
        with _beside(target) as file:
            return write(file)
    except OSError as error:
        raise SourceError(
            f"{target} can't be written: {error.strerror or error}", hint="give -o another place"
        ) from error


@contextmanager
def _beside(target: Path) -> Iterator[IO[bytes]]:
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
