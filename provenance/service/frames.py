"""Rows as pandas DataFrames with fixed columns and dtypes, also where there is no row.

Text is ``string``, words from a fixed list are ``category``, counts are ``int64``, numbers that a rule may not have
are ``float64`` with NaN, times are ``datetime64[us, UTC]``, and what has no flat form is ``object``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.documents.rows import DuplicatePair, MetricRow, PlantRow, RunFileProblem, SweepRow, VerdictRow

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
        name: _WORD if "word" in field.metadata else _OF_TYPE.get(field.annotation, _OTHER)
        for name, field in row.model_fields.items()
    }


def _columns(groups: str) -> dict[str, str]:
    """Names -> dtypes of groups such as ``text name | count rank``, in that order."""
    dtypes = {"text": _TEXT, "word": _WORD, "count": _COUNT, "number": _NUMBER, "truth": _TRUTH}
    dtypes |= {"other": _OTHER, "time": _TIME}
    split = [group.split() for group in groups.split("|")]
    return {name: dtypes[kind] for kind, *names in split for name in names}


VERDICTS = columns_of(VerdictRow)
CHANGES = _columns("text image_id | word change label_before label_after | number score_before score_after")
EVIDENCE = _columns("text subject_id | word role | count rank | text image_id name | number similarity")
NEIGHBORS = _columns("count rank | number similarity | text image_id name dataset | word kind | text group")
DUPLICATES = columns_of(DuplicatePair) | {"hash_distance": "Int64"}
SETS = _columns(
    "text name | word membership | text modality | count image_count occurrence_count reject_count | other space_ids "
    "| time created_at"
)
RELEASES = _columns(
    "text name generator architecture generator_version modality | count image_count occurrence_count reject_count "
    "| truth sealed | count revision | text release_digest | other space_ids | time created_at"
)
AUDITS = _columns(
    "text audit_id release | other used not_used against | word subject rule outcome | number auc "
    "| count subject_count used_count not_used_count rejected_count | number mu sigma alpha threshold "
    "| text verdict_digest policy_id space_id | time audited_at | number duration_seconds"
)
HISTORY = _columns("time at | word kind | other facts")
REJECTS = _columns("text name source member | count size_bytes | word reason | text detail | time rejected_at")
METRICS = columns_of(MetricRow)
SENSITIVITY = columns_of(PlantRow)
FIT_METRICS = _columns("word metric | number training held_out")
SWEEP = columns_of(SweepRow)
EMBEDDINGS = _columns("text image_id name group | other embedding")
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
