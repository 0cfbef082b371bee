"""How results show themselves: every one that a verb gives in one line, whatever it holds."""

from __future__ import annotations

import ast
import importlib
import inspect
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import provenance.service
from provenance.brief import LONGEST, Brief
from provenance.findings import Findings
from provenance.lookup import RecordedAudit
from provenance.records import AuditDataset, AuditRecord
from provenance.vocabulary import Answer, Outcome, Role, Subject

SHORT_BY_THEMSELVES = {"ImageRecord", "Neighbor", "Change", "HistoryEntry"}


@dataclass(frozen=True, slots=True, repr=False)
class Result(Brief):
    name: str
    rows: tuple[int, ...]
    at: datetime
    place: Path
    missing: str | None = None


def recorded(outcome: Outcome | None, subject: Subject = Subject.REAL, **more: Any) -> RecordedAudit:
    found = Findings(outcome=outcome, outcome_reason="Because " * 500, own=more.pop("own", {}))
    values: dict[str, Any] = dict.fromkeys(AuditRecord.__slots__) | {"audit_id": "a" * 32, "rule": "calibrated"}
    record = AuditRecord(**values | {"subject": subject, "findings": found})
    sets = ((Role.RELEASE, "gan\n<v1>"), (Role.USED, "used"), (Role.USED, "more"), (Role.NOT_USED, "fresh"))
    return RecordedAudit(record, tuple(AuditDataset("d", role, name, "x", 3) for role, name in sets), **more)


def test_a_value_is_one_line_and_a_table_of_the_same() -> None:
    found = Result("a\nb\x1b" + "x" * 500, tuple(range(100_000)), datetime(2026, 1, 2, tzinfo=UTC), Path("/tmp/x"))
    assert "\n" not in repr(found)
    assert repr(found).startswith(r"Result(name='a\\nb\\x1bxxx")
    assert "rows=100,000 items, at=2026-01-02 00:00:00Z, place='/tmp/x')" in repr(found)
    assert "missing" not in repr(found)
    assert len(repr(found)) <= LONGEST
    assert found._repr_html_().count("<tr>") == 4


def test_an_audit_has_outcome_and_auc_and_shows_them() -> None:
    test = {"release_test": {"auc": {"value": 0.75, "low": 0.5, "high": 0.9, "reason": ""}}}
    alone = recorded(Outcome.INCONCLUSIVE, own=test)
    whole = recorded(Outcome.LEAK_ESTABLISHED, Subject.RELEASE, answers={Answer.MEMBERSHIP: alone})
    for found, outcome in ((alone, "inconclusive"), (whole, "leak_established")):
        assert (found.outcome, found.auc) == (outcome, 0.75)
        assert f"outcome='{outcome}', auc='0.75 [0.50, 0.90]'" in repr(found)
        assert len(repr(found)) <= LONGEST
        assert "\n" not in repr(found) + repr(found.audit) + repr(found.audit.findings)
        assert r"gan\n&lt;v1&gt;" in found._repr_html_()
        assert found.sets_by_role()[Role.USED] == ("used", "more")
    assert (recorded(None).outcome, recorded(None).auc) == (None, None)


def test_every_result_of_a_verb_is_brief() -> None:
    """Read from the annotations, so that a new verb is held to it as well."""
    seen = set()
    for base in provenance.service.Workspace.__mro__:
        if not base.__module__.startswith("provenance.service"):
            continue
        tree = ast.parse(inspect.getsource(importlib.import_module(base.__module__)))
        homes = {a.asname or a.name: n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
        verbs = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
        names = {part.id for n in verbs if n.returns for part in ast.walk(n.returns) if isinstance(part, ast.Name)}
        for name in names & homes.keys() - SHORT_BY_THEMSELVES:
            kind = getattr(importlib.import_module(str(homes[name])), name, None)
            if inspect.isclass(kind) and kind.__module__.startswith("provenance."):
                seen.add(name)
                assert kind.__repr__ is Brief.__repr__, name
    assert {"AuditReport", "AuditInFull", "EvaluationResult", "ImageView", "IngestReport", "DuplicateReport"} <= seen
