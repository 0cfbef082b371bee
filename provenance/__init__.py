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
    "audit": ("AuditReport", "AuditRequest", "Policy", "run_audit"),
    "errors": ("ProvenanceError",),
    "ingest": ("IngestReport", "IngestRequest", "run_ingest"),
    "service": ("Workspace", "check_run", "read_embeddings"),
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
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"provenance.{home}"), name)
    raise AttributeError(f"module 'provenance' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
