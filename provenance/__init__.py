"""Audits whether generated medical images give away the real images they were trained on.

``import provenance`` is cheap: the names below bring their libraries when they are first used. ``Workspace`` has the
verbs of the command line (``provenance.service``); ``run_ingest`` and ``run_audit`` with their requests are what they
call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.version import __version__

if TYPE_CHECKING:
    from provenance.audit import AuditReport, AuditRequest, Policy, run_audit
    from provenance.errors import ProvenanceError
    from provenance.ingest import IngestReport, IngestRequest, run_ingest
    from provenance.service import Workspace, check_run, read_embeddings

_HOMES = {
    "AuditReport": "provenance.audit",
    "AuditRequest": "provenance.audit",
    "IngestReport": "provenance.ingest",
    "IngestRequest": "provenance.ingest",
    "Policy": "provenance.audit",
    "ProvenanceError": "provenance.errors",
    "Workspace": "provenance.service",
    "check_run": "provenance.service",
    "read_embeddings": "provenance.service",
    "run_audit": "provenance.audit",
    "run_ingest": "provenance.ingest",
}

__all__ = [
    "AuditReport",
    "AuditRequest",
    "IngestReport",
    "IngestRequest",
    "Policy",
    "ProvenanceError",
    "Workspace",
    "__version__",
    "check_run",
    "read_embeddings",
    "run_audit",
    "run_ingest",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'provenance' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
