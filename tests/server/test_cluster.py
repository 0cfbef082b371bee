"""Three nodes that the tests start; whichever of them is dead, nothing is lost and everything works."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.runner import answer, run
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


def test_collections_that_have_one_replica_get_more_and_any_node_may_die_then(
    nodes: list[real.Node], tmp_path: Path
) -> None:
    """The store's identity as well; said before, safe to repeat."""
    client = real.client_of(nodes[0].url)
    for old in client.get_collections().collections:
        client.delete_collection(old.name)
    workspace = cohorts.begin(tmp_path / "ws", ",".join(node.url for node in nodes), shard_number=2)
    cohorts.ingest(workspace, cohorts.save_leaky(tmp_path / "images"))
    wanted = cohorts.digests(workspace, names=["paper's rule"])
    assert answer(workspace, "reconcile", "--check-only")["findings"] == []
    with (workspace / "provenance.toml").open("a") as file:
        file.write("replication_factor = 2\n")
    found = answer(workspace, "reconcile", "--check-only")["findings"]
    assert [each["problem"] for each in found] == ["too few replicas"] * 5
    assert {each["dataset"] for each in found} == {"", "used", "fresh", "asked", "leaky"}
    assert answer(workspace, "reconcile")["repaired"] == 5
    again = answer(workspace, "reconcile")
    assert (again["clean"], again["repaired"], again["findings"]) == (True, 0, [])
    for number, dead in enumerate(nodes):
        dead.kill()
        assert cohorts.digests(workspace, names=wanted) == wanted, f"node {number} dead"
        run(workspace, "reconcile", "--check-only")
        dead.start()
        real.until(lambda: real.all_active(nodes), f"node {number} has caught up")


@pytest.mark.parametrize("replicas", [2, 3])
def test_a_replica_that_is_behind_is_named_and_made_like_the_others(
    nodes: list[real.Node], tmp_path: Path, replicas: int
) -> None:
    urls = ",".join(node.url for node in nodes)
    workspace = cohorts.begin(tmp_path / "ws", urls, shard_number=1, replication_factor=replicas)
    root = cohorts.save(tmp_path / "images", range(20))
    run(workspace, "ingest", str(root), "--set", "one", "--membership", "used", "--backbone", cohorts.BACKBONE)
    (check,) = answer(workspace, "reconcile")["collections"]
    name = f"provenance_{check['collection_key']}"
    ids = [str(point.id) for point in real.client_of(nodes[0].url).scroll(name, limit=20)[0]]
    stale, *others = real.holders_of(nodes, name, 0)
    real.delete_from_replica(stale, name, 0, ids[:7])
    said = json.loads(run(workspace, "reconcile", "--check-only", "--json", code=5).stdout)
    (behind,) = [each for each in said["findings"] if each["problem"] == "a replica is behind"]
    assert behind["dataset"] == "one"
    assert f"13 points on {stale.url}" in behind["detail"]
    assert all(f"20 points on {node.url}" in behind["detail"] for node in others)
    assert answer(workspace, "reconcile")["clean"]
    assert answer(workspace, "reconcile", "--check-only")["findings"] == []


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
