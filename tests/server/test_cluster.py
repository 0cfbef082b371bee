"""Three nodes that the tests start; whichever of them is dead, nothing is lost and everything works."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.runner import answer, refused, run
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
    run(workspace, "ingest", str(cohorts.save(tmp_path / "made", range(50, 60))), "--release", "r", "--generator", "g",
        "--backbone", cohorts.BACKBONE)  # fmt: skip
    audit = ("audit", "r", "--used", "one", "--rule", "mu-alpha-sigma", "--search", "server")
    assert "lacks 7 of the 20 vectors" in refused(workspace, *audit, code=5)
    said = json.loads(run(workspace, "reconcile", "--check-only", "--json", code=5).stdout)
    (behind,) = [each for each in said["findings"] if each["problem"] == "a replica is behind"]
    assert behind["dataset"] == "one"
    assert f"13 points on {stale.url}" in behind["detail"]
    assert all(f"20 points on {node.url}" in behind["detail"] for node in others)
    assert answer(workspace, "reconcile")["clean"]
    assert answer(workspace, "reconcile", "--check-only")["findings"] == []
    assert answer(workspace, *audit)["read_consistency"] == "majority"


def test_what_is_forgotten_is_in_no_file_of_any_node(nodes: list[real.Node], tmp_path: Path) -> None:
    """Of a set of 40; where a node is dead then, it is said, and its files go when it is back."""
    urls = ",".join(node.url for node in nodes)
    workspace = cohorts.begin(tmp_path / "ws", urls, shard_number=2, replication_factor=2)
    root = cohorts.save(tmp_path / "few", range(40))
    run(workspace, "ingest", str(root), "--set", "few", "--membership", "used", "--backbone", cohorts.BACKBONE)
    run(workspace, "export", "few", "--format", "parquet", "-o", str(tmp_path / "few.parquet"))
    rows = pq.read_table(tmp_path / "few.parquet").to_pylist()

    def held(row: int) -> list[int]:
        content = np.array(rows[row]["embedding"], dtype=np.float32).tobytes()
        return [len(real.files_with(node.folder / "storage", content)) for node in nodes]

    real.until(lambda: any(held(0)), "they are on disk", 20)
    run(workspace, "sets", "forget", rows[0]["image_id"], "--yes")
    real.until(lambda: held(0) == [0, 0, 0], "no node has it", 5)
    real.until(lambda: any(held(1)), "the others are on disk", 20)
    dead = next(node for node, files in zip(nodes, held(1), strict=True) if files)
    dead.kill()
    said = answer(workspace, "sets", "forget", rows[1]["image_id"], "--yes")
    assert any("which is away" in place for place in said["may_remain"])
    alive = [number for number, node in enumerate(nodes) if node is not dead]
    real.until(lambda: not any(held(1)[number] for number in alive), "no living node has it", 5)
    dead.start()
    real.until(lambda: real.all_active(nodes) and held(1) == [0, 0, 0], "no node has it")
    said = answer(workspace, "sets", "forget", rows[2]["image_id"], "--yes")
    assert not any("which is away" in place for place in said["may_remain"])


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
