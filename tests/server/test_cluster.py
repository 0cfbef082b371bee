"""Three nodes that the tests start; whichever of them is dead, nothing is lost and everything works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runner import run
from tests.servers import cohorts, real

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[real.Node]]:
    with real.three_nodes(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.mark.parametrize("replicas", [2, 3])
def test_any_one_node_may_be_dead(nodes: list[real.Node], tmp_path: Path, replicas: int) -> None:
    """Audits say the same, an ingest goes on, reconcile finds nothing; the dead node comes back and catches up."""
    root = cohorts.save_leaky(tmp_path / "images")
    here = cohorts.begin(tmp_path / "here")
    cohorts.ingest(here, root)
    wanted = cohorts.digests(here, names=["calibrated", "paper's rule"])
    urls = ",".join(node.url for node in nodes)
    workspace = cohorts.begin(tmp_path / "ws", urls, shard_number=3, replication_factor=replicas)
    cohorts.ingest(workspace, root)
    assert cohorts.digests(workspace, names=wanted) == wanted
    use = ("--membership", "unknown", "--backbone", cohorts.BACKBONE)
    run(workspace, "ingest", str(cohorts.save(tmp_path / "more", range(1000, 1010))), "--set", "more", *use)
    for number, dead in enumerate(nodes):
        dead.kill()
        assert cohorts.digests(workspace, names=wanted) == wanted, f"node {number} dead"
        cohorts.save(tmp_path / "more", range(1010 + 20 * number, 1030 + 20 * number))
        run(workspace, "ingest", str(tmp_path / "more"), "--set", "more", *use)
        run(workspace, "reconcile", "--check-only")
        dead.start()
        real.until(lambda: real.all_active(nodes), f"node {number} has caught up")
    run(workspace, "reconcile", "--check-only")


@pytest.mark.parametrize("replicas", [2, 3])
def test_a_new_set_can_be_made_while_a_node_is_dead(nodes: list[real.Node], tmp_path: Path, replicas: int) -> None:
    root = cohorts.save(tmp_path / "images", range(20))
    workspace = cohorts.begin(
        tmp_path / "ws", ",".join(node.url for node in nodes), shard_number=3, replication_factor=replicas
    )
    use = ("--membership", "used", "--backbone", cohorts.BACKBONE)
    run(workspace, "ingest", str(root), "--set", "before", *use)
    for number, dead in enumerate(nodes):
        dead.kill()
        try:
            run(workspace, "ingest", str(root), "--set", f"new-{number}", *use)
        finally:
            dead.start()
        real.until(lambda: real.all_active(nodes), f"node {number} has caught up")
