"""SIGKILL right before or after each step of the order of writes; the same command goes on."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from kept import copied, rows
from killing import differences

if TYPE_CHECKING:
    from pathlib import Path

    from children import Children
    from killing import Undisturbed

CATALOG = "provenance.catalog.store:Catalog"
EDGE = "provenance.index.edge:EdgeIndex"
STEPS = {
    "ingest of a set": (
        f"{CATALOG}.create_set:1:after",
        f"{CATALOG}.ensure_collection:1:after",
        f"{EDGE}.create:1:before",
        f"{EDGE}.create:1:after",
        f"{CATALOG}.start_run:1:after",
        f"{CATALOG}.record_batch:2:before",
        f"{CATALOG}.record_batch:2:after",
        f"{EDGE}.upsert:2:after",
        f"{EDGE}.flush:2:after",
        f"{CATALOG}.acknowledge:2:after",
        f"{CATALOG}.add_rejects:1:after",
        f"{CATALOG}.finish_run:1:before",
        f"{CATALOG}.finish_run:1:after",
        f"{EDGE}.close:1:before",
    ),
    "ingest of a release": (f"{CATALOG}.seal:1:before", f"{CATALOG}.seal:1:after"),
    "audit": (
        "provenance.index.vectorfile:_write:1:after",
        "provenance.index.vectorfile:_write:2:before",
        f"{CATALOG}.ensure_policy:1:after",
        f"{CATALOG}.record_audit:1:before",
        f"{CATALOG}.record_audit:1:after",
    ),
}


@pytest.mark.parametrize(
    ("name", "step"), [(name, step) for name, steps in STEPS.items() for step in steps], ids=lambda word: word[-40:]
)
def test_command_killed_at_a_step_goes_on(
    children: Children, peace: Undisturbed, name: str, step: str, tmp_path: Path
) -> None:
    command = next(command for command in peace.commands if command.name == name)
    workspace = copied(command.start, tmp_path / "workspace")
    died = children.run("-w", workspace, *command.arguments, dies_at=step)
    assert died.code == -signal.SIGKILL, died.stderr
    assert differences(children, peace, command, workspace, tmp_path / "seen") == []


def test_an_audit_that_was_killed_before_it_could_say_so_is_found_by_its_repeat_and_by_no_other(
    children: Children, peace: Undisturbed, tmp_path: Path
) -> None:
    def audits() -> list[str]:
        return [
            each["audit_id"] for each in json.loads(children.run("-w", workspace, "audits", "list", "--json").stdout)
        ]

    command = next(command for command in peace.commands if command.name == "audit")
    workspace = copied(command.start, tmp_path / "workspace")
    for before in (0, 1):
        died = children.run("-w", workspace, *command.arguments, dies_at=f"{CATALOG}.record_audit:1:after")
        assert died.code == -signal.SIGKILL
        recorded = audits()
        assert len(recorded) == before + 1
        again = children.run("-w", workspace, *command.arguments, "--json")
        assert json.loads(again.stdout)["audit_id"] == recorded[0]
        assert audits() == recorded
        assert not (workspace / "unanswered").exists()
    # asked once more, on purpose, it is another audit
    children.run("-w", workspace, *command.arguments)
    assert len(audits()) == 3
    died = children.run("-w", workspace, *command.arguments, dies_at=f"{CATALOG}.record_audit:1:after")
    other = children.run("-w", workspace, *command.arguments, "--top-k", "3", "--json")
    assert json.loads(other.stdout)["audit_id"] not in audits()[1:]
    assert len(audits()) == 5


def test_a_measurement_that_was_killed_before_it_could_say_so_is_recorded_once(
    children: Children, peace: Undisturbed, tmp_path: Path
) -> None:
    def measured() -> int:
        return len(rows(workspace, "SELECT 1 FROM events WHERE kind = 'sensitivity_measured'"))

    command = next(command for command in peace.commands if command.name == "audit")
    workspace = copied(command.start, tmp_path / "workspace")
    audit = json.loads(children.run("-w", workspace, *command.arguments, "--json").stdout)["audit_id"]
    words = ("-w", workspace, "sensitivity", audit, "--plants", "3", "--kinds", "exact")
    died = children.run(*words, dies_at=f"{CATALOG}.record_sensitivity:1:after")
    assert (died.code, measured()) == (-signal.SIGKILL, 1)
    assert (children.run(*words).code, measured()) == (0, 1)
    assert (children.run(*words).code, measured()) == (0, 2)  # once more, on purpose


@pytest.mark.parametrize(
    "step", ["provenance.catalog.migrate:upgrade_engine:1:after", "provenance.catalog.migrate:_name_catalog:1:before"]
)
def test_killed_init_goes_on(children: Children, backbone: Path, tmp_path: Path, step: str) -> None:
    root = tmp_path / "workspace"
    assert children.run("-w", root, "init", "--backbone-file", backbone, dies_at=step).code == -signal.SIGKILL
    again = children.run("-w", root, "sets", "list", "--json")
    assert (again.code, again.stdout.strip()) == (0, "[]"), again.stderr
