"""Audits whether generated medical images give away the real images they were trained on.

``import provenance`` is cheap: the names below bring their libraries when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.version import __version__

if TYPE_CHECKING:
    from provenance.audit import AuditRequest, run_audit
    from provenance.detection import Policy
    from provenance.ingest import IngestRequest, run_ingest
    from provenance.workspace import Workspace

_HOMES = {
    "AuditRequest": "provenance.audit",
    "IngestRequest": "provenance.ingest",
    "Policy": "provenance.detection",
    "Workspace": "provenance.workspace",
    "run_audit": "provenance.audit",
    "run_ingest": "provenance.ingest",
}

__all__ = ["AuditRequest", "IngestRequest", "Policy", "Workspace", "__version__", "run_audit", "run_ingest"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'provenance' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
