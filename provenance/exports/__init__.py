"""What leaves the workspace as a file: audits, sets and releases, and the challenge's run files.

Every file is written beside its target and renamed over it, so that it is whole or not there.
"""

from provenance.exports.audits import AUDIT_COLUMNS, audit_records, audit_rows, copy_rows, export_audit_csv
from provenance.exports.datasets import export_dataset_parquet, open_embeddings, read_embeddings_parquet
from provenance.exports.duplicates import DUPLICATE_COLUMNS, export_duplicates_csv
from provenance.exports.export import write_export
from provenance.exports.imageclef import RunChoice, RunFile, id_of_name
from provenance.exports.runfile import RunFileMistake, check_run, check_run_file, ids_at

__all__ = [
    "AUDIT_COLUMNS",
    "DUPLICATE_COLUMNS",
    "RunChoice",
    "RunFile",
    "RunFileMistake",
    "audit_records",
    "audit_rows",
    "check_run",
    "check_run_file",
    "copy_rows",
    "export_audit_csv",
    "export_dataset_parquet",
    "export_duplicates_csv",
    "id_of_name",
    "ids_at",
    "open_embeddings",
    "read_embeddings_parquet",
    "write_export",
]
