"""An audit's verdicts as rows, and these as CSV, JSON Lines or Parquet."""

from __future__ import annotations

import itertools
import json
from datetime import UTC
from typing import IO, TYPE_CHECKING, Any

from provenance.documents.rows import VerdictRow
from provenance.files import replace_file, writable, write_csv
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from provenance.installation import Installation
    from provenance.records import AuditRecord, StoredNeighbor, StoredVerdict

    _Acting = tuple[Role, str]

AUDIT_COLUMNS = tuple(VerdictRow.model_fields)
NEIGHBOR_COLUMNS = ("role", "rank", "image_id", "name", "similarity")
ROWS_AT_ONCE = 1000
_ROLES = (Role.USED, Role.NOT_USED, Role.AGAINST, Role.RELEASE)
SIMILARITY_COLUMNS = (
    "subject_id",
    "name",
    "role",
    *(form.format(role.value) for role in _ROLES for form in ("s_{}", "nearest_{}_id", "nearest_{}_name")),
)
"""For each role S, its nearest image's id and name: ``s_used`` is S_u, ``s_not_used`` S_n, ``s_release`` S(r)."""


def audit_rows(workspace: Installation, audit: AuditRecord) -> Iterator[dict[str, Any]]:
    """One row a verdict, in image_id order; the nearest is the closest neighbor of any role.

    Images that were forgotten since have neither ids nor names.
    """
    for row, _ in _rows_with_neighbors(workspace, audit):
        yield row


def audit_records(workspace: Installation, audit: AuditRecord) -> Iterator[dict[str, Any]]:
    """The rows of ``audit_rows`` with their audit's id first and all their evidence last.

    ``neighbors`` is a list by role and rank of ``{role, rank, image_id, name, similarity}``.
    """
    for row, neighbors in _rows_with_neighbors(workspace, audit, every_name=True):
        yield {"audit_id": audit.audit_id, **row, "neighbors": neighbors}


def similarity_rows(workspace: Installation, audit: AuditRecord) -> Iterator[dict[str, Any]]:
    """One row a judged image, in image_id order, with columns ``SIMILARITY_COLUMNS``.

    A generated image has a similarity for each role of the audit's sets, a real one for the release alone; the others
    are ``None``. They are cosines, whatever rule judged.
    """
    for record in audit_records(workspace, audit):
        row = {name: record.get(name) for name in ("subject_id", "name", "role")}
        nearest = {neighbor["role"]: neighbor for neighbor in record["neighbors"] if neighbor["rank"] == 1}
        for role in _ROLES:
            found = nearest.get(role.value, {})
            row[f"s_{role.value}"] = found.get("similarity")
            row[f"nearest_{role.value}_id"] = found.get("image_id")
            row[f"nearest_{role.value}_name"] = found.get("name")
        yield row


def export_audit_csv(workspace: Installation, audit: AuditRecord, target: Path) -> int:
    """Write an audit's verdicts as CSV (see ``write_csv``); gives the number of rows."""
    return write_csv(target, AUDIT_COLUMNS, audit_rows(workspace, audit))


def export_similarities(workspace: Installation, audit: AuditRecord, target: Path) -> int:
    """Write ``similarity_rows`` as CSV (see ``write_csv``); gives the number of rows."""
    return write_csv(target, SIMILARITY_COLUMNS, similarity_rows(workspace, audit))


def export_audit_jsonl(workspace: Installation, audit: AuditRecord, target: Path) -> int:
    """Write ``audit_records`` as JSON Lines (see ``replace_file``), a missing value as ``null``; gives their number."""

    def write(file: IO[bytes]) -> int:
        count = 0
        for record in audit_records(workspace, audit):
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            count += 1
        return count

    return replace_file(target, write)


def export_audit_parquet(workspace: Installation, audit: AuditRecord, target: Path) -> int:
    """Write ``audit_records`` as Parquet (see ``replace_file``), neighbors as a list of structs; gives the row count.

    Similarities, scores and thresholds are float64. The file's metadata holds the audit's own figures as JSON values.
    """

    def write(file: IO[bytes]) -> int:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = _audit_schema().with_metadata(_audit_metadata(workspace, audit))
        records, count = audit_records(workspace, audit), 0
        with pq.ParquetWriter(file, schema) as writer:
            while chunk := list(itertools.islice(records, ROWS_AT_ONCE)):
                writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
                count += len(chunk)
        return count

    return replace_file(target, write)


def _rows_with_neighbors(
    workspace: Installation, audit: AuditRecord, *, every_name: bool = False
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each verdict's row and its neighbors; of these only the closest has its name, or all with ``every_name``."""
    catalog = workspace.catalog
    neighbors = catalog.neighbors_of(audit.audit_id)
    verdicts = catalog.verdicts(audit.audit_id)
    wanted = {(verdict.subject_role, verdict.image_key) for verdict in verdicts}
    for listed in neighbors.values():
        closest = _closest(listed)
        wanted.update((n.role, n.image_key) for n in (listed if every_name else (closest,)) if n is not None)
    names = _names_in_roles(workspace, audit, wanted)
    for verdict in verdicts:
        listed = neighbors.get(verdict.image_key, [])
        yield _row(verdict, _closest(listed), names), [_neighbor(n, names) for n in listed]


def _names_in_roles(workspace: Installation, audit: AuditRecord, wanted: set[_Acting]) -> dict[_Acting, str]:
    """Names by role and image: the same bytes may stand in a real set and in the release under two names."""
    datasets: dict[Role, list[str]] = {}
    for row in workspace.catalog.audit_datasets(audit.audit_id):
        datasets.setdefault(row.role, []).append(row.dataset_id)
    names = {}
    for role, ids in datasets.items():
        keys = sorted(key for acting, key in wanted if acting is role)
        names.update({(role, key): writable(name) for key, name in workspace.catalog.names_of(ids, keys).items()})
    return names


def _row(verdict: StoredVerdict, closest: StoredNeighbor | None, names: Mapping[_Acting, str]) -> dict[str, Any]:
    nearest = _neighbor(closest, names) if closest else {}
    return {
        **{column: getattr(verdict, column, None) for column in AUDIT_COLUMNS},
        "subject_id": verdict.image_id,
        "name": names.get((verdict.subject_role, verdict.image_key)),
        "role": verdict.subject_role.value,
        "label": verdict.label.value,
        "nearest_id": nearest.get("image_id"),
        **{f"nearest_{word}": nearest.get(word) for word in ("name", "role", "similarity")},
    }


def _neighbor(neighbor: StoredNeighbor, names: Mapping[_Acting, str]) -> dict[str, Any]:
    role, name = neighbor.role, names.get((neighbor.role, neighbor.image_key))
    values = (role.value, neighbor.rank, neighbor.image_id, name, neighbor.similarity)
    return dict(zip(NEIGHBOR_COLUMNS, values, strict=True))


def _closest(neighbors: Sequence[StoredNeighbor]) -> StoredNeighbor | None:
    return min(neighbors, key=lambda n: (-n.similarity, n.image_id or n.image_key), default=None)


def _audit_schema() -> Any:
    import pyarrow as pa

    floats = {"score", "s_used", "s_not_used", "s_against", "threshold", "nearest_similarity", "p_value", "q_value"}
    types = {"near_threshold": pa.bool_(), **dict.fromkeys(floats, pa.float64())}
    of_neighbor = (pa.string(), pa.int32(), pa.string(), pa.string(), pa.float64())
    neighbor = pa.struct(list(zip(NEIGHBOR_COLUMNS, of_neighbor, strict=True)))
    columns = [pa.field(name, types.get(name, pa.string())) for name in ("audit_id", *AUDIT_COLUMNS)]
    return pa.schema([*columns, pa.field("neighbors", pa.list_(neighbor))])


def _audit_metadata(workspace: Installation, audit: AuditRecord) -> dict[str, str]:
    names = ("audit_id", "subject", "rule", "policy_id", "space_id", "release_digest", "verdict_digest")
    figures = ("mu", "sigma", "alpha", "population_count", "threshold", "software_version", "duration_seconds")
    facts = {name: str(getattr(audit, name)) for name in names}
    facts |= {name: json.dumps(getattr(audit, name)) for name in figures}
    facts["counts"] = json.dumps(dict(audit.counts))
    facts["audited_at"] = audit.audited_at.astimezone(UTC).isoformat()
    facts["datasets"] = json.dumps(
        [
            {"name": d.name, "role": d.role.value, "digest": d.dataset_digest, "image_count": d.image_count}
            for d in workspace.catalog.audit_datasets(audit.audit_id)
        ]
    )
    return facts
