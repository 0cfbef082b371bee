"""A workspace made before findings were typed opens, and every word of it is printed as it was then.

``catalog.sql.gz`` is the dump of its catalog: audits by every rule and of both subjects, two with twins left out, one
with a reference release, one by a local score, one with a measured sensitivity, a forgotten image. ``printed.json.gz``
is what that version printed, by command.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from provenance.catalog import Catalog, upgrade
from provenance.findings import Findings
from tests.runner import run

MADE_BEFORE = Path(__file__).parent / "before_typed_findings"
PRINTED: dict[str, str] = json.loads(gzip.decompress((MADE_BEFORE / "printed.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("old")
    (root / "provenance.toml").write_text('backbone = "efficientnet-lite0"\n')
    with closing(sqlite3.connect(root / "catalog.sqlite3")) as database:
        database.executescript(gzip.decompress((MADE_BEFORE / "catalog.sql.gz").read_bytes()).decode())
    upgrade(f"sqlite:///{root / 'catalog.sqlite3'}")
    return root


@pytest.mark.parametrize("command", PRINTED)
def test_everything_is_printed_as_it_was(workspace: Path, tmp_path: Path, command: str) -> None:
    if not command.startswith("export"):
        assert run(workspace, *command.split()).stdout == PRINTED[command]
        return
    run(workspace, *command.split(), "-o", str(tmp_path / "export"))
    assert (tmp_path / "export").read_bytes().decode() == PRINTED[command]


def test_findings_are_whole_as_values(workspace: Path) -> None:
    with closing(sqlite3.connect(workspace / "catalog.sqlite3")) as database:
        recorded = [json.loads(text) for (text,) in database.execute("SELECT settings FROM audits")]
    assert len(recorded) == 7
    for values in recorded:
        found = Findings.from_json(values)
        assert found.to_json() == values
        assert replace(found, own=found.calibrated.to_json() if found.calibrated else {}).to_json() == values


def test_their_rules_and_what_they_rest_on(workspace: Path) -> None:
    with Catalog.open(f"sqlite:///{workspace / 'catalog.sqlite3'}") as catalog:
        audits = catalog.audits()
        assert sum(len(catalog.sensitivities(audit.audit_id)) for audit in audits) == 1
    assert {(audit.rule, audit.subject.value) for audit in audits} == {
        ("mu-alpha-sigma", "generated"),
        ("mu-alpha-sigma", "real"),
        ("calibrated", "generated"),
        ("calibrated", "real"),
        ("logistic", "real"),
    }
    assert sum(audit.findings.twins.excluded for audit in audits if audit.findings.twins) == 2
    scores = {audit.findings.calibrated.calibration.score for audit in audits if audit.findings.calibrated}
    assert scores == {None, "relative", "local"}
    assert [each.findings.reference_release.name for each in audits if each.findings.reference_release] == ["old-clean"]
