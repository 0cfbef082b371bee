"""``import provenance``: what is public, that it is all there, and that it costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import provenance
from provenance.installation import Installation

PUBLIC = {
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
}
HEAVY = {
    "PIL",
    "alembic",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "qdrant_client",
    "qdrant_edge",
    "rich",
    "scipy",
    "sqlalchemy",
    "torch",
    "torchvision",
    "typer",
}


def modules_after(program: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(done.stdout.split())


def test_all_is_the_public_surface_and_no_name_is_dead() -> None:
    assert set(provenance.__all__) == PUBLIC
    assert provenance.__all__ == sorted(provenance.__all__)
    for name in PUBLIC:
        assert getattr(provenance, name) is not None
    assert set(dir(provenance)) == PUBLIC
    assert {name for name in vars(provenance) if name in PUBLIC} == {"__version__"}, (
        "names are not kept: they come lazily"
    )
    with pytest.raises(AttributeError, match="no attribute 'Workspaces'"):
        _ = provenance.Workspaces


def test_import_brings_nothing_heavy() -> None:
    loaded = modules_after("import provenance; provenance.__all__; dir(provenance)")
    assert loaded & HEAVY == set()
    assert {name for name in loaded if name.startswith("provenance.")} == {"provenance.version"}


def test_workspace_brings_no_torch_and_no_pandas_until_it_must() -> None:
    loaded = modules_after("from provenance import ProvenanceError, Workspace, check_run, read_embeddings")
    assert loaded & (HEAVY - {"pydantic"}) == set()


def test_public_workspace_is_the_workspace_and_has_the_verbs() -> None:
    assert issubclass(provenance.Workspace, Installation)
    verbs = {name for name in dir(provenance.Workspace) if not name.startswith("_")} - set(dir(Installation))
    assert verbs == {
        "audit",
        "audits",
        "backup",
        "changes",
        "check_sources",
        "copied_of",
        "copy_rows",
        "declare",
        "duplicates",
        "earlier_named",
        "embed",
        "embeddings",
        "evaluate",
        "evidence",
        "explain",
        "export",
        "find_changes",
        "find_duplicates",
        "find_neighbors",
        "fit",
        "forget",
        "forget_image",
        "history",
        "history_of",
        "ingest",
        "ingest_layout",
        "list_audits",
        "list_datasets",
        "neighbors",
        "outcome_of",
        "reconcile",
        "rejects",
        "releases",
        "regroup",
        "relocate",
        "remove",
        "report",
        "restore",
        "sensitivity",
        "sets",
        "show",
        "show_audit",
        "show_dataset",
        "sweep",
        "verdict_rows",
        "verdicts",
        "watch",
        "write_export",
        "write_report",
    }
    for name in verbs:
        doc = getattr(provenance.Workspace, name).__doc__
        assert doc, name
        assert doc.split("\n")[0].endswith("."), name
