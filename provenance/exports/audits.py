"""An audit's verdicts as rows, and these as CSV, JSON Lines or Parquet."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from datetime import UTC
from typing import IO, TYPE_CHECKING, Any

from provenance.audit import scored_reals
from provenance.documents.rows import CopyRow, MembershipRow, VerdictRow
from provenance.files import replace_file, write_csv
from provenance.lookup import real_names
from provenance.records import StoredVerdict, strength_of_copy
from provenance.text import writable
from provenance.vocabulary import Answer, ExportFormat, Role, RuleName

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from provenance.catalog import Catalog
    from provenance.installation import Installation
    from provenance.records import (
        AuditDataset,
        AuditRecord,
        MembershipFigures,
        StoredCalibrationScore,
        StoredCopySource,
        StoredNeighbor,
    )

    Rows = Callable[[Installation, AuditRecord], Iterator[dict[str, Any]]]

    _Acting = tuple[Role, str]

AUDIT_COLUMNS = tuple(VerdictRow.model_fields)
COPY_COLUMNS = tuple(CopyRow.model_fields)
MEMBERSHIP_COLUMNS = tuple(MembershipRow.model_fields)
CALIBRATION = "calibration"
"""What stands for a label where a real image was not judged: known not used, it calibrates."""
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


def audit_rows(workspace: Installation, audit: AuditRecord, *, ranked: bool = False) -> Iterator[dict[str, Any]]:
    """One row a verdict, in image_id order or that of ``ranked_verdicts``; the nearest is of any role.

    Images that were forgotten since have neither ids nor names.
    """
    for row, _ in _rows_with_neighbors(workspace, audit, ranked=ranked):
        yield row


def ranked_verdicts(catalog: Catalog, audit: AuditRecord) -> list[StoredVerdict]:
    """The verdicts of an audit as every list of them has them: what is to be looked at first stands first.

    Copies by ``strength_of_copy``. Other verdicts by score, where they are calibrated those on images of unknown use
    before those on images that are claimed used. Ties in image_id order.
    """
    verdicts, calibrated = catalog.verdicts(audit.audit_id), audit.findings.outcome is not None
    if audit.rule != RuleName.COPIES:
        return sorted(verdicts, key=lambda one: (calibrated and one.subject_role is Role.USED, -(one.score or 0.0)))
    by = {key: best.established_by for key, (best,) in catalog.sources_of(audit.audit_id, most=1).items()}
    return sorted(verdicts, key=lambda one: strength_of_copy(one.label, by.get(one.image_key), one.score))


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


def copy_rows(workspace: Installation, audit: AuditRecord) -> Iterator[dict[str, Any]]:
    """One row an image and source, with columns ``COPY_COLUMNS``, in the order of ``ranked_verdicts``.

    The rows of an image stand together, the best source first. An image that agrees with none has one row. Images that
    were forgotten since have neither ids nor names.
    """
    sources, verdicts = workspace.catalog.sources_of(audit.audit_id), ranked_verdicts(workspace.catalog, audit)
    generated = _names(workspace, audit, {verdict.image_key for verdict in verdicts}, released=True)
    named = {source.image_key for listed in sources.values() for source in listed}
    real = _written(real_names(workspace.catalog, workspace.catalog.audit_datasets(audit.audit_id), named))
    for verdict in verdicts:
        listed = [_of_source(source, real) for source in sources.get(verdict.image_key, ())]
        row = dict.fromkeys(COPY_COLUMNS) | {"image_id": verdict.image_id, "name": generated.get(verdict.image_key)}
        first, *others = listed or [{}]
        yield row | _figures(verdict, generated) | {"evidence": verdict.score} | first
        yield from (row | source for source in others)


def _calibrating(workspace: Installation, audit: AuditRecord) -> Iterator[dict[str, Any]]:
    """What is on record of each image that calibrates, in image_id order."""
    scores = workspace.catalog.calibration_scores(audit.audit_id)
    names = _names(workspace, audit, {each.image_key for each in scores}, released=False)
    for each in scores:
        known = {"image_id": each.image_id, "name": names.get(each.image_key), "score": each.score}
        yield known | {"role": Role.NOT_USED.value, "label": CALIBRATION}


def _of_source(source: StoredCopySource, names: Mapping[str, str]) -> dict[str, Any]:
    same = ("agreement", "established_by", "transformation", "rank", "share")
    values = {name: getattr(source, name) for name in same}
    values |= {"source_id": source.image_id, "source_name": names.get(source.image_key)}
    values["extent"] = "part" if source.part else "whole"
    for prefix, box in (("", source.box), ("source_", source.source_box)):
        values |= {} if box is None else {f"{prefix}{edge}": value for edge, value in asdict(box).items()}
    return values


def membership_rows(workspace: Installation, audit: AuditRecord) -> Iterator[dict[str, Any]]:
    """One row a real image, judged or calibrating, in image_id order, with columns ``MEMBERSHIP_COLUMNS``."""
    catalog, reals = workspace.catalog, scored_reals(workspace.catalog, audit)
    everyone: list[StoredVerdict | StoredCalibrationScore] = [*reals.verdicts, *reals.calibrating]
    names = _names(workspace, audit, {each.image_key for each in everyone}, released=False)
    beside, copies = catalog.membership_figures(audit.audit_id), catalog.standing_copies(audit.audit_id)
    generated = _names(workspace, audit, {each.image_key for each in copies.values()}, released=True)
    for each in sorted(everyone, key=lambda one: (one.image_id is None, one.image_id or one.image_key)):
        row = dict.fromkeys(MEMBERSHIP_COLUMNS) | {"group": reals.groups.get(each.image_key)}
        row |= _beside(beside.get(each.image_key))
        row["tested"] = None if reals.tested is None else each.image_key in reals.tested
        if (copy := copies.get(each.image_key)) is not None:
            row |= {"copied_by": generated.get(copy.image_key), "copied_as": copy.label.value}
        if isinstance(each, StoredVerdict):
            yield row | {"role": each.subject_role.value} | _figures(each, names) | {"score": each.score}
        else:
            known = {"image_id": each.image_id, "name": names.get(each.image_key), "score": each.score}
            yield row | {"role": Role.NOT_USED.value, "label": CALIBRATION} | known


def _beside(found: MembershipFigures | None) -> dict[str, Any]:
    """The columns beside the label; nothing of audits without them."""
    return {} if found is None else {name: value for name, value in asdict(found).items() if name != "image_key"}


def _figures(verdict: StoredVerdict, names: Mapping[str, str]) -> dict[str, Any]:
    values = {name: getattr(verdict, name) for name in ("image_id", "label", "p_value", "q_value")}
    return {**values, "label": verdict.label.value, "name": names.get(verdict.image_key)}


def _datasets(workspace: Installation, audit: AuditRecord, *, released: bool) -> list[AuditDataset]:
    played = workspace.catalog.audit_datasets(audit.audit_id)
    return [row for row in played if (row.role is Role.RELEASE) is released]


def _names(workspace: Installation, audit: AuditRecord, keys: Collection[str], *, released: bool) -> dict[str, str]:
    """Names in the release, or in the real sets, by image_key."""
    dataset_ids = [row.dataset_id for row in _datasets(workspace, audit, released=released)]
    return _written(workspace.catalog.names_of(dataset_ids, sorted(keys)))


def _written(names: Mapping[str, str]) -> dict[str, str]:
    return {key: writable(name) for key, name in names.items()}


def export_audit_csv(workspace: Installation, audit: AuditRecord, target: Path, *, raw: bool = False) -> int:
    """Write an audit's verdicts, and the scores that calibrate them, as CSV; the number of rows."""
    rows = itertools.chain(audit_rows(workspace, audit), _calibrating_rows(workspace, audit))
    return write_csv(target, AUDIT_COLUMNS, rows, raw=raw)


def _calibrating_rows(workspace: Installation, audit: AuditRecord) -> Iterator[dict[str, Any]]:
    """Images that calibrate as rows of ``audit_rows``."""
    for row in _calibrating(workspace, audit):
        row |= {"subject_id": row["image_id"], "near_threshold": False}
        yield {name: row.get(name) for name in AUDIT_COLUMNS}


def _records(workspace: Installation, audit: AuditRecord) -> Iterator[dict[str, Any]]:
    """``audit_records``, then the images that calibrate, for which no neighbors are kept."""
    yield from audit_records(workspace, audit)
    for row in _calibrating_rows(workspace, audit):
        yield {"audit_id": audit.audit_id, **row, "neighbors": []}


def export_similarities(workspace: Installation, audit: AuditRecord, target: Path, *, raw: bool = False) -> int:
    """Write ``similarity_rows`` as CSV (see ``write_csv``); gives the number of rows."""
    return write_csv(target, SIMILARITY_COLUMNS, similarity_rows(workspace, audit), raw=raw)


def export_audit_jsonl(workspace: Installation, audit: AuditRecord, target: Path) -> int:
    """Write ``audit_records``, and the scores that calibrate, as JSON Lines; the number of lines."""
    return write_jsonl(target, _records(workspace, audit))


def export_audit_parquet(workspace: Installation, audit: AuditRecord, target: Path) -> int:
    """Write the same as Parquet (see ``write_parquet``), neighbors as a list of structs.

    Similarities, scores and thresholds are float64. The file's metadata holds the audit's own figures as JSON values.
    """
    return write_parquet(target, _audit_schema(), workspace, audit, _records(workspace, audit))


def export_answer(
    workspace: Installation, audit: AuditRecord, answer: Answer, target: Path, fmt: ExportFormat, *, raw: bool = False
) -> int:
    """Write the rows of copies or of membership as CSV, JSON Lines or Parquet; gives their number."""
    columns, rows = _ANSWERS[answer]
    found = rows(workspace, audit)
    if fmt is ExportFormat.CSV:
        return write_csv(target, columns, found, raw=raw)
    if fmt is ExportFormat.JSONL:
        return write_jsonl(target, found)
    return write_parquet(target, _schema_of(columns), workspace, audit, found)


_ANSWERS: dict[Answer, tuple[tuple[str, ...], Rows]] = {
    Answer.COPIES: (COPY_COLUMNS, copy_rows),
    Answer.MEMBERSHIP: (MEMBERSHIP_COLUMNS, membership_rows),
}


def write_jsonl(target: Path, rows: Iterator[dict[str, Any]]) -> int:
    """Write rows as JSON Lines (see ``replace_file``), a missing value as ``null``; gives their number."""

    def write(file: IO[bytes]) -> int:
        count = 0
        for record in rows:
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            count += 1
        return count

    return replace_file(target, write)


def write_parquet(
    target: Path, schema: Any, workspace: Installation, audit: AuditRecord, rows: Iterator[dict[str, Any]]
) -> int:
    """Write rows as Parquet (see ``replace_file``) with the audit's figures as metadata; gives their number."""

    def write(file: IO[bytes]) -> int:
        import pyarrow as pa
        import pyarrow.parquet as pq

        described, count = schema.with_metadata(_audit_metadata(workspace, audit)), 0
        with pq.ParquetWriter(file, described) as writer:
            while chunk := list(itertools.islice(rows, ROWS_AT_ONCE)):
                writer.write_table(pa.Table.from_pylist(chunk, schema=described))
                count += len(chunk)
        return count

    return replace_file(target, write)


def _rows_with_neighbors(
    workspace: Installation, audit: AuditRecord, *, every_name: bool = False, ranked: bool = False
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each verdict's row and its neighbors; of these only the closest has its name, or all with ``every_name``."""
    catalog = workspace.catalog
    neighbors = catalog.neighbors_of(audit.audit_id)
    verdicts = ranked_verdicts(catalog, audit) if ranked else catalog.verdicts(audit.audit_id)
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


_FLOATS = {
    *("score", "s_used", "s_not_used", "s_against", "threshold", "nearest_similarity", "p_value", "q_value"),
    *("agreement", "evidence", "probability", "group_score", "group_p_value", "group_q_value", "tail_p_value"),
    *("tail_q_value", "storey_q_value", "share"),
    *(f"{image}{edge}" for image in ("", "source_") for edge in ("left", "top", "right", "bottom")),
}


def _schema_of(columns: Sequence[str]) -> Any:
    import pyarrow as pa

    flags = dict.fromkeys(("near_threshold", "tested"), pa.bool_())
    types = {**flags, "rank": pa.int32(), **dict.fromkeys(_FLOATS, pa.float64())}
    return pa.schema([pa.field(name, types.get(name, pa.string())) for name in columns])


def _audit_schema() -> Any:
    import pyarrow as pa

    of_neighbor = (pa.string(), pa.int32(), pa.string(), pa.string(), pa.float64())
    neighbor = pa.struct(list(zip(NEIGHBOR_COLUMNS, of_neighbor, strict=True)))
    return _schema_of(("audit_id", *AUDIT_COLUMNS)).append(pa.field("neighbors", pa.list_(neighbor)))


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
