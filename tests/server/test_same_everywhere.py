"""On a real Qdrant server: the same verdicts as in process, by REST and by gRPC, and on every node of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runner import answer, run
from tests.server.conftest import clear
from tests.servers import cohorts, real

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="session")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohorts.save_leaky(tmp_path_factory.mktemp("leaky"))


@pytest.fixture(scope="session")
def in_process(leaky: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    workspace = cohorts.begin(tmp_path_factory.mktemp("here") / "ws")
    cohorts.ingest(workspace, leaky)
    return cohorts.digests(workspace)


@pytest.mark.parametrize("way", ["rest", "grpc", "offered", "cluster"])
def test_audits_say_the_same(
    request: pytest.FixtureRequest, way: str, leaky: Path, in_process: dict[str, object], tmp_path: Path
) -> None:
    """Once more after a restart of the command: what was cached and what is read anew are the same."""
    if way == "cluster" and not real.URLS:
        pytest.skip("PROVENANCE_TEST_QDRANT_URLS is not set: no cluster")
    given = real.URLS[0] if way == "cluster" else request.getfixturevalue("given_url")
    url = {
        "rest": lambda: request.getfixturevalue("rest_only"),
        "grpc": lambda: real.grpc_url_of(given),
        "offered": lambda: given,
        "cluster": lambda: ",".join(real.URLS),
    }[way]()
    workspace = tmp_path / "ws"
    settings = {"shard_number": 6, "replication_factor": min(3, len(real.URLS))} if way == "cluster" else {}
    cohorts.begin(workspace, url, **settings)
    try:
        cohorts.ingest(workspace, leaky)
        assert cohorts.digests(workspace) == in_process
        assert cohorts.digests(workspace, names=["calibrated"])["calibrated"] == in_process["calibrated"]
        assert cohorts.digests(workspace, "--search", "server") == in_process
    finally:
        clear(workspace, given)


def test_a_backup_restored_beside_its_original_says_the_same_and_both_go_on(
    given_url: str, leaky: Path, in_process: dict[str, object], tmp_path: Path
) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    cohorts.begin(original, given_url)
    cohorts.begin(copy, given_url)
    try:
        cohorts.ingest(original, leaky)
        run(original, "backup", str(tmp_path / "all.zip"))
        assert answer(copy, "restore", str(tmp_path / "all.zip"))["reconcile"]["clean"]
        assert cohorts.digests(copy) == in_process
        run(copy, "sets", "remove", "asked", "--yes")
        run(copy, "sets", "forget", "s0015.png", "--yes")
        assert cohorts.digests(original) == in_process
        for workspace in (original, copy):
            assert answer(workspace, "reconcile", "--check-only")["clean"]
    finally:
        clear(original, given_url)
        clear(copy, given_url)
