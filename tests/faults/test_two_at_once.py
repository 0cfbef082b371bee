"""Two commands at once on one workspace: both are right, or one says that it has to wait; the catalog stays right."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from children import until
from kept import faults_in, kept_in, lost_in, rows
from refusals import STORE, refused
from samples import save_pictures

from provenance import AuditRequest, Workspace, run_audit
from provenance.errors import StoreLockedError
from provenance.index import open_index
from provenance.ingest import image_ids_digest

if TYPE_CHECKING:
    from pathlib import Path

    from children import Children

PATIENT = {"PROVENANCE_LOCK_TIMEOUT_SECONDS": "60"}
IMPATIENT = {"PROVENANCE_LOCK_TIMEOUT_SECONDS": "0"}
SLOW = {"PROVENANCE_BATCH_SIZE": "1"}  # still at work when the next command has started


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return save_pictures(tmp_path / "many", range(60))


_FOUND_IN_ORDER = """
    SELECT i.image_id FROM occurrences o JOIN datasets d USING (dataset_id) JOIN image_identities i USING (image_key)
    WHERE d.name = 'growing' GROUP BY i.image_id ORDER BY min(o.occurrence_id)"""


def ingest(folder: Path, name: str) -> tuple[str | Path, ...]:
    return ("ingest", folder, "--set", name, "--membership", "used", "--json")


def holds_index(workspace: Path) -> bool:
    """Whether some command has the index open, by what it wrote into the lock file."""
    lock = workspace / "index" / "lock"
    return lock.exists() and lock.stat().st_size > 0


def test_two_ingests_into_one_set_wait_for_one_another(children: Children, workspace: Path, many: Path) -> None:
    both = [children.start("-w", workspace, *ingest(many, "used"), environment=PATIENT) for _ in range(2)]
    counts = [child.ended().json()["counts"] for child in both]
    assert sorted((c["added"], c["known"]) for c in counts) == [(0, 60), (60, 0)]
    assert faults_in(workspace) == []
    kept = kept_in(workspace)
    assert (len(kept.vectors), set(kept.added.values()), set(kept.names.values())) == (60, {1}, {1})


def test_two_ingests_into_two_sets_wait_for_one_another(
    children: Children, workspace: Path, many: Path, cohort: Path
) -> None:
    """24 images are in both: whoever comes second copies their vectors."""
    first = children.start("-w", workspace, *ingest(many, "many"), environment=PATIENT)
    second = children.start("-w", workspace, *ingest(cohort / "used", "few"), environment=PATIENT)
    reports = [first.ended().json(), second.ended().json()]
    assert [report["image_count"] for report in reports] == [60, 24]
    assert sum(report["counts"]["copied"] for report in reports) == 24
    assert faults_in(workspace) == []


def test_second_ingest_that_does_not_wait_is_refused_and_can_be_run_again(
    children: Children, workspace: Path, many: Path, cohort: Path
) -> None:
    first = children.start("-w", workspace, *ingest(many, "many"), environment=SLOW)
    until(lambda: holds_index(workspace), "the first ingest at work")
    second = children.run("-w", workspace, *ingest(cohort / "used", "few"), environment=IMPATIENT)
    refused(second, STORE, f"process {first.pid}", "wait")
    assert first.ended().json()["image_count"] == 60
    assert rows(workspace, "SELECT name FROM datasets") == [("many",)]
    assert children.run("-w", workspace, *ingest(cohort / "used", "few")).code == 0
    assert faults_in(workspace) == []


def test_audit_during_an_ingest_sees_what_was_there_or_waits(
    children: Children, workspace: Path, many: Path, cohort: Path
) -> None:
    """An audit of sets that nobody changes is the same before, during and after an ingest into another set."""
    release = ("ingest", cohort / "generated", "--release", "release", "--generator", "toy")
    for words in (ingest(cohort / "used", "used"), release):
        assert children.run("-w", workspace, *words).code == 0
    audit = ("-w", workspace, "audit", "release", "--subject", "generated", "--used", "used", "--json")
    before = children.run(*audit).json()
    shutil.rmtree(workspace / "vectors")
    child = children.start("-w", workspace, *ingest(many, "many"), environment=SLOW)
    until(lambda: holds_index(workspace), "the ingest at work")
    refused(children.run(*audit, environment=IMPATIENT), STORE, f"process {child.pid}")
    during = children.run(*audit, environment=PATIENT).json()
    child.ended()
    assert during["verdict_digest"] == before["verdict_digest"]
    assert faults_in(workspace) == []


def test_audit_of_a_set_that_grows_meanwhile_sees_one_state_of_it_or_refuses(
    children: Children, workspace: Path, many: Path, cohort: Path
) -> None:
    """Whatever an audit recorded is the state after some batch: its digest and count are of one and the same."""
    release = ("ingest", cohort / "generated", "--release", "release", "--generator", "toy")
    for words in (ingest(cohort / "not_used", "growing"), release):
        assert children.run("-w", workspace, *words).code == 0
    growing = children.start("-w", workspace, *ingest(many, "growing"))
    audits = [
        children.start("-w", workspace, "audit", "release", "--subject", "generated", "--json", environment=PATIENT)
        for _ in range(2)
    ]
    ended = [child.ended() for child in audits]
    assert growing.ended().code == 0
    done = [each for each in ended if each.code == 0]
    for each in ended:
        if each.code != 0:
            refused(each, 4, "no vector")
    in_order = [image for (image,) in rows(workspace, _FOUND_IN_ORDER)]
    for each in done:
        found = next(d for d in each.json()["datasets"] if d["role"] == "used")
        assert found["digest"] == image_ids_digest(in_order[: found["image_count"]])
    assert len(rows(workspace, "SELECT 1 FROM audits")) == len(done)
    assert faults_in(workspace) == []
    assert children.run("-w", workspace, "audit", "release", "--subject", "generated").code == 0


def test_audit_holds_the_index_for_the_copy_of_its_vectors_only(
    children: Children, workspace: Path, cohort: Path
) -> None:
    """Whoever comes while it compares and decides does not even wait."""
    release = ("ingest", cohort / "generated", "--release", "release", "--generator", "toy")
    for words in (ingest(cohort / "used", "used"), release):
        assert children.run("-w", workspace, *words).code == 0
    free = []

    def look(_step: str) -> None:
        try:
            with open_index(f"local:{workspace / 'index'}", lock_timeout_seconds=0):
                free.append(True)
        except StoreLockedError:
            free.append(False)

    with Workspace.open(workspace) as opened:
        run_audit(opened, AuditRequest("release", ("used",)), look)
    assert free
    assert all(free)


def test_audits_and_forgetting_at_once_all_come_to_their_end(children: Children, workspace: Path, cohort: Path) -> None:
    release = ("ingest", cohort / "generated", "--release", "release", "--generator", "toy")
    others = ingest(cohort / "not_used", "others")
    for words in (ingest(cohort / "used", "used"), others, release):
        assert children.run("-w", workspace, *words).code == 0
    audit = ("-w", workspace, "audit", "release", "--subject", "generated", "--used", "used", "--json")
    image = rows(workspace, "SELECT i.image_id FROM image_identities i JOIN memberships m USING (image_key)"
                            " JOIN datasets d USING (dataset_id) WHERE d.name = 'others' LIMIT 1")[0][0]  # fmt: skip
    together = [children.start(*audit), children.start("-w", workspace, "sets", "forget", image, "--yes")]
    together += [children.start(*audit) for _ in range(2)]
    assert [(child.ended().code, child.ended().stderr) for child in together if child.ended().code] == []
    assert len(set(rows(workspace, "SELECT verdict_digest FROM audits"))) == 1
    assert lost_in(workspace) == []
