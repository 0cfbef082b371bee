"""Rows as pandas DataFrames with fixed columns and dtypes, also where there is no row.

Text is ``string``, words from a fixed list are ``category``, counts are ``int64``, numbers that a rule may not have
are ``float64`` with NaN, times are ``datetime64[us, UTC]``, and what has no flat form is ``object``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.documents.rows import MetricRow, PlantRow, RunFileProblem, SweepRow, VerdictRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from provenance.documents.document import Document

_TEXT, _WORD, _COUNT, _NUMBER, _TRUTH, _OTHER = "string", "category", "int64", "float64", "bool", "object"
_TIME = "datetime64[us, UTC]"
_OF_TYPE: dict[Any, str] = {
    str: _TEXT,
    str | None: _TEXT,
    int: _COUNT,
    bool: _TRUTH,
    float: _NUMBER,
    float | None: _NUMBER,
    int | None: _NUMBER,
}


def columns_of(row: type[Document]) -> dict[str, str]:
    """The columns of rows that are documents: a word is a category, and a number that may be missing a float."""
    return {
        name: _WORD if "word" in field.metadata else _OF_TYPE[field.annotation]
        for name, field in row.model_fields.items()
    }


VERDICTS = columns_of(VerdictRow)
CHANGES: dict[str, str] = {
    "image_id": _TEXT,
    "change": _WORD,
    "label_before": _WORD,
    "label_after": _WORD,
    "score_before": _NUMBER,
    "score_after": _NUMBER,
}
EVIDENCE: dict[str, str] = {
    "subject_id": _TEXT,
    "role": _WORD,
    "rank": _COUNT,
    "image_id": _TEXT,
    "name": _TEXT,
    "similarity": _NUMBER,
}
NEIGHBORS: dict[str, str] = {
    "rank": _COUNT,
    "similarity": _NUMBER,
    "image_id": _TEXT,
    "name": _TEXT,
    "dataset": _TEXT,
    "kind": _WORD,
    "group": _TEXT,
}
DUPLICATES: dict[str, str] = {
    "left_id": _TEXT,
    "left_name": _TEXT,
    "left_sets": _OTHER,
    "left_memberships": _OTHER,
    "right_id": _TEXT,
    "right_name": _TEXT,
    "right_sets": _OTHER,
    "right_memberships": _OTHER,
    "same_bytes": _TRUTH,
    "same_pixels": _TRUTH,
    "hash_distance": "Int64",
    "similarity": _NUMBER,
    "used_and_not_used": _TRUTH,
}
SETS: dict[str, str] = {
    "name": _TEXT,
    "membership": _WORD,
    "modality": _TEXT,
    "image_count": _COUNT,
    "occurrence_count": _COUNT,
    "reject_count": _COUNT,
    "space_ids": _OTHER,
    "created_at": _TIME,
}
RELEASES: dict[str, str] = {
    "name": _TEXT,
    "generator": _TEXT,
    "architecture": _TEXT,
    "generator_version": _TEXT,
    "modality": _TEXT,
    "image_count": _COUNT,
    "occurrence_count": _COUNT,
    "reject_count": _COUNT,
    "sealed": _TRUTH,
    "revision": _COUNT,
    "release_digest": _TEXT,
    "space_ids": _OTHER,
    "created_at": _TIME,
}
AUDITS: dict[str, str] = {
    "audit_id": _TEXT,
    "release": _TEXT,
    "used": _OTHER,
    "not_used": _OTHER,
    "against": _OTHER,
    "subject": _WORD,
    "rule": _WORD,
    "subject_count": _COUNT,
    "used_count": _COUNT,
    "not_used_count": _COUNT,
    "rejected_count": _COUNT,
    "mu": _NUMBER,
    "sigma": _NUMBER,
    "alpha": _NUMBER,
    "threshold": _NUMBER,
    "verdict_digest": _TEXT,
    "policy_id": _TEXT,
    "space_id": _TEXT,
    "audited_at": _TIME,
    "duration_seconds": _NUMBER,
}
HISTORY: dict[str, str] = {"at": _TIME, "kind": _WORD, "facts": _OTHER}
REJECTS: dict[str, str] = {
    "name": _TEXT,
    "source": _TEXT,
    "member": _TEXT,
    "size_bytes": _COUNT,
    "reason": _WORD,
    "detail": _TEXT,
    "rejected_at": _TIME,
}
METRICS = columns_of(MetricRow)
SENSITIVITY = columns_of(PlantRow)
FIT_METRICS: dict[str, str] = {"metric": _WORD, "training": _NUMBER, "held_out": _NUMBER}
SWEEP = columns_of(SweepRow)
EMBEDDINGS: dict[str, str] = {"image_id": _TEXT, "name": _TEXT, "group": _TEXT, "embedding": _OTHER}
RUN_FILE_PROBLEMS = columns_of(RunFileProblem) | {"line": "Int64"}


def frame(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A DataFrame of exactly these columns in this order and of these dtypes; an absent or ``None`` cell is missing."""
    import pandas as pd

    listed = list(rows)
    return pd.DataFrame(
        {name: _column([row.get(name) for row in listed], dtype) for name, dtype in columns.items()},
        columns=list(columns),
    )


def frame_of_batch(batch: Any) -> pd.DataFrame:
    """An Arrow record batch of embeddings as a DataFrame; each embedding is a float32 array."""
    loaded: pd.DataFrame = batch.to_pandas()
    return loaded.astype({name: dtype for name, dtype in EMBEDDINGS.items() if dtype == _TEXT})


def fields_of(value: Any, columns: Mapping[str, str]) -> dict[str, Any]:
    """Those attributes of a value that are columns."""
    return {name: getattr(value, name) for name in columns if hasattr(value, name)}


def _column(values: list[Any], dtype: str) -> pd.Series[Any]:
    import pandas as pd

    if dtype == _WORD:
        values = [None if value is None else str(value) for value in values]
    if dtype in (_WORD, _TIME):  # by way of objects, so that a column without rows has the dtype too
        column: pd.Series[Any] = pd.Series(values, dtype="object")
        return pd.to_datetime(column, utc=True).dt.as_unit("us") if dtype == _TIME else column.astype("category")
    return pd.Series(values, dtype=dtype)
