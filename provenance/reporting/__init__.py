"""The report of an audit: what is on record and what the sources still show, gathered and written as one page.

``gathering`` (everything but) -> ``calibrated`` (outcome, tests and heat maps of calibrated audits)
"""

from provenance.reporting.gathering import (
    DEFAULT_CASES,
    MAX_REJECTS,
    WrittenReport,
    audit_command,
    gather_report,
    ingest_command,
    score_series,
    write_report,
)

__all__ = [
    "DEFAULT_CASES",
    "MAX_REJECTS",
    "WrittenReport",
    "audit_command",
    "gather_report",
    "ingest_command",
    "score_series",
    "write_report",
]
