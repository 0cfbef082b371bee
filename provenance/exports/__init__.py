"""What leaves the workspace as a file: audits, sets and releases, and the challenge's run files.

Every file is written beside its target and renamed over it, so that it is whole or not there.
"""

from provenance.exports.audits import (
    AUDIT_COLUMNS,
    audit_records,
    audit_rows,
    export_audit_csv,
    export_audit_jsonl,
    export_audit_parquet,
)
from provenance.exports.datasets import (
    EmbeddingStream,
    export_dataset_parquet,
    open_embeddings,
    read_embeddings_parquet,
)
from provenance.exports.duplicates import DUPLICATE_COLUMNS, duplicate_row, export_duplicates_csv
from provenance.exports.export import Exported, write_export
from provenance.exports.imageclef import RunFile, export_run_file, id_of_name, run_file
from provenance.exports.runfile import (
    RunFileCheck,
    RunFileMistake,
    RunFileProblem,
    check_run,
    check_run_file,
    ids_at,
)
from provenance.exports.similarities import SIMILARITY_COLUMNS, export_similarities, similarity_rows

__all__ = [
    "AUDIT_COLUMNS",
    "DUPLICATE_COLUMNS",
    "SIMILARITY_COLUMNS",
    "EmbeddingStream",
    "Exported",
    "RunFile",
    "RunFileCheck",
    "RunFileMistake",
    "RunFileProblem",
    "audit_records",
    "audit_rows",
    "check_run",
    "check_run_file",
    "duplicate_row",
    "export_audit_csv",
    "export_audit_jsonl",
    "export_audit_parquet",
    "export_dataset_parquet",
    "export_duplicates_csv",
    "export_run_file",
    "export_similarities",
    "id_of_name",
    "ids_at",
    "open_embeddings",
    "read_embeddings_parquet",
    "run_file",
    "similarity_rows",
    "write_export",
]
